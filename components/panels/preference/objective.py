"""The objective behind DPO on a few answers: the best policy, its KL, and the reward given back."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch
from torch.distributions import Categorical, kl_divergence

from components.figures.preference_labs import frontier, probabilities, rewards_given_back
from components.formulas import show_formula
from components.lesson_parts import note
from components.settings import View, slider, text
from components.stage import Plot, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
from models.errors import InputError
from models.numerics.comparison import largest_difference
from models.preference.kl_objective import (
    Optimum,
    checked_distribution,
    cross_entropy,
    entropy,
    kl,
    optimum,
)
from models.tables import typed_number

BETA = (0.02, 20.0, 1.0)
BETAS = np.geomspace(BETA[0], BETA[1], 60)
LARGEST = 1e3  # of a reward


def parse_numbers(text: str) -> tuple[float, ...]:
    """Numbers between commas or spaces. Raises InputError, naming the one that is none."""
    found = []
    for number, word in enumerate(text.replace(",", " ").replace("，", " ").split(), 1):
        try:
            value = typed_number(word)
        except ValueError:
            value = math.nan
        if not abs(value) <= LARGEST:
            raise InputError(
                "Number {number}, {word}, is none from −{most} to {most}.",
                number=number,
                word=repr(word[:30]),
                most=f"{LARGEST:.0f}",
            )
        found.append(value)
    return tuple(found)


@dataclass(frozen=True)
class Objective(View):
    """The best policy for a reward and a KL to the reference, and the reward that it gives back."""

    page, name = "preference", "objective"
    strength: float = slider(*BETA, log=True, label="β")
    weights: str = text("5, 3, 1, 0.5, 0.5", label=mark("Reference: weight of each answer"), most=2_000)
    given: str = text("0, 1, 2, 4, -1", label=mark("Reward of each answer"), most=2_000)

    def problem(self) -> tuple[tuple[float, ...], tuple[float, ...], float]:
        """Weights, rewards and β. Raises InputError."""
        return parse_numbers(self.weights), parse_numbers(self.given), self.strength

    def stage(self) -> Stage:
        weights, given, beta = self.problem()
        best = solved(weights, given, beta)
        top = 1.1 * max(1.0, *map(abs, given), beta * abs(best.log_partition))
        back = rewards_given_back(
            letters(len(weights)),
            np.array(given),
            best.implicit_reward.numpy(),
            2.0 ** math.ceil(math.log2(top)),
        )
        spent, earned = best_by_beta(weights, given)
        curve = frontier(spent, earned, (best.kl, best.expected_reward), BETAS)
        return Stage(
            [
                Plot("policies", policies(weights, best), _("Reference and best policy by answer")),
                Plot("back", back, _("Reward and implicit reward by answer")),
                Plot("frontier", curve, _("Expected reward against the KL to the reference")),
            ]
        )

    def below(self) -> None:
        """β log Z, entropies, cross-entropies and both KLs, against torch.distributions."""
        note(self, "objective")
        weights, given, beta = self.problem()
        best = solved(weights, given, beta)
        reference = checked_distribution(torch.tensor(weights))
        left, right = st.columns(2, gap="medium")
        with left:
            formulas(best, beta)
        with right:
            st.dataframe(measures(best.policy, reference), hide_index=True, width="stretch")
        checked_against(checks(best.policy, reference, torch.tensor(given), beta, best))
        take_with_you(
            self,
            lambda: pd.DataFrame(
                {
                    "answer": letters(len(weights)),
                    "reference": reference.numpy(),
                    "reward": given,
                    "best": best.policy.numpy(),
                    "implicit_reward": best.implicit_reward.numpy(),
                }
            ).set_index("answer"),
            lambda: policies(weights, best),
            snippet(weights, given, beta),
        )


def formulas(best: Optimum, beta: float) -> None:
    """The best policy, the reward that it gives back, and the objective, with their numbers."""
    show_formula(r"\pi^*(y)=\pi_{ref}(y)\,e^{r(y)/\beta}/Z")
    show_formula(
        r"r(y)=\beta\log\frac{\pi^*(y)}{\pi_{ref}(y)}"
        rf"+\underbrace{{\beta\log Z}}_{{{beta * best.log_partition:.4f}}}"
    )
    show_formula(
        r"\begin{aligned}\mathbb{E}[r]-\beta\,\mathrm{KL}"
        rf"&={best.expected_reward:.4f}-{beta:.4g}\cdot{best.kl:.4f}\\"
        rf"&={best.objective:.4f}=\beta\log Z\end{{aligned}}"
    )


def snippet(weights: tuple[float, ...], given: tuple[float, ...], beta: float) -> str:
    """Python that repeats the best policy."""
    return f"""import torch
from models.preference.kl_objective import optimum

best = optimum(torch.tensor({list(weights)!r}), torch.tensor({list(given)!r}), {beta!r})
print(best.policy, best.implicit_reward, best.kl, best.objective)
"""


def solved(weights: tuple[float, ...], given: tuple[float, ...], beta: float) -> Optimum:
    return optimum(torch.tensor(weights), torch.tensor(given, dtype=torch.float64), beta)


@lru_cache(maxsize=8)
def best_by_beta(weights: tuple[float, ...], given: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """KL and expected reward of the best policy at each β."""
    found = [solved(weights, given, float(beta)) for beta in BETAS]
    return np.array([best.kl for best in found]), np.array([best.expected_reward for best in found])


def letters(count: int) -> list[str]:
    return [chr(ord("A") + index) for index in range(count)]


def policies(weights: tuple[float, ...], best: Optimum) -> go.Figure:
    reference = checked_distribution(torch.tensor(weights))
    series = {"π_ref": reference.numpy(), "π*": best.policy.numpy()}
    return probabilities(letters(len(weights)), series, _("Probability"))


def measures(policy: torch.Tensor, reference: torch.Tensor) -> pd.DataFrame:
    """H, cross-entropy and KL, each way round: the rows add up."""
    ways = {"π* ‖ π_ref": (policy, reference), "π_ref ‖ π*": (reference, policy)}
    return pd.DataFrame(
        [
            {
                "p ‖ q": name,
                "H(p)": f"{entropy(p):.4f}",
                "KL(p‖q)": f"{kl(p, q):.4f}",
                "H(p, q) = H(p) + KL": f"{cross_entropy(p, q):.4f}",
            }
            for name, (p, q) in ways.items()
        ]
    )


def checks(
    policy: torch.Tensor, reference: torch.Tensor, given: torch.Tensor, beta: float, best: Optimum
) -> list[Check]:
    """torch.distributions' KL; the policy by softmax; the reward given back up to its constant."""
    theirs = float(kl_divergence(Categorical(probs=policy), Categorical(probs=reference)))
    softmax = torch.softmax(reference.log() + given.double() / beta, 0)
    return [
        Check(_("torch.distributions.kl_divergence of π* and π_ref"), abs(theirs - best.kl), 1e-6),
        Check(_("torch.softmax of log π_ref + r/β"), largest_difference(softmax, policy), 1e-9),
    ]
