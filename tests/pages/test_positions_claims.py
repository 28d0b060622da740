"""What the lesson on positions asserts, at its links and at other settings of the same views."""

import math

import pytest
import torch
from torch.testing import assert_close

from components.panels.positions.encode import AddedVectors
from models.attention.softmax import random_queries_and_keys
from models.networks.interventions import Intervention
from models.networks.loading import load
from models.networks.positions import learned_table
from models.networks.rotary import rotary_of
from models.networks.texts import passages
from models.networks.tracing import Trace, trace
from models.numerics.comparison import largest_difference
from models.numerics.token_losses import token_losses
from models.positions.absolute import (
    added_scores,
    cosines_with,
    nearly_constant,
    principal_components,
    rows,
    scaled_like,
    sinusoidal,
)
from models.positions.bias import alibi_slopes, t5_bucket
from models.positions.decay import in_phase, mean_cosine_at_distances, roformer_bound, unit
from models.positions.encodings import Settings, encode, head_of
from models.rotary.rope import (
    frequencies,
    rotation_matrix,
    score_at_distances,
    turns,
    wavelengths,
)

ENGLISH = [passage.name for passage in passages() if passage.language == "en"]
REPEAT = " ".join(["moon chair seven apple river"] * 3 + ["moon chair seven apple"])
BASES = [2.0, 100.0, 1e4, 5e5, 1e6]  # the ends of the slider, and the links'
CACHE: dict[tuple[str, frozenset[str]], Trace] = {}


def read(text: str, swapped: frozenset[str] = frozenset()) -> Trace:
    """The embedded network on a passage's excerpt, or on a text, once for all tests."""
    if (text, swapped) not in CACHE:
        words = next((item.excerpt for item in passages() if item.name == text), text)
        CACHE[text, swapped] = trace(load("loupe-llama"), words, Intervention(swapped_layout=swapped))
    return CACHE[text, swapped]


def loss(traced: Trace) -> float:
    return float(token_losses(traced.logits, traced.token_ids).mean())


# Added vectors


@pytest.mark.parametrize(("width", "last"), [(8, 6_283), (64, 47_117), (512, 60_611)])
def test_positions_to_a_full_turn_of_the_first_and_the_last_pair(width, last):
    """#constant-dimensions"""
    turn = wavelengths(frequencies(width, 10_000.0))
    assert float(turn[0]) == pytest.approx(2 * math.pi)
    assert float(turn[-1]) == pytest.approx(last, rel=1e-4)
    assert (turn < 2 * math.pi * 10_000).all()


@pytest.mark.parametrize(
    ("query", "pairs"),
    [
        ("positions_view=encode&positions_length=64&positions_position=20", 14),
        ("positions_view=encode", 9),
        ("positions_view=encode&positions_length=1024", 4),
        ("positions_view=encode&positions_base=100", 0),
        ("positions_view=encode&positions_base=2", 0),
        ("positions_view=encode&positions_length=2", 28),
        ("positions_view=encode&positions_width=512&positions_base=1000000&positions_length=16", 188),
    ],
)
def test_constant_columns(query, pairs):
    """#constant-dimensions and the note "encode": sines below 0.39 and cosines above 0.92, or none."""
    view = AddedVectors.from_query(query)
    still = nearly_constant(turns(view.length, frequencies(view.width, view.base)))
    assert int(still.sum()) == pairs
    table = view.vectors
    if pairs:
        assert float(table[:, 0::2][:, still].max()) < 0.39
        assert float(table[:, 1::2][:, still].min()) > 0.92


@pytest.mark.parametrize("width", [16, 64, 512])
def test_the_constant_part_shrinks_with_length_and_with_a_smaller_base(width):
    by_length = [int(nearly_constant(turns(n, frequencies(width, 1e4))).sum()) for n in (2, 64, 256, 1024)]
    assert by_length == sorted(by_length, reverse=True)
    assert by_length[0] > by_length[-1]
    by_base = [int(nearly_constant(turns(256, frequencies(width, base))).sum()) for base in BASES]
    assert by_base == sorted(by_base)
    assert by_base[0] < by_base[-1]


