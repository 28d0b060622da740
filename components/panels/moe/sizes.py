"""Parameters and FLOPs of published mixtures: in all, and those that one token uses."""

from collections.abc import Iterable

import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.controls import choose, whole_number
from components.figures.moe import grouped_bars
from components.live.figure import live_figure
from components.page import Page, take_with_you
from components.panels import panel
from components.words import _
from models.moe.sizes import PUBLISHED, MixtureSize, published_size, with_chosen


@st.cache_data(max_entries=8, show_spinner=False)
def size_of(name: str) -> MixtureSize:
    return published_size(name)


@panel
def sizes(page: Page) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        changed = choose(
            _("Change K of"), list(PUBLISHED), f"{page.name}_published", str, default="DeepSeek-V3",
            style="segments",
        )  # fmt: skip
        own = size_of(changed)
        chosen = whole_number(
            _("to"), 1, own.experts, f"{page.name}_active", own.chosen, width=120,
            help=_("Its own: {chosen} of {experts}").format(chosen=own.chosen, experts=own.experts),
        )  # fmt: skip
    found = {name: size_of(name) for name in PUBLISHED}
    found[changed] = with_chosen(own, chosen)
    left, right = st.columns(2, gap="medium")
    figure = parameter_figure(found)
    with left:
        live_figure(figure, f"{page.name}_parameters", _("Parameters in all and active, for each network"))
    with right:
        live_figure(flop_figure(found), f"{page.name}_flops", _("FLOPs of a token, mixture and dense"))
    size = found[changed]
    st.latex(
        r"\begin{aligned}\text{active}"
        rf"&={size.total:,}\\&\quad-{size.routed:,}\\&\quad+{size.mixture_layers}\times{size.chosen}\times"
        rf"{size.expert_parameters:,}\\&={size.active:,}\end{{aligned}}"
    )
    page.note("sizes")
    rows = table(found)
    st.dataframe(rows, hide_index=True)
    take_with_you(f"{page.name}_sizes", lambda: rows, lambda: figure, snippet(changed, chosen))


def parameter_figure(found: dict[str, MixtureSize]) -> go.Figure:
    return grouped_bars(
        {
            _("in all"): torch.tensor([size.total / 1e9 for size in found.values()]).numpy(),
            _("active for a token"): torch.tensor([size.active / 1e9 for size in found.values()]).numpy(),
        },
        in_two_lines(found),
        "",
        _("Parameters (billions, log scale)"),
        y_log=True,
    )


def in_two_lines(names: Iterable[str]) -> list[str]:
    """Names with a break after the family, so that they stand side by side on a phone."""
    return [name.replace("-", "-<br>", 1) for name in names]


def flop_figure(found: dict[str, MixtureSize]) -> go.Figure:
    dense = [2 * (size.total - size.embedding) / 1e9 for size in found.values()]
    return grouped_bars(
        {
            _("if every expert worked"): torch.tensor(dense).numpy(),
            _("with the chosen experts"): torch.tensor([s.flops / 1e9 for s in found.values()]).numpy(),
        },
        in_two_lines(found),
        "",
        _("GFLOPs a token (log scale)"),
        y_log=True,
    )


def table(found: dict[str, MixtureSize]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            _("Network"): list(found),
            _("Layers with experts"): [f"{s.mixture_layers} / {s.layers}" for s in found.values()],
            _("Experts, chosen, shared"): [f"{s.experts}, {s.chosen}, {s.shared}" for s in found.values()],
            _("Parameters of one expert"): [f"{s.expert_parameters:,}" for s in found.values()],
            _("Parameters in all"): [f"{s.total / 1e9:.2f} B" for s in found.values()],
            _("active"): [f"{s.active / 1e9:.2f} B" for s in found.values()],
            _("active share"): [f"{s.active / s.total:.1%}" for s in found.values()],
            _("GFLOPs a token"): [f"{s.flops / 1e9:.1f}" for s in found.values()],
            _("Memory in bfloat16"): [f"{2 * s.total / 2**30:,.0f} GiB" for s in found.values()],
        }
    )


def snippet(name: str, chosen: int) -> str:
    """Python that repeats a row of the table."""
    return f"""from models.moe.sizes import published_size, with_chosen

size = with_chosen(published_size({name!r}), {chosen})
print(size.total, size.active, size.flops)
"""
