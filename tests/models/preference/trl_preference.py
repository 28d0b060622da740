"""TRL's own loss code, run on numbers: its trainers' methods on a light stand-in for a trainer."""

from collections import defaultdict
from contextlib import nullcontext
from types import SimpleNamespace

import torch
from torch import Tensor
from trl import DPOTrainer, KTOTrainer

PROMPT = 3  # tokens before each answer


class Answers(torch.nn.Module):
    """Stands for a network: it "finds" the log-probabilities that it was given."""

    is_gradient_checkpointing = False

    def __init__(self, log_probabilities: Tensor, log_sum_squares: Tensor):
        super().__init__()
        self.log_probabilities, self.log_sum_squares = log_probabilities, log_sum_squares

    def forward(self, **inputs) -> SimpleNamespace:
        zero = torch.zeros_like(self.log_probabilities)
        return SimpleNamespace(
            log_probs=self.log_probabilities,
            log_sum_sq_probs=self.log_sum_squares,
            entropy=zero,
            mean_logits=zero,
            is_top1=zero.bool(),
            aux_loss=None,
        )


def by_token(totals: Tensor, lengths: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random per-token log-probabilities that add up to ``totals``, and which tokens are the answer's."""
    width = PROMPT + int(lengths.max())
    position = torch.arange(1, width)
    mask = (position >= PROMPT) & (position < PROMPT + lengths[:, None])
    share = torch.rand(mask.shape, generator=generator, dtype=totals.dtype).add(0.1) * mask
    return totals[:, None] * share / share.sum(1, keepdim=True), mask


def dpo_trainer(model: Answers, reference: Answers, loss_types, settings, **changes) -> SimpleNamespace:
    """What DPOTrainer._compute_loss reads of a trainer."""
    state = {
        "model": model,
        "ref_model": reference,
        "accelerator": SimpleNamespace(
            device=torch.device("cpu"),
            gather=lambda x: x,
            gather_for_metrics=lambda x: x,
            autocast=nullcontext,
        ),
        "args": SimpleNamespace(discopop_tau=settings.tau, gradient_checkpointing_kwargs=None),
        "beta": settings.beta,
        "label_smoothing": settings.smoothing,
        "f_divergence_type": settings.divergence,
        "f_alpha_divergence_coef": settings.alpha,
        "loss_types": list(loss_types),
        "loss_weights": [1.0] * len(loss_types),
        "ld_alpha": None,
        "use_weighting": False,
        "precompute_ref_logps": False,
        "aux_loss_enabled": False,
        "_metrics": {"train": defaultdict(list), "eval": defaultdict(list)},
        "_total_train_tokens": 0,
        "_tp_size": 1,
    }
    return SimpleNamespace(**state | changes)


def dpo_inputs(mask: Tensor) -> dict[str, Tensor]:
    """A batch as TRL's collator makes it: all chosen answers, then all rejected ones."""
    whole = torch.cat([torch.zeros(len(mask), 1, dtype=torch.bool), mask], dim=1).long()
    return {"input_ids": whole, "attention_mask": torch.ones_like(whole), "completion_mask": whole}


def trl_dpo_loss(log_probabilities, reference, mask, loss_types, settings, squares=None, **changes):
    """The mean loss of a batch, and the metrics that TRL logs beside it."""
    squares = torch.zeros_like(log_probabilities) if squares is None else squares
    model, reference = Answers(log_probabilities, squares), Answers(reference, squares)
    model.train()
    trainer = dpo_trainer(model, reference, loss_types, settings, **changes)
    loss = DPOTrainer._compute_loss(trainer, model, dpo_inputs(mask), return_outputs=False)
    return loss, trainer._metrics["train"]


def trl_kto_loss(pairs, settings, differences, generator) -> Tensor:
    """KTOTrainer's loss; ``differences`` are the log-ratios of mismatched pairs, whose mean is z₀."""
    count = len(pairs.chosen)
    totals = torch.cat([pairs.chosen, pairs.rejected])
    lengths = torch.cat([pairs.chosen_length, pairs.rejected_length])
    reference = torch.cat([pairs.reference_chosen, pairs.reference_rejected])
    tokens, mask = by_token(totals, lengths, generator)
    squares = torch.zeros_like(tokens)
    model = Answers(tokens, squares)
    model.train()
    inputs = dpo_inputs(mask)
    state = dpo_trainer(model, Answers(tokens, squares), ("kto",), settings, loss_type="kto")
    state.calculate_KL, state.precompute_ref_logps = True, True
    state.desirable_weight, state.undesirable_weight = settings.desirable, settings.undesirable
    state._compute_kl_logps = lambda model, batch: differences
    batch = inputs | {
        "label": torch.tensor([True] * count + [False] * count),
        "ref_logps": reference,
        "ref_KL_logps": torch.zeros_like(differences),
    }
    return KTOTrainer._compute_loss(state, model, batch, return_outputs=False)
