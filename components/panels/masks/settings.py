"""The controls of a mask, and the mask that they stand for: shared by several views of the page."""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from jaxtyping import Bool
from torch import Tensor

from components.panels.network.heads import PicksPair, heads_of, layers_of
from components.panels.network.reading import ReadsText
from components.settings import View, one_of, slider, text
from components.traces import traced_with
from components.words import _, mark
from models.errors import InputError
from models.masks.effects import MASK_STAGES, MaskStage
from models.masks.settings import (
    BASES,
    PATTERNS,
    SIDES,
    Base,
    MaskSettings,
    Pattern,
    Side,
    parse_cells,
    parse_starts,
)
from models.networks.interventions import Intervention, Visible
from models.networks.tracing import NO_INTERVENTION, Trace

LONGEST = 1_024  # tokens of a mask that is no text's
MOST_SINKS = 16
WINDOWED = ("window", "lambda", "dilated")
ALL_LAYERS = -1


def base_label(base: Base) -> str:
    return {
        "causal": _("Causal (decoder)"),
        "bidirectional": _("Bidirectional (encoder)"),
        "prefix": _("Prefix-LM"),
        "cross": _("Cross-attention"),
    }[base]


def pattern_label(pattern: Pattern) -> str:
    return {
        "all": _("every pair"),
        "window": _("sliding window"),
        "lambda": _("Λ: sinks and window"),
        "dilated": _("dilated window"),
        "blocks": _("blocks"),
    }[pattern]


def side_label(side: Side) -> str:
    return {"none": _("none"), "left": _("left"), "right": _("right")}[side]


def counts_label(counts: str) -> str:
    return _("the token itself") if counts == "itself" else _("only others")


def stage_label(stage: MaskStage) -> str:
    return {"scaled": _("Raw scores"), "masked": _("Masked"), "softmax": _("Softmax")}[stage]


def where_label(layer: int) -> str:
    return _("all layers") if layer == ALL_LAYERS else _("layer {layer} only").format(layer=layer)


def _tokens(view: "SetsMask") -> int:
    return max(2, view.longest)


@dataclass(frozen=True)
class SetsMask(View):
    """A view on a mask: who may read whom, a pattern in it, documents, padding, switched pairs."""

    rail_first: ClassVar[tuple[str, ...]] = (
        "prefix",
        "window",
        "sinks",
        "step",
        "block",
        "padded",
        "base",
        "pattern",
        "side",
    )
    first_window: ClassVar[int] = 4  # until somebody moves it
    has_cells: ClassVar[bool] = True  # single pairs can be switched

    base: Base = one_of(BASES, "causal", label=mark("Who may read whom"), label_of=base_label)
    pattern: Pattern = one_of(PATTERNS, "window", label=mark("Pattern"), label_of=pattern_label)
    prefix: int = slider(
        0,
        _tokens,
        6,
        1,
        unit=mark("tokens"),
        label=lambda view: _("Prefix") if view.base == "prefix" else _("Source"),
        shown=lambda view: view.base in ("prefix", "cross"),
    )
    window: int = slider(
        1,
        _tokens,
        lambda view: view.first_window,
        1,
        whole=True,
        unit=mark("tokens"),
        label=mark("Window"),
        shown=lambda view: view.pattern in WINDOWED,
    )
    sinks: int = slider(
        0,
        lambda view: min(MOST_SINKS, _tokens(view)),
        1,
        1,
        unit=mark("tokens"),
        label=mark("Sinks"),
        shown=lambda view: view.pattern == "lambda",
    )
    step: int = slider(
        1,
        8,
        2,
        1,
        unit=mark("tokens"),
        label=mark("Dilation"),
        shown=lambda view: view.pattern == "dilated",
    )
    block: int = slider(
        1,
        _tokens,
        8,
        1,
        unit=mark("tokens"),
        label=mark("Block"),
        shown=lambda view: view.pattern == "blocks",
    )
    side: Side = one_of(SIDES, "none", label=mark("Padding"), label_of=side_label, style="segments")
    padded: int = slider(
        0, _tokens, 4, 1, label=mark("Padding tokens"), shown=lambda view: view.side != "none"
    )
    counts: str = one_of(
        ("itself", "others"),
        label=mark("A window of w includes"),
        label_of=counts_label,
        place="more",
        shown=lambda view: view.pattern in WINDOWED,
        help=mark(
            "Libraries differ: transformers counts the token itself in causal windows and not in "
            "bidirectional ones; FlashAttention never does."
        ),
    )
    starts: str = text(
        "",
        label=mark("New documents begin at token"),
        placeholder=mark("such as 12, 30"),
        most=300,
        place="more",
    )
    cells: str = text(
        "",
        label=mark("Switched pairs, query.key"),
        placeholder=mark("such as 3.5,7.2"),
        most=1_500,
        place="more",
        shown=lambda view: view.has_cells,
        help=mark("A click on the matrix switches that pair: hidden becomes visible, visible hidden."),
    )

    @property
    def longest(self) -> int:
        """How many tokens the mask can have."""
        return LONGEST

    @property
    def mask_settings(self) -> MaskSettings:
        """What the controls say. Raises InputError on starts or cells that cannot be read."""
        return MaskSettings(
            base=self.base,
            pattern=self.pattern,
            prefix=self.prefix,
            window=self.window,
            counts_itself=self.counts == "itself",
            sinks=self.sinks,
            step=self.step,
            block=self.block,
            side=self.side,
            padded=self.padded,
            starts=parse_starts(self.starts),
            cells=parse_cells(self.cells) if self.has_cells else (),
        )


