"""Where each architecture keeps its parts, and the hooks that read or rewire them.

The hooks stay on the network but do nothing outside a traced pass of their own thread.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from models.errors import InputError
from models.networks.explained import is_undone, why_unexplained
from models.networks.interventions import Intervention
from models.networks.recording import (
    AttentionCall,
    Recorder,
    current_recorder,
    layout_of,
    recording,
    rotary_call,
)

Projection = nn.Linear | Conv1D
# The output projection's name inside the attention module, over the architectures.
PROJECTIONS = ("o_proj", "c_proj", "out_proj", "dense", "wo", "Wo", "out_lin")
# Pre-norm blocks, x + attention(norm(x)) and then + mlp(norm(·)): name of the second norm.
PRE_NORM = {
    "gemma": "post_attention_layernorm",
    "glm4_moe": "post_attention_layernorm",
    "gpt2": "ln_2",
    "gpt_neox": "post_attention_layernorm",
    "llama": "post_attention_layernorm",
    "mistral": "post_attention_layernorm",
    "mixtral": "post_attention_layernorm",
    "qwen2": "post_attention_layernorm",
    "qwen3": "post_attention_layernorm",
}
# Post-norm blocks, norm(x + attention(x)) and then norm(· + mlp(·)), with BERT's names.
POST_NORM = ("bert", "roberta")


@dataclass(frozen=True, eq=False)
class Anatomy:
    """What tracing needs to know about a network's structure."""

    projections: tuple[Projection, ...]  # each layer's output projection W_O
    example: AttentionCall  # a layer's attention on one token, for its shapes
    rewirable: bool  # whether skip connections and MLPs can be removed
    rotary: bool  # whether every layer rotates queries and keys in a way that can be undone
    rotating: frozenset[nn.Module]  # the attention modules that do
    unexplained: InputError | None  # why its attention is not traced, though the network runs


def examine(model: PreTrainedModel, name: str) -> Anatomy:
    """Run one token through the network to see which modules attend, and place the hooks; then four.

    Raises InputError where the network does not attend through transformers' attention interface
    in every layer, once, keeps its output projection in an unknown place, or computes no finite number.
    """
    output, recorder = _run(model, name, 1)
    _check_layers(model, name, len(recorder.modules))
    if not torch.isfinite(output).all():
        raise InputError(
            "The weights of {name} are damaged: they give numbers that are not finite.", name=name
        )
    names = {module: path for path, module in model.named_modules()}
    paths = [names[module] for module in recorder.modules]
    projections = tuple(_projection(model, path, name) for path in paths)
    blocks = [model.get_submodule(_block_path(path)) for path in paths]
    _place_hooks(model.config.model_type, blocks, projections)
    modules = list(dict.fromkeys(recorder.modules))
    rotating = {module for module in modules if _is_rotary(module)}
    for module in modules:
        module.register_forward_pre_hook(_before_attention(rotating), with_kwargs=True)
    few = max(1, min(4, getattr(model.config, "max_position_embeddings", 4)))
    _output, watched = _run(model, name, few)
    unexplained = why_unexplained(watched, projections, name)
    rotating &= {call.rotary.module for call in watched.attention if call.rotary and is_undone(call)}
    rewirable = model.config.model_type in (*PRE_NORM, *POST_NORM)
    rotary = rotating == set(modules)
    return Anatomy(
        projections, recorder.attention[0].row(0, 1), rewirable, rotary, frozenset(rotating), unexplained
    )


def _check_layers(model: PreTrainedModel, name: str, traced: int) -> None:
    layers = model.config.num_hidden_layers
    if traced > layers:
        raise InputError(
            "{name} attends {traced} times in {layers} layers; Loupe looks into networks whose layers "
            "attend once.",
            name=name,
            traced=traced,
            layers=layers,
        )
    if traced < layers:
        raise InputError(
            "{name} has {layers} layers, of which Loupe can trace {traced}.",
            name=name,
            layers=layers,
            traced=traced,
        )


def _is_rotary(attention: nn.Module) -> bool:
    """Whether it is handed the cos and sin of rotary embedding, and pairs dimensions in a known way."""
    takes = "position_embeddings" in inspect.signature(attention.forward).parameters
    return takes and layout_of(attention) is not None


def _run(model: PreTrainedModel, name: str, tokens: int) -> tuple[Tensor, Recorder]:
    ids = torch.arange(tokens, device=model.device)[None]
    try:
        with recording(Intervention()) as recorder, torch.no_grad():
            return model(ids, use_cache=False)[0], recorder
    except InputError:
        raise
    except Exception as error:  # some architectures want more than token ids
        raise InputError("Loupe cannot run {name}: it takes more than a text.", name=name) from error


