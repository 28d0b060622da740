"""Fine-tune a copy of a network to another kind of text with peft, and watch what it forgets."""

import io
import math
import tempfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float, Int
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from models.errors import InputError
from models.lora.adapter import Scaling, check_rank, extended, scale
from models.lora.initialisations import CHANGES_BASE, INITIALISATIONS, Initialisation, initialise
from models.lora.placement import TARGETS, check_targets
from models.networks.building import building
from models.networks.catalogue import DEFAULT
from models.networks.domains import arithmetic, python_source
from models.networks.loading import fresh_copy, load
from models.networks.texts import passages
from models.networks.windows import split_text, start_token_of, text_batch
from models.numerics.nf4 import nf4_rounded
from models.numerics.seeded import Seeded

Method = Literal["lora", "full"]
METHODS: tuple[Method, ...] = get_args(Method)
Domain = Literal["python", "arithmetic"]
DOMAINS: tuple[Domain, ...] = get_args(Domain)
ROWS, LENGTH = 4, 128  # tokens of one step
HELD_OUT_ROWS = 6  # windows of LENGTH on which each domain is measured
CHARACTERS = 300_000
MOST_STEPS = 500
GRADIENT_NORM = 1.0
# peft's own names; the others are drawn by models.lora.initialisations and put into peft's matrices
PEFT_NAMES: dict[Initialisation, bool | str] = {
    "kaiming": True,
    "gaussian": "gaussian",
    "random": False,
    "orthogonal": "orthogonal",
    "pissa": "pissa",
    "olora": "olora",
}


@dataclass(frozen=True)
class FineTuning:
    """One run; adapters read ``rank`` to ``four_bit``, full fine-tuning only the others."""

    domain: Domain = "python"
    method: Method = "lora"
    learning_rate: float = 3e-3
    steps: int = 100
    seed: int = 0
    targets: tuple[str, ...] = TARGETS
    rank: int = 8
    alpha: float = 16.0
    scaling: Scaling = "alpha/r"
    initialisation: Initialisation = "kaiming"
    dora: bool = False
    ratio: float = 1.0  # LoRA+: B learns this many times faster than A
    four_bit: bool = False  # QLoRA: the frozen base is rounded to NF4


@dataclass(frozen=True, eq=False)
class Tuned:
    """A run so far. Losses are nats per token on held-out text."""

    steps: Int[Tensor, " points"]
    new: Float[Tensor, " points"]
    old: Float[Tensor, " points"]
    step: int
    trained: int  # parameters
    seconds: float
    before: dict[str, Float[Tensor, "out in"]] = field(default_factory=dict)  # once it is finished
    after: dict[str, Float[Tensor, "out in"]] = field(default_factory=dict)
    adapter: bytes = b""  # a zip of peft's two files; empty after full fine-tuning

    @property
    def is_finished(self) -> bool:
        return bool(self.after)


@dataclass(frozen=True, eq=False)
class Texts:
    """Token ids of one domain: to learn from, and windows behind the start token to measure on."""

    training: Int[Tensor, " text"]
    held_out: Int[Tensor, "rows length"]
    start: int


def check(run: FineTuning) -> None:
    """Raises InputError, with one sentence, on settings that cannot be trained."""
    if run.domain not in DOMAINS or run.method not in METHODS or run.initialisation not in INITIALISATIONS:
        raise InputError("This run names a domain, a method or an initialisation that does not exist.")
    if not (0 < run.learning_rate <= 1 and 1 <= run.steps <= MOST_STEPS and run.ratio > 0):
        raise InputError(
            "A run takes 1 to {most} steps with a learning rate above 0 and at most 1.", most=MOST_STEPS
        )
    if run.method == "full":
        return
    check_targets(run.targets)
    scale(run.alpha, run.rank, run.scaling)
    for weight in target_weights(load(DEFAULT).model, run.targets).values():
        check_rank(run.rank, *weight.shape)
    if run.initialisation == "orthogonal" and run.rank % 2:
        raise InputError("The orthogonal initialisation needs an even rank; {rank} is odd.", rank=run.rank)
    if run.four_bit and run.initialisation in CHANGES_BASE:
        raise InputError(
            "With a 4-bit base choose an initialisation that leaves the base alone: {name} subtracts from "
            "it, and the result no longer lies on the 4-bit levels.",
            name=run.initialisation,
        )


