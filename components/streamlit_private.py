"""Every name of Streamlit that is not part of its public interface, each with the reason why it is needed.

Nothing else of Loupe imports ``streamlit.runtime``, ``streamlit.proto`` or what has an underscore.
tests/components/test_streamlit_private.py says which of these an upgrade broke, and docs/upgrading.md
what to do then.
"""

from streamlit import runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.scriptrunner_utils.script_run_context import ThreadState


def session_here() -> str | None:
    """The session whose script runs on this thread; None outside of one.

    st.session_state tells sessions apart, but says nothing by which other threads could name one.
    """
    context = get_script_run_ctx(suppress_warning=True)
    return None if context is None else context.session_id


def fragment_here() -> str | None:
    """The fragment that is being drawn on this thread; None outside of one.

    Long work ends when the fragment that shows it is gone; a fragment does not know its own name.
    """
    return None if session_here() is None else ThreadState.get().fragment_id


def is_present(session: str | None) -> bool:
    """Whether the session's browser is connected; a computation of nobody's counts as watched.

    Long work ends when its person leaves, and no public name says so to another thread.
    """
    if session is None or not runtime.exists():
        return True
    return runtime.get_instance().is_active_session(session)


def is_on_screen(session: str | None, fragment: str) -> bool:
    """Whether a fragment of a connected session is still on its page; True where none can be asked.

    A full run forgets the fragments that it did not draw: another page or view is open then.
    """
    if session is None or not runtime.exists():
        return True
    app_session = runtime.get_instance().get_app_session(session)
    return app_session is None or app_session.has_fragment(fragment)
