"""Train loupe-moe: ``python -m models.training.train_mixtures --text FILE --balancing bias``.

The run saves a checkpoint every hundred steps and goes on from it when called again.
"""

import argparse
from pathlib import Path
from typing import get_args

import torch

from models.training.mixture_recipe import Balancing, MixtureRecipe
from models.training.mixture_run import MixtureRun
from models.training.resumable import train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path, required=True, help="prose, UTF-8, as one of three domains")
    parser.add_argument("--balancing", choices=get_args(Balancing), required=True)
    parser.add_argument("--work", type=Path, default=Path(".training"), help="where checkpoints go")
    parser.add_argument("--steps", type=int, default=MixtureRecipe.steps)
    arguments = parser.parse_args()
    recipe = MixtureRecipe(balancing=arguments.balancing, steps=arguments.steps)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    prose = arguments.text.read_text(encoding="utf-8")
    train(MixtureRun(recipe, prose, arguments.work / recipe.name, device), checkpoint_every=100)


if __name__ == "__main__":
    main()
