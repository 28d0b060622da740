"""Pages while the pool that should run their networks does not answer."""

import numpy as np
import pytest

from components.traces import TRACES
from models.networks.engine.choice import engine
from models.runtime.settings import settings
from tests.browser.server import free_port
from tests.pages.attention_screen import attention, eager, heatmap
from tests.pages.screen import open_page, said

AWAY = "cannot be reached"


@pytest.fixture(autouse=True)
def no_pool(monkeypatch):
    """A pool is named, and nothing answers there."""

    def forget():
        settings.cache_clear()
        engine.cache_clear()
        TRACES.clear()

    monkeypatch.setenv("LOUPE_ENGINE", "ray")
    monkeypatch.setenv("LOUPE_ENGINE_ADDRESS", f"http://127.0.0.1:{free_port()}")
    forget()
    yield
    monkeypatch.undo()
    forget()


def notices(screen) -> list[str]:
    return [
        element.value for element in screen.info if AWAY in element.value or "无法连接" in element.value
    ]


def test_the_embedded_network_runs_here_and_the_page_says_so_once():
    screen = attention(layer="1", head="2")
    assert not screen.exception
    (notice,) = notices(screen)
    assert "run here meanwhile" in notice
    probabilities, _logits, _ids = eager()
    np.testing.assert_allclose(np.nan_to_num(heatmap(screen)), probabilities[1, 2].numpy(), atol=1e-5)
    assert len(notices(screen.run())) == 1


def test_the_notice_is_in_the_persons_language():
    screen = open_page("attention", locale="zh-CN")
    (notice,) = notices(screen)
    assert "网络池" in notice
    assert "Networks" not in notice


def test_another_network_is_refused_in_a_sentence_and_the_text_is_kept():
    screen = attention(network="all-MiniLM-L6-v2")
    assert not screen.exception
    assert any(AWAY in sentence for sentence in said(screen))
    assert screen.text_area[0].value.startswith("The keeper")


def test_without_a_pool_there_is_no_notice(monkeypatch):
    monkeypatch.setenv("LOUPE_ENGINE", "process")
    settings.cache_clear()
    engine.cache_clear()
    assert notices(attention()) == []
