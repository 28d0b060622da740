"""Every family of architectures that Loupe looks into: traces against transformers' own eager passes.

What a trace would explain wrongly is refused in a sentence, whatever the family.
"""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from models.attention.head_view import difference_from_module, difference_from_sdpa
from models.errors import InputError
from models.masks.packing import masked_logits
from models.masks.streaming import decode, stream_logits
from models.networks.facts import facts_of
from models.networks.interventions import Intervention, Visible
from models.networks.key_cache import KeyCache
from models.networks.loading import load
from models.networks.rotary import before_rotation, rotary_of
from models.networks.tracing import trace, trace_batch
from models.numerics.comparison import largest_difference
from models.numerics.masked_softmax import masked_softmax
from models.rotary.rope import scores_by_pair

TEXT = "Margery rowed out to the bell on the rock."
SIZES = {
    "vocab_size": 400,
    "hidden_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "intermediate_size": 64,
    "ffn_dim": 64,
    "word_embed_proj_dim": 48,
    "max_position_embeddings": 64,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
    "num_local_experts": 4,
    "num_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "n_embd": 48,
    "n_layer": 4,
    "n_head": 4,
    "n_positions": 64,
}
ROTATED = "rotated"  # in every layer
IN_PART = "in part"  # of the layers
PLAIN = "plain"  # not rotated, or not in a way that can be undone
FAMILIES = {
    "apertus": ROTATED,
    "arcee": ROTATED,
    "bert": PLAIN,
    "biogpt": PLAIN,
    "cohere": ROTATED,
    "cohere2": IN_PART,
    "distilbert": PLAIN,
    "ernie4_5": ROTATED,
    "esm": PLAIN,
    "eurobert": ROTATED,
    "exaone4": IN_PART,
    "gemma": ROTATED,
    "gemma2": ROTATED,
    "gemma3_text": ROTATED,
    "glm4": ROTATED,
    "glm4_moe": ROTATED,
    "gpt2": PLAIN,
    "gpt_bigcode": PLAIN,
    "gpt_neox": ROTATED,
    "gpt_oss": PLAIN,
    "granite": ROTATED,
    "helium": ROTATED,
    "llama": ROTATED,
    "mistral": ROTATED,
    "mixtral": ROTATED,
    "modernbert": ROTATED,
    "nanochat": PLAIN,
    "nemotron": ROTATED,
    "olmo": ROTATED,
    "olmo2": ROTATED,
    "olmo3": ROTATED,
    "olmoe": ROTATED,
    "opt": PLAIN,
    "persimmon": ROTATED,
    "phi": ROTATED,
    "phi3": ROTATED,
    "qwen2": ROTATED,
    "qwen3": ROTATED,
    "qwen3_moe": ROTATED,
    "roberta": PLAIN,
    "smollm3": IN_PART,
    "stablelm": ROTATED,
    "starcoder2": ROTATED,
}
CHANGES = {
    "olmo": {"clip_qkv": 0.5},
    "persimmon": {"qk_layernorm": True},
    "stablelm": {"qk_layernorm": True, "partial_rotary_factor": 0.5},
    "exaone4": {"sliding_window": 8},
    "gemma3_text": {"sliding_window": 8},
}
OTHER_SCALES = ("gemma2", "gemma3_text", "granite")  # a number of the configuration
WITHOUT_HEAD_WIDTH = ("bert", "modernbert", "stablelm", "persimmon", "distilbert", "gpt_neox")
REFUSED = {
    "big_bird": "of which Loupe can trace 0",  # pads inside, so that rows would not be the text's
    "bitnet": "is no projection of its heads' outputs",
    "bloom": "of which Loupe can trace 0",
    "diffllama": "attends 8 times in 4 layers",
    "falcon": "attends in a way of its own",
    "gptj": "attends in a way of its own",
}


def config_of(family: str):
    """A tiny configuration of a family, from those of the sizes above that it has."""
    cls = type(plain := AutoConfig.for_model(family))
    names = {name for name in SIZES if hasattr(plain, name) or name in cls.attribute_map}
    names -= (
        {"head_dim"} if family in WITHOUT_HEAD_WIDTH or plain.to_dict().get("head_dim") is None else set()
    )
    return cls(**{name: SIZES[name] for name in sorted(names)} | CHANGES.get(family, {}))


