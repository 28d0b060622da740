"""models.masks.algebra against transformers' masking_utils, torch's create_mask and create_block_mask."""

from contextlib import nullcontext
from operator import and_, invert, or_, xor

import pytest
import torch
from hypothesis import given, reject
from hypothesis import strategies as st
from torch.nn.attention import flex_attention as flex
from torch.nn.attention.bias import causal_lower_right
from torch.testing import assert_close
from transformers import masking_utils as theirs

from models.errors import InputError
from models.masks.algebra import (
    Bidirectional,
    Blocks,
    Causal,
    Cells,
    Dilated,
    Documents,
    FirstKeys,
    FirstQueries,
    Mask,
    SlidingWindow,
    cross_attention,
    encoder_decoder,
    lambda_shaped,
    left_padding,
    prefix_lm,
    right_padding,
)

SIZES = st.integers(1, 40)


def transformers_mask(function, queries, keys, offset=0) -> torch.Tensor:
    """What transformers makes of a mask function."""
    return theirs.sdpa_mask(1, queries, keys, offset, mask_function=function, allow_is_causal_skip=False)[
        0, 0
    ]


def torch_mask(function, queries, keys) -> torch.Tensor:
    """What FlexAttention makes of a mask_mod."""
    return flex.create_mask(function, None, None, queries, keys, device="cpu")[0, 0]


def padded_to(tokens: int, real: list[int]) -> torch.Tensor:
    """A two-dimensional attention mask of transformers: one row, True at the real tokens."""
    mask = torch.zeros(1, tokens, dtype=torch.bool)
    mask[0, real] = True
    return mask


def document_numbers(starts: tuple[int, ...], tokens: int) -> torch.Tensor:
    return torch.tensor([[sum(index >= start for start in starts) for index in range(tokens)]])


@st.composite
def starts_of_documents(draw):
    return tuple(sorted(draw(st.sets(st.integers(1, 45), max_size=5))))


@st.composite
def cells(draw):
    return tuple(draw(st.lists(st.tuples(st.integers(0, 45), st.integers(0, 45)), min_size=1, max_size=6)))


LEAVES = st.one_of(
    st.just((Bidirectional,)),
    st.just((Causal,)),
    st.tuples(st.just(SlidingWindow), st.integers(1, 50), st.booleans()),
    st.tuples(st.just(FirstKeys), st.integers(0, 50)),
    st.tuples(st.just(FirstQueries), st.integers(0, 50)),
    st.tuples(st.just(Dilated), st.integers(1, 9)),
    st.tuples(st.just(Blocks), st.integers(1, 12), st.integers(1, 3)),
    st.tuples(st.just(Documents), starts_of_documents()),
    st.tuples(st.just(Cells), cells()),
)
TREES = st.recursive(
    LEAVES,
    lambda part: st.one_of(
        st.tuples(st.sampled_from((and_, or_, xor)), part, part), st.tuples(st.just(invert), part)
    ),
    max_leaves=5,
)


def mask_of(tree) -> Mask:
    """The mask that a drawn tree describes."""
    make, *parts = tree
    return make(*map(mask_of, parts)) if make in (and_, or_, xor, invert) else make(*parts)


# Each by its name in transformers


@given(SIZES)
def test_causal_and_bidirectional(n):
    assert_close(Causal().to_tensor(n, n), transformers_mask(theirs.causal_mask_function, n, n))
    assert_close(
        Bidirectional().to_tensor(n, n), transformers_mask(theirs.bidirectional_mask_function, n, n)
    )
    assert_close(Causal().to_tensor(n, n), torch.ones(n, n, dtype=torch.bool).tril())


@given(SIZES, st.integers(1, 50))
def test_a_causal_window_counts_the_token_itself_as_in_transformers(n, width):
    expected = transformers_mask(theirs.sliding_window_causal_mask_function(width), n, n)
    window = SlidingWindow(width)
    assert_close((Causal() & window).to_tensor(n, n), expected)
    assert (expected.sum(-1) == torch.arange(1, n + 1).clamp(max=width)).all()


@given(SIZES, st.integers(0, 50))
def test_a_bidirectional_window_does_not_count_it_as_in_transformers(n, width):
    expected = transformers_mask(theirs.sliding_window_bidirectional_mask_function(width), n, n)
    assert_close(SlidingWindow(width, counts_itself=False).to_tensor(n, n), expected)


@given(SIZES, st.integers(0, 50))
def test_the_two_conventions_differ_by_one(n, width):
    inclusive, exclusive = SlidingWindow(width + 1), SlidingWindow(width, counts_itself=False)
    assert inclusive.reach == exclusive.reach == width
    assert_close(inclusive.to_tensor(n, n), exclusive.to_tensor(n, n))


@given(SIZES, st.integers(1, 12))
def test_one_block_is_the_chunk_of_transformers(n, size):
    expected = transformers_mask(theirs.chunked_causal_mask_function(size, torch.zeros(1, dtype=int)), n, n)
    assert_close((Causal() & Blocks(size)).to_tensor(n, n), expected)


