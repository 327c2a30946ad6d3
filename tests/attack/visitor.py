"""A visitor who sends what no client would: the app's HTTP interface by hand."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

PATIENCE = 600  # seconds; whatever else this machine does


def content(answer: str) -> Any:
    """The JSON of an answer, be it an event or not. Raises ArithmeticError for NaN and infinities."""
    body = answer.partition("data: ")[2] if answer.startswith("event: ") else answer
    return json.loads(body.strip(), parse_constant=_not_finite)


def _not_finite(token: str) -> float:
    raise ArithmeticError(f"{token} left the app")


class Visitor:
    """Asks one app over loopback; `statuses` are those of all answers to its calls."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=PATIENCE)
        self.statuses: list[int] = []

    def upload(self, content: bytes, name: str) -> dict[str, Any]:
        """Put a file there; what a client then names it by."""
        answer = self.http.post("/gradio_api/upload", files={"files": (name, content)})
        return {"path": answer.json()[0], "meta": {"_type": "gradio.FileData"}, "orig_name": name}

    def ask(self, endpoint: str, data: Any) -> str:
        """Everything that the app answers to these arguments, as text."""
        return self.post(endpoint, json.dumps({"data": data}))

    def post(self, endpoint: str, body: str | bytes) -> str:
        """The same with a body as it stands, JSON or not."""
        address = f"/gradio_api/call/{endpoint}"
        accepted = self.http.post(address, content=body, headers={"Content-Type": "application/json"})
        self.statuses.append(accepted.status_code)
        if accepted.status_code != httpx.codes.OK:
            return accepted.text
        answer = self.http.get(f"{address}/{accepted.json()['event_id']}")
        self.statuses.append(answer.status_code)
        return answer.text

    def call_by_number(self, function: Mapping[str, Any], data: str, session: str) -> str:
        """The same for a function of the page, one of /config's dependencies; `data` is JSON without its brackets."""
        body = f'{{"fn_index": {function["id"]}, "data": [{data}], "session_hash": "{session}"}}'
        queued = function["queue"] is not False
        path = "/gradio_api/queue/join" if queued else "/gradio_api/run/predict"
        answer = self.http.post(path, content=body, headers={"Content-Type": "application/json"})
        self.statuses.append(answer.status_code)
        if not queued or answer.status_code != httpx.codes.OK:
            return f"event: complete\ndata: {answer.text}" if answer.status_code == httpx.codes.OK else answer.text
        told = self.http.get("/gradio_api/queue/data", params={"session_hash": session}).text
        (last,) = (line for line in told.splitlines() if '"process_completed"' in line)
        content = last.removeprefix("data: ")
        done = json.loads(content)
        return f"event: complete\ndata: {content}" if done["success"] else json.dumps(done["output"])

    def fetch(self, path: str) -> bytes:
        """A file that an answer names."""
        return self.http.get(f"/gradio_api/file={Path(path)}").content
