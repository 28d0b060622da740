"""A small transformer trained before one's eyes: loss, gradient norm by layer, sharpness.

The network is made of torch's own nn.TransformerEncoderLayer, which has Pre-LN (``norm_first``) and
Post-LN; it predicts the next character of the passages that ship with Loupe. Training is a
generator: whoever reads it may stop at any step.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn, optim
from torch.nn.functional import cross_entropy

from models.errors import InputError
from models.networks.texts import passages
from models.numerics.math_attention import MathAttention
from models.numerics.seeded import Seeded
from models.optimizers.schedules import CONSTANT, Schedule, factor
from models.optimizers.sharpness import preconditioned_sharpness
from models.optimizers.trajectories import KINDS, Choice, check_rate

NORMS = ("pre", "post")
WIDTH, HEADS, MLP_WIDTH = 64, 4, 128
CONTEXT, ROWS = 32, 8  # tokens and sequences of a batch
MOST_LAYERS, MOST_STEPS = 24, 2_000
MUON_REST = 3e-3  # AdamW's rate for what Muon does not take: embeddings, biases, norms


@dataclass(frozen=True)
class Training:
    """One training run. ``fixed_batch`` trains on one batch for ever, which is full-batch descent.

    Raises InputError on an unknown optimizer or norm, and on sizes that are not accepted.
    """

    kind: str = "adam"  # a name of KINDS, or muon
    rate: float = 3e-3
    norm: str = "pre"
    layers: int = 2
    steps: int = 200
    schedule: Schedule = CONSTANT
    fixed_batch: bool = False
    sharpness_every: int = 0  # steps; 0 for never
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.kind != "muon" and self.kind not in KINDS) or self.kind == "lbfgs":
            raise InputError("There is no optimizer called {name}.", name=self.kind)
        check_rate(self.rate)
        if self.norm not in NORMS:
            raise InputError("Layer norm stands before (pre) or after (post), not {name}.", name=self.norm)
        if not (1 <= self.layers <= MOST_LAYERS and 1 <= self.steps <= MOST_STEPS):
            raise InputError(
                "1 to {layers} layers and 1 to {steps} steps are accepted.",
                layers=MOST_LAYERS,
                steps=MOST_STEPS,
            )


@dataclass(frozen=True, eq=False)
class Progress:
    """What one step was: loss before it, gradient norm of each layer, learning rate, sharpness."""

    step: int  # 0 is the first
    loss: float  # nats a character
    gradient_norms: Float[Tensor, " layers"]
    rate: float
    sharpness: float | None = None  # largest eigenvalue of the (preconditioned) Hessian
    diverged: bool = False


class SmallTransformer(nn.Module):
    """Embedding, encoder layers with a causal mask, a final norm for Pre-LN, and a linear head."""

    def __init__(self, characters: int, layers: int, norm: str):
        super().__init__()
        self.tokens = nn.Embedding(characters, WIDTH)
        self.positions = nn.Embedding(CONTEXT, WIDTH)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                WIDTH, HEADS, MLP_WIDTH, dropout=0.0, batch_first=True, norm_first=norm == "pre"
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(WIDTH) if norm == "pre" else nn.Identity()
        self.head = nn.Linear(WIDTH, characters)

    def forward(self, ids: Int[Tensor, "rows tokens"]) -> Float[Tensor, "rows tokens characters"]:
        size = ids.shape[1]
        hidden = self.tokens(ids) + self.positions(torch.arange(size))
        mask = nn.Transformer.generate_square_subsequent_mask(size)
        for layer in self.layers:
            hidden = layer(hidden, src_mask=mask, is_causal=True)
        return self.head(self.norm(hidden))


@lru_cache(maxsize=1)
def characters() -> tuple[Int[Tensor, " n"], str]:
    """The English passages as numbers, and the characters that these stand for."""
    text = "\n".join(passage.text for passage in passages() if passage.language == "en")
    alphabet = "".join(sorted(set(text)))
    index = {character: number for number, character in enumerate(alphabet)}
    return torch.tensor([index[character] for character in text]), alphabet


def network(training: Training) -> SmallTransformer:
    """The untrained network; equal seeds give equal weights."""
    with Seeded(training.seed):
        return SmallTransformer(len(characters()[1]), training.layers, training.norm)


def batch(generator: torch.Generator) -> Int[Tensor, "rows tokens"]:
    """Random stretches of the text, one character longer than the context."""
    ids, _alphabet = characters()
    starts = torch.randint(len(ids) - CONTEXT - 1, (ROWS,), generator=generator)
    return torch.stack([ids[start : start + CONTEXT + 1] for start in starts])


def loss_on(net: nn.Module, ids: Int[Tensor, "rows tokens"]) -> Float[Tensor, ""]:
    """Mean cross-entropy of the next character, in nats."""
    return cross_entropy(net(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())


def optimizers_of(training: Training, net: SmallTransformer) -> list[optim.Optimizer]:
    """The chosen optimizer for all parameters; Muon takes the layers' matrices only, AdamW the rest."""
    everything = list(net.parameters())
    if training.kind != "muon":
        return [Choice(training.kind, training.rate).build(everything)]
    matrices = [p for p in net.layers.parameters() if p.ndim == 2]
    taken = {id(p) for p in matrices}
    rest = [p for p in everything if id(p) not in taken]
    return [
        optim.Muon(matrices, training.rate, adjust_lr_fn="match_rms_adamw"),
        optim.AdamW(rest, MUON_REST),
    ]