@pytest.fixture(scope="module")
def folder(build):
    """Folders of tiny random networks, whose attention is far from uniform; each is built once."""
    made = {}

    def of(family: str) -> str:
        if family not in made:
            made[family] = str(build(config_of(family), spread=0.15))
        return made[family]

    return of


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_trace_is_what_transformers_computes(folder, family):
    network = load(folder(family))
    auto = AutoModelForMaskedLM if family in MODEL_FOR_MASKED_LM_MAPPING_NAMES else AutoModelForCausalLM
    eager = auto.from_pretrained(folder(family), attn_implementation="eager").eval()
    traced = trace(network, TEXT)
    with torch.no_grad():
        output = eager(traced.token_ids[None], output_attentions=True)
    assert largest_difference(traced.logits, output.logits[0]) < 1e-4
    for record, theirs in zip(traced.layers, output.attentions, strict=True):
        assert largest_difference(record.probabilities, theirs[0]) < 1e-5
        explained = masked_softmax(record.scores, record.sinks).probabilities
        assert largest_difference(explained, record.probabilities) < 1e-5
        assert difference_from_module(record) < 1e-4
        if record.softcap is None:
            assert difference_from_sdpa(record) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_rotation_is_taken_apart_where_there_is_one_and_nowhere_else(folder, family):
    network = load(folder(family))
    traced = trace(network, TEXT)
    rotated = [record.rotary is not None for record in traced.layers]
    kind = ROTATED if all(rotated) else IN_PART if any(rotated) else PLAIN
    assert kind == FAMILIES[family]
    assert network.anatomy.rotary == (kind == ROTATED)
    at = torch.arange(traced.tokens_shown)
    for layer, record in enumerate(traced.layers):
        if record.rotary is None:
            with pytest.raises(InputError, match="rotary"):
                rotary_of(network, traced, layer)
            continue
        query, key = before_rotation(record)
        assert largest_difference(record.unrotated_query, query) < 1e-5
        assert largest_difference(record.unrotated_key, key) < 1e-5
        rotary = rotary_of(network, traced, layer)
        head, source = 3, int(record.key_of_head[3])
        total = scores_by_pair(
            query[head], key[source], at, at, rotary.frequency, rotary.layout, rotary.factor
        ).total
        assert largest_difference(total, record.raw[head]) < 1e-4 * max(1.0, float(record.raw.abs().max()))


def test_layers_that_rotate_nothing_are_those_that_the_configuration_names(folder):
    """Cohere 2 and EXAONE 4 rotate in sliding layers only; SmolLM 3 in three of four."""
    for family in ("cohere2", "exaone4"):
        network = load(folder(family))
        rotated = [record.rotary is not None for record in trace(network, TEXT).layers]
        assert rotated == [kind == "sliding_attention" for kind in network.model.config.layer_types]
    network = load(folder("smollm3"))
    rotated = [record.rotary is not None for record in trace(network, TEXT).layers]
    assert rotated == [bool(rope) for rope in network.model.config.no_rope_layers]


def test_a_network_whose_frequencies_follow_the_length_is_told_apart(build):
    """LongRoPE turns a short text beside a long one by its long list; a cache keeps keys as they were."""
    lists = {"short_factor": [1.0] * 6, "long_factor": [4.0] * 6}
    rope = {
        "rope_type": "longrope",
        "rope_theta": 1e4,
        "original_max_position_embeddings": 12,
        "factor": 4.0,
        "partial_rotary_factor": 1.0,
    }
    config = config_of("phi3")
    config.rope_parameters = rope | lists
    config.max_position_embeddings, config.original_max_position_embeddings = 48, 12
    network = load(str(build(config, spread=0.15)))
    assert network.changes_beyond == 12
    long, short = TEXT * 2, "the bell"
    assert trace(network, long).tokens_shown > 12 >= trace(network, short).tokens_shown
    with pytest.raises(InputError, match="cannot share a pass"):
        trace_batch(network, [long, short])
    alone = trace(network, short)
    beside = trace_batch(network, [short, "the tide"])[0]
    assert largest_difference(beside.logits, alone.logits) < 1e-4
    ids = trace(network, long).token_ids
    with pytest.raises(InputError, match="at most 12 are streamed"):
        stream_logits(network, ids, KeyCache())
    assert stream_logits(network, ids[:12], KeyCache()).shape[0] == 12
    assert load(str(build(config_of("llama"), spread=0.15))).changes_beyond is None


def test_a_sink_takes_its_part_of_a_row(folder):
    traced = trace(load(folder("gpt_oss")), TEXT)
    for record in traced.layers:
        sums = record.probabilities.sum(-1)
        assert float(sums.max()) < 1.0
        without = masked_softmax(record.scores).probabilities
        assert largest_difference(without, record.probabilities) > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_who_scales_queries_before_the_product_is_known(folder, family):
    """What is handed to attention is q·k's own factor; with the queries' it makes the usual 1/√d_k."""
    network = load(folder(family))
    scale = trace(network, TEXT).layers[0].base_scale
    if facts_of(network).scales_queries_first:
        assert scale == 1.0
    elif family not in OTHER_SCALES:
        assert scale == pytest.approx(network.head_width**-0.5)


