"""Routes that must be closed (section 2)."""

from collections.abc import Iterator

import httpx

from src.server.routes import NOT_FOUND
from tests.attack.bench import Bench, Checks
from tests.attack.row import Row
from tests.attack.visitor import PATIENCE
from tests.support.gradio_routes import CLOSED, example


def routes(bench: Bench) -> Iterator[Row]:
    """Every route that the installed Gradio has and this app does not need (tests/app/test_routes.py holds both
    lists to what is installed), and a few that scanners try."""
    strange = [("GET", path) for path in ("/.env", "/.git/config", "/docs", "/admin", "/gradio_api/file=http://x/")]
    asked = [*((method, example(path)) for method, path in sorted(CLOSED)), *strange]
    with httpx.Client(base_url=bench.app.url, timeout=PATIENCE) as http:
        open_ = [path for method, path in asked if http.request(method, path).status_code != NOT_FOUND.status]
    yield Row(
        2, "Routes that Gradio has and the page does not need", len(asked), f"Not closed: {open_ or 'none'}.", not open_
    )


CHECKS: Checks = {2: (routes,)}
