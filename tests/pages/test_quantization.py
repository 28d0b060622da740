"""The quantization page: what it shows is what the functions compute, in every view and language."""

import io
import json

import numpy as np
import pytest
import torch

from components.catalogue import lesson
from components.control_kinds import Slider, of
from components.figures.style import FAINT
from components.live.follow import follow
from components.panels.quantization.budget import BitBudget
from components.panels.quantization.matrix import WeightMatrix
from components.settings import opening
from components.words import LANGUAGES
from models.networks.loading import load
from models.quantization.error import sqnr
from models.quantization.quantized_network import cascade, matrix, sensitivities, token_ids, weights_of
from models.quantization.weight_formats import FORMATS, Setting, quantize
from tests.pages.quantization_screen import (
    LIVE,
    TEXT,
    VIEWS,
    cells,
    checks,
    drawn,
    finish,
    quantization,
    title,
    trace,
)
from tests.pages.screen import figures, live, open_page, said, views


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("view", VIEWS)
def test_every_view_opens_by_its_address_in_every_language(view, language):
    screen = open_page("quantization", quantization_view=view, lang=language)
    assert not screen.exception
    assert said(screen) == []
    assert screen.title[0].value == lesson("quantization", language).title
    assert set(figures(screen)) == drawn(view)
    assert all(data["alt"] for data in live(screen).values() if "figure" in data)
    asked = screen.radio(key="quantization_questions_widget").options
    assert sorted(asked) == sorted(item.title for item in lesson("quantization", language).questions)


@pytest.mark.parametrize("control", LIVE)
def test_dragging_draws_what_a_rerun_shows(control):
    view, names, value = LIVE[control]
    screen = quantization(view=view)
    key = f"quantization_{control}"
    sent = follow(live(screen)[f"{key}_slider"]["token"], key, value)
    assert sent is not None
    assert {figure["name"] for figure in sent} == {f"quantization_{name}" for name in names}
    screen.session_state[key] = value
    screen.run()
    for figure in sent:
        assert live(screen)[figure["name"]]["figure"] == figure["figure"]


# Numbers


def test_the_bits_are_torchs():
    screen = quantization(view="numbers", value="0.1")
    shown = trace(screen, "fields")["text"]
    bits = "".join(shown[0])
    assert int(bits, 2) == int(torch.tensor(0.1).view(torch.int32))
    half = "".join(shown[3])
    assert int(half, 2) == int(torch.tensor(0.1).half().view(torch.int16))
    assert len(checks(screen)) == 6


@pytest.mark.parametrize(
    ("value", "overflow", "stored"),
    [
        ("1e4", "format", {"E4M3": "nan", "E5M2": "10240"}),
        ("464", "format", {"E4M3": "448"}),  # a tie, to the even code
        ("465", "format", {"E4M3": "nan"}),
        ("1e4", "torch", {"E4M3": "448", "E5M2": "10240", "E2M1": "6"}),
        ("61440", "format", {"E5M2": "inf", "float16": "61440"}),
        ("61440", "saturate", {"E5M2": "57344", "E4M3": "448"}),
        ("6e-8", "format", {"float16": "5.96046448e-08"}),
        ("nan", "format", {"float32": "nan", "E2M1": "–"}),
        ("-inf", "format", {"float16": "-inf", "E2M1": "-6"}),
        ("0", "format", {"E8M0": "5.87747175e-39"}),
    ],
)
def test_values_and_what_is_stored(value, overflow, stored):
    screen = quantization(view="numbers", value=value, overflow=overflow)
    assert said(screen) == []
    assert not screen.exception
    table = screen.dataframe[0].value.set_index("Format")["Stored"]
    assert {name: table[name] for name in stored} == stored


def test_the_weight_stands_still_in_bfloat16():
    screen = quantization(view="updates", step="0.001")
    paths = [np.asarray(line["y"]) for line in figures(screen)["quantization_updates"]["data"]]
    assert paths[0][-1] == pytest.approx(0.2, rel=1e-4)
    assert (paths[2] == 0).all()
    assert len(checks(screen)) == 3


def test_an_address_from_when_the_step_stood_under_the_numbers_opens_its_own_view():
    screen = quantization(view="numbers", step="0.0003")
    assert screen.session_state["quantization_view"] == "updates"
    assert set(figures(screen)) == drawn("updates")


@pytest.mark.parametrize(
    "query",
    [
        {"value": "hello"},
        {"value": ""},
        {"value": "1,5"},
        {"custom": "E1M9"},
        {"custom": "abc"},
    ],
)
def test_what_is_no_number_gets_one_sentence_and_stays_typed(query):
    screen = quantization(view="numbers", **query)
    assert not screen.exception
    assert len(said(screen)) == 1
    ((name, value),) = query.items()
    assert screen.text_input(key=f"quantization_{name}_widget").value == value


# A matrix


