"""Token strip: what each token of sampled answers does to the gradient, and where a clip takes it."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.controls import choose, text_field, whole_number
from components.figures.policy import clip_curves, grouped_bars, token_strip
from components.live.figure import live_figure
from components.live.slider import live_slider, slider_value
from components.page import Check, Page, checked_against, take_with_you
from components.panels import live_panel, panel
from components.panels.network.text import choose_network
from components.panels.policy.setup import aggregation_label, choose_aggregation, now
from components.words import _
from models.networks.engine.choice import engine
from models.policy.group_advantages import advantages
from models.policy.losses import (
    AGGREGATIONS,
    KINDS,
    PolicyLoss,
    Rollout,
    gradients,
    is_clipped,
    objective,
    ratios,
    token_losses,
)
from models.policy.real_run import QUOTES

LIVE = ("strip_live",)
SETTLED = (*LIVE, "strip_facts")
ANSWERS, TOKENS = 6, 24
ENDS = (".", "!", "?", *QUOTES)
LEVELS = ("token", "sequence")
BOUNDS = ("none", "dual", "delta")
BOUND_RANGE = (1.0, 5.0, 3.0, 0.05)  # lowest, highest, default, step


@dataclass(frozen=True, eq=False)
class Sampled:
    """Answers to the prompt, cut behind their first sentence so that lengths differ."""

    words: tuple[tuple[str, ...], ...]
    rewards: tuple[float, ...]
    log_p: torch.Tensor
    mask: torch.Tensor
    noise: torch.Tensor  # by which the policy is moved away from the one that sampled


@st.cache_resource(max_entries=8, show_spinner=False)
def sampled(network: str, prompt: str, seed: int) -> Sampled:
    """A few answers with their log-probabilities; a closed quotation earns 1."""
    found = engine().generate(network, prompt, ANSWERS, TOKENS, 1.0, seed)
    rows = [engine().labels(network, tuple(row.tolist())) for row in found.token_ids]
    lengths = [_end(row, int(length)) for row, length in zip(rows, found.lengths, strict=True)]
    mask = (torch.arange(TOKENS) < torch.tensor(lengths)[:, None]).double()
    generator = torch.Generator().manual_seed(seed)
    return Sampled(
        tuple(row[:length] for row, length in zip(rows, lengths, strict=True)),
        tuple(
            float(any(mark in "".join(row[:length]) for mark in QUOTES))
            for row, length in zip(rows, lengths, strict=True)
        ),
        torch.from_numpy(found.log_probabilities).double() * mask,
        mask,
        torch.randn(mask.shape, generator=generator, dtype=torch.float64),
    )


def _end(row: tuple[str, ...], length: int) -> int:
    """Tokens up to the first that ends a sentence, three at least."""
    ends = [place + 1 for place, word in enumerate(row[:length]) if any(mark in word for mark in ENDS)]
    return next((end for end in ends if end >= 3), length)


@panel
def token_view(page: Page) -> None:
    name = page.name
    with st.container(horizontal=True, vertical_alignment="bottom"):
        choose_network(page)
        text_field(_("Prompt"), f"{name}_prompt", page.default("prompt"), width=420)
        whole_number(_("Seed"), 0, 9_999, f"{name}_seed", 0, width=110)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        choose(_("Kind of loss"), KINDS, f"{name}_kind", kind_label, default="clip", width=190)
        choose(_("Ratio of"), LEVELS, f"{name}_level", level_label, default="token", style="segments")
        choose_aggregation(page)
        whole_number(_("Longest answer L"), 1, 100_000, f"{name}_longest", 512, width=140)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        live_slider(
            _("How far the policy has moved"), f"{name}_drift", 0.0, 1.0, 0.3, 0.01,
            help=_("Simulated: ln ρ of each token is this times a random number of deviation 1."),
            live=LIVE, settled=SETTLED,
        )  # fmt: skip
        live_slider("ε", f"{name}_low", 0.0, 1.0, 0.2, 0.01, live=LIVE, settled=SETTLED)
        live_slider(_("ε above"), f"{name}_high", 0.0, 1.0, 0.2, 0.01, live=LIVE, settled=SETTLED)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        choose(
            _("Bound where A < 0"), BOUNDS, f"{name}_bound", bound_label, default="none", width=300,
            help=_("The clip alone leaves the ratio of a bad answer's token without an upper end."),
        )  # fmt: skip
        live_slider(_("The bound, a ratio"), f"{name}_bound_at", *BOUND_RANGE, live=LIVE, settled=SETTLED)
    strip_live(page)
    page.note("strip")
    strip_facts(page)


def kind_label(kind: str) -> str:
    return {
        "clip": _("clip (PPO, GRPO)"),
        "cispo": "CISPO",
        "sapo": "SAPO",
        "vespo": "VESPO",
        "reinforce": "REINFORCE",
    }[kind]


def bound_label(bound: str) -> str:
    return {
        "none": _("none (PPO, GRPO)"),
        "dual": _("dual clip c (verl)"),
        "delta": _("two-sided δ (TRL)"),
    }[bound]


def level_label(level: str) -> str:
    return _("a token") if level == "token" else _("a whole answer (GSPO)")


def loss_of_strip(page: Page) -> PolicyLoss:
    name, bound = page.name, now(page, "bound")
    low, high, default, _step = BOUND_RANGE
    at = slider_value(f"{name}_bound_at", low, high, default)
    return PolicyLoss(
        now(page, "kind"),
        now(page, "level"),
        slider_value(f"{name}_low", 0.0, 1.0, 0.2),
        slider_value(f"{name}_high", 0.0, 1.0, 0.2),
        delta=at if bound == "delta" else None,
        dual_clip=at if bound == "dual" else None,
        aggregation=now(page, "aggregation"),
        longest=now(page, "longest"),
    )


def rollout_now(page: Page) -> tuple[Sampled, Rollout]:
    """The answers, under a policy that has moved as far as the slider says."""
    state, name = st.session_state, page.name
    answers = sampled(state[f"{name}_network"], state[f"{name}_prompt"], state[f"{name}_seed"])
    drift = slider_value(f"{name}_drift", 0.0, 1.0, 0.3)
    rewards = torch.tensor(answers.rewards, dtype=torch.float64)
    log_p = answers.log_p + drift * answers.noise * answers.mask
    return answers, Rollout(log_p, answers.log_p, answers.log_p, advantages(rewards[None])[0], answers.mask)


@live_panel
def strip_live(page: Page) -> None:
    answers, rollout = rollout_now(page)
    loss = loss_of_strip(page)
    live_figure(
        strip_figure(answers, rollout, loss),
        f"{page.name}_strip",
        _("What each token of each answer does to the gradient"),
    )
    left, right = st.columns(2, gap="medium")
    with left:
        live_figure(
            share_figure(rollout, loss),
            f"{page.name}_shares",
            _("What one token of each answer gets under three averages"),
        )
    with right:
        live_figure(
            loss_figure(loss, float(np.exp(slider_value(f"{page.name}_drift", 0.0, 1.0, 0.3)))),
            f"{page.name}_clip_curves",
            _("Loss of a token against its ratio"),
        )


def share_figure(rollout: Rollout, loss: PolicyLoss) -> go.Figure:
    """The mean push on a token of each answer, in percent of all pushes, under three averages."""
    lengths, series = rollout.mask.sum(1), {}
    for name in AGGREGATIONS[:3]:
        _parts, policy, _kl = gradients(rollout, replace(loss, aggregation=name))
        series[aggregation_label(name)] = (-100 * policy.sum(1) / lengths / policy.abs().sum()).numpy()
    names = [f"{place + 1}<br>{int(length)}" for place, length in enumerate(lengths)]
    return grouped_bars(
        series, names, _("Share of one token (%)"), x_title=_("Answer, and how many tokens it has"),
        limits=(-6, 6), height=380,
    )  # fmt: skip


def strip_figure(answers: Sampled, rollout: Rollout, loss: PolicyLoss) -> go.Figure:
    """−∂L/∂ln π in thousandths: above 0 the token becomes likelier."""
    _parts, policy, _kl = gradients(rollout, loss)
    values = torch.where(rollout.mask > 0, -1000 * policy, torch.nan)
    rows = [
        f"r={reward:.0f} A={advantage:+.2f}"
        for reward, advantage in zip(answers.rewards, rollout.advantages.tolist(), strict=True)
    ]
    return token_strip(
        values.numpy(), answers.words, rows, bound_by_clip(rollout, loss).numpy(), "−∂L/∂ln π · 1000",
        round(2.0 * 1000 / float(rollout.mask.sum()), 1) if loss.aggregation != "constant" else 1.0,
    )  # fmt: skip


def bound_by_clip(rollout: Rollout, loss: PolicyLoss) -> torch.Tensor:
    """Where a clip binds, on real tokens of answers with an advantage; no other loss has such a place."""
    if loss.kind != "clip":
        return torch.zeros_like(rollout.mask)
    return is_clipped(ratios(rollout, loss.level), rollout.advantages, loss) * rollout.mask


def loss_figure(loss: PolicyLoss, now_at: float) -> go.Figure:
    """One token's loss against ρ. CISPO and its like are drawn as what their gradient adds up to."""
    ratio = np.linspace(0.02, 3, 150)
    columns = []
    for sign in (1.0, -1.0):
        log_p = torch.from_numpy(ratio).log()[:, None]
        none = torch.zeros_like(log_p)
        single = Rollout(
            log_p, none, none, torch.full((150,), sign, dtype=torch.float64), torch.ones_like(log_p)
        )
        columns.append(token_losses(single, loss)[:, 0].numpy())
    return clip_curves(ratio, columns[0], columns[1], now_at, height=380)


