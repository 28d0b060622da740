"""Two prompts of different length as one batch, and what padding does to each of them."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch
from torch import Tensor
from transformers import GenerationConfig

from components.figures.attention import next_token_bars
from components.figures.masks_batch import changes_by_token, token_rows
from components.formulas import show_formula
from components.lesson_parts import note
from components.panels.masks.causal import causal_network, rounding
from components.panels.network.reading import ReadsNetwork
from components.settings import flag, one_of, text
from components.stage import Plot, Row, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.traces import token_labels
from components.words import _, mark
from models.attention.next_token import NextTokenChange, compare_next_token
from models.masks.padding import (
    SIDES,
    Given,
    PaddedBatch,
    PaddingCost,
    Side,
    alone_logits,
    batch_logits,
    differences,
    largest_of,
    learned_positions_network,
    pad,
    pad_token_of,
    padding_costs,
    positions_seen,
)
from models.networks.loading import Network
from models.networks.tokens import TokenizedText, labels, tokenize
from models.numerics.comparison import largest_difference

MOST_TOKENS = 48  # of a prompt: more cannot be read in one line
TOP_TOKENS = 5
SEED = 0  # of the random network with learned positions


@dataclass(frozen=True, eq=False)
class Batch:
    """Both prompts as a batch, after the network's pass, and each prompt alone."""

    rows: tuple[tuple[int, ...], ...]
    batch: PaddedBatch
    given: Given
    alone: list[Tensor]
    logits: Tensor

    @property
    def changes(self) -> list[Tensor]:
        return differences(self.logits, self.batch, self.alone)

    def next_token(self, row: int, read_last_column: bool) -> NextTokenChange:
        """The next token of a prompt alone, and as it is read from the batch."""
        column = -1 if read_last_column else int(self.batch.columns(row)[-1])
        return compare_next_token(self.alone[row][-1], self.logits[row, column], TOP_TOKENS)


@lru_cache(maxsize=2)  # stage, tables and files of one setting share it
def batch_of(network_name: str, rows: tuple[tuple[int, ...], ...], side: Side, given: Given) -> Batch:
    """Each prompt alone, and both in a batch."""
    network = causal_network(network_name)
    batch = pad(rows, pad_token_of(network.tokenizer), side)
    alone = alone_logits(network.model, rows)
    return Batch(rows, batch, given, alone, batch_logits(network.model, batch, given))


def side_label(side: Side) -> str:
    return _("left") if side == "left" else _("right")


def prompt_name(row: int) -> str:
    return _("first prompt") if row == 0 else _("second prompt")


