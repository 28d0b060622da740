"""TRL's own trainer code for policy-gradient losses and advantages, run on plain tensors."""

import ast
import inspect
import math
import textwrap
from collections import defaultdict
from types import SimpleNamespace

import torch
from torch import Tensor
from trl.trainer import grpo_trainer, rloo_trainer
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.rloo_trainer import RLOOTrainer

from models.policy.losses import PolicyLoss, Rollout

ACCELERATOR = SimpleNamespace(
    num_processes=1, sync_gradients=True, gather=lambda x: x, reduce=lambda x, reduction: x
)


def _stand_in(**settings) -> SimpleNamespace:
    """What the trainers' loss code reads of a trainer."""
    common = {
        "aux_loss_enabled": False,
        "top_entropy_quantile": 1.0,
        "off_policy_mask_threshold": None,
        "use_vllm": False,
        "current_gradient_accumulation_steps": 1,
        "accelerator": ACCELERATOR,
        "_entropy_bonus_enabled": False,
        "_metrics": defaultdict(lambda: defaultdict(list)),
        "model": SimpleNamespace(training=True),
    }
    return SimpleNamespace(**common | settings)


def _inputs(rollout: Rollout) -> dict[str, Tensor]:
    answers, _tokens = rollout.mask.shape
    prompt = torch.ones(answers, 1, dtype=torch.long)
    return {
        "prompt_ids": prompt,
        "prompt_mask": prompt,
        "completion_ids": torch.ones_like(rollout.mask, dtype=torch.long),
        "completion_mask": rollout.mask,
        "advantages": rollout.advantages,
        "old_per_token_logps": rollout.old,
        "old_logps": (rollout.old * rollout.mask).sum(1),
        "ref_per_token_logps": rollout.reference,
        "num_items_in_batch": rollout.mask.sum(),
    }


def grpo_loss(
    rollout: Rollout, loss: PolicyLoss, loss_type: str, *, entropies: Tensor | None = None
) -> Tensor:
    """GRPOTrainer._compute_loss with the trainer replaced by what it reads."""
    entropy = torch.zeros_like(rollout.mask) if entropies is None else entropies
    trainer = _stand_in(
        loss_type=loss_type,
        importance_sampling_level=loss.level,
        beta=loss.beta,
        epsilon_low=loss.epsilon_low,
        epsilon_high=loss.cap if loss_type == "cispo" else loss.epsilon_high,
        max_completion_length=loss.longest,
        _entropy_bonus_enabled=entropies is not None,
        use_adaptive_entropy=False,
        entropy_coef=loss.entropy,
        get_gamma_weights=GRPOTrainer.get_gamma_weights,
        _get_per_token_logps_and_entropies=lambda *args, **options: (rollout.log_p, entropy, None),
        args=SimpleNamespace(
            delta=loss.delta,
            use_bias_correction_kl=loss.corrected,
            sapo_temperature_pos=loss.hot,
            sapo_temperature_neg=loss.cold,
            vespo_k_pos=2.0,
            vespo_lambda_pos=3.0,
            vespo_k_neg=3.0,
            vespo_lambda_neg=2.0,
            steps_per_generation=1,
        ),
    )
    return GRPOTrainer._compute_loss(trainer, None, _inputs(rollout))


def rloo_loss(rollout: Rollout, loss: PolicyLoss) -> Tensor:
    """RLOOTrainer._compute_loss, likewise."""
    trainer = _stand_in(
        epsilon_low=loss.epsilon_low,
        epsilon_high=loss.epsilon_high,
        _get_per_token_logps_and_entropies=lambda *args, **options: (
            rollout.log_p,
            torch.zeros_like(rollout.mask),
            None,
        ),
    )
    return RLOOTrainer._compute_loss(trainer, None, _inputs(rollout))


def _statements(method, first: str, last: str) -> list[ast.stmt]:
    """The statements of a method's body, from one that begins with ``first`` to one with ``last``."""
    body = ast.parse(textwrap.dedent(inspect.getsource(method))).body[0].body
    texts = [ast.unparse(statement) for statement in body]
    start = next(i for i, text in enumerate(texts) if text.startswith(first))
    end = next(i for i, text in enumerate(texts) if i >= start and text.startswith(last))
    return body[start : end + 1]


def _run(module, method, first: str, last: str, names: dict) -> Tensor:
    code = ast.Module(_statements(method, first, last), type_ignores=[])
    scope = {**vars(module), "math": math, **names}
    exec(compile(ast.fix_missing_locations(code), "trl", "exec"), scope)
    return scope["advantages"]


def grpo_advantages(rewards: Tensor, scale_rewards: str) -> Tensor:
    """TRL's lines from rewards to advantages, out of GRPOTrainer._generate_and_score_completions."""
    trainer = SimpleNamespace(
        multi_objective_aggregation="sum_then_normalize",
        scale_rewards=scale_rewards,
        reward_weights=torch.ones(1, dtype=rewards.dtype),
    )
    names = {
        "self": trainer,
        "rewards_per_func": rewards.reshape(-1, 1),
        "num_generations": rewards.shape[1],
        "device": "cpu",
    }
    found = _run(
        grpo_trainer,
        GRPOTrainer._generate_and_score_completions,
        "unscorable_mask =",
        "advantages = torch.nan_to_num",
        names,
    )
    return found.view_as(rewards)


def rloo_advantages(
    rewards: Tensor, normalize: bool, *, beta: float = 0.0, rollout: Rollout | None = None
) -> Tensor:
    """The same of RLOOTrainer, with β times the KL of a rollout taken off the rewards."""
    trainer = SimpleNamespace(
        normalize_advantages=normalize,
        reward_weights=torch.ones(1, dtype=rewards.dtype),
        reward_clip_range=None,
        beta=beta,
    )
    names = {
        "self": trainer,
        "rewards_per_func": rewards.reshape(-1, 1),
        "num_generations": rewards.shape[1],
        "device": "cpu",
        "gather": lambda x: x,
    }
    if rollout is not None:
        names |= {
            "old_per_token_logps": rollout.old,
            "ref_per_token_logps": rollout.reference,
            "completion_mask": rollout.mask,
        }
    found = _run(
        rloo_trainer,
        RLOOTrainer._generate_and_score_completions,
        "unscorable_mask =",
        "advantages = torch.nan_to_num",
        names,
    )
    return found.view_as(rewards)
