"""What a network's attention does with a text: one forward pass, recorded layer by layer."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from models.errors import InputError
from models.networks.anatomy import Projection, projection_weight
from models.networks.interventions import Intervention
from models.networks.loading import Network
from models.networks.positions import model_inputs
from models.networks.recording import AttentionCall, Recorder, RotaryCall, recording
from models.networks.tokens import TokenizedText, labels, tokenize
from models.rope import Rotation, rotate
from models.settings import settings

NO_INTERVENTION = Intervention()


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
    projection_weight: Float[Tensor, "heads_x_d_v width"]  # W_O as the network holds it: its own
    projection_bias: Float[Tensor, " width"] | None  # device and precision, and not a copy
    rotary: RotaryCall | None  # what rotated query and key; None without rotary embedding

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
    def output_weight(self) -> Float[Tensor, "heads d_v width"]:
        """W_O, split by the head whose output each part multiplies."""
        heads, _, width = self.head_output.shape
        return _plain(self.projection_weight).reshape(heads, width, -1)

    @property
    def output_bias(self) -> Float[Tensor, " width"] | None:
        return None if self.projection_bias is None else _plain(self.projection_bias)

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

    Raises InputError on a text that cannot be read (see models.networks.tokens.tokenize) and on an
    intervention that does not fit the network or the text.
    """
    tokenized = tokenize(network.tokenizer, text, min(network.context, settings().text_tokens))
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
    return _trace(network, TokenizedText(ids, "", len(ids)), intervention)


def _trace(network: Network, tokenized: TokenizedText, intervention: Intervention) -> Trace:
    ids = tokenized.token_ids
    if not 0 <= min(ids) <= max(ids) < network.vocabulary:
        raise InputError("Token ids from 0 to {most} are accepted.", most=network.vocabulary - 1)
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
    token_ids = torch.tensor(ids)
    with recording(intervention) as recorder, torch.no_grad():
        output = network.model(**model_inputs(network, token_ids, intervention.positions), use_cache=False)
    return Trace(
        token_ids,
        labels(network.tokenizer, ids),
        tokenized.shown,
        tokenized.total,
        _layers(network, recorder),
        _plain(torch.cat([*recorder.block_inputs, recorder.block_outputs[-1]])),
        _plain(output.logits[0]) if "logits" in output else None,
    )


def _layers(network: Network, recorder: Recorder) -> tuple[LayerTrace, ...]:
    parts = zip(recorder.attention, recorder.projected, network.anatomy.projections, strict=True)
    return tuple(_layer(call, projected[0], projection) for call, projected, projection in parts)


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
        projection_weight(projection),
        projection.bias,
        None if call.rotary is None else _plain_rotary(call.rotary),
    )


def _plain_rotary(call: RotaryCall) -> RotaryCall:
    query, key = (
        Rotation(_plain(turn.cos), _plain(turn.sin), turn.layout) for turn in (call.query, call.key)
    )
    return RotaryCall(query, key, call.hidden, call.module)


def _visible(call: AttentionCall) -> Bool[Tensor, "..."]:
    """Where the mask adds nothing near the least finite number, which is how transformers hides."""
    if call.mask is None:
        return torch.ones(call.probabilities.shape[1:], dtype=torch.bool)
    visible = (call.mask > torch.finfo(call.mask.dtype).min / 2).cpu()
    return visible[0] if len(visible) == 1 else visible


def _plain(tensor: Tensor) -> Tensor:
    """As float32 on the CPU; the same tensor where it is so already."""
    return tensor.detach().to(device="cpu", dtype=torch.float32)
