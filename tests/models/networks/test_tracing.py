"""Traces against transformers' own eager attention, and interventions against changed networks."""

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    Gemma2Config,
    GemmaConfig,
    Glm4MoeConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
    RobertaConfig,
)

from models.errors import InputError
from models.networks.interventions import Intervention, Visible
from models.networks.loading import load
from models.networks.tracing import trace, trace_ids
from models.runtime.settings import settings
from tests.models.networks.tiny_networks import (
    bert_config,
    gpt2_config,
    llama_config,
    mixtral_config,
    neox_config,
)

TEXT = "Margery rowed out to the bell 茶 on the rock before the tide turned."
# (configuration, its sizes): heads, key heads and widths of several kinds.
CONFIGS = {
    "llama, 6 heads, 2 key heads": llama_config(24, 6, 2),
    "llama, one key head": llama_config(40, 5, 1, attention_bias=True),
    "llama, head width apart from width": llama_config(24, 4, 4, head_dim=10),
    "gpt2": gpt2_config(24, 4),
    "gpt2, scaled by layer": gpt2_config(30, 3, scale_attn_by_inverse_layer_idx=True),
    "gpt2, not scaled": gpt2_config(24, 2, scale_attn_weights=False),
    "gpt_neox, parallel": neox_config(24, 4),
    "gpt_neox, sequential": neox_config(24, 3, use_parallel_residual=False),
    "bert": bert_config(24, 4),
    "mixtral, window of 5": mixtral_config(24, 6, 2),
    "mixtral, no window": mixtral_config(32, 4, 4, sliding_window=None),
}


def reference(folder, kind="causal", **changes):
    """The same network as transformers runs it, with eager attention."""
    auto = AutoModelForMaskedLM if kind == "encoder" else AutoModelForCausalLM
    return auto.from_pretrained(folder, attn_implementation="eager", **changes).eval()


@pytest.fixture(params=CONFIGS, scope="module")
def pair(request, build):
    network = load(str(build(CONFIGS[request.param])))
    return network, reference(network.entry.location, network.entry.kind)


@torch.no_grad()
def run(model, token_ids, **options):
    return model(token_ids[None], output_attentions=True, output_hidden_states=True, **options)


def difference(ours, theirs) -> float:
    return (ours - theirs).abs().max().item()


@pytest.mark.slow
def test_trace_equals_eager_attention(pair):
    network, eager = pair
    ours = trace(network, TEXT)
    theirs = run(eager, ours.token_ids)
    for layer, probabilities in zip(ours.layers, theirs.attentions, strict=True):
        assert difference(layer.probabilities, probabilities[0]) == 0.0
    assert difference(ours.logits, theirs.logits[0]) == 0.0
    for hidden, states in zip(ours.hidden[:-1], theirs.hidden_states, strict=False):
        assert difference(hidden, states[0]) == 0.0


@pytest.mark.slow
def test_recorded_parts_fit_together(pair):
    network, _ = pair
    for layer in trace(network, TEXT).layers:
        assert layer.scale == layer.base_scale
        assert difference(layer.scores.softmax(-1), layer.probabilities) < 1e-5
        assert difference(layer.probabilities @ layer.value[layer.key_of_head], layer.head_output) < 1e-5
        assert difference(layer.reassembled, layer.projected) < 1e-5
        assert torch.allclose(layer.probabilities.sum(-1), torch.ones(()), atol=1e-5)
        assert not layer.probabilities[~layer.visible.expand_as(layer.probabilities)].any()


def test_head_output_equals_torchs_own_attention(pair):
    network, _ = pair
    for layer in trace(network, TEXT).layers:
        output = scaled_dot_product_attention(
            layer.query[None],
            layer.key[None],
            layer.value[None],
            attn_mask=layer.visible,
            scale=layer.scale,
            enable_gqa=True,
        )
        assert difference(layer.head_output, output[0]) < 1e-5


