"""The auxiliary loss put to the test: drag f and P; pool the layers, and watch collapse disappear."""

from typing import get_args

import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch
from jaxtyping import Float
from torch import Tensor
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

from components.controls import choose, whole_number
from components.figures.moe import grouped_bars, load_table, names_of
from components.live.figure import live_figure
from components.live.slider import live_slider
from components.page import Check, Page, checked_against, take_with_you
from components.panels import live_panel, panel
from components.words import _
from models.moe.balance import Convention, balanced_value, expert_load, load_balancing_loss, mean_score
from models.moe.lab import collapsing_layers, probability_range, tokens_to_order
from models.moe.routers import check_counts, softmax_routing

CONVENTIONS: tuple[Convention, ...] = get_args(Convention)
TOKENS, SEED, TOP = 400, 0, 8.0
LIVE = ("live_loss",)
SETTLED = (*LIVE, "loss_said")


@panel
def loss_lab(page: Page) -> None:
    name = page.name
    with st.container(horizontal=True, vertical_alignment="bottom"):
        choose(_("Experts N"), (2, 4, 8, 16), f"{name}_loss_experts", str, default=8, style="segments")
        whole_number(_("Chosen K"), 1, 8, f"{name}_loss_chosen", 2, width=120)
        whole_number(_("Layers"), 1, 16, f"{name}_loss_layers", 4, width=120)
    one, two, three = st.columns(3, gap="medium")
    with one:
        live_slider(
            _("f₀: share of tokens that use expert 0"), f"{name}_share", 0.0, 1.0, 0.9, 0.01,
            live=LIVE, settled=SETTLED,
        )  # fmt: skip
    with two:
        live_slider(
            _("P₀: its mean probability"), f"{name}_probability", 0.0, 1.0, 0.13, 0.01,
            live=LIVE, settled=SETTLED,
        )  # fmt: skip
    with three:
        live_slider(
            _("Collapse of each layer"), f"{name}_collapse", 0.0, 1.0, 1.0, 0.01, live=LIVE, settled=SETTLED
        )
    check_counts(*shape(page)[:2])
    live_loss(page)
    loss_said(page)


def shape(page: Page) -> tuple[int, int, int]:
    """N, K and layers. K is refused in models/ where it exceeds N."""
    state, name = st.session_state, page.name
    return state[f"{name}_loss_experts"], state[f"{name}_loss_chosen"], state[f"{name}_loss_layers"]


def dragged(page: Page) -> tuple[Float[Tensor, " experts"], Float[Tensor, " experts"]]:
    """F (sums to K) and P (sums to 1): expert 0 as dragged, the others alike."""
    experts, chosen, _layers = shape(page)
    share = st.session_state.get(f"{page.name}_share", 0.9)
    probability = st.session_state.get(f"{page.name}_probability", 0.13)
    others = max(1, experts - 1)
    fraction = torch.full((experts,), (chosen - share) / others)
    given = torch.full((experts,), (1 - probability) / others)
    fraction[0], given[0] = share, probability
    return fraction, given


def values(page: Page) -> dict[Convention, float]:
    """The loss of each convention on the dragged f and P."""
    chosen = shape(page)[1]
    fraction, given = dragged(page)
    return {c: float(load_balancing_loss(fraction, given, c, chosen)) for c in CONVENTIONS}


def layer_logits(page: Page) -> Float[Tensor, "layers tokens experts"]:
    experts, chosen, layers = shape(page)
    collapse = st.session_state.get(f"{page.name}_collapse", 1.0)
    return collapsing_layers(layers, experts, chosen, collapse, TOKENS, SEED)


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