@pytest.mark.parametrize("width", [4, 8, 64, 512])
@pytest.mark.parametrize("base", [100.0, 1e4])
@pytest.mark.parametrize("moved", [1, 7, 100])
def test_moving_is_one_rotation_of_each_pair_whatever_the_position(width, base, moved):
    """#sinusoidal, #even-tokens: rows at k and k + moved differ by R, the same for all k."""
    table = sinusoidal(300, width, base)
    turn = rotation_matrix(-moved, frequencies(width, base), "interleaved")
    assert_close(table[moved:], table[:-moved] @ turn.T, atol=2e-4, rtol=0.0)
    assert_close(table[0], torch.tensor([0.0, 1.0]).repeat(width // 2))


@pytest.mark.parametrize(
    ("width", "base", "length"), [(64, 1e4, 256), (8, 1e4, 256), (2, 1e4, 64), (512, 1e4, 1024)]
)
def test_likeness_falls_at_first_and_then_waves(width, base, length):
    """#inner-product: a function of the distance, the same on both sides, not monotone."""
    table = sinusoidal(length, width, base)
    middle = length // 2
    curve = cosines_with(table, middle)
    assert_close(curve[: middle + 1].flip(0)[: length // 2], curve[middle:], atol=1e-4, rtol=0.0)
    assert_close(
        curve[middle:], in_phase(torch.arange(length // 2), frequencies(width, base)), atol=1e-4, rtol=0.0
    )
    steps = curve[middle:].diff()
    assert (steps[:2] < 0).all()
    assert (steps > 1e-3).any()


def test_rows_of_a_learned_table_resemble_their_neighbours():
    """#learned and the note "learned", on the table of MiniLM."""
    table = learned_table(load("all-MiniLM-L6-v2"))
    length, width = table.shape
    assert (length, table.numel()) == (512, length * width)
    alike = unit(table) @ unit(table).T
    means = [float(alike.diagonal(apart).mean()) for apart in (1, 4, 32, 128)]
    assert means == sorted(means, reverse=True)
    assert means[0] > 0.8 > 0.3 > float(alike.mean())
    end = float(table.abs().flatten().quantile(0.99))
    assert 1 <= int((table.abs() > 4 * end).sum()) < 10  # a few single ones are far larger


# Biases


@pytest.mark.parametrize(("bidirectional", "exact", "last"), [(False, 16, 113), (True, 8, 91)])
def test_t5s_buckets(bidirectional, exact, last):
    """#t5: one distance each in the nearer half, the last bucket from 113 or 91 on."""
    bucket = t5_bucket(-torch.arange(1_000), bidirectional)
    assert bucket[: exact + 1].tolist() == list(range(exact + 1))
    assert int((bucket == bucket.max()).nonzero()[0]) == last
    assert int(bucket.max()) == 2 * exact - 1
    sizes = torch.bincount(bucket)[exact:-1]
    assert int(sizes[-1]) == int(sizes.max()) > 3 * int(sizes[0])  # wider and wider
    assert len(set(t5_bucket(torch.arange(-999, 1_000), bidirectional).tolist())) == (
        31 if bidirectional else 32
    )


@pytest.mark.parametrize("heads", [1, 2, 4, 8, 16, 32])
def test_alibis_last_slope_is_the_same_for_every_power_of_two(heads):
    """#alibi"""
    assert float(alibi_slopes(heads)[-1]) == 2**-8


def test_alibis_slopes_of_six_and_of_a_hundred_and_twelve_heads():
    """#alibi, #alibi-power: counted from 0 head 4 is the steepest of six and head 3 the flattest."""
    slopes = alibi_slopes(6)
    assert (int(slopes.argmax()), int(slopes.argmin())) == (4, 3)
    assert math.exp(-10 * float(slopes[4])) < 0.01 < 0.6 < math.exp(-85 * float(slopes[3]))
    many = alibi_slopes(112)  # BLOOM's
    assert len(set(many.tolist())) == 112
    assert float(many[63]) == 2**-8
    assert float(many[64]) == pytest.approx(2 ** (-8 / 128))


# Rotation


@pytest.mark.parametrize("place", [1, 100, 1_500])
@pytest.mark.parametrize(("width", "base"), [(2, 1e4), (32, 1e4), (64, 5e5)])
def test_blocks_turn_and_the_last_hardly(place, width, base):
    """#block-diagonal, #low-index"""
    frequency = frequencies(width, base)
    assert float(frequency[0]) == 1.0
    assert (frequency.diff() < 0).all()
    matrix = rotation_matrix(place, frequency, "interleaved").double()
    assert float(torch.linalg.det(matrix)) == pytest.approx(1, abs=1e-4)
    assert_close(matrix @ matrix.T, torch.eye(width, dtype=torch.float64), atol=1e-5, rtol=0.0)
    outside = torch.block_diag(*[torch.ones(2, 2)] * (width // 2)) == 0
    assert not matrix[outside].any()


def test_pair_14_of_the_link_is_nearly_the_identity():
    """#block-diagonal: at most 15 positions on a text of ten words; the last pair of 16 within 256."""
    frequency = frequencies(32, 1e4)
    assert_close(rotation_matrix(15, frequency[14:15], "half"), torch.eye(2), atol=0.01, rtol=0.0)
    assert 255 * float(frequency[15]) < 0.05  # radians within a training text


@pytest.mark.parametrize(
    ("base", "farthest", "kept"), [(1e4, 256, 7), (1e4, 64, 9), (100.0, 1024, 0), (1e6, 16, 13)]
)
def test_which_pairs_change_sign_within_the_range(base, farthest, kept):
    """The note "decay": pair 0 after two tokens, later ones later, the last ones perhaps never."""
    cosines = (torch.arange(farthest + 1)[:, None] * frequencies(32, base)).cos()
    first = [int(column.lt(0).nonzero()[0]) if (column < 0).any() else math.inf for column in cosines.T]
    assert first[0] == 2
    assert first == sorted(first)
    assert sum(math.isinf(item) for item in first) == kept


@pytest.mark.parametrize("base", BASES[1:])
@pytest.mark.parametrize("farthest", [64, 256, 1024, 4096])
@pytest.mark.parametrize("width", [8, 32, 128])
def test_neither_the_sum_nor_its_bound_falls_all_the_way(base, farthest, width):
    """#monotone-decay: both rise on many steps; at distance 0 both are largest."""
    distances, frequency = torch.arange(farthest + 1), frequencies(width, base)
    for curve in (in_phase(distances, frequency), roformer_bound(distances, frequency)):
        assert curve[1] < curve[0]
        assert float((curve.diff() > 1e-6).float().mean()) > 0.1
        assert float(curve[1:].max()) < float(curve[0])


def test_a_larger_base_falls_later_and_leaves_the_first_pair():
    """#base: the first pair turns by one radian at any base, the last slows most; base 100 comes back."""
    fallen, parts = [], []
    for base in BASES:
        frequency = frequencies(32, base)
        assert float(frequency[0]) == 1.0
        low = (in_phase(torch.arange(5_000), frequency) < 0.5).nonzero()
        fallen.append(int(low[0]))
        parts.append(int((turns(256, frequency) < 1).sum()))
    assert fallen == sorted(fallen)
    assert parts == sorted(parts)
    slower = frequencies(32, 5e5) / frequencies(32, 1e4)
    assert float(slower[0]) == 1.0
    assert (slower.diff() < 0).all()
    comes_back = in_phase(torch.arange(1_025), frequencies(32, 100.0))
    assert float(comes_back[300:].max()) - float(comes_back[5:300].min()) > 0.7


@pytest.mark.parametrize(("base", "farthest"), [(1e4, 256), (1e4, 4096), (100.0, 1024)])
def test_one_random_query_and_key_end_higher_as_often_as_lower(base, farthest):
    """#decay and its note: small values, and no fall."""
    ends, sizes = [], []
    distances, frequency = torch.arange(0, farthest + 1, max(1, farthest // 128)), frequencies(32, base)
    for seed in range(100):
        query, key = random_queries_and_keys(32, 1, 1, seed)
        curve = score_at_distances(unit(query)[0], unit(key)[0], distances, frequency, "half")
        half = len(curve) // 2
        ends.append(float(curve[half:].mean() > curve[:half].mean()))
        sizes.append(float(curve.abs().mean()))
    assert 0.35 < sum(ends) / 100 < 0.65
    assert max(sizes) < 0.5
    assert sum(sizes) / 100 < 0.2


@pytest.mark.parametrize("name", ENGLISH)
def test_real_heads_choose_their_phases(name):
    """#decay: peaks at distance 1, or only some tokens away; head 2 of layer 1 rests on the first token."""
    traced = read(name)
    peaks = {}
    for layer, head in ((1, 4), (0, 0)):
        record, rotary = traced.layers[layer], rotary_of(load("loupe-llama"), traced, layer)
        plain = head_of(record, head)
        curve = mean_cosine_at_distances(
            plain.query, plain.key, plain.visible, torch.arange(257), rotary.frequency, rotary.layout
        )
        peaks[layer, head] = int(curve.argmax())
    assert peaks[1, 4] == 1
    assert 3 <= peaks[0, 0] <= 16
    on_first = traced.layers[1].probabilities[:, 1:, 0].mean(dim=-1)
    assert int(on_first.argmax()) == 2
    assert float(on_first[2]) > 0.3


# Layouts


@pytest.mark.parametrize("text", [*ENGLISH, REPEAT])
def test_a_confused_layout_raises_the_loss_and_only_that(text):
    """#layouts, #loud-failure and the note "layout", on texts that the network can predict."""
    own, both, key = (read(text, frozenset(names)) for names in ((), ("query", "key"), ("key",)))
    assert loss(both) > loss(own) + 0.2
    assert loss(key) > loss(own) + 0.2
    at_zero = [traced.layers[0].raw.diagonal(dim1=1, dim2=2) for traced in (own, both, key)]
    assert_close(at_zero[0], at_zero[1], atol=1e-4, rtol=1e-4)
    assert largest_difference(at_zero[0], at_zero[2]) > 1
    deeper = [traced.layers[2].raw.diagonal(dim1=1, dim2=2) for traced in (own, both)]
    assert largest_difference(*deeper) > 1
    assert_close(own.layers[0].query.norm(dim=-1), both.layers[0].query.norm(dim=-1))
    assert torch.isfinite(key.logits).all()


def test_a_repeat_is_no_longer_copied():
    """#loud-failure: trained it says "river" again; confused it does not."""
    tokenizer = load("loupe-llama").tokenizer
    said = [
        tokenizer.decode([int(read(REPEAT, frozenset(names)).logits[-1].argmax())]).strip()
        for names in ((), ("query", "key"), ("key",))
    ]
    assert said[0] == "river"
    assert "river" not in said[1:]


@pytest.mark.parametrize("seed", [0, 1])
def test_keys_alone_in_the_wrong_pairs_break_the_relation_to_distance(seed):
    """#layouts: scores of both wrong depend on the distance alone, of keys alone also on the place."""
    query, key = random_queries_and_keys(32, 1, 1, seed)
    frequency = frequencies(32, 1e4)

    def score(at: int, layouts: tuple[str, str]) -> float:
        turn = [
            rotation_matrix(place, frequency, way) for place, way in zip((at + 3, at), layouts, strict=True)
        ]
        return float((turn[0] @ query[0]) @ (turn[1] @ key[0]))

    assert score(5, ("interleaved",) * 2) == pytest.approx(score(70, ("interleaved",) * 2), abs=1e-4)
    assert abs(score(5, ("half", "interleaved")) - score(70, ("half", "interleaved"))) > 0.05


# All encodings on one head


@pytest.mark.parametrize("name", ["lighthouse", "ferry"])
@pytest.mark.parametrize(("layer", "head"), [(1, 4), (2, 0), (0, 0), (3, 5)])
def test_a_large_strength_drowns_the_content(name, layer, head):
    """#four-terms: at strength 3 the weights come near to those of p·p alone, at 0 positions are gone."""
    traced = read(name)
    plain, rotary = head_of(traced.layers[layer], head), rotary_of(load("loupe-llama"), traced, layer)
    tokens, width = plain.query.shape
    learned = principal_components(learned_table(load("all-MiniLM-L6-v2")), width)
    for kind, table in (("sinusoidal", sinusoidal(tokens, width)), ("learned", learned)):
        apart = {}
        for strength in (0.0, 1.0, 3.0):
            found = encode(plain, kind, Settings(rotary, 1e4, strength, learned))
            scaled = rows(scaled_like(table, torch.cat([plain.query, plain.key]), strength), tokens)
            terms = added_scores(plain.query, plain.key, scaled)
            alone = (terms.position * plain.scale).masked_fill(~plain.visible, -torch.inf).softmax(-1)
            apart[strength] = float((alone - found.probabilities).abs().sum(-1).mean()) / 2
            if strength == 0:
                assert_close(found.scores, encode(plain, "none", Settings(rotary, 1e4, 0.0, None)).scores)
        assert apart[3.0] < 0.3
        assert apart[3.0] < apart[1.0]


@pytest.mark.parametrize(
    ("name", "layer", "head"), [("lighthouse", 1, 4), ("orchard", 0, 4), ("ferry", 3, 3)]
)
def test_what_each_encoding_adds_by_distance(name, layer, head):
    """The note "compare": nothing, a line, steps from 16 on, waves."""
    traced = read(name)
    plain, rotary = head_of(traced.layers[layer], head), rotary_of(load("loupe-llama"), traced, layer)
    learned = principal_components(learned_table(load("all-MiniLM-L6-v2")), plain.query.shape[1])
    shown = {
        kind: encode(plain, kind, Settings(rotary, 1e4, 1.0, learned)).profile
        for kind in ("none", "sinusoidal", "learned", "t5", "alibi", "rope")
    }
    assert not shown["none"].any()
    assert_close(
        shown["alibi"], -alibi_slopes(6)[head] * torch.arange(len(shown["alibi"])), atol=1e-4, rtol=1e-4
    )
    flat = shown["t5"].diff().abs() < 1e-5
    assert not flat[:15].any()
    assert float(flat[16:].float().mean()) > 0.5
    for kind in ("sinusoidal", "learned", "rope"):
        assert 0.2 < float((shown[kind].diff() > 1e-4).float().mean()) < 0.8
