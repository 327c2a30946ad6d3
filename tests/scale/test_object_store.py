"""Sources and results in an object store (moto's S3, on the loopback) that fails, is slow and lists late."""

import io
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import pytest
import requests
import s3fs
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from src.scale.run import verify
from tests.scale.conftest import Command, ended
from tests.support.scale_runs import files

LATE = 3.0
"""Seconds after which a new object is listed."""


class FaultyStore:
    """moto's S3, in which `one_in` PUTs and GETs fail with 503, each answer takes `seconds`, and listings are late."""

    def __init__(self) -> None:
        self._app = DomainDispatcherApplication(create_backend_app)
        self._lock = Lock()
        self.one_in, self.seconds, self.late = 0, 0.0, False
        self.failed = self.asked = 0
        self._written: dict[str, float] = {}

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        time.sleep(self.seconds)
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        with self._lock:
            self.asked += 1
            fails = self.one_in and method in ("PUT", "GET") and self.asked % self.one_in == 0
            self.failed += bool(fails)
            if method == "PUT":
                self._written[path.split("/", 2)[-1]] = time.monotonic()
        if fails:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            body = b"<Error><Code>SlowDown</Code></Error>"
            start_response("503 Slow Down", [("Content-Type", "text/xml"), ("Content-Length", str(len(body)))])
            return [body]
        if not (self.late and method == "GET" and "list-type=2" in environ.get("QUERY_STRING", "")):
            return self._app(environ, start_response)
        return self._late_listing(environ, start_response)

    def _late_listing(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        head: list[Any] = []
        body = b"".join(self._app(environ, lambda *given: head.extend(given)))
        for key, when in self._written.items():
            if time.monotonic() - when < LATE:
                body = re.sub(rb"<Contents>\s*<Key>" + re.escape(key.encode()) + rb"</Key>.*?</Contents>", b"", body)
        headers = [(name, value) for name, value in head[1] if name.lower() != "content-length"]
        start_response(head[0], [*headers, ("Content-Length", str(len(body)))])
        return [body]


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyStore]:
    """The store, at the address that the environment names."""
    app = FaultyStore()
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=MotoRequestHandler)
    Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    # moto keeps the buckets of a process.
    requests.post(f"{endpoint}/moto-api/reset", timeout=60).raise_for_status()
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "S3CRET0OF0THE0TEST")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    yield app
    server.shutdown()


@pytest.fixture
def bucket(store: FaultyStore, images: Path) -> s3fs.S3FileSystem:  # noqa: ARG001
    """The images in the bucket clinic."""
    found = s3fs.S3FileSystem()
    found.mkdir("clinic")
    for image in images.iterdir():
        found.pipe_file(f"clinic/in/{image.name}", image.read_bytes())
    return found


def test_a_store_that_fails_is_slow_and_lists_late_loses_nothing(
    store: FaultyStore, bucket: s3fs.S3FileSystem, command: Command, plain: Path, tmp_path: Path
) -> None:
    time.sleep(LATE)  # a late listing of the images would be another run
    store.one_in, store.seconds, store.late = 10, 0.02, True
    run = command("s3://clinic/in", "--out", "s3://clinic/out", "--workers", 2, "--csv", tmp_path / "all.csv")
    assert ended(run) == 1
    store.one_in, store.seconds, store.late = 0, 0.0, False
    assert store.failed > 20
    assert verify("s3://clinic/out") == 0
    names = [path for path in bucket.ls("clinic/out", detail=False) if path.endswith(".parquet")]
    assert len(names) == len(files(plain)) == 30
    for content in [bucket.cat_file(path) for path in bucket.ls("clinic/out", detail=False)]:
        assert b"S3CRET" not in content
    assert "S3CRET" not in (tmp_path / "all.csv").read_text()
    assert len((tmp_path / "all.csv").read_text().splitlines()) == 121


def test_a_part_that_is_half_written_is_written_again(
    bucket: s3fs.S3FileSystem, command: Command, tmp_path: Path
) -> None:
    assert ended(command("s3://clinic/in", "--out", "s3://clinic/out", "--workers", 1)) == 1
    part = next(path for path in bucket.ls("clinic/out", detail=False) if path.endswith(".parquet"))
    whole = bucket.cat_file(part)
    bucket.pipe_file(part, whole[: len(whole) // 2])
    assert verify("s3://clinic/out") == 1
    assert ended(command("s3://clinic/in", "--out", "s3://clinic/out", "--workers", 1)) == 1
    bucket.invalidate_cache()
    assert bucket.cat_file(part) == whole
    assert verify("s3://clinic/out") == 0
    assert io.BytesIO(whole).read(4) == b"PAR1"
    assert not list(tmp_path.iterdir())
