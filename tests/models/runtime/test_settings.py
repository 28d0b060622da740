"""Settings from the environment."""

import pytest

from models.errors import InputError
from models.runtime.settings import PROFILES, Settings, settings


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
        ("LOUPE_PROFILE", "hostd"),
        ("LOUPE_TOOLBAR", "all"),
        ("LOUPE_ENGINE", "gpu"),
        ("LOUPE_ENGINE_ADDRESS", "127.0.0.1:8000"),
        ("LOUPE_ENGINE_SECONDS", "0"),
        ("LOUPE_BASE_PATH", "/loupe/"),
        ("LOUPE_PUBLIC_ADDRESS", "https://loupe.example/"),
        ("LOUPE_MEMORY_MEGABYTES", "-1"),
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


def test_a_profile_is_a_set_of_defaults_which_single_variables_override(monkeypatch):
    monkeypatch.setenv("LOUPE_PROFILE", "hosted")
    monkeypatch.setenv("LOUPE_HUB", "listed")
    hosted = settings()
    for name, value in PROFILES["hosted"].items():
        assert getattr(hosted, name) == ("listed" if name == "hub" else value)
        assert Settings.model_fields[name].default != value
    assert hosted.heavy_at_once == Settings.model_fields["heavy_at_once"].default


@pytest.mark.parametrize("profile", PROFILES)
def test_what_a_profile_sets_is_accepted(monkeypatch, profile):
    for name, value in PROFILES[profile].items():
        monkeypatch.setenv(f"LOUPE_{name.upper()}", str(value))
    assert settings() == Settings(**PROFILES[profile])


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("LOUPE_HUBB", "There is no setting LOUPE_HUBB; the nearest is LOUPE_HUB."),
        ("LOUPE_text_token", "There is no setting LOUPE_text_token; the nearest is LOUPE_TEXT_TOKENS."),
        ("LOUPE_XYZZY", "There is no setting LOUPE_XYZZY."),
    ],
)
def test_a_mistyped_name_is_refused(monkeypatch, name, sentence):
    monkeypatch.setenv(name, "1")
    with pytest.raises(InputError) as refused:
        settings()
    assert str(refused.value) == sentence


SIGN_IN = {
    "LOUPE_SIGN_IN": "true",
    "LOUPE_PUBLIC_ADDRESS": "https://loupe.example",
    "LOUPE_SIGN_IN_METADATA": "https://id.example/.well-known/openid-configuration",
    "LOUPE_SIGN_IN_CLIENT_ID": "loupe",
    "LOUPE_SIGN_IN_CLIENT_SECRET": "hush hush",
    "LOUPE_COOKIE_SECRET": "0123456789abcdef0123456789abcdef",
}


def test_sign_in_is_on_when_nothing_is_missing(monkeypatch):
    for name, value in SIGN_IN.items():
        monkeypatch.setenv(name, value)
    assert settings().sign_in
    assert "hush" not in repr(settings())
    assert "0123456789" not in repr(settings())


@pytest.mark.parametrize("missing", [name for name in SIGN_IN if name != "LOUPE_SIGN_IN"])
def test_half_a_sign_in_stops_the_start(monkeypatch, missing):
    for name, value in SIGN_IN.items():
        if name != missing:
            monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=f"needs {missing}"):
        settings()


def test_a_short_cookie_secret_stops_the_start(monkeypatch):
    for name, value in (SIGN_IN | {"LOUPE_COOKIE_SECRET": "short"}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match="LOUPE_COOKIE_SECRET, of 32 characters or more") as refused:
        settings()
    assert "short" not in str(refused.value)
