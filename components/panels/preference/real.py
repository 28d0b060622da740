"""A real network learns one preference: two answers scored, a few real steps, before and after."""

import numpy as np
import pandas as pd
import streamlit as st
import torch

from components.controls import choose, text_field, whole_number
from components.figures.preference_labs import answer_strip, log_ratios_of_run, losses_of_run
from components.live.figure import live_figure
from components.page import Check, Page, checked_against, take_with_you
from components.panels import panel
from components.panels.network.text import choose_network
from components.panels.preference.plane import ON_PLANE
from components.panels.preference.settings import loss_controls, settings_now
from components.words import _
from components.work.running import is_going, keep_going, run_buttons, run_of, show_progress
from components.work.runs import Held
from models.networks.loading import load
from models.networks.scoring import answer_batch, answer_log_probabilities
from models.preference.real_run import MOST_STEPS, Duel, Progress, TokenPull, train_on_pair

RATES = ("0.00001", "0.00003", "0.0001", "0.0003", "0.001", "0.003")
NOISES = ("0", "0.02", "0.05", "0.1", "0.2")


@panel
def real_network(page: Page) -> None:
    name = page.name
    with st.container(border=True):
        left, right = st.columns([1, 2], gap="medium")
        with left:
            network = choose_network(page)
            text_field(_("Prompt"), f"{name}_prompt", page.default("prompt"), lines=2, height=80)
        with right:
            help = _("An answer usually begins with a space: it goes on from the prompt's last letter.")
            text_field(
                _("Chosen answer"), f"{name}_yes", page.default("yes"), lines=2, height=80, help=help
            )
            text_field(_("Rejected answer"), f"{name}_no", page.default("no"), lines=2, height=80)
    loss_controls(page, (), (), ON_PLANE)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        whole_number(_("Steps (0 only scores)"), 0, MOST_STEPS, f"{name}_real_steps", 12, width=170)
        choose(_("Learning rate"), RATES, f"{name}_real_rate", str, default="0.0001", width=130)
        choose(
            _("Noise on the reference's matrices"), NOISES, f"{name}_noise",
            lambda value: _("none") if value == "0" else value, default="0", width=250,
        )  # fmt: skip
        whole_number(_("Seed"), 0, 9_999, f"{name}_seed", 0, width=110)
    real_run(page, network)


def asked_now(page: Page, network: str) -> Duel:
    """The run that the controls describe. Raises InputError where it is none."""
    state, name = st.session_state, page.name
    loss = state[f"{name}_loss"]
    return Duel(
        network=network,
        prompt=state[f"{name}_prompt"],
        chosen=state[f"{name}_yes"],
        rejected=state[f"{name}_no"],
        loss=loss if loss in ON_PLANE else "sigmoid",
        settings=settings_now(page),
        steps=state[f"{name}_real_steps"],
        learning_rate=float(state[f"{name}_real_rate"]),
        noise=float(state[f"{name}_noise"]),
        seed=state[f"{name}_seed"],
    )


@panel
def real_run(page: Page, network: str) -> None:
    """Buttons, curves, both answers token by token, and what the policy says by itself."""
    asked = asked_now(page, network)
    first = scored(Duel(**(vars(asked) | {"steps": 0})))
    held = run_of(page, "real", asked, lambda: train_on_pair(asked))
    if asked.steps:
        with st.container(horizontal=True, vertical_alignment="center"):
            run_buttons(page, "real", asked, lambda: train_on_pair(asked), held, is_real=True)
    now = latest(held, first)
    if is_going(page, "real"):
        show_progress(now.step, asked.steps)
    left, right = st.columns(2, gap="small")
    reference = [part.total for part in now.reference]
    with left:
        ratios = log_ratios_of_run(now.chosen - reference[0], now.rejected - reference[1], asked.steps)
        live_figure(ratios, f"{page.name}_ratios", _("Log-ratios of both answers against the step"))
    with right:
        live_figure(
            losses_of_run(now.losses, asked.steps),
            f"{page.name}_losses",
            _("Loss of the pair against the step"),
        )
    strips(page, now)
    page.note("real")
    left, right = st.columns(2, gap="medium")
    left.markdown("**" + _("The network goes on by itself, before") + "**")
    left.code(asked.prompt + first.continuation, language=None, wrap_lines=True)
    right.markdown("**" + _("After step {step}").format(step=now.step) + "**")
    right.code(asked.prompt + now.continuation, language=None, wrap_lines=True)
    st.dataframe(numbers(asked, now), hide_index=True, width="stretch")
    if not is_going(page, "real"):
        gap = attention_gap(asked.network, asked.prompt, (asked.chosen, asked.rejected), first)
        what = _("the same network with transformers' eager attention, log π of both answers")
        checked_against([Check(what, gap, 1e-3)])
    take_with_you(
        f"{page.name}_real",
        lambda: tokens(now),
        lambda: losses_of_run(now.losses, asked.steps),
        snippet(asked),
    )
    keep_going(page, "real", held)


