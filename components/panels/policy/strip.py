"""Token strip: what each token of sampled answers does to the gradient, and where a clip takes it."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.figures.policy import clip_curves, grouped_bars, round_limits, token_strip
from components.lesson_parts import note
from components.panels.policy.settings import SHORT_NAMES, LongestAnswer, Prompted, Seeded
from components.settings import one_of, slider
from components.stage import Plot, Row, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
from models.networks.engine.choice import engine
from models.policy.group_advantages import advantages
from models.policy.losses import (
    AGGREGATIONS,
    KINDS,
    Kind,
    PolicyLoss,
    Rollout,
    gradients,
    is_clipped,
    objective,
    ratios,
    token_losses,
)
from models.policy.real_run import QUOTES

ANSWERS, TOKENS = 6, 24
SHORTEST = 3  # tokens of an answer, whatever ends it
ENDS = (".", "!", "?", *QUOTES)
LEVELS = ("token", "sequence")
BOUNDS = ("none", "dual", "delta")
CURVE_RATIOS = np.linspace(0.02, 3, 150)
FIRST_OF_AVERAGES = 2  # place of the averages' colours: the two signs of the advantage have the first
SMALLEST_SUM = 1e-12  # of pushes, where all are 0
NO_CLIP = mark("this kind of loss has no clip")
EDGE = 1e-4  # a ratio that is nearer to a clip's edge has two slopes


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
    generated = engine().generate(network, prompt, ANSWERS, TOKENS, 1.0, seed)
    rows = [engine().labels(network, tuple(row.tolist())) for row in generated.token_ids]
    lengths = [end_of(row, int(length)) for row, length in zip(rows, generated.lengths, strict=True)]
    words = tuple(row[:length] for row, length in zip(rows, lengths, strict=True))
    mask = (torch.arange(TOKENS) < torch.tensor(lengths)[:, None]).double()
    generator = torch.Generator().manual_seed(seed)
    return Sampled(
        words,
        tuple(float(any(quote in "".join(row) for quote in QUOTES)) for row in words),
        torch.from_numpy(generated.log_probabilities).double() * mask,
        mask,
        torch.randn(mask.shape, generator=generator, dtype=torch.float64),
    )


def end_of(row: tuple[str, ...], length: int) -> int:
    """Tokens up to the first that ends a sentence, some at least."""
    ends = [number for number, word in enumerate(row[:length], 1) if any(end in word for end in ENDS)]
    return next((end for end in ends if end >= SHORTEST), length)


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
    return _("each token") if level == "token" else _("answer (GSPO)")


def without_clip(view: "TokenStrip") -> str:
    return "" if view.kind == "clip" else NO_CLIP


def without_bound(view: "TokenStrip") -> str:
    if view.kind != "clip":
        return NO_CLIP
    return mark("choose a bound") if view.bound == "none" else ""


@dataclass(frozen=True)
class TokenStrip(Seeded, LongestAnswer, Prompted):
    """What each token of sampled answers does to the gradient, and where a clip takes that."""

    page, name = "policy", "strip"
    drift: float = slider(
        0.0,
        1.0,
        0.3,
        label=mark("How far the policy has moved"),
        help=mark("Simulated: ln ρ of each token is this times a random number of deviation 1."),
    )
    low: float = slider(0.0, 1.0, 0.2, label=mark("Clip ε below"), off=without_clip)
    high: float = slider(0.0, 1.0, 0.2, label=mark("Clip ε above"), off=without_clip)
    bound_at: float = slider(1.0, 5.0, 3.0, 0.05, label=mark("The bound, a ratio"), off=without_bound)
    kind: Kind = one_of(KINDS, "clip", label=mark("Kind of loss"), label_of=kind_label)
    level: str = one_of(LEVELS, label=mark("Ratio of"), label_of=level_label, style="segments")
    bound: str = one_of(
        BOUNDS,
        label=mark("Bound where A < 0"),
        label_of=bound_label,
        help=mark("The clip alone leaves the ratio of a bad answer's token without an upper end."),
        off=without_clip,
    )

    @property
    def loss(self) -> PolicyLoss:
        return PolicyLoss(
            self.kind,
            "sequence" if self.level == "sequence" else "token",
            self.low,
            self.high,
            delta=self.bound_at if self.bound == "delta" else None,
            dual_clip=self.bound_at if self.bound == "dual" else None,
            aggregation=self.aggregation,
            longest=self.longest,
        )

    @property
    def answers(self) -> Sampled:
        """What the network answered. Raises InputError."""
        return sampled(self.network_name, self.prompt, self.seed)

    @property
    def rollout(self) -> Rollout:
        """The answers, under a policy that has moved as far as the slider says."""
        answers = self.answers
        rewards = torch.tensor(answers.rewards, dtype=torch.float64)
        log_p = answers.log_p + self.drift * answers.noise * answers.mask
        made = advantages(rewards[None])[0]
        return Rollout(log_p, answers.log_p, answers.log_p, made, answers.mask)

    def stage(self) -> Stage:
        answers, rollout, loss = self.answers, self.rollout, self.loss
        strip = strip_figure(answers, rollout, loss)
        curve = loss_figure(loss, float(np.exp(self.drift)))
        return Stage(
            Row(
                [Plot("strip", strip, _("What each token of each answer does to the gradient"))],
                height=1.1,
            ),
            [
                Plot(
                    "shares",
                    share_figure(rollout, loss),
                    _("What one token of each answer gets under three averages"),
                    rest=60,
                ),
                Plot("clip_curves", curve, _("Loss of a token against its ratio"), rest=60),
            ],
        )

    def below(self) -> None:
        answers, rollout, loss = self.answers, self.rollout, self.loss
        note(self, "strip")
        st.dataframe(answer_table(answers, rollout, loss), hide_index=True, width="stretch")
        checked_against(checks(rollout, loss))
        take_with_you(
            self,
            lambda: token_table(answers, rollout, loss),
            lambda: strip_figure(answers, rollout, loss),
            snippet(self),
        )


def share_figure(rollout: Rollout, loss: PolicyLoss) -> go.Figure:
    """The mean push on a token of each answer, in percent of all pushes, under three averages."""
    lengths, series = rollout.mask.sum(1), {}
    for name in AGGREGATIONS[:3]:
        _parts, policy, _kl = gradients(rollout, replace(loss, aggregation=name))
        series[SHORT_NAMES[name]] = (
            -100 * policy.sum(1) / lengths / policy.abs().sum().clamp(min=SMALLEST_SUM)
        ).numpy()
    names = [f"{number}<br>{int(length)}" for number, length in enumerate(lengths, 1)]
    return grouped_bars(
        series,
        names,
        _("Share of a token (%)"),
        x_title=_("Answer, and how many tokens it has"),
        limits=round_limits(*series.values()),
        first=FIRST_OF_AVERAGES,
    )


def strip_figure(answers: Sampled, rollout: Rollout, loss: PolicyLoss) -> go.Figure:
    """−∂L/∂ln π in thousandths: above 0 the token becomes likelier."""
    _parts, policy, _kl = gradients(rollout, loss)
    values = torch.where(rollout.mask > 0, -1000 * policy, torch.nan)
    rows = [
        f"r={reward:.0f} A={advantage:+.2f}"
        for reward, advantage in zip(answers.rewards, rollout.advantages.tolist(), strict=True)
    ]
    limit = 1.0 if loss.aggregation == "constant" else round(2000 / float(rollout.mask.sum()), 1)
    bound = bound_by_clip(rollout, loss).numpy()
    return token_strip(values.numpy(), answers.words, rows, bound, "−∂L/∂ln π · 1000", limit)


def bound_by_clip(rollout: Rollout, loss: PolicyLoss) -> torch.Tensor:
    """Where a clip binds, on real tokens of answers with an advantage; no other loss has such a place."""
    if loss.kind != "clip":
        return torch.zeros_like(rollout.mask)
    return is_clipped(ratios(rollout, loss.level), rollout.advantages, loss) * rollout.mask


def loss_figure(loss: PolicyLoss, ratio_now: float) -> go.Figure:
    """One token's loss against ρ. CISPO and its like are drawn as what their gradient adds up to."""
    log_p = torch.from_numpy(CURVE_RATIOS).log()[:, None]
    none, all_ones = torch.zeros_like(log_p), torch.ones_like(log_p)
    columns = []
    for sign in (1.0, -1.0):
        single = Rollout(log_p, none, none, torch.full((len(log_p),), sign, dtype=log_p.dtype), all_ones)
        columns.append(token_losses(single, loss)[:, 0].numpy())
    return clip_curves(CURVE_RATIOS, columns[0], columns[1], ratio_now)


