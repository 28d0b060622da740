"""A network with some of its weights quantized, and what that does from the weight to the loss.

The loaded network is shared by all sessions, so nothing is ever put into it: a private copy of its
modules, which share its tensors, is called with other weights in the place of some.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.func import functional_call
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from models.errors import InputError
from models.networks.loading import Network
from models.networks.texts import passages
from models.networks.tokens import tokenize
from models.numerics.token_losses import token_losses
from models.quantization.error import output_error, relative_error
from models.quantization.weight_formats import Setting, quantize
from models.runtime.settings import settings

HELD_OUT_TOKENS = 128  # from the beginning of each English passage
Replaced = dict[str, Tensor]


@dataclass(frozen=True)
class Weight:
    """A matrix of the network: the block that it belongs to, its module there, its parameter's name."""

    layer: int
    module: str
    name: str


@dataclass(frozen=True, eq=False)
class Measured:
    """What became of the next tokens of a text, and of the loss on the passages (nats a token)."""

    kl: Float[Tensor, " query"]  # KL(before ‖ after) at each position, in nats
    flipped: Bool[Tensor, " query"]  # the likeliest next token is another one
    loss: float

    @property
    def mean_kl(self) -> float:
        return float(self.kl.mean())


@dataclass(frozen=True, eq=False)
class Baseline:
    """The untouched network on a text and on the passages: what no setting changes."""

    tokens: Int[Tensor, " query"]
    inputs: dict[str, Float[Tensor, "query in"]]  # of every matrix, by its parameter's name
    stream: Float[Tensor, "states query width"]
    logits: Float[Tensor, "query vocabulary"]
    passages: Int[Tensor, "passages length"]
    loss: float  # nats a token, on the passages

    @property
    def nbytes(self) -> int:
        """Bytes of everything that is held."""
        held = (*self.inputs.values(), self.stream, self.logits, self.tokens, self.passages)
        return sum(tensor.nbytes for tensor in held)


@dataclass(frozen=True, eq=False)
class Cascade:
    """One setting, followed down the network."""

    weights: tuple[Weight, ...]
    weight_error: Float[Tensor, " weights"]  # ‖W − Ŵ‖ / ‖W‖
    output_error: Float[Tensor, " weights"]  # ‖X(W − Ŵ)ᵀ‖ / ‖XWᵀ‖, each with its undisturbed input
    stream_error: Float[Tensor, " states"]  # of the residual stream, before each block and at the end
    measured: Measured
    loss_before: float
    effective_bits: float


def weights_of(network: Network) -> tuple[Weight, ...]:
    """The matrices inside the blocks, which quantizers take; embeddings, norms and head stay.

    Raises InputError where there is none.
    """
    weights = []
    for path, module in network.model.named_modules():
        parts = path.split(".")
        numbers = [index for index, part in enumerate(parts) if part.isdigit()]
        if numbers and isinstance(module, nn.Linear | Conv1D):
            block = numbers[0]
            weights.append(Weight(int(parts[block]), ".".join(parts[block + 1 :]), f"{path}.weight"))
    if not weights:
        raise InputError("{name} has no linear layers to quantize.", name=network.entry.name)
    return tuple(weights)


def matrix(network: Network, weight: Weight) -> Float[Tensor, "out in"]:
    """A weight as [out, in] in float32 on the CPU; GPT-2's Conv1D holds it the other way round."""
    module = network.model.get_submodule(weight.name.removesuffix(".weight"))
    held = module.get_parameter("weight").detach().to(device="cpu", dtype=torch.float32)
    return held.T.contiguous() if isinstance(module, Conv1D) else held


def as_parameter(network: Network, weight: Weight, values: Float[Tensor, "out in"]) -> Tensor:
    """A matrix [out, in] in the place, precision and orientation in which the network keeps it."""
    module = network.model.get_submodule(weight.name.removesuffix(".weight"))
    values = values.T if isinstance(module, Conv1D) else values
    return values.to(device=network.device, dtype=network.dtype)


