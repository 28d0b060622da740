"""Where a method's paper and the library differ, with the numbers of both."""

import math
from dataclasses import replace

import pandas as pd
import streamlit as st
from torch import Tensor

from components.words import _
from models.rotary.scaling import (
    RopeSettings,
    dynamic_factor,
    longrope_attention_factor,
    scaled_rope,
    yarn_attention_factor,
    yarn_paper,
)


def paper_and_library(settings: RopeSettings, length: int) -> None:
    """A row for each number that both give; nothing where a method has no difference to show."""
    rows = differences(settings, length)
    if not rows:
        return
    st.markdown("##### " + _("Paper and library"))
    names = (_("Quantity"), _("Paper"), "transformers", _("Why"))
    st.dataframe(pd.DataFrame(rows, columns=list(names)), hide_index=True)


def differences(settings: RopeSettings, length: int) -> list[tuple[str, str, str, str]]:
    """What is compared, the paper's number, the library's, and where they part."""
    kind, factor = settings.rope_type, settings.factor or 1.0
    if kind == "dynamic":
        by_paper = max(1.0, length / settings.longest)
        by_library = dynamic_factor(factor, length, settings.longest)
        return [
            (
                _("stretch at {length} tokens").format(length=f"{length:,}"),
                f"{by_paper:.4g}",
                f"{by_library:.4g}",
                _("The paper stretches by l/L; the library by s·l/L − (s − 1), the same only at s = 1."),
            )
        ]
    if kind == "yarn":
        return _of_yarn(settings)
    if kind == "longrope":
        yarn = yarn_attention_factor(replace(settings, rope_type="yarn"))
        return [
            (
                _("attention factor"),
                f"{yarn:.4f} (YaRN)",
                f"{longrope_attention_factor(settings):.4f}",
                _("Two rules for the same purpose: 0.1·ln s + 1 in YaRN, √(1 + ln s/ln L) here."),
            ),
            (
                _("first tokens left unscaled"),
                _("searched"),
                "0",
                _("LongRoPE also searches how many first positions stay as they are; no key holds that."),
            ),
        ]
    if kind == "llama3":
        low, high = settings.low_freq_factor or 1.0, settings.high_freq_factor or 4.0
        as_yarn = replace(settings, rope_type="yarn", beta_slow=low, beta_fast=high)
        ours, paper = scaled_rope(settings), yarn_paper(as_yarn)
        gap = _largest_gap(paper.inverse_frequencies, ours.inverse_frequencies)
        return [
            (
                _("frequencies, largest relative difference"),
                f"{gap:.1e}",
                "0",
                _("The same bands as YaRN's paper with α = 1 and β = 4, without an attention factor."),
            ),
            (
                _("attention factor"),
                f"{paper.attention_factor:.4f} (YaRN)",
                f"{ours.attention_factor:.4f}",
                _("Llama 3 multiplies nothing."),
            ),
        ]
    return []


def _of_yarn(settings: RopeSettings) -> list[tuple[str, str, str, str]]:
    library, paper = scaled_rope(settings), yarn_paper(settings)
    own, theirs = library.inverse_frequencies, paper.inverse_frequencies
    pair = int(((theirs - own).abs() / own).argmax())
    same = replace(settings, mscale=1.0, mscale_all_dim=1.0)
    return [
        (
            _("wavelength of pair {pair}, where they differ most").format(pair=pair),
            f"{2 * math.pi / float(theirs[pair]):,.1f}",
            f"{2 * math.pi / float(own[pair]):,.1f}",
            _("The paper's ramp is linear in turns, the authors' code and the library's in the pair i."),
        ),
        (
            _("attention factor"),
            f"{paper.attention_factor:.4f}",
            f"{library.attention_factor:.4f}",
            _("The same, 0.1·ln s + 1, while mscale is not set."),
        ),
        (
            _("attention factor with mscale = mscale_all_dim = 1"),
            f"{paper.attention_factor:.4f}",
            f"{yarn_attention_factor(same):.4f}",
            _("DeepSeek-V3 sets both: the library divides one by the other."),
        ),
    ]


def _largest_gap(first: Tensor, second: Tensor) -> float:
    return float(((first - second).abs() / second).max())
