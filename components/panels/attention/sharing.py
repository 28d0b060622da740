"""Which query head reads which key head: MHA, GQA and MQA, and what each of them stores."""

from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from components.figures.attention import head_sharing
from components.lesson_parts import note
from components.panels.network.reading import ReadsNetwork
from components.refusal import plain
from components.settings import number, one_of
from components.stage import Plot, Stage
from components.takeaway import take_with_you
from components.words import _, mark
from models.numerics.attention_costs import (
    attention_flops,
    attention_parameters,
    key_of_head,
    kv_cache_bytes_per_token,
)

BYTES = 2  # bfloat16


@dataclass(frozen=True)
class WhoReadsWhichKey(ReadsNetwork):
    """Query heads that share key heads, and what each way of sharing stores."""

    page, name = "attention", "sharing"
    heads: int = number(1, 64, lambda view: view.facts.heads, label=mark("Query heads"))
    key_heads: int = one_of(
        lambda view: [count for count in range(1, view.heads + 1) if view.heads % count == 0],
        lambda view: view.facts.key_heads,
        label=mark("Key heads"),
    )

    def figure(self) -> go.Figure:
        return head_sharing(key_of_head(self.heads, self.key_heads).numpy())

    def stage(self) -> Stage:
        alt = _("Lines from query heads to the key heads they read")
        return Stage(Plot("sharing", self.figure(), alt))

    def below(self) -> None:
        network = self.facts
        st.markdown(
            _("{network} has {heads} query heads and {key_heads} key heads.").format(
                network=plain(self.network_name), heads=network.heads, key_heads=network.key_heads
            )
        )
        note(self, "sharing")
        costs = cost_table(self.heads, self.key_heads, network.layers, network.width)
        st.dataframe(costs, hide_index=True)
        take_with_you(
            self,
            lambda: costs,
            self.figure,
            snippet(self.heads, self.key_heads, network.layers, network.width),
        )


def snippet(heads: int, key_heads: int, layers: int, stream: int) -> str:
    """Python that repeats the numbers of the table."""
    width = max(1, stream // heads)
    return f"""from models.numerics.attention_costs import (
    attention_parameters, key_of_head, kv_cache_bytes_per_token,
)

print(key_of_head({heads}, {key_heads}))
print(kv_cache_bytes_per_token({layers}, {key_heads}, {width}, {BYTES}))
print(attention_parameters({stream}, {heads}, {key_heads}, {width}))
"""


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
