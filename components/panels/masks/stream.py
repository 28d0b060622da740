"""A long text through a bounded cache: what is kept, what it costs, and that decoding agrees."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.controls import choose
from components.figures.masks_batch import cache_shape, decoded_losses, losses_by_place, sampled
from components.live.figure import live_figure
from components.live.slider import live_slider
from components.page import Check, Page, checked_against, take_with_you
from components.panels import live_panel, panel
from components.panels.masks.causal import causal_network, rounding
from components.panels.network.text import Choice
from components.take.batches import stream as stream_script
from components.take.script import Script
from components.words import _
from models.attention.head_finder import score_text
from models.errors import InputError
from models.masks.streaming import (
    LONGEST_STREAM,
    POSITIONS,
    KeyCache,
    Positions,
    check_stream,
    decode,
    losses,
    running_mean,
    stream_logits,
    visible_pairs,
)
from models.networks.loading import Network
from models.networks.texts import passages
from models.networks.tokens import tokenize
from models.networks.tracing import trace_ids

SHORTEST_STREAM, SHORTEST_TEXT = 16, 8  # tokens: the slider's least, and what a text must have
SCORED = 256  # tokens of the text's beginning, on which heads are scored
SMOOTHED = 64  # tokens of the running mean
LIVE = ("cache_picture",)
SETTLED = (*LIVE, "cache_numbers", "stream_losses", "stream_decode")
BELOW, ABOVE = 0.7, 1.3  # nats left free under and over the curve with all keys


@dataclass(frozen=True)
class Stream:
    """Which tokens are read, and with which cache: all that the numbers depend on."""

    network: str
    token_ids: tuple[int, ...]
    cache: KeyCache
    prefill: int


@panel
def stream(page: Page, choice: Choice) -> None:
    network = causal_network(choice.network)
    most = _token_limit(network)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        source = choose(
            _("Text to stream"),
            ("passage", "text"),
            f"{page.name}_stream_source",
            lambda source: _("the whole passage") if source == "passage" else _("the text above"),
            default="passage",
            style="segments",
        )
        choose(
            _("Positions"),
            POSITIONS,
            f"{page.name}_stream_positions",
            positions_label,
            default="text",
            style="segments",
            help=_("Within the cache no distance is larger than the cache; that needs rotary positions."),
        )
    _sliders(page, most)
    token_ids = _tokens(page, choice, network, source, most)
    check_stream(network, len(token_ids), stream_now(page, choice, token_ids).cache)
    left, right = st.columns([2, 3], gap="medium")
    with left:
        cache_picture(page, len(token_ids))
        cache_numbers(page, len(token_ids))
        page.note("stream_cache")
    with right:
        stream_losses(page, choice, token_ids)
    stream_decode(page, choice, token_ids)


def positions_label(positions: Positions) -> str:
    return _("of the text") if positions == "text" else _("within the cache")


def _token_limit(network: Network) -> int:
    is_rotary = hasattr(network.model.config, "rope_parameters")
    return LONGEST_STREAM if is_rotary else min(LONGEST_STREAM, network.context)


def _sliders(page: Page, most: int) -> None:
    with st.container(horizontal=True):
        live_slider(
            _("Tokens of the text"), f"{page.name}_stream_tokens", SHORTEST_STREAM, most,
            page.default("stream_tokens"), 1, live=LIVE, settled=("stream",),
        )  # fmt: skip
        live_slider(
            _("Window"), f"{page.name}_stream_window", 1, 512, page.default("stream_window"), 1, log=True,
            help=_("Latest keys that are kept, the token's own included."), live=LIVE, settled=SETTLED,
        )  # fmt: skip
        live_slider(
            _("Sinks"), f"{page.name}_stream_sinks", 0, 16, page.default("stream_sinks"), 1,
            help=_("First keys that are kept for good."), live=LIVE, settled=SETTLED,
        )  # fmt: skip
        live_slider(
            _("Prefill"), f"{page.name}_stream_prefill", 1, most, page.default("stream_prefill"), 1,
            help=_("Tokens that are read in one pass before decoding begins."), live=LIVE, settled=SETTLED,
        )  # fmt: skip


def _tokens(page: Page, choice: Choice, network: Network, source: str, most: int) -> tuple[int, ...]:
    """The beginning of the passage or of the typed text; it says where there is no more of it."""
    asked = round(st.session_state[f"{page.name}_stream_tokens"])
    text = choice.text
    if source == "passage":
        name = st.session_state[f"{page.name}_passage"]
        text = next(passage.text for passage in passages() if passage.name == name)
    tokens = tokenize(network.tokenizer, text, max(min(asked, most), 8))
    if len(tokens.token_ids) < SHORTEST_TEXT:
        raise InputError(
            "The text has {count} tokens; at least {least} are needed here.",
            count=len(tokens.token_ids),
            least=SHORTEST_TEXT,
        )
    if len(tokens.token_ids) < asked:
        st.caption(_("The text has only {count} tokens.").format(count=len(tokens.token_ids)))
    return tokens.token_ids


def stream_now(page: Page, choice: Choice, token_ids: tuple[int, ...]) -> Stream:
    """What the controls ask for, read by each panel that they rerun."""
    state, name = st.session_state, page.name
    cache = KeyCache(
        round(state[f"{name}_stream_window"]),
        round(state[f"{name}_stream_sinks"]),
        state[f"{name}_stream_positions"],
    )
    prefill = min(round(state[f"{name}_stream_prefill"]), len(token_ids) - 2)
    return Stream(choice.network, token_ids, cache, max(prefill, 1))


@live_panel
def cache_picture(page: Page, tokens: int) -> None:
    """The shape of the cache while its sliders are dragged."""
    cache, places = cache_now(page), sampled(tokens)
    figure = cache_shape(visible_pairs(torch.from_numpy(places), cache).numpy(), places, cache.sinks)
    alt = _("Keys kept for each token: the last {window} and the first {sinks}")
    live_figure(figure, f"{page.name}_stream_shape", alt.format(window=cache.window, sinks=cache.sinks))


def cache_now(page: Page) -> KeyCache:
    """The cache that the sliders ask for."""
    window, sinks = (round(st.session_state[f"{page.name}_stream_{name}"]) for name in ("window", "sinks"))
    return KeyCache(window, sinks)


@panel
def cache_numbers(page: Page, tokens: int) -> None:
    """How many keys are kept, and how many pairs were read."""
    kept = cache_now(page).kept(tokens)
    told = _(
        "{kept} keys in the cache after {tokens} tokens, {share} of all; {pairs} of causal pairs read."
    )
    st.caption(
        told.format(
            kept=int(kept[-1]),
            tokens=tokens,
            share=f"{int(kept[-1]) / tokens:.0%}",
            pairs=f"{int(kept.sum()) / (tokens * (tokens + 1) / 2):.0%}",
        )
    )


# Loss by place -------------------------------------------------------------------------------


@st.cache_data(max_entries=48, show_spinner=False)
def _losses(network_name: str, token_ids: tuple[int, ...], cache: KeyCache) -> np.ndarray:
    ids = torch.tensor(token_ids)
    return losses(stream_logits(causal_network(network_name), ids, cache), ids).numpy()


@st.cache_data(max_entries=16, show_spinner=False)
def _strongest_sink(network_name: str, text_ids: tuple[int, ...]) -> tuple[float, int, int]:
    """The head that gives the first token most weight on the text's beginning: weight, layer, head."""
    network = causal_network(network_name)
    traced = trace_ids(network, torch.tensor(text_ids[: min(network.context, SCORED)]))
    scores = score_text(traced).scores.first_token
    layer, head = divmod(int(scores.argmax()), scores.shape[1])
    return float(scores.max()), layer, head


