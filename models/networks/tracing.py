"""What a network's attention does with a text: one forward pass, recorded layer by layer."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from models.errors import InputError
from models.networks.anatomy import Projection, projection_weight
from models.networks.interventions import Intervention
from models.networks.loading import Network
from models.networks.positions import model_inputs
from models.networks.recording import AttentionCall, Recorder, RotaryCall, recording, without_rotation
from models.networks.tokens import TokenizedText, labels, tokenize
from models.rotary.rope import Rotation, rotate
from models.runtime.settings import settings

NO_INTERVENTION = Intervention()


@dataclass(frozen=True, eq=False)
class OutputProjection:
    """What joins a layer's heads, as the network holds it: its own device and precision."""

    weight: Float[Tensor, "heads_x_d_v width"]  # W_O
    bias: Float[Tensor, " width"] | None


# Queries and keys as a layer's own projections put them out, before rotary embedding.
Unrotated = tuple[Float[Tensor, "heads query d_k"], Float[Tensor, "key_heads key d_k"]]


@dataclass(frozen=True, eq=False)
class RotaryTrace:
    """How one layer's queries and keys were rotated, and what they were before."""

    query: Rotation  # as applied: an intervention may swap the layout of one or both
    key: Rotation
    projected: Callable[[], Unrotated | None]  # computed when asked; None where it is not known how


@dataclass(frozen=True, eq=False)
class LayerTrace:
    """One layer's attention, in float32 on the CPU. Properties are computed when they are read."""

    query: Float[Tensor, "heads query d_k"]  # after rotary embedding, where there is one
    key: Float[Tensor, "key_heads key d_k"]  # the same, before it is repeated for its query heads
    value: Float[Tensor, "key_heads key d_v"]
    scale: float  # the factor on q·k in this pass
    base_scale: float  # the network's own factor
    softcap: float | None  # c of c·tanh(score / c), in networks that have it (Gemma 2)
    visible: Bool[Tensor, "query key"] | Bool[Tensor, "heads query key"]
    probabilities: Float[Tensor, "heads query key"]
    head_output: Float[Tensor, "heads query d_v"]  # as passed on: zero for a silenced head
    projected: Float[Tensor, "query width"]  # the module's own output, W_O and bias applied
    output_projection: Callable[[], OutputProjection]  # the network's own, and not a copy
    rotary: RotaryTrace | None  # what rotated query and key; None without rotary embedding
    sink: Float[Tensor, " heads"] | None = None  # a learned score that softmax counts beside the keys'

    @property
    def key_of_head(self) -> Int[Tensor, " heads"]:
        """The key head that each query head reads."""
        heads, key_heads = len(self.query), len(self.key)
        return torch.arange(heads) // (heads // key_heads)

    @property
    def unrotated_query(self) -> Float[Tensor, "heads query d_k"]:
        """The query before rotary embedding; as it is where there is none."""
        return self.query if self.rotary is None else rotate(self.query, self.rotary.query.inverse)

    @property
    def unrotated_key(self) -> Float[Tensor, "key_heads key d_k"]:
        """The key before rotary embedding; as it is where there is none."""
        return self.key if self.rotary is None else rotate(self.key, self.rotary.key.inverse)

    @property
    def raw(self) -> Float[Tensor, "heads query key"]:
        """q·k, neither scaled nor masked."""
        return self.query @ self.key[self.key_of_head].transpose(1, 2)

    @property
    def scaled(self) -> Float[Tensor, "heads query key"]:
        """Raw scores times the scale of this pass; capped, where the network does that."""
        scaled = self.raw * self.scale
        return scaled if self.softcap is None else torch.tanh(scaled / self.softcap) * self.softcap

    @property
    def scores(self) -> Float[Tensor, "heads query key"]:
        """What softmax is taken of: scaled scores, -inf where hidden."""
        return self.scaled.masked_fill(~self.visible, -torch.inf)

    @property
    def sinks(self) -> Float[Tensor, "heads 1 1"] | None:
        """The sinks as they stand beside the scores; None in networks that have none."""
        return None if self.sink is None else self.sink[:, None, None]

    @property
    def output_weight(self) -> Float[Tensor, "heads d_v width"]:
        """W_O, split by the head whose output each part multiplies."""
        heads, _, width = self.head_output.shape
        return _plain(self.output_projection().weight).reshape(heads, width, -1)

    @property
    def output_bias(self) -> Float[Tensor, " width"] | None:
        bias = self.output_projection().bias
        return None if bias is None else _plain(bias)

    @property
    def reassembled(self) -> Float[Tensor, "query width"]:
        """The sum over heads of head_output·W_O, plus the bias: ``projected``, by another way."""
        output = torch.einsum("hqd,hdw->qw", self.head_output, self.output_weight)
        return output if self.output_bias is None else output + self.output_bias


