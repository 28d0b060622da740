"""Streamlit's options that follow from Loupe's settings."""

import subprocess
import sys
from pathlib import Path

import pytest
from streamlit import config

from components.server.options import options
from models.runtime.settings import PROFILES, Settings

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("profile", PROFILES)
def test_every_option_is_one_of_streamlits(profile):
    settings = Settings(profile=profile, base_path="team/loupe", cookie_secret="s" * 32)
    known = config.get_config_options()
    assert all(name in known for name in options(settings))


def test_hosted_shows_no_details_and_a_minimal_toolbar():
    hosted = options(Settings(profile="hosted"))
    assert hosted["client.showErrorDetails"] == "none"
    assert hosted["client.toolbarMode"] == "minimal"
    assert hosted["server.fileWatcherType"] == "none"
    assert hosted["server.maxUploadSize"] == 1
    assert "server.cookieSecret" not in hosted


def started(monkeypatch, **variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    said = "import app, streamlit.config as c; print(c.get_option('client.toolbarMode'))"
    return subprocess.run([sys.executable, "-c", said], cwd=ROOT, capture_output=True, text=True)


def test_the_app_sets_them_as_it_starts(monkeypatch):
    assert started(monkeypatch, LOUPE_PROFILE="hosted").stdout.strip() == "minimal"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["LOUPE_TOOLBAR", "LOUPE_TOLBAR"])
def test_a_wrong_variable_stops_the_start_with_one_sentence(monkeypatch, name):
    refused = started(monkeypatch, **{name: "all"})
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert name in refused.stderr
