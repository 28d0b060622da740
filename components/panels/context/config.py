"""A pasted config.json: every rotary field, what it means, and what transformers computes from it."""

import json
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from components.catalogue import ASSETS
from components.figures.context import wavelengths
from components.lesson_parts import note
from components.panels.context.meanings import meaning
from components.panels.context.paper import paper_and_library
from components.refusal import plain, sentence
from components.settings import View, one_of, text
from components.stage import Block, Plot, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
from models.errors import InputError
from models.networks.rotation_facts import RotationFacts, rotation_facts
from models.rotary.config import ReadConfig, RopeOfLayers, config_parts, read_config
from models.rotary.library import library_rope_of_config
from models.rotary.rope import frequencies
from models.rotary.scaling import ScaledRope, scaled_rope

EXAMPLES = ("llama-3.1", "qwen2.5-yarn", "deepseek-v3", "gemma-3", "pythia", "mistake", "multimodal")
YOURS = "yours"
FOLDER = ASSETS / "configs"
LARGEST_FILE = 100_000  # bytes of a config that is dropped


@cache
def example(name: str) -> str:
    return Path(FOLDER / f"{name}.json").read_text(encoding="utf-8").strip()


def example_label(name: str) -> str:
    return {
        "llama-3.1": "Llama 3.1 8B",
        "qwen2.5-yarn": "Qwen2.5 7B + YaRN",
        "deepseek-v3": "DeepSeek-V3",
        "gemma-3": "Gemma 3 4B",
        "pythia": "Pythia 70M",
        "mistake": _("one with mistakes"),
        "multimodal": _("a multimodal one"),
        YOURS: _("your own"),
    }[name]


def parts_of(view: "YourConfig") -> list[str]:
    """The parts of a multimodal config, and the whole; of other configs the whole alone."""
    try:
        return ["", *config_parts(view.config)]
    except InputError:
        return [""]


def layer_types_of(view: "YourConfig") -> list[str]:
    """Types of layers with rotary settings of their own; of most configs there is but one."""
    try:
        return [str(rope.layer_type) for rope in read_config(view.config, view.part).ropes]
    except InputError:
        return [""]


@dataclass(frozen=True)
class YourConfig(View):
    """A config.json, the wavelengths that it leads to, and every field that it holds."""

    page, name = "context", "config"
    example: str = one_of(
        EXAMPLES, label=mark("Example (rotary fields only)"), label_of=example_label, place="none"
    )
    config: str = text(
        lambda view: example(view.example),
        label="config.json",
        lines=14,
        place="none",
        kept=True,
        follows="example",
    )
    part: str = one_of(
        parts_of,
        "",
        label=mark("Part of the config"),
        label_of=lambda part: part or _("the whole"),
        shown=lambda view: len(parts_of(view)) > 1,
    )
    layers: str = one_of(
        layer_types_of,
        label=mark("Layers of the type"),
        label_of=plain,
        style="radio",
        shown=lambda view: len(layer_types_of(view)) > 1,
    )

    @property
    def read(self) -> ReadConfig:
        """Raises InputError for what is no config with rotary positions."""
        return read_config(self.config, self.part)

    @property
    def facts(self) -> RotationFacts | None:
        """What the architecture itself does; None where it cannot be asked."""
        return facts_of(self.config, self.part)

    @property
    def rope(self) -> RopeOfLayers:
        """The rotary settings to show: those of the chosen type of layer."""
        by_type = {str(rope.layer_type): rope for rope in self.read.ropes}
        return by_type.get(self.layers, self.read.ropes[0])

    def actions(self) -> None:
        choose_example(self)
        write_config(self)
        drop_file(self)

    def stage(self) -> Stage:
        rope = self.rope
        alt = _("Wavelengths that the config leads to")
        summary = Block(lambda: draw_summary(self.read, rope, self.facts))
        return Stage([Plot("config_wavelengths", figure_of(rope), alt, width=1.7), summary])

    def below(self) -> None:
        rope = self.rope
        draw_fields(self.read)
        note(self, "config")
        paper_and_library(rope.settings, rope.settings.longest)
        checked_against(checks(self.read))
        take_with_you(self, lambda: table(rope), lambda: figure_of(rope), snippet(self.config, self.part))


