"""Several conversations in one row: who reads whom, what is learned, and what each mistake costs."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from components.controls import choose, switch, text_field
from components.figures.masks_batch import losses_by_token, packed_mask, token_rows
from components.live.figure import live_figure
from components.page import Check, Page, checked_against, take_with_you
from components.panels import panel
from components.panels.masks.causal import causal_network, loss_rounding, rounding
from components.panels.network.text import Choice
from components.take.batches import packing as packing_script
from components.words import _
from models.masks.packing import (
    AVERAGES,
    Average,
    Conversation,
    Forgotten,
    PackedPass,
    SeparateRows,
    inferred_logits,
    library_loss,
    packed_pass,
    read_conversations,
    separate_rows,
    tokenize_conversations,
    visible_pairs,
)
from models.masks.padding import pad_token_of
from models.networks.loading import Network
from models.networks.tokens import labels
from models.numerics.comparison import largest_difference

MOST_TOKENS = 160  # of a row: more cannot be read in one figure


@panel
def packing(page: Page, choice: Choice) -> None:
    network = causal_network(choice.network)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        text = text_field(
            _("Conversations, one on each line: prompt => answer"),
            f"{page.name}_pack_text",
            page.default("pack_text"),
            lines=4,
            height=124,
        )
    with right:
        forgotten, average = _controls(page)
    most = min(MOST_TOKENS, network.context)
    conversations = tokenize_conversations(network.tokenizer, read_conversations(text), most)
    right_rows = separate_rows(network.model, conversations)
    done = packed_pass(network.model, conversations, right_rows, forgotten, average)
    _metrics(done)
    _figures(page, network, right_rows, done, forgotten)
    _arithmetic(right_rows, done, average)
    table = _costs(network, conversations, right_rows)
    st.dataframe(table, hide_index=True)
    page.note("packing_costs")
    checked_against(_checks(network, conversations, right_rows))
    _take_away(page, choice, network, (conversations, forgotten, average), right_rows, done)


def average_label(average: Average) -> str:
    return _("over all tokens") if average == "tokens" else _("of the conversations' means")


def _controls(page: Page) -> tuple[Forgotten, Average]:
    block = switch(_("Forget the block mask"), f"{page.name}_pack_no_block")
    restart = switch(_("Forget to restart positions"), f"{page.name}_pack_no_restart")
    all_labels = switch(_("Forget −100 on prompts"), f"{page.name}_pack_no_ignore")
    average = choose(
        _("Mean loss"),
        AVERAGES,
        f"{page.name}_pack_average",
        average_label,
        default="tokens",
        style="segments",
    )
    return Forgotten(block, restart, all_labels), average


def _metrics(done: PackedPass) -> None:
    separate, packed, cost, largest = st.columns(4)
    separate.metric(_("Loss in rows of their own"), f"{done.separate:.5f}")
    packed.metric(_("Loss of the packed row"), f"{done.loss:.5f}")
    cost.metric(_("Difference (nats per token)"), f"{done.cost:+.1e}")
    largest.metric(_("Largest change of a logit"), f"{done.largest:.1e}")


def _figures(
    page: Page, network: Network, right_rows: SeparateRows, done: PackedPass, forgotten: Forgotten
) -> None:
    """What belongs to each token; under it the mask, and the losses beside it."""
    row = done.row
    words = labels(network.tokenizer, tuple(row.input_ids.tolist()))
    learned = done.losses.isfinite().tolist()
    rows = {
        _("conversation"): (row.documents + 1).tolist(),
        _("position"): row.position_ids.tolist(),
        _("learned"): ["✓" if is_learned else "·" for is_learned in learned],
    }
    figure = token_rows(words, rows, row.documents.numpy(), height=180)
    alt = _("Conversation, position and label of each token of the row")
    live_figure(figure, f"{page.name}_pack_rows", alt)
    left, right = st.columns([2, 3], gap="medium")
    with left:
        figure = packed_mask(visible_pairs(row.documents, forgotten).numpy(), row.documents.numpy(), words)
        live_figure(figure, f"{page.name}_pack_mask", _("Which tokens of the packed row read which others"))
    with right:
        figure = losses(words, right_rows, done)
        live_figure(figure, f"{page.name}_pack_losses", _("Loss of each learned token, alone and packed"))
    page.note("packing")


def losses(words: tuple[str, ...], right_rows: SeparateRows, done: PackedPass) -> go.Figure:
    return losses_by_token(words, right_rows.losses.numpy(), done.losses.numpy())


def _arithmetic(right_rows: SeparateRows, done: PackedPass, average: Average) -> None:
    """Both means written out: sums over numbers of tokens, conversation by conversation."""
    own = _parts(right_rows.losses.numpy(), right_rows.documents.numpy())
    packed = _parts(done.losses.numpy(), done.row.documents.numpy())
    separate, packed_row = _("separate"), _("packed")
    st.latex(
        r"\begin{aligned}\rule{0pt}{2.2em}"
        rf"L_{{\text{{{separate}}}}}&={_over_tokens(own)}={done.separate:.5f}\\[12pt]"
        rf"L_{{\text{{{packed_row}}}}}&={_mean(packed, average)}={done.loss:.5f}"
        r"\end{aligned}"
    )


def _parts(values: np.ndarray, documents: np.ndarray) -> list[tuple[float, int]]:
    """Sum and number of the learned tokens of each conversation that has any."""
    found = []
    for document in np.unique(documents):
        mine = values[documents == document]
        if count := int(np.isfinite(mine).sum()):
            found.append((float(np.nansum(mine, dtype=np.float64)), count))
    return found


def _over_tokens(parts: list[tuple[float, int]]) -> str:
    sums = "+".join(f"{total:.3f}" for total, _count in parts)
    counts = "+".join(str(count) for _total, count in parts)
    return rf"\frac{{{sums}}}{{{counts}}}"


def _mean(parts: list[tuple[float, int]], average: Average) -> str:
    if average == "tokens":
        return _over_tokens(parts)
    means = "+".join(rf"\frac{{{total:.3f}}}{{{count}}}" for total, count in parts)
    return rf"\frac{{1}}{{{len(parts)}}}\left({means}\right)"


def _costs(network: Network, conversations: list[Conversation], right_rows: SeparateRows) -> pd.DataFrame:
    """Each thing forgotten on its own, and the two that are usually forgotten together."""
    cases: dict[str, tuple[Forgotten, Average]] = {
        _("nothing"): (Forgotten(), "tokens"),
        _("the block mask"): (Forgotten(block=True), "tokens"),
        _("to restart positions"): (Forgotten(restart=True), "tokens"),
        _("both: one long text"): (Forgotten(block=True, restart=True), "tokens"),
        _("−100 on prompts"): (Forgotten(labels=True), "tokens"),
        _("token mean: mean of means instead"): (Forgotten(), "documents"),
    }
    rows = []
    for name, (forgotten, average) in cases.items():
        done = packed_pass(network.model, conversations, right_rows, forgotten, average)
        rows.append(
            {
                _("Forgotten"): name,
                _("Loss"): f"{done.loss:.5f}",
                _("Against separate rows"): f"{done.cost:+.1e}",
                _("Largest change of a logit"): f"{done.largest:.1e}",
            }
        )
    return pd.DataFrame(rows)


def _checks(network: Network, conversations: list[Conversation], right_rows: SeparateRows) -> list[Check]:
    """Packed as it should be, whatever the switches say: the loss and the mask of transformers."""
    done = packed_pass(network.model, conversations, right_rows)
    own = library_loss(network.model, conversations, pad_token_of(network.tokenizer))
    inferred = largest_difference(inferred_logits(network.model, done.row), right_rows.logits)
    return [
        Check(
            _("transformers' own loss of the same conversations as a padded batch with labels"),
            abs(done.loss - own),
            loss_rounding(network),
        ),
        Check(
            _("the row under the mask that transformers infers from restarted positions"),
            inferred,
            rounding(network),
        ),
    ]


def _take_away(
    page: Page,
    choice: Choice,
    network: Network,
    set_above: tuple[list[Conversation], Forgotten, Average],
    right_rows: SeparateRows,
    done: PackedPass,
) -> None:
    row = done.row
    words = labels(network.tokenizer, tuple(row.input_ids.tolist()))

    def table() -> pd.DataFrame:
        return pd.DataFrame(
            {
                "token": words,
                "input_id": row.input_ids.numpy(),
                "conversation": row.documents.numpy(),
                "position_id": row.position_ids.numpy(),
                "label": row.labels.numpy(),
                "loss_separate": right_rows.losses.numpy(),
                "loss_packed": done.losses.numpy(),
            }
        )

    key = f"{page.name}_packing"
    take_with_you(
        key,
        table,
        lambda: losses(words, right_rows, done),
        lambda: packing_script(choice.network, *set_above, done),
    )
