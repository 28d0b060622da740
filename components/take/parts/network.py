"""A network in a script: its weights written down in it, or loaded by transformers."""

import base64
import zlib
from typing import Any

import safetensors.torch
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel


def network_of(config: dict[str, Any], weights: str) -> PreTrainedModel:
    """A network from its configuration and its weights: safetensors, compressed, in base64."""
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config), attn_implementation="eager")
    parameters = safetensors.torch.load(zlib.decompress(base64.b64decode(weights)))
    model.load_state_dict(parameters, strict=False)  # tied weights are there once
    model.tie_weights()
    return model.to(torch.float32).eval().requires_grad_(False)
