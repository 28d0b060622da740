"""The private doors into Streamlit: which one an upgrade broke.

For each door: whether the names behind it are still there and called as before, and whether they still
do what Loupe needs them for, in a Streamlit that runs in this process.
"""

import inspect
import json
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import streamlit as st
from streamlit import config, runtime
from streamlit.auth_util import get_cookie_with_chunks
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.NewSession_pb2 import CustomThemeConfig
from streamlit.runtime import Runtime, app_session
from streamlit.runtime.app_session import AppSession
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.scriptrunner import ScriptRunner, get_script_run_ctx
from streamlit.runtime.scriptrunner_utils.script_run_context import ThreadState
from streamlit.runtime.stats import GaugeStat, StatsManager
from streamlit.runtime.uploaded_file_manager import UploadedFileRec
from streamlit.web.server.server_util import get_cookie_secret
from streamlit.web.server.starlette.starlette_app_utils import create_signed_value, decode_signed_value
from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME

from components import streamlit_private as private
from components.streamlit_private import ColumnConfig, DeltaGenerator, StreamlitPage
from tests.components.in_process import answers, ask, opened, ran, reaches, streamlit_with

SOON = 30.0  # seconds, no measure of speed
SECRET = "0123456789abcdef0123456789abcdef"
SCRIPT = """
import loupe_doors
import streamlit as st

from components.streamlit_private import fragment_here, session_here

@st.fragment
def part():
    loupe_doors.fragment = fragment_here()
    st.write("in the fragment")

loupe_doors.runs += 1
loupe_doors.session, loupe_doors.outside = session_here(), fragment_here()
if loupe_doors.has_fragment:
    part()
"""


def test_every_door_is_tested_here_by_its_name():
    doors = {
        name
        for name, door in vars(private).items()
        if inspect.isfunction(door) and door.__module__ == private.__name__ and not name.startswith("_")
    }
    assert len(doors) >= 10
    tests = " ".join(name for name in globals() if name.startswith("test_"))
    assert {door for door in doors if door not in tests} == set()
    assert all(door.__doc__ for name, door in vars(private).items() if name in doors)


