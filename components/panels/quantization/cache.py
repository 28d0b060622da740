"""KV-cache quantization: keys and values, axis and bits, and the loss by position."""

import pandas as pd
import streamlit as st
import torch

from components.controls import choose
from components.figures.quantized_network import loss_by_position
from components.live.figure import live_figure
from components.page import Check, Page, checked_against, take_with_you
from components.panels import panel
from components.panels.network.text import Choice
from components.words import _
from models.networks.loading import load
from models.numerics.attention_costs import kv_cache_bytes_per_token
from models.quantization.kv_cache import AXES, CacheEffect, CacheSetting, cache_effect, logits_with_cache
from models.quantization.quantized_network import check_decoder, held_out

CACHE_BITS = (2, 3, 4, 8, 16)
GROUPS = (8, 16, 32, 64)
RESIDUALS = (0, 16, 32, 64, 128)
LENGTH = 256


@panel
def kv_cache(page: Page, choice: Choice) -> None:
    network = load(choice.network)
    check_decoder(network)
    setting = choose_cache(page)
    other = CacheSetting(
        setting.key_bits,
        setting.value_bits,
        setting.value_axis,
        setting.key_axis,
        setting.group_size,
        setting.residual,
    )
    found = effect(choice.network, setting)
    swapped = effect(choice.network, other) if other != setting else None
    figure = curve_figure(found, swapped)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        live_figure(
            figure, f"{page.name}_positions", _("Loss by position with the cache exact and quantized")
        )
        live_figure(
            added_figure(found, swapped), f"{page.name}_added", _("Loss that the cache adds by position")
        )
    with right:
        table = numbers(choice, setting, found, swapped)
        st.dataframe(table, hide_index=True)
        page.note("cache")
    tokens = held_out(network, 48)
    with torch.no_grad():
        own = network.model(tokens.to(network.device), use_cache=False).logits.float().cpu()
    exact = CacheSetting(setting.key_bits, setting.value_bits, residual=10_000)
    ours = logits_with_cache(network, tokens, exact)
    largest = float((ours - own).abs().max() / own.abs().max())
    checked_against([Check(_("the network's own logits, when every token is still exact"), largest, 1e-4)])
    curves = pd.DataFrame({"exact": found.before.numpy(), "quantized": found.after.numpy()})
    take_with_you(f"{page.name}_cache", lambda: curves, lambda: figure, snippet(choice, setting))


def axis_label(axis: str) -> str:
    return _("along a token's channels") if axis == "token" else _("along tokens, a channel each")


def choose_cache(page: Page) -> CacheSetting:
    name = page.name

    def bits(label: str, key: str) -> int:
        return choose(
            label,
            CACHE_BITS,
            f"{name}_{key}",
            lambda b: _("exact") if b == 16 else str(b),
            default=page.default(key),
            width=110,
        )

    def axis(label: str, key: str):
        return choose(label, AXES, f"{name}_{key}", axis_label, default=page.default(key), width=240)

    with st.container(horizontal=True, vertical_alignment="bottom"):
        key_bits, key_axis = bits(_("Bits of keys"), "key_bits"), axis(_("Scales of keys"), "key_axis")
        value_bits = bits(_("Bits of values"), "value_bits")
        value_axis = axis(_("Scales of values"), "value_axis")
        group = choose(
            _("Group size"),
            GROUPS,
            f"{name}_cache_group",
            str,
            default=page.default("cache_group"),
            width=110,
        )
        residual = choose(
            _("Latest tokens kept exact"),
            RESIDUALS,
            f"{name}_residual",
            str,
            default=page.default("residual"),
            width=190,
        )
    return CacheSetting(key_bits, value_bits, key_axis, value_axis, group, residual)


@st.cache_resource(max_entries=32, show_spinner=False)
def effect(network: str, setting: CacheSetting) -> CacheEffect:
    return cache_effect(load(network), setting, LENGTH)


def curve_figure(found: CacheEffect, swapped: CacheEffect | None):
    curves = {_("exact cache"): found.before.numpy(), _("quantized cache"): found.after.numpy()}
    if swapped is not None:
        curves[_("axes of keys and values exchanged")] = swapped.after.numpy()
    return loss_by_position(curves, _("Loss (nats a token)"))


def added_figure(found: CacheEffect, swapped: CacheEffect | None):
    """The same curves less the exact cache's."""
    curves = {_("quantized cache"): (found.after - found.before).numpy()}
    if swapped is not None:
        curves[_("axes of keys and values exchanged")] = (swapped.after - swapped.before).numpy()
    return loss_by_position(curves, _("Added loss (nats a token)"), height=300)


def numbers(
    choice: Choice, setting: CacheSetting, found: CacheEffect, swapped: CacheEffect | None
) -> pd.DataFrame:
    network = load(choice.network)
    exact = kv_cache_bytes_per_token(network.layers, network.key_heads, network.head_width, 2)
    rows = {
        _("Loss, exact cache"): f"{float(found.before.mean()):.4f}",
        _("Loss, quantized cache"): f"{float(found.after.mean()):.4f}",
        _("… in the last quarter"): f"{float((found.after - found.before)[-64:].mean()):+.4f}",
    }
    if swapped is not None:
        rows[_("Loss, axes exchanged")] = f"{float(swapped.after.mean()):.4f}"
    rows |= {
        _("Bits of a cached number"): f"{found.bits:.3f}",
        _("Bytes a token, bfloat16"): f"{exact:,.0f}",
        _("Bytes a token, quantized"): f"{exact * found.bits / 16:,.0f}",
    }
    return pd.DataFrame({_("Measure"): list(rows), _("Value"): list(rows.values())})


def snippet(choice: Choice, setting: CacheSetting) -> str:
    return f"""from models.quantization.kv_cache import CacheSetting, cache_effect
from models.networks.loading import load

found = cache_effect(load({choice.network!r}), {setting!r}, {LENGTH})
print(found.bits, found.before.mean(), found.after.mean())
"""
