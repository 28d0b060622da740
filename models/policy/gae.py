"""Generalised advantage estimation: a critic's values, temporal differences, and λ between them."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from models.errors import InputError


def temporal_differences(
    rewards: Float[Tensor, " steps"], values: Float[Tensor, " steps"], discount: float, after: float = 0.0
) -> Float[Tensor, " steps"]:
    """δ_t = r_t + γ V_(t+1) − V_t.

    ``after`` is V behind the last step: 0 where the episode ended, whatever state comes next; the
    critic's value of the cut-off state where a limit of time or tokens ended the recording only.
    """
    following = torch.cat([values[1:], values.new_full((1,), after)])
    return rewards + discount * following - values


def advantages(
    rewards: Float[Tensor, " steps"],
    values: Float[Tensor, " values"],
    discount: float,
    decay: float,
    after: float = 0.0,
) -> Float[Tensor, " steps"]:
    """A_t = δ_t + γλ A_(t+1) (Schulman et al. 2016, arXiv 1506.02438, eq. 16).

    ``discount`` is γ, ``decay`` λ: 0 trusts the critic (one-step TD), 1 only the rewards (Monte Carlo).
    ``after`` is V behind the last step, as in ``temporal_differences``.
    Raises InputError unless both lie in [0, 1] and all numbers are finite.
    """
    if not (0 <= discount <= 1 and 0 <= decay <= 1):
        raise InputError("γ and λ must lie between 0 and 1.")
    if rewards.shape != values.shape or len(rewards) == 0:
        raise InputError(
            "There are {rewards} rewards and {values} values; each step needs one of both.",
            rewards=len(rewards),
            values=len(values),
        )
    if not (rewards.isfinite().all() and values.isfinite().all() and math.isfinite(after)):
        raise InputError("Rewards and values must be finite numbers.")
    deltas = temporal_differences(rewards, values, discount, after)
    found, running = torch.empty_like(deltas), deltas.new_zeros(())
    for step in range(len(deltas) - 1, -1, -1):
        running = deltas[step] + discount * decay * running
        found[step] = running
    return found


def whitened(values: Float[Tensor, " steps"]) -> Float[Tensor, " steps"]:
    """Mean 0 and sample variance 1, as PPO does with a batch's advantages; ε = 1e-8 in the root."""
    if len(values) < 2:
        return torch.zeros_like(values)
    return (values - values.mean()) * torch.rsqrt(values.var() + 1e-8)
