"""The memory that the largest allowed images take, and the limit on it (section 3)."""

import io
import json
from collections.abc import Callable, Iterator
from math import isqrt
from pathlib import Path
from typing import Any, Final

import numpy as np
import pillow_heif
from PIL import ExifTags, Image

from src.pictures import jpeg2000
from src.pictures.limits import MAX_ASPECT, MAX_PIXELS
from src.service import worker_pool
from tests.attack.bench import Bench, Checks, memory, settle
from tests.attack.dying import workers
from tests.attack.row import Row
from tests.attack.server import EXAMPLE
from tests.attack.visitor import Visitor

SIDE = isqrt(MAX_PIXELS)
SHORT = isqrt(MAX_PIXELS // MAX_ASPECT)
LONG = MAX_ASPECT * SHORT
WAVELETS = isqrt(jpeg2000.MOST_PIXELS)
CAMERA = 8064, 6048
"""Pixels of a telephone's 48-megapixel photo, which is above MAX_PIXELS and read at a smaller scale."""

pillow_heif.register_heif_opener()  # Pillow saves HEIC by it


def heat_map(visitor: Visitor, picture: dict[str, Any]) -> str:
    return visitor.ask("skin", [picture, 0.3, "Guided Grad-CAM"])


def small_changes(visitor: Visitor, picture: dict[str, Any]) -> str:
    return visitor.ask("robustness", ["skin", picture])


def pdf_report(visitor: Visitor, picture: dict[str, Any]) -> str:
    """The call of the button on the first tab. The last argument confirms an image that the gate rejects."""
    functions = visitor.http.get("/config").json()["dependencies"]
    makes_pdf = next(each for each in functions if each["api_name"] == "make_report")
    data = json.dumps([picture, 0.3, "Guided Grad-CAM", "", "", picture["path"]])[1:-1]
    return visitor.call_by_number(makes_pdf, data, Path(picture["path"]).parent.name)


ASKED: Final[tuple[Callable[[Visitor, dict[str, Any]], str], ...]] = (heat_map, small_changes, pdf_report)
"""The costliest calls for one image."""


def grey(width: int, height: int) -> np.ndarray:
    """A grid of lines, which every format compresses well: uint8 (height, width)."""
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


def turned() -> Image.Exif:
    """EXIF data of a camera that was held upright."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return exif


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
    "TIFF of 32-bit integers": (
        lambda: Image.fromarray(grey(SIDE, SIDE).astype(np.int32)),
        "TIFF",
        {"compression": "tiff_deflate"},
    ),
    "TIFF, grey and transparent": (lambda: square().convert("LA"), "TIFF", {"compression": "tiff_deflate"}),
    "PNG of 256 colours": (lambda: square().convert("P"), "PNG", {}),
    "HEIC": (lambda: square().convert("RGB"), "HEIF", {"quality": 40, "enc_params": {"preset": "ultrafast"}}),
    "AVIF": (lambda: square().convert("RGB"), "AVIF", {"quality": 50, "speed": 10}),
    f"JPEG 2000 of {jpeg2000.MOST_PIXELS // 10**6} megapixels": (
        lambda: Image.fromarray(grey(WAVELETS, WAVELETS)).convert("RGB"),
        "JPEG2000",
        {"irreversible": True, "quality_layers": [40]},
    ),
    "JPEG of 48 megapixels": (lambda: Image.fromarray(grey(*CAMERA)).convert("RGB"), "JPEG", {"quality": 50}),
    "JPEG that EXIF turns upright": (lambda: square().convert("RGB"), "JPEG", {"quality": 50, "exif": turned()}),
}
"""Name -> how it is made and saved: all just within the limits."""


def largest(bench: Bench) -> Iterator[Row]:
    """Send the costliest calls for each of these images. All must be answered within the memory limit."""
    visitor = Visitor(bench.app.url)
    heat_map(visitor, visitor.upload(EXAMPLE.read_bytes(), EXAMPLE.name))
    settle(bench.app.process.pid, every=1 if bench.short else 5)  # until every process stands ready
    pids = workers(bench)
    before = {pid: memory(pid, "VmSize") for pid in pids}
    wrong, costliest, most, asked = [], "", 0, 0
    for name, (make, kind, options) in list(LARGEST.items())[: 3 if bench.short else None]:
        file = io.BytesIO()
        make().save(file, kind, **options)
        picture = visitor.upload(file.getvalue(), f"picture.{kind.lower()}")
        for ask in ASKED:
            answer = ask(visitor, picture)
            asked += 1
            if "event: complete" not in answer:
                wrong.append(f"{name}, {ask.__name__}: {answer[-150:]}")
            taken = max(memory(pid, "VmPeak") - before[pid] for pid in pids)
            if taken > most:
                most, costliest = taken, f"{name}, {ask.__name__}"
    same = workers(bench) == pids
    yield Row(
        3,
        f"The largest allowed images (mostly of {MAX_PIXELS // 10**6} megapixels) in {len(LARGEST)} kinds of file: "
        "heat map, small changes and PDF report",
        asked,
        f"{len(wrong)} not answered ({'; '.join(wrong[:3]) or 'none'}); at most {most / 1e9:.2f} GB beyond the models "
        f"({costliest}), where a process may take {worker_pool.MEMORY / 1e9:.1f}; the same processes "
        f"at the end: {same}.",
        not wrong and same and 0 < most < worker_pool.MEMORY,
    )


CHECKS: Checks = {3: (largest,)}
