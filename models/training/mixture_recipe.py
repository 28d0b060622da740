"""How loupe-moe is trained, three times over: the same network, data and seed, other balancing."""

from dataclasses import dataclass
from typing import Literal

import torch
from transformers import Glm4MoeConfig, Glm4MoeForCausalLM

Balancing = Literal["none", "loss", "bias"]


@dataclass(frozen=True)
class MixtureRecipe:
    """Settings of one run. GLM-4's mixture routes as DeepSeek-V3 does, with ordinary attention."""

    balancing: Balancing = "bias"
    seed: int = 0
    vocabulary_size: int = 1_024
    width: int = 128
    layers: int = 4
    query_heads: int = 4
    key_heads: int = 2
    experts: int = 16
    chosen: int = 4
    expert_width: int = 48  # fine-grained: a dense layer of this size would be some 340 wide
    shared_experts: int = 1
    context: int = 256
    steps: int = 2_400
    rows: int = 18  # six windows of each domain
    learning_rate: float = 4e-3
    warmup: int = 100
    weight_decay: float = 0.1
    gradient_norm: float = 1.0
    loss_weight: float = 0.01  # of the auxiliary loss, as OLMoE and Switch weigh theirs
    bias_rate: float = 1e-3  # γ of DeepSeek-V3 ...
    bias_frozen: float = 0.1  # ... and 0 in the last tenth, so that the bias is not frozen mid-swing

    @property
    def name(self) -> str:
        return f"loupe-moe-{self.balancing}"

    def bias_rate_at(self, step: int) -> float:
        """γ at a step; 0 where the bias does not balance."""
        is_over = step >= (1 - self.bias_frozen) * self.steps
        return 0.0 if is_over or self.balancing != "bias" else self.bias_rate

    def config(self, start_token: int) -> Glm4MoeConfig:
        return Glm4MoeConfig(
            architectures=["Glm4MoeForCausalLM"],
            vocab_size=self.vocabulary_size,
            hidden_size=self.width,
            num_hidden_layers=self.layers,
            num_attention_heads=self.query_heads,
            num_key_value_heads=self.key_heads,
            moe_intermediate_size=self.expert_width,
            intermediate_size=self.expert_width,
            n_routed_experts=self.experts,
            num_experts_per_tok=self.chosen,
            n_shared_experts=self.shared_experts,
            first_k_dense_replace=0,
            num_mtp_layers=0,
            max_position_embeddings=self.context,
            rope_parameters={"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 1.0},
            tie_word_embeddings=True,
            bos_token_id=start_token,
            eos_token_id=None,
        )

    def network(self, start_token: int) -> Glm4MoeForCausalLM:
        """The untrained network."""
        torch.manual_seed(self.seed)
        return Glm4MoeForCausalLM(self.config(start_token))
