"""What the masks lesson asserts, at its links and at other settings; each test names its questions.

#empty-row is held by tests/models/masks/test_hiding.py, which asks every library on random sizes.
"""

from collections import defaultdict

import pytest
import torch
from transformers.modeling_flash_attention_utils import _process_flash_attention_kwargs

from models.attention.next_token import compare_next_token
from models.masks.algebra import Causal, SlidingWindow, encoder_decoder, prefix_lm
from models.masks.costs import MaskCost, Shape, kept_keys, mask_cost, reading_later, visible_blocks
from models.masks.effects import empty_rows
from models.masks.hiding import hide
from models.masks.order import TRIALS, order_distances
from models.masks.settings import MaskSettings
from models.networks.interventions import Intervention, Visible
from models.networks.loading import Network, load
from models.networks.texts import passages
from models.networks.tracing import Trace, trace
from models.numerics.token_losses import token_losses

SHORT = "The cat sat on the mat because the cat was tired."
TEXTS = {"short": SHORT} | {p.name: p.excerpt for p in passages() if p.language == "en"}
LONG = {p.name: p.text for p in passages() if p.language == "en"}
SHAPE = Shape(4, 6, 2, 32)


@pytest.fixture(scope="module")
def network() -> Network:
    return load("loupe-llama")


def under(
    network: Network, text: str, settings: MaskSettings, layers: frozenset[int] | None = None
) -> Trace:
    n = trace(network, text).tokens_shown
    visible = Visible.from_tensor(settings.mask(n).to_tensor(n, n))
    return trace(network, text, Intervention(visible=visible, visible_in=layers))


def loss(passed: Trace) -> float:
    return float(token_losses(passed.logits, passed.token_ids).mean())


def cost(settings: MaskSettings, length: int = 1_024, block: int = 64) -> MaskCost:
    return mask_cost(settings.rule(length).to_tensor(length, length), SHAPE, 2, block)


# Hiding


@pytest.mark.parametrize("window", [1, 2, 4, 8])
@pytest.mark.parametrize(("name", "layer", "head"), [("short", 1, 2), ("short", 0, 0), ("ferry", 3, 5)])
def test_four_ways_to_hide(network, name, layer, head, window):
    """#why-infinity and its note: at any head and window while the query sees a key."""
    base = trace(network, TEXTS[name])
    n = base.tokens_shown
    row = n // 2
    visible = MaskSettings(pattern="window", window=window).mask(n).to_tensor(n, n)[row]
    scores = base.layers[layer].scaled[head, row]
    right, zero, late = (hide(scores, visible, way) for way in ("infinity", "zero_score", "zero_weight"))
    assert float(right.sum()) == pytest.approx(1, abs=1e-5)
    assert not right[~visible].any()
    assert float(zero.sum()) == pytest.approx(1, abs=1e-5)
    assert float(zero[~visible].min()) > 0
    assert (zero[~visible].max() > zero[visible & (scores < 0)]).all()  # 0 is more than any negative score
    assert float(late.sum()) < 1
    assert not late[~visible].any()
    torch.testing.assert_close(late / late.sum(), right)  # what −∞ does by itself
    future = scores.clone()
    future[-1] += 3.0
    assert torch.equal(hide(future, visible, "infinity"), right)
    assert float(hide(future, visible, "zero_weight").sum()) < float(late.sum())  # it leaks through the sum
    for lowered in (1.0, 60.0, 200.0):  # softmax does not notice, a finite score does
        torch.testing.assert_close(hide(scores - lowered, visible, "infinity"), right, atol=1e-4, rtol=1e-4)
        on_hidden = [
            float(hide(scores - lowered, visible, *way)[~visible].sum())
            for way in (("finite", -100_000.0), ("finite", -100.0), ("zero_score",))
        ]
        assert on_hidden[0] == 0
        assert (on_hidden[1] > 0.99) == (lowered == 200)
        assert on_hidden[2] >= float(zero[~visible].sum())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_finite_fills(dtype):
    """#why-infinity, #empty-row: the least number swallows a score, two are −∞; −10,000 can lose."""
    least = torch.finfo(dtype).min
    scores = torch.tensor([3.0, -2.0, 5.0, 1.0]).to(dtype)
    visible = torch.tensor([True, True, False, False])
    filled = scores + torch.zeros_like(scores).masked_fill(~visible, least)
    torch.testing.assert_close(filled.softmax(-1), scores.masked_fill(~visible, -torch.inf).softmax(-1))
    assert torch.tensor([least, least], dtype=dtype).sum() == -torch.inf
    assert torch.tensor(-10_000.0, dtype=dtype).isfinite()
    far = torch.tensor([-12_000.0, 0.0]) + torch.tensor([0.0, -10_000.0])
    assert far.softmax(-1)[1] > 0.99  # the hidden one wins


