"""Make sure that there is a Chromium, and print its path: ``python -m tests.browser.find_chromium``.

The system's own comes first (the one without windows draws faster), then Debian's package where this
is root on Debian, then Playwright's. Where none can be had, CI=true makes that a failure; otherwise the
browser tests skip and say so.
"""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Playwright, sync_playwright

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
NONE_FOUND = "There is no Chromium here and none could be installed, so browser tests cannot run."
FONTS = "fonts-noto-cjk"  # without it Chinese is drawn as empty boxes


def in_ci() -> bool:
    return os.environ.get("CI", "").lower() in {"1", "true"}


def system_chromium() -> str | None:
    """A Chromium on PATH that starts; Ubuntu's placeholder for its snap is on PATH and does not."""
    return next((path for name in NAMES if (path := shutil.which(name)) and _starts(path)), None)


def own_chromium(playwright: Playwright) -> str | None:
    """The Chromium that Playwright downloaded, if it did."""
    path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


def _starts(path: str) -> bool:
    try:
        return subprocess.run([path, "--version"], capture_output=True, timeout=30).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def is_debian_root() -> bool:
    """Whether Debian's packages can be installed here."""
    try:
        name = platform.freedesktop_os_release().get("ID")
    except OSError:
        return False
    return name == "debian" and os.geteuid() == 0 and shutil.which("apt-get") is not None


def has_chinese_font() -> bool:
    if shutil.which("fc-list") is None:
        return False
    return bool(subprocess.run(["fc-list", ":lang=zh"], capture_output=True).stdout.strip())


def install_debian(packages: list[str]) -> None:
    """Install Debian packages; what apt says goes to stderr, and a failure shows in what is missing."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
        subprocess.run(["apt-get", "--quiet", *command], stdout=sys.stderr, env=environment)


def find_or_install() -> str | None:
    """The path of a Chromium, installed first where that is needed and can be done."""
    path = system_chromium()
    if is_debian_root():
        missing = ([] if path else ["chromium"]) + ([] if has_chinese_font() else [FONTS])
        if missing:
            install_debian(missing)
        path = path or system_chromium()
    if path:
        return path
    with sync_playwright() as playwright:
        if own_chromium(playwright) is None:
            subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], stdout=sys.stderr)
        return own_chromium(playwright)


def main() -> int:
    if path := find_or_install():
        print(path)
        return 0
    print(NONE_FOUND, file=sys.stderr)
    return 1 if in_ci() else 0


if __name__ == "__main__":
    sys.exit(main())
