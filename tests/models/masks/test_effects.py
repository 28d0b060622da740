"""models.masks.effects and models.masks.costs on real networks, against torch and transformers."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.nn.attention.flex_attention import create_block_mask
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, DynamicCache, LlamaConfig, LlamaModel
from transformers.masking_utils import eager_mask

from models.errors import InputError
from models.masks.algebra import Causal, SlidingWindow, lambda_shaped, prefix_lm
from models.masks.costs import Shape, kept_keys, mask_cost, reading_later, visible_blocks
from models.masks.effects import empty_rows, head_stage, loss_by_position, moved
from models.masks.settings import MaskSettings
from models.networks.catalogue import DEFAULT, EMBEDDED
from models.networks.interventions import Intervention, Visible
from models.networks.loading import load
from models.networks.tracing import trace, trace_ids
from models.numerics.attention_costs import attention_flops

TEXT = "The keeper lit the lamp, and the keeper slept."
SHAPE = Shape(layers=3, heads=6, key_heads=2, head_width=8)


def random_mask(n: int, seed: int, share: float = 0.5) -> torch.Tensor:
    return torch.rand(n, n, generator=torch.Generator().manual_seed(seed)) < share


def traced(visible: torch.Tensor):
    return trace(load(DEFAULT), TEXT, Intervention(visible=Visible.from_tensor(visible)))


def eager_output(mask, tokens: int, token_ids: torch.Tensor):
    """The same network by transformers alone, its eager mask made of the mask."""
    model = AutoModelForCausalLM.from_pretrained(EMBEDDED / DEFAULT, attn_implementation="eager").eval()
    four = eager_mask(1, tokens, tokens, mask_function=mask)
    with torch.no_grad():
        return model(token_ids[None], attention_mask=four, output_attentions=True)


# In a network


@pytest.mark.parametrize(
    "settings",
    [
        MaskSettings(),
        MaskSettings(pattern="window", window=3),
        MaskSettings(pattern="lambda", window=2, sinks=1),
        MaskSettings(base="prefix", prefix=4, cells=((6, 2), (3, 7))),
        MaskSettings(base="cross", prefix=5),  # its first rows see nothing
        MaskSettings(side="left", padded=99),  # no row sees anything
    ],
    ids=str,
)
def test_the_whole_network_under_a_mask_is_that_of_transformers(settings):
    n = trace(load(DEFAULT), TEXT).tokens_shown
    mask = settings.mask(n)
    ours = traced(mask.to_tensor(n, n))
    theirs = eager_output(mask, n, ours.token_ids)
    assert_close(ours.logits, theirs.logits[0], atol=1e-4, rtol=1e-4)
    for layer, attentions in enumerate(theirs.attentions):
        weights = head_stage(ours, layer, 2, "softmax")
        assert_close(weights.nan_to_num(), attentions[0, 2], atol=1e-5, rtol=1e-4)
        assert_close(weights.nansum(-1), torch.ones(n), atol=1e-5, rtol=0)
    losses = loss_by_position(ours.logits, ours.token_ids)
    expected = F.cross_entropy(theirs.logits[0, :-1], ours.token_ids[1:], reduction="none")
    assert_close(losses, expected, atol=1e-4, rtol=1e-4)


def test_stages_follow_one_another_and_an_empty_row_is_even():
    n = trace(load(DEFAULT), TEXT).tokens_shown
    visible = torch.ones(n, n, dtype=torch.bool).tril()
    visible[4] = False
    ours = traced(visible)
    assert empty_rows(visible).tolist() == [4]
    scaled, masked, weights = (head_stage(ours, 1, 3, stage) for stage in ("scaled", "masked", "softmax"))
    assert not scaled.isnan().any()
    assert_close(masked.isnan(), ~visible)
    assert_close(masked[visible], scaled[visible])
    rows = [row for row in range(n) if row != 4]
    expected = masked.nan_to_num(nan=-torch.inf).softmax(-1)
    assert_close(weights.nan_to_num()[rows], expected[rows], atol=1e-5, rtol=1e-4)
    assert_close(weights[4], torch.full((n,), 1 / n))


def test_a_text_of_one_token_has_no_loss():
    single = trace_ids(load(DEFAULT), torch.tensor([5]))
    with pytest.raises(InputError, match="one token"):
        loss_by_position(single.logits, single.token_ids)


@given(st.integers(1, 6), st.integers(2, 9), st.integers(0, 2**31))
def test_vectors_move_by_their_angle(n, width, seed):
    generator = torch.Generator().manual_seed(seed)
    one, other = torch.randn(2, n, width, generator=generator, dtype=torch.float64) + 0.1
    expected = 1 - F.normalize(one, dim=-1).mul(F.normalize(other, dim=-1)).sum(-1)
    assert_close(moved(one, other), expected)
    assert_close(moved(one, 3 * one), torch.zeros(n, dtype=torch.float64))


# Costs


@given(st.integers(1, 30), st.integers(0, 2**31))
def test_empty_rows_are_those_of_which_softmax_is_nan(n, seed):
    visible = random_mask(n, seed, 0.1)
    weights = torch.zeros(n, n).masked_fill(~visible, -torch.inf).softmax(-1)
    assert empty_rows(visible).tolist() == torch.nonzero(weights.isnan().any(1))[:, 0].tolist()


@given(st.integers(1, 40))
def test_full_masks_cost_what_attention_costs(n):
    for visible, causal in (
        (Causal().to_tensor(n, n), True),
        (torch.ones(n, n, dtype=torch.bool), False),
    ):
        cost = mask_cost(visible, SHAPE, 2, 16)
        flops = SHAPE.layers * attention_flops(SHAPE.heads, SHAPE.head_width, n, n, causal)
        assert cost.flops == flops
        assert cost.dense_flops == SHAPE.layers * attention_flops(
            SHAPE.heads, SHAPE.head_width, n, n, False
        )
        assert cost.kept == n
        assert cost.kept_bytes == 2 * SHAPE.layers * SHAPE.key_heads * SHAPE.head_width * n * 2
        assert cost.rereading == (0 if causal else n - 1)


def test_the_dense_flops_are_those_that_torch_counts():
    query, key, value = torch.randn(3, 1, SHAPE.heads, 9, SHAPE.head_width)
    with FlopCounterMode(display=False) as counter:
        _ = (query @ key.mT).softmax(-1) @ value
    cost = mask_cost(Causal().to_tensor(9, 9), SHAPE, 2, 16)
    assert cost.dense_flops == SHAPE.layers * counter.get_total_flops()


def test_the_kept_bytes_are_those_of_a_cache_of_transformers():
    config = LlamaConfig(
        vocab_size=11,
        hidden_size=48,
        intermediate_size=8,
        num_hidden_layers=SHAPE.layers,
        num_attention_heads=SHAPE.heads,
        num_key_value_heads=SHAPE.key_heads,
        head_dim=SHAPE.head_width,
    )
    cache = DynamicCache()
    LlamaModel(config).eval()(torch.arange(7)[None], past_key_values=cache, use_cache=True)
    held = sum(t.nbytes for layer in cache.layers for t in (layer.keys, layer.values))
    assert mask_cost(Causal().to_tensor(7, 7), SHAPE, 4, 16).kept_bytes == held


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 10))
def test_a_window_keeps_its_width_and_the_sinks(n, width, sinks):
    steps = torch.arange(1, n + 1)
    window = (Causal() & SlidingWindow(width)).to_tensor(n, n)
    assert_close(kept_keys(window), steps.clamp(max=width))
    assert_close(
        kept_keys(lambda_shaped(sinks, width).to_tensor(n, n)),
        steps.clamp(max=width + sinks) if n > 0 else steps,
    )


@given(st.integers(1, 20), st.integers(0, 2**31))
def test_a_key_is_kept_while_a_query_still_reads_it(n, seed):
    visible = random_mask(n, seed, 0.3)
    expected = [
        sum(any(visible[later, key] for later in range(step, n)) for key in range(step + 1))
        for step in range(n)
    ]
    assert kept_keys(visible).tolist() == expected


@given(st.integers(1, 20), st.integers(0, 20))
def test_only_tokens_inside_a_prefix_read_later_ones(n, length):
    reading = reading_later(prefix_lm(length).to_tensor(n, n))
    assert reading.tolist() == [index < min(length, n) - 1 for index in range(n)]


@given(st.integers(1, 90), st.integers(1, 3), st.integers(0, 2**31))
def test_visible_blocks_are_those_of_a_block_mask(n, power, seed):
    size, visible = 8 * 2**power, random_mask(n, seed, 0.01)
    blocks = create_block_mask(
        lambda batch, head, query, key: visible[query, key], None, None, n, n, device="cpu", BLOCK_SIZE=size
    )
    assert_close(visible_blocks(visible, size), blocks.to_dense()[0, 0].bool())
    cost = mask_cost(visible, SHAPE, 2, size)
    assert 100 * (1 - cost.blocks / cost.all_blocks) == pytest.approx(
        100 * (1 - float(blocks.to_dense().float().mean()))
    )


def test_what_cannot_be_counted_gets_a_sentence():
    with pytest.raises(InputError, match="must be the same"):
        kept_keys(torch.ones(2, 3, dtype=torch.bool))
    with pytest.raises(InputError, match="accepted"):
        visible_blocks(torch.ones(2, 2, dtype=torch.bool), 0)
