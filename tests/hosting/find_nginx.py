"""Make sure that there is an nginx, and print its path: ``python -m tests.hosting.find_nginx``.

Debian's package is installed where this is root on Debian. Where none can be had, CI=true makes that a
failure; otherwise the hosting tests skip and say so.
"""

import sys

from deploy.host import nginx
from tests.browser.find_chromium import in_ci, install_debian, is_debian_root

NONE_FOUND = "There is no nginx here and none could be installed, so hosting tests cannot run."
PACKAGE = "nginx-light"


def find() -> str | None:
    try:
        return nginx()
    except RuntimeError:
        return None


def find_or_install() -> str | None:
    """The path of nginx, installed first where that is needed and can be done."""
    if find() is None and is_debian_root():
        install_debian([PACKAGE])
    return find()


def main() -> int:
    if path := find_or_install():
        print(path)
        return 0
    print(NONE_FOUND, file=sys.stderr)
    return 1 if in_ci() else 0


if __name__ == "__main__":
    sys.exit(main())