def test_temperature_and_exponent_scale_the_query(pair):
    """Queries of a copy are multiplied at their source, where rotary embedding keeps the factor."""
    network, eager = pair
    intervention = Intervention(scale_exponent=0.2, temperature=1.7)
    changed = copy.deepcopy(eager)
    factor = network.head_width**0.3 / 1.7
    for name, parameter in changed.named_parameters():
        if ".q_proj." in name or ".self.query." in name:
            parameter.data *= factor
        elif ".c_attn." in name:
            parameter.data[..., : network.width] *= factor
        elif ".query_key_value." in name:  # query, key and value of one head after the other
            parameter.data.view(network.heads, 3, network.head_width, -1)[:, 0] *= factor
    ours = trace(network, TEXT, intervention)
    theirs = run(changed, ours.token_ids)
    assert difference(ours.logits, theirs.logits[0]) < 1e-4  # logits are near 30
    for layer, probabilities in zip(ours.layers, theirs.attentions, strict=True):
        assert difference(layer.probabilities, probabilities[0]) < 1e-5


def test_silenced_heads_are_zero_rows_of_the_output_projection(pair):
    network, eager = pair
    silenced = frozenset({(0, 1), (2, 0), (2, network.heads - 1)})
    changed = copy.deepcopy(eager)
    ours = trace(network, TEXT, Intervention(silenced=silenced))
    names = [
        name
        for name, _ in changed.named_parameters()
        if name.endswith(
            (
                "o_proj.weight",
                "attn.c_proj.weight",
                "attention.dense.weight",
                "attention.output.dense.weight",
            )
        )
    ]
    for layer, head in silenced:
        weight = changed.get_parameter(names[layer]).data
        rows = weight if ".c_proj." in names[layer] else weight.T
        rows.view(network.heads, -1, network.width)[head] = 0
        assert not ours.layers[layer].head_output[head].any()
    theirs = run(changed, ours.token_ids)
    assert difference(ours.logits, theirs.logits[0]) < 1e-4  # logits are near 30
    assert difference(ours.logits, trace(network, TEXT).logits) > 1e-3


def test_hidden_cells_are_minus_infinity_in_one_heads_mask(build):
    """Against the scores of one layer, softmax taken of them by hand; other heads do not change."""
    network = load(str(build(bert_config(24, 4))))
    before = trace(network, TEXT).layers[1]
    after = trace(network, TEXT, Intervention(hidden_cells=frozenset({(1, 2, 5, 3), (1, 2, 5, 4)}))).layers[
        1
    ]
    scores = before.scores.clone()
    scores[2, 5, 3:5] = -torch.inf
    assert difference(after.probabilities, scores.softmax(-1)) < 1e-6
    assert not after.visible[2, 5, 3:5].any()
    assert after.visible.sum() == before.visible.expand_as(after.visible).sum() - 2
    for cells in ({(1, 9, 0, 0)}, {(0, 0, 0, 99)}):
        with pytest.raises(InputError):
            trace(network, TEXT, Intervention(hidden_cells=frozenset(cells)))


@pytest.mark.parametrize("seed", [0, 1])
def test_mask_is_transformers_four_dimensional_mask(pair, seed):
    network, eager = pair
    token_ids = trace(network, TEXT).token_ids
    mask = torch.rand(2 * [len(token_ids)], generator=torch.Generator().manual_seed(seed)) < 0.4
    mask.fill_diagonal_(True)
    ours = trace_ids(network, token_ids, Intervention(visible=Visible.from_tensor(mask)))
    if (window := getattr(eager.config, "sliding_window", None)) is not None:  # a layer keeps its own
        at = torch.arange(len(token_ids))
        mask = mask & ((at[:, None] - at).abs() < window)
    added = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(torch.float32).min)
    theirs = run(eager, token_ids, attention_mask=added[None, None])
    assert difference(ours.logits, theirs.logits[0]) == 0.0
    for layer, probabilities in zip(ours.layers, theirs.attentions, strict=True):
        assert torch.equal(layer.visible, mask)
        assert difference(layer.probabilities, probabilities[0]) == 0.0


