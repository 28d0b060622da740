"""Real GRPO steps on a network: answers with rewards, advantages and what each token is pushed by."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components import work
from components.figures.curves import Curve, curves
from components.figures.policy import token_strip
from components.figures.style import pale
from components.lesson_parts import note
from components.panels.policy.settings import Averages, Prompted, Seeded, TakesMethod
from components.settings import number, one_of, text
from components.stage import Block, Plot, Row, Stage, show
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
from models.networks.loading import load
from models.networks.sampling import generate
from models.policy.losses import PolicyLoss
from models.policy.real_run import (
    MOST_ANSWERS,
    MOST_STEPS,
    REWARD_NAMES,
    Answers,
    PolicyRun,
    RewardName,
    answer_log_probabilities,
    check_run,
    train,
)
from models.policy.recorded import recorded

RATES = ("0.00001", "0.00003", "0.0001", "0.0003", "0.001")
BETAS = ("0", "0.01", "0.04", "0.1", "0.5")
TEMPERATURES = ("0.7", "1", "1.3")
SHOWN_TOKENS = 12  # of each answer, as many as can be read; the table has it whole
COLOURS = ("push", "change")
SAID = 30  # pixels of the line below the figures


def reward_name_label(name: str) -> str:
    return {
        "quote": _("closes a quotation mark"),
        "word": _("contains a word"),
        "lipogram": _("words without the letter e"),
    }[name]


def colour_label(name: str) -> str:
    return _("what pushes a token") if name == "push" else _("what the step did to it")


@dataclass(frozen=True)
class NetworkLearns(Seeded, Averages, TakesMethod, Prompted):
    """A copy of a network takes real GRPO steps on a reward that a few lines of Python check."""

    page, name = "policy", "real"
    goal: RewardName = one_of(REWARD_NAMES, label=mark("Reward"), label_of=reward_name_label)
    word: str = text("sea", label=mark("Word"), most=100, shown=lambda view: view.goal == "word")
    real_rate: str = one_of(RATES, "0.0001", label=mark("Learning rate"))
    real_beta: str = one_of(BETAS, "0", label="β", beside=True)
    temperature: str = one_of(TEMPERATURES, "1", label=mark("Temperature"), beside=True)
    colour: str = one_of(COLOURS, label=mark("Colour"), label_of=colour_label)
    real_answers: int = number(2, MOST_ANSWERS, 8, label=mark("Answers G"), place="more")
    new_tokens: int = number(4, 128, 32, label=mark("New tokens"), place="more")
    real_updates: int = number(1, 8, 1, label=mark("Updates on a batch μ"), place="more")
    real_steps: int = number(1, MOST_STEPS, 12, label=mark("Steps"), place="more")

    @property
    def asked(self) -> PolicyRun:
        """The run that the controls describe."""
        return PolicyRun(
            self.prompt,
            self.network_name,
            self.goal,
            self.word,
            self.real_answers,
            self.new_tokens,
            float(self.temperature),
            self.method,
            PolicyLoss(aggregation=self.aggregation, longest=self.new_tokens, beta=float(self.real_beta)),
            self.real_updates,
            float(self.real_rate),
            self.real_steps,
            self.seed,
        )

    def run(self) -> work.Run[Answers]:
        asked = self.asked
        return work.run("policy_real", asked, lambda: train(asked), asked.steps, real=True)

    def stage(self) -> Stage:
        asked = self.asked
        check_run(asked)

        def draw(results: Sequence[Answers], *, faint: bool = False) -> None:
            show(self.figures(results or [first_step(asked)], faint), self.page)

        return Stage(Block(lambda: work.stage(self.run(), draw, recorded=lambda: before(asked))))

    def figures(self, steps: Sequence[Answers], faint: bool = False) -> Stage:
        """The latest answers token by token, the run so far, and what the latest step came to."""
        shown = telling(steps) if faint else steps[-1]
        strip = pale(answer_figure(shown, self.colour), faint)
        line = pale(run_figure(self.asked, steps), faint)
        return Stage(
            [
                Plot("real_strip", strip, _("The sampled answers, token by token"), width=2.8),
                Plot("real_reward", line, _("Mean reward and KL by step")),
            ],
            Row([Block(lambda: say_step(shown))], pixels=SAID),
            reserved=work.BUTTONS,
        )

    def below(self) -> None:
        asked, run = self.asked, self.run()
        steps = run.results or before(asked)
        shown = steps[-1] if run.results else telling(steps)
        note(self, "real")
        if not run.is_running:  # else the stage is ahead of it
            st.dataframe(answer_table(shown), hide_index=True, width="stretch")
            what = _("one pass of transformers without a cache, log-probabilities")
            checked_against([Check(what, sampling_gap(asked), 1e-3)])
        take_with_you(
            self,
            lambda: token_table(steps),
            lambda: answer_figure(shown, self.colour),
            snippet(asked),
        )


def before(asked: PolicyRun) -> list[Answers]:
    """What is shown until a run is started: a recorded one of these settings, or its first step."""
    return recorded(asked) or [first_step(asked)]


def telling(steps: Sequence[Answers]) -> Answers:
    """The latest step of a recorded run that taught something; the last one where none did."""
    return next((step for step in reversed(steps) if not is_dead(step)), steps[-1])


def is_dead(step: Answers) -> bool:
    """Whether all rewards agree, so that no answer is better than another."""
    return float(step.rewards.std(correction=0)) == 0


@st.cache_resource(max_entries=8, show_spinner=False)
def first_step(asked: PolicyRun) -> Answers:
    """The first step of a run that nobody has started yet."""
    return next(train(asked))


def say_step(latest: Answers) -> None:
    """The step's loss and gradient, and whether it taught anything."""
    facts = _("Step {step}: loss {loss}, gradient norm {norm}, {seconds} s.").format(
        step=latest.step + 1,
        loss=f"{latest.loss:+.2e}",
        norm=f"{latest.gradient_norm:.3f}",
        seconds=f"{latest.seconds:.2f}",
    )
    warning = _("All rewards agree: this step teaches nothing.") if is_dead(latest) else ""
    st.markdown(f"{facts} {warning}")


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
    )


