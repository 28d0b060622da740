"""Record the trainings that the optimizers page shows before anybody has started one.

    python -m models.training.optimizer_runs

writes assets/runs/optimizers.npz. It takes some minutes.
"""

from typing import Any

import numpy as np
import torch

from models.optimizers.recorded import FILE, RECORDED, packed
from models.optimizers.training_lab import train


def main() -> None:
    torch.set_num_threads(1)
    arrays: dict[str, Any] = {}
    for number, training in enumerate(RECORDED):
        print(training)
        parts = packed(list(train(training)))
        arrays |= {f"{name}_{number}": values for name, values in parts.items()}
    FILE.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(FILE, **arrays)


if __name__ == "__main__":
    main()
