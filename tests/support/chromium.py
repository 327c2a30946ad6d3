"""Debian's Chromium, as every test in the browser starts it."""

CHROMIUM = "/usr/bin/chromium"
# Chromium as root in a container, without the connections that it opens by itself.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 60_000
"""Milliseconds to wait for anything on a page. A training may run beside the tests."""
