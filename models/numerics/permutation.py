"""A random order of tokens, the same for the same seed."""

import torch
from jaxtyping import Int
from torch import Tensor

from models.errors import InputError


def permutation(tokens: int, seed: int, fixed_ends: bool = False) -> Int[Tensor, " token"]:
    """Token i of the new order is token permutation[i] of the old one, uniformly at random.

    ``fixed_ends``: the first and the last token stay where they are. Raises InputError where fewer
    than two tokens could then change places.
    """
    generator = torch.Generator().manual_seed(seed)
    if not fixed_ends:
        return torch.randperm(tokens, generator=generator)
    if tokens < 4:
        raise InputError("At least four tokens are needed, so that two between the ends can change places.")
    inner = torch.randperm(tokens - 2, generator=generator) + 1
    return torch.cat([torch.tensor([0]), inner, torch.tensor([tokens - 1])])
