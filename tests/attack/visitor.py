"""A visitor who uses the app's HTTP interface by hand and can send anything."""

import json
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import httpx

from src.fair_queue import TOO_BUSY

PATIENCE = 600  # seconds; whatever else this machine does
TRIES: Final = 20
"""How often a call is repeated if a busy server refuses it."""
RESETS: Final = 3
"""How often a call is repeated if its connection is reset. A server that refuses a body stops reading after a while, so
a slow client can lose the answer."""
BUSY: Final = re.compile(re.escape(TOO_BUSY).replace(r"\{after\}", r"(\d+)"))


def seconds_to_wait(answer: str) -> int | None:
    """The seconds after which to call again, from a busy server's answer; None for any other answer."""
    found = BUSY.search(answer)
    return int(found[1]) if found else None


def content(answer: str) -> Any:
    """The JSON of an answer: of the last event, if there are events. Raises ArithmeticError for NaN and infinities."""
    body = _last(answer, "data: ") if answer.startswith("event: ") else answer
    return json.loads(body.strip(), parse_constant=_not_finite)


def is_complete(answer: str) -> bool:
    """Whether the last event of an answer is the result of a call."""
    return answer.startswith("event: ") and _last(answer, "event: ") == "complete"


def _last(answer: str, field: str) -> str:
    return [line.removeprefix(field) for line in answer.splitlines() if line.startswith(field)][-1]


def _not_finite(token: str) -> float:
    raise ArithmeticError(f"{token} left the app")


class Visitor:
    """Asks one app over loopback. `statuses` are those of all answers to its calls, except a busy server's refusals:
    the visitor waits as long as they say and calls again. `address`: the address that the visitor comes from, or None.
    """

    def __init__(self, url: str, address: str | None = None) -> None:
        self.http = httpx.Client(base_url=url, timeout=PATIENCE, transport=httpx.HTTPTransport(local_address=address))
        self.statuses: list[int] = []

    def upload(self, content: bytes, name: str) -> dict[str, Any]:
        """Upload a file; returns the FileData with which a client names it."""
        answer = self.http.post("/gradio_api/upload", files={"files": (name, content)})
        return {"path": answer.json()[0], "meta": {"_type": "gradio.FileData"}, "orig_name": name}

    def ask(self, endpoint: str, data: Any) -> str:
        """The whole answer of the app to these arguments, as text."""
        return self.post(endpoint, json.dumps({"data": data}))

    def post(self, endpoint: str, body: str | bytes) -> str:
        """The same with a body as it stands, JSON or not."""
        return self._patiently(lambda: self._post(endpoint, body))

    def _patiently(self, call: Callable[[], tuple[list[int], str]]) -> str:
        """The answer to a call that the server had time for."""
        resets = 0
        for _ in range(TRIES):
            try:
                statuses, answer = call()
            except httpx.ReadError:
                resets += 1
                if resets > RESETS:
                    raise
                continue
            if (seconds := seconds_to_wait(answer)) is None:
                break
            time.sleep(seconds)
        self.statuses += statuses
        return answer

    def _post(self, endpoint: str, body: str | bytes) -> tuple[list[int], str]:
        address = f"/gradio_api/call/{endpoint}"
        accepted = self.http.post(address, content=body, headers={"Content-Type": "application/json"})
        if accepted.status_code != httpx.codes.OK:
            return [accepted.status_code], accepted.text
        answer = self.http.get(f"{address}/{accepted.json()['event_id']}")
        return [accepted.status_code, answer.status_code], answer.text

    def call_by_number(self, function: Mapping[str, Any], data: str, session: str) -> str:
        """The same for a function of the page, one of /config's dependencies; `data` is JSON without its brackets."""
        return self._patiently(lambda: self._call_by_number(function, data, session))

    def _call_by_number(self, function: Mapping[str, Any], data: str, session: str) -> tuple[list[int], str]:
        body = f'{{"fn_index": {function["id"]}, "data": [{data}], "session_hash": "{session}"}}'
        queued = function["queue"] is not False
        path = "/gradio_api/queue/join" if queued else "/gradio_api/run/predict"
        answer = self.http.post(path, content=body, headers={"Content-Type": "application/json"})
        statuses = [answer.status_code]
        if answer.status_code != httpx.codes.OK:
            return statuses, answer.text
        if not queued:
            return statuses, f"event: complete\ndata: {answer.text}"
        told = self.http.get("/gradio_api/queue/data", params={"session_hash": session}).text
        (last,) = (line for line in told.splitlines() if '"process_completed"' in line)
        content = last.removeprefix("data: ")
        done = json.loads(content)
        return statuses, f"event: complete\ndata: {content}" if done["success"] else json.dumps(done["output"])

    def fetch(self, path: str) -> bytes:
        """A file that an answer names."""
        return self.http.get(f"/gradio_api/file={Path(path)}").content
