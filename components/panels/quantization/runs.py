"""Long work of the page: its buttons, its progress and its figure on the stage."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import streamlit as st

from components.words import _
from components.work.running import is_going, keep_going, run_buttons, run_of, show_progress
from components.work.runs import QUEUE, name_here

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)


class Draw(Protocol[T_contra]):
    """Draws results as far as there are any; ``faint`` where they are recorded and not the person's."""

    def __call__(self, results: Sequence[T_contra], *, faint: bool = False) -> None: ...


class _Quantization:
    name = "quantization"


PAGE: Any = _Quantization()


def results_of(name: str, settings: Hashable) -> tuple[Sequence[Any], bool]:
    """What this session's run of these settings has come to, and whether that is all."""
    held = QUEUE.find(name_here(name))
    if held is None or held.settings != settings:
        return (), False
    return held.seen, held.is_done


@st.fragment
def stage_of_run(
    name: str,
    settings: Hashable,
    steps: Callable[[], Iterator[T]],
    total: int,
    draw: Draw[T],
    recorded: Callable[[], Sequence[T]],
) -> None:
    """Draw a run with its buttons, and again as it goes on; recorded results, faintly, before it begins."""
    held = run_of(PAGE, name, settings, steps)
    with st.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center"):
        if held is None:
            st.markdown(_("Recorded; press Start for your own.") if recorded() else "", width="stretch")
        else:
            show_progress(len(held.seen), total)
        run_buttons(PAGE, name, settings, steps, held)
    if held is None:
        draw(recorded(), faint=True)
    else:
        draw(held.seen)
    if is_going(PAGE, name):
        st.session_state[f"{PAGE.name}_timed"] = True  # at its end the whole page follows
    keep_going(PAGE, name, held)
