"""A network in a script: its weights written down in it, or loaded by transformers."""

import base64
import zlib
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import safetensors.torch
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel


@dataclass(frozen=True)
class Network:
    """A network as the functions below want it."""

    model: PreTrainedModel

    @property
    def entry(self) -> SimpleNamespace:
        return SimpleNamespace(name=self.model.config.model_type)

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        return self.model.dtype

    @property
    def context(self) -> int:
        """The longest text that it learned from, in tokens."""
        return int(self.model.config.max_position_embeddings)


def taken(model: PreTrainedModel) -> Any:
    """A model as the functions of this script take it."""
    return Network(model)


_NAMED: dict[str, PreTrainedModel] = {}


def named(name: str, model: PreTrainedModel) -> str:
    """Remember a model under a name, by which ``load`` finds it."""
    _NAMED[name] = model
    return name


def load(name: str) -> Any:
    """The network that was given that name."""
    return Network(_NAMED[name])


def network_of(config: dict[str, Any], weights: str) -> PreTrainedModel:
    """A network from its configuration and its weights: safetensors, compressed, in base64."""
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config), attn_implementation="eager")
    parameters = safetensors.torch.load(zlib.decompress(base64.b64decode(weights)))
    model.load_state_dict(parameters, strict=False)  # tied weights are there once
    model.tie_weights()
    return model.to(torch.float32).eval().requires_grad_(False)
