"""Bit budget: give each layer its bits under a cap, against a greedy solver and the best there is."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components import work
from components.figures.quantized_network import allocations, cost_curves
from components.figures.style import pale
from components.lesson_parts import note
from components.live.figure import Room, live_figure
from components.panels.network.reading import ReadsText
from components.panels.quantization.reading import (
    allocated,
    baseline,
    followed_down,
    network,
    part_label,
    part_names,
)
from components.settings import one_of, slider
from components.stage import Block, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
from models.quantization.bit_budget import (
    MOST_PARTS,
    OPTIONS,
    Cost,
    best_allocation,
    greedy_allocation,
    mean_bits,
    part_costs,
    part_sizes,
    parts_of,
)
from models.quantization.recorded import recorded_costs
from models.quantization.weight_formats import Setting

SETTING = Setting()  # symmetric integers in groups of 64; only their bits are allocated


def _bits_of_part(number: int) -> int:
    """The control of one part, there where the network has so many."""

    def is_there(view: "BitBudget") -> bool:
        return number < len(part_names(view.network_name))

    def label(view: "BitBudget") -> str:
        return part_label(part_names(view.network_name)[number])

    bits: int = one_of(OPTIONS, 4, label=label, shown=is_there, beside=number % 2 == 1)
    return bits


@dataclass(frozen=True)
class BitBudget(ReadsText):
    """Bits for each part under a cap: by hand, greedily, and the best sum of single costs."""

    page, name = "quantization", "budget"
    cap: float = slider(
        2.0, 8.0, 4.5, 0.25, label=mark("Cap: bits per weight, scales not counted"), live=False
    )
    part0: int = _bits_of_part(0)
    part1: int = _bits_of_part(1)
    part2: int = _bits_of_part(2)
    part3: int = _bits_of_part(3)
    part4: int = _bits_of_part(4)
    part5: int = _bits_of_part(5)

    @property
    def mine(self) -> tuple[int, ...]:
        """The bits that the person gives to each part."""
        count = len(part_names(self.network_name))
        return tuple(getattr(self, f"part{number}") for number in range(MOST_PARTS))[:count]

    @property
    def sizes(self) -> torch.Tensor:
        """Weights in each part."""
        loaded = network(self.network_name)
        return part_sizes(loaded, parts_of(loaded))

    def steps(self) -> Iterator[Cost]:
        base = baseline(self.network_name, self.text)
        return part_costs(network(self.network_name), base.tokens, SETTING, base)

    def stage(self) -> Stage:
        baseline(self.network_name, self.text)  # an encoder is refused before anything is drawn
        return Stage(Block(self.run))

    def costs(self) -> work.Run[Cost]:
        """The run of this session over all parts and numbers of bits."""
        total = len(part_names(self.network_name)) * len(OPTIONS)
        return work.run("quantization_budget", (self.network_name, self.text), self.steps, total)

    def run(self) -> None:
        """Both figures with the buttons of the run."""
        known = recorded_costs(self.network_name, self.text)
        work.stage(self.costs(), self.draw, recorded=(lambda: known) if known else None)

    def draw(self, results: Sequence[Cost], *, faint: bool = False) -> None:
        """Allocations beside what each part costs alone."""
        spending(self)
        named, names = self.named(results), part_names(self.network_name)
        effects = {}
        for name, bits in named.items():
            real = allocated(self.network_name, self.text, bits, SETTING)
            effects[name] = _("{bits} bits, KL {kl}").format(
                bits=f"{mean_bits(bits, self.sizes):.2f}", kl=f"{real.mean_kl:.4f}"
            )
        room = Room(1.0, work.BUTTONS + 28, 200)
        left, right = st.columns(2, gap="small")
        with left:
            figure = allocations(names, named, effects)
            live_figure(figure, "quantization_allocations", _("Bits of every part"), room=room)
        with right:
            figure = pale(cost_figure(results, names), faint)
            live_figure(figure, "quantization_costs", _("KL of every part alone"), room=room)

    def named(self, results: Sequence[Cost]) -> dict[str, tuple[int, ...]]:
        """The person's allocation, and where all costs are known those of both solvers."""
        named = {_("yours"): self.mine}
        if len(results) == len(self.mine) * len(OPTIONS):
            costs = cost_table(results, len(self.mine))
            named[_("greedy")] = greedy_allocation(costs, self.sizes, self.cap)
            named[_("best sum of single costs")] = best_allocation(costs, self.sizes, self.cap)
        return named

    def below(self) -> None:
        note(self, "budget")
        run = self.costs()
        if run.finished:
            facts(self, run.results)
        else:
            known = recorded_costs(self.network_name, self.text)
            take_with_you(self, None, None, snippet(self, self.named(known or ())))