@st.cache_data(max_entries=16, show_spinner=False)
def scored(asked: Duel) -> Progress:
    """The pair before any step."""
    return next(train_on_pair(asked))


def latest(held: Held | None, first: Progress) -> Progress:
    found: Progress = held.seen[-1] if held is not None and held.seen else first
    return found


def strips(page: Page, now: Progress) -> None:
    """Both answers, token by token, on the same scales."""
    parts: tuple[TokenPull, TokenPull] = now.pulls
    lowest = min(
        float(part.log_probabilities.min()) for part in (*now.reference, *[pull.score for pull in parts])
    )
    strongest = max(float(pull.by_logits.max()) for pull in parts)
    for column, pull, reference, title, key in zip(
        st.columns(2, gap="small"),
        parts,
        now.reference,
        (_("Chosen answer"), _("Rejected answer")),
        ("chosen", "rejected"),
        strict=True,
    ):
        with column:
            live_figure(
                answer_strip(
                    pull.score.labels,
                    pull.score.log_probabilities,
                    reference.log_probabilities,
                    pull.by_logits,
                    (1.08 * lowest, max(strongest, 1e-9)),
                    title,
                ),
                f"{page.name}_strip_{key}",
                title + ": " + _("log-probability and gradient of every token"),
            )


def numbers(asked: Duel, now: Progress) -> pd.DataFrame:
    """Both answers in sums: reference, policy, implicit reward, push on each of their tokens."""
    rows = []
    for name, pull, reference in zip((_("chosen"), _("rejected")), now.pulls, now.reference, strict=True):
        delta = pull.score.total - reference.total
        rows.append(
            {
                _("Answer"): name,
                _("Tokens"): len(pull.score.labels),
                "log π_ref": f"{reference.total:.3f}",
                "log π": f"{pull.score.total:.3f}",
                "Δ": f"{delta:+z.3f}",
                "β Δ": f"{asked.settings.beta * delta:+z.4f}",
                _("−∂L/∂log π of each token"): f"{-float(np.mean(pull.by_log_probability)):+.5f}",
            }
        )
    return pd.DataFrame(rows)


@st.cache_data(
    max_entries=8, show_spinner=False, hash_funcs={Progress: lambda first: first.losses.tobytes()}
)
def attention_gap(network: str, prompt: str, answers: tuple[str, str], first: Progress) -> float:
    """The untrained policy's sums, beside those of the network that traces use, in another attention."""
    loaded = load(network, "cpu", torch.float32)
    found = answer_log_probabilities(loaded.model, answer_batch(loaded, prompt, answers)).sum(1).tolist()
    ours = [pull.score.total for pull in first.pulls]
    return max(abs(a - b) / max(1.0, abs(b)) for a, b in zip(found, ours, strict=True))


def tokens(now: Progress) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "answer": name,
                "token": label,
                "reference": float(before),
                "policy": float(after),
                "by_logits": float(pull),
            }
            for name, part, reference in zip(("chosen", "rejected"), now.pulls, now.reference, strict=True)
            for label, before, after, pull in zip(
                part.score.labels,
                reference.log_probabilities,
                part.score.log_probabilities,
                part.by_logits,
                strict=True,
            )
        ]
    )


def snippet(asked: Duel) -> str:
    """Python that repeats the run."""
    return f"""from models.preference.real_run import Duel, train_on_pair
from models.preference.losses import LossSettings

*_, last = train_on_pair({asked!r})
print(last.losses, last.chosen, last.rejected)
"""
