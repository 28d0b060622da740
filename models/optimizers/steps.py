"""One step of each optimizer, written out: gradient, state, direction, preconditioner, decay, Δ.

    Δθ = −η · preconditioner ⊙ direction + decay + pull

Each function below takes the memory of the steps before, the gradient g that the optimizer was handed,
the parameters θ, the learning rate η, the number of the step t = 1, 2, … and the settings s. Sources:
torch.optim 2.13, lion-pytorch 0.2.5, schedulefree 1.4.1, and the papers named beside each.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from models.errors import InputError
from models.optimizers.quasi_newton import lbfgs_direction
from models.optimizers.trajectories import Choice, Trajectory

Memory = dict[str, Tensor]
Settings = dict[str, float]


@dataclass(frozen=True, eq=False)
class Step:
    """The parts of one step; ``state`` is in the order in which it is computed."""

    gradient: Float[Tensor, " n"]
    direction: Float[Tensor, " n"]
    rate: float
    preconditioner: Float[Tensor, " n"] = field(default_factory=lambda: torch.ones(2).double())
    decay: Float[Tensor, " n"] = field(default_factory=lambda: torch.zeros(2).double())
    pull: Float[Tensor, " n"] = field(default_factory=lambda: torch.zeros(2).double())
    state: dict[str, Tensor] = field(default_factory=dict)

    @property
    def delta(self) -> Float[Tensor, " n"]:
        return -self.rate * self.preconditioner * self.direction + self.decay + self.pull


def sgd(memory: Memory, g: Tensor, theta: Tensor, rate: float, t: int, s: Settings) -> Step:
    """Robbins & Monro (1951): Δ = −η(g + λθ)."""
    return Step(g, g + s["weight_decay"] * theta, rate)


def momentum(memory: Memory, g: Tensor, theta: Tensor, rate: float, t: int, s: Settings) -> Step:
    """Polyak (1964), torch's form: b ← μb + (1 − dampening)g, Δ = −ηb; the first b is g."""
    d = g + s["weight_decay"] * theta
    b = d if t == 1 else s["momentum"] * memory["b"] + (1 - s["dampening"]) * d
    if s["momentum"] == 0:
        b = d  # torch then keeps no buffer
    memory["b"] = b
    return Step(g, b, rate, state={"b": b})


def nesterov(memory: Memory, g: Tensor, theta: Tensor, rate: float, t: int, s: Settings) -> Step:
    """Nesterov (1983) as in Sutskever et al. (2013): b ← μb + g, Δ = −η(g + μb)."""
    d = g + s["weight_decay"] * theta
    b = d if t == 1 else s["momentum"] * memory["b"] + d
    memory["b"] = b
    return Step(g, d + s["momentum"] * b, rate, state={"b": b})


def adagrad(memory: Memory, g: Tensor, theta: Tensor, rate: float, t: int, s: Settings) -> Step:
    """Duchi et al. (2011): G ← G + g², Δ = −η g/(√G + ε)."""
    d = g + s["weight_decay"] * theta
    memory["G"] = memory.get("G", torch.zeros_like(g)) + d**2
    return Step(g, d, rate, 1 / (memory["G"].sqrt() + s["eps"]), state={"G": memory["G"]})


def adadelta(memory: Memory, g: Tensor, theta: Tensor, rate: float, t: int, s: Settings) -> Step:
    """Zeiler (2012): v ← ρv + (1 − ρ)g², Δ' = √(u + ε)/√(v + ε) g, u ← ρu + (1 − ρ)Δ'²."""
    rho, eps, d = s["rho"], s["eps"], g + s["weight_decay"] * theta
    v = rho * memory.get("v", torch.zeros_like(g)) + (1 - rho) * d**2
    u = memory.get("u", torch.zeros_like(g))
    preconditioner = ((u + eps) / (v + eps)).sqrt()
    memory["v"], memory["u"] = v, rho * u + (1 - rho) * (preconditioner * d) ** 2
    return Step(g, d, rate, preconditioner, state={"v": v, "u": u})