@dataclass(frozen=True)
class PaddingABatch(ReadsNetwork):
    """Two prompts as a batch: what the network is given, and what that does to each prompt."""

    page, name = "masks", "padding"

    pad_side: Side = one_of(
        SIDES, "left", label=mark("Padding side"), label_of=side_label, style="segments"
    )
    pad_no_mask: bool = flag(
        label=mark("Forget the mask"), help=mark("A mask of ones: padding is read like text.")
    )
    pad_no_positions: bool = flag(
        label=mark("Forget position ids"),
        help=mark("The forward pass then counts columns, padding included."),
    )
    pad_last_column: bool = flag(
        label=mark("Read the last column"),
        help=mark("Take logits[:, -1] for the next token, as generate does, wherever the prompt ends."),
    )
    pad_first: str = text(
        "The keeper of the light stood at the window and looked out over the sea.",
        label=mark("First prompt"),
        lines=2,
    )
    pad_second: str = text("Where is the boat?", label=mark("Second prompt"), lines=2)
    pad_prompt: int = one_of((0, 1), 1, label=mark("Next token of"), label_of=prompt_name, style="segments")

    @property
    def given(self) -> Given:
        return Given(not self.pad_no_mask, not self.pad_no_positions)

    def tokenized(self) -> list[TokenizedText]:
        """The tokens of both prompts, cut where a line of the figure ends. Raises InputError."""
        network = causal_network(self.network_name)
        most = min(MOST_TOKENS, network.context)
        return [tokenize(network.tokenizer, prompt, most) for prompt in (self.pad_first, self.pad_second)]

    @property
    def rows(self) -> tuple[tuple[int, ...], ...]:
        return tuple(tokens.token_ids for tokens in self.tokenized())

    @property
    def batch(self) -> Batch:
        return batch_of(self.network_name, self.rows, self.pad_side, self.given)

    def changes_figure(self) -> go.Figure:
        network, batch = causal_network(self.network_name), self.batch
        curves = {
            prompt_name(row): (batch.batch.columns(row).numpy(), change.numpy())
            for row, change in enumerate(batch.changes)
        }
        return changes_by_token(curves, rounding(network))

    def stage(self) -> Stage:
        alt = _("Largest change of a logit against each prompt alone")
        results = [Plot("pad_changes", self.changes_figure(), alt), next_plot(self)]
        return Stage(*(Row([strip(self, row)], 0.62) for row in (0, 1)), Row(results, 1))

    def actions(self) -> None:
        for tokens in self.tokenized():
            if tokens.total > len(tokens.token_ids):
                words = _("The first {shown} of {total} tokens are shown; the text was cut there.")
                st.caption(words.format(shown=len(tokens.token_ids), total=tokens.total))

    def below(self) -> None:
        network, rows = causal_network(self.network_name), self.rows
        arithmetic(self)
        note(self, "padding")
        note(self, "padding_changes")
        longest = self.batch.batch.input_ids.shape[1]
        if network.changes_beyond is not None and longest > network.changes_beyond:
            words = _(
                "The frequencies of this network follow the length of the batch beyond {most} tokens: "
                "in this batch they change the logits of shorter rows, whatever is masked."
            )
            st.info(words.format(most=network.changes_beyond))
        st.dataframe(cost_table(self.network_name, rows), hide_index=True)
        note(self, "padding_costs")
        checked_against(checks(network, rows))
        take_with_you(
            self,
            lambda: change_table(self.batch),
            self.changes_figure,
            snippet(self.network_name, rows, self.given, self.pad_side),
        )


def strip(view: PaddingABatch, row: int) -> Plot:
    """One row of the batch: tokens, attention mask, position ids as the network is given them."""
    network, batch = causal_network(view.network_name), view.batch.batch
    mask = batch.attention_mask if view.given.mask else torch.ones_like(batch.attention_mask)
    words = iter(labels(network.tokenizer, view.rows[row]))
    figure = token_rows(
        [next(words) if real else "[pad]" for real in batch.real[row].tolist()],
        {
            "input_ids": batch.input_ids[row].tolist(),
            "attention_mask": mask[row].tolist(),
            "position_ids": positions_seen(batch, view.given)[row].tolist(),
        },
        np.where(batch.real[row].numpy(), row, -1),
    )
    alt = _("{prompt}: its tokens with ids, attention mask and position ids")
    return Plot(f"pad_row{row}", figure, alt.format(prompt=prompt_name(row)), least=120)


def next_plot(view: PaddingABatch) -> Plot:
    """What comes after one of the prompts, alone and in the batch."""
    change = view.batch.next_token(view.pad_prompt, view.pad_last_column)
    shown = change.before.maximum(change.after).topk(TOP_TOKENS).indices.sort().values
    figure = next_token_bars(
        token_labels(view.network_name, change.ids[shown].tolist()),
        change.before[shown].numpy(),
        change.after[shown].numpy(),
        changed=True,
        kl=change.kl,
        names=(_("alone"), _("in the batch")),
    )
    return Plot("pad_next", figure, _("Probabilities of the next token"))


