"""Which weights are quantized and how: controls that several views share."""

from dataclasses import dataclass
from functools import lru_cache

import torch

from components.panels.network.reading import ReadsNetwork
from components.panels.quantization import own as own_numbers
from components.panels.quantization.reading import network, weights
from components.settings import View, flag, one_of, slider, text
from components.words import _, mark
from models.quantization.floats import ScaleRule
from models.quantization.integers import CLIPPINGS, GRANULARITIES, MAPPINGS, Clipping, Granularity, Mapping
from models.quantization.quantized_network import Weight, matrix
from models.quantization.weight_formats import FORMATS, Format, Setting
from models.runtime.memory import drop_when_short

RANDOM, YOURS = "random", "yours"
RANDOM_SIZE = 1_024
GROUPED = ("nf4", "fp4")
SCALED = ("int", "e4m3", "e5m2")
RULES = ("floor", "ceil", "even", "rceil")


# Which matrix


@dataclass(frozen=True)
class Source:
    """A matrix: one of a network, random numbers of a normal distribution, or a person's own."""

    network: str
    layer: int
    module: str
    own: str = ""  # text, or the name of a file that is kept


def weight_of(source: Source) -> Weight:
    """Raises InputError where the network cannot be loaded."""
    return next(w for w in weights(source.network) if (w.layer, w.module) == (source.layer, source.module))


@lru_cache(maxsize=8)
def values(source: Source) -> torch.Tensor:
    """The matrix [out, in]; shared, so nothing may be changed in it. Raises InputError."""
    if source.module == YOURS:
        return own_numbers.read(source.own)
    if source.module == RANDOM:
        generator = torch.Generator().manual_seed(0)
        return torch.randn(RANDOM_SIZE, RANDOM_SIZE, generator=generator)
    return matrix(network(source.network), weight_of(source))


drop_when_short(values.cache_clear)


def is_of_network(view: "ChoosesMatrix") -> bool:
    return view.module not in (RANDOM, YOURS)


def modules_of(view: "ChoosesMatrix") -> list[str]:
    """Matrices of the chosen layer; where no input is needed, random numbers and one's own too."""
    named = [weight.module for weight in weights(view.network_name) if weight.layer == view.layer]
    return [*named, RANDOM, YOURS] if isinstance(view, ChoosesAnyMatrix) else named


def module_label(name: str) -> str:
    if name == YOURS:
        return _("your own numbers …")
    return _("random, 1,024 × 1,024, seed 0") if name == RANDOM else name


@dataclass(frozen=True)
class ChoosesMatrix(ReadsNetwork):
    """Layer and module of one matrix."""

    layer: int = one_of(
        lambda view: sorted({weight.layer for weight in weights(view.network_name)}),
        1,
        label=mark("Layer"),
        shown=is_of_network,
    )
    module: str = one_of(modules_of, "mlp.up_proj", label=mark("Matrix"), label_of=module_label)

    @property
    def source(self) -> Source:
        return Source(self.network_name, self.layer, self.module)

    @property
    def matrix(self) -> torch.Tensor:
        """The chosen matrix [out, in]; nothing may be changed in it. Raises InputError."""
        return values(self.source)


@dataclass(frozen=True)
class ChoosesAnyMatrix(ChoosesMatrix):
    """A matrix of the network, a random one, or a person's own: a file, or numbers that are pasted."""

    own: str = text(own_numbers.EXAMPLE, most=own_numbers.MOST, place="none", kept=True)

    @property
    def source(self) -> Source:
        if self.module == YOURS:
            return Source("", 0, YOURS, self.own)
        return Source(self.network_name, self.layer, self.module)

    def actions(self) -> None:
        if self.module == YOURS:
            own_numbers.choose(self.keys()["own"], self.own)


# Which format


def format_label(name: str) -> str:
    return {
        "int": _("Integers"),
        "nf4": "NF4",
        "fp4": "FP4 (bitsandbytes)",
        "mxfp4": "MXFP4",
        "nvfp4": "NVFP4",
        "e4m3": "FP8 E4M3",
        "e5m2": "FP8 E5M2",
        "mxfp8": "MXFP8",
        "bfloat16": "bfloat16",
        "float16": "float16",
    }[name]


def option_label(name: str) -> str:
    return {
        "affine": _("affine (zero point)"),
        "symmetric": _("symmetric, ÷(2^(b−1)−1)"),
        "full_range": _("symmetric, ÷(2^(b−1)−½)"),
        "tensor": _("one for all"),
        "channel": _("one per row"),
        "group": _("one per group"),
        "max": _("none"),
        "percentile": _("99.5th percentile"),
        "mse": _("least squared error"),
        "floor": "floor (OCP)",
        "ceil": "ceil",
        "even": "even",
        "rceil": "rceil",
    }[name]


def is_integer(view: "ChoosesFormat") -> bool:
    return view.format == "int"


def has_groups(view: "ChoosesFormat") -> bool:
    return view.format in GROUPED or (view.format in SCALED and view.granularity == "group")


@dataclass(frozen=True)
class ChoosesFormat(View):
    """A format of weights and its options; those that it does not have are not shown."""

    bits: int = slider(2, 8, 4, 1, label=mark("Bits"), shown=is_integer)
    group: int = slider(
        8,
        1024,
        64,
        8,
        log=True,
        label=mark("Group size"),
        help=mark("Weights that share a scale. Where it does not divide a row, the last group is shorter."),
        shown=has_groups,
    )
    format: Format = one_of(FORMATS, label=mark("Format"), label_of=format_label)
    mapping: Mapping = one_of(
        MAPPINGS,
        "symmetric",
        label=mark("Mapping"),
        label_of=option_label,
        help=mark("÷(2^(b−1)−½): quantizing a second time moves a group's largest value again."),
        shown=is_integer,
    )
    granularity: Granularity = one_of(
        GRANULARITIES,
        "group",
        label=mark("Scales"),
        label_of=option_label,
        shown=lambda view: view.format in SCALED,
    )
    clipping: Clipping = one_of(
        CLIPPINGS, "max", label=mark("Clipping"), label_of=option_label, shown=is_integer, place="more"
    )
    double: bool = flag(
        label=mark("Double quantization"),
        help=mark("The scales are quantized to 8 bits themselves."),
        shown=lambda view: view.format in GROUPED,
    )
    rule: ScaleRule = one_of(
        RULES,
        label=mark("Rule for the scale"),
        label_of=option_label,
        shown=lambda view: view.format in ("mxfp4", "mxfp8"),
    )

    @property
    def setting(self) -> Setting:
        return Setting(
            format=self.format,
            bits=self.bits,
            mapping=self.mapping,
            granularity=self.granularity,
            group_size=self.group,
            clipping=self.clipping,
            double_quantization=self.double,
            scale_rule=self.rule,
        )


def setting_name(setting: Setting) -> str:
    return f"int{setting.bits}" if setting.format == "int" else format_label(setting.format)
