"""Sessions' runs line up before they begin: one redraw of the process after the other."""

from streamlit.runtime.scriptrunner import ScriptRunner

from components.watch import timed
from models.turns import turn

_run_thread = ScriptRunner._run_script_thread


def take_turns() -> None:
    """Let each session's script thread wait for its turn before it takes what it was asked for.

    Streamlit has no hook there. It has to be this place: what is asked for meanwhile joins the waiting
    request, and the browser has not been told yet that a run began. Told too early, it clears elements
    that the run, should it be cut short by the next, would never bring back (Streamlit 1.67, issue
    16708: "cleanup executes with a later run's" fragments).
    """
    ScriptRunner._run_script_thread = _in_turn  # type: ignore[assignment]


def _in_turn(runner: ScriptRunner) -> None:
    with turn(timed("wait for a turn")):
        _run_thread(runner)
