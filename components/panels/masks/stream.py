"""A long text through a bounded cache: what is kept, what it costs, and that decoding agrees."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.figures.masks_batch import cache_shape, decoded_losses, losses_by_place, sampled
from components.formulas import show_formula
from components.lesson_parts import note
from components.live.figure import live_figure
from components.panels.masks.causal import causal_network, rounding
from components.panels.network.reading import ReadsText, passage
from components.refusal import plain
from components.settings import one_of, slider
from components.stage import Plot, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, language, mark
from models.attention.head_finder import score_text
from models.errors import InputError
from models.masks.streaming import LONGEST_STREAM, check_stream, decode, running_mean, stream_logits
from models.networks.key_cache import POSITIONS, KeyCache, Positions
from models.networks.loading import Network
from models.networks.texts import passages
from models.networks.tokens import tokenize
from models.networks.tracing import trace_ids
from models.numerics.token_losses import token_losses
from models.runtime.kept import Kept

SHORTEST_STREAM, SHORTEST_TEXT = 16, 8  # tokens: the slider's least, and what a text must have
SCORED = 256  # tokens of the text's beginning, on which heads are scored
SMOOTHED = 64  # tokens of the running mean
BELOW, ABOVE = 0.7, 1.3  # nats left free under and over the curve with all keys
KEPT_BYTES = 1_000_000  # of decoded losses


@dataclass(frozen=True)
class Read:
    """Which tokens are read, and with which cache: all that the numbers depend on."""

    network: str
    token_ids: tuple[int, ...]
    cache: KeyCache
    prefill: int


def source_label(source: str) -> str:
    return _("a whole passage") if source == "passage" else _("the page's text")


def positions_label(positions: Positions) -> str:
    return _("of the text") if positions == "text" else _("within the cache")


@dataclass(frozen=True)
class StreamingALongText(ReadsText):
    """A cache that keeps sinks and a window: its shape, and what the text then costs to predict."""

    page, name = "masks", "stream"

    stream_window: int = slider(
        1,
        512,
        16,
        1,
        log=True,
        label=mark("Window"),
        help=mark("Latest keys that are kept, the token's own included."),
    )
    stream_sinks: int = slider(
        0, 16, 4, 1, label=mark("Sinks"), help=mark("First keys that are kept for good.")
    )
    stream_tokens: int = slider(
        SHORTEST_STREAM, lambda view: view.most, 768, 1, label=mark("Tokens of the text")
    )
    stream_prefill: int = slider(
        1,
        lambda view: view.most,
        640,
        1,
        label=mark("Prefill"),
        help=mark("Tokens that are read in one pass before decoding begins."),
    )
    stream_source: str = one_of(
        ("passage", "text"), label=mark("Text to stream"), label_of=source_label, style="segments"
    )
    stream_positions: Positions = one_of(
        POSITIONS,
        label=mark("Positions"),
        label_of=positions_label,
        style="segments",
        help=mark("Within the cache no distance is larger than the cache; that needs rotary positions."),
    )

    @property
    def most(self) -> int:
        """The most tokens that this network can stream."""
        try:
            network = causal_network(self.network_name)
        except InputError:
            return LONGEST_STREAM  # the stage says what is wrong with it
        is_rotary = hasattr(network.model.config, "rope_parameters")
        return LONGEST_STREAM if is_rotary else min(LONGEST_STREAM, network.context)

    @property
    def cache(self) -> KeyCache:
        return KeyCache(self.stream_window, self.stream_sinks, self.stream_positions)

    @property
    def token_ids(self) -> tuple[int, ...]:
        """The beginning of the passage or of the page's text. Raises InputError."""
        network = causal_network(self.network_name)
        streamed = passage(self.passage).text if self.stream_source == "passage" else self.text
        tokens = tokenize(network.tokenizer, streamed, max(self.stream_tokens, SHORTEST_TEXT))
        if len(tokens.token_ids) < SHORTEST_TEXT:
            raise InputError(
                "The text has {count} tokens; at least {least} are needed here.",
                count=len(tokens.token_ids),
                least=SHORTEST_TEXT,
            )
        return tokens.token_ids

    @property
    def read(self) -> Read:
        """What the controls ask for. Raises InputError where the network cannot read it so."""
        ids = self.token_ids
        check_stream(causal_network(self.network_name), len(ids), self.cache)
        prefill = min(self.stream_prefill, len(ids) - 2)
        return Read(self.network_name, ids, self.cache, max(prefill, 1))

    def stage(self) -> Stage:
        read = self.read
        alt = _("Keys kept for each token: the last {window} and the first {sinks}").format(
            window=self.stream_window, sinks=self.stream_sinks
        )
        title = _("Loss by place in the text, running mean over {count} tokens").format(count=SMOOTHED)
        return Stage(
            [
                Plot("stream_shape", shape_figure(read), alt, width=2),
                Plot("stream_losses", lambda: losses_figure(read), title, width=3),
            ]
        )

    def head_line(self) -> None:
        """Network and passage; the page's text only where it is what is streamed."""
        if self.stream_source == "text":
            super().head_line()
            return
        chosen = passage(self.passage)
        label = f"{plain(self.network)} · {chosen.title(language())}"
        with st.popover(label, icon=":material/description:", width="content", key="loupe_text"):
            self.choose_network()
            choose_passage(self)

    def actions(self) -> None:
        count = len(self.token_ids)
        if count < self.stream_tokens:
            st.caption(_("The text has only {count} tokens.").format(count=count))

    def below(self) -> None:
        read = self.read
        metrics(read)
        note(self, "stream_cache")
        note(self, "stream_losses")
        decoding(self, read)
        take_away(self, read)


