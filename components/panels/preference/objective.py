"""The objective behind DPO on a few answers: the best policy, its KL, and the reward given back."""

import math
from functools import lru_cache

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch
from torch.distributions import Categorical, kl_divergence

from components.controls import text_field
from components.figures.preference_labs import frontier, probabilities, rewards_given_back
from components.live.figure import live_figure
from components.live.slider import live_slider, slider_value
from components.page import Check, Page, checked_against, take_with_you
from components.panels import live_panel, panel
from components.words import _
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

LIVE, SETTLED = ("objective_figures",), ("objective_figures", "objective_numbers")
BETA = (0.02, 20.0, 1.0)
BETAS = np.geomspace(BETA[0], BETA[1], 60)
LARGEST = 1e3  # of a reward


def parse_numbers(text: str) -> tuple[float, ...]:
    """Numbers between commas or spaces. Raises InputError, naming the one that is none."""
    found = []
    for number, word in enumerate(text.replace(",", " ").replace("，", " ").split(), 1):
        try:
            value = float(word)
        except ValueError:
            value = math.nan
        if not abs(value) <= LARGEST:
            raise InputError(
                "Number {number}, {word}, is none from −{most} to {most}.",
                number=number, word=repr(word[:30]), most=f"{LARGEST:.0f}",
            )  # fmt: skip
        found.append(value)
    return tuple(found)


@panel
def kl_objective(page: Page) -> None:
    name = page.name
    with st.container(horizontal=True, vertical_alignment="bottom"):
        text_field(
            _("Reference: weight of each answer"), f"{name}_weights", page.default("weights"), width=300
        )
        text_field(_("Reward of each answer"), f"{name}_given", page.default("given"), width=300)
        with st.container(width=260):
            live_slider("β", f"{name}_strength", *BETA, log=True, live=LIVE, settled=SETTLED)
    objective_figures(page)
    page.note("objective")
    objective_numbers(page)


def problem_now(page: Page) -> tuple[tuple[float, ...], tuple[float, ...], float]:
    state, name = st.session_state, page.name
    weights, given = (
        parse_numbers(state.get(f"{name}_{key}", page.default(key))) for key in ("weights", "given")
    )
    return weights, given, slider_value(f"{name}_strength", *BETA)


def solved(weights: tuple[float, ...], given: tuple[float, ...], beta: float) -> Optimum:
    return optimum(torch.tensor(weights), torch.tensor(given, dtype=torch.float64), beta)


@lru_cache(maxsize=8)
def best_by_beta(weights: tuple[float, ...], given: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """KL and expected reward of the best policy at each β."""
    found = [solved(weights, given, float(beta)) for beta in BETAS]
    return np.array([best.kl for best in found]), np.array([best.expected_reward for best in found])


def letters(count: int) -> list[str]:
    return [chr(ord("A") + index) for index in range(count)]


@live_panel
def objective_figures(page: Page) -> None:
    weights, given, beta = problem_now(page)
    best = solved(weights, given, beta)
    names = letters(len(weights))
    left, middle, right = st.columns(3, gap="small")
    with left:
        live_figure(
            policies(weights, best), f"{page.name}_policies", _("Reference and best policy by answer")
        )
    with middle:
        top = 1.1 * max(1.0, *map(abs, given), beta * abs(best.log_partition))
        top = 2.0 ** math.ceil(math.log2(top))
        live_figure(
            rewards_given_back(names, np.array(given), best.implicit_reward.numpy(), top),
            f"{page.name}_back",
            _("Reward and implicit reward by answer"),
        )
    with right:
        spent, earned = best_by_beta(weights, given)
        live_figure(
            frontier(spent, earned, (best.kl, best.expected_reward), BETAS),
            f"{page.name}_frontier",
            _("Expected reward against the KL to the reference"),
        )


def policies(weights: tuple[float, ...], best: Optimum) -> go.Figure:
    reference = checked_distribution(torch.tensor(weights))
    series = {"π_ref": reference.numpy(), "π*": best.policy.numpy()}
    return probabilities(letters(len(weights)), series, _("Probability"))


@panel
def objective_numbers(page: Page) -> None:
    """β log Z, entropies, cross-entropies and both KLs, against torch.distributions."""
    weights, given, beta = problem_now(page)
    best = solved(weights, given, beta)
    reference = checked_distribution(torch.tensor(weights))
    left, right = st.columns(2, gap="medium")
    with left:
        st.latex(r"\pi^*(y)=\pi_{ref}(y)\,e^{r(y)/\beta}/Z")
        st.latex(
            r"r(y)=\beta\log\frac{\pi^*(y)}{\pi_{ref}(y)}"
            rf"+\underbrace{{\beta\log Z}}_{{{beta * best.log_partition:.4f}}}"
        )
        st.latex(
            r"\begin{aligned}\mathbb{E}[r]-\beta\,\mathrm{KL}"
            rf"&={best.expected_reward:.4f}-{beta:.4g}\cdot{best.kl:.4f}\\"
            rf"&={best.objective:.4f}=\beta\log Z\end{{aligned}}"
        )
    with right:
        st.dataframe(measures(best.policy, reference), hide_index=True, width="stretch")
    checked_against(checks(best.policy, reference, torch.tensor(given), beta, best))
    take_with_you(
        f"{page.name}_objective",
        lambda: pd.DataFrame(
            {
                "answer": letters(len(weights)),
                "reference": reference.numpy(),
                "reward": given,
                "best": best.policy.numpy(),
                "implicit_reward": best.implicit_reward.numpy(),
            }
        ),
        lambda: policies(weights, best),
        f"""import torch
from models.preference.kl_objective import optimum

best = optimum(torch.tensor({list(weights)!r}), torch.tensor({list(given)!r}), {beta!r})
print(best.policy, best.implicit_reward, best.kl, best.objective)
""",
    )


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
