"""An OpenAI-compatible server on loopback: it keeps what it is sent, and answers as it is told to."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

GOOD = "Vigil would refer this picture.\n\nThe model misses some cancers. See a clinician, who decides."


@dataclass(frozen=True)
class Sent:
    """A request as it came; the names of its headers in small letters."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def content(self) -> dict[str, Any]:
        """What the JSON of its body says."""
        return dict(json.loads(self.body))

    @property
    def everything(self) -> str:
        """Path, headers and body as one text to search in."""
        return f"{self.path} {self.headers} {self.body.decode()}"


def said(content: Any, **choice: Any) -> bytes:
    """A chat completion whose one choice holds `content`."""
    chosen = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}, **choice}
    answer = {"id": "1", "object": "chat.completion", "created": 0, "model": "as it calls itself", "choices": [chosen]}
    return json.dumps(answer).encode()


@dataclass
class Writer:
    """`reply` is sent with `status`, and byte by byte with `pause` seconds between them where there is one; nothing is
    until `hold` is set."""

    url: str = ""
    status: int = 200
    reply: bytes = said(GOOD)
    pause: float = 0
    hold: threading.Event = field(default_factory=threading.Event)
    sent: list[Sent] = field(default_factory=list)

    def reset(self) -> None:
        """Answer with GOOD again, and forget what was sent."""
        self.hold.set()
        self.status, self.reply, self.pause = 200, said(GOOD), 0
        self.sent.clear()


@contextmanager
def serving() -> Iterator[Writer]:
    """A Writer that listens until the block ends."""
    writer, ended = Writer(), threading.Event()
    writer.hold.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            writer.sent.append(Sent(self.path, headers, content))
            writer.hold.wait(60)
            self.send_response(writer.status)
            self.send_header("Content-Length", str(len(writer.reply)))
            self.end_headers()
            rest = iter(writer.reply)
            while writer.pause and not ended.wait(writer.pause):
                self.wfile.write(bytes([next(rest)]))
            self.wfile.write(bytes(rest))

        def log_message(self, *_: object) -> None:
            """Not on the test's output."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that left."""

    server = Server(("127.0.0.1", 0), Handler)
    writer.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield writer
    finally:
        ended.set()
        writer.hold.set()
        server.shutdown()
        server.server_close()
        thread.join()
