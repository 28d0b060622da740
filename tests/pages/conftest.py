"""What AppTest needs in order to be a browser of any language."""

import pytest
from streamlit.runtime.scriptrunner import get_script_run_ctx

from components import words
from components.work.runs import QUEUE, Queue


@pytest.fixture(autouse=True)
def queue_of_its_own(monkeypatch):
    """Runs that other tests began hold no place in this test's queue."""
    fresh = Queue()
    for name in ("_held", "_starts"):
        monkeypatch.setattr(QUEUE, name, getattr(fresh, name))


@pytest.fixture(autouse=True)
def language_between_runs(monkeypatch):
    """AppTest reads the labels of options outside of a run, where there is no session to ask.

    The language is then the one that the last run spoke, as it is in a browser.
    """
    spoken = "en"
    before = words._language

    def follow(language_of_session):
        def language() -> str:
            nonlocal spoken
            if get_script_run_ctx(suppress_warning=True) is not None:
                spoken = language_of_session()
            return spoken

        words._language = language

    monkeypatch.setattr(words, "follow", follow)
    yield
    words._language = before
