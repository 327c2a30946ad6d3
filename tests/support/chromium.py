"""Debian's Chromium, as every test in the browser starts it."""

CHROMIUM = "/usr/bin/chromium"
# Chromium as root in a container, without the connections that it makes of its own accord.
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
"""Milliseconds to wait for anything on a page; the machine may run a training beside the tests."""
