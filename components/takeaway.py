"""What a person takes along from a view, and what its numbers were just compared with.

Both are made below the stage, where the numbers are, and stand beside the page's title: the places are
reserved there first.
"""

import re
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from components.catalogue import lesson
from components.figures.style import DIVERGING
from components.live.address import copy_link
from components.settings import View
from components.stage import Plot, Row, Stage, show
from components.take.standalone import archive, megabytes, needs, networks, script
from components.words import _, language
from models.tables import no_formula

FILES = {  # by ending: what its button is called, its MIME type and its icon
    "csv": ("csv", "text/csv", ":material/table:"),
    "html": ("html", "text/html", ":material/download:"),
    "py": ("py", "text/x-python", ":material/code:"),
    "zip": ("py", "application/zip", ":material/folder_zip:"),
}
LONGEST_SAID = 40  # characters of a setting in a file's name
_take: ContextVar[Any] = ContextVar("take", default=None)
_checks: ContextVar[Any] = ContextVar("checks", default=None)


@dataclass(frozen=True)
class Check:
    """One comparison made just now: what with what, the largest difference, what is allowed."""

    what: str
    difference: float
    tolerance: float

    @property
    def holds(self) -> bool:
        return self.difference <= self.tolerance  # False for NaN


def reserve(page: str) -> None:
    """The menu of things to take along: the link now, the rest when the view has its numbers."""
    menu = st.popover(_("Take"), icon=":material/download:", width="content", key="loupe_take")
    with menu:
        copy_link(f"{page}_link")
        _take.set(st.container())


def reserve_checks() -> None:
    """A place for the badge of the checks."""
    _checks.set(st.container(width="content"))


def checked_against(checks: list[Check]) -> None:
    """Show comparisons made in this run: a badge that opens; one that fails is shown in red."""
    slot = _checks.get() or st.container()
    failed = [check for check in checks if not check.holds]
    with slot:
        for check in failed:
            st.error(_("This check failed.") + " " + _line(check), icon=":material/error:")
        if len(failed) == len(checks):
            return
        count = len(checks) - len(failed)
        label = _("1 check") if count == 1 else _("{count} checks").format(count=count)
        with st.popover(f":green[:material/check_circle:] {label}", key="loupe_checks"):
            for check in checks:
                if check.holds:
                    word = _("Checked against")
                    st.caption(f":green[:material/check_circle:] {word} {_line(check)}")


def _line(check: Check) -> str:
    return _("{what}: largest difference {difference} (allowed {tolerance})").format(
        what=check.what, difference=f"{check.difference:.1e}", tolerance=f"{check.tolerance:.0e}"
    )


def take_with_you(
    view: View,
    table: Callable[[], pd.DataFrame] | None,
    figure: Callable[[], go.Figure] | None,
    snippet: str,
    own: Callable[[], dict[str, bytes]] | None = None,
) -> None:
    """The data as CSV, the figure as HTML, and Python that repeats the numbers.

    All are made only when somebody asks for the file; before a run has its numbers there is the Python
    alone. A table whose index has a name keeps it as its first column. ``own``: files of the person's that
    the Python reads, by name.
    """
    with _take.get() or st.container():
        if table is not None:
            _offer(view, "csv", _("Data as CSV"), lambda: csv_of(table()))
        if figure is not None:
            settings = described(view)
            title = lesson(view.page, language()).views[view.name].label
            link = link_of(view)
            said = _("The camera in the figure's corner saves it as PNG.")
            page = partial(html_of, title=title, settings=settings, link=link)
            _offer(view, "html", _("Figure as HTML"), lambda: page(figure()), said)
        python_button(view, snippet, own)
        with st.expander(_("Reproduce in Python")):
            st.markdown(_("The short form, for Loupe's own folder:"))
            st.code(snippet, language="python")


def python_button(view: View, snippet: str, own: Callable[[], dict[str, bytes]] | None) -> None:
    """Python that runs in an empty folder; in a zip with the networks and texts that it reads."""
    needed = needs(snippet)
    header = header_of(view, needed)
    if not needed and own is None:
        label = _("Python that runs in an empty folder")
        said = _("Needs the published packages that its first lines name, and nothing of Loupe.")
        _offer(view, "py", label, lambda: script(snippet, header).encode(), said)
        return
    label = _("Python and the network") if networks(needed) else _("Python and what it reads")
    said = _(
        "A zip of {size} MB: script.py and what it reads. It runs in an empty folder, and needs only "
        "the published packages that its first lines name."
    ).format(size=f"{megabytes(needed):.1f}")
    zipped = partial(archive, snippet, header)
    _offer(view, "zip", label, lambda: zipped(own and own()), said)


def _offer(view: View, ending: str, label: str, made: Callable[[], bytes], said: str | None = None) -> None:
    """A button for a file, which is made when somebody asks for it; no rerun."""
    kind, mime, icon = FILES[ending]
    st.download_button(
        label,
        made,
        f"{file_name(view)}.{ending}",
        mime,
        key=f"{view.page}_{view.name}_{kind}",
        icon=icon,
        on_click="ignore",
        width="stretch",
        help=said,
    )