@pytest.mark.parametrize(
    ("door", "name", "called"),
    [
        (
            "session_here",
            get_script_run_ctx,
            "(suppress_warning: 'bool' = False) -> 'ScriptRunContext | None'",
        ),
        ("fragment_here", ThreadState.get, "() -> 'FragmentThreadState'"),
        ("is_present", Runtime.is_active_session, "(self, session_id: 'str') -> 'bool'"),
        ("is_present", runtime.exists, "() -> 'bool'"),
        ("is_present", runtime.get_instance, "() -> 'Runtime'"),
        ("is_on_screen", Runtime.get_app_session, "(self, session_id: 'str') -> 'AppSession | None'"),
        ("is_on_screen", AppSession.has_fragment, "(self, fragment_id: 'str') -> 'bool'"),
        (
            "open_sessions",
            StatsManager.get_stats,
            "(self, family_names: 'Sequence[str] | None' = None) -> 'Mapping[str, Sequence[Stat]]'",
        ),
        (
            "signed_in_as",
            get_cookie_with_chunks,
            "(get_single_cookie_fn: 'Callable[[str], bytes | None]', cookie_name: 'str') -> 'bytes | None'",
        ),
        ("signed_in_as", get_cookie_secret, "() -> 'str'"),
        (
            "signed_in_as",
            decode_signed_value,
            "(secret: 'str', name: 'str', value: 'str | bytes', "
            "max_age_days: 'float' = 31.0) -> 'bytes | None'",
        ),
        (
            "set_option",
            config.set_option,
            "(key: 'str', value: 'Any', where_defined: 'str' = '<user defined>') -> 'None'",
        ),
        ("run_in_turn", private._run_thread, "(self) -> 'None'"),
        (
            "read_theme_once",
            private._read_theme,
            "(msg: 'CustomThemeConfig', section: 'str' = 'theme') -> 'None'",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isidentifier() else "",
)
def test_names_behind_a_door_are_called_as_before(door, name, called):
    assert str(inspect.signature(name)) == called, f"{door}: {name.__qualname__} is called otherwise now"


# A Streamlit in this process


@pytest.fixture
def seen():
    """What the script saw; it is run as a file, and finds this by its name."""
    module = ModuleType("loupe_doors")
    module.runs, module.session, module.outside, module.fragment = 0, None, None, None
    module.has_fragment = True
    sys.modules["loupe_doors"] = module
    yield module
    del sys.modules["loupe_doors"]


@pytest.fixture
def client(tmp_path, seen, monkeypatch):
    """An app with the script, its Streamlit running; all replaced names are as they were afterwards."""
    monkeypatch.setattr(ScriptRunner, "_run_script_thread", private._run_thread)
    monkeypatch.setattr(app_session, "_populate_theme_msg", private._read_theme)
    with streamlit_with(SCRIPT, tmp_path) as client:
        yield client


def test_session_here_is_the_session_that_the_browser_was_told(client, seen):
    assert private.session_here() is None
    with opened(client) as socket:
        (begun,) = [m.new_session for m in ran(socket) if m.WhichOneof("type") == "new_session"]
        assert seen.session == begun.initialize.session_id


def test_fragment_here_is_the_fragment_that_the_browser_was_told(client, seen):
    assert private.fragment_here() is None
    with opened(client) as socket:
        told = {m.delta.fragment_id for m in ran(socket) if m.WhichOneof("type") == "delta"}
        assert seen.outside is None
        assert seen.fragment in told
        assert told == {seen.fragment, ""} or told == {seen.fragment}


def test_is_present_while_the_browser_is_connected(client, seen):
    assert private.is_present(None)
    with opened(client) as socket:
        ran(socket)
        assert private.is_present(seen.session)
        assert not private.is_present("nobody's")
    assert reaches(lambda: not private.is_present(seen.session))


def test_is_on_screen_until_a_full_run_does_not_draw_the_fragment(client, seen):
    with opened(client) as socket:
        ran(socket)
        assert private.is_on_screen(seen.session, seen.fragment)
        assert not private.is_on_screen(seen.session, "another")
        assert private.is_on_screen(None, seen.fragment)
        seen.has_fragment = False
        ran(socket)
        assert not private.is_on_screen(seen.session, seen.fragment)
    assert reaches(lambda: not private.is_present(seen.session))
    assert private.is_on_screen(seen.session, seen.fragment)  # nobody can be asked


def test_where_no_streamlit_runs_everybody_is_present_and_is_on_screen_and_open_sessions_are_none():
    assert not runtime.exists()
    assert private.is_present("somebody")
    assert private.is_on_screen("somebody", "a fragment")
    assert private.open_sessions() == 0


def test_open_sessions_are_counted(client):
    assert private.open_sessions() == 0
    with opened(client) as one:
        ran(one)
        assert private.open_sessions() == 1
        with opened(client) as two:
            ran(two)
            assert private.open_sessions() == 2
    assert reaches(lambda: private.open_sessions() == 0)
    (found,) = runtime.get_instance().stats_mgr.get_stats(["active_sessions"])["active_sessions"]
    assert isinstance(found, GaugeStat)


# What comes in


def test_signed_in_as_by_a_cookie_that_streamlit_signed(monkeypatch):
    monkeypatch.setattr(private, "get_cookie_secret", lambda: SECRET)
    signed = create_signed_value(SECRET, USER_COOKIE_NAME, json.dumps({"is_logged_in": True})).decode()
    assert private.signed_in_as({USER_COOKIE_NAME: signed}, 1)
    assert not private.signed_in_as({}, 1)
    assert not private.signed_in_as({USER_COOKIE_NAME: signed[:-1]}, 1)
    assert not private.signed_in_as({USER_COOKIE_NAME: "é"}, 1)
    assert not private.signed_in_as({"another": signed}, 1)
    other = create_signed_value(SECRET[::-1], USER_COOKIE_NAME, "{}").decode()
    assert not private.signed_in_as({USER_COOKIE_NAME: other}, 1)


def test_a_sign_in_ends_after_its_hours(monkeypatch):
    monkeypatch.setattr(private, "get_cookie_secret", lambda: SECRET)
    began = time.time()
    signed = create_signed_value(SECRET, USER_COOKIE_NAME, '{"name": "Anna"}').decode()
    another = create_signed_value(SECRET, USER_COOKIE_NAME, '{"name": "Bo"}').decode()
    anna = private.signed_in_as({USER_COOKIE_NAME: signed}, 12)
    assert anna != private.signed_in_as({USER_COOKIE_NAME: another}, 12)
    for hours, is_good in ((11.9, True), (12.1, False), (24 * 29, False)):
        monkeypatch.setattr(time, "time", lambda hours=hours: began + 3_600 * hours)
        assert (private.signed_in_as({USER_COOKIE_NAME: signed}, 12) == anna) == is_good


def test_without_infinities_a_message_is_what_a_browser_sends():
    message = BackMsg()
    message.rerun_script.query_string = "a=b"
    add = message.rerun_script.widget_states.widgets.add
    add(id="whole", int_value=3)
    add(id="good", double_value=2.5)
    add(id="pair").double_array_value.data[:] = [1.0, 2.0]
    data = message.SerializeToString()
    assert private.without_infinities(data) is data
    for number in (float("nan"), float("inf"), -float("inf")):
        add(id="bad", double_value=number)
        add(id="one of two").double_array_value.data[:] = [1.0, number]
    cleaned = BackMsg.FromString(private.without_infinities(message.SerializeToString()))
    assert cleaned == BackMsg.FromString(data)


def test_uploads_of_a_session_and_drop_upload(monkeypatch):
    manager = MemoryUploadedFileManager("/")
    monkeypatch.setattr(private.runtime, "exists", lambda: True)
    monkeypatch.setattr(private.runtime, "get_instance", lambda: SimpleNamespace(uploaded_file_mgr=manager))
    assert private.uploads_of("anna") == {}
    for name, data in (("a", b"12"), ("b", b"123")):
        manager.add_file("anna", UploadedFileRec(name, name, "text/csv", data))
    assert list(private.uploads_of("anna").items()) == [("a", 2), ("b", 3)]
    private.drop_upload("anna", "a")
    private.drop_upload("anna", "nothing")
    assert private.uploads_of("anna") == {"b": 3}
    assert private.uploads_of("bo") == {}


def test_kind_of_message_names_what_a_browser_asks_for():
    message = BackMsg()
    assert private.kind_of_message(message.SerializeToString()) == ""
    message.clear_cache = True
    assert private.kind_of_message(message.SerializeToString()) == "clear_cache"
    message.rerun_script.page_name = "attention"
    assert private.kind_of_message(message.SerializeToString()) == "rerun_script"
    assert private.kind_of_message(b"\xff\xff") is None
    assert private.kind_of_message(None) is None


def test_set_option_is_what_streamlit_reads():
    before = st.get_option("server.maxUploadSize")
    try:
        private.set_option("server.maxUploadSize", before + 1)
        assert st.get_option("server.maxUploadSize") == before + 1
    finally:
        private.set_option("server.maxUploadSize", before)


# How it reruns


def test_run_in_turn_lets_a_session_wait_before_it_takes_what_it_was_asked_for(client, seen):
    """The browser is told nothing until then, and what it asks for meanwhile joins what it has asked."""
    may_go, said = threading.Event(), []

    @contextmanager
    def turn():
        said.append("waits")
        may_go.wait(SOON)
        yield
        said.append(f"ends, {seen.runs}")

    private.run_in_turn(turn)
    with opened(client) as socket:
        ask(socket)
        assert reaches(lambda: said == ["waits"])
        ask(socket)
        assert reaches(lambda: said == ["waits", "waits"])
        assert seen.runs == 0
        may_go.set()
        kinds = [message.WhichOneof("type") for message in answers(socket)]
        assert kinds.count("new_session") == 1
        assert reaches(lambda: len(said) == 4)
        assert seen.runs == 1


SECTIONS = ("theme", "theme.light", "theme.dark", "theme.sidebar")


@pytest.mark.parametrize("section", SECTIONS)
def test_read_theme_once_gives_streamlits_own_theme_each_time(section):
    expected = CustomThemeConfig()
    private._read_theme(expected, section)
    for _time in range(2):
        found = CustomThemeConfig()
        private._theme_again(found, section)
        assert found == expected


def test_read_theme_once_is_what_a_session_begins_with(client, monkeypatch):
    def theme(socket):
        (begun,) = [m.new_session for m in ran(socket) if m.WhichOneof("type") == "new_session"]
        return begun.custom_theme

    read, asked = private._read_theme, []

    def counted(msg, section="theme"):
        asked.append(section)
        read(msg, section)

    before = config.get_option("theme.primaryColor")
    private.set_option("theme.primaryColor", "#123456")
    private._theme.cache_clear()
    try:
        with opened(client) as socket:
            expected = theme(socket)
            monkeypatch.setattr(private, "_read_theme", counted)
            private.read_theme_once()
            assert theme(socket) == expected
            assert expected.primary_color == "#123456"
            assert len(asked) == len(set(asked)) >= len(SECTIONS)  # a name for each part of the theme
            assert theme(socket) == expected
            assert len(asked) == len(set(asked))  # and no part is read again
    finally:
        private.set_option("theme.primaryColor", before)
        private._theme.cache_clear()


# What is named but not called


def test_types_are_those_that_streamlit_returns(tmp_path):
    page = tmp_path / "page.py"
    page.write_text("")
    assert isinstance(st.Page(page), StreamlitPage)
    assert isinstance(st.container(), DeltaGenerator)
    assert set(st.column_config.TextColumn("Text")) <= set(ColumnConfig.__annotations__)


@pytest.mark.parametrize(
    "name",
    [
        "stApp",
        "data-test-connection-state",
        "data-test-script-state",
        "stMainBlockContainer",
        "stLayoutWrapper",
        "st-key-",
    ],
)
def test_names_in_the_page_that_styles_and_scripts_look_for(name):
    """components/shell.py and components/live reach for these in the browser."""
    scripts = (Path(st.__file__).parent / "static" / "static" / "js").glob("*.js")
    words = (name, "".join(part.capitalize() for part in name.removeprefix("data-").split("-")))
    assert any(word in script.read_text(encoding="utf-8") for script in scripts for word in words)
