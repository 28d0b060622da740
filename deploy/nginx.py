"""The configuration of nginx for some replicas, written from the template beside this file."""

import base64
import gzip
import hashlib
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import plotly
import streamlit

from models.runtime.settings import Settings

TEMPLATE = Path(__file__).parent / "nginx.conf.template"
STARTING = Path(__file__).parent / "starting.html"
MIME_TYPES = Path("/etc/nginx/mime.types")
STREAMLIT_FILES = Path(streamlit.__file__).parent / "static"
PLOTLY_FILE = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
PACKED = {".js", ".css", ".ttf", ".wasm", ".json", ".svg"}


@dataclass(frozen=True)
class Replica:
    """One process behind nginx: its name in the cookie, its port, and whether people are sent to it."""

    name: str
    port: int
    is_in: bool = True

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


@dataclass(frozen=True)
class Front:
    """Where nginx listens, and where this run keeps its files."""

    folder: Path
    listen: str = "127.0.0.1:8501"
    certificate: Path | None = None
    key: Path | None = None
    log_paths: bool = False  # into paths.log: a line a request, without its query


def content_security_policy() -> str:
    """What pages may load: this address alone, and the live parts' own scripts.

    Streamlit loads the script of a live part from a blob, its styles are written in place, and tables
    compile WebAssembly. The one script written into its page is allowed by its hash.
    """
    page = (STREAMLIT_FILES / "index.html").read_text(encoding="utf-8")
    inline = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in inline]
    allowed = " ".join(f"'sha256-{value}'" for value in hashes)
    return "; ".join(
        [
            "default-src 'self'",
            f"script-src 'self' blob: 'wasm-unsafe-eval' {allowed}".strip(),
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "font-src 'self' data:",
            "worker-src 'self' blob:",
            "connect-src 'self' data: blob:",
            "object-src 'none'",
            "base-uri 'self'",
            "form-action 'self'",
            "frame-ancestors 'self'",
        ]
    )


def configuration(front: Front, settings: Settings) -> str:
    """Nginx's main file; the replicas stand in a file of their own, which changes while it runs."""
    base = f"/{settings.base_path}" if settings.base_path else ""
    is_secure = front.certificate is not None
    values = {
        "user": f"user {_owner(front.folder)};" if os.geteuid() == 0 else "",
        "folder": front.folder,
        "mime_types": MIME_TYPES,
        "access_log": f"{front.folder}/paths.log paths" if front.log_paths else "off",
        "upload_megabytes": settings.upload_megabytes + 1,  # the form around the file
        "listen": f"{front.listen} ssl http2" if is_secure else front.listen,
        "certificate": _certificate(front),
        "secure": "; Secure" if is_secure else "",
        "secure_cookies": "            proxy_cookie_flags ~ secure;" if is_secure else "",
        "path": base or "/",
        "base": base,
        "root_redirect": f"        location = / {{ return 302 {base}/; }}" if base else "",
        "starting": STARTING.read_text(encoding="utf-8").replace('"', "'").replace("\n", " "),
    }
    return re.sub(r"@\{(\w+)\}", lambda found: str(values[found[1]]), TEMPLATE.read_text(encoding="utf-8"))


def _owner(folder: Path) -> str:
    """Where root starts nginx, its workers run as whoever owns the folder of the run."""
    return folder.owner()


def _certificate(front: Front) -> str:
    if front.certificate is None:
        return ""
    return f"        ssl_certificate {front.certificate};\n        ssl_certificate_key {front.key};"


def headers_file(front: Front) -> str:
    """What every answer says to the browser about what its page may do."""
    headers = {
        "Content-Security-Policy": content_security_policy(),
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "SAMEORIGIN",
        "Referrer-Policy": "same-origin",  # addresses hold what people typed
        "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=()",
        "Cross-Origin-Opener-Policy": "same-origin",
    }
    if front.certificate is not None:
        headers["Strict-Transport-Security"] = "max-age=31536000"
    return "\n".join(f'add_header {name} "{value}" always;' for name, value in headers.items())


def replicas_file(replicas: Sequence[Replica]) -> str:
    """Upstreams and maps for the present replicas.

    Each replica has an upstream in which it comes first and the others stand behind it, so that the
    holder of its cookie is served elsewhere in the same moment in which it refuses a connection.
    Who has no cookie goes round all of them in turn.
    """
    parts = [_upstream("loupe_any", replicas, first=None)]
    parts += [_upstream(f"loupe_{one.name}", replicas, first=one) for one in replicas]
    chosen = {one.name: f"loupe_{one.name}" for one in replicas} | {"default": "loupe_any"}
    answered = {f'"~{re.escape(one.address)}$"': one.name for one in replicas} | {"default": '""'}
    parts += [
        _map("$cookie_loupe_replica $replicas", chosen),
        _map("$upstream_addr $answered_by", answered),
    ]
    return "\n".join(parts)


def _upstream(name: str, replicas: Sequence[Replica], first: Replica | None) -> str:
    lines = [f"upstream {name} {{", f"    zone {name} 64k;"]
    for one in replicas:
        behind = " backup" if first not in (None, one) else ""
        out = "" if one.is_in else " down"
        lines.append(f"    server {one.address} max_fails=1 fail_timeout=2s{behind}{out};")
    return "\n".join([*lines, "}"])


def _map(head: str, values: dict[str, str]) -> str:
    return "\n".join([f"map {head} {{", *(f"    {key} {value};" for key, value in values.items()), "}"])


def pack_static(folder: Path) -> None:
    """Copy Streamlit's files and plotly.js, each with its gzip beside it, for nginx to send itself.

    Raises RuntimeError, with one sentence, where the folder has no room or may not be written.
    """
    try:
        _pack_static(folder)
    except OSError as error:  # shutil.Error holds a line for every file
        raise RuntimeError(
            f"The files for nginx could not be written to {folder}: {_first_reason(error)}."
        ) from error


def _first_reason(error: OSError) -> str:
    first: Any = error.args[0] if error.args else error
    is_list = isinstance(first, list) and bool(first)  # of shutil.copytree: source, target, reason
    reason = str(first[0][-1]) if is_list else error.strerror or str(error)
    return re.sub(r"^\[Errno \d+\] |: '.*", "", reason)


def _pack_static(folder: Path) -> None:
    target = folder / "static" / "streamlit"
    shutil.rmtree(folder / "static", ignore_errors=True)  # from an earlier run
    shutil.copytree(STREAMLIT_FILES / "static", target, copy_function=shutil.copyfile)
    shutil.copyfile(PLOTLY_FILE, folder / "static" / "plotly.js")
    for path in sorted((folder / "static").rglob("*")):
        if path.suffix in PACKED:
            packed = path.with_name(path.name + ".gz")
            packed.write_bytes(gzip.compress(path.read_bytes(), 6, mtime=0))
