"""Takes a slide that a visitor sends: its bytes go to the disk as they arrive, and it gets an unguessable id.

src/server/bodies.py limits the size. Nothing is opened here. The file lies in the folder of the uploads, whose sweep
deletes it within an hour.
"""

import asyncio
import secrets
import shutil
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from src.server.disk import SPARE
from src.server.refusal import Refusal, answer
from src.slides import library
from src.slides.library import MANY_FILES, SUFFIXES, Offered

FOLDER: Final = "slides"
LONGEST_NAME: Final = 200
"""Characters of a file's name on the page, at most."""

NO_SLIDE: Final = Refusal(415, f"This is no slide in one file; send one of {', '.join(sorted(SUFFIXES - MANY_FILES))}.")
NO_ROOM: Final = Refusal(507, "The disk of the server has no space for this slide.")


class SlideUploads:
    """ASGI app that writes the body of a request into `folder` and adds it to `slides`. It answers with the id."""

    def __init__(self, slides: dict[str, Offered], folder: Path) -> None:
        self.slides, self.folder = slides, folder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = parse_qs(scope["query_string"].decode("latin-1")).get("name", [""])[0][:LONGEST_NAME]
        suffix = PurePosixPath(name).suffix.lower()
        if suffix not in SUFFIXES - MANY_FILES:
            await answer(NO_SLIDE, scope, receive, send)
            return
        size = int(Headers(scope=scope).get("content-length", 0))
        if shutil.disk_usage(self.folder).free < size + SPARE:
            await answer(NO_ROOM, scope, receive, send)
            return
        own = self.folder / FOLDER / secrets.token_hex(16)
        own.mkdir(parents=True)
        file = own / f"slide{suffix}"
        if not await _written(file, receive):
            shutil.rmtree(own, ignore_errors=True)
            return
        response = JSONResponse({"id": library.add(self.slides, name, file)})
        await response(scope, receive, send)


async def _written(file: Path, receive: Receive) -> bool:
    """Write a body into `file`; False if the visitor left before its end, or it was refused meanwhile."""
    with file.open("wb") as out:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return False
            await asyncio.to_thread(out.write, message.get("body", b""))
            if not message.get("more_body", False):
                return True
