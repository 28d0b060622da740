"""Every number inside a formula on the pages, computed anew from the formula; and the reader of TeX."""

import math
import re
from typing import get_args

import numpy as np
import pytest
import streamlit as st
import torch

from components.formulas import powers
from components.panels.context.frequencies import Frequencies, steps
from components.panels.masks import packing
from components.panels.network.arithmetic import formulas as cell_formulas
from components.panels.optimizers import anatomy, first_steps, momentum
from components.panels.policy import dead, gae
from components.panels.policy import group as policy_group
from components.panels.positions import encode, rotate
from components.panels.preference import calculator, objective
from components.panels.quantization import cascade, matrix, numbers, updates
from models.attention.dot_product import explain_cell
from models.masks.packing import AVERAGES
from models.optimizers.bias_correction import correction_ratio
from models.optimizers.steps import explain_step
from models.optimizers.surfaces import SurfaceChoice, surface
from models.optimizers.trajectories import KINDS, Run, default, trajectory
from models.policy.group_advantages import METHODS
from models.preference.kl_objective import optimum
from models.preference.losses import DIVERGENCES, LossSettings, Pairs, graded
from models.preference.relatives import LOSSES
from models.quantization.number_formats import FORMATS
from models.quantization.weight_formats import Format, Mapping, Setting, quantize
from tests.formulas import relations


@pytest.fixture
def written(monkeypatch) -> list[str]:
    """The formulas that are written while the test runs."""
    formulas: list[str] = []
    monkeypatch.setattr(st, "latex", lambda tex, **_layout: formulas.append(tex))
    return formulas


def true(tex: str, least: int, digits: int = 0, **known: float) -> None:
    """Assert that a formula holds, and that at least so many of its equations could be computed."""
    found = relations(powers(tex), known, digits)
    assert all(relation.holds for relation in found), [r for r in found if not r.holds]
    assert len(found) >= least, (tex, found)


@pytest.mark.parametrize(
    "tex",
    [
        r"1 - 0.5=0.5",
        r"\Delta\text{loss}=5.1253-4.9717=0.1535\qquad e^{\Delta}=1.1659",
        r"\frac{1 - (-0.25)}{0.5}=2.5",
        r"\begin{aligned}a&=2\times 3^{2}\\&=18\\b&=-a/3=-6\end{aligned}",
        r"\ln s/\ln L=1.5",
        r"\mathrm{clamp}(\mathrm{round}(10.0366)+3,\,-8,\,7)=7",
        r"\sigma(-z)=0.119203",
        r"\tfrac12\,\text{ulp}(1)&=0.000488&<&\ 0.001",
        r"\text{active}=1,234-234\\&\quad+2\times 10\\&=1,020",
        r"|-3|\cdot\sqrt{4}=6",
        r"256\times0.01/(2\pi)=0.407",
        r"3.1\cdot10^{-2}=0.031",
    ],
)
def test_the_reader_computes_what_is_written_and_sees_another_number(tex):
    known = {"s": 8.0, "L": 4.0, "z": 2.0}
    found = relations(tex, known)
    assert found
    assert all(relation.holds for relation in found), found
    sign = "<" if "<" in tex else "="
    start, _sign, last = tex.removesuffix(r"\end{aligned}").rpartition(sign)
    value = float(re.sub(r"\\ |,|&", "", last)) if "cdot" not in last else 3.1e-2
    other = relations(f"{start}{sign}{-value}", known)
    assert not all(relation.holds for relation in other), other


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("deviation", ["sample", "population"])
@pytest.mark.parametrize("method", METHODS)
def test_an_advantage(written, method, deviation, place):
    cell, lengths = ("1.1", "2.3", "3.2")[place], "10,20,30;5,80,7;9,9,90"
    view = policy_group.GroupCalculator.at(
        method=method,
        deviation=deviation,
        cell=cell,
        rewards="0.3,1.7,-0.9;2,0.25,-1.3;0,1,0.11",
        lengths=lengths,
        epsilon=0.01,
    )
    computed = view.computed()
    policy_group.arithmetic(view, computed)
    true(written[0], 1)
    assert f"{float(computed.advantages[view.place]):+.4f}" in written[0]
    line = policy_group.written_out(view, computed).replace("−", "-").split(" = ", 1)[1]
    true(line, 1)