def test_query_that_may_read_nothing_reads_all_equally(build):
    network = load(str(build(llama_config())))
    token_ids = torch.arange(5)
    mask = torch.ones(5, 5, dtype=torch.bool).tril()
    mask[3] = False
    layer = trace_ids(network, token_ids, Intervention(visible=Visible.from_tensor(mask))).layers[0]
    assert torch.allclose(layer.probabilities[:, 3], torch.full((), 0.2))
    assert (layer.scores[:, 3] == -torch.inf).all()


def test_a_mask_in_one_layer_is_that_of_layers_of_two_kinds(build):
    sizes = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    llama = llama_config(24, 4, 2)
    shared = {name: getattr(llama, name) for name in (*sizes, "num_key_value_heads")}
    kinds = ["full_attention"] * (llama.num_hidden_layers - 1) + ["sliding_attention"]
    network = load(str(folder := build(Qwen2Config(**shared))))
    mixed = Qwen2Config(**shared, use_sliding_window=True, sliding_window=3, layer_types=kinds)
    eager = reference(folder, config=mixed)
    last = llama.num_hidden_layers - 1
    token_ids = torch.arange(9)
    window = Visible.from_tensor(torch.ones(9, 9, dtype=torch.bool).tril().triu(-2))
    ours = trace_ids(network, token_ids, Intervention(visible=window, visible_in=frozenset({last})))
    theirs = run(eager, token_ids)
    assert difference(ours.logits, theirs.logits[0]) == 0.0
    assert not torch.equal(ours.layers[0].visible, ours.layers[last].visible)
    with pytest.raises(InputError, match="counted from 0"):
        trace_ids(network, token_ids, Intervention(visible=window, visible_in=frozenset({last + 1})))


def test_windows_may_differ_by_layer(build):
    config = Gemma2Config(
        **llama_config(24, 6, 2).to_diff_dict()
        | {
            "model_type": "gemma2",
            "sliding_window": 4,
            "query_pre_attn_scalar": 9,
            "attn_logit_softcapping": 2.0,
        },
    )
    network = load(str(build(config)))
    ours = trace(network, TEXT)
    theirs = run(reference(network.entry.location), ours.token_ids)
    assert [int(layer.visible.sum(-1).max()) for layer in ours.layers] == [4, ours.tokens_shown, 4]
    for layer, probabilities in zip(ours.layers, theirs.attentions, strict=True):
        assert layer.base_scale == 9**-0.5  # the network's own convention stays the base
        assert difference(layer.probabilities, probabilities[0]) == 0.0
        assert difference(layer.scores.softmax(-1), layer.probabilities) < 1e-5
    assert trace(network, TEXT, Intervention(0.0)).layers[0].scale == pytest.approx(9**-0.5 * 4**0.5)
    with pytest.raises(InputError, match="Gemma2ForCausalLM"):
        trace(network, TEXT, Intervention(residual=False))


@torch.no_grad()
def rewired(eager, token_ids, residual: bool, mlp: bool):
    """The last block's output, each block put together by hand from transformers' own modules."""
    hidden, base = run(eager, token_ids).hidden_states[0], eager.base_model
    if eager.config.model_type in ("bert", "roberta"):
        for block in base.encoder.layer:
            hidden = post_norm_block(block, hidden, residual, mlp)
        return hidden[0]
    options = {"attention_mask": causal_mask(len(token_ids), getattr(eager.config, "sliding_window", None))}
    if eager.config.model_type != "gpt2":
        positions = torch.arange(len(token_ids))[None]
        options["position_embeddings"] = base.rotary_emb(hidden, positions)
    for block in base.h if eager.config.model_type == "gpt2" else base.layers:
        hidden = pre_norm_block(block, hidden, options, residual, mlp)
    return hidden[0]


def causal_mask(tokens: int, window: int | None):
    visible = torch.ones(tokens, tokens, dtype=torch.bool).tril()
    if window is not None:
        visible = visible.triu(1 - window)
    return torch.zeros(tokens, tokens).masked_fill(~visible, torch.finfo(torch.float32).min)[None, None]