@dataclass(frozen=True, eq=False)
class Trace:
    """A forward pass of one text, in float32 on the CPU."""

    token_ids: Int[Tensor, " query"]
    labels: tuple[str, ...]  # each token, readable; see models.networks.tokens.labels
    text_shown: str  # the part of the text that was traced; empty where token ids were given
    tokens_total: int  # of the whole text
    layers: tuple[LayerTrace, ...]
    hidden: Float[Tensor, "states query width"]  # before each block, and after the last
    logits: Float[Tensor, "query vocabulary"] | None  # None for an encoder without a head

    @property
    def tokens_shown(self) -> int:
        return len(self.token_ids)


def trace(network: Network, text: str, intervention: Intervention = NO_INTERVENTION) -> Trace:
    """Trace a text; what does not fit the context or the settings is cut off at a token's end.

    Raises InputError on a text that cannot be read (see models.networks.tokens.tokenize), on an
    intervention that does not fit the network or the text, and on a network whose attention is not
    what a trace would say.
    """
    return _trace(network, [_read(network, text)], intervention)[0]


def trace_batch(
    network: Network, texts: list[str], intervention: Intervention = NO_INTERVENTION
) -> list[Trace]:
    """Trace several texts in one forward pass, each as ``trace`` does to within rounding.

    Shorter texts are filled up at their end, which no earlier token of a causal network can read; an
    encoder's texts must have the same length, and so must those of a network whose frequencies follow the
    batch's length. Raises InputError as ``trace`` does, and for texts that
    cannot share a pass.
    """
    tokenized = [_read(network, text) for text in texts]
    lengths = {len(one.token_ids) for one in tokenized}
    if len(lengths) > 1 and not (network.entry.kind == "causal" and intervention.fits_any_length):
        raise InputError("Texts of {lengths} tokens cannot share a pass.", lengths=sorted(lengths))
    if network.changes_beyond is not None and min(lengths) <= network.changes_beyond < max(lengths):
        raise InputError("Texts of {lengths} tokens cannot share a pass.", lengths=sorted(lengths))
    return _trace(network, tokenized, intervention)


def trace_ids(
    network: Network, token_ids: Int[Tensor, " query"], intervention: Intervention = NO_INTERVENTION
) -> Trace:
    """Trace token ids as they are, without special tokens added.

    Raises InputError where there are none, more than the context takes, or one that is not in the
    vocabulary.
    """
    ids = tuple(token_ids.tolist())
    if not 1 <= len(ids) <= network.context:
        raise InputError(
            "There are {count} tokens; from 1 to {most} are accepted.", count=len(ids), most=network.context
        )
    return _trace(network, [TokenizedText(ids, "", len(ids))], intervention)[0]


def _read(network: Network, text: str) -> TokenizedText:
    return tokenize(network.tokenizer, text, min(network.context, settings().text_tokens))


def _check(network: Network, ids: tuple[int, ...], intervention: Intervention) -> None:
    """Raise InputError for ids and an intervention that do not fit the network."""
    check_tokens(network, ids)
    intervention.check_fits(network.layers, network.heads, len(ids))
    if intervention.swapped_layout and not network.anatomy.rotary:
        raise InputError(
            "{name} has no rotary embedding that Loupe can take apart.", name=network.entry.name
        )
    if intervention.rewires_blocks and not network.anatomy.rewirable:
        raise InputError(
            "Loupe does not know how {architecture} joins attention, MLP and skip connections, "
            "and cannot take them out.",
            architecture=network.entry.architecture,
        )


