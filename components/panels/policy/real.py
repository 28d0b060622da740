"""Real GRPO steps on a network: answers with rewards, advantages and what each token is pushed by."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.controls import choose, text_field, whole_number
from components.figures.curves import Curve, curves
from components.figures.policy import token_strip
from components.live.figure import live_figure
from components.page import Check, Page, checked_against, take_with_you
from components.panels import panel
from components.panels.network.text import choose_network
from components.panels.policy.setup import choose_aggregation, choose_method, now
from components.refusal import refusals
from components.words import _
from components.work.running import is_going, keep_going, run_buttons, run_of, show_progress
from models.networks.loading import load
from models.networks.sampling import generate
from models.policy.losses import PolicyLoss
from models.policy.real_run import (
    MOST_ANSWERS,
    MOST_STEPS,
    REWARD_NAMES,
    Answers,
    PolicyRun,
    answer_log_probabilities,
    check_run,
    train,
)

RATES = ("0.00001", "0.00003", "0.0001", "0.0003", "0.001")
BETAS = ("0", "0.01", "0.04", "0.1", "0.5")
TEMPERATURES = ("0.7", "1", "1.3")
SHOWN_TOKENS = 24  # of each answer; the table has it whole
COLOURS = ("push", "change")


def reward_name_label(name: str) -> str:
    return {
        "quote": _("closes a quotation mark"),
        "word": _("contains a word"),
        "lipogram": _("words without the letter e"),
    }[name]


def colour_label(name: str) -> str:
    return _("what pushes a token") if name == "push" else _("what the step did to it")


@panel
def real_run(page: Page) -> None:
    name = page.name
    with st.container(horizontal=True, vertical_alignment="bottom"):
        choose_network(page)
        text_field(_("Prompt"), f"{name}_prompt", page.default("prompt"), width=420)
        choose(_("Reward"), REWARD_NAMES, f"{name}_goal", reward_name_label, default="quote", width=240)
        if st.session_state[f"{name}_goal"] == "word":
            text_field(_("Word"), f"{name}_word", page.default("word"), width=120)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        whole_number(_("Answers G"), 2, MOST_ANSWERS, f"{name}_real_answers", 8, width=110)
        whole_number(_("New tokens"), 4, 128, f"{name}_new_tokens", 32, width=120)
        choose(_("Temperature"), TEMPERATURES, f"{name}_temperature", str, default="1", width=120)
        choose(_("Learning rate"), RATES, f"{name}_real_rate", str, default="0.0001", width=130)
        choose("β", BETAS, f"{name}_real_beta", str, default="0", width=90)
        whole_number(_("Updates on a batch μ"), 1, 8, f"{name}_real_updates", 1, width=170)
        whole_number(_("Steps"), 1, MOST_STEPS, f"{name}_real_steps", 12, width=100)
        whole_number(_("Seed"), 0, 9_999, f"{name}_seed", 0, width=110)
        choose_method(page)
        choose_aggregation(page)
        choose(_("Colour"), COLOURS, f"{name}_colour", colour_label, default="push", style="segments")
    real_training(page)


def run_now(page: Page) -> PolicyRun:
    """The run that the controls describe."""
    loss = PolicyLoss(
        aggregation=now(page, "aggregation"),
        longest=now(page, "new_tokens"),
        beta=float(now(page, "real_beta")),
    )
    return PolicyRun(
        now(page, "prompt"),
        now(page, "network"),
        now(page, "goal"),
        now(page, "word"),
        now(page, "real_answers"),
        now(page, "new_tokens"),
        float(now(page, "temperature")),
        now(page, "method"),
        loss,
        now(page, "real_updates"),
        float(now(page, "real_rate")),
        now(page, "real_steps"),
        now(page, "seed"),
    )


@panel
def real_training(page: Page) -> None:
    asked = run_now(page)
    possible = False
    with refusals():
        check_run(asked)
        possible = True
    if not possible:
        return
    held = run_of(page, "real", asked, lambda: train(asked))
    run_buttons(page, "real", asked, lambda: train(asked), held, is_real=True)
    seen: list[Answers] = held.seen if held is not None and held.seen else [first_step(asked)]
    if is_going(page, "real"):
        show_progress(len(seen), asked.steps)
    show_step(page, asked, seen)
    keep_going(page, "real", held)


@st.cache_resource(max_entries=8, show_spinner=False)
def first_step(asked: PolicyRun) -> Answers:
    """The first step of a run that nobody has started yet."""
    return next(train(asked))


def show_step(page: Page, asked: PolicyRun, seen: list[Answers]) -> None:
    """The latest answers as a strip of tokens, the run so far, and the answers as a table."""
    latest = seen[-1]
    colour = now(page, "colour")
    live_figure(
        answer_figure(latest, colour), f"{page.name}_real_strip", _("The sampled answers, token by token")
    )
    left, right = st.columns([2, 3], gap="medium")
    with left:
        live_figure(run_figure(asked, seen), f"{page.name}_real_reward", _("Mean reward and KL by step"))
    with right:
        st.dataframe(answer_table(latest), hide_index=True, width="stretch")
    page.note("real")
    dead = float(latest.rewards.std(correction=0)) == 0
    facts = _("Step {step}: loss {loss}, gradient norm {norm}, {seconds} s.").format(
        step=latest.step + 1, loss=f"{latest.loss:+.2e}", norm=f"{latest.gradient_norm:.3f}",
        seconds=f"{latest.seconds:.2f}",
    )  # fmt: skip
    warning = _("All rewards agree: this step teaches nothing.") if dead else ""
    st.markdown(f"{facts} {warning}")
    if not is_going(page, "real"):
        what = _("one pass of transformers without a cache, log-probabilities")
        checked_against([Check(what, sampling_gap(asked), 1e-3)])
    take_with_you(
        f"{page.name}_real",
        lambda: token_table(seen),
        lambda: answer_figure(latest, colour),
        snippet(asked),
    )


def answer_figure(latest: Answers, colour: str) -> go.Figure:
    """Tokens by what pushes them, −∂loss/∂ln π, in thousandths; or by how ln π changed in the step."""
    shown = min(SHOWN_TOKENS, latest.mask.shape[1])
    if colour == "push":
        title, values, limit = "−∂L/∂ln π · 1000", 1000 * latest.weights, 2000 / float(latest.mask.sum())
    else:
        title, values, limit = "Δ ln π", latest.ratios.log(), 1.0
    values = torch.where(latest.mask > 0, values, torch.nan)[:, :shown]
    rows = [
        f"r={reward:.2g} A={advantage:+.2f}"
        for reward, advantage in zip(latest.rewards.tolist(), latest.advantages.tolist(), strict=True)
    ]
    return token_strip(
        values.numpy(),
        [row[:shown] for row in latest.labels],
        rows,
        np.zeros(values.shape),
        title,
        round(limit, 2),
        height=110 + 36 * len(rows),
    )


def run_figure(asked: PolicyRun, seen: list[Answers]) -> go.Figure:
    x = np.arange(1, len(seen) + 1)
    rewards, kl = np.array([(float(step.rewards.mean()), step.kl) for step in seen]).T
    lines = [
        Curve(_("mean reward"), 0, x, rewards, markers=True),
        Curve(_("KL to the network as it ships (nats a token)"), 1, x, kl, markers=True),
    ]
    top = max(1.05, 1.1 * max(step.kl for step in seen))
    return curves(
        lines, _("Step"), _("Value"), x_range=(0.5, asked.steps + 0.5), y_range=(-0.05, top), height=400
    )


def answer_table(latest: Answers) -> pd.DataFrame:
    lengths = latest.mask.sum(1)
    return pd.DataFrame(
        {
            _("Answer"): list(latest.texts),
            _("Reward"): latest.rewards.numpy(),
            _("Advantage"): [f"{value:+.3f}" for value in latest.advantages.tolist()],
            _("Tokens"): lengths.int().numpy(),
            _("Mean ρ after the step"): [
                f"{value:.4f}" for value in ((latest.ratios * latest.mask).sum(1) / lengths).tolist()
            ],
        }
    )


def token_table(seen: list[Answers]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "step": step.step + 1,
                "answer": row + 1,
                "token": word,
                "reward": float(step.rewards[row]),
                "advantage": float(step.advantages[row]),
                "push": float(step.weights[row, column]),
                "ratio_after": float(step.ratios[row, column]),
            }
            for step in seen
            for row, words in enumerate(step.labels)
            for column, word in enumerate(words)
        ]
    )


@st.cache_data(max_entries=16, show_spinner=False)
def sampling_gap(asked: PolicyRun) -> float:
    """Log-probabilities noted while sampling, with a cache, against one plain pass of transformers."""
    network = load(asked.network)
    found = generate(network, asked.prompt, asked.answers, asked.new_tokens, asked.temperature, asked.seed)
    with torch.no_grad():
        again = answer_log_probabilities(
            network.model,
            torch.from_numpy(found.prompt_ids),
            torch.from_numpy(found.token_ids),
            asked.temperature,
        )
    mask = torch.arange(asked.new_tokens) < torch.from_numpy(found.lengths)[:, None]
    return float(((again - torch.from_numpy(found.log_probabilities)) * mask).abs().max())


def snippet(asked: PolicyRun) -> str:
    return f"""from models.policy.real_run import PolicyRun, train
from models.policy.losses import PolicyLoss

for step in train({asked!r}):
    print(step.step, step.loss, step.rewards.tolist(), step.texts[0])
"""