@pytest.mark.parametrize(("padded", "empty"), [(0, 0), (1, 1), (6, 6), (1_024, 16)])
def test_rows_that_left_padding_empties(padded, empty):
    """#empty-row and the scene: as many rows as padding tokens under a causal mask; none on the right."""
    for side, count in (("left", empty), ("right", 16 if padded > 16 else 0)):
        mask = MaskSettings(side=side, padded=padded).mask(16).to_tensor(16, 16)
        assert len(empty_rows(mask)) == count


@pytest.mark.parametrize("name", ["short", "orchard"])
@pytest.mark.parametrize(
    "settings", [MaskSettings(pattern="window", window=4), MaskSettings("bidirectional")], ids=str
)
def test_what_a_mask_does_to_weights_of_the_first_layer(network, name, settings):
    """The note on arithmetic: fewer keys, larger weights, and the reverse; scores stay in layer 0."""
    base, after = trace(network, TEXTS[name]), under(network, TEXTS[name], settings)
    both = base.layers[0].visible & after.layers[0].visible
    assert torch.equal(base.layers[0].scaled, after.layers[0].scaled)
    assert not torch.equal(base.layers[2].scaled, after.layers[2].scaled)
    gained = (after.layers[0].probabilities - base.layers[0].probabilities)[:, both]
    assert (gained > -1e-6).all() if settings.base == "causal" else (gained < 1e-6).all()


def test_the_sum_over_a_row_may_grow_when_its_largest_score_is_hidden():
    """The note on arithmetic: the sum is taken relative to the largest visible score."""
    scores = torch.tensor([6.0, 1.0, 0.9, 0.8])
    sums = [(row - row.max()).exp().sum() for row in (scores, scores[1:])]
    assert sums[1] > sums[0]


# Who may read whom


@pytest.mark.parametrize("n", [2, 7, 40])
@pytest.mark.parametrize("source", [0, 1, 5])
def test_encoder_and_decoder_in_one_matrix_are_a_prefix_lm(n, source):
    """#who-sees-what."""
    assert torch.equal(encoder_decoder(source).to_tensor(n, n), prefix_lm(source).to_tensor(n, n))
    rectangle = MaskSettings("cross", prefix=source).mask(n).to_tensor(n, n)
    assert int(rectangle.sum()) == max(0, n - source) * min(source, n)


