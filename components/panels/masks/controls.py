"""Controls of a mask, and the mask that they stand for: shared by several views of the page."""

from collections.abc import Sequence

import streamlit as st

from components.controls import choose
from components.live.address import remember
from components.live.slider import live_slider
from components.page import Page
from components.words import _
from models.masks.settings import (
    BASES,
    PATTERNS,
    SIDES,
    Base,
    MaskSettings,
    Pattern,
    Side,
    parse_cells,
    parse_starts,
)

LONGEST = 1_024  # tokens of a mask that is no text's


def base_label(base: Base) -> str:
    return {
        "causal": _("Causal (decoder)"),
        "bidirectional": _("Bidirectional (encoder)"),
        "prefix": _("Prefix-LM"),
        "cross": _("Cross-attention"),
    }[base]


def pattern_label(pattern: Pattern) -> str:
    return {
        "all": _("every pair"),
        "window": _("sliding window"),
        "lambda": _("Λ: sinks and window"),
        "dilated": _("dilated window"),
        "blocks": _("blocks"),
    }[pattern]


def side_label(side: Side) -> str:
    return {"none": _("none"), "left": _("left"), "right": _("right")}[side]


def mask_controls(page: Page, tokens: int, live: Sequence[str], settled: Sequence[str] = ()) -> None:
    """What is visible, which pattern in it, documents, padding; and the sliders that these need."""
    name = page.name
    with st.container(horizontal=True, vertical_alignment="bottom"):
        base = choose(
            _("Who may read whom"),
            BASES,
            f"{name}_base",
            base_label,
            default=page.default("base"),
            width=210,
        )
        pattern = choose(
            _("of these"),
            PATTERNS,
            f"{name}_pattern",
            pattern_label,
            default=page.default("pattern"),
            width=190,
        )
        side = choose(_("Padding"), SIDES, f"{name}_side", side_label, default="none", width=110)
        _starts(page)
    with st.container(horizontal=True):
        if base in ("prefix", "cross"):
            label = _("Prefix") if base == "prefix" else _("Source")
            _slider(page, label, "prefix", 0, tokens, live, settled, _("tokens"))
        if pattern in ("window", "lambda", "dilated"):
            _slider(page, _("Window"), "window", 1, tokens, live, settled, _("tokens"))
        if pattern == "lambda":
            _slider(page, _("Sinks"), "sinks", 0, min(16, tokens), live, settled, _("tokens"))
        if pattern == "dilated":
            _slider(page, _("Dilation"), "step", 1, 8, live, settled, _("tokens"))
        if pattern == "blocks":
            _slider(page, _("Block"), "block", 1, tokens, live, settled, _("tokens"))
        if side != "none":
            _slider(page, _("Padding tokens"), "padded", 0, tokens, live, settled)
        if pattern in ("window", "lambda", "dilated"):
            _convention(page)


def _slider(
    page: Page,
    label: str,
    name: str,
    low: int,
    high: int,
    live: Sequence[str],
    settled: Sequence[str],
    unit: str = "",
) -> None:
    """A slider of whole numbers whose end follows the text; a longer value becomes the end."""
    key, high = f"{page.name}_{name}", max(low + 1, high)
    if key in st.session_state:
        st.session_state[key] = min(high, max(low, st.session_state[key]))
    default = min(high, page.default(name))
    live_slider(label, key, low, high, default, 1, unit=unit, live=live, settled=settled)


def _convention(page: Page) -> None:
    choose(
        _("A window of w counts"),
        ("itself", "others"),
        f"{page.name}_counts",
        lambda way: _("the token itself") if way == "itself" else _("only others"),
        default="itself",
        width=170,
        help=_(
            "Libraries differ: transformers counts the token itself in causal windows and not in "
            "bidirectional ones; FlashAttention never does."
        ),
    )


def _starts(page: Page) -> None:
    """The text field for documents; it outlives its widget, as controls of hidden views do."""
    state, key = st.session_state, f"{page.name}_starts"
    if key not in state:
        state[key] = st.query_params.get(key, "")[:300]
    state[f"{key}_widget"] = state[key]

    def take() -> None:
        state[key] = state[f"{key}_widget"]

    st.text_input(
        _("New documents begin at token"),
        key=f"{key}_widget",
        on_change=take,
        placeholder=_("such as 12, 30"),
        max_chars=300,
        width=200,
    )
    remember(key, state[key], "")


def cells_text(page: Page) -> str:
    """The switched cells as they stand in the session; from the address on the first visit."""
    state, key = st.session_state, f"{page.name}_cells"
    if key not in state:
        state[key] = st.query_params.get(key, "")[:1_500]
    remember(key, state[key], "")
    return state[key]


def settings_now(page: Page) -> MaskSettings:
    """What the controls say. Raises InputError on starts or cells that cannot be read."""

    def now(name: str) -> int:
        return round(st.session_state.get(f"{page.name}_{name}", page.default(name)))

    def chosen(name: str) -> str:
        return st.session_state.get(f"{page.name}_{name}", page.default(name))

    cells = cells_text(page)  # first: what cannot be read elsewhere must not lose it from the address
    return MaskSettings(
        base=chosen("base"),  # type: ignore[arg-type]  # one of BASES: choose() lets nothing else in
        pattern=chosen("pattern"),  # type: ignore[arg-type]  # and one of PATTERNS
        prefix=now("prefix"),
        window=now("window"),
        counts_itself=chosen("counts") == "itself",
        sinks=now("sinks"),
        step=now("step"),
        block=now("block"),
        side=chosen("side"),  # type: ignore[arg-type]  # and one of SIDES
        padded=now("padded"),
        starts=parse_starts(chosen("starts")),
        cells=parse_cells(cells),
    )