def choose_passage(view: StreamingALongText) -> None:
    """Which passage is streamed."""
    state, key = st.session_state, view.keys()["passage"]
    widget = f"{key}_whole_widget"
    state[widget] = passage(view.passage).name

    def take() -> None:
        state[key] = state[widget]

    st.selectbox(
        _("Passage"),
        [item.name for item in passages()],
        format_func=lambda name: passage(name).title(language()),
        key=widget,
        on_change=take,
    )


def shape_figure(read: Read) -> go.Figure:
    """The shape of the cache while its sliders are dragged, and how much it keeps."""
    tokens = len(read.token_ids)
    places, kept = sampled(tokens), read.cache.kept(tokens)
    title = _("{kept} keys kept, {share} of all · {pairs} of causal pairs read").format(
        kept=int(kept[-1]),
        share=f"{int(kept[-1]) / tokens:.0%}",
        pairs=f"{int(kept.sum()) / (tokens * (tokens + 1) / 2):.0%}",
    )
    visible = read.cache.visible(torch.from_numpy(places))
    return cache_shape(visible.numpy(), places, read.cache.sinks, prefill=read.prefill, title=title)


# Loss by place -------------------------------------------------------------------------------


@st.cache_data(max_entries=48, show_spinner=False)
def losses_of(network_name: str, token_ids: tuple[int, ...], cache: KeyCache) -> np.ndarray:
    """Losses of all tokens but the first, in nats."""
    ids = torch.tensor(token_ids)
    return token_losses(stream_logits(causal_network(network_name), ids, cache), ids).numpy()


@st.cache_data(max_entries=16, show_spinner=False)
def strongest_sink(network_name: str, token_ids: tuple[int, ...]) -> tuple[float, int, int]:
    """The head that gives the first token most weight on the text's beginning: weight, layer, head."""
    network = causal_network(network_name)
    traced = trace_ids(network, torch.tensor(token_ids[: min(network.context, SCORED)]))
    scores = score_text(traced).scores.first_token
    layer, head = divmod(int(scores.argmax()), scores.shape[1])
    return float(scores.max()), layer, head


def curves_of(read: Read) -> dict[str, np.ndarray]:
    """Losses of all tokens but the first under three caches."""
    caches = {
        _("all keys kept"): KeyCache(),
        _("window alone"): KeyCache(read.cache.window),
        _("sinks and window"): read.cache,
    }
    return {name: losses_of(read.network, read.token_ids, cache) for name, cache in caches.items()}