@lru_cache(maxsize=64)
def facts_of(config: str, part: str) -> RotationFacts | None:
    """Kept by the text: a network of many layers takes a second to build."""
    return rotation_facts(read_config(config, part).config)


def choose_example(view: YourConfig) -> None:
    """The example that the text is; "your own" for any other, which is never lost."""
    state, keys = st.session_state, view.keys()
    widget, own = f"{keys['example']}_widget", f"{keys['config']}_own"
    state[widget] = view.example if view.config == example(view.example) else YOURS

    def take() -> None:
        if state[widget] == YOURS:
            state[keys["config"]] = state.get(own, view.config)
            return
        state[keys["example"]] = state[widget]
        for name in ("config", "part", "layers"):
            state.pop(keys[name], None)

    label = _(str(view.controls()["example"].label))
    options = [*EXAMPLES, YOURS]
    st.selectbox(label, options, format_func=example_label, key=widget, on_change=take)


def write_config(view: YourConfig) -> None:
    """The text area: the example until something is typed, pasted or dropped."""
    state, key = st.session_state, view.keys()["config"]
    widget = f"{key}_widget"
    state[widget] = view.config

    def take() -> None:
        state[key] = state[f"{key}_own"] = state[widget]
        state.pop(f"{key}_before", None)

    st.text_area("config.json", key=widget, height=260, on_change=take)


def drop_file(view: YourConfig) -> None:
    """A config.json from the person's disk takes the text's place."""
    state, key = st.session_state, view.keys()["config"]
    widget = f"{key}_file"

    def take() -> None:
        file = state.get(widget)
        if file is None:
            return
        raw = file.getvalue()
        try:
            if len(raw) > LARGEST_FILE:
                raise InputError(
                    "The file has {size} bytes; a config has at most {most}.",
                    size=len(raw),
                    most=LARGEST_FILE,
                )
            words = raw.decode("utf-8-sig")
        except UnicodeDecodeError:
            state[f"{key}_refused"] = InputError("The file is no text in UTF-8.")
        except InputError as error:
            state[f"{key}_refused"] = error
        else:
            state[key] = state[f"{key}_own"] = words
            state.pop(f"{key}_before", None)

    st.file_uploader(_("Or drop a config.json"), key=widget, on_change=take)
    if (refused := state.pop(f"{key}_refused", None)) is not None:
        st.warning(sentence(refused), icon=":material/info:")


def draw_fields(config: ReadConfig) -> None:
    """The fields in a table, each meaning at its full length."""
    rows = [
        {
            _("Field"): field.path,
            _("Value"): field.value,
            _("Read"): _("unknown") if not field.is_known else _("yes") if field.is_read else _("no"),
            _("Meaning"): meaning(field.name),
        }
        for field in config.fields
    ]
    widths = {_("Field"): 270, _("Value"): 160, _("Read"): 70, _("Meaning"): 700}
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        height=36 * len(rows) + 40,
        column_config={name: st.column_config.TextColumn(width=width) for name, width in widths.items()},
    )


def both(rope: RopeOfLayers) -> tuple[ScaledRope, ScaledRope]:
    """Unscaled, and as scaled at the longest text."""
    settings = rope.settings
    width = settings.head_dim if settings.rope_type == "proportional" else settings.width
    own = ScaledRope(frequencies(width, settings.rope_theta))
    return own, scaled_rope(settings, settings.longest)


def figure_of(rope: RopeOfLayers) -> go.Figure:
    own, scaled = both(rope)
    settings = rope.settings
    return wavelengths(
        own.wavelengths.numpy(),
        scaled.wavelengths.numpy(),
        settings.original,
        settings.longest,
        settings.rope_type if settings.rope_type != "default" else "",
        settings.rope_type,
    )