def _curves(now: Stream) -> dict[str, np.ndarray]:
    """Losses of all tokens but the first under three caches."""
    caches = {
        _("all keys kept"): KeyCache(),
        _("window alone"): KeyCache(now.cache.window),
        _("sinks and window"): now.cache,
    }
    return {name: _losses(now.network, now.token_ids, cache) for name, cache in caches.items()}


@panel
def stream_losses(page: Page, choice: Choice, token_ids: tuple[int, ...]) -> None:
    network = causal_network(choice.network)
    now = stream_now(page, choice, token_ids)
    with st.spinner(_("Reading the text …"), show_time=False):
        curves = _curves(now)
    figure = losses_figure(curves, network, now)
    title = _("Loss by place in the text, running mean over {count} tokens").format(count=SMOOTHED)
    st.markdown(f"**{title}**")
    live_figure(figure, f"{page.name}_stream_losses", title)
    page.note("stream_losses")
    _metrics(network, now, curves)


def losses_figure(curves: dict[str, np.ndarray], network: Network, now: Stream) -> go.Figure:
    place = np.arange(1, len(now.token_ids))
    smooth = {
        name: (place, running_mean(torch.from_numpy(values), SMOOTHED).numpy())
        for name, values in curves.items()
    }
    whole = next(iter(smooth.values()))[1]  # the axis follows the text, and stays while the cache changes
    late = whole[min(SMOOTHED // 2, len(whole) - 1) :]
    marks = {_("cache full"): now.cache.size or 0, _("longest text in training"): network.context}
    marks = {name: x for name, x in marks.items() if 0 < x < len(now.token_ids)}
    return losses_by_place(smooth, marks, (float(late.min()) - BELOW, float(late.max()) + ABOVE))


def _metrics(network: Network, now: Stream, curves: dict[str, np.ndarray]) -> None:
    """Mean losses from the place on where the cache has begun to throw away."""
    full = min(now.cache.size or 0, len(now.token_ids) - 2)
    columns = st.columns(4)
    for column, (name, values) in zip(columns, curves.items(), strict=False):
        mean = f"{values[full:].mean():.3f}"
        column.metric(name, mean, help=_("Mean loss after the cache is full, nats."))
    weight, layer, head = _strongest_sink(now.network, now.token_ids)
    columns[3].metric(
        _("Sink weight"),
        f"{weight:.2f}",
        help=_(
            "Mean weight on the first token over the text's beginning, in the head where it is largest: "
            "layer {layer}, head {head}."
        ).format(layer=layer, head=head),
    )


# Prefill and decode --------------------------------------------------------------------------


@panel
def stream_decode(page: Page, choice: Choice, token_ids: tuple[int, ...]) -> None:
    network = causal_network(choice.network)
    now = stream_now(page, choice, token_ids)
    st.markdown("**" + _("Prefill, then token by token with a real cache") + "**")
    full = _losses(now.network, now.token_ids, now.cache)
    places, decoded, keys = _decode(network, now)
    figure = decoded_losses(np.arange(1, len(token_ids)), full, places, decoded)
    alt = _("Loss of each token by decoding and in one full pass")
    live_figure(figure, f"{page.name}_stream_decoded", alt)
    _arithmetic(now, keys)
    page.note("stream_decode")
    difference = float(np.abs(decoded - full[places - 1]).max())
    what = _("the losses of {count} tokens decoded with transformers' own cache, against one full pass")
    checks = [Check(what.format(count=len(decoded)), difference, rounding(network))]
    plain = _plain_losses(network, token_ids)
    own = float(np.abs(_losses(now.network, token_ids, KeyCache()) - plain).max())
    checks.append(Check(_("all keys kept, against the network's own forward pass"), own, rounding(network)))
    checked_against(checks)
    _take_away(page, now, decoded)


def _decode(network: Network, now: Stream) -> tuple[np.ndarray, np.ndarray, int]:
    """Decode with a bar that shows how far it has come; a move of any control stops it."""
    steps = len(now.token_ids) - now.prefill
    bar = st.empty()
    places, found, keys = [], [], 0
    for one in decode(network, torch.tensor(now.token_ids), now.prefill, now.cache):
        places.append(one.token + 1)
        found.append(one.loss)
        keys = max(keys, one.keys if one.token >= now.prefill else 0)
        if len(found) % 32 == 0:
            bar.progress(len(found) / steps, _("{count} tokens decoded").format(count=len(found)))
    bar.empty()
    return np.array(places), np.array(found, dtype=np.float32), keys


def _plain_losses(network: Network, token_ids: tuple[int, ...]) -> np.ndarray:
    ids = torch.tensor(token_ids)
    with torch.no_grad():
        logits = network.model(ids[None].to(network.device), use_cache=False).logits[0].float().cpu()
    return losses(logits, ids).numpy()


def _arithmetic(now: Stream, keys: int) -> None:
    """Where the last token stands, which distances it sees, and what the cache holds."""
    last = len(now.token_ids) - 2
    window, sinks = now.cache.window or 0, now.cache.sinks
    delay = int(now.cache.delay(torch.tensor(last)))
    lines = [
        rf"n_t&=\min(t+1,\;{sinks}+{window})=\min({last + 1},\;{sinks + window})"
        rf"={min(last + 1, sinks + window)}",
        rf"\max n&={keys}",
    ]
    if sinks:
        lines.append(rf"t-p_0&={last}-{delay}={last - delay}")
    st.latex(r"\begin{aligned}" + r"\\[4pt]".join(lines) + r"\end{aligned}")


def _take_away(page: Page, now: Stream, decoded: np.ndarray) -> None:
    curves = _curves(now)

    def table() -> pd.DataFrame:
        return pd.DataFrame({"place": np.arange(1, len(now.token_ids)), **curves})

    def figure() -> go.Figure:
        return losses_figure(curves, causal_network(now.network), now)

    def python() -> Script:
        full = min(now.cache.size or 0, len(now.token_ids) - 2)
        whole, window, cached = (float(values[full:].mean()) for values in curves.values())
        given = (now.network, now.token_ids, now.cache, now.prefill)
        return stream_script(*given, (whole, window, cached), float(decoded.mean()))

    take_with_you(f"{page.name}_stream", table, figure, python)