def losses_figure(read: Read) -> go.Figure:
    """The three curves; the axis follows the text, and stays while the cache changes."""
    tokens, network = len(read.token_ids), causal_network(read.network)
    smooth = {
        name: (np.arange(1, tokens), running_mean(torch.from_numpy(values), SMOOTHED).numpy())
        for name, values in curves_of(read).items()
    }
    whole = next(iter(smooth.values()))[1]
    late = whole[min(SMOOTHED // 2, len(whole) - 1) :]
    marks = {_("cache full"): read.cache.size or 0, _("longest text in training"): network.context}
    return losses_by_place(
        smooth,
        {name: x for name, x in marks.items() if 0 < x < tokens},
        (float(late.min()) - BELOW, float(late.max()) + ABOVE),
        y_title=_("Loss, running mean over {count} tokens (nats)").format(count=SMOOTHED),
    )


def metrics(read: Read) -> None:
    """Mean losses from the place on where the cache has begun to throw away."""
    full = min(read.cache.size or 0, len(read.token_ids) - 2)
    columns = st.columns(4)
    for column, (name, values) in zip(columns, curves_of(read).items(), strict=False):
        mean = f"{values[full:].mean():.3f}"
        column.metric(name, mean, help=_("Mean loss after the cache is full, nats."))
    weight, layer, head = strongest_sink(read.network, read.token_ids)
    columns[3].metric(
        _("Sink weight"),
        f"{weight:.2f}",
        help=_(
            "Mean weight on the first token over the text's beginning, in the head where it is largest: "
            "layer {layer}, head {head}."
        ).format(layer=layer, head=head),
    )


# Prefill and decode --------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Decoding:
    """Losses of the decoded tokens, where they stand in the text, and the most keys that were kept."""

    places: np.ndarray
    losses: np.ndarray
    keys: int


DECODED: Kept[Read, Decoding] = Kept(
    lambda: KEPT_BYTES, lambda done: done.places.nbytes + done.losses.nbytes
)


def decoding(view: StreamingALongText, read: Read) -> None:
    """Prefill, then token by token; its figure, its arithmetic and its checks."""
    network = causal_network(read.network)
    st.markdown("**" + _("Prefill, then token by token with a real cache") + "**")
    full = losses_of(read.network, read.token_ids, read.cache)
    done = DECODED.find(read) or DECODED.get(read, lambda: decoded(network, read))
    figure = decoded_losses(np.arange(1, len(read.token_ids)), full, done.places, done.losses)
    alt = _("Loss of each token by decoding and in one full pass")
    live_figure(figure, "masks_stream_decoded", alt)
    arithmetic(read, done.keys)
    note(view, "stream_decode")
    difference = float(np.abs(done.losses - full[done.places - 1]).max())
    what = _("the losses of {count} tokens decoded with transformers' own cache, against one full pass")
    checks = [Check(what.format(count=len(done.losses)), difference, rounding(network))]
    plain = plain_losses(network, read.token_ids)
    own = float(np.abs(losses_of(read.network, read.token_ids, KeyCache()) - plain).max())
    checks.append(Check(_("all keys kept, against the network's own forward pass"), own, rounding(network)))
    checked_against(checks)


def decoded(network: Network, read: Read) -> Decoding:
    """Decode with a bar that shows how far it has come; a move of any control stops it."""
    steps = len(read.token_ids) - read.prefill
    bar = st.empty()
    places, values, keys = [], [], 0
    for step in decode(network, torch.tensor(read.token_ids), read.prefill, read.cache):
        places.append(step.token + 1)
        values.append(step.loss)
        keys = max(keys, step.keys if step.token >= read.prefill else 0)
        if len(values) % 32 == 0:
            bar.progress(len(values) / steps, _("{count} tokens decoded").format(count=len(values)))
    bar.empty()
    return Decoding(np.array(places), np.array(values, dtype=np.float32), keys)


def plain_losses(network: Network, token_ids: tuple[int, ...]) -> np.ndarray:
    """The same from the network's own forward pass, with no mask of ours."""
    ids = torch.tensor(token_ids)
    with torch.no_grad():
        logits = network.model(ids[None].to(network.device), use_cache=False).logits[0].float().cpu()
    return token_losses(logits, ids).numpy()


def arithmetic(read: Read, keys: int) -> None:
    """Where the last token stands, which distances it sees, and what the cache holds."""
    last = len(read.token_ids) - 2
    window, sinks = read.cache.window or 0, read.cache.sinks
    delay = int(read.cache.delay(torch.tensor(last)))
    lines = [
        rf"n_t&=\min(t+1,\;{sinks}+{window})=\min({last + 1},\;{sinks + window})"
        rf"={min(last + 1, sinks + window)}",
        rf"\max n&={keys}",
    ]
    if sinks:
        lines.append(rf"t-p_0&={last}-{delay}={last - delay}")
    show_formula(r"\begin{aligned}" + r"\\[4pt]".join(lines) + r"\end{aligned}")


def take_away(view: StreamingALongText, read: Read) -> None:
    curves = curves_of(read)

    def table() -> pd.DataFrame:
        return pd.DataFrame({"place": np.arange(1, len(read.token_ids)), **curves})

    take_with_you(view, table, lambda: losses_figure(read), snippet(read))


def snippet(read: Read) -> str:
    """Python that repeats the losses and the decoding."""
    return f"""import torch

from models.networks.loading import load
from models.masks.streaming import decode, stream_logits
from models.networks.key_cache import KeyCache
from models.numerics.token_losses import token_losses

network = load({read.network!r})
ids = torch.tensor({read.token_ids!r})
cache = {read.cache!r}
full = token_losses(stream_logits(network, ids, cache), ids)
decoded = torch.tensor([one.loss for one in decode(network, ids, {read.prefill}, cache)])
print(full[{read.prefill - 1}:] - decoded)
"""
