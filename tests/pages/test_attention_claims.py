"""What the attention lesson asserts, at its links and at other settings; each test names its questions."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, one_hot, scaled_dot_product_attention
from transformers import T5Config, T5Model

from components.panels.attention.scale import KEYS, WIDTHS, statistics
from components.panels.attention.sharing import cost_table
from components.panels.attention.softmax import parse_logits, precision_table
from models.attention.depth import attention_entropy, causal_rank, largest_entropy, rank_one_residual
from models.attention.dot_product import contributions, hide_sink
from models.attention.head_finder import score_text
from models.attention.head_view import head_view
from models.attention.next_token import compare_next_token
from models.attention.softmax import (
    SoftmaxEdit,
    edited_softmax,
    jacobian_frobenius_norm,
    largest_cosine_weight,
    largest_safe_logit,
)
from models.errors import InputError
from models.networks.interventions import Intervention
from models.networks.loading import load
from models.networks.texts import passages
from models.networks.tracing import Trace, trace
from models.numerics.attention_costs import attention_flops, attention_parameters, key_of_head

SHORT = "The cat sat on the mat because the cat was tired."
REPEAT = "moon chair seven apple river " * 2 + "moon chair seven apple"
TEXTS = {"short": SHORT, "repeat": REPEAT} | {p.name: p.excerpt for p in passages() if p.language == "en"}
LOGITS = {"page": [2.0, 1.0, 0.0, -1.0], "lead": [10.0, 0.0, 0.0, 0.0], "pair": [0.3, -0.2], "one": [4.0]}


def traced(name: str, change: Intervention | None = None) -> Trace:
    return trace(load("loupe-llama"), TEXTS[name], change or Intervention())


def entropies(passed: Trace) -> torch.Tensor:
    return torch.stack([attention_entropy(record.probabilities).mean(-1) for record in passed.layers])


# Why √d_k


@pytest.mark.parametrize("seed", [0, 1, 7, 9_999])
def test_what_the_width_does_under_three_rules(seed):
    """#why-sqrt-dk, #why-not-norms, #additive and the note: at every width of the figure."""
    scaled, plain, cosine = (
        [statistics(way, d, seed) for d in WIDTHS] for way in ("scaled", "plain", "cosine")
    )
    for d, with_scale, without in zip(WIDTHS, scaled, plain, strict=True):
        assert math.isclose(without.variance, d, rel_tol=0.35)
        assert math.isclose(with_scale.variance, 1, rel_tol=0.35)
        if d in (2, 4, 8, 16, 32):  # the unscaled Jacobian is the larger one
            assert without.median_gradient_norm > with_scale.median_gradient_norm
        if d >= 256:  # and most of its rows pass back little, then almost nothing
            assert (
                without.median_gradient_norm < (0.3 if d == 256 else 0.1) * with_scale.median_gradient_norm
            )
    assert plain[-1].largest_weight > 0.93
    assert all(
        after.largest_weight > before.largest_weight
        for before, after in zip(plain, plain[2:], strict=False)
    )
    assert max(abs(row.largest_weight - 0.107) for row in scaled[2:]) < 0.02
    assert all(row.largest_weight < largest_cosine_weight(KEYS) for row in cosine)
    for before, after in pairwise(cosine):  # smaller logits, more even weights
        assert after.variance < before.variance
        assert after.entropy > before.entropy


@pytest.mark.parametrize(
    ("name", "below", "above"), [("median_gradient_norm", 60, 85), ("gradient_norm", 85, 115)]
)
def test_where_the_unscaled_jacobian_falls_below(name, below, above):
    """#why-sqrt-dk: the median row near 70, the mean near 100; over ten seeds, as one is noisy."""

    def difference(d: int) -> float:
        return sum(
            getattr(statistics("plain", d, seed), name) - getattr(statistics("scaled", d, seed), name)
            for seed in range(10)
        )

    assert difference(below) > 0 > difference(above)