def rmsprop(memory: Memory, g: Tensor, theta: Tensor, rate: float, t: int, s: Settings) -> Step:
    """Hinton (2012, lecture 6): v ← αv + (1 − α)g², Δ = −η g/(√v + ε), without bias correction."""
    d = g + s["weight_decay"] * theta
    v = s["alpha"] * memory.get("v", torch.zeros_like(g)) + (1 - s["alpha"]) * d**2
    memory["v"] = v
    return Step(g, d, rate, 1 / (v.sqrt() + s["eps"]), state={"v": v})


def _moments(memory: Memory, g: Tensor, s: Settings) -> tuple[Tensor, Tensor]:
    """M ← β₁m + (1 − β₁)g and v ← β₂v + (1 − β₂)g²."""
    zero = torch.zeros_like(g)
    memory["m"] = s["beta1"] * memory.get("m", zero) + (1 - s["beta1"]) * g
    memory["v"] = s["beta2"] * memory.get("v", zero) + (1 - s["beta2"]) * g**2
    return memory["m"], memory["v"]


def adam(memory: Memory, g: Tensor, theta: Tensor, rate: float, t: int, s: Settings) -> Step:
    """Kingma & Ba (2015): Δ = −η m̂/(√v̂ + ε); decay, if any, is added to the gradient (L2)."""
    m, v = _moments(memory, g + s["weight_decay"] * theta, s)
    m_hat, v_hat = m / (1 - s["beta1"] ** t), v / (1 - s["beta2"] ** t)
    state = {"m": m, "v": v, "m̂": m_hat, "v̂": v_hat}
    return Step(g, m_hat, rate, 1 / (v_hat.sqrt() + s["eps"]), state=state)


def adamw(memory: Memory, g: Tensor, theta: Tensor, rate: float, t: int, s: Settings) -> Step:
    """Loshchilov & Hutter (2019): Adam, and θ shrinks by ηλθ beside it (decoupled decay)."""
    plain = adam(memory, g, theta, rate, t, s | {"weight_decay": 0.0})
    decay = -rate * s["weight_decay"] * theta
    return Step(g, plain.direction, rate, plain.preconditioner, decay, state=plain.state)


def nadam(memory: Memory, g: Tensor, theta: Tensor, rate: float, t: int, s: Settings) -> Step:
    """Dozat (2016): a look-ahead on m, with μ_t = β₁(1 − ½·0.96^(tψ)) in place of a constant."""
    d = g + s["weight_decay"] * theta
    m, v = _moments(memory, d, s)
    now, after = (s["beta1"] * (1 - 0.5 * 0.96 ** (k * s["momentum_decay"])) for k in (t, t + 1))
    product = memory.get("product", torch.ones((), dtype=g.dtype)) * now
    memory["product"] = product
    direction = (1 - now) / (1 - product) * d + after / (1 - product * after) * m
    v_hat = v / (1 - s["beta2"] ** t)
    state = {"m": m, "v": v, "v̂": v_hat}
    return Step(g, direction, rate, 1 / (v_hat.sqrt() + s["eps"]), state=state)


def rectification(t: int, beta2: float) -> tuple[float, float | None]:
    """RAdam's ρ_t and, where ρ_t > 5, its factor r_t (Liu et al. 2020, equations 5 and 6)."""
    limit = 2 / (1 - beta2) - 1
    rho = limit - 2 * t * beta2**t / (1 - beta2**t)
    if rho <= 5:
        return rho, None
    r = (rho - 4) * (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho)
    return rho, math.sqrt(r)


