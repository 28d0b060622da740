"""Memory is held below what the settings allow: what is kept goes first, then large work is refused."""

import psutil
import pytest

from models.errors import InputError
from models.runtime import memory
from models.runtime.settings import settings


@pytest.fixture
def limit(monkeypatch):
    """Set the limit in megabytes; attempts to make room follow each other at once."""
    monkeypatch.setattr(memory, "PAUSE", 0.0)
    monkeypatch.setattr(memory, "_droppable", [])

    def set_limit(megabytes: float) -> None:
        monkeypatch.setenv("LOUPE_MEMORY_MEGABYTES", str(int(megabytes)))
        settings.cache_clear()

    yield set_limit
    monkeypatch.undo()
    settings.cache_clear()


def resident_megabytes() -> float:
    return psutil.Process().memory_info().rss / 1e6


def test_without_a_limit_nothing_is_dropped(limit):
    dropped = []
    memory.drop_when_short(lambda: dropped.append(1))
    limit(0)
    memory.make_room()
    assert dropped == []
    assert not memory.is_short()


def test_what_is_kept_goes_first_and_the_memory_comes_back(limit):
    kept = [b"x" * 200_000_000]
    before = resident_megabytes()
    memory.drop_when_short(kept.clear)
    limit(before - 100)
    assert memory.is_short()
    memory.make_room()
    assert kept == []
    assert resident_megabytes() < before - 150


@pytest.mark.slow
def test_large_work_is_refused_where_dropping_does_not_help(limit):
    limit(1)
    with pytest.raises(InputError, match="Memory is short"):
        memory.make_room()
    memory.relieve()  # what is small may go on


def test_room_is_not_made_again_and_again(limit, monkeypatch):
    dropped = []
    memory.drop_when_short(lambda: dropped.append(1))
    monkeypatch.setattr(memory, "PAUSE", 60.0)
    monkeypatch.setattr(memory, "_last_attempt", -1e9)
    limit(1)
    for _ in range(3):
        memory.relieve()
    assert dropped == [1]


def test_a_network_is_not_loaded_into_short_memory(limit):
    from models.networks import loading

    loading._networks.clear()
    limit(1)
    with pytest.raises(InputError, match="Memory is short"):
        loading.load("loupe-llama")
    limit(0)
    assert loading.load("loupe-llama").layers == 4
