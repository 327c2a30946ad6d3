"""A small DICOMweb archive on loopback: it stores (STOW-RS), searches (QIDO-RS) and sends (WADO-RS) instances."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partialmethod
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from json import dumps
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient

BOUNDARY = "vigil-test"


class Archive:
    """What the archive has, and how it misbehaves.

    `files`: the stored files by their UID. `token`: what a request must bring; "" accepts all. `busy`: requests that
    are still to be answered with status 503. `forgets`: it accepts an object and does not keep it. `later`: searches
    that are still to find nothing. `refuses`: it refuses every new object with status 409. `says`: the answer to a
    search, in place of its own. `repeats`: it ignores the offset of a search. `seen`: the Authorization headers.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.token = ""
        self.busy = self.later = self.posts = 0
        self.forgets = self.refuses = self.repeats = False
        self.says: bytes | None = None
        self.seen: list[str | None] = []
        self.url = ""

    def add(self, data: bytes) -> None:
        self.files[str(pydicom.dcmread(BytesIO(data)).SOPInstanceUID)] = data


@contextmanager
def archive() -> Iterator[Archive]:
    """A running archive; `url` is its address."""
    state = Archive()

    class Handler(_Handler):
        archive = state

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}/dicom-web"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def shorten_waits(patch: pytest.MonkeyPatch) -> None:
    """A client asks an archive as often as ever, and waits milliseconds in between, not seconds."""
    asked_again = partialmethod(DICOMwebClient.set_http_retry_params, wait_exponential_multiplier=1)
    patch.setattr(DICOMwebClient, "set_http_retry_params", asked_again)


class _Handler(BaseHTTPRequestHandler):
    archive: Archive
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        if self._turned_away():
            return
        address = urlsplit(self.path)
        one = re.fullmatch(r"/dicom-web/studies/([\d.]+)/series/([\d.]+)/instances/([\d.]+)", address.path)
        if one is not None:
            data = self.archive.files.get(one[3])
            self._send(404, b"") if data is None else self._send_file(data)
            return
        several = re.fullmatch(r"/dicom-web/studies/([\d.]+)(?:/series/([\d.]+))?/instances", address.path)
        assert several is not None, self.path
        if self.archive.says is not None:
            self._send(200, self.archive.says, "application/dicom+json")
            return
        query = parse_qs(address.query)
        found = [] if self.archive.later else list(self._found(several[1], several[2], query))
        self.archive.later = max(0, self.archive.later - 1)
        start = 0 if self.archive.repeats else int(query.get("offset", ["0"])[0])
        self._send(200, dumps(found[start : start + 2]).encode(), "application/dicom+json")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self._turned_away():
            return
        self.archive.posts += 1
        boundary = re.search(r'boundary="?([^";]+)', self.headers["Content-Type"])
        assert boundary is not None
        statuses = [
            self._store(part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n"))
            for part in body.split(f"--{boundary[1]}".encode())[1:-1]
        ]
        self._send(max(statuses), b"{}", "application/dicom+json")

    def _store(self, data: bytes) -> int:
        uid = str(pydicom.dcmread(BytesIO(data)).SOPInstanceUID)
        if self.archive.refuses or uid in self.archive.files:
            return 409
        if not self.archive.forgets:
            self.archive.files[uid] = data
        return 200

    def _found(self, study: str, series: str | None, query: dict[str, list[str]]) -> Iterator[dict[str, Any]]:
        for data in self.archive.files.values():
            read = pydicom.dcmread(BytesIO(data), stop_before_pixels=True)
            wanted = query.get("SOPInstanceUID", [read.SOPInstanceUID])
            if (
                read.StudyInstanceUID == study
                and series in (None, read.SeriesInstanceUID)
                and read.SOPInstanceUID in wanted
            ):
                one = pydicom.Dataset()
                one.StudyInstanceUID, one.SeriesInstanceUID = read.StudyInstanceUID, read.SeriesInstanceUID
                one.SOPInstanceUID = read.SOPInstanceUID
                yield one.to_json_dict()

    def _turned_away(self) -> bool:
        authorization = self.headers.get("Authorization")
        self.archive.seen.append(authorization)
        if self.archive.token and authorization != f"Bearer {self.archive.token}":
            self._send(401, b"")
            return True
        if self.archive.busy:
            self.archive.busy -= 1
            self._send(503, b"")
            return True
        return False

    def _send_file(self, data: bytes) -> None:
        head = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        kind = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
        self._send(200, head + data + f"\r\n--{BOUNDARY}--".encode(), kind)

    def _send(self, status: int, body: bytes, kind: str = "text/plain") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
