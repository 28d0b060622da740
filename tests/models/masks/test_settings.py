"""models.masks.settings: what a person sets becomes the mask of both libraries, or one sentence."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close
from transformers import masking_utils as theirs

from models.errors import InputError
from models.masks.settings import (
    BASES,
    MOST_CELLS,
    PATTERNS,
    SIDES,
    MaskSettings,
    parse_cells,
    parse_starts,
    switched,
    write_cells,
)

NUMBERS = st.integers(1, 30)
CELLS = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), unique=True, max_size=8).map(tuple)
SETTINGS = st.fixed_dictionaries(
    {
        "base": st.sampled_from(BASES),
        "pattern": st.sampled_from(PATTERNS),
        "side": st.sampled_from(SIDES),
        "counts_itself": st.booleans(),
        "starts": st.sets(NUMBERS, max_size=3).map(sorted).map(tuple),
        **dict.fromkeys(("prefix", "window", "sinks", "step", "block", "padded"), NUMBERS),
    }
)


def expected(settings: dict, n: int) -> torch.Tensor:
    """The same mask, put together from transformers' own functions where it has one."""

    def first(count):
        return lambda batch, head, query, key: key < count

    real = {"none": range(n), "left": range(settings["padded"], n), "right": range(n - settings["padded"])}
    attention_mask = torch.zeros(1, n, dtype=torch.bool)
    attention_mask[0, list(real[settings["side"]])] = True
    documents = torch.tensor([[sum(i >= start for start in settings["starts"]) for i in range(n)]])
    prefix = settings["prefix"]
    base = {
        "causal": theirs.causal_mask_function,
        "bidirectional": theirs.bidirectional_mask_function,
        "prefix": theirs.or_masks(theirs.causal_mask_function, first(prefix)),
        "cross": lambda batch, head, query, key: (key < prefix) & (query >= prefix),
    }[settings["base"]]
    reach = settings["window"] - settings["counts_itself"]
    window = theirs.sliding_window_bidirectional_overlay(reach)
    pattern = {
        "all": theirs.bidirectional_mask_function,
        "window": window,
        "lambda": theirs.or_masks(window, first(settings["sinks"])),
        "dilated": theirs.and_masks(window, lambda b, h, q, k: (q - k) % settings["step"] == 0),
        "blocks": theirs.chunked_overlay(settings["block"], torch.zeros(1, dtype=torch.long)),
    }[settings["pattern"]]
    function = theirs.and_masks(base, pattern, theirs.packed_sequence_mask_function(documents))
    return theirs.sdpa_mask(
        1, n, n, mask_function=function, attention_mask=attention_mask, allow_is_causal_skip=False
    )[0, 0]


@given(SETTINGS, st.integers(1, 40))
def test_settings_are_the_masks_of_transformers(settings, n):
    assert_close(MaskSettings(**settings).mask(n).to_tensor(n, n), expected(settings, n))


@given(SETTINGS, CELLS, st.integers(1, 40))
def test_cells_are_switched_and_those_outside_of_the_text_left_out(settings, cells, n):
    plain = MaskSettings(**settings).mask(n).to_tensor(n, n)
    edited = MaskSettings(**settings, cells=cells).mask(n).to_tensor(n, n)
    inside = {cell for cell in cells if max(cell) < n}
    assert {tuple(cell) for cell in torch.nonzero(plain != edited).tolist()} == inside


def test_the_first_visit_is_the_causal_mask():
    assert_close(MaskSettings().mask(7).to_tensor(7, 7), torch.ones(7, 7, dtype=torch.bool).tril())


@given(CELLS, st.tuples(st.integers(0, 50), st.integers(0, 50)))
def test_cells_are_written_and_read_again_and_a_second_click_undoes_the_first(cells, cell):
    assert parse_cells(write_cells(cells)) == cells
    again = switched(switched(cells, cell), cell)
    assert set(again) == set(cells)
    assert (cell in switched(cells, cell)) == (cell not in cells)


@pytest.mark.parametrize("text", ["3", "3.5.7", "a.b", "-1.2", "3,5", "1.2 3.4", "٣.٤", "1.234567"])
def test_cells_that_cannot_be_read_get_a_sentence(text):
    with pytest.raises(InputError, match="such as"):
        parse_cells(text)


def test_too_many_cells_get_a_sentence():
    many = tuple((0, column) for column in range(MOST_CELLS))
    assert parse_cells(write_cells(many)) == many
    with pytest.raises(InputError, match=str(MOST_CELLS)):
        parse_cells(write_cells((*many, (1, 1))))
    with pytest.raises(InputError, match=str(MOST_CELLS)):
        switched(many, (1, 1))
    assert len(switched(many, (0, 0))) == MOST_CELLS - 1


@pytest.mark.parametrize(
    ("text", "starts"), [("", ()), ("12, 30", (12, 30)), (" 5 9，11 ", (5, 9, 11)), ("999999", (999999,))]
)
def test_starts_of_documents(text, starts):
    assert parse_starts(text) == starts


@pytest.mark.parametrize("text", ["x", "1.5", "-3", "0", "5, 3", "7 7", "1, 2, 2", "²"])
def test_starts_that_are_no_numbers_or_overlap_get_a_sentence(text):
    with pytest.raises(InputError, match=r"\.$"):
        parse_starts(text)


@pytest.mark.parametrize(
    "change", [{"window": 0}, {"step": 0}, {"block": 0}, {"sinks": -1}, {"prefix": -1}]
)
def test_numbers_that_make_no_mask_get_a_sentence(change):
    pattern = {"window": "window", "step": "dilated", "block": "blocks", "sinks": "lambda"}
    settings = {"base": "prefix", "pattern": pattern.get(next(iter(change)), "all")} | change
    with pytest.raises(InputError, match="accepted"):
        MaskSettings(**settings).mask(5)