def header_of(view: View, needed: tuple[str, ...]) -> str:
    """The first lines of a view's script: what it is and prints, at which settings, where it was made."""
    words = lesson(view.page, language())
    lines = [f"Loupe · {words.title} · {words.views[view.name].label}", described(view), link_of(view)]
    lines.append(_("Prints the numbers that the page shows at these settings; its last lines name them."))
    if needed:
        lines.append(_("Reads what lies beside it: {names}.").format(names=", ".join(needed)))
    return "\n".join(line for line in lines if line)


def link_of(view: View) -> str:
    """The address of a view as it stands."""
    return (st.context.url or "").split("?")[0] + "?" + view.address()


def file_name(view: View) -> str:
    """A file's name that says which view it is of, at which settings."""
    parts = [f"{name}-{value}" for name, value in _changed(view).items()]
    words = re.sub(r"[^A-Za-z0-9.,_-]+", "", "_".join([view.page, view.name, *parts]))
    return f"loupe-{words[:100]}"


def _changed(view: View) -> dict[str, str]:
    """The settings that differ from the defaults, as the address writes them."""
    texts = view.parameters()
    return {
        name: str(texts[key])
        for name, key in view.keys().items()
        if texts[key] and len(texts[key] or "") < 40
    }


def described(view: View) -> str:
    return ", ".join(f"{name} = {value}" for name, value in _changed(view).items())


def csv_of(table: pd.DataFrame) -> bytes:
    """With the names of the rows where they have any."""
    safe = table.rename(columns=_no_formula, index=_no_formula).map(_no_formula)
    return safe.to_csv(index=table.index.name is not None).encode()


def _no_formula(cell: Any) -> Any:
    return no_formula(cell) if isinstance(cell, str) else cell


def html_of(figure: go.Figure, title: str, settings: str, link: str) -> bytes:
    """A page of its own: title, settings, the figure, and the link back."""
    head = f"<title>Loupe: {title}</title><h1 style='font:600 1.3rem sans-serif'>{title}</h1>"
    said = f"<p style='font:0.9rem sans-serif'>{settings}</p>" if settings else ""
    back = f"<p style='font:0.9rem sans-serif'><a href='{link}'>{link}</a></p>"
    config = {"displaylogo": False, "plotlyServerURL": "", "modeBarButtonsToRemove": ["sendChartToCloud"]}
    body = figure.to_html(include_plotlyjs=True, full_html=False, config=config)
    return f"<!doctype html><meta charset='utf-8'>{head}{said}{body}{back}".encode()


def compare(page: str, first: View, stage: Stage) -> None:
    """State A beside state B, figure by figure, and B less A where both show the same cells or points."""
    before = {plot.name: plot for plot in first.stage().plots}
    rows = []
    for plot in stage.plots:
        if plot.name not in before:
            continue
        other = before[plot.name]
        parts = [_titled(other, f"{plot.name}_a", "A"), plot]
        if (difference := difference_of(other, plot)) is not None:
            parts.append(Plot(f"{plot.name}_less", difference, _("B less A") + ": " + plot.alt))
        rows.append(Row(parts))
    st.caption(
        _("Left: A, as it was pinned. Right of it: B, as it stands now, and B less A where defined.")
    )
    show(Stage(*rows), page)


def _titled(plot: Plot, name: str, state: str) -> Plot:
    return Plot(name, plot.made, f"{state}: {plot.alt}")


def difference_of(first: Plot, second: Plot) -> go.Figure | None:
    """B less A: cells of a heatmap, or heights of bars and lines over the same places."""
    if not isinstance(first.made, go.Figure) or not isinstance(second.made, go.Figure):
        return None
    old, new = first.made.data, second.made.data
    if len(old) != len(new) or any(a.type != b.type for a, b in zip(old, new, strict=True)):
        return None
    made = go.Figure(second.made)
    for trace, before in zip(made.data, old, strict=True):
        letter = (
            "z" if trace.type == "heatmap" else ("x" if getattr(trace, "orientation", "") == "h" else "y")
        )
        if getattr(trace, letter) is None or getattr(before, letter) is None:
            return None
        values, base = np.asarray(getattr(trace, letter), float), np.asarray(getattr(before, letter), float)
        if values.shape != base.shape:
            return None
        gap = values - base
        trace[letter] = gap
        if letter == "z":
            top = float(np.nanmax(np.abs(gap), initial=0.0)) or 1.0
            trace.update(zmin=-top, zmax=top, colorscale=DIVERGING)
        else:
            made.update_layout({f"{letter}axis": {"range": None, "autorange": True, "type": "linear"}})
    return made


def is_flat(trace: Any) -> bool:
    """Whether a trace's bars lie."""
    return trace.type == "bar" and trace.orientation == "h"
