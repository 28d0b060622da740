"""The auxiliary loss put to the test: drag f and P; pool the layers, and watch collapse disappear."""

from dataclasses import dataclass
from typing import get_args

import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch
from jaxtyping import Float
from torch import Tensor
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

from components.figures.moe import grouped_bars, load_table, names_of
from components.formulas import show_formula
from components.lesson_parts import note
from components.settings import View, number, one_of, slider
from components.stage import Plot, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
from models.moe.balance import Convention, balanced_value, expert_load, load_balancing_loss, mean_score
from models.moe.lab import collapsing_layers, probability_range, tokens_to_order
from models.moe.routers import check_counts, softmax_routing

CONVENTIONS: tuple[Convention, ...] = get_args(Convention)
TOKENS, SEED, TOP = 400, 0, 8.0


@dataclass(frozen=True)
class LossTested(View):
    """Drag f and P; pool the layers, and watch collapse disappear from the loss."""

    page, name = "moe", "loss"
    share: float = slider(0.0, 1.0, 0.9, label=mark("f₀: share of tokens that use expert 0"))
    probability: float = slider(0.0, 1.0, 0.13, label=mark("P₀: its mean probability"))
    collapse: float = slider(0.0, 1.0, 1.0, label=mark("Collapse of each layer"))
    experts: int = one_of((2, 4, 8, 16), 8, key="loss_experts", label=mark("Experts N"))
    chosen: int = number(1, 8, 2, key="loss_chosen", label=mark("Chosen K"), beside=True)
    layers: int = number(1, 16, 4, key="loss_layers", label=mark("Layers"))

    def dragged(self) -> tuple[Float[Tensor, " experts"], Float[Tensor, " experts"]]:
        """F (sums to K) and P (sums to 1): expert 0 as dragged, in hundredths, the others alike.

        Raises InputError where K exceeds N.
        """
        check_counts(self.experts, self.chosen)
        others, share = max(1, self.experts - 1), round(self.share, 2)
        fraction = torch.full((self.experts,), (self.chosen - share) / others)
        given = torch.full((self.experts,), (1 - self.probability) / others)
        fraction[0], given[0] = share, self.probability
        return fraction, given

    def values(self) -> dict[Convention, float]:
        """The loss of each convention on the dragged f and P."""
        fraction, given = self.dragged()
        return {c: float(load_balancing_loss(fraction, given, c, self.chosen)) for c in CONVENTIONS}

    def layer_logits(self) -> Float[Tensor, "layers tokens experts"]:
        return collapsing_layers(self.layers, self.experts, self.chosen, self.collapse, TOKENS, SEED)

    def stage(self) -> Stage:
        dragged = dragged_figure(self)
        shares, pooled, alone = of_layers(self.layer_logits(), self.chosen)
        names = [_("layer {layer}").format(layer=index) for index in range(self.layers)]
        return Stage(
            [
                Plot("dragged", dragged, _("f and P of every expert")),
                Plot(
                    "layers",
                    load_table(shares.numpy(), names, names_of(self.experts), _("Expert"), height=330),
                    _("Load of each expert in each layer"),
                ),
            ],
            [
                Plot("values", values_figure(self), _("The loss by convention")),
                Plot(
                    "pooled",
                    pooled_figure(self, pooled, alone),
                    _("The loss with layers pooled, and layer by layer"),
                ),
            ],
        )

    def below(self) -> None:
        """The arithmetic, and transformers' own function on tokens that have this f and P."""
        note(self, "loss")
        arithmetic(self)
        rows = table(self)
        st.dataframe(rows, hide_index=True)
        checked_against(checks(self))
        fraction, given = self.dragged()
        take_with_you(
            self, lambda: rows, lambda: dragged_figure(self), snippet(fraction, given, self.chosen)
        )


def arithmetic(view: LossTested) -> None:
    """Σ f·P and what each convention makes of it."""
    fraction, given = view.dragged()
    total, values = float((fraction * given).sum()), view.values()
    show_formula(
        rf"\begin{{aligned}}\textstyle\sum_i f_iP_i&={float(fraction[0]):.2f}\times{float(given[0]):.2f}\\"
        rf"&\quad+{view.experts - 1}\times{float(fraction[-1]):.4f}\times{float(given[-1]):.4f}\\"
        rf"&={total:.4f}\\"
        rf"N\textstyle\sum f_iP_i&={values['transformers']:.4f}\quad(\text{{transformers}})\\"
        rf"\tfrac{{N}}{{K}}\textstyle\sum f_iP_i&={values['switch']:.4f}\quad(\text{{Switch, DeepSeek}})"
        r"\end{aligned}"
    )