def post_norm_block(block, hidden, residual: bool, mlp: bool):
    attended = block.attention.output.dense(block.attention.self(hidden)[0])
    attended = block.attention.output.LayerNorm(attended + hidden if residual else attended)
    if not mlp:
        return block.output.LayerNorm(attended)
    written = block.output.dense(block.intermediate(attended))
    return block.output.LayerNorm(written + attended if residual else written)


def pre_norm_block(block, hidden, options, residual: bool, mlp: bool):
    parts = dict(block.named_children())
    first = parts.get("ln_1") or parts["input_layernorm"]
    second = parts.get("ln_2") or parts["post_attention_layernorm"]
    attention = parts.get("attn") or parts.get("attention") or parts["self_attn"]
    attended = attention(first(hidden), **options)[0] + (hidden if residual else 0.0)
    if not mlp:
        return attended
    if getattr(block, "use_parallel_residual", False):
        return attended + block.mlp(second(hidden))
    return block.mlp(second(attended)) + (attended if residual else 0.0)


@pytest.mark.parametrize(("residual", "mlp"), [(False, True), (True, False), (False, False), (True, True)])
def test_blocks_without_skip_connections_or_mlp(pair, residual, mlp):
    network, eager = pair
    ours = trace(network, TEXT, Intervention(residual=residual, mlp=mlp))
    theirs = rewired(eager, ours.token_ids, residual, mlp)
    size = theirs.abs().max().item()
    assert difference(ours.hidden[-1], theirs) < 1e-5 * max(1.0, size)


@pytest.mark.slow
@pytest.mark.parametrize(
    "config", [GemmaConfig, Glm4MoeConfig, MistralConfig, Qwen2Config, Qwen3Config, RobertaConfig]
)
def test_further_architectures_equal_eager_attention_and_can_be_rewired(build, config):
    shared = llama_config(24, 4, 2).to_diff_dict() | {"model_type": config.model_type, "pad_token_id": 1}
    network = load(str(build(config(**shared))))
    eager = reference(network.entry.location, network.entry.kind)
    token_ids = torch.arange(5, 25)
    theirs = run(eager, token_ids)
    for layer, probabilities in zip(trace_ids(network, token_ids).layers, theirs.attentions, strict=True):
        assert difference(layer.probabilities, probabilities[0]) == 0.0
        assert difference(layer.reassembled, layer.projected) < 1e-5
    for residual, mlp in [(False, True), (True, False), (False, False)]:
        ours = trace_ids(network, token_ids, Intervention(residual=residual, mlp=mlp)).hidden[-1]
        by_hand = rewired(eager, token_ids, residual, mlp)
        assert difference(ours, by_hand) < 1e-5 * max(1.0, by_hand.abs().max().item())


def test_nothing_stays_on_the_network(pair):
    network, _ = pair
    before = trace(network, TEXT)
    mask = Visible.from_tensor(torch.eye(before.tokens_shown, dtype=torch.bool))
    trace(
        network, TEXT, Intervention(0.1, 3.0, frozenset({(1, 0)}), visible=mask, residual=False, mlp=False)
    )
    with pytest.raises(InputError):
        trace(network, TEXT, Intervention(silenced=frozenset({(99, 0)})))
    after = trace(network, TEXT)
    assert difference(before.logits, after.logits) == 0.0
    plain = run(network.model, before.token_ids)  # outside a trace: transformers alone
    assert difference(before.logits, plain.logits[0]) == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("config", [llama_config(), bert_config()], ids=["llama", "bert"])