def answer_table(answers: Sampled, rollout: Rollout, loss: PolicyLoss) -> pd.DataFrame:
    _parts, policy, _kl = gradients(rollout, loss)
    bound, length = bound_by_clip(rollout, loss), rollout.mask.sum(1)
    pushes = -policy.sum(1)
    return pd.DataFrame(
        [
            {
                _("Answer"): "".join(words).replace("·", " "),
                _("Reward"): answers.rewards[number],
                _("Tokens"): int(length[number]),
                _("Advantage"): f"{float(rollout.advantages[number]):+.4f}",
                _("Clipped tokens"): int((bound[number] != 0).sum()),
                _("Push of the answer"): f"{float(pushes[number]):+.5f}",
                _("Push of one token"): f"{float(pushes[number] / length[number]):+.6f}",
            }
            for number, words in enumerate(answers.words)
        ]
    )


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
    edges = (1 - loss.epsilon_low, 1 + loss.epsilon_high, loss.delta, loss.dual_clip)
    ratio, gap = ratios(rollout, loss.level), 0.0
    for row in range(len(policy)):
        if all(abs(float(ratio[row, 0]) - edge) >= EDGE for edge in edges if edge is not None):
            gap = max(gap, abs(slope(rollout, loss, row) - float(policy[row, 0])))
    return [Check(_("finite differences of the loss, first token of each answer"), gap, 1e-6)]