@lru_cache(maxsize=4)
def texts(domain: Literal["prose", "python", "arithmetic"]) -> Texts:
    """A domain in the default network's tokens; "prose" is the passages that ship with Loupe."""
    tokenizer = load(DEFAULT).tokenizer.backend_tokenizer
    start = start_token_of(tokenizer)

    def ids(text: str) -> Tensor:
        lines = tokenizer.encode_batch(text.splitlines(keepends=True), add_special_tokens=False)
        return torch.tensor([token for line in lines for token in line.ids])

    if domain == "prose":
        training = held_out = ids(
            "".join(passage.text for passage in passages() if passage.language == "en")
        )
    else:
        whole = python_source(CHARACTERS) if domain == "python" else arithmetic(CHARACTERS // 10, seed=0)
        split = split_text(whole)
        training, held_out = ids(split.training), ids(split.held_out)
    count = min(HELD_OUT_ROWS, len(held_out) // (LENGTH - 1))
    windows = held_out[: count * (LENGTH - 1)].reshape(count, LENGTH - 1)
    return Texts(training, torch.cat([torch.full((count, 1), start), windows], dim=1), start)


def held_out_loss(model: nn.Module, windows: Int[Tensor, "rows length"]) -> float:
    """Mean cross-entropy of the next token, in nats."""
    with torch.no_grad():
        return float(_loss(model, windows))


def _loss(model: nn.Module, tokens: Tensor) -> Tensor:
    logits = model(tokens, use_cache=False).logits
    return cross_entropy(logits[:, :-1].flatten(0, 1).float(), tokens[:, 1:].flatten())


def target_weights(model: nn.Module, targets: tuple[str, ...]) -> dict[str, Tensor]:
    """The weight matrices of the targets, by the names of their modules."""
    return {
        name: module.weight.detach()
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name.rpartition(".")[2] in targets
    }


def adapted_model(run: FineTuning, base: PreTrainedModel) -> PeftModel:
    """An adapter of peft on ``base``, which it changes; initialised as the run says, reproducibly."""
    originals = {name: weight.clone() for name, weight in target_weights(base, run.targets).items()}
    with building(), Seeded(run.seed):
        config = peft_config(run, run.rank, run.alpha, PEFT_NAMES.get(run.initialisation, True))
        model = get_peft_model(base, config)
    if run.initialisation not in PEFT_NAMES:
        generator = torch.Generator().manual_seed(run.seed)
        for name, weight in originals.items():
            module: Any = model.get_base_model().get_submodule(name)
            start = initialise(
                run.initialisation, weight, run.rank, scale(run.alpha, run.rank, run.scaling), generator
            )
            module.lora_A["default"].weight.data = start.a
            module.lora_B["default"].weight.data = start.b
            module.base_layer.weight.data = start.base
    return model


def peft_config(run: FineTuning, rank: int, alpha: float, initialisation: bool | str) -> LoraConfig:
    return LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]  # peft divides it; fractions are as good
        target_modules=list(run.targets),
        init_lora_weights=initialisation,  # type: ignore[arg-type]  # its names are a Literal there
        use_rslora=run.scaling != "alpha/r",
        use_dora=run.dora,
        task_type="CAUSAL_LM",
    )