def quantized(network: Network, chosen: tuple[Weight, ...], setting: Setting) -> tuple[Replaced, float]:
    """The chosen weights in the setting's format, and their effective bits a weight."""
    replaced, bits, count = {}, 0.0, 0
    for weight in chosen:
        original = matrix(network, weight)
        found = quantize(original, setting)
        replaced[weight.name] = as_parameter(network, weight, found.dequantized)
        bits += found.effective_bits * original.numel()
        count += original.numel()
    return replaced, bits / max(1, count)


def private_copy(model: PreTrainedModel) -> PreTrainedModel:
    """Modules of one's own that share the network's tensors."""
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, shared)


def token_ids(network: Network, text: str) -> Int[Tensor, " query"]:
    """A text's tokens, cut to what the network and the settings take."""
    most = min(network.context, settings().text_tokens)
    return torch.tensor(tokenize(network.tokenizer, text, most).token_ids)


def held_out(network: Network, length: int = HELD_OUT_TOKENS) -> Int[Tensor, "passages length"]:
    """The beginnings of the English passages, which were written for Loupe and never trained on."""
    most = min(network.context, length)
    texts = [passage.text for passage in passages() if passage.language == "en"]
    return torch.tensor([tokenize(network.tokenizer, text, most).token_ids for text in texts])


def check_decoder(network: Network) -> None:
    """Raise InputError for a network that does not say what comes next."""
    if network.entry.kind != "causal":
        raise InputError(
            "{name} is an encoder: it does not say what comes next, so there is no loss to measure. "
            "Choose a decoder such as loupe-llama.",
            name=network.entry.name,
        )


def logits_with(
    network: Network, tokens: Int[Tensor, "batch query"], replaced: Replaced
) -> Float[Tensor, "batch query vocabulary"]:
    """The network's logits with some parameters replaced for this one call."""
    return _logits(_called(network, private_copy(network.model), tokens, replaced))


def _called(
    network: Network,
    model: PreTrainedModel,
    tokens: Int[Tensor, "batch query"],
    replaced: Replaced,
    states: bool = False,
) -> Any:
    """What a private copy answers with some parameters replaced; ``states``: with the residual stream."""
    options = {"use_cache": False, "output_hidden_states": states}
    with torch.inference_mode():
        return functional_call(model, replaced, (tokens.to(network.device),), options)


def _logits(output: Any) -> Float[Tensor, "batch query vocabulary"]:
    return output.logits.float().cpu()


def _stream(output: Any) -> Float[Tensor, "states query width"]:
    return torch.cat(output.hidden_states).float().cpu()


def kl_by_position(
    before: Float[Tensor, "query vocabulary"], after: Float[Tensor, "query vocabulary"]
) -> Float[Tensor, " query"]:
    """KL(before ‖ after) of the next token at each position, in nats; from logits, in float64."""
    log_p, log_q = before.double().log_softmax(-1), after.double().log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).sum(-1).clamp(min=0).float()


def mean_loss(logits: Float[Tensor, "batch query vocabulary"], tokens: Int[Tensor, "batch query"]) -> float:
    """The mean of ``token_losses``, in nats."""
    return float(token_losses(logits, tokens).double().mean())


def text_kl(network: Network, baseline: Baseline, replaced: Replaced) -> Float[Tensor, " query"]:
    """KL of the next token after each token of the baseline's text with some weights replaced, in nats."""
    return kl_by_position(baseline.logits, logits_with(network, baseline.tokens[None], replaced)[0])


def measure(network: Network, baseline: Baseline, replaced: Replaced) -> Measured:
    """KL, flipped choices and loss with some weights replaced."""
    return _followed(network, baseline, replaced)[0]


def _followed(
    network: Network, baseline: Baseline, replaced: Replaced, states: bool = False
) -> tuple[Measured, Any]:
    """What became of text and passages, and the network's answer on the text: two passes of one copy."""
    model = private_copy(network.model)
    output = _called(network, model, baseline.tokens[None], replaced, states)
    after = _logits(output)[0]
    loss = mean_loss(_logits(_called(network, model, baseline.passages, replaced)), baseline.passages)
    flipped = baseline.logits.argmax(-1) != after.argmax(-1)
    return Measured(kl_by_position(baseline.logits, after), flipped, loss), output