def run_figure(asked: PolicyRun, steps: Sequence[Answers]) -> go.Figure:
    """Mean reward and KL against the step."""
    x = np.arange(1, len(steps) + 1)
    rewards = np.array([float(step.rewards.mean()) for step in steps])
    kl = np.array([step.kl for step in steps])
    lines = [
        Curve(_("mean reward"), 0, x, rewards, markers=True),
        Curve(_("KL (nats per token)"), 1, x, kl, markers=True),
    ]
    top = max(1.05, 1.1 * float(kl.max()))
    return curves(lines, _("Step"), _("Value"), x_range=(0.5, asked.steps + 0.5), y_range=(-0.05, top))


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


def token_table(steps: Sequence[Answers]) -> pd.DataFrame:
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
            for step in steps
            for row, words in enumerate(step.labels)
            for column, word in enumerate(words)
        ]
    )


@st.cache_data(max_entries=16, show_spinner=False)
def sampling_gap(asked: PolicyRun) -> float:
    """Log-probabilities noted while sampling, with a cache, against one plain pass of transformers."""
    network = load(asked.network)
    generated = generate(
        network, asked.prompt, asked.answers, asked.new_tokens, asked.temperature, asked.seed
    )
    with torch.no_grad():
        again = answer_log_probabilities(
            network.model,
            torch.from_numpy(generated.prompt_ids),
            torch.from_numpy(generated.token_ids),
            asked.temperature,
        )
    mask = torch.arange(asked.new_tokens) < torch.from_numpy(generated.lengths)[:, None]
    return float(((again - torch.from_numpy(generated.log_probabilities)) * mask).abs().max())


def snippet(asked: PolicyRun) -> str:
    """Python that repeats the run."""
    return f"""from models.policy.real_run import PolicyRun, train
from models.policy.losses import PolicyLoss

for step in train({asked!r}):
    print(step.step, step.loss, step.rewards.tolist(), step.texts[0])
"""
