"""Starting a pool with settings that cannot be: one sentence, before Ray is touched."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.networks.engine.pool_server import ray_environment

ROOT = Path(__file__).parents[4]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LOUPE_POOL_PORT", "70000"),
        ("LOUPE_POOL_REPLICAS", "none"),
        ("LOUPE_POOL_GPUS", "-1"),
        ("LOUPE_POOL_BATCH", "0"),
        ("LOUPE_POOL_QEUE", "3"),
    ],
)
def test_a_wrong_value_stops_the_start_with_one_sentence(variable, value):
    ended = subprocess.run(
        [sys.executable, "-m", "models.networks.engine.pool_server"],
        cwd=ROOT,
        env=os.environ | {variable: value},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 1
    assert variable in ended.stderr
    assert "Traceback" not in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


def test_each_run_of_ray_has_a_token_ports_and_files_of_its_own(tmp_path):
    first, second = (ray_environment(tmp_path / name) for name in ("a", "b"))
    own = {name for name in first if first[name] != second[name]}
    assert {"RAY_AUTH_TOKEN", "RAY_SERVE_HAPROXY_STATS_PORT", "RAY_SERVE_HAPROXY_SOCKET_PATH"} <= own
    assert len(first["RAY_AUTH_TOKEN"]) >= 32
    assert first["RAY_USAGE_STATS_ENABLED"] == "0"
