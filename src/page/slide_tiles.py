"""The addresses of the slide viewer: /slides/ID/SCALE/COLUMN_ROW.jpg, the viewer's script, and the upload of a slide.

An id names a slide of src/slides/library.py, so no address names a file. Requests reach this app behind all checks of
src/server.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.responses import FileResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from src import fair_queue
from src.pictures.picture import ImageRefused
from src.server.rate_limit import visitor_of
from src.server.refusal import Refusal, answer
from src.server.routes import NOT_FOUND, SLIDES, VIEWER, is_slide_upload
from src.service import read_slide
from src.service.worker_pool import Busy, WorkerPool, WorkFailed
from src.slides.library import Offered

SCRIPT: Final = Path(__file__).with_name("openseadragon") / "openseadragon.min.js"
ADDRESS: Final = re.compile(
    rf"{SLIDES}(?P<id>[\w-]+)/(?P<scale>\d{{1,6}})/(?P<column>\d{{1,6}})_(?P<row>\d{{1,6}})\.jpg"
)
KEPT: Final = "private, max-age=3600"
"""How long a browser may keep a tile: a visitor who comes back to a place asks for nothing."""


class SlideTiles:
    """ASGI app that serves the tiles of the offered slides, and takes further slides by `uploads`, if that is given."""

    def __init__(self, pool: WorkerPool, slides: Mapping[str, Offered], uploads: ASGIApp | None = None) -> None:
        self.pool, self.slides, self.uploads = pool, slides, uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.uploads is not None and is_slide_upload(scope):
            await self.uploads(scope, receive, send)
            return
        if scope["path"] == VIEWER:
            response: Response = FileResponse(SCRIPT, media_type="text/javascript")
        else:
            found = ADDRESS.fullmatch(scope["path"])
            slide = self.slides.get(found["id"]) if found else None
            if found is None or slide is None:
                await answer(NOT_FOUND, scope, receive, send)
                return
            fair_queue.visitor.set(visitor_of(scope))
            place = int(found["scale"]), int(found["column"]), int(found["row"])
            try:
                tile = await self.pool.call(read_slide.zoom_tile, str(slide.file), *place)
            except ImageRefused as refusal:
                await answer(Refusal(404, str(refusal)), scope, receive, send)
                return
            except WorkFailed as failure:
                after = failure.after if isinstance(failure, Busy) else None
                await answer(Refusal(503, str(failure), after), scope, receive, send)
                return
            response = Response(tile, media_type="image/jpeg")
        MutableHeaders(raw=response.raw_headers)["cache-control"] = KEPT
        await response(scope, receive, send)