@panel
def strip_facts(page: Page) -> None:
    answers, rollout = rollout_now(page)
    loss = loss_of_strip(page)
    table = answer_table(answers, rollout, loss)
    st.dataframe(table, hide_index=True, width="stretch")
    checked_against(checks(rollout, loss))
    take_with_you(
        f"{page.name}_strip",
        lambda: token_table(answers, rollout, loss),
        lambda: strip_figure(answers, rollout, loss),
        snippet(page),
    )


def answer_table(answers: Sampled, rollout: Rollout, loss: PolicyLoss) -> pd.DataFrame:
    _parts, policy, _kl = gradients(rollout, loss)
    bound, length = bound_by_clip(rollout, loss), rollout.mask.sum(1)
    rows: list[dict[str, Any]] = []
    for place, words in enumerate(answers.words):
        rows.append(
            {
                _("Answer"): "".join(words).replace("·", " "),
                _("Reward"): answers.rewards[place],
                _("Tokens"): int(length[place]),
                _("Advantage"): f"{float(rollout.advantages[place]):+.4f}",
                _("Clipped tokens"): int((bound[place] != 0).sum()),
                _("Push of the answer"): f"{-float(policy[place].sum()):+.5f}",
                _("Push of one token"): f"{-float(policy[place].sum() / length[place]):+.6f}",
            }
        )
    return pd.DataFrame(rows)