def spending(view: BitBudget) -> None:
    """What the person's allocation spends, and whether that is under the cap."""
    spent = mean_bits(view.mine, view.sizes)
    line = _("You spend {spent} of {cap} bits per weight.").format(
        spent=f"{spent:.2f}", cap=f"{view.cap:.2f}"
    )
    is_over = spent > view.cap + 1e-9
    warning = _("That is over the cap.")
    st.markdown(f":orange[:material/warning: {line} {warning}]" if is_over else line)


def cost_table(seen: Sequence[Cost], parts: int) -> torch.Tensor:
    """KL [parts, options]."""
    costs = torch.zeros(parts, len(OPTIONS))
    for cost in seen:
        costs[cost.part, OPTIONS.index(cost.bits)] = cost.kl
    return costs


def cost_figure(seen: Sequence[Cost], names: Sequence[str]) -> go.Figure:
    curves: dict[str, tuple[Sequence[int], np.ndarray]] = {}
    for number, name in enumerate(names):
        own = [cost for cost in seen if cost.part == number]
        label = part_label(name)
        curves[label] = ([cost.bits for cost in own], np.array([cost.kl for cost in own]))
    return cost_curves(curves)


def facts(view: BitBudget, seen: Sequence[Cost]) -> None:
    """What each allocation promises and what it does, and four bits everywhere measured another way."""
    sizes, costs = view.sizes, cost_table(seen, len(view.mine))
    named, rows = view.named(seen), []
    for name, bits in named.items():
        real = allocated(view.network_name, view.text, bits, SETTING)
        promised = sum(float(costs[part, OPTIONS.index(value)]) for part, value in enumerate(bits))
        rows.append(
            {
                _("Allocation"): name,
                _("Bits by part"): ", ".join(map(str, bits)),
                _("Bits per weight"): f"{mean_bits(bits, sizes):.3f}",
                _("Sum of single KLs"): f"{promised:.5f}",
                _("KL together"): f"{real.mean_kl:.5f}",
                _("Loss on the passages"): f"{real.loss:.4f}",
            }
        )
    table = pd.DataFrame(rows)
    st.dataframe(table, hide_index=True)
    four = allocated(view.network_name, view.text, (4,) * len(sizes), SETTING).mean_kl
    whole = followed_down(view.network_name, view.text, "all", SETTING).measured.mean_kl
    what = _("four bits everywhere, as the view “To the loss” measures it")
    checked_against([Check(what, abs(four - whole), 1e-6)])
    names = part_names(view.network_name)
    take_with_you(view, lambda: table, lambda: cost_figure(seen, names), snippet(view, named))


def snippet(view: BitBudget, named: Mapping[str, tuple[int, ...]]) -> str:
    """Python that repeats what the allocations do together."""
    return f"""from models.quantization.bit_budget import measure_allocation
from models.networks.loading import load
from models.quantization.quantized_network import token_ids
from models.quantization.weight_formats import Setting

network = load({view.network_name!r})
tokens = token_ids(network, {view.text!r})
for bits in {list(named.values())!r}:
    print(bits, measure_allocation(network, tokens, bits, Setting()).mean_kl)
"""