@pytest.mark.parametrize("pair", [0, 3, 5, 8, 12, 15])
@pytest.mark.parametrize("method", Frequencies.at().methods)
def test_a_scaled_frequency(method, pair):
    view = Frequencies.at(method=method, factor=3.7, base=9_000.0, width=32, trained=300, pair=pair)
    known = {
        "s": view.stretch,
        "d": 32.0,
        "b": 9_000.0,
        "L": 300.0,
        "i": float(pair),
        r"\ell": float(view.target),
    }
    own = 9_000.0 ** (-2 * pair / 32)
    if method == "truncated":  # its cuts are called a and b
        del known["b"]
    known |= {r"\theta": own, rf"\theta_{{{pair}}}": own}
    lines = steps(view, pair)
    least = 2 if method == "truncated" else 3
    true(r"\begin{aligned}" + r"\\[6pt]".join(lines) + r"\end{aligned}", least, **known)


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_taken_apart(kind):
    choice = default(kind)
    path = trajectory(surface(SurfaceChoice("ravine")), (-2.5, 1.3), choice, Run(steps=8))
    tex = anatomy.arithmetic(explain_step(path, choice, 5))
    true(tex, 1, digits=4)
    assert len(relations(tex)) == 1


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_a_pair_of_answers(written, divergence):
    generator = torch.Generator().manual_seed(3)
    values = (-5 * torch.rand(4, 3, generator=generator, dtype=torch.float64)).unbind()
    lengths = torch.tensor([7.0, 9.0, 4.0], dtype=torch.float64)
    pairs = Pairs(*values, lengths, lengths)
    settings = LossSettings(beta=0.37, divergence=divergence)
    asked = calculator.Asked("sigmoid", calculator.NOTHING, 1.0, settings)
    for row in range(3):
        written.clear()
        calculator.arithmetic(pairs, asked, graded(LOSSES["sigmoid"], pairs, settings), row)
        [tex] = written
        true(tex, 5, digits=4)
        if divergence == "reverse_kl":  # then ds/dΔ is 1
            slope = tex.replace(r"\,\tfrac{ds_w}{d\Delta_w}", "")
            true(slope, 6, digits=4, **{r"\beta": 0.37})


def test_the_best_policy(written):
    best = optimum(torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([1.0, -0.5, 2.0]).double(), 0.6)
    objective.formulas(best, 0.6)
    true(written[2], 1)
    partition = written[1].rpartition("_{")[2].rstrip("}")
    assert f"={partition}=" in written[2]


@pytest.mark.parametrize("value", [0.09375, -3.3, 1e-5, 7.1, 448.0, -0.0625])
@pytest.mark.parametrize("form", [form for form in FORMATS if form.signed], ids=lambda form: form.name)
def test_the_fields_of_a_number(written, form, value):
    numbers.arithmetic(value, form)
    for tex in written:
        true(tex, 1)


@pytest.mark.parametrize("mapping", get_args(Mapping))
@pytest.mark.parametrize("name", get_args(Format))
def test_a_quantized_weight(written, name, mapping):
    x = torch.randn(6, 64, generator=torch.Generator().manual_seed(1)) * 0.04 + 0.02
    setting = Setting(name, mapping=mapping)
    found = quantize(x, setting)
    for row, column in ((0, 0), (3, 17), (5, 63)):
        written.clear()
        matrix.formulas(x, found, setting, row, column)
        true(written[0], 3 if name == "int" else 2)


def test_what_quantization_adds_to_the_loss(written):
    class Measured:
        loss, mean_kl = 3.2071, 0.0123

    class Found:
        measured, loss_before = Measured, 2.9514

    cascade.loss_formula(Found)
    true(written[0], 2)


@pytest.mark.parametrize(("weight", "step"), [(1.0, 1e-3), (1e-3, 1e-7), (7.5, 0.02), (1.0, 2.0**-9)])
def test_half_the_spacing_beside_a_step(weight, step):
    view = updates.Updates.at(weight=weight, step=step)
    tex = updates.formulas(view)
    true(tex, 3)
    [half] = [line for line in tex.split(r"\\") if "bfloat16" in line]
    near, up = torch.tensor([view.weight, 2 * view.weight], dtype=torch.bfloat16)
    gap = torch.nextafter(near, up) - near
    assert rf"&={float(gap) / 2:.3g}&" in half