@pytest.mark.parametrize("name", FORMATS)
def test_the_matrix_is_quantized_as_the_functions_do(name):
    screen = quantization(view="matrix", format=name, layer="2", module="self_attn.k_proj")
    assert said(screen) == []
    network = load("loupe-llama")
    weight = next(w for w in weights_of(network) if (w.layer, w.module) == (2, "self_attn.k_proj"))
    x = matrix(network, weight)
    found = quantize(x, Setting(name))
    assert f"{sqnr(x, found.dequantized):.2f} dB" in title(screen, "levels")
    assert f"effective {found.effective_bits:.3f}" in title(screen, "levels")
    error = (x - found.dequantized).numpy()
    shown = cells(screen, "error")
    assert shown.shape == (64, 96)
    expected = np.sqrt((error.reshape(64, 96, 2) ** 2).mean(2))
    np.testing.assert_allclose(shown, expected, rtol=1e-3, atol=1e-9)
    assert len(checks(screen)) == 1


@pytest.mark.parametrize("granularity", ["tensor", "channel", "group"])
@pytest.mark.parametrize("mapping", ["affine", "full_range"])
@pytest.mark.parametrize("clipping", ["percentile", "mse"])
def test_options_of_integers(granularity, mapping, clipping):
    screen = quantization(granularity=granularity, mapping=mapping, clipping=clipping, bits="3", group="40")
    assert said(screen) == []
    assert not screen.exception
    assert len(checks(screen)) == 1


def test_the_random_matrix_has_the_published_decibels():
    screen = quantization(module="random", format="nf4")
    words = title(screen, "levels")
    assert float(words.split("SQNR ")[1].split(" ")[0]) == pytest.approx(20.73, abs=0.05)
    assert cells(screen, "error").shape == (96, 96)


@pytest.mark.parametrize(
    "query",
    [
        {"layer": "99", "module": "nothing", "format": "int99", "mapping": "x"},
        {"bits": "99", "group": "-5"},
        {"bits": "abc", "row": "100000", "column": "-3"},
        {"view": "gptq", "gptq_bits": "77", "damping": "0", "columns": "1e9"},
        {"view": "outliers", "channel": "100000", "alpha": "7", "threshold": "-1"},
        {"view": "budget", "part0": "7", "cap": "nan"},
        {"view": "cache", "key_bits": "5", "cache_group": "33"},
    ],
)
def test_nonsense_in_the_address_becomes_something_sensible(query):
    screen = quantization(**query)
    assert not screen.exception
    assert said(screen) == []
    assert set(figures(screen)) == drawn(query.get("view", "matrix"))


# The network


@pytest.mark.parametrize("bits", ["2", "5"])
def test_the_way_down_is_the_cascade(bits):
    screen = quantization(view="cascade", bits=bits)
    network = load("loupe-llama")
    found = cascade(network, token_ids(network, TEXT), weights_of(network), Setting(bits=int(bits)))
    losses = trace(screen, "loss")["y"]
    np.testing.assert_allclose(losses, [found.loss_before, found.measured.loss], rtol=1e-5)
    same, flipped = (np.asarray(trace(screen, "kl", n)["y"], float) for n in (0, 1))
    kl = np.where(np.isnan(same), flipped, same)
    np.testing.assert_allclose(kl, found.measured.kl.clamp(min=1e-6).numpy(), rtol=1e-3)
    assert (~np.isnan(flipped)).sum() == int(found.measured.flipped.sum())
    assert len(checks(screen)) == 2


def test_an_encoder_is_answered_with_one_sentence_where_there_is_no_loss():
    for view in ("cascade", "sensitivity", "budget", "cache"):
        screen = quantization(view=view, network="all-MiniLM-L6-v2")
        assert not screen.exception
        assert len(said(screen)) == 1
        assert "encoder" in said(screen)[0]
    for view in ("matrix", "duel", "outliers", "gptq"):
        screen = quantization(view=view, network="all-MiniLM-L6-v2", layer="3")
        assert said(screen) == []
        assert set(figures(screen)) == drawn(view)


def test_the_map_is_measured_when_it_is_asked_for():
    screen = quantization(view="sensitivity", bits="2")
    assert np.isnan(np.asarray(cells(screen, "map"), float)).all()  # nothing was recorded for this text
    finish(screen, "sensitivity")
    assert not screen.exception
    shown = cells(screen, "map")
    network = load("loupe-llama")
    expected = [item.kl for item in sensitivities(network, token_ids(network, TEXT), Setting(bits=2))]
    np.testing.assert_allclose(shown.flatten(), expected, rtol=1e-3)
    assert len(checks(screen)) == 1


def test_the_budget_is_solved_when_its_costs_are_measured():
    screen = quantization(view="budget", cap="3", part0="8", part1="8")
    assert any("over the cap" in text.value for text in screen.markdown)
    finish(screen, "budget")
    assert not screen.exception
    bars = figures(screen)["quantization_allocations"]["data"]
    assert len(bars) == 3
    for bar in bars[1:]:
        assert np.mean(np.asarray(bar["y"])) <= 3.01
    assert len(checks(screen)) == 1


