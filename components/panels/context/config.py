"""A pasted config.json: every rotary field, what it means, and what transformers computes from it."""

from functools import cache
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from components.catalogue import ASSETS
from components.controls import LONGEST_IN_ADDRESS, choose
from components.figures.context import wavelengths
from components.live.address import remember
from components.live.figure import live_figure
from components.live.kept import keep
from components.page import Check, Page, checked_against, take_with_you
from components.panels import panel
from components.panels.context.meanings import meaning
from components.panels.context.paper import paper_and_library
from components.take.context import config as config_script
from components.words import _
from models.errors import InputError
from models.rotary.config import ReadConfig, RopeOfLayers, config_parts, read_config
from models.rotary.library import library_rope_of_config
from models.rotary.scaling import ScaledRope, scaled_rope, unscaled_frequencies

EXAMPLES = ("llama-3.1", "qwen2.5-yarn", "deepseek-v3", "gemma-3", "pythia", "mistake", "multimodal")
FOLDER = ASSETS / "configs"


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
    }[name]


@panel
def pasted_config(page: Page) -> None:
    left, right = st.columns([2, 3], gap="medium")
    with left:
        name = choose(
            _("Example (rotary fields only)"), EXAMPLES, f"{page.name}_example", example_label,
            default="llama-3.1",
        )  # fmt: skip
        text = write_config(page, name)
    part = choose_part(page, left, text)
    with right:
        read = read_config(text, part)
        show_fields(read)
    st.divider()
    rope = choose_rope(page, read)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        live_figure(
            figure_of(rope), f"{page.name}_config_wavelengths", _("Wavelengths that the config leads to")
        )
    with right:
        summary(rope)
        page.note("config")
    paper_and_library(rope.settings, rope.settings.longest)
    checked_against(checks(read))
    rows = table(rope)
    take_with_you(
        f"{page.name}_config",
        lambda: rows,
        lambda: figure_of(rope),
        lambda: config_script(text, part, read.ropes),
    )


def write_config(page: Page, name: str) -> str:
    """The text area: the example until something is pasted; it outlives its widget."""
    state, key = st.session_state, f"{page.name}_config"
    widget, source = f"{key}_widget", f"{key}_source"
    if key not in state or not state[key]:
        state[key] = st.query_params.get(key) or example(name)
    elif state.get(source) not in (None, name):
        state[key] = example(name)
    state[source] = name
    state[widget] = state[key]

    def take() -> None:
        state[key] = state[widget] or " "  # an emptied area stays empty, and is refused as such

    text = st.text_area("config.json", key=widget, height=330, on_change=take)
    is_long = len(text) > LONGEST_IN_ADDRESS and text != example(name)
    remember(key, example(name) if is_long else text, example(name))
    keep(key, text, is_long)
    return text


def choose_part(page: Page, column: DeltaGenerator, text: str) -> str:
    """The part of a multimodal config; nothing is asked of other configs."""
    try:
        parts = config_parts(text)
    except InputError:
        return ""
    if not parts:
        return ""
    with column:
        return choose(
            _("Part of the config"),
            ["", *parts],
            f"{page.name}_part",
            lambda part: part or _("the whole"),
            default="",
        )


def show_fields(read: ReadConfig) -> None:
    """The fields in a table; what is unknown or not read is named below it."""
    rows = [
        {
            _("Field"): field.path,
            _("Value"): field.value,
            _("Read"): _("unknown") if not field.is_known else _("yes") if field.is_read else _("no"),
            _("Meaning"): meaning(field.name),
        }
        for field in read.fields
    ]
    widths = {_("Field"): 230, _("Value"): 90, _("Read"): 60}
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        height=min(36 * len(rows) + 40, 430),
        column_config={name: st.column_config.TextColumn(width=width) for name, width in widths.items()},
    )
    if read.unknown:
        st.info(
            _("Unknown, so neither read nor guessed: {fields}").format(fields=", ".join(read.unknown)),
            icon=":material/help:",
        )
    unread = [field.path for field in read.fields if field.is_known and not field.is_read]
    if unread:
        st.info(_("Not read by this type of scaling: {fields}").format(fields=", ".join(unread)))


def choose_rope(page: Page, read: ReadConfig) -> RopeOfLayers:
    """The rotary settings to show, where a config has several by type of layer."""
    if len(read.ropes) == 1:
        return read.ropes[0]
    by_type = {str(rope.layer_type): rope for rope in read.ropes}
    chosen = choose(
        _("Layers of the type"), list(by_type), f"{page.name}_layers", str,
        default=next(iter(by_type)), style="segments",
    )  # fmt: skip
    return by_type[chosen]


def both(rope: RopeOfLayers) -> tuple[ScaledRope, ScaledRope]:
    """Unscaled, and as scaled at the longest text."""
    settings = rope.settings
    width = settings.head_dim if settings.rope_type == "proportional" else settings.width
    own = ScaledRope(unscaled_frequencies(width, settings.rope_theta))
    return own, scaled_rope(settings, settings.longest)


def figure_of(rope: RopeOfLayers) -> go.Figure:
    own, scaled = both(rope)
    settings = rope.settings
    return wavelengths(
        own.wavelengths.numpy(),
        scaled.wavelengths.numpy(),
        settings.original,
        settings.longest,
        settings.rope_type,
    )


def summary(rope: RopeOfLayers) -> None:
    """What follows from the settings, in a few numbers."""
    settings = rope.settings
    own, scaled = both(rope)
    one, two = st.columns(2)
    one.metric(_("Type"), settings.rope_type)
    two.metric(_("Rotated dimensions"), f"{settings.width} / {settings.head_dim}")
    one.metric(_("Trained length L"), f"{settings.original:,}")
    two.metric(_("Longest text"), f"{settings.longest:,}")
    one.metric(_("Attention factor"), f"{scaled.attention_factor:.4f}")
    turned = int((own.turns(settings.original) >= 1).sum())
    two.metric(_("Pairs that turned in training"), f"{turned} / {len(own.inverse_frequencies)}")
    implied = settings.longest / settings.original
    if settings.factor is not None and settings.trained is not None and implied != settings.factor:
        st.info(
            _(
                "factor is {factor}, but {longest} / {trained} = {implied}: transformers computes with "
                "the factor."
            ).format(
                factor=f"{settings.factor:g}",
                longest=f"{settings.longest:,}",
                trained=f"{settings.original:,}",
                implied=f"{implied:g}",
            ),
            icon=":material/info:",
        )


def checks(read: ReadConfig) -> list[Check]:
    """Every type of layer against transformers' own function on its own reading of the config."""
    found = 0.0
    for rope in read.ropes:
        ours = scaled_rope(rope.settings, rope.settings.longest)
        theirs = library_rope_of_config(read.config, rope.layer_type, rope.settings.longest)
        compared = theirs.inverse_frequencies
        gap = ((ours.inverse_frequencies - compared).abs() / compared.clamp(min=1e-30)).max()
        found = max(found, float(gap), abs(ours.attention_factor - theirs.attention_factor))
    return [Check(_("transformers' functions on this config, relative"), found, 1e-6)]


def table(rope: RopeOfLayers) -> pd.DataFrame:
    own, scaled = both(rope)
    return pd.DataFrame(
        {
            "pair": range(len(own.inverse_frequencies)),
            "unscaled": own.inverse_frequencies.numpy(),
            "scaled": scaled.inverse_frequencies.numpy(),
        }
    )
