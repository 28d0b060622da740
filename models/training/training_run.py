"""The run that trains loupe-llama: windows of a text, and copies that grow as they are learned."""

from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import LlamaForCausalLM

from models.networks.windows import split_text, start_token_of, text_batch
from models.training.recipe import Recipe
from models.training.resumable import Resumable
from models.training.training_data import copy_batch, train_tokenizer


class Run(Resumable):
    """Network, tokenizer, optimizers and curriculum of one recipe."""

    recipe: Recipe
    network: LlamaForCausalLM
    kept = ("longest_period",)

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
        self.longest_period = recipe.first_longest_period
        self.begin()

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

    def train_step(self) -> None:
        """One step on a batch of text and, where the recipe asks for it, a batch of copies."""
        recipe = self.recipe
        self.set_rates()
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
        self.note_loss(kind, loss.item())

    def progress(self) -> dict[str, str]:
        return {**super().progress(), "period": str(self.longest_period)}