def radam(memory: Memory, g: Tensor, theta: Tensor, rate: float, t: int, s: Settings) -> Step:
    """Liu et al. (2020): momentum without adaptation until ρ_t > 5, then Adam times r_t."""
    m, v = _moments(memory, g + s["weight_decay"] * theta, s)
    m_hat = m / (1 - s["beta1"] ** t)
    _rho, r = rectification(t, s["beta2"])
    state = {"m": m, "v": v, "m̂": m_hat}
    if r is None:
        return Step(g, m_hat, rate, state=state)
    preconditioner = r * math.sqrt(1 - s["beta2"] ** t) / (v.sqrt() + s["eps"])
    return Step(g, m_hat, rate, preconditioner, state=state)


def adamax(memory: Memory, g: Tensor, theta: Tensor, rate: float, t: int, s: Settings) -> Step:
    """Kingma & Ba (2015), section 7.1: u ← max(β₂u, |g| + ε) takes the place of √v̂."""
    d, zero = g + s["weight_decay"] * theta, torch.zeros_like(g)
    m = s["beta1"] * memory.get("m", zero) + (1 - s["beta1"]) * d
    u = torch.maximum(s["beta2"] * memory.get("u", zero), d.abs() + s["eps"])
    memory["m"], memory["u"] = m, u
    m_hat = m / (1 - s["beta1"] ** t)
    return Step(g, m_hat, rate, 1 / u, state={"m": m, "u": u, "m̂": m_hat})


def adafactor(memory: Memory, g: Tensor, theta: Tensor, rate: float, t: int, s: Settings) -> Step:
    """Shazeer & Stern (2018): β₂ grows as 1 − t^−0.8, steps are clipped and relative to θ's size.

    A vector's v is not factored; min(η, 1/√t) limits the relative step, ε₂ = 10⁻³ the size of θ.
    """
    v = memory.get("v", torch.zeros_like(g)).lerp(g**2, t ** s["beta2_decay"])
    memory["v"] = v
    smallest = torch.finfo(g.dtype).eps
    adapted = 1 / v.clamp(min=smallest**2).sqrt()
    clipped = max(1.0, _rms(adapted * g) / s["d"])
    size = max(1e-3, _rms(theta)) * min(rate, 1 / math.sqrt(t))
    decay = -rate * s["weight_decay"] * theta
    return Step(g, g, rate, adapted * size / (clipped * rate), decay, state={"v": v})


def _rms(values: Tensor) -> float:
    return values.square().mean().sqrt().item()


def rprop(memory: Memory, g: Tensor, theta: Tensor, rate: float, t: int, s: Settings) -> Step:
    """Riedmiller & Braun (1993): only signs count; a step size grows while they agree.

    Where the sign turned, the step is left out and the step size shrinks.
    """
    agreed = (g * memory.get("g", torch.zeros_like(g))).sign()
    change = torch.ones_like(g)
    change[agreed > 0], change[agreed < 0] = s["etaplus"], s["etaminus"]
    size = (memory.get("size", torch.full_like(g, rate)) * change).clamp(1e-6, 50)
    used = torch.where(agreed < 0, 0.0, g)
    memory["g"], memory["size"] = used, size
    return Step(g, used.sign(), rate, size / rate, state={"size": size})


def lbfgs(memory: Memory, g: Tensor, theta: Tensor, rate: float, t: int, s: Settings) -> Step:
    """Nocedal (1980): the direction H·g with H built from the last steps; no line search here.

    torch shortens the first step to min(1, 1/‖g‖₁).
    """
    direction = lbfgs_direction(memory, g, theta, round(s["history_size"]))
    shortened = min(1.0, 1 / g.abs().sum().item()) if t == 1 else 1.0
    return Step(g, direction, rate, torch.full_like(g, shortened))


def lion(memory: Memory, g: Tensor, theta: Tensor, rate: float, t: int, s: Settings) -> Step:
    """Chen et al. (2023): Δ = −η(sign(β₁m + (1 − β₁)g) + λθ), and only then m ← β₂m + (1 − β₂)g."""
    m = memory.get("m", torch.zeros_like(g))
    blend = s["beta1"] * m + (1 - s["beta1"]) * g
    memory["m"] = s["beta2"] * m + (1 - s["beta2"]) * g
    decay = -rate * s["weight_decay"] * theta
    return Step(g, blend.sign(), rate, decay=decay, state={"m": m, "β₁m+(1−β₁)g": blend})


