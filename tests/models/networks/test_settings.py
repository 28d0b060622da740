"""Settings from the environment."""

import pytest

from models.errors import InputError
from models.settings import Settings, settings


def test_defaults():
    assert settings() == Settings()
    assert (settings().hub, settings().folders, settings().text_tokens) == ("any", True, 512)
    assert (settings().largest_network, settings().text_characters) == (2_000_000_000, 100_000)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LOUPE_HUB", "maybe"),
        ("LOUPE_FOLDERS", "perhaps"),
        ("LOUPE_LARGEST_NETWORK", "-1"),
        ("LOUPE_TEXT_TOKENS", "many"),
        ("LOUPE_TEXT_TOKENS", "nan"),
        ("LOUPE_TEXT_CHARACTERS", "0"),
    ],
)
def test_a_wrong_value_is_refused_with_the_variables_name(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    with pytest.raises(InputError, match=f"{variable} is '{value}'") as refused:
        settings()
    assert "\n" not in str(refused.value)


def test_settings_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        settings().hub = "off"
