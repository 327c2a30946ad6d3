#!/usr/bin/env bash
# Install what the tests need, then run ruff, mypy and pytest.
#   bash tests/run.sh [pytest arguments]          every test, the browser's too; on Debian it installs chromium itself,
#                                                and dicom3tools, which validates DICOM files
#   bash tests/run.sh --fast [pytest arguments]   the unit tests that are not marked slow; no browser
# Needs Python 3.11 and the package registries. A test that is skipped fails (tests/conftest.py).
set -euo pipefail
cd "$(dirname "$0")/.."

fast=
if [ "${1:-}" = --fast ]; then
  fast=yes
  shift
fi

if [ -z "$fast" ] && ! { command -v chromium && command -v dciodvfy; } >/dev/null; then
  as_root=$([ "$(id -u)" = 0 ] || echo sudo)
  $as_root apt-get update -qq
  $as_root apt-get install -y -qq chromium dicom3tools >/dev/null
fi

python=$(command -v python3.11 || command -v python3)
[ -x .venv/bin/python ] || "$python" -m venv .venv
# pip runs again when one of the files that name packages has changed since it last succeeded.
wanted=$(cat pre-requirements.txt requirements*.txt | sha256sum)
installed=.venv/requirements.sha256
if [ "$(cat "$installed" 2>/dev/null)" != "$wanted" ]; then
  # As a Space does: first what the lock file knows by its sha256, by itself, then the rest.
  .venv/bin/pip install --quiet --disable-pip-version-check -r pre-requirements.txt
  .venv/bin/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
  echo "$wanted" >"$installed"
fi

# The tests' networks are too small for threads, which would only wait for each other.
export OMP_NUM_THREADS=1
# Nothing the tests start may ask the network for versions or send figures home.
export GRADIO_ANALYTICS_ENABLED=0 NO_ALBUMENTATIONS_UPDATE=1 HF_HUB_DISABLE_TELEMETRY=1 DO_NOT_TRACK=1

.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
if [ -n "$fast" ]; then
  .venv/bin/python -m pytest tests/unit -m "not slow" -n 2 --dist worksteal "$@"
else
  # Two at a time, since half of a run waits for the browser and the app; a file's tests stay together.
  .venv/bin/python -m pytest -n 2 --dist loadfile "$@"
fi
