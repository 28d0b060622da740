"""A real network learns one preference: two answers scored, a few real steps, before and after."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import streamlit as st
import torch

from components import work
from components.figures.preference_labs import answer_strip, log_ratios_of_run, losses_of_run
from components.figures.style import pale
from components.lesson_parts import note
from components.panels.network.reading import ReadsNetwork
from components.panels.preference.settings import HasLoss
from components.settings import number, one_of, text
from components.stage import Block, Plot, Row, Stage, show
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
from models.networks.loading import load
from models.networks.scoring import answer_batch, answer_log_probabilities
from models.preference.real_run import MOST_STEPS, Duel, Progress, TokenPull, train_on_pair
from models.preference.recorded import recorded

RATES = ("0.00001", "0.00003", "0.0001", "0.0003", "0.001", "0.003")
NOISES = ("0", "0.02", "0.05", "0.1", "0.2")


def noise_label(value: str) -> str:
    return _("none") if value == "0" else value


@dataclass(frozen=True)
class RealNetwork(HasLoss, ReadsNetwork):
    """Two answers of a real network, scored and pushed apart in a few real steps."""

    page, name = "preference", "real"
    yes: str = text(
        " 'I will go to the harbour in the morning.'",
        label=mark("Chosen answer"),
        lines=2,
        most=4_000,
        help=mark("An answer usually begins with a space: it goes on from the prompt's last letter."),
    )
    no: str = text(
        " 'I will go to the harbour in the evening.'",
        label=mark("Rejected answer"),
        lines=2,
        most=4_000,
        help=mark("An answer usually begins with a space: it goes on from the prompt's last letter."),
    )
    prompt: str = text(
        "The old lighthouse keeper looked at the sea and said,", label=mark("Prompt"), lines=2, most=4_000
    )
    real_steps: int = number(0, MOST_STEPS, 12, label=mark("Steps (0 only scores)"))
    real_rate: str = one_of(RATES, "0.0001", label=mark("Learning rate"), beside=True)
    noise: str = one_of(
        NOISES, label=mark("Noise on the reference's matrices"), label_of=noise_label, place="more"
    )
    seed: int = number(0, 9_999, 0, label=mark("Seed"), place="more")

    @property
    def asked(self) -> Duel:
        """The run that the controls describe. Raises InputError where it is none."""
        return Duel(
            network=self.network_name,
            prompt=self.prompt,
            chosen=self.yes,
            rejected=self.no,
            loss=self.pair_loss,
            settings=self.settings,
            steps=self.real_steps,
            learning_rate=float(self.real_rate),
            noise=float(self.noise),
            seed=self.seed,
        )

    def run(self) -> work.Run[Progress]:
        asked = self.asked
        return work.run("preference_real", asked, lambda: train_on_pair(asked), asked.steps + 1, real=True)

    def stage(self) -> Stage:
        return Stage(Block(self.draw_run))

    def draw_run(self) -> None:
        asked = self.asked
        first = scored(replace(asked, steps=0))

        known = recorded(asked)

        def draw(results: Sequence[Progress], *, faint: bool = False) -> None:
            show(plots_of(asked, results[-1] if results else first, faint), self.page)

        if asked.steps:
            work.stage(self.run(), draw, recorded=(lambda: [known]) if known else None)
        else:
            draw([first])

    def below(self) -> None:
        """What the policy says by itself, both answers in sums, the check, and what to take along."""
        note(self, "real")
        asked = self.asked
        first = scored(replace(asked, steps=0))
        run = self.run() if asked.steps else None
        now = (run.results[-1] if run is not None and run.results else recorded(asked)) or first
        left, right = st.columns(2, gap="medium")
        left.markdown("**" + _("The network goes on by itself, before") + "**")
        left.code(asked.prompt + first.continuation, language=None, wrap_lines=True)
        right.markdown("**" + _("After step {step}").format(step=now.step) + "**")
        right.code(asked.prompt + now.continuation, language=None, wrap_lines=True)
        st.dataframe(numbers(asked, now), hide_index=True, width="stretch")
        if run is None or not run.is_running:
            gap = attention_gap(asked.network, asked.prompt, (asked.chosen, asked.rejected), first)
            what = _("the same network with transformers' eager attention, log π of both answers")
            checked_against([Check(what, gap, 1e-3)])
        take_with_you(
            self, lambda: tokens(now), lambda: losses_of_run(now.losses, asked.steps), snippet(asked)
        )


@st.cache_data(max_entries=16, show_spinner=False)
def scored(asked: Duel) -> Progress:
    """The pair before any step."""
    return next(train_on_pair(asked))


def plots_of(asked: Duel, now: Progress, faint: bool = False) -> Stage:
    """Log-ratios and loss against the step, and both answers token by token, on the same scales."""
    reference = [part.total for part in now.reference]
    ratios = log_ratios_of_run(now.chosen - reference[0], now.rejected - reference[1], asked.steps)
    losses = losses_of_run(now.losses, asked.steps)
    return Stage(
        [
            Plot("ratios", pale(ratios, faint), _("Log-ratios of both answers against the step")),
            Plot("losses", pale(losses, faint), _("Loss of the pair against the step")),
        ],
        Row([replace(plot, figure=pale(plot.figure, faint)) for plot in strips(now)], height=1.3),
        reserved=work.BUTTONS,
    )


def strips(now: Progress) -> list[Plot]:
    """Both answers, token by token."""
    parts: tuple[TokenPull, TokenPull] = now.pulls
    scores = (*now.reference, *[pull.score for pull in parts])
    lowest = min(float(part.log_probabilities.min()) for part in scores)
    strongest = max(float(pull.by_logits.max()) for pull in parts)
    titles = {"chosen": _("Chosen answer"), "rejected": _("Rejected answer")}
    return [
        Plot(
            f"strip_{key}",
            answer_strip(
                pull.score.labels,
                pull.score.log_probabilities,
                reference.log_probabilities,
                pull.by_logits,
                (1.08 * lowest, max(strongest, 1e-9)),
                title,
            ),
            title + ": " + _("log-probability and gradient of every token"),
        )
        for (key, title), pull, reference in zip(titles.items(), parts, now.reference, strict=True)
    ]


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
