"""What the largest pictures within the limits cost in memory, and that more than agreed is not to be had (point 3)."""

import io
from collections.abc import Callable, Iterator
from math import isqrt

import numpy as np
from PIL import Image

from src.pictures.decode import MAX_ASPECT, MAX_PIXELS
from src.service import worker_pool
from tests.attack.bench import Bench, Checks, memory
from tests.attack.dying import workers
from tests.attack.row import Row
from tests.attack.visitor import Visitor

SIDE = isqrt(MAX_PIXELS)
LONG, SHORT = isqrt(MAX_PIXELS * MAX_ASPECT), isqrt(MAX_PIXELS // MAX_ASPECT)
ASKED = {"skin": [0.3, "Guided Grad-CAM"], "robustness": []}
"""Endpoint -> its arguments besides task and picture."""


def grey(width: int, height: int) -> np.ndarray:
    """A grid of lines, which every format packs well: uint8 (height, width)."""
    values = np.zeros((height, width), np.uint8)
    values[::7] = 90
    values[:, ::5] += 60
    return values


def square() -> Image.Image:
    return Image.fromarray(grey(SIDE, SIDE))


def see_through() -> Image.Image:
    """RGBA, half transparent."""
    image = square().convert("RGBA")
    image.putalpha(square())
    return image


Made = tuple[Callable[[], Image.Image], str, dict[str, object]]
LARGEST: dict[str, Made] = {
    "PNG, transparent": (see_through, "PNG", {}),
    "PNG of 16 bits": (lambda: Image.fromarray(grey(SIDE, SIDE).astype(np.uint16) * 200), "PNG", {}),
    "PNG, 20 times as wide as high": (lambda: Image.fromarray(grey(LONG, SHORT)).convert("RGB"), "PNG", {}),
    "PNG of 16 bits, 20 times as high as wide": (
        lambda: Image.fromarray(grey(SHORT, LONG).astype(np.uint16) * 200),
        "PNG",
        {},
    ),
    "PNG, grey": (square, "PNG", {}),
    "JPEG, progressive": (lambda: square().convert("RGB"), "JPEG", {"quality": 50, "progressive": True}),
    "JPEG in print colours": (lambda: square().convert("CMYK"), "JPEG", {"quality": 50}),
    "WebP": (lambda: square().convert("RGB"), "WEBP", {"lossless": True}),
    "TIFF of 32-bit floats": (
        lambda: Image.fromarray(grey(SIDE, SIDE).astype(np.float32)),
        "TIFF",
        {"compression": "tiff_deflate"},
    ),
}
"""Name -> how it is made and saved: all just within MAX_PIXELS."""


def largest(bench: Bench) -> Iterator[Row]:
    """Each asked for the slowest map and for its small changes: answered, within the memory that work may take."""
    visitor = Visitor(bench.app.url)
    pids = workers(bench)
    before = {pid: memory(pid, "VmSize") for pid in pids}
    wrong, costliest, most, asked = [], "", 0, 0
    for name, (make, kind, options) in list(LARGEST.items())[: 3 if bench.short else None]:
        file = io.BytesIO()
        make().save(file, kind, **options)
        picture = visitor.upload(file.getvalue(), f"picture.{kind.lower()}")
        for endpoint, further in ASKED.items():
            arguments = [picture, *further] if endpoint != "robustness" else ["skin", picture]
            answer = visitor.ask(endpoint, arguments)
            asked += 1
            if "event: complete" not in answer:
                wrong.append(f"{name}, {endpoint}: {answer[:150]}")
            taken = max(memory(pid, "VmPeak") - before[pid] for pid in pids)
            if taken > most:
                most, costliest = taken, f"{name}, {endpoint}"
    same = workers(bench) == pids
    yield Row(
        3,
        f"The largest pictures that are read ({MAX_PIXELS // 10**6} megapixels) in every format, and their views",
        asked,
        f"{len(wrong)} not answered ({'; '.join(wrong[:3]) or 'none'}); at most {most / 1e9:.2f} GB beyond the models "
        f"({costliest}), where a process may take {worker_pool.MEMORY / 1e9:.1f}; the same processes "
        f"at the end: {same}.",
        not wrong and same and 0 < most < worker_pool.MEMORY,
    )


CHECKS: Checks = {3: (largest,)}
