"""Several conversations in one row: who reads whom, what is learned, and what each mistake costs."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from components.figures.masks_batch import losses_by_token, packed_mask, token_rows
from components.formulas import show_formula
from components.lesson_parts import note
from components.panels.masks.causal import causal_network, loss_rounding, rounding
from components.panels.network.reading import ReadsNetwork
from components.settings import flag, one_of, text
from components.stage import Plot, Row, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
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


def average_label(average: Average) -> str:
    return _("over all tokens") if average == "tokens" else _("of the conversations' means")


@lru_cache(maxsize=4)  # stage, tables and files of one setting share it
def separate_of(network_name: str, pack_text: str) -> tuple[list[Conversation], SeparateRows]:
    """The conversations, each in a row of its own. Raises InputError."""
    network = causal_network(network_name)
    most = min(MOST_TOKENS, network.context)
    conversations = tokenize_conversations(network.tokenizer, read_conversations(pack_text), most)
    return conversations, separate_rows(network.model, conversations)


@lru_cache(maxsize=8)
def packed_of(network_name: str, pack_text: str, forgotten: Forgotten, average: Average) -> PackedPass:
    """The conversations in one row, with what is forgotten. Raises InputError."""
    conversations, right_rows = separate_of(network_name, pack_text)
    return packed_pass(causal_network(network_name).model, conversations, right_rows, forgotten, average)


@dataclass(frozen=True)
class PackingARow(ReadsNetwork):
    """Conversations in one row: whom each token belongs to, who reads whom, and the losses."""

    page, name = "masks", "packing"

    pack_no_block: bool = flag(label=mark("Forget the block mask"))
    pack_no_restart: bool = flag(label=mark("Forget to restart positions"))
    pack_no_ignore: bool = flag(label=mark("Forget −100 on prompts"))
    pack_average: Average = one_of(AVERAGES, label=mark("Mean loss"), label_of=average_label)
    pack_text: str = text(
        "Where is the light? => On the rock.\nIs it late? => No.\nWho came? => The keeper did.",
        label=mark("Conversations, one on each line: prompt => answer"),
        lines=7,
    )

    @property
    def forgotten(self) -> Forgotten:
        return Forgotten(self.pack_no_block, self.pack_no_restart, self.pack_no_ignore)

    @property
    def separate(self) -> SeparateRows:
        return separate_of(self.network_name, self.pack_text)[1]

    @property
    def packed(self) -> PackedPass:
        return packed_of(self.network_name, self.pack_text, self.forgotten, self.pack_average)

    @property
    def words(self) -> tuple[str, ...]:
        """The row's tokens, each readable."""
        ids = self.packed.row.input_ids.tolist()
        return tuple(labels(causal_network(self.network_name).tokenizer, tuple(ids)))

    def losses_figure(self) -> go.Figure:
        return losses_by_token(self.words, self.separate.losses.numpy(), self.packed.losses.numpy())

    def stage(self) -> Stage:
        mask_alt = _("Which tokens of the packed row read which others")
        losses_alt = _("Loss of each learned token, alone and packed")
        return Stage(
            Row([rows_plot(self)], 0.42),
            Row(
                [
                    Plot("pack_mask", mask_figure(self), mask_alt, width=2),
                    Plot("pack_losses", self.losses_figure(), losses_alt, width=3),
                ],
                1,
            ),
        )

    def below(self) -> None:
        network = causal_network(self.network_name)
        conversations, right_rows = separate_of(self.network_name, self.pack_text)
        metrics(self.packed)
        note(self, "packing")
        arithmetic(right_rows, self.packed, self.pack_average)
        st.dataframe(cost_table(self), hide_index=True)
        note(self, "packing_costs")
        checked_against(checks(network, conversations, right_rows))
        take_with_you(
            self,
            lambda: token_table(self),
            self.losses_figure,
            snippet(self.network_name, self.pack_text, self.forgotten, self.pack_average),
        )


def rows_plot(view: PackingARow) -> Plot:
    """What belongs to each token of the row."""
    packed = view.packed
    row = packed.row
    rows = {
        _("conversation"): (row.documents + 1).tolist(),
        _("position"): row.position_ids.tolist(),
        _("learned"): ["✓" if is_learned else "·" for is_learned in packed.losses.isfinite().tolist()],
    }
    alt = _("Conversation, position and label of each token of the row")
    return Plot("pack_rows", token_rows(view.words, rows, row.documents.numpy()), alt, least=120)


def mask_figure(view: PackingARow) -> go.Figure:
    documents = view.packed.row.documents
    visible = visible_pairs(documents, view.forgotten)
    return packed_mask(visible.numpy(), documents.numpy(), view.words)