@pytest.mark.parametrize("family", ["opt", "esm"])
def test_networks_that_scale_queries_before_the_product_are_named(folder, family):
    network = load(folder(family))
    record = trace(network, TEXT).layers[0]
    assert facts_of(network).scales_queries_first
    width = network.head_width
    cls = AutoModelForCausalLM if family == "opt" else AutoModelForMaskedLM
    model = cls.from_pretrained(folder(family)).eval()
    layer = next(module for name, module in model.named_modules() if name.endswith(("q_proj", "query")))
    inputs = {}
    layer.register_forward_hook(lambda module, args, output: inputs.update(output=output))
    with torch.no_grad():
        model(trace(network, TEXT).token_ids[None])
    projected = inputs["output"][0].view(-1, network.heads, width).transpose(0, 1)
    assert largest_difference(record.query.norm(dim=-1), projected.norm(dim=-1) * width**-0.5) < 1e-5
    for other in ("gpt2", "llama"):
        assert not facts_of(load(folder(other))).scales_queries_first


@pytest.mark.slow
@pytest.mark.parametrize("family", ["mistral", "mixtral", "qwen2", "gemma3_text", "starcoder2"])
def test_a_window_of_0_in_a_configuration_is_none(build, family):
    """unsloth#8253: a row that sees nothing would read hidden keys."""
    found = []
    for window in (0, 1_000):
        config = config_of(family)
        config.sliding_window = window
        if family == "qwen2":
            config.use_sliding_window, config.layer_types = True, ["sliding_attention"] * 4
        found.append(trace(load(str(build(config, spread=0.15))), TEXT))
    literal, wide = found
    for record in literal.layers:
        n = len(record.visible)
        assert torch.equal(record.visible, torch.ones(n, n, dtype=torch.bool).tril())
    assert largest_difference(literal.logits, wide.logits) < 1e-4


@pytest.mark.parametrize(("family", "sentence"), REFUSED.items())
def test_what_would_be_explained_wrongly_is_refused(folder, family, sentence):
    with pytest.raises(InputError, match=sentence):
        trace(load(folder(family)), TEXT)


def test_a_network_that_is_not_traced_still_runs(folder):
    """Its routers, masks and packed rows can be looked at."""
    network = load(folder("bitnet"))
    ids = torch.arange(2, 9)
    causal = torch.ones(7, 7, dtype=torch.bool).tril()
    assert masked_logits(network.model, ids, torch.arange(7), causal).isfinite().all()


def test_a_mask_of_ours_stays_within_a_layers_own_window(folder):
    """The causal mask, handed over, changes nothing in a network whose layers have windows."""
    network = load(folder("gemma3_text"))
    own = trace(network, TEXT * 2)
    n = own.tokens_shown
    assert network.model.config.sliding_window < n
    causal = torch.ones(n, n, dtype=torch.bool).tril()
    ours = trace(network, TEXT * 2, Intervention(visible=Visible.from_tensor(causal)))
    assert largest_difference(ours.logits, own.logits) < 1e-5
    packed = masked_logits(network.model, own.token_ids, torch.arange(n), causal)
    assert largest_difference(packed, own.logits) < 1e-5
    with pytest.raises(InputError, match="can stream from 2 to 8"):
        stream_logits(network, own.token_ids, KeyCache())


@pytest.mark.parametrize("family", ["opt", "gpt2", "llama", "biogpt"])
def test_streams_and_packed_rows_know_their_positions(folder, family):
    """OPT counts positions from the mask, which has four dimensions here."""
    network = load(folder(family))
    own = trace(network, TEXT)
    n = own.tokens_shown
    assert largest_difference(stream_logits(network, own.token_ids, KeyCache()), own.logits) < 1e-4
    causal = torch.ones(n, n, dtype=torch.bool).tril()
    packed = masked_logits(network.model, own.token_ids, torch.arange(n), causal)
    assert largest_difference(packed, own.logits) < 1e-4
    steps = list(decode(network, own.token_ids, 4, KeyCache()))
    expected = torch.nn.functional.cross_entropy(
        own.logits[3:-1].float(), own.token_ids[4:], reduction="none"
    )
    assert largest_difference(torch.tensor([step.loss for step in steps]), expected) < 1e-4