def test_the_bound_of_cosines_and_t5():
    """#why-not-norms: 0.105 for 64 keys; #why-sqrt-dk: T5 scales its initialisation and not its scores."""
    assert largest_cosine_weight(64) == pytest.approx(math.e / (math.e + 63 / math.e))
    assert f"{largest_cosine_weight(64):.3f}" == "0.105"
    config = T5Config(vocab_size=32, d_model=64, d_kv=16, num_heads=4, num_layers=1, d_ff=64)
    torch.manual_seed(0)
    layer = T5Model(config).encoder.block[0].layer[0].SelfAttention
    assert layer.scaling == 1.0
    assert float(layer.q.weight.detach().std()) == pytest.approx((64 * 16) ** -0.5, rel=0.05)
    assert float(layer.k.weight.detach().std()) == pytest.approx(64**-0.5, rel=0.05)


# Softmax


@pytest.mark.parametrize("name", LOGITS)
def test_shift_factor_and_second_softmax(name):
    """#shift-and-multiply, #softmax-twice and the note."""
    z = torch.tensor(LOGITS[name], dtype=torch.float64)
    p = edited_softmax(z, SoftmaxEdit())
    for c in (-120.0, 5.0, 120.0):
        torch.testing.assert_close(edited_softmax(z, SoftmaxEdit(shift=c)), p)
    for k in (0.1, 0.5, 3.0, 20.0):
        found = edited_softmax(z, SoftmaxEdit(factor=k))
        assert (found.max() - p.max()) * (k - 1) >= -1e-12  # sharper above 1, flatter below
        torch.testing.assert_close((found / found[0]).log(), k * (p / p[0]).log())
    n = len(z)
    twice = edited_softmax(z, SoftmaxEdit(times=2))
    assert float(twice.max() / twice.min()) <= math.e
    assert float(twice.max()) <= math.e / (math.e + n - 1) + 1e-12
    assert torch.equal(twice.argsort(), p.argsort())
    torch.testing.assert_close(edited_softmax(z, SoftmaxEdit(times=40)), torch.full_like(z, 1 / n))
    torch.testing.assert_close(
        edited_softmax(z, SoftmaxEdit(factor=-1.0)).argsort(), (-z).softmax(-1).argsort()
    )


