"""The fold on a page that offers the script."""

from tests.pages.screen import open_page


def fold(screen):
    (found,) = [one for one in screen.expander if one.label == "Reproduce in Python"]
    return found


def test_nothing_is_made_of_a_script_before_it_is_opened(monkeypatch):
    monkeypatch.setattr("components.panels.attention.softmax.softmax", None)  # calling it would fail
    screen = open_page("attention", attention_view="softmax")
    assert not screen.exception
    assert not fold(screen).code
    assert "attention_softmax_py" not in {button.key for button in screen.get("download_button")}


def test_an_opened_fold_shows_the_script_and_saves_it():
    screen = open_page("attention", attention_view="softmax")
    screen.session_state["attention_softmax_python"] = True
    screen.run()
    (code,) = fold(screen).code
    assert code.value.startswith("# Softmax of a few logits")
    assert "attention_softmax_py" in {button.key for button in screen.get("download_button")}
    assert not fold(screen).caption


def test_data_that_fill_screens_stand_in_the_file_only():
    screen = open_page("attention", attention_view="depth")
    screen.session_state["attention_depth_python"] = True
    screen.run()
    (code,) = fold(screen).code
    assert len(code.value) < 20_000
    assert "raise SystemExit(" in code.value
    assert fold(screen).caption[0].value.startswith("The file also holds the numbers")