def fine_tune(run: FineTuning, every: int = 0) -> Iterator[Tuned]:
    """Train, and yield the curves before each step, and at the end with the weights.

    Held-out losses are taken every so many steps; ``every`` 0 means a tenth of all. Closing the
    generator ends the run. The network is a copy of the default one: nothing that other sessions use
    is touched. Raises InputError before any work.
    """
    check(run)
    every = every or max(1, run.steps // 10)
    new, old = texts(run.domain), texts("prose")
    base = _base(run)
    before = {name: weight.clone() for name, weight in target_weights(base, TARGETS).items()}
    model: nn.Module = adapted_model(run, base) if run.method == "lora" else base
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    start = _matrices(model) if run.method == "lora" else {}
    optimizer = _optimizer(run, trained)
    generator = torch.Generator().manual_seed(run.seed)
    points, seconds, count = [], 0.0, sum(p.numel() for _, p in trained)
    for step in range(run.steps + 1):
        if step % every == 0 or step == run.steps:
            points.append((step, held_out_loss(model, new.held_out), held_out_loss(model, old.held_out)))
        if step < run.steps:
            yield _so_far(points, step, count, seconds)
            began = time.perf_counter()
            _step(model, [p for _, p in trained], optimizer, new, generator)
            seconds += time.perf_counter() - began
    adapter = saved_adapter(run, model, start) if isinstance(model, PeftModel) else b""
    merged = model.merge_and_unload() if isinstance(model, PeftModel) else model
    yield _so_far(points, run.steps, count, seconds, before, target_weights(merged, TARGETS), adapter)


def replayed_loss(run: FineTuning, tuned: Tuned) -> float:
    """The new-domain loss of a fresh copy into which the trained matrices are put."""
    model = fresh_copy(DEFAULT)
    for name, weight in target_weights(model, TARGETS).items():
        weight.copy_(tuned.after[name])
    return held_out_loss(model, texts(run.domain).held_out)


def _base(run: FineTuning) -> PreTrainedModel:
    model = fresh_copy(DEFAULT)
    if run.method == "lora" and run.four_bit:
        round_base(model)
    return model


def round_base(model: PreTrainedModel) -> None:
    """Every matrix inside the layers rounded to NF4, in place; embeddings and norms stay, as in QLoRA."""
    for weight in target_weights(model, TARGETS).values():
        weight.copy_(nf4_rounded(weight))


def _so_far(
    points: list[tuple[int, float, float]], step: int, count: int, seconds: float, *finished: object
) -> Tuned:
    steps, new, old = zip(*points, strict=True)
    return Tuned(torch.tensor(steps), torch.tensor(new), torch.tensor(old), step, count, seconds, *finished)  # type: ignore[arg-type]  # the three parts of a finished run


def _optimizer(run: FineTuning, trained: list[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
    """AdamW without decay; with LoRA+ (Hayou et al. 2024) B has a larger learning rate."""
    groups = [
        {
            "params": [p for name, p in trained if ("lora_B" in name) == is_b],
            "lr": run.learning_rate * factor,
        }
        for is_b, factor in ((False, 1.0), (True, run.ratio))
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], weight_decay=0.0)


def _step(
    model: nn.Module,
    trained: list[nn.Parameter],
    optimizer: torch.optim.Optimizer,
    new: Texts,
    generator: torch.Generator,
) -> None:
    tokens = text_batch(new.training, ROWS, LENGTH, new.start, generator)
    optimizer.zero_grad()
    loss = _loss(model, tokens)
    if not math.isfinite(loss.item()):
        raise InputError(
            "The loss is no longer a finite number: the learning rate is too high for this run."
        )
    loss.backward()
    nn.utils.clip_grad_norm_(trained, GRADIENT_NORM)
    optimizer.step()


def _matrices(model: nn.Module) -> dict[str, Tensor]:
    """A and B of every target, as copies."""
    return {
        name: parameter.detach().clone()
        for name, parameter in model.named_parameters()
        if "lora_A" in name or "lora_B" in name
    }


def saved_adapter(run: FineTuning, model: PeftModel, start: dict[str, Tensor]) -> bytes:
    """adapter_model.safetensors and adapter_config.json, as peft writes them, in one zip.

    An initialisation that changed the base is saved with twice the rank, so that the file fits the
    network as it ships.
    """
    if run.initialisation in CHANGES_BASE:
        model = _for_published_base(run, model, start)
    model.peft_config["default"].base_model_name_or_path = DEFAULT
    packed = io.BytesIO()
    with (
        tempfile.TemporaryDirectory() as folder,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        model.save_pretrained(folder, save_embedding_layers=False)
        for name in ("adapter_model.safetensors", "adapter_config.json"):
            archive.write(Path(folder) / name, name)
    return packed.getvalue()


def _for_published_base(run: FineTuning, model: PeftModel, start: dict[str, Tensor]) -> PeftModel:
    """The same network as an adapter of twice the rank on the weights that were published."""
    growth = 2.0 if run.scaling == "alpha/r" else math.sqrt(2.0)  # so that s stays
    with building():
        config = peft_config(run, 2 * run.rank, run.alpha * growth, True)
        doubled = get_peft_model(_base(run), config)
    parameters, trained = dict(doubled.named_parameters()), dict(model.named_parameters())
    for name, parameter in parameters.items():
        if "lora_A" in name:
            other = name.replace("lora_A", "lora_B")
            a, b = extended(trained[name].data, trained[other].data, start[name], start[other])
            parameter.data, parameters[other].data = a, b
        elif "lora_magnitude" in name:
            parameter.data = trained[name].data.clone()
    return doubled
