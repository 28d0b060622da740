"""Every view of the masks page: its script, run in an empty folder, prints what the page shows."""

from collections.abc import Mapping

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from tests.pages.masks_screen import maps
from tests.pages.screen import figures
from tests.take.collecting import offered_by
from tests.take.conftest import check

SHORT = "The keeper lit the lamp, and the keeper slept."
SETTINGS = {
    "lab": (
        {},
        {
            "base": "prefix",
            "prefix": "5",
            "pattern": "lambda",
            "window": "3",
            "sinks": "2",
            "starts": "4, 9",
            "cells": "3.1,9.2",
            "where": "2",
            "layer": "3",
            "head": "5",
            "query": "11",
        },
    ),
    "padding": ({}, {"pad_no_mask": "true"}, {"pad_side": "right", "pad_no_positions": "true"}),
    "packing": ({}, {"pack_no_block": "true", "pack_no_ignore": "true", "pack_average": "documents"}),
    "stream": (
        {"stream_tokens": "200", "stream_prefill": "150"},
        {
            "stream_tokens": "120",
            "stream_prefill": "30",
            "stream_window": "9",
            "stream_sinks": "3",
            "stream_positions": "cache",
        },
    ),
    "hiding": ({}, {"layer": "3", "query": "5"}),
    "order": ({}, {"seed": "4", "text": SHORT}),
    "cost": ({}, {"length": "200", "pattern": "dilated", "step": "3", "kernel": "32"}),
    "code": ({}, {"library": "sdpa", "base": "bidirectional"}, {"library": "flex", "text": SHORT}),
}
CASES = [(view, setting) for view, settings in SETTINGS.items() for setting in settings]


@pytest.mark.parametrize(("view", "setting"), CASES)
def test_the_script_prints_what_the_page_shows(view, setting, alone, monkeypatch):
    query = {f"masks_{name}": value for name, value in setting.items()}
    screen, script = offered_by("masks", monkeypatch, masks_view=view, **query)
    check_on_screen(view, screen, script.prints)
    check(script, alone)


def check_on_screen(view: str, screen: AppTest, prints: Mapping[str, object]) -> None:
    """That what is printed is what a figure or a table of the view shows."""
    drawn = figures(screen)
    if view == "lab":
        mask = next(trace for trace in drawn["masks_effect"]["data"] if "mask" in trace["name"])
        np.testing.assert_allclose(np.mean(mask["y"]), prints["mean loss"], rtol=1e-5)
        row, weights = next(iter(prints.items()))
        np.testing.assert_array_equal(weights, np.nan_to_num(maps(screen)[1][int(row.split()[-1])]))
    elif view == "padding":
        for curve, name in zip(drawn["masks_pad_changes"]["data"], ("first", "second"), strict=True):
            changes = np.maximum(prints[f"changes, {name} row"], 1e-8)
            np.testing.assert_allclose(changes, curve["y"], rtol=1e-5)
    elif view == "packing":
        shown = [metric.value for metric in screen.metric[:2]]
        assert [f"{value:.5f}" for value in prints.values()] == shown
    elif view == "stream":
        shown = [metric.value for metric in screen.metric[:3]]
        assert [f"{value:.3f}" for value in list(prints.values())[:3]] == shown
    elif view == "hiding":
        rows = screen.dataframe[0].value
        assert [f"{value:.4f}" for value in prints.values()] == list(rows["Length of head 0's output"])
    elif view == "order":
        for curve, values in zip(drawn["masks_order"]["data"], prints.values(), strict=True):
            np.testing.assert_allclose(np.maximum(values[1:], 1e-8), curve["y"], rtol=1e-6)
    elif view == "cost":
        assert any(f"{prints['visible pairs']:,}" in table.value for table in screen.markdown)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("view", ["lab", "hiding", "order", "code", "padding"])
def test_a_network_of_transformers_is_loaded_by_the_script(view, kind, alone, monkeypatch, network_folder):
    query = {"masks_network": "other", "masks_other": network_folder(kind), "masks_pad_no_mask": "true"}
    _screen, script = offered_by("masks", monkeypatch, masks_view=view, **query)
    assert "from_pretrained" in script.code
    check(script, alone)


@pytest.mark.parametrize("view", ["lab", "code"])
def test_an_encoder_of_a_package_is_loaded_by_the_script(view, alone, monkeypatch):
    _screen, script = offered_by(
        "masks", monkeypatch, masks_view=view, masks_network="all-MiniLM-L6-v2", masks_text=SHORT
    )
    check(script, alone)
