"""Two changes to how Streamlit 1.67 reruns, for many sessions in one process; it has no hooks for them."""

from functools import cache

from streamlit.proto.NewSession_pb2 import CustomThemeConfig
from streamlit.runtime import app_session
from streamlit.runtime.scriptrunner import ScriptRunner

from components.server.watch import timed
from models.runtime.turns import turn

_run_thread = ScriptRunner._run_script_thread
_read_theme = app_session._populate_theme_msg


def make_cheaper() -> None:
    """Once a process: runs take turns, and the theme is read from the settings once."""
    ScriptRunner._run_script_thread = _in_turn  # type: ignore[assignment]  # no hook to use instead
    app_session._populate_theme_msg = _theme_again


def _in_turn(runner: ScriptRunner) -> None:
    """Let a session's script thread wait for its turn before it takes what it was asked for.

    It has to be here: what is asked for meanwhile joins the waiting request, and the browser has not
    been told yet that a run began. Told too early, it clears elements that the run, should it be cut
    short by the next, never brings back, and then the page turns blank ("Bad delta path index"; the
    clean-up of a run that finds the next one's fragments is issue 16708 of streamlit/streamlit).
    """
    with turn(timed("wait for a turn")):
        _run_thread(runner)


def _theme_again(msg: CustomThemeConfig, section: str = "theme") -> None:
    """Every run begins with the whole theme, six times; reading it took a tenth of the main thread."""
    msg.MergeFromString(_theme(section))


@cache
def _theme(section: str) -> bytes:
    made = CustomThemeConfig()
    _read_theme(made, section)
    return made.SerializeToString()
