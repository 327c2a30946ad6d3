"""tests/support/app.py: if a port is in use, the app gets another one; it is never started again for another reason."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import app

pytestmark = pytest.mark.slow

# The app's own check of its settings, then a server of this module's own: the page takes long to load.
PROGRAM = """
import http.server, sys
from src.server import settings

try:
    address = settings.check()
except settings.SettingRefused as refusal:
    sys.exit(f"app: {refusal}")
http.server.HTTPServer((address.name, address.port), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def give(monkeypatch: pytest.MonkeyPatch, *ports: int) -> Iterator[int]:
    """Let `app.running` try these ports. Returns those that it has not tried yet."""
    left = iter(ports)
    monkeypatch.setattr(app, "free_port", lambda: next(left))
    return left


def test_another_port_is_tried_where_one_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken, free = int(other.getsockname()[1]), app.free_port()
        left = give(monkeypatch, taken, free)
        with app.running(tmp_path, {}, ("-c", PROGRAM)) as server:
            assert server.url == f"http://127.0.0.1:{free}"
            assert server.process.poll() is None
        assert list(left) == []


def test_an_app_that_ends_otherwise_is_started_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = give(monkeypatch, 9, 10)
    with (
        pytest.raises(pytest.fail.Exception, match="no settings"),
        app.running(tmp_path, {}, ("-c", "raise SystemExit('no settings')")),
    ):
        pass
    assert list(left) == [10]
