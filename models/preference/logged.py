"""What a TRL run logs for a batch of pairs: each trainer's own rewards and log-probabilities."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from models.preference.losses import LossSettings, Pairs

# TRL 1.16. Rewards that are means by token, without a reference, times a coefficient of the trainer's.
BY_MEANS = {"simpo": "CPOTrainer", "orpo": "ORPOTrainer"}
TRAINERS = {"kto": "KTOTrainer", "cdpo": "CPOTrainer"} | BY_MEANS  # the others are DPOTrainer's


@dataclass(frozen=True, eq=False)
class Logged:
    """Rewards of both answers of every pair, and the log-probabilities logged beside them, in nats."""

    chosen: Float[Tensor, " pair"]
    rejected: Float[Tensor, " pair"]
    log_p_chosen: Float[Tensor, " pair"]

    @property
    def margin(self) -> Float[Tensor, " pair"]:
        return self.chosen - self.rejected


def means(pairs: Pairs) -> tuple[Float[Tensor, " pair"], Float[Tensor, " pair"]]:
    """Log π(y)/|y| of the chosen and of the rejected answers."""
    return pairs.chosen / pairs.chosen_length, pairs.rejected / pairs.rejected_length


def logged(name: str, pairs: Pairs, settings: LossSettings) -> Logged:
    """What the trainer of the loss ``name`` calls rewards.

    β Δ in DPOTrainer and KTOTrainer, whatever the loss does with it (sums over tokens, also for IPO);
    β times the mean log-probability by token in CPOTrainer's SimPO, λ times it in ORPOTrainer, both
    without a reference: trl/trainer/dpo_trainer.py, trl/experimental/{cpo,orpo}/*_trainer.py.
    """
    if name not in BY_MEANS:
        return Logged(
            settings.beta * pairs.delta_chosen, settings.beta * pairs.delta_rejected, pairs.chosen
        )
    chosen, rejected = means(pairs)
    factor = settings.beta if name == "simpo" else settings.odds_weight
    return Logged(factor * chosen, factor * rejected, chosen)
