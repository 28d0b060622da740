#!/usr/bin/env bash
# What a machine needs to host Loupe: Debian's nginx and a virtual environment with the app.
# Run in the checkout, as root for the packages; without root they must be there already.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "$(id -u)" = 0 ]; then
    apt-get update --quiet
    DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends \
        make nginx-light python3 python3-venv
fi
exec make .venv/app.stamp