def projection_weight(projection: Projection) -> Float[Tensor, "heads_x_d_v width"]:
    """W_O as it multiplies from the right; a Linear holds it transposed, GPT-2's Conv1D does not."""
    weight = projection.weight.detach()
    return weight if isinstance(projection, Conv1D) else weight.T


def _projection(model: nn.Module, path: str, name: str) -> Projection:
    attention = model.get_submodule(path)
    for candidate in PROJECTIONS:
        if isinstance(projection := getattr(attention, candidate, None), Projection):
            return projection
    parent = model.get_submodule(path.rpartition(".")[0])
    projection = getattr(getattr(parent, "output", None), "dense", None)  # BERT and its relatives
    if not isinstance(projection, Projection):
        raise InputError(
            "{name} is built in a way that Loupe does not know: its attention has no output projection.",
            name=name,
        )
    return projection


def _block_path(path: str) -> str:
    """The path up to and including its last number: "model.layers.3.self_attn" → "model.layers.3"."""
    parts = path.split(".")
    last = max(index for index, part in enumerate(parts) if part.isdigit())
    return ".".join(parts[: last + 1])


def _place_hooks(model_type: str, blocks: list[nn.Module], projections: tuple[Projection, ...]) -> None:
    for projection in dict.fromkeys(projections):
        projection.register_forward_hook(_after_projection)
    for block in dict.fromkeys(blocks):
        if model_type in PRE_NORM:
            parallel = getattr(block, "use_parallel_residual", False)  # GPT-NeoX
            if not parallel:
                second_norm = block.get_submodule(PRE_NORM[model_type])
                second_norm.register_forward_pre_hook(_before_second_norm)
            block.get_submodule("mlp").register_forward_hook(_after_mlp)
            block.register_forward_hook(_after_pre_norm_block(parallel), with_kwargs=True)
        elif model_type in POST_NORM:
            attention_norm = block.get_submodule("attention.output.LayerNorm")
            attention_norm.register_forward_pre_hook(_before_second_norm)
            attention_norm.register_forward_hook(_after_attention_norm)
            block.get_submodule("output.dense").register_forward_hook(_after_mlp)
            block.get_submodule("output.LayerNorm").register_forward_pre_hook(_before_last_norm)
        block.register_forward_hook(_after_block, with_kwargs=True)


def _block_input(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    return args[0] if args else kwargs["hidden_states"]


def _before_attention(rotating: set[nn.Module]) -> Callable[..., None]:
    """A hook for attention modules; those that are taken out of ``rotating`` later rotate nothing."""

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if (recorder := current_recorder()) is not None:
            hidden = args[0] if args else kwargs.get("hidden_states")
            embeddings = kwargs.get("position_embeddings") if module in rotating else None
            recorder.rotary = rotary_call(module, hidden, embeddings)

    return hook


def _after_projection(module: nn.Module, args: Any, output: Tensor) -> None:
    if (recorder := current_recorder()) is not None:
        recorder.projected.append(output)


def _before_second_norm(module: nn.Module, args: Any) -> tuple[Tensor] | None:
    """Without skip connections a norm that follows attention reads what attention wrote, alone."""
    recorder = current_recorder()
    if recorder is None or recorder.intervention.residual:
        return None
    return (recorder.projected[-1],)


def _after_attention_norm(module: nn.Module, args: Any, output: Tensor) -> None:
    if (recorder := current_recorder()) is not None:
        recorder.attended = output


def _after_mlp(module: nn.Module, args: Any, output: Tensor) -> None:
    if (recorder := current_recorder()) is not None:
        recorder.written = output


def _before_last_norm(module: nn.Module, args: Any) -> tuple[Tensor] | None:
    recorder = current_recorder()
    if recorder is None or not recorder.intervention.rewires_blocks:
        return None
    return (recorder.written if recorder.intervention.mlp else recorder.attended,)


def _after_pre_norm_block(parallel: bool) -> Callable[..., Tensor | None]:
    """The block's output put together anew, from the parts that the intervention leaves."""

    def hook(module: nn.Module, args: Any, kwargs: Any, output: Tensor) -> Tensor | None:
        recorder = current_recorder()
        if recorder is None or not recorder.intervention.rewires_blocks:
            return None
        if recorder.intervention.residual:
            return _block_input(args, kwargs) + recorder.projected[-1]
        if not recorder.intervention.mlp:
            return recorder.projected[-1]
        return recorder.written + recorder.projected[-1] if parallel else recorder.written

    return hook


def _after_block(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
    """Placed last, so that it sees the output as the other hooks leave it."""
    if (recorder := current_recorder()) is not None:
        recorder.block_inputs.append(_block_input(args, kwargs))
        recorder.block_outputs.append(output if isinstance(output, Tensor) else output[0])
