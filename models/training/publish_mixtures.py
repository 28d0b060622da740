"""Ship the trained loupe-moe: ``python -m models.training.publish_mixtures --text FILE --work FOLDER``.

Writes weights, tokenizer, figures and model card of every run that has reached its last step.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from models.moe.evaluation import mixture_figures
from models.networks.catalogue import EMBEDDED
from models.networks.domains import domain_samples
from models.networks.loading import load
from models.training.mixture_recipe import Balancing, MixtureRecipe
from models.training.mixture_run import MixtureRun
from models.training.publish import MEASUREMENTS, write_tokenizer

HELD_OUT_CHARACTERS = 100_000  # of each domain
BALANCED_BY = {
    "none": "nothing: no auxiliary loss, and a selection bias that stays 0",
    "loss": "an auxiliary loss (expert level, weight 0.01)",
    "bias": "a selection bias without any auxiliary loss (γ = 0.001, 0 in the last tenth)",
}


def publish(run: MixtureRun, out: Path) -> None:
    """Write the network to ``out``, load it back as the app does, and measure what was written."""
    out.mkdir(parents=True, exist_ok=True)
    write_tokenizer(run.tokenizer, run.recipe.context, out)
    run.network.float().cpu().save_pretrained(out)
    measurements = measure(run, out)
    (out / MEASUREMENTS).write_text(json.dumps(measurements, indent=2) + "\n")
    (out / "README.md").write_text(card(run.recipe, measurements), encoding="utf-8")


def measure(run: MixtureRun, folder: Path) -> dict[str, Any]:
    """Figures of the written files: on the held-out parts, and on the samples that ship with Loupe."""
    network = load(str(folder.resolve()), device="cpu")
    held_out = {name: split.held_out[:HELD_OUT_CHARACTERS] for name, split in run.texts.items()}
    return {
        "held_out": mixture_figures(network, held_out).as_record(),
        "samples": mixture_figures(network, domain_samples()).as_record(),
        "parameters": sum(parameter.numel() for parameter in network.model.parameters()),
        "weight_bytes": (folder / "model.safetensors").stat().st_size,
        "steps": run.step,
        "training_minutes": round(run.seconds / 60, 1),
        "tokens_seen": run.step * run.recipe.rows * (run.recipe.context - 1),
    }


def card(recipe: MixtureRecipe, measurements: dict[str, Any]) -> str:
    """The model card, in Markdown."""
    settings = "\n".join(f"| {name} | {value} |" for name, value in asdict(recipe).items())
    held_out, samples = measurements["held_out"], measurements["samples"]
    rows = "\n".join(
        f"| {name} | {held_out['nats_per_character'][name]} | "
        f"{', '.join(map(str, held_out['max_violation_by_layer'][name]))} | "
        f"{samples['nats_per_character'][name]} |"
        for name in held_out["nats_per_character"]
    )
    return f"""---
license: mit
language: en
library_name: transformers
---
# {recipe.name}

A mixture of experts small enough to ship inside an app, trained by Loupe to be looked into: where do
tokens go, and what does balance cost? Three networks share architecture, data, order of data and seed,
and differ in how their experts are kept busy. This one is balanced by {BALANCED_BY[recipe.balancing]}.

Architecture: GLM-4-MoE of transformers ({recipe.layers} layers, each with {recipe.experts} fine-grained
experts of which {recipe.chosen} are chosen by sigmoid scores, and {recipe.shared_experts} shared
expert); {measurements["parameters"]:,} parameters in float32; byte-level BPE; context {recipe.context}
tokens, each text behind a start token.

## Data
Equal parts of three domains: prose (old children's novels in the public domain), Python source (the
standard library of CPython), and generated arithmetic such as `37+48=85`. One block of lines in
twenty-five was held out of each. A held-out line of arithmetic can occur among the learned ones.

## Figures
On the held-out parts, up to {HELD_OUT_CHARACTERS:,} characters of each domain, measured from the
shipped files: mean loss **{held_out["mean_nats_per_character"]} nats per character**; MaxVio_global
**{held_out["max_violation_global"]}** (mean over layers of
{", ".join(map(str, held_out["max_violation_global_by_layer"]))}; domains weighed alike).

| domain | nats per character | MaxVio by layer | on the samples shipped with Loupe |
|---|---|---|---|
{rows}

Within one domain load is uneven by nature: balance is asked for over all domains together.

## Training
`python -m models.training.train_mixtures --text FILE --balancing {recipe.balancing}`:
{measurements["tokens_seen"]:,} tokens in {measurements["training_minutes"]} minutes on two CPU cores
that other work shared, in bfloat16 autocast; AdamW, learning rate with warm-up and cosine.

| setting | value |
|---|---|
{settings}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path, required=True, help="the prose that was trained on")
    parser.add_argument("--work", type=Path, default=Path(".training"), help="where checkpoints are")
    parser.add_argument("--out", type=Path, default=EMBEDDED)
    parser.add_argument("--unfinished", action="store_true", help="also runs that are still going on")
    arguments = parser.parse_args()
    prose = arguments.text.read_text(encoding="utf-8")
    for balancing in get_args(Balancing):
        recipe = MixtureRecipe(balancing=balancing)
        run = MixtureRun(recipe, prose, arguments.work / recipe.name, "cpu")
        if run.resume() and (run.step == recipe.steps or arguments.unfinished):
            publish(run, arguments.out / recipe.name)
            print(f"{recipe.name}: published at step {run.step}.")
        else:
            print(f"{recipe.name}: not finished, step {run.step} of {recipe.steps}.")


if __name__ == "__main__":
    main()