def token_table(answers: Sampled, rollout: Rollout, loss: PolicyLoss) -> pd.DataFrame:
    _parts, policy, _kl = gradients(rollout, loss)
    ratio, bound = ratios(rollout, loss.level), bound_by_clip(rollout, loss)
    return pd.DataFrame(
        [
            {
                "answer": row + 1,
                "token": word,
                "advantage": float(rollout.advantages[row]),
                "ratio": float(ratio[row, column]),
                "clip": int(bound[row, column]),
                "push": -float(policy[row, column]),
            }
            for row, words in enumerate(answers.words)
            for column, word in enumerate(words)
        ]
    )


def checks(rollout: Rollout, loss: PolicyLoss) -> list[Check]:
    """The gradient of some tokens by finite differences; by torch's own difference of the loss."""
    _parts, policy, _kl = gradients(rollout, loss)
    if loss.kind in ("cispo", "vespo"):  # their weight is held fixed, which differences cannot know
        expected = -rollout.advantages[:, None] * rollout.mask
        is_same = ((policy * expected) >= 0).all()
        return [Check(_("signs of the advantages"), 0.0 if is_same else 1.0, 0.0)]
    step, gap, ratio = 1e-6, 0.0, ratios(rollout, loss.level)
    for row in range(len(policy)):
        if any(
            abs(float(ratio[row, 0]) - edge) < 1e-4
            for edge in (1 - loss.epsilon_low, 1 + loss.epsilon_high, loss.delta, loss.dual_clip)
            if edge is not None
        ):
            continue  # on the clip's edge the loss has two slopes
        nudge = torch.zeros_like(rollout.log_p)
        nudge[row, 0] = step
        ends = [
            float(objective(Rollout(rollout.log_p + way * nudge, rollout.old, rollout.reference,
                                    rollout.advantages, rollout.mask), loss).total)
            for way in (1, -1)
        ]  # fmt: skip
        gap = max(gap, abs((ends[0] - ends[1]) / (2 * step) - float(policy[row, 0])))
    return [Check(_("finite differences of the loss, first token of each answer"), gap, 1e-6)]


def snippet(page: Page) -> str:
    state, name = st.session_state, page.name
    return f"""import torch

from models.networks.loading import load
from models.networks.sampling import generate
from models.policy.losses import PolicyLoss, Rollout, gradients

network, prompt = load({state[f"{name}_network"]!r}), {state[f"{name}_prompt"]!r}
found = generate(network, prompt, {ANSWERS}, {TOKENS}, 1.0, {state[f"{name}_seed"]})
old = torch.from_numpy(found.log_probabilities)
advantages = torch.tensor([1.0] + [-0.2] * {ANSWERS - 1})  # yours
rollout = Rollout(old, old, old, advantages, torch.ones_like(old))
print(gradients(rollout, {loss_of_strip(page)!r}))
"""
