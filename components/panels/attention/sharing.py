"""Which query head reads which key head: MHA, GQA and MQA, and what each of them stores."""

import pandas as pd
import streamlit as st

from components.controls import choose, whole_number
from components.figures.attention import head_sharing
from components.live.figure import live_figure
from components.page import Page, take_with_you
from components.panels import panel
from components.panels.network.text import Choice
from components.take.attention import sharing as shared_keys
from components.traces import facts
from components.words import _
from models.numerics.attention_costs import (
    attention_flops,
    attention_parameters,
    key_of_head,
    kv_cache_bytes_per_token,
)

BYTES = 2  # bfloat16


@panel
def sharing(page: Page, choice: Choice) -> None:
    network = facts(choice.network)
    left, right = st.columns([1, 2], gap="medium")
    with left:
        heads = whole_number(_("Query heads"), 1, 64, f"{page.name}_heads", network.heads)
        divisors = [count for count in range(1, heads + 1) if heads % count == 0]
        key_heads = choose(
            _("Key heads"), divisors, f"{page.name}_key_heads", str, default=network.key_heads
        )
        st.caption(_("{network} has {heads} query heads and {key_heads} key heads.").format(
            network=choice.network, heads=network.heads, key_heads=network.key_heads
        ))  # fmt: skip
    with right:
        figure = head_sharing(key_of_head(heads, key_heads).numpy())
        live_figure(figure, f"{page.name}_sharing", _("Lines from query heads to the key heads they read"))
    costs = cost_table(heads, key_heads, network.layers, network.width)
    st.dataframe(costs, hide_index=True)
    page.note("sharing")
    take_with_you(
        f"{page.name}_sharing",
        lambda: costs,
        lambda: figure,
        lambda: shared_keys(heads, key_heads, network.layers, network.width, BYTES),
    )


def cost_table(heads: int, key_heads: int, layers: int, width: int) -> pd.DataFrame:
    """MHA, the chosen sharing and MQA at the network's width and depth."""
    head_width = max(1, width // heads)
    rows = []
    chosen = {1: "MQA", heads: "MHA"}.get(key_heads, "GQA")
    for name, count in {"MHA": heads, chosen: key_heads, "MQA": 1}.items():
        cache = kv_cache_bytes_per_token(layers, count, head_width, BYTES)
        rows.append(
            {
                _("Sharing"): name,
                _("Key heads"): count,
                _("Cache, bytes a token (bfloat16)"): f"{cache:,.0f}",
                _("of MHA"): f"{count / heads:.0%}",
                _("Parameters of Q, K, V, O in a layer"): (
                    f"{attention_parameters(width, heads, count, head_width).total:,}"
                ),
                _("FLOPs of scores and mix, 1,024 tokens, a layer"): (
                    f"{attention_flops(heads, head_width, 1024, 1024, True):,}"
                ),
            }
        )
    return pd.DataFrame(rows)
