"""The no-op audit: what each of peft's initialisations does before the first step."""

import numpy as np
import pandas as pd
import streamlit as st
import torch

from components.figures.lora import table_heatmap
from components.live.figure import live_figure
from components.page import Check, Page, checked_against, take_with_you
from components.panels import panel
from components.words import _
from models.lora.audit import ALPHA, NO_CHANGE, RANK, Finding, audit, examine, tiny_network, tokens

NAMES = {"True": "True (default)", "False": "False (both random)"}


def finding_label(finding: Finding) -> str:
    label = NAMES.get(finding.name, finding.name)
    return _("{name}, prepared").format(name=label) if finding.prepared else label


def verdict(finding: Finding) -> str:
    """What the four questions come to, in a few words."""
    if finding.refusal:
        return _("refuses: {reason}").format(reason=finding.refusal)
    if finding.fell_back:
        return _("silently the default: its preparation is missing")
    if not finding.is_no_op:
        return _("changes the output before any training")
    if finding.changes_base:
        return _("output kept, base weight changed: switching the adapter off gives another network")
    return _("no-op: output and base are kept")


@panel
def no_op_audit(page: Page) -> None:
    findings = audit()
    values = np.array([[f.output, f.base, f.disabled] for f in findings])
    texts = [["" if np.isnan(v) else ("0" if v == 0 else f"{v:.0e}") for v in row] for row in values]
    shown = np.where(values == 0, 1e-8, values)
    figure = table_heatmap(
        shown,
        [finding_label(finding) for finding in findings],
        [_("output at step 0"), _("base weight"), _("output, adapter off")],
        row_title="",
        column_title=_("Difference from the network without an adapter"),
        value_title=_("Largest difference"),
        limits=(1e-8, 10.0),
        texts=texts,
        height=560,
    )
    left, right = st.columns(2, gap="medium")
    with left:
        live_figure(figure, f"{page.name}_audit", _("What each initialisation changes before training"))
    with right:
        st.dataframe(
            pd.DataFrame(
                {
                    "init_lora_weights": [finding_label(finding) for finding in findings],
                    _("Verdict"): [verdict(finding) for finding in findings],
                }
            ),
            hide_index=True,
            width="stretch",
            height=560,
        )
    page.note("audit")
    st.caption(
        _("A Llama of 2 layers, width 32, rank {rank}, α {alpha}, on Q and V; {limit} is rounding.").format(
            rank=RANK, alpha=ALPHA, limit=f"{NO_CHANGE:.0e}"
        )
    )
    checked_against(checks())
    take_with_you(f"{page.name}_audit", lambda: table(findings), lambda: figure, SNIPPET)


def checks() -> list[Check]:
    """The tiny network twice, and the default initialisation once more: both must repeat."""
    with torch.no_grad():
        gap = (tiny_network()(tokens()).logits - tiny_network()(tokens()).logits).abs().max()
    again = examine(True, False)
    return [
        Check(_("the tiny network built a second time"), float(gap), 0.0),
        Check(_("peft's default against transformers without an adapter"), again.output, NO_CHANGE),
    ]


def table(findings: tuple[Finding, ...]) -> pd.DataFrame:
    return pd.DataFrame([vars(finding) for finding in findings])


SNIPPET = """from models.lora.audit import audit

for finding in audit():
    print(finding)
"""