def test_the_stepper_shows_rounded_columns_and_a_smaller_error():
    screen = quantization(view="gptq", columns="32")
    gptq, nearest = (np.asarray(trace(screen, "growing", n)["y"]) for n in (0, 1))
    assert len(gptq) == 32
    assert gptq[-1] < nearest[-1]
    assert json.dumps(figures(screen)["quantization_pushed"]["layout"]["xaxis"]["range"]) == "[-0.5, 31.5]"
    assert len(checks(screen)) == 1


def test_a_cache_of_sixteen_bits_changes_nothing():
    screen = quantization(view="cache", key_bits="16", value_bits="16")
    exact, after = (np.asarray(trace(screen, "positions", n)["y"]) for n in (0, 1))
    np.testing.assert_allclose(exact, after, atol=1e-4)
    rough = quantization(view="cache")
    assert np.asarray(trace(rough, "positions", 1)["y"]).mean() > exact.mean()
    assert len(checks(rough)) == 1


def test_before_a_run_a_recorded_one_is_shown_faintly():
    for view, name, trace_count in (("sensitivity", "map", 1), ("budget", "costs", 4)):
        screen = open_page("quantization", quantization_view=view)
        traces = figures(screen)[f"quantization_{name}"]["data"]
        assert {item["opacity"] for item in traces} == {FAINT}
        assert len(traces) == trace_count
        assert any("Recorded" in caption.value for caption in screen.caption)
    mine, greedy, best = figures(screen)["quantization_allocations"]["data"]
    assert set(np.asarray(mine["y"])) == {4.0}
    for solved in (greedy, best):
        assert 4 < np.mean(np.asarray(solved["y"])) <= BitBudget.at().cap + 0.01


# A matrix of one's own

OWN = "0.5, -1\n2, 0.25"


def test_pasted_numbers_are_quantized_and_kept_in_the_address():
    screen = quantization(module="yours", own=OWN, bits="8")
    assert said(screen) == []
    assert screen.text_area(key="quantization_own_widget").value == OWN
    x = torch.tensor([[0.5, -1.0], [2.0, 0.25]])
    found = quantize(x, Setting(bits=8))
    assert f"{sqnr(x, found.dequantized):.2f} dB" in title(screen, "levels")
    written = live(screen)["quantization_history"]["parameters"]
    assert written["quantization_own"] == OWN
    again = open_page("quantization", **{key: value for key, value in written.items() if value})
    assert title(again, "levels") == title(screen, "levels")


def test_your_own_numbers_begin_with_an_example():
    screen = quantization()
    screen.selectbox(key="quantization_module_widget").set_value("yours").run()
    assert said(screen) == []
    assert cells(screen, "error").shape == (4, 8)
    screen.text_area(key="quantization_own_widget").set_value("1 2 3\n4 5 x").run()
    assert len(said(screen)) == 1
    assert "Row 2, column 3: 'x'" in said(screen)[0]
    assert screen.text_area(key="quantization_own_widget").value == "1 2 3\n4 5 x"
    duel = quantization(view="duel", module="yours")
    assert said(duel) == []


def npy(values: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, values)
    return out.getvalue()


def test_a_file_takes_the_place_of_typed_numbers_which_stay():
    values = np.random.default_rng(1).standard_normal((6, 16)).astype(np.float32)
    screen = quantization(module="yours", own=OWN)
    upload = screen.get("file_uploader")[0]
    upload.set_value(("w.npy", npy(values), "application/octet-stream")).run()
    assert said(screen) == []
    assert cells(screen, "error").shape == (6, 16)
    x = torch.from_numpy(values)
    assert f"{sqnr(x, quantize(x, Setting()).dequantized):.2f} dB" in title(screen, "levels")
    assert screen.text_area(key="quantization_own_widget").value == OWN
    screen.get("file_uploader")[0].set_value(("bad.npy", b"nothing", "application/octet-stream")).run()
    assert len(said(screen)) == 1
    assert "no .npy file" in said(screen)[0]
    assert cells(screen, "error").shape == (6, 16)  # the last good one stays


def test_a_link_to_a_file_that_is_gone_says_so():
    screen = quantization(module="yours", own="file:00000000/mine.npy")
    assert len(said(screen)) == 1
    assert "mine.npy is no longer kept" in said(screen)[0]
    assert not screen.exception


# Views as values


@pytest.mark.parametrize("view", views("quantization"), ids=lambda view: view.name)
def test_a_stage_is_made_outside_of_any_session_and_every_live_slider_moves_it(view):
    first = view.at()
    assert first.trouble is None
    shown = {plot.name: plot.drawn.text for plot in first.stage().plots}
    for name, control in view.controls().items():
        if not isinstance(control, Slider) or not control.live or (control.off and control.off(first)):
            continue
        moved = []
        for part in (0.0, 0.3, 0.8, 1.0):
            low, high = of(control.low, first), of(control.high, first)
            value = low * (high / low) ** part if control.log else low + part * (high - low)
            moved += [
                plot.drawn.text != shown[plot.name] for plot in first.with_(**{name: value}).stage().plots
            ]
        assert any(moved), name


def test_the_page_opens_with_the_matrix():
    assert opening(views("quantization")) is WeightMatrix