def test_threads_do_not_see_each_others_interventions(build, config):
    network = load(str(build(config)))
    tokens = trace(network, TEXT).tokens_shown
    window = torch.ones(tokens, tokens, dtype=torch.bool).tril().triu(-2)
    interventions = [
        Intervention(),
        Intervention(temperature=5.0),
        Intervention(silenced=frozenset({(0, 0), (1, 1)})),
        Intervention(visible=Visible.from_tensor(window)),
        Intervention(residual=False),
        Intervention(mlp=False, scale_exponent=0.0),
    ]
    alone = [trace(network, TEXT, intervention).logits for intervention in interventions]
    order = [index for _ in range(20) for index in range(len(interventions))]
    with ThreadPoolExecutor(6) as threads:
        together = list(threads.map(lambda index: trace(network, TEXT, interventions[index]).logits, order))
    for index, logits in zip(order, together, strict=True):
        assert difference(logits, alone[index]) == 0.0


def test_trace_without_a_head_has_no_logits(build):
    folder = build(bert_config(), head=False)
    ours = trace(load(str(folder)), TEXT)
    theirs = run(AutoModel.from_pretrained(folder, attn_implementation="eager").eval(), ours.token_ids)
    assert ours.logits is None
    assert difference(ours.hidden[-1], theirs.last_hidden_state[0]) == 0.0


def test_packaged_minilm_equals_eager_attention():
    network = load("all-MiniLM-L6-v2", device="cpu", dtype=torch.float32)
    assert network.entry.parameters == sum(weight.numel() for weight in network.model.parameters())
    folder = network.model.name_or_path
    eager = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    ours = trace(network, "The keeper of the lighthouse rang the bell, for the fog had come in again.")
    theirs = run(eager, ours.token_ids)
    for layer, probabilities in zip(ours.layers, theirs.attentions, strict=True):
        assert difference(layer.probabilities, probabilities[0]) == 0.0
        assert difference(layer.reassembled, layer.projected) < 1e-5
    assert difference(ours.hidden, torch.cat(theirs.hidden_states)) == 0.0
    assert ours.labels[:4] == ("[CLS]", "the", "keeper", "of")


def test_bfloat16_equals_eager_attention(build):
    for config in (llama_config(), gpt2_config(), bert_config()):
        network = load(str(build(config)), dtype=torch.bfloat16)
        eager = reference(network.entry.location, network.entry.kind, dtype=torch.bfloat16)
        ours = trace(network, TEXT)
        theirs = run(eager, ours.token_ids)
        assert ours.logits.dtype == torch.float32
        assert difference(ours.logits, theirs.logits[0].float()) == 0.0
        assert difference(ours.layers[2].probabilities, theirs.attentions[2][0].float()) == 0.0


def test_long_text_is_cut_to_the_context_and_to_the_settings(build, monkeypatch):
    network = load(str(build(llama_config())))
    ours = trace(network, 40 * TEXT)
    assert ours.tokens_shown == network.context == 64
    assert ours.tokens_total > 64
    assert (40 * TEXT).startswith(ours.text_shown)
    assert len(ours.labels) == 64
    monkeypatch.setenv("LOUPE_TEXT_TOKENS", "9")
    settings.cache_clear()
    assert trace(network, TEXT).tokens_shown == 9


@pytest.mark.parametrize(
    "ids", [[], [400], [-1], list(range(65))], ids=["none", "too large", "negative", "too many"]
)
def test_token_ids_that_the_network_does_not_have_are_refused(build, ids):
    network = load(str(build(llama_config())))
    with pytest.raises(InputError):
        trace_ids(network, torch.tensor(ids, dtype=torch.long))


@pytest.mark.slow
@pytest.mark.parametrize(
    "text", ["\x00\x1b", "\x1b[31m\u202e", "🙂👩‍🚀", "茶馆里的人都说", "<|start|>", "[CLS]", "\ufffd", "a"]
)
def test_unusual_texts_are_traced(pair, text):
    network, _ = pair
    if network.entry.kind == "encoder" and text in ("\x00\x1b", "\ufffd"):
        with pytest.raises(InputError, match="keeps nothing"):  # BERT's normalizer deletes these
            trace(network, text)
        return
    ours = trace(network, text)
    assert len(ours.labels) == ours.tokens_shown >= 1
    assert torch.isfinite(ours.logits).all()
