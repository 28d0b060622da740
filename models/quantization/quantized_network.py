"""A network with some of its weights quantized, and what that does from the weight to the loss.

The loaded network is shared by all sessions, so nothing is ever put into it: a private copy of its
modules, which share its tensors, is called with other weights in the place of some.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from models.errors import InputError
from models.networks.loading import Network
from models.networks.texts import passages
from models.networks.tokens import tokenize
from models.quantization.error import output_error
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
    found = []
    for path, module in network.model.named_modules():
        parts = path.split(".")
        numbers = [index for index, part in enumerate(parts) if part.isdigit()]
        if numbers and isinstance(module, nn.Linear | Conv1D):
            place = numbers[0]
            found.append(Weight(int(parts[place]), ".".join(parts[place + 1 :]), f"{path}.weight"))
    if not found:
        raise InputError("{name} has no linear layers to quantize.", name=network.entry.name)
    return tuple(found)


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
    model = private_copy(network.model)
    with torch.inference_mode():
        output = functional_call(model, replaced, (tokens.to(network.device),), {"use_cache": False})
    return output.logits.float().cpu()


def token_losses(
    logits: Float[Tensor, "batch query vocabulary"], tokens: Int[Tensor, "batch query"]
) -> Float[Tensor, "batch next"]:
    """Negative log-likelihood of each token but the first, in nats."""
    return cross_entropy(logits[:, :-1].transpose(1, 2), tokens[:, 1:], reduction="none")


def kl_by_position(
    before: Float[Tensor, "query vocabulary"], after: Float[Tensor, "query vocabulary"]
) -> Float[Tensor, " query"]:
    """KL(before ‖ after) of the next token at each position, in nats; from logits, in float64."""
    log_p, log_q = before.double().log_softmax(-1), after.double().log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).sum(-1).clamp(min=0).float()


def measure(
    network: Network,
    tokens: Int[Tensor, " query"],
    before: Float[Tensor, "query vocabulary"],
    passages_tokens: Int[Tensor, "passages length"],
    replaced: Replaced,
) -> Measured:
    """KL, flipped choices and loss with some weights replaced."""
    after = logits_with(network, tokens[None], replaced)[0]
    losses = token_losses(logits_with(network, passages_tokens, replaced), passages_tokens)
    flipped = before.argmax(-1) != after.argmax(-1)
    return Measured(kl_by_position(before, after), flipped, float(losses.double().mean()))


def layer_inputs(
    network: Network, tokens: Int[Tensor, " query"], replaced: Replaced | None = None
) -> tuple[dict[str, Float[Tensor, "query in"]], Float[Tensor, "states query width"]]:
    """What every quantizable matrix reads, by its parameter's name; and the residual stream."""
    model = private_copy(network.model)
    read: dict[str, Tensor] = {}
    for weight in weights_of(network):
        module = model.get_submodule(weight.name.removesuffix(".weight"))

        def keep(_module: nn.Module, args: tuple[Tensor, ...], name: str = weight.name) -> None:
            read[name] = args[0].detach().flatten(0, -2).float().cpu()

        module.register_forward_pre_hook(keep)
    with torch.inference_mode():
        output = functional_call(
            model,
            replaced or {},
            (tokens[None].to(network.device),),
            {"use_cache": False, "output_hidden_states": True},
        )
    return read, torch.cat(output.hidden_states).float().cpu()


def cascade(
    network: Network, tokens: Int[Tensor, " query"], chosen: tuple[Weight, ...], setting: Setting
) -> Cascade:
    """Weight error, output error, the residual stream, next tokens and loss for one setting."""
    check_decoder(network)
    read, stream = layer_inputs(network, tokens)
    replaced, bits = quantized(network, chosen, setting)
    errors = []
    for weight in chosen:
        original = matrix(network, weight)
        changed = _as_matrix(network, weight, replaced[weight.name])
        relative = float(torch.linalg.norm(original - changed) / torch.linalg.norm(original))
        errors.append((relative, output_error(read[weight.name], original, changed)))
    passages_tokens = held_out(network)
    before = logits_with(network, tokens[None], {})[0]
    loss_before = float(
        token_losses(logits_with(network, passages_tokens, {}), passages_tokens).double().mean()
    )
    changed_stream = layer_inputs(network, tokens, replaced)[1]
    distance = (changed_stream - stream).flatten(1).norm(dim=1) / stream.flatten(1).norm(dim=1)
    weight_errors, output_errors = torch.tensor(errors, dtype=torch.float32).T
    measured = measure(network, tokens, before, passages_tokens, replaced)
    return Cascade(chosen, weight_errors, output_errors, distance, measured, loss_before, bits)


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
    network: Network, tokens: Int[Tensor, " query"], setting: Setting
) -> Iterator[Sensitivity]:
    """Quantize one matrix after another, each alone, and measure; one result a step."""
    check_decoder(network)
    passages_tokens = held_out(network)
    before = logits_with(network, tokens[None], {})[0]
    loss = float(token_losses(logits_with(network, passages_tokens, {}), passages_tokens).double().mean())
    for weight in weights_of(network):
        replaced, _bits = quantized(network, (weight,), setting)
        found = measure(network, tokens, before, passages_tokens, replaced)
        yield Sensitivity(weight, found.mean_kl, found.loss - loss)
