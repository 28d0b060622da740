"""Fixtures of the hosting tests: nginx, two ways of hosting, a provider of identities."""

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.conftest import browser_type_launch_args, chromium  # noqa: F401  # fixtures, found by name
from tests.browser.find_chromium import in_ci
from tests.hosting.find_nginx import NONE_FOUND, find
from tests.hosting.hosting import Hosted, free_ports, hosting


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One worker runs all hosting tests: they share their processes."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("hosting"))
            item.add_marker(pytest.mark.hosting)


@pytest.fixture(scope="session")
def nginx() -> str:
    path = find()
    if path is None and in_ci():
        pytest.fail(NONE_FOUND)
    return path or pytest.skip(NONE_FOUND)


@pytest.fixture(scope="session")
def plain(nginx: str) -> Iterator[Hosted]:
    """Two replicas, open to everybody, at the root of their address."""
    with hosting() as hosted:
        yield hosted


@pytest.fixture(scope="session")
def provider() -> Iterator[str]:
    """An OpenID Connect provider's address; whoever comes may say who they are."""
    [port] = free_ports(1)
    command = [sys.executable, "-W", "ignore", "-m", "oidc_provider_mock", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    metadata = f"http://127.0.0.1:{port}/.well-known/openid-configuration"
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(metadata, timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        yield metadata
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="session")
def closed(nginx: str, provider: str) -> Iterator[Hosted]:
    """Two replicas behind sign-in, below a base path."""
    [port] = free_ports(1)
    variables = {
        "LOUPE_BASE_PATH": "team/loupe",
        "LOUPE_SIGN_IN": "true",
        "LOUPE_PUBLIC_ADDRESS": f"http://127.0.0.1:{port}",
        "LOUPE_SIGN_IN_METADATA": provider,
        "LOUPE_SIGN_IN_CLIENT_ID": "loupe",
        "LOUPE_SIGN_IN_CLIENT_SECRET": "between the provider and Loupe",
        "LOUPE_COOKIE_SECRET": "0123456789abcdef0123456789abcdef",
    }
    with hosting(port=port, **variables) as hosted:
        yield hosted
