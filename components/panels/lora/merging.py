"""Where adapters, prefixes and prompts put their parameters, how many they are, and what merging saves."""

from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st
from peft import (
    LoraConfig,
    PeftConfig,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    get_peft_model,
)
from transformers import LlamaConfig, LlamaForCausalLM

from components.figures.lora import Block, horizontal_bars, layer_sketch
from components.formulas import show_formula
from components.lesson_parts import note
from components.live.figure import live_figure
from components.panels.lora.settings import Targets
from components.refusal import refusals
from components.settings import one_of, slider
from components.stage import Plot, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
from models.lora.latency import VARIANTS, Latency, measure
from models.lora.placement import (
    Shape,
    adapter_count,
    lora_count,
    p_tuning_count,
    prefix_count,
    prompt_count,
)
from models.networks.building import building

SHAPES = {
    "loupe-llama": Shape(192, 4, 6, 2, 32, 512, 2_048),
    "1 B": Shape(2_048, 16, 32, 8, 64, 8_192, 128_256),
    "8 B": Shape(4_096, 32, 32, 8, 128, 14_336, 128_256),
    "70 B": Shape(8_192, 80, 64, 8, 128, 28_672, 128_256),
}
METHODS = {"lora": 0, "bottleneck": 1, "prefix": 2, "prompt": 3, "p_tuning": 4}


def method_label(method: str) -> str:
    return {
        "lora": "LoRA",
        "bottleneck": _("bottleneck adapters"),
        "prefix": _("prefix tuning"),
        "prompt": _("prompt tuning"),
        "p_tuning": "P-tuning",
    }[method]


def variant_label(variant: str) -> str:
    return {
        "base": _("the network as it is"),
        "unmerged": _("LoRA, not merged"),
        "merged": _("LoRA, merged"),
        "bottleneck": _("bottleneck adapters"),
    }[variant]


@dataclass(frozen=True)
class MergeAndPlacement(Targets):
    """Where adapters, prefixes and prompts put their parameters, how many, and what merging saves."""

    page, name = "lora", "merge"
    merge_rank: int = slider(1, 256, 8, 1, log=True, label=mark("Rank"))
    bottleneck: int = slider(0, 1_024, 8, 1, label=mark("Bottleneck width"))
    virtual: int = slider(0, 1_024, 20, 1, label=mark("Virtual tokens"))
    shape: str = one_of(tuple(SHAPES), label=mark("Network"))

    def counts(self) -> dict[str, int]:
        """Trained parameters by method. Raises InputError."""
        shape = SHAPES[self.shape]
        return {
            "lora": lora_count(shape, self.targets, self.merge_rank),
            "bottleneck": adapter_count(shape, self.bottleneck),
            "prefix": prefix_count(shape, self.virtual),
            "prompt": prompt_count(shape, self.virtual),
            "p_tuning": p_tuning_count(shape, self.virtual),
        }

    def stage(self) -> Stage:
        drawn = layer_sketch(sketch(self.targets), METHODS)
        return Stage(
            [
                Plot("counts", count_figure(self), _("Trained parameters of each method")),
                Plot("sketch", drawn, _("One layer, and where each method puts its parameters")),
            ]
        )

    def below(self) -> None:
        note(self, "placement")
        shape, counts, rank = SHAPES[self.shape], self.counts(), self.merge_rank
        out, into = shape.matrix(self.targets[0])
        show_formula(
            rf"\text{{{self.targets[0].replace('_', chr(92) + '_')}}}:\quad r\,(d_{{in}}+d_{{out}})"
            rf"={rank}\times({into:,}+{out:,})={rank * (into + out):,}"
            rf"\quad\text{{vs}}\quad d_{{in}}d_{{out}}={into * out:,}"
        )
        latency(self)
        if self.shape == "loupe-llama":
            checked_against(checks(shape, self.targets, rank, self.virtual, counts))
        take_with_you(
            self,
            lambda: pd.DataFrame(
                {"trained_parameters": list(counts.values())}, index=pd.Index(list(counts), name="method")
            ),
            lambda: count_figure(self),
            snippet(shape, self.targets, rank, self.bottleneck, self.virtual),
        )


def count_figure(view: MergeAndPlacement) -> go.Figure:
    counts, whole = view.counts(), SHAPES[view.shape].parameters
    return horizontal_bars(
        {method_label(method): float(count) for method, count in counts.items()},
        _("Trained parameters"),
        log=True,
        texts=[f"{count:,} · {count / whole:.3%}" for count in counts.values()],
        height=430,
    )


