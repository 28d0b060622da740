"""KV-cache quantization: keys and values, axis and bits, and the loss by position."""

from dataclasses import dataclass, replace
from functools import lru_cache

import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.figures.quantized_network import loss_by_position
from components.lesson_parts import note
from components.panels.network.reading import ReadsNetwork
from components.panels.quantization.reading import network
from components.settings import one_of
from components.stage import Plot, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
from models.numerics.attention_costs import kv_cache_bytes_per_token
from models.quantization.kv_cache import (
    AXES,
    Axis,
    CacheEffect,
    CacheSetting,
    cache_effect,
    logits_with_cache,
)
from models.quantization.quantized_network import held_out

CACHE_BITS = (2, 3, 4, 8, 16)
GROUPS = (8, 16, 32, 64)
RESIDUALS = (0, 16, 32, 64, 128)
LENGTH = 256
CHECKED = 48  # tokens on which the exact cache is compared


def axis_label(axis: str) -> str:
    return _("along a token's channels") if axis == "token" else _("along tokens, a channel each")


def bits_label(bits: int) -> str:
    return _("exact") if bits == 16 else str(bits)


@dataclass(frozen=True)
class KvCache(ReadsNetwork):
    """Keys and values in few bits, and what that does to the loss along the text."""

    page, name = "quantization", "cache"
    key_bits: int = one_of(CACHE_BITS, 2, label=mark("Bits of keys"), label_of=bits_label)
    value_bits: int = one_of(CACHE_BITS, 2, label=mark("Bits of values"), label_of=bits_label, beside=True)
    key_axis: Axis = one_of(AXES, "channel", label=mark("Scales of keys"), label_of=axis_label)
    value_axis: Axis = one_of(AXES, "token", label=mark("Scales of values"), label_of=axis_label)
    group: int = one_of(GROUPS, 32, key="cache_group", label=mark("Group size"))
    residual: int = one_of(RESIDUALS, 0, label=mark("Latest tokens kept exact"))

    @property
    def setting(self) -> CacheSetting:
        return CacheSetting(
            self.key_bits, self.value_bits, self.key_axis, self.value_axis, self.group, self.residual
        )

    def effects(self) -> tuple[CacheEffect, CacheEffect | None]:
        """The setting, and with the axes exchanged; None if that is the same.

        Raises InputError for an encoder.
        """
        setting = self.setting
        other = replace(setting, key_axis=setting.value_axis, value_axis=setting.key_axis)
        return (
            effect(self.network_name, setting),
            effect(self.network_name, other) if other != setting else None,
        )

    def stage(self) -> Stage:
        found, swapped = self.effects()
        return Stage(
            [
                Plot(
                    "positions",
                    curve_figure(found, swapped),
                    _("Loss by position with the cache exact and quantized"),
                ),
                Plot("added", added_figure(found, swapped), _("Loss that the cache adds by position")),
            ]
        )

    def below(self) -> None:
        found, swapped = self.effects()
        left, right = st.columns([3, 2], gap="medium")
        with left:
            note(self, "cache")
        with right:
            st.dataframe(numbers(self.network_name, found, swapped), hide_index=True)
        checked_against([exact_cache(self.network_name, self.setting)])
        curves = {"exact": found.before.numpy(), "quantized": found.after.numpy()}
        table = pd.DataFrame(curves).rename_axis("position")
        take_with_you(
            self,
            lambda: table,
            lambda: curve_figure(found, swapped),
            snippet(self.network_name, self.setting),
        )


def exact_cache(name: str, setting: CacheSetting) -> Check:
    """With every token still exact, the other way through attention gives the network's own logits."""
    loaded = network(name)
    tokens = held_out(loaded, CHECKED)
    with torch.no_grad():
        own = loaded.model(tokens.to(loaded.device), use_cache=False).logits.float().cpu()
    exact = CacheSetting(setting.key_bits, setting.value_bits, residual=10_000)
    ours = logits_with_cache(loaded, tokens, exact)
    largest = float((ours - own).abs().max() / own.abs().max())
    return Check(_("the network's own logits, when every token is still exact"), largest, 1e-4)


@lru_cache(maxsize=32)
def effect(name: str, setting: CacheSetting) -> CacheEffect:
    return cache_effect(network(name), setting, LENGTH)


def curve_figure(found: CacheEffect, swapped: CacheEffect | None) -> go.Figure:
    curves = {"exact": found.before.numpy(), "quantized": found.after.numpy()}
    if swapped is not None:
        curves["swapped"] = swapped.after.numpy()
    return loss_by_position(curves, _("Loss (nats per token)"))


def added_figure(found: CacheEffect, swapped: CacheEffect | None) -> go.Figure:
    """The same curves less the exact cache's."""
    curves = {"quantized": (found.after - found.before).numpy()}
    if swapped is not None:
        curves["swapped"] = (swapped.after - swapped.before).numpy()
    return loss_by_position(curves, _("Added loss (nats per token)"))


def numbers(name: str, found: CacheEffect, swapped: CacheEffect | None) -> pd.DataFrame:
    loaded = network(name)
    exact = kv_cache_bytes_per_token(loaded.layers, loaded.key_heads, loaded.head_width, 2)
    last = (found.after - found.before)[-LENGTH // 4 :]
    rows = {
        _("Loss, exact cache"): f"{float(found.before.mean()):.4f}",
        _("Loss, quantized cache"): f"{float(found.after.mean()):.4f}",
        _("… in the last quarter"): f"{float(last.mean()):+.4f}",
    }
    if swapped is not None:
        rows[_("Loss, axes exchanged")] = f"{float(swapped.after.mean()):.4f}"
    rows |= {
        _("Bits of a cached number"): f"{found.bits:.3f}",
        _("Bytes per token, bfloat16"): f"{exact:,.0f}",
        _("Bytes per token, quantized"): f"{exact * found.bits / 16:,.0f}",
    }
    return pd.DataFrame({_("Measure"): list(rows), _("Value"): list(rows.values())})


def snippet(network: str, setting: CacheSetting) -> str:
    """Python that repeats the table."""
    return f"""from models.quantization.kv_cache import CacheSetting, cache_effect
from models.networks.loading import load

found = cache_effect(load({network!r}), {setting!r}, {LENGTH})
print(found.bits, found.before.mean(), found.after.mean())
"""
