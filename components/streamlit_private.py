"""Every name of Streamlit that is not part of its public interface, each with the reason why it is needed.

Nothing else of the app imports ``streamlit.runtime``, ``streamlit.proto`` and the like.
tests/components/test_streamlit_private.py says which of these doors an upgrade broke, and
docs/upgrading.md what to do then.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache

from google.protobuf.message import DecodeError
from streamlit import config, runtime
from streamlit.auth_util import get_cookie_with_chunks
from streamlit.delta_generator import DeltaGenerator
from streamlit.elements.lib.column_types import ColumnConfig
from streamlit.navigation.page import StreamlitPage
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.NewSession_pb2 import CustomThemeConfig
from streamlit.proto.WidgetStates_pb2 import WidgetState
from streamlit.runtime import app_session
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.scriptrunner import ScriptRunner, get_script_run_ctx
from streamlit.runtime.scriptrunner_utils.script_run_context import ThreadState
from streamlit.runtime.stats import GaugeStat
from streamlit.web.server.server_util import get_cookie_secret
from streamlit.web.server.starlette.starlette_app_utils import decode_signed_value
from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME

# What Streamlit's public functions return, of which it has no public name: only to say so in signatures.
__all__ = ["ColumnConfig", "DeltaGenerator", "StreamlitPage"]


# Who is here


def session_here() -> str | None:
    """The session whose script runs on this thread; None outside of one.

    st.session_state tells sessions apart, and has no name by which another thread could ask for one.
    """
    context = get_script_run_ctx(suppress_warning=True)
    return None if context is None else context.session_id


def fragment_here() -> str | None:
    """The fragment that is being drawn on this thread; None outside of one.

    Long work ends when the fragment that shows it is gone, and a fragment does not know its own name.
    """
    return None if session_here() is None else ThreadState.get().fragment_id


def is_present(session: str | None) -> bool:
    """Whether the session's browser is connected; a computation of nobody's counts as watched.

    Long work ends when its person leaves, of which nothing public tells another thread.
    """
    if session is None or not runtime.exists():
        return True
    return bool(runtime.get_instance().is_active_session(session))


def is_on_screen(session: str | None, fragment: str) -> bool:
    """Whether a fragment of a connected session is still on its page; True where nobody can be asked.

    A full run forgets the fragments that it did not draw: another page or view is open then, and the
    fragment's own timer, which a browser slows down in a hidden tab, would say so only much later.
    """
    if session is None or not runtime.exists():
        return True
    app = runtime.get_instance().get_app_session(session)
    return app is None or bool(app.has_fragment(fragment))


def open_sessions() -> int:
    """Browsers that are connected to this process.

    Streamlit says so only on its own /_stcore/metrics, in the process's own words.
    """
    if not runtime.exists():
        return 0
    (found,) = runtime.get_instance().stats_mgr.get_stats(["active_sessions"])["active_sessions"]
    return int(found.value) if isinstance(found, GaugeStat) else 0


# What comes in


def signed_in_as(cookies: Mapping[str, str], hours: float) -> str:
    """A name for whoever signed in with these cookies, at most so many hours ago; empty for nobody.

    st.user answers only inside of a script, and for thirty days; routes, uploads and the websocket are
    asked for outside.
    """
    secret = get_cookie_secret()

    def cookie(name: str) -> bytes | None:
        value = cookies.get(name)
        if value is None:
            return None
        return decode_signed_value(secret, name, value.encode("latin-1"), max_age_days=hours / 24)

    try:
        user = get_cookie_with_chunks(cookie, USER_COOKIE_NAME)
    except ValueError:  # a forged value that cannot even be decoded
        return ""
    return hashlib.sha256(user).hexdigest() if user else ""


def uploads_of(session: str) -> dict[str, int]:
    """The bytes of the files that a session has sent, by their ids, the oldest first.

    Streamlit keeps them until the session ends, and has no limit to their number.
    """
    manager = _upload_manager()
    files = {} if manager is None else manager.file_storage.get(session, {})
    return {name: len(file.data) for name, file in list(files.items())}


def drop_upload(session: str, file: str) -> None:
    """Let go of one of them."""
    if (manager := _upload_manager()) is not None:
        manager.remove_file(session, file)


def _upload_manager() -> MemoryUploadedFileManager | None:
    manager = runtime.get_instance().uploaded_file_mgr if runtime.exists() else None
    return manager if isinstance(manager, MemoryUploadedFileManager) else None


def kind_of_message(data: bytes | None) -> str | None:
    """The kind of a message from the browser, empty where it has none; None where it is no message.

    Any visitor may send "clear_cache", by which all others lose what is kept for them.
    """
    if data is None:
        return None
    message = BackMsg()
    try:
        message.ParseFromString(data)
    except DecodeError:
        return None
    return message.WhichOneof("type") or ""


def without_infinities(data: bytes) -> bytes:
    """A message without the widgets whose number is none: Streamlit makes whole numbers of them, and fails.

    No widget of a browser sends one.
    """
    message = BackMsg()
    message.ParseFromString(data)
    states = message.rerun_script.widget_states.widgets
    good = [state for state in states if all(map(math.isfinite, _numbers_in(state)))]
    if len(good) == len(states):
        return data
    kept = [WidgetState.FromString(state.SerializeToString()) for state in good]
    del states[:]
    states.extend(kept)
    return message.SerializeToString()


def _numbers_in(state: WidgetState) -> Sequence[float]:
    kind = state.WhichOneof("value")
    if kind == "double_value":
        return (state.double_value,)
    return state.double_array_value.data if kind == "double_array_value" else ()


def set_option(name: str, value: object) -> None:
    """Set one of Streamlit's options before the server starts.

    st.set_option refuses all but a few options, and ``streamlit run`` takes them only as arguments.
    """
    config.set_option(name, value)


# How it reruns

_run_thread = ScriptRunner._run_script_thread
_read_theme = app_session._populate_theme_msg


def run_in_turn(turn: Callable[[], AbstractContextManager[None]]) -> None:
    """Let every session's script thread wait for its turn before it takes what it was asked for.

    It has to be here: what is asked for meanwhile joins the waiting request, and the browser has not
    been told yet that a run began. Told too early, it clears elements that the run, should it be cut
    short by the next, never brings back, and then the page turns blank ("Bad delta path index"; the
    clean-up of a run that finds the next one's fragments is issue 16708 of streamlit/streamlit).
    """

    def in_turn(runner: ScriptRunner) -> None:
        with turn():
            _run_thread(runner)

    ScriptRunner._run_script_thread = in_turn  # type: ignore[method-assign, assignment]  # no hook


def read_theme_once() -> None:
    """Every run begins with the whole theme, six times; reading it took a tenth of the main thread."""
    app_session._populate_theme_msg = _theme_again


def _theme_again(msg: CustomThemeConfig, section: str = "theme") -> None:
    if theme := _theme(section):  # merging nothing would make an empty part where there is none
        msg.MergeFromString(theme)


@cache
def _theme(section: str) -> bytes:
    made = CustomThemeConfig()
    _read_theme(made, section)
    return made.SerializeToString()
