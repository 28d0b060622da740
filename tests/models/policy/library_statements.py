"""The statements by which verl and OpenRLHF make advantages, on one reward an answer.

Neither is installed here. What follows keeps their statements and names, without batching and logging:
verl (Apache-2.0), verl/trainer/ppo/core_algos.py and verl/utils/torch_functional.py, commit b178a3c,
29 January 2026; OpenRLHF (Apache-2.0), openrlhf/trainer/ppo_utils/experience_maker.py, commit 3c3be62,
13 August 2026, and the assertion of openrlhf/cli/train_ppo_ray.py.
"""

from collections import defaultdict

import torch
from torch import Tensor

VERL_ESTIMATORS = {  # AdvantageEstimator
    "gae",
    "grpo",
    "reinforce_plus_plus",
    "reinforce_plus_plus_baseline",
    "remax",
    "rloo",
    "opo",
    "grpo_passk",
    "gpg",
    "rloo_vectorized",
    "grpo_vectorized",
    "optimal_token_baseline",
    "tir_optimal_token_baseline",
}
OPENRLHF_ESTIMATORS = {"gae", "reinforce", "rloo", "reinforce_baseline", "group_norm", "dr_grpo"}


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum() / (mask.sum() + 1e-8)


def masked_var(values: Tensor, mask: Tensor) -> Tensor:
    mean = masked_mean(values, mask)
    variance = masked_mean((values - mean) ** 2, mask)
    mask_sum = mask.sum()
    if mask_sum == 1:
        raise ValueError("The sum of the mask is one, which can cause a division by zero.")
    return variance * mask_sum / (mask_sum - 1)


def masked_whiten(values: Tensor, mask: Tensor) -> Tensor:
    mean, var = masked_mean(values, mask), masked_var(values, mask)
    return (values - mean) * torch.rsqrt(var + 1e-8)


def verl(
    adv_estimator: str, scores: Tensor, index: list[int], response_mask: Tensor, *, by_std: bool = True
) -> Tensor:
    """One score an answer, its prompt's id and its tokens; advantages of the first token of each."""
    scores = scores.clone()
    if adv_estimator == "reinforce_plus_plus":  # γ = 1: every token's return is the final score
        returns = scores.unsqueeze(-1) * torch.ones_like(response_mask)
        return (masked_whiten(returns, response_mask) * response_mask)[:, 0]
    id2score: dict[int, list[Tensor]] = defaultdict(list)
    for i in range(len(scores)):
        id2score[index[i]].append(scores[i].clone())
    id2mean = {
        idx: torch.tensor(0.0) if len(held) == 1 else torch.mean(torch.stack(held))
        for idx, held in id2score.items()
    }
    id2std = {
        idx: torch.tensor(1.0) if len(held) == 1 else torch.std(torch.stack(held))
        for idx, held in id2score.items()
    }
    for i in range(len(scores)):
        if adv_estimator == "grpo":
            scores[i] = scores[i] - id2mean[index[i]]
            if by_std:  # norm_adv_by_std_in_grpo
                scores[i] = scores[i] / (id2std[index[i]] + 1e-6)
        elif adv_estimator == "rloo":
            response_num = len(id2score[index[i]])
            if response_num > 1:
                scores[i] = scores[i] * response_num / (response_num - 1) - id2mean[index[i]] * (
                    response_num / (response_num - 1)
                )
        else:
            assert adv_estimator == "reinforce_plus_plus_baseline"
            scores[i] = scores[i] - id2mean[index[i]]
    tokens = scores.unsqueeze(-1).tile([1, response_mask.shape[1]]) * response_mask
    if adv_estimator == "reinforce_plus_plus_baseline":
        tokens = masked_whiten(tokens, response_mask) * response_mask
    return tokens[:, 0]


def openrlhf(estimator: str, rewards: Tensor, action_mask: Tensor, n_samples_per_prompt: int) -> Tensor:
    """One reward an answer, n_samples_per_prompt of them a prompt; advantages of each first token."""
    if estimator in ["rloo", "reinforce_baseline", "group_norm", "dr_grpo"]:
        assert n_samples_per_prompt > 1, f"{estimator} requires n_samples_per_prompt > 1"
    rewards = rewards.reshape(-1, n_samples_per_prompt)
    if estimator == "rloo":
        baseline = (rewards.sum(-1, keepdim=True) - rewards) / (n_samples_per_prompt - 1)
        rewards = rewards - baseline
    elif estimator in ["reinforce_baseline", "dr_grpo"]:
        rewards = rewards - rewards.mean(-1, keepdim=True)
    elif estimator == "group_norm":
        rewards = (rewards - rewards.mean(-1, keepdim=True)) / (rewards.std(-1, keepdim=True) + 1e-9)
    advantages = rewards.reshape(-1)[:, None] * action_mask
    if estimator in ["gae", "reinforce", "reinforce_baseline"]:
        num_actions = action_mask.sum()
        mean = (advantages * action_mask).sum() / num_actions
        var = ((advantages - mean).pow(2) * action_mask).sum() / num_actions
        advantages = (advantages - mean) * var.clamp(min=1e-8).rsqrt()
    return advantages[:, 0]
