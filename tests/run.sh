#!/usr/bin/env bash
# Install everything the tests need and run them: ruff, mypy, pytest with the browser.
#   bash tests/run.sh [pytest arguments]
# Needs Python 3.11 and the package registries; on Debian it installs chromium itself.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v chromium >/dev/null; then
  as_root=$([ "$(id -u)" = 0 ] || echo sudo)
  $as_root apt-get update -qq
  $as_root apt-get install -y -qq chromium >/dev/null
fi

python=$(command -v python3.11 || command -v python3)
[ -x .venv/bin/python ] || "$python" -m venv .venv
# As a Space does: first what the lock file knows by its sha256, by itself, then the rest.
.venv/bin/pip install --quiet --disable-pip-version-check -r pre-requirements.txt
.venv/bin/pip install --quiet --disable-pip-version-check -r requirements-dev.txt

# Made-up networks are too small for threads, which would only wait for each other.
export OMP_NUM_THREADS=1
# Nothing the tests start may ask the network for versions or send figures home.
export GRADIO_ANALYTICS_ENABLED=0 NO_ALBUMENTATIONS_UPDATE=1 HF_HUB_DISABLE_TELEMETRY=1 DO_NOT_TRACK=1

.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
# Two at a time, since half of a run is waiting for the browser and the app; a file's tests stay together.
.venv/bin/python -m pytest -n 2 --dist loadfile "$@"