def _trace(network: Network, texts: list[TokenizedText], intervention: Intervention) -> list[Trace]:
    if (why := network.anatomy.unexplained) is not None:
        raise why.with_traceback(None)  # which would hold on to whoever asked before
    for one in texts:
        _check(network, one.token_ids, intervention)
    longest = max(len(one.token_ids) for one in texts)
    rows = [one.token_ids + one.token_ids[-1:] * (longest - len(one.token_ids)) for one in texts]
    inputs = model_inputs(network, torch.tensor(rows), intervention.positions)
    with recording(intervention) as recorder, torch.no_grad():
        output = network.model(**inputs, use_cache=False)
    states = [*recorder.block_inputs, recorder.block_outputs[-1]]
    logits = output.logits if "logits" in output else None
    return [_row(network, recorder, states, logits, index, one) for index, one in enumerate(texts)]


def _row(
    network: Network,
    recorder: Recorder,
    states: list[Tensor],
    logits: Tensor | None,
    index: int,
    text: TokenizedText,
) -> Trace:
    """One text's part of the pass, without what it was filled up with."""
    n = len(text.token_ids)
    calls = zip(recorder.attention, recorder.projected, network.anatomy.projections, strict=True)
    return Trace(
        torch.tensor(text.token_ids),
        labels(network.tokenizer, text.token_ids),
        text.shown,
        text.total,
        tuple(_layer(call.row(index, n), projected[index, :n], part) for call, projected, part in calls),
        _plain(torch.stack([state[index, :n] for state in states])),
        None if logits is None else _plain(logits[index, :n]),
    )


def _layer(call: AttentionCall, projected: Tensor, projection: Projection) -> LayerTrace:
    return LayerTrace(
        _plain(call.query),
        _plain(call.key),
        _plain(call.value),
        call.scale,
        call.base_scale,
        call.softcap,
        _visible(call),
        _plain(call.probabilities),
        _plain(call.head_output),
        _plain(projected),
        lambda: _output_projection(projection),
        None if call.rotary is None else _rotary(call.rotary),
        None if call.sink is None else _plain(call.sink),
    )


def output_projection(network: Network, layer: int) -> OutputProjection:
    """A layer's W_O. Raises InputError where there is no such layer."""
    check_layer(network, layer)
    return _output_projection(network.anatomy.projections[layer])


def check_tokens(network: Network, ids: tuple[int, ...]) -> None:
    """Raise InputError where one of them is not in the network's vocabulary."""
    if not all(0 <= token < network.vocabulary for token in ids):
        raise InputError("Token ids from 0 to {most} are accepted.", most=network.vocabulary - 1)


def check_layer(network: Network, layer: int) -> None:
    """Raise InputError where the network has no such layer."""
    if not 0 <= layer < network.layers:
        raise InputError("The network has {layers} layers, counted from 0.", layers=network.layers)


def _output_projection(projection: Projection) -> OutputProjection:
    return OutputProjection(projection_weight(projection), projection.bias)


def _rotary(call: RotaryCall) -> RotaryTrace:
    query, key = (
        Rotation(_plain(turn.cos), _plain(turn.sin), turn.layout) for turn in (call.query, call.key)
    )
    return RotaryTrace(query, key, lambda: _unrotated(call))


def _unrotated(call: RotaryCall) -> Unrotated | None:
    """Queries and keys as the layer's module makes them where it is told to rotate by no angle."""
    made = without_rotation(call)
    return None if made is None else (_plain(made[0]), _plain(made[1]))


def _visible(call: AttentionCall) -> Bool[Tensor, "..."]:
    """Where the mask adds nothing near the least finite number, which is how transformers hides."""
    if call.mask is None:
        return torch.ones(call.probabilities.shape[1:], dtype=torch.bool)
    visible = (call.mask > torch.finfo(call.mask.dtype).min / 2).cpu()
    return visible[0] if len(visible) == 1 else visible


def _plain(tensor: Tensor) -> Tensor:
    """As float32 on the CPU; the same tensor where it is so already."""
    return tensor.detach().to(device="cpu", dtype=torch.float32)