@pytest.mark.parametrize("average", AVERAGES)
def test_a_mean_of_a_packed_row(average):
    parts = [(16.071, 4), (7.127, 2), (21.366, 5)]
    means = [total / count for total, count in parts]
    total = 44.564 / 11 if average == "tokens" else sum(means) / 3
    true(f"{packing.mean_of(parts, average)}={total:.5f}", 1)
    true(f"{packing.over_tokens(parts)}={44.564 / 11:.5f}", 1)


@pytest.mark.parametrize(
    ("rate", "size", "spread"), [(0.1, 8, 0.0), (0.85, 3, 0.0), (0.5, 2, 0.0), (0.4, 4, 0.3)]
)
def test_a_share_of_dead_groups(written, rate, size, spread):
    dead.formula(rate, size, spread)
    true(written[0], 1 if spread else 2)


def test_a_generalised_advantage():
    view = gae.GeneralisedAdvantages.at(discount=0.83, decay=0.61)
    rewards, values = view.steps
    after = torch.cat([values[1:], torch.zeros(1, dtype=values.dtype)])
    deltas = rewards + view.discount * after - values
    made = deltas.clone()
    for place in range(len(made) - 2, -1, -1):
        made[place] += view.discount * view.decay * made[place + 1]
    true(gae.first_step(view, deltas, made), 2, digits=4)


@pytest.mark.parametrize(("beta1", "beta2"), [(0.9, 0.999), (0.5, 0.9), (0.99, 0.95)])
def test_a_ratio_of_first_steps(beta1, beta2):
    true(first_steps.ratio_formula(beta1, beta2, correction_ratio(beta1, beta2, 5_000)), 1)


@pytest.mark.parametrize(
    ("condition", "rate", "beta"), [(10.0, 0.1, 0.5), (100.0, 0.03, 0.6), (5.0, 0.7, 0.9)]
)
def test_a_bound_of_momentum(condition, rate, beta):
    tex = momentum.formula(condition, rate, beta)
    true(tex, 4, **{r"\beta": beta, r"\alpha": rate})
    roots = [np.roots([1, -(1 + beta - rate * curve), beta]) for curve in (1.0, condition)]
    for radius, name in zip([np.abs(found).max() for found in roots], ("1", r"\kappa"), strict=True):
        assert rf"|\sigma(\lambda={name})|" in tex.replace("&", "")
        assert f"={radius:.4f}" in tex


def test_a_turned_pair():
    view = rotate.RotaryMicroscope.at()
    now = rotate.meeting(view)
    for pair in (0, 3, 9):
        tex = rotate.formula(now, pair)
        true(tex, 2)
        (m, n), theta = now.at, float(now.head.rotary.frequency[pair])
        shown = tex.partition(r"\begin{pmatrix}")[2].partition(r"\end{pmatrix}")[0]
        rows = [[float(cell) for cell in row.split("&")] for row in shown.split(r"\\")]
        wanted = torch.matrix_exp((n - m) * theta * torch.tensor([[0.0, -1.0], [1.0, 0.0]]))
        assert np.allclose(rows, wanted, atol=6e-4)


@pytest.mark.parametrize(("position", "pair"), [(0, 0), (3, 0), (64, 4), (251, 20)])
def test_an_added_vector(position, pair):
    view = encode.AddedVectors.at(position=position, pair=pair)
    assert (view.position, view.pair) == (position, pair)
    table = torch.zeros(position + 1, view.width)
    angle = position * view.base ** (-2 * pair / view.width)
    table[position, 2 * pair], table[position, 2 * pair + 1] = math.sin(angle), math.cos(angle)
    true(encode.formula(view, table), 3)


def test_a_cell_of_attention(written):
    generator = torch.Generator().manual_seed(0)
    query, keys, values = (torch.randn(*shape, generator=generator) for shape in ((8,), (5, 8), (5, 8)))
    visible = torch.tensor([True, True, False, True, True])
    for key in range(5):
        cell_formulas(explain_cell(query, keys, visible, 8**-0.5, key, values, None), 8**-0.5, 8)
    assert len(written) == 5
    for key, tex in enumerate(written):
        true(tex, 3 if visible[key] else 1)
