"""Views on one head of a network that is changed while it reads: its controls, and the large map."""

from dataclasses import dataclass, replace

import plotly.graph_objects as go

from components.figures.attention import next_token_bars
from components.figures.style import token_heatmap
from components.panels.network.reading import ReadsText
from components.settings import flag, one_of, picked, several, slider
from components.stage import Click, Plot
from components.traces import token_labels, traced_with
from components.words import _, mark
from models.attention.head_view import STAGES, Stage, head_view, strongest_cell
from models.attention.next_token import compare_next_token
from models.networks.interventions import Intervention
from models.networks.tracing import Trace

TOP_TOKENS = 8


def step_label(step: str) -> str:
    return {
        "raw": _("Raw q·k"),
        "scaled": _("Scaled"),
        "masked": _("Masked"),
        "softmax": _("Softmax"),
        "contribution": _("Contribution"),
    }[step]


def layers_of(view: ReadsText) -> range:
    return range(view.facts.layers)


def heads_of(view: ReadsText) -> range:
    return range(view.facts.heads)


def all_heads(view: ReadsText) -> list[str]:
    """Heads as "layer.head"."""
    return [f"{layer}.{head}" for layer in layers_of(view) for head in heads_of(view)]


def head_title(layer: int, head: int) -> str:
    return _("Layer {layer}, head {head}").format(layer=layer, head=head)


@dataclass(frozen=True)
class OpensHead(ReadsText):
    """Which head is open; a page on a network shares it between its views."""

    layer: int = one_of(layers_of, 1, label=mark("Layer"))
    open_head: int = one_of(heads_of, 4, key="head", label=mark("Head"), beside=True)

    @property
    def title(self) -> str:
        return head_title(self.layer, self.open_head)


@dataclass(frozen=True)
class PicksPair(OpensHead):
    """A pair of tokens in the open head, chosen by a click or by two menus."""

    query: int = picked()
    key: int = picked()

    def cell(self, trace: Trace) -> tuple[int, int]:
        """The chosen (query, key); the strongest of the last row while none is chosen."""
        last, strongest = strongest_cell(trace, self.layer, self.open_head)
        query = self.query if 0 <= self.query <= last else last
        return query, (self.key if 0 <= self.key <= last else strongest)


@dataclass(frozen=True)
class ChangesHead(PicksPair):
    """The open head at one of its stages, in a network that the sliders and silenced heads change."""

    step: Stage = one_of(
        STAGES, "softmax", key="stage", label=mark("Stage"), label_of=step_label, style="radio"
    )
    temperature: float = slider(
        0.05,
        20.0,
        1.0,
        log=True,
        label=mark("Temperature"),
        help=mark("Divides the scores of every head in the network."),
    )
    exponent: float = slider(
        0.0,
        1.0,
        0.5,
        label=mark("Exponent p of √d_k → d_k^p"),
        help=mark("0.5 is the network's own √d_k; 0 does not scale at all."),
    )
    colour: float = slider(0.01, 1.0, 1.0, label=mark("Top of the colour scale"))
    silenced: tuple[str, ...] = several(all_heads, label=mark("Silenced heads (layer.head)"), place="more")
    sink: bool = flag(
        label=mark("Hide the first token"),
        place="more",
        help=mark("Its weights are taken out of the picture and each row is renormalised."),
    )

    @property
    def silenced_pairs(self) -> frozenset[tuple[int, int]]:
        """Layer and head of each silenced one."""
        pairs = (name.split(".") for name in self.silenced)
        return frozenset((int(layer), int(head)) for layer, head in pairs)

    @property
    def intervention(self) -> Intervention:
        """The change that the sliders and the silenced heads make to the network."""
        return Intervention(
            scale_exponent=self.exponent, temperature=self.temperature, silenced=self.silenced_pairs
        )

    @property
    def changed(self) -> Trace:
        """The forward pass with the change."""
        return traced_with(self.network_name, self.text, self.intervention)

    def head_plot(self, name: str = "heatmap", width: float = 1.6) -> Plot:
        """The large map; a click chooses the cell that is explained."""

        def choose_cell(click: Click) -> ChangesHead:
            return replace(self, query=_index(click["y"]), key=_index(click["x"]))

        alt = f"{self.title}, {step_label(self.step)}"
        return Plot(name, head_figure(self), alt, choose_cell, width=width, least=220)

    def next_plot(self, name: str = "next", width: float = 1.0) -> Plot | None:
        """What the network would say next, before and after the change; None for an encoder."""
        return next_token_plot(self.network_name, self.trace, self.changed, name, width=width)


def next_token_plot(
    network: str,
    base: Trace,
    changed: Trace,
    name: str,
    *,
    width: float = 1.0,
    count: int = TOP_TOKENS,
    names: tuple[str, str] | None = None,
) -> Plot | None:
    """The likeliest next tokens of both passes; None where the network is an encoder.

    ``names`` say what is before and what after; a few tokens stand in a low figure.
    """
    if base.logits is None or changed.logits is None:
        return None
    change = compare_next_token(base.logits[-1], changed.logits[-1], count)
    # those that matter before or after, in the order in which they stood before
    shown = change.before.maximum(change.after).topk(count).indices.sort().values
    figure = next_token_bars(
        token_labels(network, change.ids[shown].tolist()),
        change.before[shown].numpy(),
        change.after[shown].numpy(),
        changed=changed is not base,
        kl=change.kl,
        names=names,
        is_low=count < TOP_TOKENS,
    )
    return Plot(name, figure, _("Probabilities of the next token"), width=width, rest=150)


def _index(category: str) -> int:
    return int(category.split(" ", 1)[0])


def head_figure(view: ChangesHead) -> go.Figure:
    """The large heatmap. Colour limits come from the network as it is, so that they stay."""
    top, base, changed = view.colour, view.trace, view.changed
    shown = head_view(changed, view.layer, view.open_head, view.step, view.sink)
    if view.step != "softmax":
        top *= head_view(base, view.layer, view.open_head, view.step).largest
    return token_heatmap(
        shown.values.numpy(),
        changed.labels,
        changed.labels,
        query_title=_("Query"),
        key_title=_("Key"),
        value_title=step_label(view.step),
        limits=(-top if shown.is_signed else 0.0, top),
        diverging=shown.is_signed,
        selected=view.cell(changed),
    )
