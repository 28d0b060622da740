"""Bit budget: give each layer its bits under a cap, against a greedy solver and the best there is."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import streamlit as st
import torch

from components.controls import choose
from components.figures.quantized_network import allocations, cost_curves
from components.live.figure import live_figure
from components.live.slider import live_slider
from components.page import Check, Page, checked_against, take_with_you
from components.panels import panel
from components.panels.network.text import Choice
from components.panels.quantization.reading import allocated, followed_down, part_label, part_names
from components.words import _
from components.work.running import keep_going, run_controls
from models.networks.loading import load
from models.quantization.bit_budget import (
    OPTIONS,
    Cost,
    best_allocation,
    greedy_allocation,
    mean_bits,
    part_costs,
    part_sizes,
    parts_of,
)
from models.quantization.quantized_network import check_decoder, token_ids
from models.quantization.weight_formats import Setting

SETTING = Setting()  # symmetric integers in groups of 64; only their bits are allocated


@panel
def bit_budget(page: Page, choice: Choice) -> None:
    check_decoder(load(choice.network))
    names = part_names(choice.network)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        mine = tuple(
            choose(
                part_label(name),
                OPTIONS,
                f"{page.name}_part{number}",
                str,
                default=page.default(f"part{number}"),
                width=110,
            )
            for number, name in enumerate(names)
        )
        with st.container(width=320):
            cap = live_slider(
                _("Cap: bits a weight, scales not counted"),
                f"{page.name}_cap",
                2.0,
                8.0,
                page.default("cap"),
                0.25,
            )
    budget_run(page, choice, mine, cap)


@panel
def budget_run(page: Page, choice: Choice, mine: tuple[int, ...], cap: float) -> None:
    network = load(choice.network)
    parts = parts_of(network)
    sizes = part_sizes(network, parts)
    spent = mean_bits(mine, sizes)
    line = _("You spend {spent} of {cap} bits a weight.").format(spent=f"{spent:.2f}", cap=f"{cap:.2f}")
    if spent > cap + 1e-9:
        st.warning(line + " " + _("That is over the cap."), icon=":material/info:")
    else:
        st.markdown(line)
    held = run_controls(
        page,
        "budget",
        choice,
        lambda: part_costs(network, token_ids(network, choice.text), SETTING),
        len(parts) * len(OPTIONS),
    )
    seen: list[Cost] = held.seen if held is not None else []
    names = part_names(choice.network)
    named: dict[str, Sequence[int]] = {_("yours"): mine}
    is_done = held is not None and held.is_done
    if is_done:
        costs = cost_table(seen, len(parts))
        named[_("greedy")] = greedy_allocation(costs, sizes, cap)
        named[_("best sum of single costs")] = best_allocation(costs, sizes, cap)
    effects = {}
    for name, bits in named.items():
        real = allocated(choice.network, choice.text, tuple(bits), SETTING)
        effects[name] = f"{mean_bits(bits, sizes):.2f} bits, KL {real.mean_kl:.4f}"
    left, right = st.columns(2, gap="medium")
    with left:
        figure = allocations(names, named, effects)
        live_figure(figure, f"{page.name}_allocations", _("Bits of every part"))
    with right:
        figure = cost_figure(seen, names)
        live_figure(figure, f"{page.name}_costs", _("KL of every part alone"))
    if not seen:
        st.caption(_("No costs are measured yet: Start measures every layer at every number of bits."))
    page.note("budget")
    if is_done:
        budget_facts(page, choice, named, seen)
    keep_going(page, "budget", held)


def cost_table(seen: Sequence[Cost], parts: int) -> torch.Tensor:
    """KL [parts, options]."""
    costs = torch.zeros(parts, len(OPTIONS))
    for cost in seen:
        costs[cost.part, OPTIONS.index(cost.bits)] = cost.kl
    return costs


def cost_figure(seen: Sequence[Cost], names: Sequence[str]):
    curves: dict[str, tuple[Sequence[int], np.ndarray]] = {}
    for number, name in enumerate(names):
        own = [cost for cost in seen if cost.part == number]
        label = part_label(name)
        curves[label] = ([cost.bits for cost in own], np.array([cost.kl for cost in own]))
    return cost_curves(curves)


def budget_facts(page: Page, choice: Choice, named: dict[str, Sequence[int]], seen: Sequence[Cost]) -> None:
    sizes = part_sizes(load(choice.network), parts_of(load(choice.network)))
    costs = cost_table(seen, len(sizes))
    rows = []
    for name, bits in named.items():
        real = allocated(choice.network, choice.text, tuple(bits), SETTING)
        promised = sum(float(costs[part, OPTIONS.index(value)]) for part, value in enumerate(bits))
        rows.append(
            {
                _("Allocation"): name,
                _("Bits by part"): ", ".join(map(str, bits)),
                _("Bits a weight"): f"{mean_bits(bits, sizes):.3f}",
                _("Sum of single KLs"): f"{promised:.5f}",
                _("KL together"): f"{real.mean_kl:.5f}",
                _("Loss on the passages"): f"{real.loss:.4f}",
            }
        )
    table = pd.DataFrame(rows)
    st.dataframe(table, hide_index=True)
    four = allocated(choice.network, choice.text, (4,) * len(sizes), SETTING).mean_kl
    whole = followed_down(choice.network, choice.text, "all", SETTING).measured.mean_kl
    checked_against(
        [Check(_("four bits everywhere, as the view “To the loss” measures it"), abs(four - whole), 1e-6)]
    )
    take_with_you(
        f"{page.name}_budget",
        lambda: table,
        lambda: cost_figure(seen, part_names(choice.network)),
        snippet(choice, named),
    )


def snippet(choice: Choice, named: dict[str, Sequence[int]]) -> str:
    return f"""from models.quantization.bit_budget import measure_allocation
from models.networks.loading import load
from models.quantization.quantized_network import token_ids
from models.quantization.weight_formats import Setting

network = load({choice.network!r})
tokens = token_ids(network, {choice.text!r})
for bits in {[tuple(bits) for bits in named.values()]!r}:
    print(bits, measure_allocation(network, tokens, bits, Setting()).mean_kl)
"""
