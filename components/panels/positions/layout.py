"""Rotated in the wrong pairs: what a confused layout does to scores and to the next token."""

from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go
import torch

from components.figures.positions import titled
from components.figures.style import token_heatmap
from components.lesson_parts import note
from components.panels.network.heads import next_token_plot
from components.panels.positions.head import RealHead, rounding_of_scores
from components.panels.positions.settings import RotaryHead
from components.settings import one_of
from components.stage import Plot, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.traces import traced_with
from components.words import _, mark
from models.networks.interventions import Intervention
from models.networks.tracing import LayerTrace, Trace
from models.numerics.comparison import largest_difference
from models.numerics.token_losses import token_losses
from models.positions.checks import rotated_by_transformers
from models.rotary.rope import rotation, scores_after_conversion

SWAPS = {
    "none": frozenset[str](),
    "both": frozenset({"query", "key"}),
    "key": frozenset({"key"}),
}


def swap_label(swap: str) -> str:
    return {
        "none": _("neither"),
        "both": _("queries and keys"),
        "key": _("keys only"),
    }[swap]


def layout_label(layout: str) -> str:
    return _("halves") if layout == "half" else _("neighbours")


@dataclass(frozen=True)
class LayoutConfusion(RotaryHead):
    """A head's raw scores rotated as trained and in the other layout's pairs, and the next token."""

    page, name = "positions", "layout"
    swap: str = one_of(
        list(SWAPS),
        "both",
        label=mark("Rotated in the other layout's pairs"),
        label_of=swap_label,
        style="radio",
    )

    @property
    def change(self) -> Intervention:
        return Intervention(swapped_layout=SWAPS[self.swap])

    @property
    def changed(self) -> Trace:
        return traced_with(self.network_name, self.text, self.change)

    def stage(self) -> Stage:
        head = self.head  # refuses a network without rotary embedding
        base, changed = self.trace, self.changed
        own, other = scores(self, base, changed)
        extent = f" · q·k ±{own.data[0].zmax:.1f}"  # a colour bar has no room beside three figures
        trained = _("As trained: {layout}").format(layout=layout_label(head.rotary.layout))
        swapped = _("Other layout: {what}").format(what=swap_label(self.swap))
        before, after = mean_loss(base), mean_loss(changed)
        following = next_token_plot(self.network_name, base, changed, "next", width=0.8)
        return Stage(
            [
                Plot(
                    "trained",
                    titled(own, trained, loss_words(before) + extent),
                    _("Raw scores, rotated as trained"),
                ),
                Plot(
                    "swapped",
                    titled(other, swapped, loss_words(after, before) + extent),
                    _("Raw scores, rotated in the other layout"),
                ),
                *([following] if following else []),
            ]
        )

    def below(self) -> None:
        base, changed = self.trace, self.changed
        note(self, "layout")
        checked_against(checks(self, self.head, changed.layers[self.layer]))
        take_with_you(
            self,
            lambda: table(self, base, changed),
            lambda: scores(self, base, changed)[1],
            snippet(self),
        )


def mean_loss(trace: Trace) -> float | None:
    """Mean loss of the text in nats per token; None for an encoder."""
    return None if trace.logits is None else float(token_losses(trace.logits, trace.token_ids).mean())


def loss_words(loss: float | None, before: float | None = None) -> str:
    """The loss, and how far it moved from the one before."""
    if loss is None:
        return ""
    words = _("loss {loss} nats per token").format(loss=f"{loss:.3f}")
    return words if before is None else f"{words} ({loss - before:+.3f})"


def scores(view: LayoutConfusion, base: Trace, changed: Trace) -> list[go.Figure]:
    """The head's raw scores as trained and as changed, on one scale, hidden pairs left out."""
    raws = []
    for trace in (base, changed):
        record = trace.layers[view.layer]
        visible = record.visible if record.visible.ndim == 2 else record.visible[view.open_head]
        raws.append(record.raw[view.open_head].masked_fill(~visible, float("nan")))
    limit = max(float(raw.nan_to_num().abs().max()) for raw in raws)
    return [
        token_heatmap(
            raw.numpy(),
            base.labels,
            base.labels,
            query_title=_("Query"),
            key_title=_("Key"),
            value_title="q·k",
            limits=(-limit, limit),
            diverging=True,
        ).update_traces(showscale=False)
        for raw in raws
    ]


def checks(view: LayoutConfusion, head: RealHead, changed: LayerTrace) -> list[Check]:
    """The changed scores with transformers' other rotation; converted weights with the own ones."""
    record = head.record
    at = torch.arange(len(head.query))
    own = rotation(at, head.rotary.frequency, head.rotary.layout, head.rotary.factor)
    allowed = rounding_of_scores(record, len(at))
    turns = {name: own.other if name in SWAPS[view.swap] else own for name in ("query", "key")}
    vectors = {
        "query": changed.unrotated_query[head.index],
        "key": changed.unrotated_key[changed.key_of_head[head.index]],
    }
    query, key = (rotated_by_transformers(vectors[name], turns[name]) for name in ("query", "key"))
    converted = scores_after_conversion(head.query, head.key, own)
    return [
        Check(
            _("the right map with transformers' rotations: Llama's for halves, GPT-J's for neighbours"),
            largest_difference(query @ key.T, changed.raw[head.index]),
            allowed,
        ),
        Check(
            _("the other layout on reordered weights with the network's own scores"),
            largest_difference(converted, record.raw[head.index]),
            allowed,
        ),
    ]


def table(view: LayoutConfusion, base: Trace, changed: Trace) -> pd.DataFrame:
    """Both scores of every pair of tokens."""
    own, other = (trace.layers[view.layer].raw[view.open_head] for trace in (base, changed))
    queries, keys = own.shape
    index = pd.MultiIndex.from_product([range(queries), range(keys)], names=["query", "key"])
    return pd.DataFrame(
        {"own": own.flatten().numpy(), "other": other.flatten().numpy()}, index=index
    ).reset_index()


def snippet(view: LayoutConfusion) -> str:
    """Python that repeats the right map."""
    return f"""from models.networks.interventions import Intervention
from models.networks.loading import load
from models.networks.tracing import trace
from models.numerics.token_losses import token_losses

change = Intervention(swapped_layout=frozenset({sorted(view.change.swapped_layout)!r}))
traced = trace(load({view.network_name!r}), {view.text!r}, change)
scores = traced.layers[{view.layer}].raw[{view.open_head}]
print(scores)
print(token_losses(traced.logits, traced.token_ids).mean())
"""
