"""Files of which rows, passes, strips or tiles are missing: none may get a score (section 3)."""

import json
from collections.abc import Iterator

from tests.attack.bench import Bench, Checks
from tests.attack.row import Row
from tests.attack.visitor import Visitor, content, is_complete
from tests.support.incomplete_files import incomplete_files


def incomplete(bench: Bench) -> Iterator[Row]:
    """Ask for each of them as a skin image."""
    visitor = Visitor(bench.app.url)
    files = list(incomplete_files())[:: 8 if bench.short else 1]
    scored: list[str] = []
    for name, data in files:
        answer = visitor.ask("skin", [visitor.upload(data, "image"), 0.3, "none"])
        if is_complete(answer) or not str(content(answer).get("error", "")).endswith("."):
            scored.append(name)
    yield Row(
        3,
        "PNGs without some rows, passes or their end; TIFFs whose strips or tiles end early; JPEG 2000 without a tile",
        len(files),
        f"{len(files) - len(scored)} refused with a sentence; {len(scored)} got a score "
        f"({json.dumps(scored[:3]) if scored else 'none'}).",
        not scored,
    )


CHECKS: Checks = {3: (incomplete,)}
