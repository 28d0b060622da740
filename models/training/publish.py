"""Turn a finished training run into what the app ships: weights, tokenizer, figures and model card."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from models.attention.head_figures import head_figures
from models.networks.loading import load
from models.networks.windows import START_TOKEN
from models.training.evaluation import nats_per_character, passage_losses
from models.training.training_run import Run

MEASUREMENTS = "measurements.json"
HEADS = ("previous_token", "induction", "previous_token_on_text", "first_token_on_text")


def publish(run: Run, out: Path, source: str) -> None:
    """Write the network to ``out``, load it back as the app does, and measure what was written.

    ``source`` says what the text was, for the model card.
    """
    out.mkdir(parents=True, exist_ok=True)
    write_tokenizer(run.tokenizer, run.recipe.context, out)
    run.network.config.save_pretrained(out)
    weights = {
        name: tensor.detach().float().cpu().contiguous()
        for name, tensor in run.network.state_dict().items()
        if name != "lm_head.weight"  # tied to the embedding
    }
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    measurements = measure(run, out)
    (out / MEASUREMENTS).write_text(json.dumps(measurements, indent=2) + "\n")
    (out / "README.md").write_text(card(run, measurements, source), encoding="utf-8")


def write_tokenizer(tokenizer: Tokenizer, context: int, out: Path) -> None:
    """The tokenizer as transformers reads it."""
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=START_TOKEN, model_max_length=context
    ).save_pretrained(out)


def measure(run: Run, folder: Path) -> dict[str, Any]:
    """Figures of the written files: held-out loss, losses on the passages, known heads."""
    network = load(str(folder.resolve()), device="cpu")
    context, text = network.context, run.split.held_out
    stride = context // 2
    return {
        "held_out_nats_per_character": round(
            nats_per_character(network.model, run.tokenizer, text, context, stride), 4
        ),
        "held_out_characters": len(text),
        "stride": stride,
        "passage_nats_per_character": passage_losses(network, stride),
        **head_figures(network),
        "parameters": sum(parameter.numel() for parameter in network.model.parameters()),
        "weight_bytes": (folder / "model.safetensors").stat().st_size,
        "training_minutes": round(run.seconds / 60, 1),
        "text_tokens_seen": run.step * run.recipe.text_rows * (run.recipe.context - 1),
    }


def card(run: Run, measurements: dict[str, Any], source: str) -> str:
    """The model card, in Markdown."""
    recipe = run.recipe
    settings = "\n".join(f"| {name} | {value} |" for name, value in asdict(recipe).items())
    losses = measurements["passage_nats_per_character"]
    passages = "\n".join(f"| {name} | {loss} |" for name, loss in losses.items())
    heads = "\n".join(
        f"| {name.replace('_', ' ')} | {measurements[f'{name}_head']} | {measurements[f'{name}_weight']} |"
        for name in HEADS
    )
    return f"""---
license: mit
language: en
library_name: transformers
---
# {recipe.name}

A language model small enough to ship inside an app and to run on any processor, trained by Loupe
to be looked into. It completes sentences in the manner of old children's novels and knows nothing
else. Architecture: Llama with rotary positions (base 10,000), grouped-query attention and tied
embeddings; {measurements["parameters"]:,} parameters in float32; byte-level BPE; context
{recipe.context} tokens, each text behind a start token.

## Data
{source} One block of paragraphs in twenty-five (4 %) was held out, spread evenly over the text.
Beside the text the network was trained on copies of random tokens, so that an induction head forms.

## Figures
Loss on the held-out parts: **{measurements["held_out_nats_per_character"]} nats per character**
({measurements["held_out_characters"]:,} characters; windows of {recipe.context} tokens, stride
{measurements["stride"]}, so that a token has at least {recipe.context - measurements["stride"]} before it).

| passage shipped with Loupe | nats per character |
|---|---|
{passages}

The passages were written for Loupe and were not trained on; the Chinese one lies outside of what the
network has learned.

| head | [layer, head] | mean weight |
|---|---|---|
{heads}

Previous token and induction: on 60 random tokens four times over (induction: on the second and later
copies). On text: the beginnings of the English passages.

## Training
`python -m models.training.train --text FILE`, {measurements["text_tokens_seen"]:,} tokens of text in
{measurements["training_minutes"]} minutes on two CPU cores that other work shared, in bfloat16
autocast; Muon for the matrices, AdamW for embeddings and norms, learning rate with warm-up and cosine.

| setting | value |
|---|---|
{settings}
"""
