"""Where the browser comes from, and what happens where there is none."""

from pathlib import Path

import pytest

from tests.browser import find_chromium


def executable(folder: Path, name: str, status: int) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\nexit {status}\n")
    path.chmod(0o755)
    return path


def test_a_browser_that_does_not_start_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executable(tmp_path, "chromium-browser", 1)
    works = executable(tmp_path, "google-chrome", 0)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_chromium.system_chromium() == str(works)


def test_no_browser_on_path_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_chromium.system_chromium() is None


@pytest.mark.parametrize(
    ("found", "font", "packages"),
    [
        ("/usr/bin/chromium", True, []),
        ("/usr/bin/chromium", False, ["fonts-noto-cjk"]),
        (None, False, ["chromium", "fonts-noto-cjk"]),
    ],
)
def test_debian_is_asked_for_what_is_missing_only(
    monkeypatch: pytest.MonkeyPatch, found: str | None, font: bool, packages: list[str]
) -> None:
    asked: list[str] = []
    installed = "/usr/bin/chromium"
    monkeypatch.setattr(find_chromium, "is_debian_root", lambda: True)
    monkeypatch.setattr(find_chromium, "has_chinese_font", lambda: font)
    monkeypatch.setattr(find_chromium, "system_chromium", lambda: installed if asked else found)
    monkeypatch.setattr(find_chromium, "install_debian", asked.extend)
    assert find_chromium.find_or_install() == installed
    assert asked == packages


@pytest.mark.parametrize(("ci", "status"), [("true", 1), ("", 0)])
def test_without_a_browser_only_ci_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ci: str, status: int
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(find_chromium, "find_or_install", lambda: None)
    assert find_chromium.main() == status
    said = capsys.readouterr()
    assert not said.out
    assert said.err.strip() == find_chromium.NONE_FOUND


def test_the_path_is_printed_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(find_chromium, "find_or_install", lambda: "/usr/bin/chromium")
    assert find_chromium.main() == 0
    assert capsys.readouterr().out == "/usr/bin/chromium\n"