def metrics(packed: PackedPass) -> None:
    separate, together, cost, largest = st.columns(4)
    separate.metric(_("Loss in rows of their own"), f"{packed.separate:.5f}")
    together.metric(_("Loss of the packed row"), f"{packed.loss:.5f}")
    cost.metric(_("Difference (nats per token)"), f"{packed.cost:+.1e}")
    largest.metric(_("Largest change of a logit"), f"{packed.largest:.1e}")


def arithmetic(right_rows: SeparateRows, packed: PackedPass, average: Average) -> None:
    """Both means written out: sums over numbers of tokens, conversation by conversation."""
    own = parts_of(right_rows.losses.numpy(), right_rows.documents.numpy())
    together = parts_of(packed.losses.numpy(), packed.row.documents.numpy())
    separate, packed_row = _("separate"), _("packed")
    show_formula(
        r"\begin{aligned}\rule{0pt}{2.2em}"
        rf"L_{{\text{{{separate}}}}}&={over_tokens(own)}={packed.separate:.5f}\\[12pt]"
        rf"L_{{\text{{{packed_row}}}}}&={mean_of(together, average)}={packed.loss:.5f}"
        r"\end{aligned}"
    )


def parts_of(values: np.ndarray, documents: np.ndarray) -> list[tuple[float, int]]:
    """Sum and number of the learned tokens of each conversation that has any."""
    parts = []
    for document in np.unique(documents):
        mine = values[documents == document]
        if count := int(np.isfinite(mine).sum()):
            parts.append((float(np.nansum(mine, dtype=np.float64)), count))
    return parts


def over_tokens(parts: list[tuple[float, int]]) -> str:
    sums = "+".join(f"{total:.3f}" for total, _count in parts)
    counts = "+".join(str(count) for _total, count in parts)
    return rf"\frac{{{sums}}}{{{counts}}}"


def mean_of(parts: list[tuple[float, int]], average: Average) -> str:
    if average == "tokens":
        return over_tokens(parts)
    means = "+".join(rf"\frac{{{total:.3f}}}{{{count}}}" for total, count in parts)
    return rf"\frac{{1}}{{{len(parts)}}}\left({means}\right)"


def cost_table(view: PackingARow) -> pd.DataFrame:
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
        packed = packed_of(view.network_name, view.pack_text, forgotten, average)
        rows.append(
            {
                _("Forgotten"): name,
                _("Loss"): f"{packed.loss:.5f}",
                _("Against separate rows"): f"{packed.cost:+.1e}",
                _("Largest change of a logit"): f"{packed.largest:.1e}",
            }
        )
    return pd.DataFrame(rows)


def checks(network: Network, conversations: list[Conversation], right_rows: SeparateRows) -> list[Check]:
    """Packed as it should be, whatever the switches say: the loss and the mask of transformers."""
    packed = packed_pass(network.model, conversations, right_rows)
    own = library_loss(network.model, conversations, pad_token_of(network.tokenizer))
    inferred = largest_difference(inferred_logits(network.model, packed.row), right_rows.logits)
    return [
        Check(
            _("transformers' own loss of the same conversations as a padded batch with labels"),
            abs(packed.loss - own),
            loss_rounding(network),
        ),
        Check(
            _("the row under the mask that transformers infers from restarted positions"),
            inferred,
            rounding(network),
        ),
    ]


def token_table(view: PackingARow) -> pd.DataFrame:
    """A row a token of the packed row."""
    row = view.packed.row
    return pd.DataFrame(
        {
            "token": view.words,
            "input_id": row.input_ids.numpy(),
            "conversation": row.documents.numpy(),
            "position_id": row.position_ids.numpy(),
            "label": row.labels.numpy(),
            "loss_separate": view.separate.losses.numpy(),
            "loss_packed": view.packed.losses.numpy(),
        }
    )


def snippet(network: str, text: str, forgotten: Forgotten, average: Average) -> str:
    """Python that repeats both losses."""
    return f"""from models.networks.loading import load
from models.masks.packing import (
    Forgotten,
    packed_pass,
    read_conversations,
    separate_rows,
    tokenize_conversations,
)

network = load({network!r})
pairs = read_conversations({text!r})
conversations = tokenize_conversations(network.tokenizer, pairs, {MOST_TOKENS})
separate = separate_rows(network.model, conversations)
done = packed_pass(network.model, conversations, separate, {forgotten!r}, {average!r})
print(done.separate, done.loss, done.cost)
"""