def layer_inputs(
    network: Network, tokens: Int[Tensor, " query"], replaced: Replaced | None = None
) -> tuple[dict[str, Float[Tensor, "query in"]], Float[Tensor, "states query width"]]:
    """What every quantizable matrix reads, by its parameter's name; and the residual stream."""
    read, output = _read(network, tokens, replaced or {})
    return read, _stream(output)


def _read(
    network: Network, tokens: Int[Tensor, " query"], replaced: Replaced
) -> tuple[dict[str, Float[Tensor, "query in"]], Any]:
    """One pass: what every quantizable matrix reads, and the network's answer."""
    model = private_copy(network.model)
    read: dict[str, Tensor] = {}
    for weight in weights_of(network):
        module = model.get_submodule(weight.name.removesuffix(".weight"))

        def keep(_module: nn.Module, args: tuple[Tensor, ...], name: str = weight.name) -> None:
            read[name] = args[0].detach().flatten(0, -2).float().cpu()

        module.register_forward_pre_hook(keep)
    return read, _called(network, model, tokens[None], replaced, states=True)


def read_baseline(network: Network, tokens: Int[Tensor, " query"]) -> Baseline:
    """The untouched network on a text and on the passages. Raises InputError for an encoder."""
    check_decoder(network)
    inputs, output = _read(network, tokens, {})
    passages_tokens = held_out(network)
    loss = mean_loss(logits_with(network, passages_tokens, {}), passages_tokens)
    return Baseline(tokens, inputs, _stream(output), _logits(output)[0], passages_tokens, loss)


def weight_errors(
    network: Network, chosen: tuple[Weight, ...], setting: Setting
) -> Float[Tensor, " weights"]:
    """‖W − Ŵ‖ / ‖W‖ of each matrix in the setting's format; NaN for a matrix of zeros."""
    originals = (matrix(network, weight) for weight in chosen)
    return torch.tensor([relative_error(x, quantize(x, setting).dequantized) for x in originals])


def cascade(
    network: Network,
    tokens: Int[Tensor, " query"],
    chosen: tuple[Weight, ...],
    setting: Setting,
    baseline: Baseline | None = None,
) -> Cascade:
    """Weight error, output error, the residual stream, next tokens and loss for one setting.

    ``baseline``: of the same network and tokens, where it was read before.
    """
    check_decoder(network)
    base = baseline or read_baseline(network, tokens)
    replaced, bits = quantized(network, chosen, setting)
    errors = []
    for weight in chosen:
        original, changed = matrix(network, weight), _as_matrix(network, weight, replaced[weight.name])
        read = base.inputs[weight.name]
        errors.append((relative_error(original, changed), output_error(read, original, changed)))
    weight_error, written_error = torch.tensor(errors, dtype=torch.float32).T
    measured, output = _followed(network, base, replaced, states=True)
    distance = (_stream(output) - base.stream).flatten(1).norm(dim=1) / base.stream.flatten(1).norm(dim=1)
    return Cascade(chosen, weight_error, written_error, distance, measured, base.loss, bits)


def _as_matrix(network: Network, weight: Weight, held: Tensor) -> Float[Tensor, "out in"]:
    module = network.model.get_submodule(weight.name.removesuffix(".weight"))
    return (held.T if isinstance(module, Conv1D) else held).float().cpu()


@dataclass(frozen=True)
class Sensitivity:
    """One matrix quantized alone: the mean KL of the next token, and the loss it adds."""

    weight: Weight
    kl: float
    added_loss: float


def sensitivities(
    network: Network,
    tokens: Int[Tensor, " query"],
    setting: Setting,
    baseline: Baseline | None = None,
) -> Iterator[Sensitivity]:
    """Quantize one matrix after another, each alone, and measure; one result a step."""
    base = baseline or read_baseline(network, tokens)
    for weight in weights_of(network):
        replaced, _bits = quantized(network, (weight,), setting)
        measured = measure(network, base, replaced)
        yield Sensitivity(weight, measured.mean_kl, measured.loss - base.loss)