def gradient_norms(net: SmallTransformer) -> Float[Tensor, " layers"]:
    """‖∂loss/∂(all weights of a layer)‖, layer by layer, from the gradients that are there."""
    layers: list[Tensor] = []
    for layer in net.layers:
        squares = [p.grad.double().square().sum() for p in layer.parameters() if p.grad is not None]
        layers.append(torch.stack(squares).sum().sqrt())
    return torch.stack(layers)


def train(training: Training) -> Iterator[Progress]:
    """Train step by step, each yielded after its gradient is known and taken before the next.

    A loss that is no finite number ends the run and is yielded as diverged.
    """
    net = network(training)
    chosen = optimizers_of(training, net)
    for optimizer in chosen:
        if hasattr(optimizer, "train"):
            optimizer.train()  # schedule-free's switch
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    generator = torch.Generator().manual_seed(training.seed)
    ids = batch(generator)
    for step in range(training.steps):
        if step and not training.fixed_batch:
            ids = batch(generator)
        share = factor(training.schedule, step, training.steps)
        net.zero_grad()
        loss = loss_on(net, ids)
        loss.backward()
        norms = gradient_norms(net)
        if not math.isfinite(loss.item()):
            yield Progress(step, loss.item(), norms, training.rate * share, diverged=True)
            return
        every = training.sharpness_every
        sharp = _sharpness(net, ids, chosen[0], training.seed) if every and step % every == 0 else None
        yield Progress(step, loss.item(), norms, training.rate * share, sharp)
        for optimizer in chosen:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * share
            optimizer.step()


def _sharpness(net: SmallTransformer, ids: Tensor, optimizer: optim.Optimizer, seed: int) -> float | None:
    """Of the loss on ``ids``; for Adam in its own metric, which does not exist before its first step."""
    parameters = list(net.parameters())
    scales = adam_scales(optimizer, parameters)
    if scales is None and isinstance(optimizer, (optim.Adam, optim.AdamW)):
        return None
    with MathAttention():  # the fused kernels cannot be differentiated twice
        return preconditioned_sharpness(lambda: loss_on(net, ids), parameters, scales, seed)


def adam_scales(optimizer: optim.Optimizer, parameters: Sequence[Tensor]) -> list[Tensor] | None:
    """1/(√v̂ + ε) of each parameter for Adam and AdamW; None for others, and before the first step."""
    if not isinstance(optimizer, (optim.Adam, optim.AdamW)):
        return None
    if any("exp_avg_sq" not in optimizer.state[p] for p in parameters):
        return None
    group, scales = optimizer.param_groups[0], []
    for p in parameters:
        state = optimizer.state[p]
        v_hat = state["exp_avg_sq"] / (1 - group["betas"][1] ** state["step"].item())
        scales.append(1 / (v_hat.sqrt() + group["eps"]))
    return scales


def sharpness_limit(training: Training) -> float | None:
    """Where a quadratic stops being stable: 2/η for gradient descent, 38/η for Adam with β₁ = 0.9.

    Gradient descent: Cohen et al. (2021); heavy ball (2 + 2β)/η; Adam, in its own metric,
    (2 + 2β₁)/((1 − β₁)η) (Cohen et al. 2022). None for optimizers without such a limit.
    """
    values = {p.name: p.default for p in KINDS[training.kind].parameters} if training.kind in KINDS else {}
    if training.kind == "sgd":
        return 2 / training.rate
    if training.kind == "momentum":
        return (2 + 2 * values["momentum"]) / training.rate
    if training.kind in ("adam", "adamw"):
        beta = values["beta1"]
        return (2 + 2 * beta) / ((1 - beta) * training.rate)
    return None


def gradient_norms_at_start(norm: str, layers: int, seed: int) -> Float[Tensor, " layers"]:
    """Gradient norm of every layer of the untrained network, on one batch."""
    training = Training(norm=norm, layers=layers, steps=1, seed=seed)
    return next(train(training)).gradient_norms


def side_by_side(trainings: list[Training]) -> Iterator[list[list[Progress]]]:
    """Several runs in step: after each round, all that each has yielded so far."""
    running = [train(training) for training in trainings]
    seen: list[list[Progress]] = [[] for _ in trainings]
    while True:
        went_on = False
        for run, so_far in zip(running, seen, strict=True):
            progress = next(run, None)
            if progress is not None:
                so_far.append(progress)
                went_on = True
        if not went_on:
            return
        yield [list(so_far) for so_far in seen]
