"""How an embedded network is trained: every number of the recipe, with its reason."""

import math
from dataclasses import dataclass

import torch
from transformers import LlamaConfig, LlamaForCausalLM


@dataclass(frozen=True)
class Recipe:
    """Settings of one training run; two runs with the same settings and text agree to rounding."""

    name: str = "loupe-llama"
    seed: int = 0
    vocabulary_size: int = 2_048
    width: int = 192
    layers: int = 4
    query_heads: int = 6
    key_heads: int = 2
    mlp_width: int = 512
    context: int = 256
    steps: int = 4_000
    text_rows: int = 24
    copy_rows: int = 24
    shortest_period: int = 3  # copies begin with periods of 3 to 8 tokens ...
    first_longest_period: int = 8
    last_longest_period: int = 64  # ... and end with 3 to 64
    copies_learned: float = 0.3  # the longest period grows while the loss on copies is below this
    copies_later: int = 4  # once it has grown, copies come in one step of so many
    adamw_learning_rate: float = 3e-3  # embeddings and norms
    muon_learning_rate: float = 0.01  # matrices; half of Keller Jordan's value, with his adjustment
    warmup: int = 100
    weight_decay: float = 0.1
    gradient_norm: float = 1.0

    def config(self, start_token: int) -> LlamaConfig:
        return LlamaConfig(
            architectures=["LlamaForCausalLM"],
            vocab_size=self.vocabulary_size,
            hidden_size=self.width,
            num_hidden_layers=self.layers,
            num_attention_heads=self.query_heads,
            num_key_value_heads=self.key_heads,
            head_dim=self.width // self.query_heads,
            intermediate_size=self.mlp_width,
            max_position_embeddings=self.context,
            rms_norm_eps=1e-5,
            rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
            tie_word_embeddings=True,
            bos_token_id=start_token,
            eos_token_id=None,
        )

    def network(self, start_token: int) -> LlamaForCausalLM:
        """The untrained network; residual writes start smaller by √(2·layers), as in GPT-2."""
        torch.manual_seed(self.seed)
        network = LlamaForCausalLM(self.config(start_token))
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if name.endswith(("o_proj.weight", "down_proj.weight")):
                    parameter.div_(math.sqrt(2 * self.layers))
        return network

    def copies_due(self, step: int, longest_period: int) -> bool:
        """Whether a batch of copies belongs to ``step``: always until long periods are learned."""
        return longest_period < self.last_longest_period or step % self.copies_later == 0

    def grown(self, longest_period: int, copy_loss: float) -> int:
        """The next longest period: long ones from the start form no induction head."""
        if copy_loss >= self.copies_learned:
            return longest_period
        return min(longest_period + 1, self.last_longest_period)
