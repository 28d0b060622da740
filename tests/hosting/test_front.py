"""What nginx answers for: headers, files, closed doors, and which replica a visitor is sent to."""

import base64
import gzip
import hashlib
import http.client
import re
from pathlib import Path
from urllib.parse import urlsplit

import plotly
import pytest
import streamlit

from tests.hosting.hosting import CHANGE_SECONDS, Hosted, wait

STATIC = Path(streamlit.__file__).parent / "static"
CLOSED = ["/_stcore/metrics", "/_stcore/agent/openapi.json", "/_stcore/script-health-check"]
CLOSED += ["/metrics", "/status"]
SPELLINGS = ["{}", "/{}", "/.{}", "/x/..{}", "{}/", "{}?a=1", "{}/x/.."]


def ask(hosted: Hosted, path: str, address: str = "", **headers: str) -> tuple[int, dict, bytes]:
    """Status, headers and body of the path exactly as it is written here."""
    where = urlsplit(address or hosted.address)
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=30)
    connection.putrequest("GET", path, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, body


def replica_of(headers: dict) -> str:
    return re.match(r"loupe_replica=(r\d+);", headers.get("set-cookie", ""))[1]


@pytest.mark.parametrize("path", ["/", "/attention", "/ready", "/_stcore/metrics", "/loupe/plotly.js"])
def test_every_answer_has_the_security_headers(plain, path):
    _, headers, _ = ask(plain, path)
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'self'"
    assert "'unsafe-inline'" not in policy["script-src"]
    assert "'unsafe-eval'" not in policy["script-src"].split()
    assert "http" not in headers["content-security-policy"]  # nothing from elsewhere
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "SAMEORIGIN"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["server"] == "nginx"  # and no version


def test_the_policy_allows_streamlits_own_script_by_its_hash(plain):
    [script] = re.findall(rb"<script>(.*?)</script>", ask(plain, "/")[2], re.DOTALL)
    value = base64.b64encode(hashlib.sha256(script).digest()).decode()
    assert f"'sha256-{value}'" in ask(plain, "/")[1]["content-security-policy"]


@pytest.mark.parametrize("closed_path", CLOSED)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_what_is_for_the_machine_itself_is_closed_to_the_outside(plain, closed_path, spelling):
    assert ask(plain, spelling.format(closed_path))[0] in (400, 404)
    encoded = spelling.format(closed_path.replace("metrics", "%6Detrics").replace("_", "%5F"))
    assert ask(plain, encoded)[0] in (400, 404)


def test_on_the_machine_itself_a_replica_tells_its_figures(plain):
    status, _, body = ask(plain, "/_stcore/metrics", plain.replica_address("r1"))
    assert status == 200
    assert b"active_sessions" in body


def test_static_files_come_from_nginx_packed_and_for_good(plain):
    script = next((STATIC / "static" / "js").glob("index.*.js"))
    status, headers, body = ask(plain, f"/static/js/{script.name}", accept_encoding="gzip")
    assert status == 200
    assert gzip.decompress(body) == script.read_bytes()
    assert headers["cache-control"] == "max-age=31536000"
    assert headers["content-type"] in ("application/javascript", "text/javascript")
    assert ask(plain, f"/static/js/{script.name}")[2] == script.read_bytes()


def test_plotly_is_the_installed_packages(plain):
    file = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
    _, headers, body = ask(plain, "/loupe/plotly.js", accept_encoding="gzip")
    assert gzip.decompress(body) == file.read_bytes()
    assert headers["content-type"] in ("application/javascript", "text/javascript")


@pytest.mark.parametrize("folder", ["/static/", "/media/", "/component/", "/loupe/", "/app/static/", "/"])
@pytest.mark.parametrize(
    "climb", ["../" * 8, "..%2f" * 8, "%2e%2e/" * 8, "..%5c" * 8, "....//" * 8, "%252e%252e/" * 8, "//"]
)
def test_no_path_leads_out_of_its_folder(plain, folder, climb):
    for address in (plain.address, plain.replica_address("r1")):
        status, headers, body = ask(plain, f"{folder}{climb}etc/passwd", address)
        assert b"root:" not in body
        assert status in (400, 403, 404) or headers["content-type"].startswith("text/html")


def test_visitors_go_round_the_replicas_and_stay_where_they_were(plain):
    first = [replica_of(ask(plain, "/ready")[1]) for _ in range(4)]
    assert set(first) == {"r1", "r2"}
    for name in ("r1", "r2"):
        _, headers, _ = ask(plain, "/ready", cookie=f"loupe_replica={name}")
        assert "set-cookie" not in headers  # the one that was asked has answered


@pytest.mark.parametrize("forged", ["r99", "", "r1;r2", "127.0.0.1:22", "../r1", "r1\tr2", "é", "x" * 4000])
def test_a_forged_cookie_is_no_cookie(plain, forged):
    status, headers, _ = ask(plain, "/ready", cookie=f"loupe_replica={forged}")
    assert status == 200
    if not forged.startswith("r1;"):  # a cookie of its own, and another one
        assert replica_of(headers) in ("r1", "r2")


@pytest.mark.parametrize("name", ["_streamlit_user", "_streamlit_xsrf", "_streamlit_user_tokens"])
@pytest.mark.parametrize(
    "value", ["chunks-9", "2|a|b|c", "eyJhIjoxfQ.aaaa.bbbb", "%00", "\xff\xfe", "x" * 9000]
)
def test_forged_cookies_of_streamlit_change_nothing(plain, name, value):
    status, _, body = ask(plain, "/", cookie=f"{name}={value}")
    assert status == 200
    assert b"Traceback" not in body


def test_an_address_with_a_long_chinese_text_arrives(plain):
    text = "%E6%B3%A8" * 1_500
    assert ask(plain, f"/attention?attention_text={text}")[0] == 200


def test_an_upload_beyond_the_limit_is_refused_by_nginx(plain):
    where = urlsplit(plain.address)
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=30)
    connection.request("PUT", "/_stcore/upload_file/a/b", headers={"Content-Length": str(10**9)})
    assert connection.getresponse().status == 413
    connection.close()


def test_nobody_uploads_without_a_session(plain):
    for address in (plain.address, plain.replica_address("r2")):
        where = urlsplit(address)
        connection = http.client.HTTPConnection(where.hostname, where.port, timeout=30)
        connection.request("PUT", "/_stcore/upload_file/a/b", body=b"x" * 1000)
        assert connection.getresponse().status in (400, 401, 403)
        connection.close()


def test_a_replica_is_taken_out_and_put_back_by_hand(plain):
    out = plain.folder / "r1.out"
    out.touch()
    try:
        wait(lambda: not plain.answers("r1"), CHANGE_SECONDS, plain)
        answers = [ask(plain, "/ready", cookie="loupe_replica=r1") for _ in range(3)]
        assert {status for status, _, _ in answers} == {200}
        assert {replica_of(headers) for _, headers, _ in answers} == {"r2"}
    finally:
        out.unlink()
    plain.wait_until_in()
    assert plain.replica("r1").is_running()
