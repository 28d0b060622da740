"""Tiny random networks on disk, as transformers saves them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from models.networks import loading
from models.runtime.settings import settings
from tests.models.networks.tiny_networks import TOKENIZERS, byte_level_tokenizer


@pytest.fixture(scope="session")
def build(tmp_path_factory) -> Callable[..., Path]:
    """Save a random network and its tokenizer; the folder's path. ``spread`` is that of its matrices."""

    def save(
        config: PreTrainedConfig, seed: int = 0, head: bool = True, spread: float | None = None
    ) -> Path:
        folder = tmp_path_factory.mktemp(config.model_type)
        torch.manual_seed(seed)
        is_encoder = config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES
        auto = AutoModelForMaskedLM if is_encoder else AutoModelForCausalLM
        model = (auto if head else AutoModel).from_config(config)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith(("bias", "sinks")):  # zero at first, which would hide a forgotten one
                    parameter.normal_(std=0.2)
                elif spread is not None and parameter.ndim > 1:
                    parameter.normal_(std=spread)
        model.save_pretrained(folder)
        TOKENIZERS.get(config.model_type, byte_level_tokenizer)().save_pretrained(folder)
        return folder

    return save


@pytest.fixture(autouse=True)
def fresh_settings(monkeypatch):
    """Tests may set LOUPE_ variables after ``settings.cache_clear()``; none stays."""
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.fixture
def empty_cache():
    loading._networks.clear()
    yield
    loading._networks.clear()
