"""Learning-rate schedules as a factor on the learning rate.

Cosine and steps are those of torch.optim.lr_scheduler. The warm-up is our own choice: it begins above 0,
so that no step is lost, where transformers' begins with a step at learning rate 0.
"""

import math
from dataclasses import dataclass

from models.errors import InputError

SHAPES = ("constant", "cosine", "step")


@dataclass(frozen=True)
class Schedule:
    """Constant, a cosine down to 0, or a tenth after each third; before it, a linear warm-up.

    Raises InputError on an unknown shape or a negative warm-up.
    """

    shape: str = "constant"  # one of SHAPES
    warmup: int = 0  # steps

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise InputError("There is no schedule called {name}.", name=self.shape)
        if self.warmup < 0:
            raise InputError("A warm-up cannot last {steps} steps.", steps=self.warmup)


CONSTANT = Schedule()


def factor(schedule: Schedule, step: int, steps: int) -> float:
    """What the learning rate is multiplied by at ``step`` (0 is the first) of ``steps``.

    Warm-up: (step + 1)/(warm-up + 1). Cosine: ½(1 + cos πp), p the share of the rest that is done
    (Loshchilov & Hutter 2017). Step: a tenth after each third of the rest.
    """
    if step < schedule.warmup:
        return (step + 1) / (schedule.warmup + 1)
    done, rest = step - schedule.warmup, max(1, steps - schedule.warmup)
    if schedule.shape == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done / rest))
    if schedule.shape == "step":
        return 0.1 ** (done // max(1, -(-rest // 3)))
    return 1.0
