"""What each rotary field of a config means, in a line."""

from components.words import _, mark

MEANINGS = {
    "rope_type": mark("which scaling; default is none"),
    "type": mark("the older name of rope_type"),
    "rope_theta": mark("the base b of θ = b^(−2i/d)"),
    "partial_rotary_factor": mark("share of each head that is rotated; the rest carries no position"),
    "factor": mark("how many times the trained length is asked for"),
    "original_max_position_embeddings": mark("the trained length L"),
    "attention_factor": mark("multiplies cos and sin, so scores by its square; replaces the default rule"),
    "beta_fast": mark("pairs with more turns than this within L are left alone (32)"),
    "beta_slow": mark("pairs with fewer turns than this within L are interpolated (1)"),
    "mscale": mark("with mscale_all_dim: the numerator of the attention factor"),
    "mscale_all_dim": mark("with mscale: the denominator of the attention factor"),
    "truncate": mark("whether the ramp's ends are rounded to whole pairs (true)"),
    "low_freq_factor": mark("pairs with fewer turns than this within L are interpolated"),
    "high_freq_factor": mark("pairs with more turns than this within L are left alone"),
    "short_factor": mark("divisors of the frequencies for texts up to L"),
    "long_factor": mark("divisors of the frequencies for texts beyond L"),
    "mrope_section": mark("how many pairs count time, height and width; frequencies stay"),
    "mrope_interleaved": mark("how those pairs are ordered; frequencies stay"),
    "rope_local_base_freq": mark("the base of the sliding-window layers"),
    "global_rope_theta": mark("the base of the layers that read everything"),
    "local_rope_theta": mark("the base of the sliding-window layers"),
    "rotary_emb_base": mark("the base, under GPT-NeoX's name"),
    "rotary_pct": mark("share of each head that is rotated, under GPT-NeoX's name"),
    "rotary_dim": mark("rotated dimensions, under GPT-J's name"),
    "rope_interleave": mark("neighbours form a pair, rather than halves; frequencies stay"),
    "qk_rope_head_dim": mark("the rotated part of a head in latent attention"),
    "max_position_embeddings": mark("the longest text that the config promises"),
    "head_dim": mark("width of a head"),
    "hidden_size": mark("width of the residual stream; over the number of heads, that of a head"),
    "num_attention_heads": mark("number of query heads"),
    "layer_types": mark("which layers read everything and which a window"),
    "alpha": mark("HunYuan's: the base becomes b·α^(d/(d−2)), whatever the length"),
    "alibi": mark("whether ALiBi takes the place of rotation"),
    "position_embedding_type": mark("which kind of positions; nope is none"),
    "use_mem_rope": mark("whether the attention layers of Zamba 2 rotate"),
    "no_rope_layers": mark("1 for each layer that rotates, 0 for one that does not"),
    "no_rope_layer_interval": mark("every how many layers one does not rotate"),
    "rope_parameters": mark("the rotary settings, new spelling"),
    "rope_scaling": mark("the rotary settings, older spelling"),
}


def meaning(name: str) -> str:
    return _(MEANINGS[name]) if name in MEANINGS else _("unknown: Loupe does not guess")
