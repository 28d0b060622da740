"""What peft's initialisations do before the first step: audited on a tiny network.

Three questions for each: is the output still the base's? Was the base weight changed? Does switching
the adapter off bring the base back? And a fourth: did it do anything at all, or fall back silently to
the default because its preparation was missing?
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Int
from peft import LoraConfig, LoraGAConfig, PeftModel, get_peft_model, initialize_lora_eva_weights
from peft.tuners.lora import preprocess_loraga
from peft.tuners.lora.config import CordaConfig, EvaConfig
from peft.tuners.lora.corda import preprocess_corda
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from models.networks.building import building
from models.numerics.seeded import Seeded

RANK, ALPHA, SEED = 4, 8, 0
NAMES: tuple[bool | str, ...] = (
    True,
    "gaussian",
    False,
    "orthogonal",
    "pissa",
    "pissa_niter_4",
    "olora",
    "mica",
    "eva",
    "corda",
    "lora_ga",
    "loftq",
)
PREPARED = ("eva", "corda", "lora_ga")
NO_CHANGE = 1e-5  # largest |difference| of logits or weights that counts as rounding


@dataclass(frozen=True)
class Finding:
    """One initialisation. Differences are the largest absolute ones; NaN where it refused."""

    name: str
    prepared: bool
    output: float  # of logits, adapter against base, at step 0
    base: float  # of the targets' base weights
    disabled: float  # of logits, adapter switched off against base
    fell_back: bool  # A is a plain random draw, as without any initialisation of its own
    refusal: str = ""  # the first line of what peft raised

    @property
    def is_no_op(self) -> bool:
        return self.output <= NO_CHANGE

    @property
    def changes_base(self) -> bool:
        return self.base > NO_CHANGE

    @property
    def restores(self) -> bool:
        return self.disabled <= NO_CHANGE


def tiny_network() -> LlamaForCausalLM:
    """A Llama of two layers and width 32 with random weights, always the same."""
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        initializer_range=0.2,
    )
    with building(), Seeded(SEED):
        return LlamaForCausalLM(config).eval()


def tokens() -> Int[Tensor, "rows length"]:
    return torch.randint(0, 64, (4, 16), generator=torch.Generator().manual_seed(SEED))


@lru_cache(maxsize=1)
def audit() -> tuple[Finding, ...]:
    """Every initialisation of peft without preparation, then those that know one with it."""
    cases = [(name, False) for name in NAMES] + [(name, True) for name in PREPARED]
    return tuple(examine(name, prepared) for name, prepared in cases)


@lru_cache(maxsize=1)
def plain_draws() -> tuple[list[Tensor], ...]:
    """A as peft's default draws it, and as nn.Linear draws it before any initialisation."""
    return tuple(_matrices_a(get_peft_seeded(tiny_network(), _config(name))) for name in (True, False))


def examine(name: bool | str, prepared: bool) -> Finding:
    """Put one initialisation on the tiny network and compare."""
    inputs, model = tokens(), tiny_network()
    with torch.no_grad():
        expected = model(inputs).logits
    weights = [layer.self_attn.q_proj.weight.detach().clone() for layer in model.model.layers]
    try:
        adapted = _prepared(str(name), model) if prepared else get_peft_seeded(model, _config(name))
        adapted.eval()
    except Exception as error:  # of many kinds: peft, torch, a missing package
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        return Finding(str(name), prepared, torch.nan, torch.nan, torch.nan, False, reason)
    with torch.no_grad():
        output = adapted(inputs).logits
        with adapted.disable_adapter():
            disabled = adapted(inputs).logits
    now = [p for name, p in adapted.named_parameters() if name.endswith("q_proj.base_layer.weight")]
    drawn = _matrices_a(adapted)
    plain = any(all(map(torch.equal, drawn, known)) for known in plain_draws())
    return Finding(
        str(name),
        prepared,
        _largest(output, expected),
        max(_largest(a, b) for a, b in zip(now, weights, strict=True)),
        _largest(disabled, expected),
        plain and not isinstance(name, bool),
    )


def _largest(a: Tensor, b: Tensor) -> float:
    return float((a - b).detach().abs().max())


def _config(name: bool | str, **options: object) -> LoraConfig:
    return LoraConfig(
        r=RANK,
        lora_alpha=ALPHA,
        target_modules=["q_proj", "v_proj"],
        init_lora_weights=name,  # type: ignore[arg-type]  # its names are a Literal there
        task_type="CAUSAL_LM",
        **options,  # type: ignore[arg-type]  # a preparation's own settings
    )


def get_peft_seeded(model: LlamaForCausalLM, config: LoraConfig) -> PeftModel:
    """Build the adapter, whose random matrices are always the same."""
    with building(), Seeded(SEED), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return get_peft_model(model, config)


def _matrices_a(model: PeftModel) -> list[Tensor]:
    return [p.detach() for name, p in model.named_parameters() if "lora_A" in name]


def _prepared(name: str, model: LlamaForCausalLM) -> PeftModel:
    preparations: dict[str, Callable[[LlamaForCausalLM], PeftModel]] = {
        "eva": _with_eva,
        "corda": _with_corda,
        "lora_ga": _with_lora_ga,
    }
    return preparations[name](model)


def _with_eva(model: LlamaForCausalLM) -> PeftModel:
    """Directions of the inputs' largest variance, from one batch over and over."""
    adapted = get_peft_seeded(model, _config("eva", eva_config=EvaConfig()))
    batch = {"input_ids": tokens(), "attention_mask": torch.ones_like(tokens())}
    with Seeded(SEED):
        initialize_lora_eva_weights(adapted, dataloader=[batch] * 8, show_progress_bar=False)
    return adapted


def _with_corda(model: LlamaForCausalLM) -> PeftModel:
    """Directions of the inputs' covariance, the principal ones (ipm being the default)."""
    config = _config("corda", corda_config=CordaConfig())

    def run() -> None:
        with torch.no_grad():
            for row in tokens():  # its hooks take one text at a time
                model(row[None])

    preprocess_corda(model, config, run_model=run)
    return get_peft_seeded(model, config)


def _with_lora_ga(model: LlamaForCausalLM) -> PeftModel:
    """Directions of the first gradient."""
    config = _config("lora_ga", lora_ga_config=LoraGAConfig())

    def run() -> None:
        model(tokens(), labels=tokens()).loss.backward()

    preprocess_loraga(model, config, run)
    return get_peft_seeded(model, config)
