"""Two prompts of different length as one batch, and what padding does to each of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch
from torch import Tensor
from transformers import GenerationConfig

from components.controls import choose, switch, text_field
from components.figures.attention import next_token_bars
from components.figures.masks_batch import changes_by_token, token_rows
from components.live.figure import live_figure
from components.page import Check, Page, checked_against, take_with_you
from components.panels import panel
from components.panels.masks.causal import causal_network, rounding
from components.panels.network.text import Choice
from components.take.batches import padding as padding_script
from components.take.script import Script
from components.traces import token_labels
from components.words import _
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
from models.networks.tokens import labels, tokenize
from models.numerics.comparison import largest_difference

MOST_TOKENS = 48  # of a prompt: more cannot be read in one line
TOP_TOKENS = 6
SEED = 0  # of the random network with learned positions


@dataclass(frozen=True)
class Batch:
    """Everything that the figures show, computed once."""

    rows: tuple[tuple[int, ...], ...]
    batch: PaddedBatch
    given: Given
    alone: list[Tensor]
    logits: Tensor
    read_last_column: bool

    @property
    def changes(self) -> list[Tensor]:
        return differences(self.logits, self.batch, self.alone)

    def next_token(self, row: int) -> NextTokenChange:
        """The next token of a prompt alone, and as it is read from the batch."""
        column = -1 if self.read_last_column else int(self.batch.columns(row)[-1])
        return compare_next_token(self.alone[row][-1], self.logits[row, column], TOP_TOKENS)


@panel
def padding(page: Page, choice: Choice) -> None:
    network = causal_network(choice.network)
    side, given, read_last_column = _controls(page)
    rows = _rows(page, network)
    batch = pad(rows, pad_token_of(network.tokenizer), side)
    seen = Batch(
        rows,
        batch,
        given,
        alone_logits(network.model, rows),
        batch_logits(network.model, batch, given),
        read_last_column,
    )
    _strips(page, network, seen)
    page.note("padding")
    _results(page, choice, network, seen)
    _arithmetic(seen)
    _costs(page, choice, rows)
    checked_against(_checks(network, rows))
    _take_away(page, choice, network, seen, side)


def _controls(page: Page) -> tuple[Side, Given, bool]:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        side = choose(
            _("Padding side"),
            SIDES,
            f"{page.name}_pad_side",
            lambda side: _("left") if side == "left" else _("right"),
            default="left",
            style="segments",
        )
        mask = switch(
            _("Forget the mask"),
            f"{page.name}_pad_no_mask",
            help=_("A mask of ones: padding is read like text."),
        )
        positions = switch(
            _("Forget position ids"),
            f"{page.name}_pad_no_positions",
            help=_("The forward pass then counts columns, padding included."),
        )
        last_column = switch(
            _("Read the last column"),
            f"{page.name}_pad_last_column",
            help=_("Take logits[:, -1] for the next token, as generate does, wherever the prompt ends."),
        )
    return side, Given(not mask, not positions), last_column


def _rows(page: Page, network: Network) -> tuple[tuple[int, ...], ...]:
    """The tokens of both prompts, cut where a line of the figure ends."""
    columns = st.columns(2, gap="medium")
    texts = []
    names = {"pad_first": _("First prompt"), "pad_second": _("Second prompt")}
    for column, (name, title) in zip(columns, names.items(), strict=True):
        with column:
            texts.append(text_field(title, f"{page.name}_{name}", page.default(name)))
    most = min(MOST_TOKENS, network.context)
    found = [tokenize(network.tokenizer, text, most) for text in texts]
    for column, tokens in zip(columns, found, strict=True):
        if tokens.total > len(tokens.token_ids):
            shown = _("The first {shown} of {total} tokens are shown; the text was cut there.")
            column.caption(shown.format(shown=len(tokens.token_ids), total=tokens.total))
    return tuple(tokens.token_ids for tokens in found)


def prompt_name(row: int) -> str:
    return _("first prompt") if row == 0 else _("second prompt")


def _strips(page: Page, network: Network, seen: Batch) -> None:
    """Each row of the batch: tokens, attention mask, position ids as the network is given them."""
    batch, positions = seen.batch, positions_seen(seen.batch, seen.given)
    mask = batch.attention_mask if seen.given.mask else torch.ones_like(batch.attention_mask)
    for row in range(len(seen.rows)):
        words = iter(labels(network.tokenizer, seen.rows[row]))
        shown = [next(words) if real else "[pad]" for real in batch.real[row].tolist()]
        figure = token_rows(
            shown,
            {
                "input_ids": batch.input_ids[row].tolist(),
                "attention_mask": mask[row].tolist(),
                "position_ids": positions[row].tolist(),
            },
            np.where(batch.real[row].numpy(), row, -1),
            height=176,
        )
        alt = _("{prompt}: its tokens with ids, attention mask and position ids")
        live_figure(figure, f"{page.name}_pad_row{row}", alt.format(prompt=prompt_name(row)))


def _results(page: Page, choice: Choice, network: Network, seen: Batch) -> None:
    left, right = st.columns(2, gap="medium")
    with left:
        alt = _("Largest change of a logit against each prompt alone")
        live_figure(changes_figure(network, seen), f"{page.name}_pad_changes", alt)
        page.note("padding_changes")
    with right:
        _next_token(page, choice, seen)


def changes_figure(network: Network, seen: Batch) -> go.Figure:
    curves = {
        prompt_name(row): (seen.batch.columns(row).numpy(), change.numpy())
        for row, change in enumerate(seen.changes)
    }
    return changes_by_token(curves, rounding(network))


def _next_token(page: Page, choice: Choice, seen: Batch) -> None:
    """What comes after one of the prompts, alone and in the batch."""
    row = choose(
        _("Next token of"), (0, 1), f"{page.name}_pad_prompt", prompt_name, default=1, style="segments"
    )
    change = seen.next_token(row)
    shown = change.before.maximum(change.after).topk(TOP_TOKENS).indices.sort().values
    figure = next_token_bars(
        token_labels(choice.network, change.ids[shown].tolist()),
        change.before[shown].numpy(),
        change.after[shown].numpy(),
        changed=True,
        kl=change.kl,
        height=300,
        names=(_("alone"), _("in the batch")),
    )
    live_figure(figure, f"{page.name}_pad_next", _("Probabilities of the next token"))


def _arithmetic(seen: Batch) -> None:
    """How the position id of the shorter prompt's first token comes about, and the three results."""
    row = int(np.argmin([len(tokens) for tokens in seen.rows]))
    first = int(seen.batch.columns(row)[0])
    given = int(positions_seen(seen.batch, seen.given)[row, first])
    before = "+".join(["0"] * min(first, 4)) + (r"+\dots+0" if first > 4 else "")
    total = f"{before}+1" if first else "1"
    st.latex(
        r"p_i=\textstyle\sum_{j\le i} m_j-1,"
        rf"\qquad p_{{{first}}}=({total})-1=0,\qquad \mathrm{{position\_ids}}[{first}]={given}"
    )
    columns = st.columns(3)
    columns[0].metric(_("Largest change of a logit"), f"{largest_of(seen.changes):.2e}")
    for row in range(2):
        name = _("KL of the next token, {prompt}").format(prompt=prompt_name(row))
        columns[row + 1].metric(name, f"{seen.next_token(row).kl:.4f}")


