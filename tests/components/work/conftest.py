"""What tests of long work share: sessions whose people come and go, and limits of their own."""

import pytest

from components.work import QUEUE, job, queue, runs
from models.runtime.settings import settings


@pytest.fixture(autouse=True)
def queue_of_its_own(monkeypatch):
    """A step of another test's run that is still at work holds no place in this test's queue."""
    monkeypatch.setattr(QUEUE, "_tickets", [])
    monkeypatch.setattr(QUEUE, "_starts", {})


@pytest.fixture
def session(monkeypatch):
    """The session that starts runs, those whose person is here, and the stages on their pages."""
    here = {"now": "anna", "present": {"anna", "bo", "cy"}, "stages": {"stage"}}
    monkeypatch.setattr(runs, "session_here", lambda: here["now"])
    for module in (job, queue):
        monkeypatch.setattr(module, "is_present", lambda who: who is None or who in here["present"])
    monkeypatch.setattr(job, "is_on_screen", lambda who, stage: stage in here["stages"])
    return here


@pytest.fixture
def chosen():
    """Set LOUPE_ variables for the test."""
    with pytest.MonkeyPatch.context() as variables:  # its own: the test's other changes outlast it

        def choose(**values: object) -> None:
            for name, value in values.items():
                variables.setenv(f"LOUPE_{name.upper()}", str(value))
            settings.cache_clear()

        yield choose
    settings.cache_clear()
