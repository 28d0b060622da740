"""L-BFGS's direction: the inverse Hessian from the last few steps (Nocedal 1980)."""

import torch
from torch import Tensor

TOO_FLAT = 1e-10  # torch 2.13 keeps no pair whose curvature yᵀs is below this


def lbfgs_direction(memory: dict[str, Tensor], g: Tensor, theta: Tensor, history: int) -> Tensor:
    """H·g by the two-loop recursion (Nocedal & Wright 2006, algorithm 7.4), so that Δ = −ηHg.

    ``memory`` holds the last point and gradient, and the pairs s = Δθ, y = Δg of the last steps,
    newest last. The first H is the identity, later ones start at (sᵀy / yᵀy)·I.
    """
    pairs_s = list(memory.get("s", g.new_zeros(0, len(g))))
    pairs_y = list(memory.get("y", g.new_zeros(0, len(g))))
    if "g" in memory:
        s, y = theta - memory["theta"], g - memory["g"]
        if float(y @ s) > TOO_FLAT:
            pairs_s, pairs_y = [*pairs_s, s][-history:], [*pairs_y, y][-history:]
    memory["g"], memory["theta"] = g, theta
    if not pairs_s:
        return g
    memory["s"], memory["y"] = torch.stack(pairs_s), torch.stack(pairs_y)
    q, weights = g, []
    for s, y in zip(reversed(pairs_s), reversed(pairs_y), strict=True):
        weights.append((s @ q) / (y @ s))
        q = q - weights[-1] * y
    newest_s, newest_y = pairs_s[-1], pairs_y[-1]
    r = q * (newest_y @ newest_s) / (newest_y @ newest_y)
    for s, y, weight in zip(pairs_s, pairs_y, reversed(weights), strict=True):
        r = r + s * (weight - (y @ r) / (y @ s))
    return r