def arithmetic(view: PaddingABatch) -> None:
    """How the position id of the shorter prompt's first token comes about, and the three results."""
    batch = view.batch.batch
    row = int(np.argmin([len(tokens) for tokens in view.rows]))
    first = int(batch.columns(row)[0])
    given = int(positions_seen(batch, view.given)[row, first])
    before = "+".join(["0"] * min(first, 4)) + (r"+\dots+0" if first > 4 else "")
    total = f"{before}+1" if first else "1"
    show_formula(
        r"p_i=\textstyle\sum_{j\le i} m_j-1,"
        rf"\qquad p_{{{first}}}=({total})-1=0,\qquad \mathrm{{position\_ids}}[{first}]={given}"
    )
    columns = st.columns(3)
    columns[0].metric(_("Largest change of a logit"), f"{largest_of(view.batch.changes):.2e}")
    for prompt in range(2):
        name = _("KL of the next token, {prompt}").format(prompt=prompt_name(prompt))
        columns[prompt + 1].metric(name, f"{view.batch.next_token(prompt, view.pad_last_column).kl:.4f}")


@st.cache_data(max_entries=32, show_spinner=False)
def all_costs(name: str, rows: tuple[tuple[int, ...], ...]) -> tuple[tuple[PaddingCost, ...], ...]:
    """Every way to forget, on the chosen network and on a random one with learned positions."""
    network = causal_network(name)
    random = learned_positions_network(network.vocabulary, MOST_TOKENS, SEED)
    token = pad_token_of(network.tokenizer)
    return padding_costs(network.model, rows, token), padding_costs(random, rows, token)


def forgotten(given: Given) -> str:
    if given.mask:
        return _("nothing") if given.positions else _("position ids")
    return _("the mask") if given.positions else _("both")


def cost_table(network_name: str, rows: tuple[tuple[int, ...], ...]) -> pd.DataFrame:
    own, random = all_costs(network_name, rows)
    table: dict[str, list[str]] = {_("Forgotten"): [forgotten(cost.given) for cost in own[:4]]}
    learned = _("random GPT-2 with learned positions, seed {seed}").format(seed=SEED)
    for network, costs in ((network_name, own), (learned, random)):
        for side in SIDES:
            largest = [f"{cost.largest:.1e}" for cost in costs if cost.side == side]
            table[f"{network}: {side_label(side)}"] = largest
    return pd.DataFrame(table)


def checks(network: Network, rows: tuple[tuple[int, ...], ...]) -> list[Check]:
    """A batch padded on the left, as it should be: against generate, and against each prompt alone."""
    batch = pad(rows, pad_token_of(network.tokenizer), "left")
    logits = batch_logits(network.model, batch)
    settings = GenerationConfig(
        max_new_tokens=1,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
        pad_token_id=pad_token_of(network.tokenizer),
    )
    model: Any = network.model  # generate comes from a mixin that its type does not show
    with torch.no_grad():
        generated = model.generate(
            batch.input_ids.to(network.device),
            attention_mask=batch.attention_mask.to(network.device),
            generation_config=settings,
        )
    expected = generated.logits[0].float().cpu()
    alone = largest_of(differences(logits, batch, alone_logits(network.model, rows)))
    return [
        Check(
            _("the logits that transformers' generate reads from the left-padded batch"),
            largest_difference(logits[:, -1], expected),
            rounding(network),
        ),
        Check(_("each prompt alone, in the network's own pass"), alone, rounding(network)),
    ]


def change_table(batch: Batch) -> pd.DataFrame:
    """A row a real token: where it stands, what the network is given, and its largest change."""
    parts = []
    for row, change in enumerate(batch.changes):
        columns = batch.batch.columns(row)
        parts.append(
            pd.DataFrame(
                {
                    "row": row,
                    "column": columns.numpy(),
                    "input_id": batch.rows[row],
                    "position_id": positions_seen(batch.batch, batch.given)[row, columns].numpy(),
                    "largest_change": change.numpy(),
                }
            )
        )
    return pd.concat(parts)


def snippet(network: str, rows: tuple[tuple[int, ...], ...], given: Given, side: Side) -> str:
    """Python that repeats the largest changes of the logits."""
    return f"""from models.networks.loading import load
from models.masks.padding import Given, alone_logits, batch_logits, differences, pad, pad_token_of

network = load({network!r})
rows = {rows!r}
batch = pad(rows, pad_token_of(network.tokenizer), {side!r})
logits = batch_logits(network.model, batch, {given!r})
changes = differences(logits, batch, alone_logits(network.model, rows))
print(batch.position_ids, *changes, sep="\\n")
"""
