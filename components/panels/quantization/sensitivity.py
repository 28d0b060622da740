"""Sensitivity map: every matrix quantized alone, layer by module, with progress."""

import numpy as np
import pandas as pd
import streamlit as st

from components.controls import choose
from components.figures.quantized_network import sensitivity_map
from components.live.figure import live_figure
from components.page import Check, Page, checked_against, take_with_you
from components.panels import panel
from components.panels.network.text import Choice
from components.panels.quantization.reading import followed_down
from components.panels.quantization.setting import choose_setting, setting_now
from components.words import _
from components.work.running import keep_going, run_controls
from models.networks.loading import load
from models.quantization.quantized_network import (
    Sensitivity,
    cascade,
    check_decoder,
    sensitivities,
    token_ids,
    weights_of,
)
from models.quantization.weight_formats import Setting

MEASURES = ("kl", "loss")


def measure_label(measure: str) -> str:
    return {"kl": _("KL (nats)"), "loss": _("added loss (nats)")}[measure]


@panel
def sensitivity(page: Page, choice: Choice) -> None:
    check_decoder(load(choice.network))
    choose_setting(page, (), ())
    sensitivity_run(page, choice)


@panel
def sensitivity_run(page: Page, choice: Choice) -> None:
    network, setting = load(choice.network), setting_now(page)
    measure = choose(
        _("Shown"), MEASURES, f"{page.name}_measure", measure_label, default="kl", style="segments"
    )
    weights = weights_of(network)
    held = run_controls(
        page,
        "sensitivity",
        (choice, setting),
        lambda: sensitivities(network, token_ids(network, choice.text), setting),
        len(weights),
    )
    seen: list[Sensitivity] = held.seen if held is not None else []
    figure = map_figure(choice, seen, measure)
    live_figure(figure, f"{page.name}_map", _("Sensitivity of every matrix"))
    if not seen:
        st.caption(_("Nothing is measured yet: Start fills the map, matrix by matrix."))
    page.note("sensitivity")
    if held is not None and held.is_done:
        sensitivity_facts(page, choice, seen, setting, measure)
    keep_going(page, "sensitivity", held)


def map_figure(choice: Choice, seen: list[Sensitivity], measure: str):
    weights = weights_of(load(choice.network))
    layers = sorted({weight.layer for weight in weights})
    modules = list(dict.fromkeys(weight.module for weight in weights))
    values = np.full((len(layers), len(modules)), np.nan)
    for found in seen:
        place = layers.index(found.weight.layer), modules.index(found.weight.module)
        values[place] = found.kl if measure == "kl" else max(0.0, found.added_loss)
    return sensitivity_map(values, layers, modules, measure_label(measure), 150 + 48 * len(layers))


def sensitivity_facts(
    page: Page, choice: Choice, seen: list[Sensitivity], setting: Setting, measure: str
) -> None:
    """The order, the sum against all together, and one entry computed again on its own."""
    network = load(choice.network)
    table = pd.DataFrame(
        {
            _("Layer"): [found.weight.layer for found in seen],
            _("Matrix"): [found.weight.module for found in seen],
            _("KL (nats)"): [found.kl for found in seen],
            _("added loss (nats)"): [found.added_loss for found in seen],
        }
    ).sort_values(_("KL (nats)"), ascending=False)
    together = followed_down(choice.network, choice.text, "all", setting)
    st.markdown(
        _("Summed over all matrices, each alone: KL {sum}. All of them together: KL {together}.").format(
            sum=f"{sum(found.kl for found in seen):.4f}", together=f"{together.measured.mean_kl:.4f}"
        )
    )
    st.dataframe(table, hide_index=True, height=260)
    worst = max(seen, key=lambda found: found.kl)
    again = cascade(network, token_ids(network, choice.text), (worst.weight,), setting)
    checked_against(
        [
            Check(
                _("the largest one, measured again on its own"),
                abs(again.measured.mean_kl - worst.kl),
                1e-5,
            )
        ]
    )
    take_with_you(
        f"{page.name}_sensitivity",
        lambda: table,
        lambda: map_figure(choice, seen, measure),
        snippet(choice, setting),
    )


def snippet(choice: Choice, setting: Setting) -> str:
    return f"""from models.networks.loading import load
from models.quantization.quantized_network import sensitivities, token_ids
from models.quantization.weight_formats import Setting

network = load({choice.network!r})
for found in sensitivities(network, token_ids(network, {choice.text!r}), {setting!r}):
    print(found.weight.layer, found.weight.module, found.kl, found.added_loss)
"""
