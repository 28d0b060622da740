"""Parameters and FLOPs of published mixtures: in all, and those that one token uses."""

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.figures.moe import grouped_bars
from components.formulas import show_formula
from components.lesson_parts import note
from components.settings import View, one_of, slider
from components.stage import Plot, Stage
from components.takeaway import take_with_you
from components.words import _, mark
from models.moe.sizes import PUBLISHED, MixtureSize, published_size, with_chosen


@st.cache_data(max_entries=8, show_spinner=False)
def size_of(name: str) -> MixtureSize:
    return published_size(name)


def own_size(view: "Sizes") -> MixtureSize:
    return size_of(view.published)


@dataclass(frozen=True)
class Sizes(View):
    """Parameters and FLOPs of published mixtures: in all, and those that one token uses."""

    page, name = "moe", "sizes"
    published: str = one_of(tuple(PUBLISHED), "DeepSeek-V3", label=mark("Change K of"), style="radio")
    active: int = slider(
        1,
        lambda view: own_size(view).experts,
        lambda view: own_size(view).chosen,
        1,
        whole=True,
        label=mark("Experts that a token uses, K"),
    )

    def sizes(self) -> dict[str, MixtureSize]:
        sizes = {name: size_of(name) for name in PUBLISHED}
        return sizes | {self.published: with_chosen(own_size(self), self.active)}

    def stage(self) -> Stage:
        sizes = self.sizes()
        return Stage(
            [
                Plot(
                    "parameters",
                    parameter_figure(sizes),
                    _("Parameters in all and active, for each network"),
                ),
                Plot("flops", flop_figure(sizes), _("FLOPs of a token, mixture and dense")),
            ]
        )

    def below(self) -> None:
        note(self, "sizes")
        sizes = self.sizes()
        size, own = sizes[self.published], own_size(self)
        st.markdown(
            _("{name} itself uses {chosen} of {experts} experts.").format(
                name=self.published, chosen=own.chosen, experts=own.experts
            )
        )
        show_formula(
            r"\begin{aligned}\text{active}"
            rf"&={size.total:,}\\&\quad-{size.routed:,}\\&\quad+{size.mixture_layers}\times{size.chosen}\times"
            rf"{size.expert_parameters:,}\\&={size.active:,}\end{{aligned}}"
        )
        rows = table(sizes)
        st.dataframe(rows, hide_index=True)
        take_with_you(
            self, lambda: rows, lambda: parameter_figure(sizes), snippet(self.published, self.active)
        )


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