@pytest.mark.parametrize("classes", [2, 4, 1_000])
def test_softmax_before_cross_entropy_leaves_a_loss_and_small_gradients(classes):
    """#softmax-twice: ln(1 + (n − 1)/e) even for a perfect prediction."""
    perfect = one_hot(torch.tensor([0]), classes).double()
    assert float(cross_entropy(perfect, torch.tensor([0]))) == pytest.approx(
        math.log(1 + (classes - 1) / math.e)
    )
    z = torch.randn(1, classes, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def gradient(doubled: bool) -> float:
        x = z.clone().requires_grad_()
        cross_entropy(x.softmax(-1) if doubled else x, torch.tensor([0])).backward()
        return float(x.grad.norm())

    assert gradient(True) < 0.6 * gradient(False)


@pytest.mark.parametrize("name", LOGITS)
@pytest.mark.parametrize("spread", [0.1, 1.0, 7.0])
def test_entropy_rises_with_temperature_and_the_order_stays(name, spread):
    """#temperature, also at its ends: all weight on the largest, equal ones sharing it, and even."""
    z = torch.tensor(LOGITS[name], dtype=torch.float64) * spread
    rows = [edited_softmax(z, SoftmaxEdit(temperature=t)) for t in (0.05, 0.2, 1.0, 5.0, 20.0)]
    found = [float(attention_entropy(row[None])[0]) for row in rows]
    assert all(later >= earlier - 1e-12 for earlier, later in pairwise(found))
    assert all(torch.equal(row.argmax(), z.argmax()) for row in rows)
    cold, hot = (edited_softmax(z, SoftmaxEdit(temperature=t)) for t in (1e-3, 1e6))
    torch.testing.assert_close(cold, (z == z.max()).double() / (z == z.max()).sum())
    torch.testing.assert_close(hot, torch.full_like(z, 1 / len(z)), atol=1e-4, rtol=0)
    ties = edited_softmax(torch.tensor([1.0, 1.0, 0.0]), SoftmaxEdit(temperature=1e-3))
    torch.testing.assert_close(ties, torch.tensor([0.5, 0.5, 0.0]))


PRECISIONS = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


@pytest.mark.parametrize(
    ("shift", "failing"),
    [(0, []), (12, ["float16"]), (100, [*PRECISIONS]), (120, [*PRECISIONS]), (-120, [*PRECISIONS])],
)
def test_which_rows_of_the_table_fail(shift, failing):
    """#softmax-overflow, #softmax-float32: at each link, and the stable rows never."""
    table = precision_table(torch.tensor(LOGITS["page"]) + shift)
    naive, stable = table.iloc[::2], table.iloc[1::2]
    assert [row.iloc[0] for _, row in naive.iterrows() if "nan" in row.iloc[-1]] == failing
    expected = "  ".join(f"{p:.4f}" for p in torch.tensor(LOGITS["page"]).softmax(-1))
    for _, row in stable.iterrows():
        found = torch.tensor([float(p) for p in row.iloc[-1].split()])
        torch.testing.assert_close(
            found, torch.tensor([float(p) for p in expected.split()]), atol=5e-3, rtol=0
        )


@pytest.mark.parametrize("typed", ["3000, -3000", "-3000", "2999.9, 0, 1"])
@pytest.mark.parametrize(("factor", "shift"), [(20.0, 120.0), (20.0, -120.0), (0.1, 0.0)])
def test_stable_rows_stay_numbers_at_the_ends_of_the_controls(typed, factor, shift):
    table = precision_table(parse_logits(typed) * factor + shift)
    assert not any("nan" in row.iloc[-1] for _, row in table.iloc[1::2].iterrows())


@pytest.mark.parametrize("typed", ["3000.5", "1e39, 0", "-1e38", "70000, 1"])
def test_logits_beyond_float16_are_refused(typed):
    """Their softmax would be NaN, in the bars and in the formula."""
    with pytest.raises(InputError, match="from −3000 to 3000"):
        parse_logits(typed)


def test_where_exponentials_end():
    """#softmax-overflow, #softmax-float32: 11.1, 88.7, −104; a sum of finite terms may overflow."""
    assert [f"{largest_safe_logit(d):.1f}" for d in PRECISIONS.values()] == ["11.1", "88.7", "88.7"]
    for dtype in PRECISIONS.values():
        safe = largest_safe_logit(dtype)
        assert torch.tensor(safe * 0.99, dtype=dtype).exp().isfinite()
        assert torch.tensor(safe * 1.02, dtype=dtype).exp().isinf()
    assert torch.tensor(-103.0).exp() > 0
    assert torch.tensor(-104.0).exp() == 0
    terms = torch.tensor([88.5, 88.5]).exp()
    assert terms.isfinite().all()
    assert terms.sum().isinf()
    assert (
        torch.tensor([4096.0, 4096.5], dtype=torch.float16).diff() == 0
    ).all()  # a difference rounded away


@pytest.mark.parametrize("keys", [1, 3, 50])
def test_rows_average_and_columns_leak(keys):
    """#softmax-axis: no output outgrows the values; over queries, a later one would change earlier rows."""
    q, k, v = torch.randn(3, keys, 4, generator=torch.Generator().manual_seed(keys))
    visible = torch.ones(keys, keys, dtype=torch.bool).tril()
    scores = (3 * q @ k.T).masked_fill(~visible, -torch.inf)
    assert (scores.softmax(-1) @ v).norm(dim=-1).max() <= v.norm(dim=-1).max() + 1e-5
    if keys > 1:
        later = scores.clone()
        later[-1] += torch.arange(keys)
        assert torch.equal(scores.softmax(-1)[:-1], later.softmax(-1)[:-1])
        assert not torch.allclose(scores.softmax(0)[:-1], later.softmax(0)[:-1])


def test_two_traps_of_torch():
    """#mask-shape: True means two things, and is_causal aligns at the upper left corner."""
    x = torch.randn(1, 2, 5, 8, generator=torch.Generator().manual_seed(0))
    hidden = torch.zeros(5, 5, dtype=torch.bool)
    hidden[:, 3] = True
    moved = x.clone()
    moved[:, :, 3] += 1.0
    ours = [scaled_dot_product_attention(x, k, k, attn_mask=~hidden) for k in (x, moved)]
    torch.testing.assert_close(*ours)
    module = nn.MultiheadAttention(16, 2, batch_first=True).eval()
    y = torch.randn(1, 5, 16)
    weights = module(y, y, y, attn_mask=hidden)[1]
    assert not weights[..., 3].any()
    one = scaled_dot_product_attention(x[:, :, -1:], x, x, is_causal=True)
    torch.testing.assert_close(one, x[:, :, :1])  # the first key alone, not all five


# Heads


@pytest.mark.parametrize("heads", [1, 2, 4, 6, 12])
def test_the_number_of_heads_costs_no_parameters_and_no_products(heads):
    """#why-heads: 4d² and the same FLOPs; scores of rank d_k at most."""
    assert attention_parameters(192, heads, heads, 192 // heads).total == 4 * 192**2
    assert attention_flops(heads, 192 // heads, 100, 100, False) == attention_flops(1, 192, 100, 100, False)
    q, k = torch.randn(2, 40, 12 // heads, dtype=torch.float64)
    assert int(torch.linalg.matrix_rank(q @ k.T)) <= 12 // heads


@pytest.mark.parametrize(("heads", "key_heads"), [(6, 2), (6, 1), (6, 6), (64, 8), (32, 4), (7, 1)])
def test_sharing_keys(heads, key_heads):
    """#key-sharing and the table: floor(i·g/h); cache and parameters fall with g, FLOPs stay."""
    assert key_of_head(heads, key_heads).tolist() == [i * key_heads // heads for i in range(heads)]
    table = cost_table(heads, key_heads, 4, 192)
    numbers = table.iloc[:, [2, 4, 5]].map(lambda cell: int(cell.replace(",", "")))
    cache, parameters, flops = (numbers[name].tolist() for name in numbers)
    counts = table.iloc[:, 1].tolist()
    assert all(cache[0] * count == cache[row] * heads for row, count in enumerate(counts))
    assert cache == sorted(cache, reverse=True)
    assert parameters == sorted(parameters, reverse=True)
    assert len(set(flops)) == 1


@pytest.mark.parametrize("name", TEXTS)
def test_heads_that_the_scenes_name(name):
    """Scenes, #attention-sink, #dot-product, #self-and-cross: on all English texts of the page."""
    base = traced(name)
    found = score_text(base)
    assert float(found.scores.previous_token[1, 4]) > 0.4
    assert float(found.scores.first_token[1, 2]) > 0.15
    if name == "repeat":
        assert int(found.induction.argmax()) == 2 * 6 + 0
    record = base.layers[1]
    value, key = (x[record.key_of_head[2]].norm(dim=-1) for x in (record.value, record.key))
    assert float(value[0]) < 0.7 * float(value[1:].median())  # the sink's value is short, and its key too
    assert float(key[0]) < 0.8 * float(key[1:].median())
    for layer in base.layers:
        torch.testing.assert_close(layer.probabilities[:, 0, 0], torch.ones(6))
        torch.testing.assert_close(
            layer.probabilities.sum(-1), torch.ones_like(layer.probabilities[..., 0])
        )
        raw = layer.raw
        assert float((raw - raw.transpose(1, 2)).abs().max()) > 1  # the same tokens, not symmetric
        assert entropies(base).max() <= largest_entropy(layer.visible) + 1e-6


@pytest.mark.parametrize("name", ["short", "lighthouse", "ferry"])
def test_the_sink_weighs_much_and_adds_less(name):
    """#attention-sink, #weights-explain: in its share of the row; hiding it renormalises the picture."""
    record = traced(name).layers[1]
    weights = record.probabilities[2:3]
    shares = contributions(weights, record.value[record.key_of_head[2:3]], record.output_weight[2:3])[0]
    shares = shares / shares.sum(-1, keepdim=True)
    assert float(shares[2:, 0].mean()) < float(weights[0, 2:, 0].mean())
    without = hide_sink(weights)[0, 1:]
    torch.testing.assert_close(without.sum(-1), torch.ones(len(without)))
    shown = head_view(traced(name), 1, 2, "softmax", without_sink=True)
    assert shown.values[:, 0].isnan().all()


@pytest.mark.parametrize("name", ["short", "orchard", "repeat"])
@pytest.mark.parametrize(
    ("change", "sharper"),
    [
        (Intervention(temperature=0.2), True),
        (Intervention(temperature=0.1), True),
        (Intervention(temperature=5.0), False),
        (Intervention(temperature=20.0), False),
        (Intervention(scale_exponent=0.0), True),
        (Intervention(scale_exponent=1.0), False),
    ],
    ids=str,
)
def test_what_temperature_does_in_the_network(name, change, sharper):
    """#temperature, #why-sqrt-dk, #entropy-collapse, the scene: in every head, and the next token moves."""
    base, after = traced(name), traced(name, change)
    moved = entropies(after) - entropies(base)
    assert (moved < 0).all() if sharper else (moved > 0).all()
    if change.temperature in (0.1, 0.2):
        assert float(after.layers[1].probabilities[4].amax(-1).mean()) > 0.85
    assert compare_next_token(base.logits[-1], after.logits[-1], 1).kl > 0.05


@pytest.mark.parametrize("name", ["short", "clockmaker"])
def test_other_rows_of_the_last_layer_do_not_reach_the_next_token(name):
    """#weights-explain: a cell above the last row changes it from an earlier layer only."""
    base = traced(name)
    n = base.tokens_shown
    for layer, reaches in ((3, False), (1, True)):
        cells = frozenset((layer, head, n - 2, key) for head in range(6) for key in range(1, n - 1))
        after = traced(name, Intervention(hidden_cells=cells))
        assert (compare_next_token(base.logits[-1], after.logits[-1], 1).kl > 1e-6) == reaches


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("distance", ["best", "mean"])
def test_without_skip_connections_the_tokens_end_up_more_alike(name, distance):
    """The view and the scene, #rank-collapse: at the end, not at every layer, and not at 0."""
    curves = {
        residual: [
            rank_one_residual(state, distance)
            for state in traced(name, Intervention(residual=residual)).hidden
        ]
        for residual in (True, False)
    }
    assert curves[False][-1] < 0.6 * curves[True][-1]
    assert curves[False][1] < curves[True][1]
    alone = traced(name, Intervention(residual=False, mlp=False)).hidden
    assert 0.01 < rank_one_residual(alone[-1], distance) < 0.2


def test_who_mixes_fastest():
    """#rank-collapse: even weights at once, sharp ones only with one key for all; then a long vector."""
    x = torch.randn(6, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    even, one_key, own_keys = (
        torch.full((6, 6), 1 / 6).double(),
        torch.zeros(6, 6).double(),
        torch.eye(6).double(),
    )
    one_key[:, 2] = 1.0
    for a, alike in ((even, True), (one_key, True), (own_keys.roll(1, 0), False)):
        assert (rank_one_residual(a @ x, "mean") < 1e-12) == alike
    causal = even.tril() / even.tril().sum(-1, keepdim=True)
    assert rank_one_residual(causal @ x, "mean") > 0.1  # under a mask it takes its time
    assert int(torch.linalg.matrix_rank(causal)) == 6
    assert rank_one_residual(torch.linalg.matrix_power(causal, 60) @ x, "mean") < 1e-3
    longer = x.clone()
    longer[0] *= 100
    assert rank_one_residual(longer) < 0.1 < rank_one_residual(x)


@pytest.mark.parametrize(
    ("name", "head", "full"), [("short", 4, False), ("short", 2, True), ("ferry", 4, False)]
)
def test_ranks_at_the_link_and_elsewhere(name, head, full):
    """#causal-rank: its link's head loses rank to rounding, though its determinant is not 0."""
    rank = causal_rank(traced(name).layers[1].probabilities[head])
    assert rank.smallest_diagonal > 0
    assert math.isfinite(rank.log_abs_determinant)
    assert (rank.rank == rank.size) == full


def test_additive_scores_are_bounded_and_dot_products_are_not():
    """#additive, #dot-product."""
    q, k, v = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    for size in (1.0, 1e3):
        assert abs(float(v @ torch.tanh(size * (q + k)))) <= float(v.abs().sum())
    assert float(q @ (3 * q)) > float(q @ q)  # a longer vector beats q itself
    spread = jacobian_frobenius_norm(torch.tensor([[0.5, 0.5], [1.0, 0.0]]))
    assert float(spread[1]) == 0 < float(spread[0])
