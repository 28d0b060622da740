"""Training: batches, the curriculum of copies, and a run that is stopped and goes on."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from models.networks.windows import (
    START_TOKEN,
    repeated_tokens,
    split_text,
    start_token_of,
    text_batch,
    windows_with_overlap,
)
from models.numerics.token_losses import IGNORED_LABEL
from models.training.evaluation import nats_per_character
from models.training.recipe import Recipe
from models.training.resumable import train, warmup_and_cosine
from models.training.training_data import copy_batch, train_tokenizer
from models.training.training_run import Run

TALE = "the miller walked along the river and sang to the old grey mare while it rained all morning"
WORDS = TALE.split()


def story(lines: int, seed: int = 0) -> str:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(0, len(WORDS), (lines, 12), generator=generator)
    return "".join(" ".join(WORDS[word] for word in row) + ".\n" for row in rows)


TINY = Recipe(
    name="tiny",
    vocabulary_size=320,
    width=16,
    layers=1,
    query_heads=2,
    key_heads=1,
    mlp_width=24,
    context=32,
    steps=6,
    text_rows=2,
    copy_rows=2,
    warmup=2,
)


@settings(deadline=None)
@given(lines=st.integers(100, 200), every=st.integers(2, 20))
def test_split_text_loses_nothing_and_tears_no_line(lines: int, every: int):
    text = story(lines)
    split = split_text(text, block_characters=200, every=every)
    assert len(split.training) + len(split.held_out) == len(text)
    assert split.held_out.endswith("\n")
    assert set(split.held_out.splitlines()) <= set(text.splitlines())
    assert len(split.held_out) <= 2 * len(text) / every + 400


def test_split_text_refuses_a_text_too_short_to_hold_out_anything():
    with pytest.raises(ValueError, match="needed to hold one out"):
        split_text("One line.\n")


def test_tokenizer_begins_with_the_start_token_and_gives_text_back():
    tokenizer = train_tokenizer(story(200), 320)
    text = "The grey mare — 灰色的马 🐎\n"
    ids = tokenizer.encode(text).ids
    assert ids[0] == start_token_of(tokenizer)
    assert tokenizer.decode(ids[1:], skip_special_tokens=False) == text


def test_start_token_of_refuses_a_tokenizer_without_one():
    other = Tokenizer.from_str(train_tokenizer(story(60), 300).to_str().replace(START_TOKEN, "<|other|>"))
    with pytest.raises(ValueError, match="no token"):
        start_token_of(other)


@given(rows=st.integers(1, 6), length=st.integers(3, 20), seed=st.integers(0, 99))
def test_text_batch_holds_windows_of_the_text(rows: int, length: int, seed: int):
    tokens = torch.arange(100, 160)
    batch = text_batch(tokens, rows, length, 7, torch.Generator().manual_seed(seed))
    assert batch.shape == (rows, length)
    assert (batch[:, 0] == 7).all()
    assert (batch[:, 1:].diff(dim=1) == 1).all()  # consecutive tokens of the text


@given(shortest=st.integers(2, 5), more=st.integers(0, 12), seed=st.integers(0, 99))
def test_copy_batch_repeats_and_hides_the_first_copy(shortest: int, more: int, seed: int):
    periods = (shortest, shortest + more)
    copies, labels = copy_batch(8, 61, periods, 500, 499, torch.Generator().manual_seed(seed))
    for row, label in zip(copies.tolist(), labels.tolist(), strict=True):
        first = label.index(next(value for value in label if value != IGNORED_LABEL))
        period = first - 1  # the start token stands before
        assert periods[0] <= period <= periods[1]
        assert row[0] == 499
        assert row[1 + period :] == row[1:-period]
        assert label[first:] == row[first:]


def test_repeated_tokens_are_different_within_a_copy():
    tokens = repeated_tokens(list(range(50)), period=20, copies=3, start_token=99, seed=4)
    assert tokens[0] == 99
    assert len(set(tokens[1:21])) == 20
    assert tokens[1:21] == tokens[21:41] == tokens[41:61]


@given(count=st.integers(2, 90), length=st.integers(3, 30), part=st.floats(0.1, 1.0))
def test_windows_score_every_token_once(count: int, length: int, part: float):
    stride = max(1, int((length - 1) * part))
    tokens = torch.arange(count)
    scored: list[int] = []
    for window, fresh in windows_with_overlap(tokens, length, stride, 999):
        assert window[0] == 999
        assert len(window) <= length
        scored += window[1:][-fresh:].tolist()
    assert scored == list(range(count))


def test_copies_grow_only_when_they_are_learned():
    recipe = Recipe()
    assert recipe.grown(8, copy_loss=recipe.copies_learned) == 8
    assert recipe.grown(8, copy_loss=0.0) == 9
    assert recipe.grown(64, copy_loss=0.0) == 64
    assert all(recipe.copies_due(step, 8) for step in range(10))
    assert sum(recipe.copies_due(step, 64) for step in range(40)) == 40 // recipe.copies_later


def test_learning_rate_warms_up_and_ends_low():
    recipe = Recipe()
    factors = [warmup_and_cosine(step, recipe.warmup, recipe.steps) for step in range(recipe.steps)]
    assert max(factors) == pytest.approx(1.0)
    assert factors[: recipe.warmup] == sorted(factors[: recipe.warmup])
    assert factors[-1] == pytest.approx(0.02, abs=1e-3)


def test_a_stopped_run_goes_on_as_if_it_had_not_been_stopped(tmp_path):
    text = story(4_000)
    whole = Run(TINY, text, tmp_path / "whole", "cpu")
    train(whole, checkpoint_every=100)

    stopped = Run(TINY, text, tmp_path / "parts", "cpu")
    for _ in range(3):
        stopped.train_step()
    stopped.save()
    resumed = Run(TINY, text, tmp_path / "parts", "cpu")
    train(resumed, checkpoint_every=100)

    assert resumed.step == whole.step == TINY.steps
    for name, parameter in whole.network.state_dict().items():
        torch.testing.assert_close(resumed.network.state_dict()[name], parameter, rtol=0, atol=0)


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path):
    text = story(4_000)
    run = Run(TINY, text, tmp_path, "cpu")
    run.save()
    other = Run(dataclasses.replace(TINY, seed=1), text, tmp_path, "cpu")
    with pytest.raises(ValueError, match="another recipe"):
        other.resume()


def test_nats_per_character_equals_transformers_loss_on_one_window(tmp_path):
    """Oracle: the loss that transformers computes from labels, on a text that fits one window."""
    run = Run(TINY, story(4_000), tmp_path, "cpu")
    run.network.eval()
    text = "the miller sang"
    ids = torch.tensor([run.tokenizer.encode(text).ids])
    expected = run.network(ids, labels=ids).loss.item() * (ids.shape[1] - 1) / len(text)
    measured = nats_per_character(run.network, run.tokenizer, text, context=32, stride=16)
    assert measured == pytest.approx(expected, rel=1e-5)
