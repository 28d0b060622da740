"""Who is here: the session that a script runs for, and whether its person still has the page open."""

from streamlit import runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx


def session_here() -> str | None:
    """The session whose script runs on this thread; None outside of one."""
    context = get_script_run_ctx(suppress_warning=True)
    return None if context is None else context.session_id


def is_present(session: str | None) -> bool:
    """Whether the session's browser is connected; a computation of nobody's counts as watched."""
    if session is None or not runtime.exists():
        return True
    return runtime.get_instance().is_active_session(session)