def slope(rollout: Rollout, loss: PolicyLoss, row: int, step: float = 1e-6) -> float:
    """How the loss changes with ln π of an answer's first token."""
    nudge = torch.zeros_like(rollout.log_p)
    nudge[row, 0] = step
    above, below = (
        float(objective(replace(rollout, log_p=rollout.log_p + sign * nudge), loss).total)
        for sign in (1, -1)
    )
    return (above - below) / (2 * step)


def snippet(view: TokenStrip) -> str:
    """Python that repeats the pushes of the strip."""
    answers = view.answers
    lengths = [int(length) for length in answers.mask.sum(1)]
    return f"""import torch

from models.networks.loading import load
from models.networks.sampling import generate
from models.policy.group_advantages import advantages
from models.policy.losses import PolicyLoss, Rollout, gradients

found = generate(load({view.network_name!r}), {view.prompt!r}, {ANSWERS}, {TOKENS}, 1.0, {view.seed})
lengths = torch.tensor({lengths!r})  # of each answer, up to the end of its first sentence
rewards = torch.tensor([{list(answers.rewards)!r}])  # 1 for a closed quotation; or your own
mask = (torch.arange({TOKENS}) < lengths[:, None]).double()
old = torch.from_numpy(found.log_probabilities).double() * mask
noise = torch.randn(mask.shape, generator=torch.Generator().manual_seed({view.seed}), dtype=torch.float64)
log_p = old + {view.drift!r} * noise * mask
rollout = Rollout(log_p, old, old, advantages(rewards.double())[0], mask)
print(-1000 * gradients(rollout, {view.loss!r})[1])
"""
