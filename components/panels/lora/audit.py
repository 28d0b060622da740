"""The no-op audit: what each of peft's initialisations does before the first step."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st
import torch

from components.figures.lora import table_heatmap
from components.lesson_parts import note
from components.settings import View, one_of
from components.stage import Block, Plot, Stage
from components.takeaway import Check, checked_against, take_with_you
from components.words import _, mark
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


def only_label(only: str) -> str:
    return {
        "all": _("all initialisations"),
        "kept": _("those that change nothing"),
        "changed": _("those that change something"),
    }[only]


@dataclass(frozen=True)
class NoOpAudit(View):
    """What each of peft's initialisations does before the first step."""

    page, name = "lora", "audit"
    only: str = one_of(("all", "kept", "changed"), label=mark("Show"), label_of=only_label, style="radio")

    def findings(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in audit() if self.only == "all" or kind(finding) == self.only)

    def stage(self) -> Stage:
        findings = self.findings()
        return Stage(
            [
                Plot(
                    "audit",
                    figure_of(findings),
                    _("What each initialisation changes before training"),
                    least=320,
                    width=1.2,
                ),
                Block(lambda: verdict_table(findings)),
            ]
        )

    def below(self) -> None:
        note(self, "audit")
        st.markdown(
            _(
                "A Llama of 2 layers, width 32, rank {rank}, α {alpha}, on Q and V; {limit} is rounding."
            ).format(rank=RANK, alpha=ALPHA, limit=f"{NO_CHANGE:.0e}")
        )
        checked_against(checks())
        take_with_you(self, lambda: table(audit()), lambda: figure_of(audit()), SNIPPET)


def kind(finding: Finding) -> str:
    return "kept" if finding.is_no_op and not finding.changes_base else "changed"


def figure_of(findings: tuple[Finding, ...]) -> go.Figure:
    values = np.array([[f.output, f.base, f.disabled] for f in findings])
    texts = [["" if np.isnan(v) else ("0" if v == 0 else f"{v:.0e}") for v in row] for row in values]
    return table_heatmap(
        np.where(values == 0, 1e-8, values),
        [finding_label(finding) for finding in findings],
        [_("output<br>at step 0"), _("base<br>weight"), _("output,<br>adapter off")],
        row_title="",
        column_title="",
        value_title=_("Difference from the network without an adapter"),
        limits=(1e-8, 10.0),
        texts=texts,
        height=560,
    )


def verdict_table(findings: tuple[Finding, ...]) -> None:
    """Verdicts in full: a static table wraps what a grid would cut."""
    st.table(
        pd.DataFrame(
            {_("Verdict"): [verdict(finding) for finding in findings]},
            index=pd.Index([finding_label(finding) for finding in findings], name="init_lora_weights"),
        )
    )


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
    return pd.DataFrame([vars(finding) for finding in findings]).set_index("name")


SNIPPET = """from models.lora.audit import audit

for finding in audit():
    print(finding)
"""