def _schedule_free(
    memory: Memory, g: Tensor, y: Tensor, rate: float, beta: float, preconditioner: Tensor, d: Tensor
) -> Step:
    """Defazio et al. (2024): y = (1 − β)z + βx, z ← z − ηd, x ← (1 − c)x + cz with c = η²/Ση².

    Written for y, which holds the parameters during training; with a constant rate c = 1/t.
    """
    z = memory.get("z", y)
    largest = max(rate, float(memory.get("largest", torch.tensor(0.0))))
    total = memory.get("total", torch.zeros((), dtype=torch.float64)) + largest**2
    c = float(largest**2 / total)
    memory["largest"], memory["total"] = torch.tensor(largest, dtype=torch.float64), total
    memory["z"] = z - rate * d
    return Step(
        g, d / preconditioner, rate, (1 - beta * (1 - c)) * preconditioner, pull=c * (z - y), state={"z": z}
    )


def free_sgd(memory: Memory, g: Tensor, theta: Tensor, rate: float, t: int, s: Settings) -> Step:
    d = g + s["weight_decay"] * theta
    return _schedule_free(memory, g, theta, rate, s["momentum"], torch.ones_like(g), d)


def free_adamw(memory: Memory, g: Tensor, theta: Tensor, rate: float, t: int, s: Settings) -> Step:
    """The same with g/(√v̂ + ε) in place of g; decay is taken at y."""
    v = s["beta2"] * memory.get("v", torch.zeros_like(g)) + (1 - s["beta2"]) * g**2
    memory["v"] = v
    scale = 1 / ((v / (1 - s["beta2"] ** t)).sqrt() + s["eps"])
    d = scale * g + s["weight_decay"] * theta
    step = _schedule_free(memory, g, theta, rate, s["beta1"], scale, d)
    return Step(g, step.direction, rate, step.preconditioner, pull=step.pull, state={"v": v, **step.state})


STEPS: dict[str, Callable[[Memory, Tensor, Tensor, float, int, Settings], Step]] = {
    "sgd": sgd,
    "momentum": momentum,
    "nesterov": nesterov,
    "adagrad": adagrad,
    "adadelta": adadelta,
    "rmsprop": rmsprop,
    "adam": adam,
    "adamw": adamw,
    "nadam": nadam,
    "radam": radam,
    "adamax": adamax,
    "adafactor": adafactor,
    "rprop": rprop,
    "lbfgs": lbfgs,
    "lion": lion,
    "free_sgd": free_sgd,
    "free_adamw": free_adamw,
}


def explain_step(path: Trajectory, choice: Choice, step: int) -> Step:
    """The parts of step ``step`` (1 is the first), from the gradients recorded up to it.

    Raises InputError for a step that the path does not have.
    """
    if not 1 <= step <= min(len(path.gradients), path.last + (path.diverged_at is not None)):
        raise InputError("This path has {steps} steps.", steps=path.last)
    memory: Memory = {}
    write_out, settings = STEPS[choice.kind], choice.values
    for t in range(1, step + 1):
        g, theta = path.gradients[t - 1], path.parameters[t - 1]
        explained = write_out(memory, g, theta, path.rates[t - 1].item(), t, settings)
    return explained


def taken(path: Trajectory, step: int) -> Float[Tensor, "2"]:
    """The step that the library's own optimizer took: the difference of two recorded points."""
    return path.parameters[step] - path.parameters[step - 1]


def difference_from_library(path: Trajectory, choice: Choice, step: int) -> float:
    """The largest difference of the step written out from the library's, relative to its length.

    Steps shorter than 1 are compared as they are.
    """
    moved = taken(path, step)
    difference = (explain_step(path, choice, step).delta - moved).abs().max()
    return (difference / moved.norm().clamp(min=1.0)).item()
