"""An OpenAI-compatible server on loopback in place of the provider that writes summaries.

It stores every request, and the test sets its answers.
"""

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
    """A received request. The names of its headers are in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def content(self) -> dict[str, Any]:
        """Its body, parsed as JSON."""
        return dict(json.loads(self.body))

    @property
    def everything(self) -> str:
        """Path, headers and body as one text to search in."""
        return f"{self.path} {self.headers} {self.body.decode()}"


def completion(content: Any, **choice: Any) -> bytes:
    """A chat completion whose one choice has this `content`."""
    chosen = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}, **choice}
    answer = {"id": "1", "object": "chat.completion", "created": 0, "model": "as it calls itself", "choices": [chosen]}
    return json.dumps(answer).encode()


@dataclass
class ChatServer:
    """Answers a request with the `status` and the `reply` that are set when it comes, once `hold` is set. As long as
    `pause` is not 0, bytes go one by one with so many seconds between them. `answered` counts the answers sent."""

    url: str = ""
    status: int = 200
    reply: bytes = completion(GOOD)
    pause: float = 0
    hold: threading.Event = field(default_factory=threading.Event)
    sent: list[Sent] = field(default_factory=list)
    answered: int = 0

    def reset(self) -> None:
        """Answer with GOOD again, and forget what was sent."""
        self.hold.set()
        self.status, self.reply, self.pause, self.answered = 200, completion(GOOD), 0, 0
        self.sent.clear()


@contextmanager
def serving_chat() -> Iterator[ChatServer]:
    """A ChatServer that listens until the block ends."""
    chat, ended = ChatServer(), threading.Event()
    chat.hold.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, reply = chat.status, chat.reply
            chat.sent.append(Sent(self.path, headers, content))
            chat.hold.wait(60)
            self.send_response(status)
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            rest = iter(reply)
            while chat.pause and not ended.wait(chat.pause):
                self.wfile.write(bytes([next(rest)]))
            self.wfile.write(bytes(rest))
            chat.answered += 1

        def log_message(self, *_: object) -> None:
            """Keep the test's output free of requests."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """Keep the test's output free of clients that left."""

    server = Server(("127.0.0.1", 0), Handler)
    chat.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield chat
    finally:
        ended.set()
        chat.hold.set()
        server.shutdown()
        server.server_close()
        thread.join()