def pooled_figure(view: LossTested, pooled: float, alone: float) -> go.Figure:
    return grouped_bars(
        {_("transformers' convention"): torch.tensor([pooled, alone]).numpy()},
        [_("layers pooled"), _("layer by layer, mean")],
        "",
        _("Loss"),
        top=max(TOP, 1.1 * view.experts),
        line=(view.chosen, _("balanced value")),
    )


def of_layers(
    logits: Float[Tensor, "layers tokens experts"], chosen: int
) -> tuple[Float[Tensor, "layers experts"], float, float]:
    """F of each layer; transformers' loss with all layers pooled, and as the mean over layers."""
    shares, each = [], []
    for layer in logits:
        routing = softmax_routing(layer, chosen)
        shares.append(expert_load(routing.chosen, routing.experts) / len(layer))
        each.append(load_balancing_loss(shares[-1], mean_score(routing.scores), "transformers", chosen))
    pooled = softmax_routing(logits.flatten(0, 1), chosen)
    share = torch.stack(shares).mean(0)
    value = load_balancing_loss(share, mean_score(pooled.scores), "transformers", chosen)
    return torch.stack(shares), float(value), float(torch.stack(each).mean())


def dragged_figure(view: LossTested) -> go.Figure:
    fraction, given = view.dragged()
    chosen = view.chosen
    series = {
        _("f ÷ K: share of routes"): (fraction / chosen).numpy(),
        _("P: mean probability"): given.numpy(),
    }
    return grouped_bars(series, names_of(len(given)), _("Expert"), _("Share"), top=1.0, height=330)


def values_figure(view: LossTested) -> go.Figure:
    chosen, found = view.chosen, view.values()
    return grouped_bars(
        {
            _("with this f and P"): torch.tensor(list(found.values())).numpy(),
            _("balanced value"): torch.tensor([balanced_value(c, chosen) for c in CONVENTIONS]).numpy(),
        },
        ["Switch", "DeepSeek", "transformers"],
        "",
        _("Loss"),
        top=TOP,
        height=290,
    )


def checks(view: LossTested) -> list[Check]:
    """Both halves of the view, through the function that transformers trains with."""
    experts, chosen, layers = view.experts, view.chosen, view.layers
    logits = view.layer_logits()
    _shares, pooled, alone = of_layers(logits, chosen)
    theirs = float(load_balancing_loss_func(tuple(logits), experts, chosen))
    each = sum(float(load_balancing_loss_func((layer,), experts, chosen)) for layer in logits) / layers
    pooled_words = _("transformers load_balancing_loss_func, layers pooled and each alone")
    found = [Check(pooled_words, max(abs(pooled - theirs), abs(alone - each)), 1e-4)]
    fraction, given = view.dragged()
    if experts == chosen:
        return found  # every token uses every expert: there is no share to drag
    low, high = probability_range(float(fraction[0]), experts, chosen)
    if not low < float(given[0]) < high:
        st.caption(
            _("No tokens have just this f₀ and P₀: for this f₀, P₀ lies between {low} and {high}.").format(
                low=f"{low:.3f}", high=f"{high:.3f}"
            )
        )
        return found
    rows = tokens_to_order(float(fraction[0]), float(given[0]), experts, chosen)
    value = float(load_balancing_loss_func((rows.clamp(min=1e-30).log(),), experts, chosen))
    words = _("transformers load_balancing_loss_func on {tokens} tokens that have this f and P")
    return [Check(words.format(tokens=len(rows)), abs(value - view.values()["transformers"]), 1e-3), *found]


def table(view: LossTested) -> pd.DataFrame:
    experts, chosen = view.experts, view.chosen
    names: dict[Convention, str] = {
        "switch": "Switch",
        "deepseek": "DeepSeek",
        "transformers": "transformers",
    }
    found = view.values()
    return pd.DataFrame(
        {
            _("Convention"): [names[c] for c in CONVENTIONS],
            _("Value"): [f"{found[c]:.4f}" for c in CONVENTIONS],
            _("Balanced value"): [f"{balanced_value(c, chosen):g}" for c in CONVENTIONS],
            _("At collapse (N experts, K used)"): [
                f"{balanced_value(c, chosen) * experts / chosen:g}" for c in CONVENTIONS
            ],
        }
    )


def snippet(fraction: Tensor, given: Tensor, chosen: int) -> str:
    """Python that repeats the values."""
    return f"""import torch

from models.moe.balance import load_balancing_loss

fraction = torch.tensor({fraction.tolist()!r})
probability = torch.tensor({given.tolist()!r})
for convention in ("switch", "deepseek", "transformers"):
    print(convention, float(load_balancing_loss(fraction, probability, convention, {chosen})))
"""
