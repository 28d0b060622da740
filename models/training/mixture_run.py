"""The run that trains loupe-moe: equal parts of three domains, and one way to balance the experts."""

from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import Glm4MoeForCausalLM

from models.moe.balance import expert_level_loss, expert_load, max_violation, updated_bias
from models.networks.domains import DOMAINS, domain_texts
from models.networks.windows import start_token_of, text_batch
from models.training.mixture_recipe import MixtureRecipe
from models.training.resumable import Resumable
from models.training.training_data import train_tokenizer


class MixtureRun(Resumable):
    """Network, tokenizer, optimizer and routers of one recipe."""

    recipe: MixtureRecipe
    network: Glm4MoeForCausalLM

    def __init__(self, recipe: MixtureRecipe, prose: str, folder: Path, device: str):
        self.recipe, self.folder, self.device = recipe, folder, device
        folder.mkdir(parents=True, exist_ok=True)
        self.texts = domain_texts(prose)
        self.tokenizer = self._tokenizer()
        self.start_token = start_token_of(self.tokenizer)
        self.tokens = [self._tokens(self.texts[name].training) for name in DOMAINS]
        self.network = recipe.network(self.start_token)
        nn.Module.to(self.network, device)  # the override of transformers has no types
        self.gates = [layer.mlp.gate for layer in self.network.model.layers]
        self.routed: list[tuple[Tensor, Tensor]] = []  # scores and chosen experts, by layer
        for gate in self.gates:
            gate.register_forward_hook(self._note_routing)
        self.optimizers = [
            torch.optim.AdamW(
                self.network.parameters(),
                lr=recipe.learning_rate,
                betas=(0.9, 0.95),
                weight_decay=recipe.weight_decay,
            )
        ]
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self.begin()

    def _tokenizer(self) -> Tokenizer:
        path = self.folder / "tokenizer.json"
        if not path.exists():
            # one tokenizer for all three networks: a million characters of each domain
            text = "".join(self.texts[name].training[:1_000_000] for name in DOMAINS)
            train_tokenizer(text, self.recipe.vocabulary_size).save(str(path))
        return Tokenizer.from_file(str(path))

    def _tokens(self, text: str) -> Tensor:
        encodings = self.tokenizer.encode_batch(text.splitlines(keepends=True), add_special_tokens=False)
        return torch.tensor([token for encoding in encodings for token in encoding.ids])

    def _note_routing(
        self, _gate: nn.Module, _inputs: tuple, outputs: tuple[Tensor, Tensor, Tensor]
    ) -> None:
        logits, _weights, chosen = outputs
        self.routed.append((logits.sigmoid(), chosen))

    def train_step(self) -> None:
        """One step on equal parts of the domains; then each layer's bias, where it balances."""
        recipe = self.recipe
        self.set_rates()
        rows = recipe.rows // len(DOMAINS)
        windows = [
            text_batch(tokens, rows, recipe.context, self.start_token, self.generator)
            for tokens in self.tokens
        ]
        tokens = torch.cat(windows).to(self.device)
        self.routed.clear()
        with torch.autocast(self.device, torch.bfloat16):
            logits = self.network(tokens).logits
        loss = cross_entropy(logits[:, :-1].float().flatten(0, 1), tokens[:, 1:].flatten())
        auxiliary = torch.stack([expert_level_loss(*routed) for routed in self.routed]).mean()
        (loss + recipe.loss_weight * auxiliary if recipe.balancing == "loss" else loss).backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), recipe.gradient_norm)
        self.optimizers[0].step()
        self._balance()
        self.note_loss("loss", loss.item())
        self.step += 1

    @torch.no_grad()
    def _balance(self) -> None:
        violations = []
        for gate, (_scores, chosen) in zip(self.gates, self.routed, strict=True):
            load = expert_load(chosen, self.recipe.experts)
            violations.append(max_violation(load))
            rate = self.recipe.bias_rate_at(self.step)
            gate.e_score_correction_bias.copy_(updated_bias(gate.e_score_correction_bias, load, rate))
        self.note_loss("max_violation", float(torch.stack(violations).mean()))
