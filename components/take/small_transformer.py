"""Scripts of the optimizers page: a small transformer that is trained."""

from collections.abc import Sequence
from itertools import islice

from torch import Tensor

from components.take.parts.texts import give
from components.take.script import Named, Script, script
from models.networks.texts import passages
from models.optimizers.training_lab import (
    Progress,
    Training,
    gradient_norms_at_start,
    side_by_side,
    train,
)


def _text() -> str:
    """What the small transformer learns from."""
    return "\n".join(passage.text for passage in passages() if passage.language == "en")


def training(asked: Training, seen: Sequence[Progress]) -> Script:
    """``seen``: the steps that are on the screen, one at least."""
    prints = {
        "losses": [progress.loss for progress in seen],
        "gradient norms of the layers": seen[-1].gradient_norms,
        "sharpness": [p.sharpness for p in seen if p.sharpness is not None],
    }
    # Rounding grows with every step: a network's training is chaotic.
    tolerance = 1e-3 if len(seen) <= 50 else 5e-2
    given: Named = {"text": _text(), "training": asked, "steps": len(seen)}
    return script(trained, prints, **given, tolerance=tolerance)


def trained(text: str, training: Training, steps: int) -> Named:
    """A small transformer learns to predict characters.

    Prints the loss at each of as many steps as the page shows, in nats per character; the gradient norm
    of each layer at the last of them; and the sharpness, where it was measured.
    """
    give(text)
    seen = list(islice(train(training), steps))
    return {
        "losses": [progress.loss for progress in seen],
        "gradient norms of the layers": seen[-1].gradient_norms,
        "sharpness": [p.sharpness for p in seen if p.sharpness is not None],
    }


def depth(
    asked: Sequence[Training], at_start: tuple[Tensor, Tensor], seen: Sequence[Sequence[Progress]]
) -> Script:
    """``at_start``: gradient norms of the layers, Pre-LN and Post-LN; ``seen``: of each run."""
    prints: Named = {"Pre-LN at the start": at_start[0], "Post-LN at the start": at_start[1]}
    for run, progress in zip(asked, seen, strict=True):
        prints[f"{run.norm}, warm-up {run.schedule.warmup}"] = [one.loss for one in progress]
    steps = max(map(len, seen))
    given: Named = {"text": _text(), "trainings": list(asked), "steps": steps}
    return script(trained_by_depth, prints, **given, tolerance=1e-3 if steps <= 50 else 5e-2)


def trained_by_depth(text: str, trainings: list[Training], steps: int) -> Named:
    """Layer norm before or after each part of a small transformer's blocks.

    Prints the gradient norm of every layer before the first step, and the losses of four runs at as
    many steps as the page shows, in nats per character.
    """
    give(text)
    layers, seed = trainings[0].layers, trainings[0].seed
    *_earlier, runs = islice(side_by_side(trainings), steps)
    losses = {
        f"{training.norm}, warm-up {training.schedule.warmup}": [one.loss for one in progress]
        for training, progress in zip(trainings, runs, strict=True)
    }
    return {
        "Pre-LN at the start": gradient_norms_at_start("pre", layers, seed),
        "Post-LN at the start": gradient_norms_at_start("post", layers, seed),
        **losses,
    }
