"""Look for known vulnerabilities in what is installed: ``python -m deploy.audit``.

pip-audit asks an advisory service, which cannot be reached from everywhere; where it cannot, that is
said, and nothing passes for audited. CI does not run this.
"""

import json
import subprocess
import sys
from typing import Any


def installed() -> list[dict[str, Any]] | None:
    """What pip-audit found on each installed package; None where its service could not be asked."""
    command = [sys.executable, "-m", "pip_audit", "--local", "--format", "json"]
    command += ["--progress-spinner", "off", "--timeout", "15"]
    done = subprocess.run(command, capture_output=True, text=True)
    try:
        return json.loads(done.stdout)["dependencies"]
    except (json.JSONDecodeError, KeyError):
        print(done.stderr.strip().splitlines()[-1:], file=sys.stderr)
        return None


def main() -> int:
    found = installed()
    audited = [package for package in found or [] if "skip_reason" not in package]
    if not audited:
        print("The advisory service cannot be reached from here; nothing was audited.")
        return 0
    known = [(package, known) for package in audited for known in package["vulns"]]
    for package, vulnerability in known:
        mended = ", ".join(vulnerability["fix_versions"]) or "none yet"
        print(f"{package['name']} {package['version']}: {vulnerability['id']}; mended in {mended}")
    skipped = len(found or []) - len(audited)
    print(
        f"{len(audited)} packages audited, {skipped} unknown to the service, {len(known)} vulnerabilities."
    )
    return 1 if known else 0


if __name__ == "__main__":
    sys.exit(main())