def sketch(targets: tuple[str, ...]) -> list[Block]:
    """A layer from the input upwards; LoRA beside the matrices it was put on."""
    blocks = [
        Block((4, 0, 56, 6), _("embedded input")),
        Block((58, 0, 98, 6), _("prompt and P-tuning: rows before the input"), "prompt"),
        Block((4, 11, 56, 30), ""),
        Block((4, 34, 56, 52), ""),
        Block((60, 11, 98, 18), _("prefix: keys and values, every layer"), "prefix"),
        Block((60, 23, 98, 30), _("bottleneck behind attention"), "bottleneck"),
        Block((60, 45, 98, 52), _("bottleneck behind the MLP"), "bottleneck"),
    ]
    places = {
        "q_proj": (6, 17),
        "k_proj": (18.5, 17),
        "v_proj": (31, 17),
        "o_proj": (43.5, 17),
        "gate_proj": (6, 40),
        "up_proj": (22.5, 40),
        "down_proj": (39, 40),
    }
    for target, (x, y) in places.items():
        width = 11 if y < 30 else 15
        blocks.append(Block((x, y, x + width * 0.62, y + 8), target.removesuffix("_proj")))
        if target in targets:
            blocks.append(Block((x + width * 0.66, y, x + width, y + 8), "BA", "lora"))
    blocks += [
        Block((5, 26, 20, 29.5), _("attention")),
        Block((5, 48.5, 20, 51.5), "MLP"),
    ]
    return blocks


@st.fragment(key="lora_latency")
def latency(view: MergeAndPlacement) -> None:
    """Forward passes of loupe-llama, timed when asked: merged LoRA costs nothing, a bottleneck stays."""
    key, asked = "lora_measured", (view.targets, view.merge_rank, view.bottleneck)
    if st.button(_("Measure on loupe-llama now"), key="lora_measure", icon=":material/timer:"):
        with refusals():
            st.session_state[key] = (asked, measure(*asked))
    measured = st.session_state.get(key)
    if measured is None or measured[0] != asked:
        return
    found: Latency = measured[1]
    left, right = st.columns([3, 2], gap="medium")
    with left:
        live_figure(
            horizontal_bars(
                {variant_label(variant): found.milliseconds[variant] for variant in VARIANTS},
                _("Milliseconds of a forward pass, {tokens} tokens, median").format(tokens=found.tokens),
                height=260,
            ),
            "lora_latency_bars",
            _("Latency with and without merging"),
        )
    with right:
        st.metric(_("Adapter against base, largest change of a logit"), f"{found.adapter_difference:.3g}")
        st.metric(_("Merged against not merged"), f"{found.merge_difference:.1e}")
    limit, gap = 1e-3, found.merge_difference
    what = _("merged by peft, against its two branches: {gap} (allowed {limit})")
    said = what.format(gap=f"{gap:.1e}", limit=f"{limit:.0e}")
    if gap <= limit:
        st.caption(f":green[:material/check_circle:] {said}")
    else:
        st.error(said, icon=":material/error:")


def checks(
    shape: Shape, targets: tuple[str, ...], rank: int, tokens: int, counts: dict[str, int]
) -> list[Check]:
    """The counts again, by peft on a network without weights."""
    common: dict[str, Any] = {"task_type": "CAUSAL_LM", "num_virtual_tokens": tokens}
    configs: dict[str, PeftConfig] = {
        "lora": LoraConfig(r=rank, target_modules=list(targets)),
        "prefix": PrefixTuningConfig(**common),
        "prompt": PromptTuningConfig(**common),
        "p_tuning": PromptEncoderConfig(**common, encoder_hidden_size=shape.width),
    }
    gaps = []
    for method, config in configs.items():
        counted = get_peft_model(_network(shape), config).get_nb_trainable_parameters()[0]
        gaps.append(abs(counted - counts[method]))
    return [Check(_("trained parameters as peft counts them"), float(max(gaps)), 0.0)]


def _network(shape: Shape) -> LlamaForCausalLM:
    with building():
        return LlamaForCausalLM(
            LlamaConfig(
                vocab_size=shape.vocabulary,
                hidden_size=shape.width,
                num_hidden_layers=shape.layers,
                num_attention_heads=shape.heads,
                num_key_value_heads=shape.key_heads,
                head_dim=shape.head_width,
                intermediate_size=shape.mlp_width,
                tie_word_embeddings=True,
            )
        )


def snippet(shape: Shape, targets: tuple[str, ...], rank: int, bottleneck: int, tokens: int) -> str:
    """Python that repeats the counts."""
    return f"""from models.lora.placement import (
    Shape, adapter_count, lora_count, p_tuning_count, prefix_count, prompt_count,
)

shape = {shape!r}
print(lora_count(shape, {targets!r}, {rank}))
print(adapter_count(shape, {bottleneck}))
print(prefix_count(shape, {tokens}), prompt_count(shape, {tokens}), p_tuning_count(shape, {tokens}))
"""
