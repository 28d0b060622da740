"""The masks page: its mask is that of transformers, and the network's answer to it too."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer
from transformers import masking_utils as theirs

from components.catalogue import lesson
from components.panels.masks.effects import switch
from components.panels.masks.lab import MaskLab
from components.words import LANGUAGES
from models.networks.catalogue import EMBEDDED
from models.networks.loading import load
from tests.pages.masks_screen import TEXT, VIEWS, address, divergence, maps, masks, matrix
from tests.pages.screen import CHECK, captions, figures, live, open_page, said

NETWORK = EMBEDDED / "loupe-llama"


def token_ids() -> torch.Tensor:
    return AutoTokenizer.from_pretrained(NETWORK)(TEXT, return_tensors="pt").input_ids


def run_eager(visible: np.ndarray):
    """The network under a mask, by transformers alone."""
    model = AutoModelForCausalLM.from_pretrained(NETWORK, attn_implementation="eager").eval()
    added = torch.zeros(visible.shape).masked_fill(~torch.tensor(visible), torch.finfo(torch.float32).min)
    with torch.no_grad():
        return model(token_ids(), attention_mask=added[None, None], output_attentions=True)


# Every view


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("view", VIEWS)
def test_every_view_opens_by_its_address_in_every_language(view, language):
    screen = open_page("masks", masks_view=view, lang=language)
    assert not screen.exception
    assert said(screen) == []
    assert screen.title[0].value == lesson("masks", language).title
    assert set(figures(screen)) == VIEWS[view]
    assert all(data["alt"] for data in live(screen).values() if "figure" in data)


def test_the_first_visit_shows_a_mask_that_changes_something():
    screen = open_page("masks")
    assert said(screen) == []
    window = MaskLab.at().window
    n = len(matrix(screen))
    np.testing.assert_array_equal(
        matrix(screen), np.tril(np.ones((n, n))) * (np.triu(np.ones((n, n)), 1 - window)) > 0
    )
    assert divergence(screen) > 0


def test_views_are_changed_on_the_page_and_keep_the_mask():
    screen = masks(pattern="lambda", sinks="2", window="3", cells="4.1")
    before = matrix(screen)
    for view in (*VIEWS, "lab"):
        screen.session_state["masks_view"] = view
        screen.run()
        assert not screen.exception
        assert set(figures(screen)) == VIEWS[view]
    np.testing.assert_array_equal(matrix(screen), before)


# The mask, and the network under it


@pytest.mark.parametrize(
    ("query", "function"),
    [
        ({"pattern": "all"}, theirs.causal_mask_function),
        ({"pattern": "window", "window": "3"}, theirs.sliding_window_causal_mask_function(3)),
        (
            {"pattern": "window", "window": "3", "counts": "others", "base": "bidirectional"},
            theirs.sliding_window_bidirectional_mask_function(3),
        ),
        (
            {"pattern": "all", "starts": "4, 9"},
            theirs.and_masks(
                theirs.causal_mask_function,
                theirs.packed_sequence_mask_function(
                    torch.bucketize(torch.arange(99), torch.tensor([4, 9]), right=True)[None]
                ),
            ),
        ),
        (
            {"pattern": "blocks", "block": "5"},
            theirs.chunked_causal_mask_function(5, torch.zeros(1, dtype=torch.long)),
        ),
    ],
    ids=["causal", "window", "window of others", "documents", "blocks"],
)
def test_the_matrix_and_the_whole_network_are_those_of_transformers(query, function):
    screen = masks(layer="2", head="1", **query)
    n = token_ids().shape[1]
    expected = theirs.sdpa_mask(1, n, n, mask_function=function, allow_is_causal_skip=False)[0, 0].numpy()
    np.testing.assert_array_equal(matrix(screen), expected)
    output = run_eager(expected)
    before, after = maps(screen)
    np.testing.assert_array_equal(np.isnan(after), ~expected)
    np.testing.assert_allclose(np.nan_to_num(after), output.attentions[2][0, 1], atol=1e-5)
    plain = run_eager(np.tril(np.ones((n, n), dtype=bool)))
    np.testing.assert_allclose(np.nan_to_num(before), plain.attentions[2][0, 1], atol=1e-5)
    first, second = figures(screen)["masks_effect"]["data"]
    for curve, result in ((first, plain), (second, output)):
        loss = cross_entropy(result.logits[0, :-1], token_ids()[0, 1:], reduction="none")
        np.testing.assert_allclose(curve["y"], loss, atol=1e-3)
    log_p, log_q = (result.logits[0, -1].log_softmax(-1) for result in (plain, output))
    assert divergence(screen) == pytest.approx(float((log_p.exp() * (log_p - log_q)).sum()), abs=2e-4)


def test_the_networks_own_mask_changes_nothing():
    screen = masks(pattern="all")
    assert divergence(screen) == 0
    before, after = maps(screen)
    np.testing.assert_array_equal(before, after)
    assert len(figures(screen)["masks_next"]["data"]) == 1


def test_a_mask_in_one_layer_leaves_the_layers_before_it():
    screen = masks(pattern="window", window="2", where="2", layer="1")
    before, after = maps(screen)
    np.testing.assert_array_equal(before, after)
    later_before, later_after = maps(masks(pattern="window", window="2", where="2", layer="2"))
    assert np.isnan(later_after).sum() > np.isnan(later_before).sum()


@pytest.mark.parametrize("stage", ["scaled", "masked", "softmax"])
def test_stages_of_the_head(stage):
    screen = masks(stage=stage, pattern="window", window="3")
    _before, after = maps(screen)
    hidden = np.zeros_like(matrix(screen)) if stage == "scaled" else ~matrix(screen)
    np.testing.assert_array_equal(np.isnan(after), hidden)
    if stage == "softmax":
        np.testing.assert_allclose(np.nansum(after, axis=1), 1, atol=1e-5)


def test_an_encoder_shows_how_its_vectors_turn():
    screen = masks(network="all-MiniLM-L6-v2", base="bidirectional", pattern="window", window="2")
    assert said(screen) == []
    assert set(figures(screen)) == VIEWS["lab"] - {"masks_next"}
    folder = load("all-MiniLM-L6-v2").model.name_or_path
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    ids = tokenizer(TEXT, return_tensors="pt").input_ids
    n = ids.shape[1]
    np.testing.assert_array_equal(matrix(screen), np.abs(np.subtract.outer(range(n), range(n))) < 2)
    window = torch.tensor(matrix(screen))[None, None]
    with torch.no_grad():
        plain, masked = (
            model.eval()(ids, attention_mask=mask).last_hidden_state[0]
            for mask in (torch.ones(1, n, dtype=torch.bool), window)
        )
    (curve,) = figures(screen)["masks_effect"]["data"]
    np.testing.assert_allclose(curve["y"], 1 - torch.cosine_similarity(plain, masked), atol=1e-4)


# Clicks


def click(screen, query: int, key: int):
    """What a click on the matrix leaves in the session, then the run that follows it."""
    cells = screen.session_state["masks_cells"] if "masks_cells" in screen.session_state else ""  # noqa: SIM401  # it has no get
    view = switch(MaskLab.at(text=TEXT, cells=cells), {"x": f"{key} · key", "y": f"{query} · query"})
    screen.session_state["masks_cells"] = view.cells
    return screen.run()


def test_switched_cells_are_marked_run_in_the_network_and_undone():
    screen = masks(pattern="all")
    plain = matrix(screen)
    last = len(plain) - 1
    click(screen, last, 1)
    click(screen, 2, 5)
    assert not matrix(screen)[last, 1]
    assert matrix(screen)[2, 5]
    assert (matrix(screen) != plain).sum() == 2
    assert divergence(screen) > 0
    colours = [shape["line"]["color"] for shape in figures(screen)["masks_matrix"]["layout"]["shapes"]]
    assert "#E69F00" in colours
    assert address(screen)["masks_cells"] == f"{last}.1,2.5"
    screen.button(key="masks_undo").click().run()
    np.testing.assert_array_equal(matrix(screen), plain)
    assert address(screen)["masks_cells"] is None


def test_cells_beyond_the_text_wait_for_a_longer_one():
    screen = masks(pattern="all", cells="3.1,60.2")
    assert said(screen) == []
    assert (matrix(screen) != np.tril(np.ones_like(matrix(screen)))).sum() == 1
    assert address(screen)["masks_cells"] == "3.1,60.2"


# Rows that see nothing


@pytest.mark.parametrize("query", [{"side": "left", "padded": "3"}, {"base": "cross", "prefix": "3"}])
def test_rows_that_see_nothing_are_flagged_and_even(query):
    screen = masks(pattern="all", **query)
    assert said(screen) == []
    layout = figures(screen)["masks_matrix"]["layout"]
    assert "3 rows see nothing" in layout["title"]["text"]
    assert sum(text.startswith("∅") for text in layout["yaxis"]["ticktext"]) == 3
    _before, after = maps(screen)
    np.testing.assert_allclose(after[:3], 1 / len(after), atol=1e-6)
    assert not np.isnan(after[:3]).any()
    np.testing.assert_array_equal(np.isnan(after[3:]), ~matrix(screen)[3:])


def test_when_all_tokens_are_padding_every_number_stays_finite():
    screen = masks(pattern="all", side="left", padded="1000")
    assert said(screen) == []
    assert not matrix(screen).any()
    assert np.isfinite(divergence(screen))
    assert all(np.isfinite(curve["y"]).all() for curve in figures(screen)["masks_effect"]["data"])
    assert "nan" not in " ".join(captions(screen)).lower()
    assert any("sees nothing" in caption for caption in captions(screen))


def test_what_libraries_give_is_in_the_table():
    rows = masks(view="hiding").dataframe[0].value.set_index("Computed by")["Output"]
    assert rows["softmax(−∞)"] == rows["softmax(finfo.min + finfo.min)"] == "NaN"
    assert rows["torch SDPA, bool"] == rows["FlexAttention"] == "zero"
    assert rows["transformers eager"].startswith("the mean")


def test_only_infinity_hides():
    screen = masks(view="hiding", pattern="window", window="2", query="9")
    infinity, finite, score, weight = (curve["y"] for curve in figures(screen)["masks_ways"]["data"])
    visible = np.zeros(len(infinity), dtype=bool)
    visible[[8, 9]] = True
    assert infinity[~visible].sum() == 0
    assert infinity.sum() == pytest.approx(1, abs=1e-5)
    assert score[~visible].sum() > 0.5
    assert weight[~visible].sum() == 0
    assert weight.sum() < 0.9
    table = next(text.value for text in screen.markdown if "Sum of the row" in text.value)
    assert f"{score[~visible].sum():.4f}" in table
    np.testing.assert_allclose(finite, infinity, atol=1e-6)  # −100 lies far below this row's scores
    lowered = figures(masks(view="hiding", pattern="window", window="2", query="9", lowered="150"))
    same, finite, *_others = (curve["y"] for curve in lowered["masks_ways"]["data"])
    np.testing.assert_allclose(same, infinity, atol=1e-4)
    assert finite[~visible].sum() > 0.99


# Checks


@pytest.mark.parametrize(("view", "count"), [("lab", 3), ("hiding", 1), ("cost", 1), ("code", 2)])
@pytest.mark.parametrize("query", [{}, {"side": "left", "padded": "2"}, {"cells": "3.9,5.1"}])
def test_checks_are_made_and_hold(view, count, query):
    screen = masks(view=view, **query)
    checks = [found for found in map(CHECK.match, captions(screen)) if found]
    assert len(checks) == count
    assert all(float(found.group(1)) <= float(found.group(2)) for found in checks)


def test_a_check_that_fails_is_shown_in_red(monkeypatch):
    monkeypatch.setattr(
        "components.panels.masks.details.difference_from_sdpa_where_seen", lambda _record: 0.5
    )
    (failed,) = masks().error
    assert failed.value.startswith("This check failed.")


# Other views


def test_what_a_window_keeps_and_skips():
    screen = masks(view="cost", pattern="window", window="8", length="64", kernel="16")
    full, kept = (curve["y"] for curve in figures(screen)["masks_kept"]["data"])
    np.testing.assert_array_equal(full, np.arange(1, 65))
    np.testing.assert_array_equal(kept, np.minimum(np.arange(1, 65), 8))
    blocks = figures(screen)["masks_blocks"]["data"][0]["z"]
    np.testing.assert_array_equal(blocks, np.eye(4) + np.eye(4, k=-1))
    table = next(text.value for text in screen.markdown if "Visible pairs" in text.value)
    assert f"| {8 * 64 - 28:,} | {64 * 65 // 2:,} |" in table


def test_tokens_that_read_later_ones_are_counted():
    screen = masks(view="cost", base="prefix", pattern="all", prefix="10", length="64")
    assert any(caption.startswith("9 tokens read later ones") for caption in captions(screen))


def test_order_without_positions():
    causal_with, causal, bidirectional = (
        curve["y"] for curve in figures(masks(view="order"))["masks_order"]["data"]
    )
    assert (bidirectional < 1e-5).all()
    assert causal[0] < 1e-5 < causal[1]
    assert (causal_with > 1e-3).all()
    other = figures(masks(view="order", seed="5"))["masks_order"]["data"][1]["y"]
    assert not np.allclose(other[1:], causal[1:])


@pytest.mark.parametrize("library", ["transformers", "sdpa", "flex"])
def test_the_code_holds_the_mask(library):
    code, taken = masks(view="code", library=library, pattern="lambda", window="5", sinks="2").code
    assert taken.value == code.value
    assert "(kv_idx <= q_idx) & ((kv_idx < 2) | ((q_idx - kv_idx).abs() < 5))" in code.value
    compile(code.value, "snippet", "exec")
