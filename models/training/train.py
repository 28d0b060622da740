"""Train an embedded network from any UTF-8 text: ``python -m models.training.train --text FILE``.

The run saves a checkpoint every few hundred steps and goes on from it when called again.
"""

import argparse
from pathlib import Path

import torch

from models.training.publish import publish
from models.training.recipe import Recipe
from models.training.resumable import train
from models.training.training_run import Run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path, required=True, help="a UTF-8 text to learn")
    parser.add_argument("--out", type=Path, default=Path("assets/networks/loupe-llama"))
    parser.add_argument("--work", type=Path, default=Path(".training/loupe-llama"), help="checkpoints")
    parser.add_argument("--source", default="A UTF-8 text.", help="what the text is, for the model card")
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--checkpoint-every", type=int, default=100)
    arguments = parser.parse_args()
    recipe = Recipe(steps=arguments.steps)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    run = Run(recipe, arguments.text.read_text(encoding="utf-8"), arguments.work, device)
    train(run, arguments.checkpoint_every)
    publish(run, arguments.out, arguments.source)


if __name__ == "__main__":
    main()