@given(SIZES, st.integers(1, 12), st.integers(1, 4))
def test_several_blocks_are_a_window_of_blocks(n, size, count):
    coarse = transformers_mask(
        theirs.sliding_window_bidirectional_mask_function(count - 1), -(-n // size), -(-n // size)
    )
    expected = coarse.repeat_interleave(size, 0).repeat_interleave(size, 1)[:n, :n]
    assert_close(Blocks(size, count).to_tensor(n, n), expected)


@given(SIZES, starts_of_documents())
def test_documents_are_the_packed_sequences_of_transformers(n, starts):
    expected = transformers_mask(
        theirs.packed_sequence_mask_function(document_numbers(starts, max(n, 50))), n, n
    )
    assert_close(Documents(starts).to_tensor(n, n), expected)


@given(SIZES, st.data())
def test_padding_is_that_of_a_two_dimensional_attention_mask(n, data):
    padded = data.draw(st.integers(0, n))
    for mask, real in (
        (left_padding(padded), range(padded, n)),
        (right_padding(n - padded), range(n - padded)),
    ):
        attention_mask = padded_to(n, list(real))
        expected = theirs.sdpa_mask(
            1,
            n,
            n,
            mask_function=theirs.causal_mask_function,
            attention_mask=attention_mask,
            allow_is_causal_skip=False,
        )[0, 0]
        assert_close((Causal() & mask).to_tensor(n, n), expected)
        assert_close(
            mask.to_tensor(n, n), transformers_mask(theirs.padding_mask_function(attention_mask), n, n)
        )


@given(SIZES, st.integers(0, 50))
def test_prefix_lm_is_causal_or_prefix_and_that_of_the_blockwise_overlay(n, length):
    block = torch.where(torch.arange(n) < length, 0, -1)[None]
    expected = transformers_mask(
        theirs.or_masks(theirs.causal_mask_function, theirs.blockwise_overlay(block)), n, n
    )
    assert_close(prefix_lm(length).to_tensor(n, n), expected)
    assert_close(prefix_lm(length).to_tensor(n, n), encoder_decoder(length).to_tensor(n, n))


@given(SIZES, st.integers(0, 50))
def test_cross_attention_reads_the_source_from_the_target(n, source):
    mask = cross_attention(source).to_tensor(n, n)
    expected = torch.zeros(n, n, dtype=torch.bool)
    expected[source:, :source] = True
    assert_close(mask, expected)


@given(SIZES, st.integers(0, 50), st.integers(1, 50), st.booleans())
def test_lambda_keeps_sinks_and_window(n, sinks, width, counts_itself):
    overlay = theirs.sliding_window_overlay(width if counts_itself else width + 1)
    sink = theirs.or_masks(overlay, lambda batch, head, query, key: key < sinks)
    expected = transformers_mask(theirs.and_masks(theirs.causal_mask_function, sink), n, n)
    assert_close(lambda_shaped(sinks, width, counts_itself).to_tensor(n, n), expected)


@given(SIZES, st.integers(1, 9))
def test_dilation_keeps_every_step_th_diagonal(n, step):
    expected = sum(torch.diag(torch.ones(n - abs(d)), d) for d in range(1 - n, n) if d % step == 0).bool()
    assert_close(Dilated(step).to_tensor(n, n), expected)


# The algebra


@given(TREES, SIZES, SIZES)
def test_any_mask_is_read_alike_by_transformers_and_by_flex_attention(tree, queries, keys):
    mask = mask_of(tree)
    ours = mask.to_tensor(queries, keys)
    assert_close(ours, transformers_mask(mask, queries, keys))
    assert_close(ours, torch_mask(mask, queries, keys))


@given(LEAVES, LEAVES, SIZES)
def test_joining_is_that_of_both_libraries(one, other, n):
    one, other = mask_of(one), mask_of(other)
    for library in (theirs, flex):
        for joined, join in ((one & other, library.and_masks), (one | other, library.or_masks)):
            assert_close(joined.to_tensor(n, n), torch_mask(join(one, other), n, n))
    inverted, either = ~one.to_tensor(n, n), one.to_tensor(n, n) != other.to_tensor(n, n)
    assert_close((~one).to_tensor(n, n), inverted)
    assert_close((one ^ other).to_tensor(n, n), either)


@given(TREES, st.integers(1, 200))
def test_a_block_mask_is_made_of_it(tree, n):
    mask = mask_of(tree)
    blocks = flex.create_block_mask(mask, None, None, n, n, device="cpu", BLOCK_SIZE=16)
    side = -(-n // 16)
    padded = torch.zeros(side * 16, side * 16, dtype=torch.bool)
    padded[:n, :n] = mask.to_tensor(n, n)
    expected = padded.reshape(side, 16, side, 16).any(3).any(1)
    assert_close(blocks.to_dense()[0, 0].bool(), expected)


@given(TREES, SIZES, st.integers(0, 30))
def test_an_offset_gives_the_last_rows_of_the_whole(tree, queries, cached):
    mask = mask_of(tree)
    whole = mask.to_tensor(cached + queries, cached + queries)
    later = mask.to_tensor(queries, cached + queries, offset=cached)
    assert_close(later, whole[cached:])
    assert_close(later, transformers_mask(mask, queries, cached + queries, cached))


@given(TREES, st.integers(46, 60))
def test_the_expression_is_the_mask(tree, n):
    mask = mask_of(tree)
    names = {"torch": torch, "n": n}
    try:
        preparation = mask.preparation
    except InputError:  # two different Documents or Cells in one tree
        reject()
    exec("\n".join(preparation), names)
    exec(f"def mask_mod(b, h, q_idx, kv_idx):\n    return {mask.expression}", names)
    assert_close(torch_mask(names["mask_mod"], n, n), mask.to_tensor(n, n))
    assert_close(transformers_mask(names["mask_mod"], n, n), mask.to_tensor(n, n))


@pytest.mark.parametrize(
    ("counts_itself", "keys"), [(True, [1, 2, 3, 3, 3, 3]), (False, [1, 2, 3, 4, 4, 4])]
)
def test_public_case_of_what_a_window_of_3_means(counts_itself, keys):
    """transformers#29623, vllm#3385, mlx-lm#390, axlearn#1009, transformers#39408."""
    window = Causal() & SlidingWindow(3, counts_itself)
    assert window.to_tensor(6, 6).sum(-1).tolist() == keys


@pytest.mark.parametrize(("width", "tokens"), [(2_048, 4_096), (128, 300), (8, 64)])
def test_public_case_of_the_last_row_of_a_window(width, tokens):
    """2,048 against 2,049 on 4,096 tokens; gpt-oss: 128; axlearn: 8 means 9."""
    for counts_itself, keys in ((True, width), (False, width + 1)):
        mask = Causal() & SlidingWindow(width, counts_itself)
        assert int(mask.to_tensor(1, tokens, offset=tokens - 1).sum()) == keys
    function = theirs.sliding_window_causal_mask_function(width)
    assert int(function(0, 0, torch.tensor(tokens - 1), torch.arange(tokens)).sum()) == width


def test_public_case_of_a_window_of_0():
    """unsloth#8253: refused where a token counts itself; else the diagonal, no row that sees nothing."""
    with pytest.raises(InputError, match="window is 0"):
        SlidingWindow(0)
    for base in (Causal(), Bidirectional()):
        assert torch.equal((base & SlidingWindow(0, False)).to_tensor(5, 5), torch.eye(5, dtype=torch.bool))


@pytest.mark.parametrize(("queries", "keys"), [(5, 2), (4, 3), (2, 5), (3, 3), (7, 1)])
def test_public_case_of_more_causal_queries_than_keys(queries, keys):
    """pytorch#108108: aligned at the lower right, the first queries see nothing."""
    mask = Causal().to_tensor(queries, keys, offset=keys - queries)
    says_so = pytest.warns(UserWarning, match="seq_len_q > seq_len_kv") if queries > keys else nullcontext()
    with says_so:
        theirs = causal_lower_right(queries, keys)
    assert torch.equal(mask, theirs._materialize(torch.device("cpu")))
    assert int((~mask.any(dim=-1)).sum()) == max(0, queries - keys)
    if (queries, keys) == (5, 2):
        assert mask.int().tolist() == [[0, 0], [0, 0], [0, 0], [1, 0], [1, 1]]


def test_masks_are_values():
    assert lambda_shaped(4, 8) == Causal() & (FirstKeys(4) | SlidingWindow(8))
    assert hash(lambda_shaped(4, 8)) == hash(lambda_shaped(4, 8)) != hash(lambda_shaped(4, 9))
    assert lambda_shaped(4, 8).expression == (
        "(kv_idx <= q_idx) & ((kv_idx < 4) | ((q_idx - kv_idx).abs() < 8))"
    )


# What is refused, and what has a meaning although it is odd


@pytest.mark.parametrize(
    "make",
    [
        lambda: SlidingWindow(0),
        lambda: SlidingWindow(-1, counts_itself=False),
        lambda: FirstKeys(-1),
        lambda: FirstQueries(-1),
        lambda: Dilated(0),
        lambda: Blocks(0),
        lambda: Blocks(4, 0),
        lambda: Documents((0, 3)),
        lambda: Documents((5, 3)),
        lambda: Documents((5, 5)),
        lambda: Cells(((0, -1),)),
        lambda: Cells(()),
        lambda: Causal().to_tensor(0, 3),
        lambda: (Documents((2,)) & Documents((3,))).preparation,
    ],
)
def test_what_makes_no_mask_is_refused_in_a_sentence(make):
    with pytest.raises(InputError, match=r"\.$"):
        make()


def test_more_sinks_than_tokens_and_a_prefix_beyond_the_end_mean_everything():
    n = 6
    assert_close(lambda_shaped(99, 1).to_tensor(n, n), Causal().to_tensor(n, n))
    assert_close(prefix_lm(99).to_tensor(n, n), Bidirectional().to_tensor(n, n))
    assert not left_padding(99).to_tensor(n, n).any()


def test_the_base_class_is_no_mask():
    with pytest.raises(NotImplementedError):
        Mask().to_tensor(1, 1)
    with pytest.raises(NotImplementedError):
        _ = Mask().expression
