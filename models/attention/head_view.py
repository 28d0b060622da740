"""One head of a traced network, stage by stage, and the checks that its numbers pass."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from models.attention.dot_product import contributions, hide_sink
from models.networks.sdpa import torch_attention
from models.networks.tracing import LayerTrace, Trace
from models.numerics.comparison import largest_difference

Stage = Literal["raw", "scaled", "masked", "softmax", "contribution"]
STAGES: tuple[Stage, ...] = get_args(Stage)


@dataclass(frozen=True, eq=False)
class HeadView:
    """A head at one stage: NaN where the mask hides a pair from this stage on."""

    values: Float[Tensor, "query key"]
    is_signed: bool  # scores have a sign; weights and contributions have none

    @property
    def largest(self) -> float:
        """The largest absolute value shown; 1 where nothing is."""
        finite = self.values[torch.isfinite(self.values)].abs()
        return float(finite.max()) if finite.numel() and finite.max() > 0 else 1.0


def head_view(trace: Trace, layer: int, head: int, stage: Stage, without_sink: bool = False) -> HeadView:
    """A head's numbers at a stage: q·k, scaled, masked, softmax, or contribution ‖α·vW_O‖.

    ``without_sink`` takes the first key out of weights and contributions and renormalises rows.
    """
    record = trace.layers[layer]
    if stage in ("raw", "scaled"):
        return HeadView((record.raw if stage == "raw" else record.scaled)[head], is_signed=True)
    hidden = ~_visible(record, head)
    if stage == "masked":
        return HeadView(record.scaled[head].masked_fill(hidden, torch.nan), is_signed=True)
    probabilities = record.probabilities[head : head + 1]
    if without_sink:
        probabilities = hide_sink(probabilities)
        hidden = hidden.clone()
        hidden[:, 0] = True
    if stage == "contribution":
        value = record.value[record.key_of_head[head : head + 1]]
        probabilities = contributions(probabilities, value, record.output_weight[head : head + 1])
    return HeadView(probabilities[0].masked_fill(hidden, torch.nan), is_signed=False)


def _visible(record: LayerTrace, head: int) -> Tensor:
    return record.visible if record.visible.ndim == 2 else record.visible[head]


def strongest_cell(trace: Trace, layer: int, head: int) -> tuple[int, int]:
    """The last query, and the key that it weighs most."""
    row = trace.layers[layer].probabilities[head, -1]
    return len(row) - 1, int(row.argmax())


def difference_from_sdpa(record: LayerTrace, silenced_heads: frozenset[int] = frozenset()) -> float:
    """Largest difference between the heads' outputs and torch's scaled_dot_product_attention."""
    speaking = [head for head in range(len(record.query)) if head not in silenced_heads]
    return largest_difference(record.head_output[speaking], torch_attention(record)[speaking])


def rounding_of_attention(record: LayerTrace) -> float:
    """How far two float32 computations of the same attention may differ; 1e-5 at least.

    A score s carries a rounding error of about ε·|s|, softmax turns it into a relative error of its
    weights, and these are multiplied with values: ε · max|s| · max|v|. Low temperatures make scores,
    and with them the error, large.
    """
    scores = record.scaled.abs().max()
    return max(1e-5, float(torch.finfo(torch.float32).eps * scores * record.value.abs().max()))


def difference_from_module(record: LayerTrace) -> float:
    """Largest difference between Σₕ head_output·W_O and what the network's own module returned."""
    return largest_difference(record.reassembled, record.projected)
