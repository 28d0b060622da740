"""A training run that can be stopped at any moment and goes on from its last checkpoint."""

import os
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from models.networks.recipe import Recipe
from models.networks.training_data import (
    copy_batch,
    split_text,
    start_token_of,
    text_batch,
    train_tokenizer,
)


class Run:
    """A training run that can stop and go on: network, optimizers, random state, step."""

    def __init__(self, recipe: Recipe, text: str, folder: Path, device: str):
        self.recipe, self.folder, self.device = recipe, folder, device
        folder.mkdir(parents=True, exist_ok=True)
        self.split = split_text(text)
        self.tokenizer = self._tokenizer()
        self.start_token = start_token_of(self.tokenizer)
        self.tokens = self._tokens()
        self.network = recipe.network(self.start_token)
        nn.Module.to(self.network, device)  # the override of transformers has no types
        self.optimizers = self._optimizers()
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self.step = 0
        self.seconds = 0.0
        self.longest_period = recipe.first_longest_period
        self.smooth_losses: dict[str, float] = {}

    def _tokenizer(self) -> Tokenizer:
        path = self.folder / "tokenizer.json"
        if not path.exists():
            train_tokenizer(self.split.training, self.recipe.vocabulary_size).save(str(path))
        return Tokenizer.from_file(str(path))

    def _tokens(self) -> torch.Tensor:
        lines = self.split.training.splitlines(keepends=True)
        encodings = self.tokenizer.encode_batch(lines, add_special_tokens=False)
        return torch.tensor([token for encoding in encodings for token in encoding.ids])

    def _optimizers(self) -> list[torch.optim.Optimizer]:
        """Muon for the matrices inside the layers, AdamW for embeddings and norms."""
        matrices: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for name, parameter in self.network.named_parameters():
            is_matrix = parameter.ndim == 2 and "embed" not in name
            (matrices if is_matrix else others).append(parameter)
        recipe = self.recipe
        return [
            torch.optim.Muon(
                matrices, lr=recipe.muon_learning_rate, weight_decay=recipe.weight_decay, momentum=0.95
            ),
            torch.optim.AdamW(others, lr=recipe.adamw_learning_rate, betas=(0.9, 0.95), weight_decay=0.0),
        ]

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    def save(self) -> None:
        """Write beside, then rename: a stop in the middle leaves the last checkpoint whole."""
        state = {
            "network": self.network.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "generator": self.generator.get_state(),
            "step": self.step,
            "seconds": self.seconds,
            "longest_period": self.longest_period,
            "smooth_losses": self.smooth_losses,
            "recipe": self.recipe,
        }
        beside = self.checkpoint.with_suffix(".new")
        torch.save(state, beside)
        os.replace(beside, self.checkpoint)

    def resume(self) -> bool:
        """Go on from the checkpoint, if there is one. Raises ValueError on another recipe's."""
        if not self.checkpoint.exists():
            return False
        with torch.serialization.safe_globals([Recipe]):
            state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        if state["recipe"] != self.recipe:
            raise ValueError(f"{self.checkpoint} belongs to another recipe; move it away to start anew.")
        self.network.load_state_dict(state["network"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.generator.set_state(state["generator"].cpu())
        self.step, self.seconds = state["step"], state["seconds"]
        self.longest_period, self.smooth_losses = state["longest_period"], state["smooth_losses"]
        return True

    def train_step(self) -> None:
        """One step on a batch of text and, where the recipe asks for it, a batch of copies."""
        recipe = self.recipe
        factor = recipe.learning_rate_factor(self.step)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group.setdefault("peak", group["lr"]) * factor
            optimizer.zero_grad()
        tokens = text_batch(self.tokens, recipe.text_rows, recipe.context, self.start_token, self.generator)
        self._backward("text", tokens, tokens)
        if recipe.copies_due(self.step, self.longest_period):
            copies, labels = copy_batch(
                recipe.copy_rows,
                1 + max(80, 3 * self.longest_period),
                (recipe.shortest_period, self.longest_period),
                recipe.vocabulary_size,
                self.start_token,
                self.generator,
            )
            self._backward("copies", copies, labels)
            self.longest_period = recipe.grown(self.longest_period, self.smooth_losses["copies"])
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), recipe.gradient_norm)
        for optimizer in self.optimizers:
            optimizer.step()
        self.step += 1

    def _backward(self, kind: str, tokens: torch.Tensor, labels: torch.Tensor) -> None:
        tokens, labels = tokens.to(self.device), labels.to(self.device)
        with torch.autocast(self.device, torch.bfloat16):
            logits = self.network(tokens).logits
        loss = cross_entropy(logits[:, :-1].float().flatten(0, 1), labels[:, 1:].flatten())
        loss.backward()
        before = self.smooth_losses.get(kind, loss.item())
        self.smooth_losses[kind] = 0.95 * before + 0.05 * loss.item()


def train(run: Run, checkpoint_every: int) -> None:
    """Run to the last step, with a progress bar."""
    run.resume()
    with tqdm(total=run.recipe.steps, initial=run.step, unit="step", mininterval=5) as bar:
        while run.step < run.recipe.steps:
            began = time.perf_counter()
            run.train_step()
            run.seconds += time.perf_counter() - began
            losses = {name: f"{loss:.3f}" for name, loss in run.smooth_losses.items()}
            bar.set_postfix(losses, period=run.longest_period, refresh=False)
            bar.update()
            if run.step % checkpoint_every == 0 or run.step == run.recipe.steps:
                run.save()
