"""By which rule a router of transformers 5.23 chooses and weighs its experts, family by family.

A router that is not named here is refused: many return logits, weights and indices that look alike and
mean something else (PhiMoE's SparseMixer masks all scores but those near the best; Llama 4 weighs the
input of an expert; DeepSeek-V4 hashes tokens).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from models.moe.routers import Grouping, Kind, Routing, check_counts, open_experts

CLOSE = 1e-6  # two experts whose scores lie nearer may change places


@dataclass(frozen=True, eq=False)
class Rule:
    """s = softmax(z) or σ(z); K experts by s + bias, perhaps within groups; weights from s."""

    kind: Kind
    renormalise: bool  # weights are divided by their sum
    bias: Float[Tensor, " experts"] | None = None  # counts for the choice only
    grouping: Grouping | None = None
    factor: float = 1.0
    least_sum: float = 0.0  # the sum is not taken for less
    added: float = 0.0  # to the sum

    def scores(self, logits: Float[Tensor, "*tokens experts"]) -> Float[Tensor, "*tokens experts"]:
        """What the router makes of its logits, without the bias."""
        return logits.float().softmax(-1) if self.kind == "softmax" else logits.float().sigmoid()

    def wanted(self, scores: Float[Tensor, "tokens experts"]) -> Float[Tensor, "tokens experts"]:
        """What the K largest are taken of: scores + bias, −∞ outside of a token's groups."""
        biased = scores if self.bias is None else scores + self.bias
        if self.grouping is None:
            return biased
        return biased.masked_fill(~open_experts(biased, self.grouping), -torch.inf)

    def route(self, logits: Float[Tensor, "tokens experts"], chosen: int) -> Routing:
        """K experts of each token and their weights. Raises InputError as ``check_counts`` does."""
        check_counts(logits.shape[1], chosen)
        if self.grouping is not None:
            self.grouping.check(logits.shape[1], chosen)
        scores = self.scores(logits)
        indices = self.wanted(scores).topk(chosen, dim=-1).indices
        weights = scores.gather(1, indices)
        if self.renormalise:
            weights = weights / (weights.sum(-1, keepdim=True).clamp(min=self.least_sum) + self.added)
        return Routing(scores, indices, weights * self.factor)


def _bias(module: nn.Module, name: str = "e_score_correction_bias") -> Tensor | None:
    bias = getattr(module, name, None)
    return None if bias is None else bias.detach().float().cpu().flatten()


def _softmax(gate: nn.Module, _block: nn.Module) -> Rule:
    """Renormalised where the router's own setting says so, or where it has none (Mixtral)."""
    return Rule("softmax", bool(getattr(gate, "norm_topk_prob", True)))


def _jamba(_gate: nn.Module, _block: nn.Module) -> Rule:
    return Rule("softmax", False)


def _ernie(gate: nn.Module, _block: nn.Module) -> Rule:
    """Softmax scores, and yet a bias for the choice."""
    least = float(gate.norm_min)  # type: ignore[arg-type]
    return Rule("softmax", True, _bias(gate.get_submodule("moe_statics")), least_sum=least)


def _deepseek_v2(gate: nn.Module, _block: nn.Module) -> Rule:
    """Never renormalised; a group's score is that of its best expert."""
    limited = gate.topk_method == "group_limited_greedy"
    grouping = Grouping(int(gate.num_group), int(gate.topk_group), counted=1) if limited else None  # type: ignore[arg-type]
    return Rule("softmax", False, None, grouping, float(gate.routed_scaling_factor))  # type: ignore[arg-type]


def _deepseek_v3(gate: nn.Module, _block: nn.Module) -> Rule:
    grouping = Grouping(int(gate.num_group), int(gate.topk_group))  # type: ignore[arg-type]
    factor = float(gate.routed_scaling_factor)  # type: ignore[arg-type]
    return Rule("sigmoid", bool(gate.norm_topk_prob), _bias(gate), grouping, factor, added=1e-20)


def _minimax_m2(_gate: nn.Module, block: nn.Module) -> Rule:
    """The bias stands in the block, and is handed to the router."""
    return Rule("sigmoid", True, _bias(block))


def _lfm2(gate: nn.Module, block: nn.Module) -> Rule:
    bias = _bias(block, "expert_bias") if gate.use_expert_bias else None
    factor = float(gate.routed_scaling_factor)  # type: ignore[arg-type]
    return Rule("sigmoid", bool(gate.norm_topk_prob), bias, None, factor, added=1e-6)


def _afmoe(gate: nn.Module, block: nn.Module) -> Rule:
    return Rule("sigmoid", True, _bias(block, "expert_bias"), None, float(gate.route_scale), added=1e-20)  # type: ignore[arg-type]


Reader = Callable[[nn.Module, nn.Module], Rule]
SOFTMAX = (
    *("MixtralTopKRouter", "MiniMaxTopKRouter", "GptOssTopKRouter", "HunYuanMoEV1Gate"),
    *("GraniteMoeTopKRouter", "GraniteMoeSharedTopKRouter", "GraniteMoeHybridTopKRouter"),
    *("OlmoeTopKRouter", "FlexOlmoTopKRouter", "MellumTopKRouter"),
    *("Qwen2MoeTopKRouter", "Qwen3MoeTopKRouter", "Qwen3NextTopKRouter", "Qwen3_5MoeTopKRouter"),
)
LIKE_DEEPSEEK_V3 = (
    *("DeepseekV3TopkRouter", "DeepseekV32TopkRouter", "Dots1TopkRouter", "ExaoneMoeTopkRouter"),
    *("Glm4MoeTopkRouter", "Glm4MoeLiteTopkRouter", "GlmMoeDsaTopkRouter", "SolarOpenTopkRouter"),
    *("KimiLinearTopkRouter", "BailingHybridTopkRouter", "MiMoV2FlashTopkRouter", "NemotronHTopkRouter"),
)
RULES: dict[str, Reader] = {
    **dict.fromkeys(SOFTMAX, _softmax),
    **dict.fromkeys(LIKE_DEEPSEEK_V3, _deepseek_v3),
    "JambaTopKRouter": _jamba,
    "Ernie4_5_MoeTopKRouter": _ernie,
    "DeepseekV2TopkRouter": _deepseek_v2,
    "MiniMaxM2TopKRouter": _minimax_m2,
    "Lfm2MoeTopKRouter": _lfm2,
    "AfmoeTokenChoiceRouter": _afmoe,
}


def rule_of(gate: nn.Module, block: nn.Module) -> Rule | None:
    """The rule of a router that stands in ``block`` beside its experts; None where none is known."""
    read = RULES.get(type(gate).__name__)
    return None if read is None else read(gate, block)


def difference(
    rule: Rule,
    logits: Float[Tensor, "tokens experts"],
    chosen: Tensor,
    weights: Float[Tensor, "tokens chosen"],
) -> float:
    """Largest difference of weights between a router and its rule; infinite if the choice differs.

    Experts whose scores are as good as equal may change places.
    """
    made = rule.route(logits, chosen.shape[1])
    wanted = rule.wanted(made.scores)
    ours, theirs = (wanted.gather(1, part).sort(dim=-1).values for part in (made.chosen, chosen))
    if not torch.allclose(ours, theirs, rtol=0, atol=CLOSE):
        return float("inf")
    return float((made.weights.sort(dim=-1).values - weights.float().sort(dim=-1).values).abs().max())