@st.cache_data(max_entries=32, show_spinner=False)
def _all_costs(name: str, rows: tuple[tuple[int, ...], ...]) -> tuple[tuple[PaddingCost, ...], ...]:
    """Every way to forget, on the chosen network and on a random one with learned positions."""
    network = causal_network(name)
    random = learned_positions_network(network.vocabulary, MOST_TOKENS, SEED)
    token = pad_token_of(network.tokenizer)
    return padding_costs(network.model, rows, token), padding_costs(random, rows, token)


def _forgotten(given: Given) -> str:
    if given.mask:
        return _("nothing") if given.positions else _("position ids")
    return _("the mask") if given.positions else _("both")


def _costs(page: Page, choice: Choice, rows: tuple[tuple[int, ...], ...]) -> None:
    st.dataframe(_cost_table(choice, rows), hide_index=True)
    page.note("padding_costs")


def _cost_table(choice: Choice, rows: tuple[tuple[int, ...], ...]) -> pd.DataFrame:
    own, random = _all_costs(choice.network, rows)
    names = {
        "left": _("left"),
        "right": _("right"),
    }
    table: dict[str, list[str]] = {_("Forgotten"): [_forgotten(cost.given) for cost in own[:4]]}
    learned = _("random GPT-2 with learned positions, seed {seed}").format(seed=SEED)
    for network, costs in ((choice.network, own), (learned, random)):
        for side in SIDES:
            found = [f"{cost.largest:.1e}" for cost in costs if cost.side == side]
            table[f"{network}: {names[side]}"] = found
    return pd.DataFrame(table)


def _checks(network: Network, rows: tuple[tuple[int, ...], ...]) -> list[Check]:
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


def _take_away(page: Page, choice: Choice, network: Network, seen: Batch, side: Side) -> None:
    def table() -> pd.DataFrame:
        parts = []
        for row, change in enumerate(seen.changes):
            columns = seen.batch.columns(row)
            parts.append(
                pd.DataFrame(
                    {
                        "row": row,
                        "column": columns.numpy(),
                        "input_id": seen.rows[row],
                        "position_id": positions_seen(seen.batch, seen.given)[row, columns].numpy(),
                        "largest_change": change.numpy(),
                    }
                )
            )
        return pd.concat(parts)

    key = f"{page.name}_padding"

    def python() -> Script:
        token = pad_token_of(network.tokenizer)
        return padding_script(choice.network, seen.rows, token, side, seen.given, seen.batch, seen.changes)

    take_with_you(key, table, lambda: changes_figure(network, seen), python)