@lru_cache(maxsize=32)
def visible_pairs(settings: MaskSettings, tokens: int) -> Bool[Tensor, "query key"]:
    """What the settings let be read in so many tokens; shared, so that nothing may be changed in it."""
    return settings.mask(tokens).to_tensor(tokens, tokens)


@dataclass(frozen=True)
class MasksText(SetsMask, ReadsText):
    """A mask of the text that a network reads."""

    @property
    def longest(self) -> int:
        try:
            return self.trace.tokens_shown
        except InputError:
            return LONGEST  # the stage says what is wrong with the text

    @property
    def visible(self) -> Bool[Tensor, "query key"]:
        """Which key each query may read. Raises InputError."""
        return visible_pairs(self.mask_settings, self.trace.tokens_shown)


@dataclass(frozen=True)
class MasksHead(MasksText, PicksPair):
    """A mask of a text, and one head of the network that reads it."""

    open_head: int = one_of(  # in loupe-llama this one rests on the first token
        heads_of, 2, key="head", label=mark("Head"), beside=True
    )


@dataclass(frozen=True)
class MasksNetwork(MasksHead):
    """The network under the mask: in which layers it acts, and the stage at which the head is shown."""

    head_stage: MaskStage = one_of(
        MASK_STAGES, "softmax", key="stage", label=mark("Stage"), label_of=stage_label
    )
    where: int = one_of(
        lambda view: [ALL_LAYERS, *layers_of(view)],
        ALL_LAYERS,
        label=mark("The mask acts in"),
        label_of=where_label,
        beside=True,
    )

    @property
    def changed(self) -> Trace:
        """The forward pass under the mask."""
        return changed_trace(self.network_name, self.text, self.visible, self.where)


def changed_trace(
    network: str, text: str, visible: Bool[Tensor, "query key"], where: int = ALL_LAYERS
) -> Trace:
    """The network under the mask; the network's own trace where the mask is its own already."""
    base = traced_with(network, text, NO_INTERVENTION)
    if all(torch.equal(record.visible, visible) for record in base.layers):
        return base
    layers = None if where == ALL_LAYERS else frozenset({where})
    change = Intervention(visible=Visible.from_tensor(visible), visible_in=layers)
    return traced_with(network, text, change)