@live_panel
def live_loss(page: Page) -> None:
    experts, chosen, layers = shape(page)
    shares, pooled, alone = of_layers(layer_logits(page), chosen)
    left, right = st.columns(2, gap="medium")
    with left:
        live_figure(dragged_figure(page), f"{page.name}_dragged", _("f and P of every expert"))
        live_figure(values_figure(page), f"{page.name}_values", _("The loss by convention"))
    with right:
        live_figure(
            load_table(shares.numpy(), [_("layer {layer}").format(layer=index) for index in range(layers)],
                       names_of(experts), _("Expert"), height=330),
            f"{page.name}_layers",
            _("Load of each expert in each layer"),
        )  # fmt: skip
        figure = grouped_bars(
            {_("transformers' convention"): torch.tensor([pooled, alone]).numpy()},
            [_("layers pooled"), _("layer by layer, mean")],
            "",
            _("Loss"),
            top=max(TOP, 1.1 * experts),
            line=(chosen, _("balanced value")),
            height=290,
        )
        live_figure(figure, f"{page.name}_pooled", _("The loss with layers pooled, and layer by layer"))


def dragged_figure(page: Page) -> go.Figure:
    fraction, given = dragged(page)
    chosen = shape(page)[1]
    series = {
        _("f ÷ K: share of routes"): (fraction / chosen).numpy(),
        _("P: mean probability"): given.numpy(),
    }
    return grouped_bars(series, names_of(len(given)), _("Expert"), _("Share"), top=1.0, height=330)


def values_figure(page: Page) -> go.Figure:
    chosen = shape(page)[1]
    found = values(page)
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


@panel
def loss_said(page: Page) -> None:
    """The arithmetic, and transformers' own function on tokens that have this f and P."""
    experts = shape(page)[0]
    fraction, given = dragged(page)
    total = float((fraction * given).sum())
    found = values(page)
    st.latex(
        rf"\begin{{aligned}}\textstyle\sum_i f_iP_i&={float(fraction[0]):.2f}\times{float(given[0]):.2f}\\"
        rf"&\quad+{experts - 1}\times{float(fraction[-1]):.4f}\times{float(given[-1]):.4f}\\&={total:.4f}\\"
        rf"N\textstyle\sum f_iP_i&={found['transformers']:.4f}\quad(\text{{transformers}})\\"
        rf"\tfrac{{N}}{{K}}\textstyle\sum f_iP_i&={found['switch']:.4f}\quad(\text{{Switch, DeepSeek}})"
        r"\end{aligned}"
    )
    page.note("loss")
    rows = table(page)
    st.dataframe(rows, hide_index=True)
    checked_against(checks(page))
    take_with_you(f"{page.name}_loss", lambda: rows, lambda: dragged_figure(page), snippet(page))


def checks(page: Page) -> list[Check]:
    """Both halves of the view, through the function that transformers trains with."""
    experts, chosen, layers = shape(page)
    logits = layer_logits(page)
    _shares, pooled, alone = of_layers(logits, chosen)
    theirs = float(load_balancing_loss_func(tuple(logits), experts, chosen))
    each = sum(float(load_balancing_loss_func((layer,), experts, chosen)) for layer in logits) / layers
    pooled_words = _("transformers load_balancing_loss_func, layers pooled and each alone")
    found = [Check(pooled_words, max(abs(pooled - theirs), abs(alone - each)), 1e-4)]
    fraction, given = dragged(page)
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
    return [Check(words.format(tokens=len(rows)), abs(value - values(page)["transformers"]), 1e-3), *found]


def table(page: Page) -> pd.DataFrame:
    experts, chosen, _layers = shape(page)
    names: dict[Convention, str] = {
        "switch": "Switch",
        "deepseek": "DeepSeek",
        "transformers": "transformers",
    }
    found = values(page)
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


def snippet(page: Page) -> str:
    """Python that repeats the values."""
    fraction, given = dragged(page)
    chosen = shape(page)[1]
    return f"""import torch

from models.moe.balance import load_balancing_loss

fraction = torch.tensor({fraction.tolist()!r})
probability = torch.tensor({given.tolist()!r})
for convention in ("switch", "deepseek", "transformers"):
    print(convention, float(load_balancing_loss(fraction, probability, convention, {chosen})))
"""