@pytest.mark.parametrize("name", LONG)
def test_a_causal_network_under_other_masks_on_a_long_text(network, name):
    """#who-sees-what, #look-ahead: on 256 tokens; a short prefix hardly matters."""
    base = trace(network, LONG[name])
    n = base.tokens_shown
    assert n == 256
    rises = [
        loss(under(network, LONG[name], settings)) - loss(base)
        for settings in (MaskSettings("bidirectional"), MaskSettings("prefix", prefix=n // 2))
    ]
    assert rises[0] > 0.2
    assert rises[1] > 0.02
    assert abs(loss(under(network, LONG[name], MaskSettings("prefix", prefix=6))) - loss(base)) < 0.05


def test_on_short_texts_either_may_come_out_ahead(network):
    """#who-sees-what, #look-ahead."""
    changes = {
        name: loss(under(network, text, MaskSettings("bidirectional"))) - loss(trace(network, text))
        for name, text in TEXTS.items()
    }
    assert min(changes.values()) < -0.01
    assert max(changes.values()) > 0.1
    base, after = trace(network, SHORT), under(network, SHORT, MaskSettings("bidirectional"))
    moved = token_losses(after.logits, after.token_ids) - token_losses(base.logits, base.token_ids)
    assert (moved > 0).any()
    assert (moved < 0).any()


@pytest.mark.parametrize(("query", "key"), [(7, 8), (3, 12), (0, 15)])
@pytest.mark.parametrize("layer", [0, 3])
def test_one_pair_above_the_diagonal_leaks(network, query, key, layer):
    """#detours, #look-ahead: in a single layer is enough, and nothing before it moves."""
    ids = trace(network, SHORT)
    settings = MaskSettings(cells=((query, key),))
    after = under(network, SHORT, settings, frozenset({layer}))
    moved = (after.logits - ids.logits).abs().amax(-1)
    assert float(moved[query]) > 1e-3
    assert not (moved[:query] > 1e-4).any()


@pytest.mark.parametrize(("name", "most"), [("short", 0.05), ("lighthouse", 0.02), ("clockmaker", 0.02)])
def test_one_hidden_pair_of_the_last_row_moves_the_next_token_little(network, name, most):
    """#detours: every key but the first and the token itself; and at its link."""
    base = trace(network, TEXTS[name])
    last = base.tokens_shown - 1
    for key in (2, last // 3, last // 2, last - 2):
        after = under(network, TEXTS[name], MaskSettings(cells=((last, key),)))
        assert compare_next_token(base.logits[-1], after.logits[-1], 1).kl < most
    if name == "short":
        assert last == 15
        after = under(network, SHORT, MaskSettings(cells=((15, 0),)))
        assert compare_next_token(base.logits[-1], after.logits[-1], 1).kl > 0.1


@pytest.mark.parametrize(("window", "counts_itself"), [(2, True), (4, True), (9, True), (3, False)])
def test_how_far_information_travels(network, window, counts_itself):
    """#detours: L(w − 1) tokens where the window counts the token itself, and not one more."""
    reach = 4 * (window - 1 if counts_itself else window)
    text = " ".join(LONG["lighthouse"].split()[:60])
    ids = trace(network, text).token_ids
    visible = MaskSettings(pattern="window", window=window, counts_itself=counts_itself)
    other = ids.clone()
    other[3] = (other[3] + 500) % 2_000
    n = len(ids)
    mask = torch.zeros(n, n).masked_fill(~visible.mask(n).to_tensor(n, n), torch.finfo(torch.float32).min)
    with torch.no_grad():
        a, b = (network.model(x[None], attention_mask=mask[None, None]).logits[0] for x in (ids, other))
    moved = (a - b).abs().amax(-1) > 1e-5
    assert moved[3 + reach]
    assert not moved[4 + reach :].any()


@pytest.mark.parametrize("name", ["short", "ferry"])
@pytest.mark.parametrize("seed", [0, 7, 42])
def test_order_without_positions(network, name, seed):
    """#order-without-positions, the view and its note: nothing after one block, something after two."""
    ids = trace(network, TEXTS[name]).token_ids
    _with, causal, bidirectional = (order_distances(network, ids, seed, trial) for trial in TRIALS)
    assert float(causal[1]) < 2e-6
    assert (causal[2:] > 1e-2).all()
    assert (bidirectional < 2e-6).all()


# Costs


@pytest.mark.parametrize(("length", "window"), [(1_024, 64), (256, 8), (1_024, 1), (100, 64)])
def test_what_patterns_keep_and_save(length, window):
    """#patterns, #window-convention: pairs nw, a cache of w; sinks cost a handful of keys."""
    for counts_itself, width in ((True, window), (False, window + 1)):
        mine = cost(MaskSettings(pattern="window", window=window, counts_itself=counts_itself), length)
        assert mine.kept == min(width, length)
        assert mine.pairs == length * width - width * (width - 1) // 2
    plain = cost(MaskSettings(pattern="window", window=window), length)
    sinks = cost(MaskSettings(pattern="lambda", window=window, sinks=4), length)
    assert 0 <= sinks.kept - plain.kept <= 4
    assert sinks.pairs - plain.pairs <= 4 * length


@pytest.mark.parametrize(
    ("window", "step", "block"), [(128, 2, 64), (1_024, 8, 128), (64, 8, 16), (256, 5, 32)]
)
def test_a_dilated_window_skips_no_block_in_its_reach(window, step, block):
    """#patterns, #mask-saves: the blocks of its whole reach for a step-th of the pairs; blocks do skip."""
    dilated = cost(MaskSettings(pattern="dilated", window=window, step=step), block=block)
    whole = cost(MaskSettings(pattern="window", window=window), block=block)
    near = cost(MaskSettings(pattern="window", window=window // step), block=block)
    assert dilated.blocks == whole.blocks
    assert (
        dilated.dense_flops == whole.dense_flops == cost(MaskSettings("bidirectional"), block=block).flops
    )
    assert near.blocks <= dilated.blocks
    if window <= 256:  # longer ones end at the text's beginning
        assert dilated.pairs == pytest.approx(near.pairs, rel=0.2)
    blocks = cost(MaskSettings(pattern="blocks", block=block), block=block)
    assert blocks.blocks == 1_024 // block
    assert (
        kept_keys(MaskSettings(pattern="blocks", block=block).rule(1_024).to_tensor(1_024, 1_024)).max()
        == block
    )


@pytest.mark.parametrize(("length", "block"), [(1_024, 128), (1_024, 16), (256, 16), (128, 128)])
def test_a_causal_mask_computes_half_of_the_blocks_and_the_diagonal(length, block):
    """#mask-saves: 36 of 64 at its link; the fewer the blocks, the less is saved."""
    found = visible_blocks(Causal().to_tensor(length, length), block)
    across = length // block
    assert int(found.sum()) == across * (across + 1) // 2
    if (length, block) == (1_024, 128):
        assert int(found.sum()) / found.numel() == pytest.approx(0.5625)


def test_masks_with_equally_many_pairs_can_differ_many_times_in_blocks():
    """#mask-saves."""
    scattered = (torch.arange(512)[:, None] * 7 + torch.arange(512)) % 64 == 0
    square = torch.zeros(512, 512, dtype=torch.bool)
    square[:64, :64] = True
    assert scattered.sum() == square.sum()
    assert visible_blocks(scattered, 64).sum() == 64 * visible_blocks(square, 64).sum()


@pytest.mark.parametrize("length", [16, 256, 1_024])
@pytest.mark.parametrize(
    ("settings", "later"),
    [(MaskSettings(), 0), (MaskSettings("bidirectional"), -1), (MaskSettings("prefix", prefix=64), 63)],
    ids=str,
)
def test_whose_vectors_change_when_a_token_comes(length, settings, later):
    """#kv-cache: nobody's, all but the last one's, those inside the prefix."""
    visible = settings.rule(length).to_tensor(length, length)
    expected = length - 1 if later < 0 else min(later, length - 1)
    assert int(reading_later(visible).sum()) == expected
    if not later:
        assert kept_keys(visible).tolist() == list(range(1, length + 1))


@pytest.mark.parametrize("window", [4, 128])
def test_what_transformers_hands_to_flash_attention_for_its_window(window):
    """#window-convention: w − 1 others on the left, as its own mask counts the token itself."""
    flash = _process_flash_attention_kwargs(
        1, 4 * window, True, sliding_window=window, supports_mapping=defaultdict(lambda: True)
    )
    assert flash["window_size"][0] == window - 1
    assert SlidingWindow(window).reach == window - 1
    assert SlidingWindow(window, counts_itself=False).reach == window