def draw_summary(config: ReadConfig, rope: RopeOfLayers, facts: RotationFacts | None) -> None:
    """What follows from the settings in a few numbers, and what is wrong with the fields."""
    settings = rope.settings
    own, scaled = both(rope)
    left, right = st.columns(2)
    left.metric(_("Type"), settings.rope_type)
    head_width = settings.head_dim if facts is None else facts.head_width
    right.metric(_("Rotated dimensions"), f"{settings.width} / {head_width}")
    left.metric(_("Trained length L"), f"{settings.original:,}")
    right.metric(_("Longest text"), f"{settings.longest:,}")
    left.metric(_("Attention factor"), f"{scaled.attention_factor:.4f}")
    turned = int((own.turns(settings.original) >= 1).sum())
    right.metric(_("Pairs that turned in training"), f"{turned} / {len(own.inverse_frequencies)}")
    if facts is not None:
        say_facts(facts)
    if config.unknown:
        unknown = _("Unknown, so neither read nor guessed: {fields}")
        st.info(unknown.format(fields=plain(", ".join(config.unknown))), icon=":material/help:")
    if unread := [field.path for field in config.fields if field.is_known and not field.is_read]:
        words = _("Not read by this type of scaling: {fields}")
        st.info(words.format(fields=plain(", ".join(unread))))
    say_factor(rope)


def say_facts(facts: RotationFacts) -> None:
    """Layers without rotation, and a scale of the scores that is not the usual one."""
    rotating, layers = sum(facts.rotates), len(facts.rotates)
    if rotating < layers:
        words = _("{rotating} of {layers} layers rotate; the others tell no positions apart.")
        st.info(words.format(rotating=rotating, layers=layers), icon=":material/info:")
    if abs(facts.times_root - 1) > 1e-3:
        words = _("The network multiplies q·k by {scale}: {times} times the usual 1/√{width}.")
        st.info(
            words.format(
                scale=f"{facts.scale:.4f}", times=f"{facts.times_root:.4f}", width=facts.head_width
            ),
            icon=":material/info:",
        )


def say_factor(rope: RopeOfLayers) -> None:
    """Where the factor is another than the lengths imply, which of the two counts."""
    settings = rope.settings
    if settings.factor is None or settings.trained is None:
        return
    implied = settings.longest / settings.original
    if implied != settings.factor:
        words = _(
            "factor is {factor}, but {longest} / {trained} = {implied}: transformers computes with "
            "the factor."
        )
        st.info(
            words.format(
                factor=f"{settings.factor:g}",
                longest=f"{settings.longest:,}",
                trained=f"{settings.original:,}",
                implied=f"{implied:g}",
            ),
            icon=":material/info:",
        )


def checks(read: ReadConfig) -> list[Check]:
    """Every type of layer against transformers' own function on its own reading of the config."""
    worst = 0.0
    for rope in read.ropes:
        ours = scaled_rope(rope.settings, rope.settings.longest)
        theirs = library_rope_of_config(read.config, rope.layer_type, rope.settings.longest)
        compared = theirs.inverse_frequencies
        gap = ((ours.inverse_frequencies - compared).abs() / compared.clamp(min=1e-30)).max()
        worst = max(worst, float(gap), abs(ours.attention_factor - theirs.attention_factor))
    return [Check(_("transformers' functions on this config, relative"), worst, 1e-6)]


def table(rope: RopeOfLayers) -> pd.DataFrame:
    own, scaled = both(rope)
    return pd.DataFrame(
        {"unscaled": own.inverse_frequencies.numpy(), "scaled": scaled.inverse_frequencies.numpy()}
    ).rename_axis("pair")


def snippet(text: str, part: str) -> str:
    """Python that repeats the frequencies of every type of layer."""
    try:
        config = json.dumps(json.loads(text))
    except ValueError:
        config = text
    return f"""from models.rotary.config import read_config
from models.rotary.scaling import scaled_rope

read = read_config({config!r}, {part!r})
for rope in read.ropes:
    print(rope.layer_type, scaled_rope(rope.settings, rope.settings.longest))
"""
