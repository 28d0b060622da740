"""What deploy writes for nginx, read by nginx itself; and how the host keeps its processes."""

import datetime
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from deploy.host import ROOT, chosen, heavy_at_once
from deploy.nginx import Front, Replica, configuration, headers_file, pack_static, replicas_file
from models.runtime.settings import Settings
from tests.hosting.hosting import Hosted, free_ports

REPLICAS = [Replica("r1", 8611), Replica("r2", 8612, is_in=False), Replica("r3", 8613)]


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate that the team might have, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loupe.example")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now)
    signed = builder.not_valid_after(now + datetime.timedelta(days=1)).sign(key, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "certificate.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(private)
    return folder / "certificate.pem", folder / "key.pem"


@pytest.mark.parametrize("is_secure", [False, True])
@pytest.mark.parametrize("base_path", ["", "team/loupe"])
@pytest.mark.parametrize("count", [1, 3])
def test_nginx_accepts_what_is_written(nginx, tmp_path, base_path, is_secure, count):
    written = certificate(tmp_path) if is_secure else (None, None)
    front = Front(tmp_path, f"127.0.0.1:{free_ports(1)[0]}", *written, log_paths=True)
    settings = Settings(profile="hosted", base_path=base_path)
    (tmp_path / "nginx.conf").write_text(configuration(front, settings), encoding="utf-8")
    (tmp_path / "headers.conf").write_text(headers_file(front), encoding="utf-8")
    (tmp_path / "replicas.conf").write_text(replicas_file(REPLICAS[:count]), encoding="utf-8")
    command = [nginx, "-t", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf"), "-e", "stderr"]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    assert "warn" not in checked.stderr
    assert ("Strict-Transport-Security" in headers_file(front)) == is_secure
    assert ("; Secure" in configuration(front, settings)) == is_secure


def test_long_work_of_a_replica_leaves_the_others_their_cores(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _process: set(range(4)))
    hosted = Settings(profile="hosted")
    assert [heavy_at_once(replicas, hosted) for replicas in (1, 2, 4, 8)] == [2, 2, 1, 1]
    assert heavy_at_once(8, Settings(profile="hosted", heavy_at_once=5)) == 5  # whoever runs it knows


def test_each_replica_has_the_others_behind_it():
    written = replicas_file(REPLICAS)
    upstreams = dict(re.findall(r"upstream (\w+) \{(.*?)\}", written, re.DOTALL))
    assert set(upstreams) == {"loupe_any", "loupe_r1", "loupe_r2", "loupe_r3"}
    assert "backup" not in upstreams["loupe_any"]
    for name in ("r1", "r2", "r3"):
        lines = re.findall(r"server 127\.0\.0\.1:861(\d) .*", upstreams[f"loupe_{name}"])
        assert lines == ["1", "2", "3"]
        first = [line for line in upstreams[f"loupe_{name}"].splitlines() if "server" in line]
        assert [("backup" in line) for line in first] == [f"861{name[1]}" not in line for line in first]
        assert [("down" in line) for line in first] == [False, True, False]


def test_static_files_are_packed_anew_at_every_start(tmp_path):
    pack_static(tmp_path)
    old = tmp_path / "static" / "streamlit" / "old.js"
    old.write_text("from an earlier version")
    pack_static(tmp_path)
    assert not old.exists()
    assert (tmp_path / "static" / "plotly.js.gz").stat().st_size > 1e6


def test_when_all_are_too_busy_to_answer_nobody_is_taken_out():
    assert chosen([True, False], [False, True]) == [True, False]
    assert chosen([False, False], [True, False]) == [True, False]


@pytest.mark.parametrize(
    ("variables", "options", "sentence"),
    [
        ({"LOUPE_TOOLBAR": "all"}, [], "LOUPE_TOOLBAR is 'all'"),
        ({}, ["--replicas", "0"], "at least one replica"),
        ({}, ["--certificate", "a.pem"], "--certificate together with --key"),
    ],
)
def test_a_wrong_wish_stops_the_host_before_anything_runs(monkeypatch, variables, options, sentence):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    command = [sys.executable, "-m", "deploy.host", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_replica_that_hangs_gets_no_visitors_and_comes_back(plain: Hosted):
    """Stopped, it refuses nothing and answers nothing; waking up, it is in again."""
    stopped = plain.replica("r1")
    stopped.suspend()
    try:
        plain.wait_until_out("r1")
    finally:
        stopped.resume()
    plain.wait_until_in("r1")
    assert plain.replica("r1").pid == stopped.pid


def test_a_folder_without_room_is_said_in_one_sentence(tmp_path, monkeypatch):
    def full(source, target, **_options):
        raise shutil.Error(
            [
                (str(source), f"{target}/{n}", f"[Errno 28] No space left on device: '{n}'")
                for n in range(99)
            ]
        )

    monkeypatch.setattr("deploy.nginx.shutil.copytree", full)
    with pytest.raises(RuntimeError) as refused:
        pack_static(tmp_path)
    assert str(refused.value) == (
        f"The files for nginx could not be written to {tmp_path}: No space left on device."
    )


def test_a_folder_that_may_not_be_written_is_said_in_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RuntimeError, match=r"could not be written to .*: [^\n\[]+\.$"):
        pack_static(tmp_path / "file")


def test_cookies_are_secure_behind_tls(tmp_path):
    written = configuration(Front(tmp_path, certificate=tmp_path, key=tmp_path), Settings())
    assert "proxy_cookie_flags ~ secure;" in written
    assert "proxy_cookie_flags" not in configuration(Front(tmp_path), Settings())
