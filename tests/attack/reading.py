"""A process of its own that reads pictures through src/pictures/decode.py, so that a crash, a hang or a bomb is its
alone:

    python -m tests.attack.reading FILE...               # what each cost, a line of JSON each
    python -m tests.attack.reading --mutants KIND FIRST END   # mutants of these numbers, a line of JSON each

Mutants are made-up pictures of every format (KIND is images) or DICOM files of every syntax (KIND is dicom), damaged; a
number always gives the same one. Reading one for longer than
HANGS seconds of a core ends the process by a signal. Imports little, for its memory is measured.
"""

import json
import random
import signal
import sys
import time
import warnings
from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pillow_heif
import tifffile
from PIL import Image

from src.pictures import decode
from src.pictures.picture import ImageRefused
from tests.support.dicom_files import LOSSY, NATIVE, SYNTAXES, drawn, of_frames, of_image, region, regions

HANGS = 5
WIDE = imagecodecs.cms_profile(
    "rgb", whitepoint=(0.3127, 0.3290), primaries=(0.68, 0.32, 0.265, 0.69, 0.15, 0.06), gamma=2.2
)
"""An ICC profile near Display P3."""


@cache
def originals() -> tuple[bytes, ...]:
    """Small pictures with edges, texture and colour, in every format and mode that is read."""
    y, x = np.mgrid[0:72, 0:96]
    rgb = np.stack((60 + 2 * y, 40 + 2 * x, 90 + 60 * ((x // 12 + y // 12) % 2)), axis=2)
    rgb = (rgb + np.random.default_rng(0).integers(-20, 20, rgb.shape)).clip(0, 255).astype(np.uint8)
    photo = Image.fromarray(rgb)
    grey, deep = photo.convert("L"), Image.fromarray(rgb[:, :, 0].astype(np.uint16) * 16)
    clear = photo.copy()
    clear.putalpha(grey)
    frames: dict[str, Any] = {"save_all": True, "append_images": [photo.rotate(90)]}
    kinds: tuple[tuple[Image.Image, str, dict[str, Any]], ...] = (
        *((image, "JPEG", {"progressive": progressive}) for image in (photo, grey) for progressive in (False, True)),
        (photo.convert("CMYK"), "JPEG", {}),
        (photo, "JPEG", {"restart_marker_rows": 1}),
        *((image, "PNG", {}) for image in (photo, grey, deep, clear, photo.convert("P"), photo.convert("1"))),
        (photo, "PNG", frames),
        *((image, "WEBP", {"lossless": lossless}) for image in (photo, clear) for lossless in (False, True)),
        (photo, "WEBP", frames),
        *((photo, "TIFF", {"compression": how}) for how in (None, "tiff_lzw", "tiff_adobe_deflate", "packbits")),
        *((image, "TIFF", {}) for image in (grey, deep, clear, photo.convert("CMYK"), photo.convert("P"))),
        (photo, "TIFF", frames),
        *((image, "BMP", {}) for image in (photo, grey, clear, photo.convert("1"))),
        *((image, "AVIF", {}) for image in (photo, grey, clear)),
        *(
            (photo, "JPEG2000", {"no_jp2": bare, "irreversible": lossy})
            for bare in (False, True)
            for lossy in (False, True)
        ),
        *((image, "JPEG2000", {}) for image in (grey, deep, clear)),
        *((photo, kind, {"icc_profile": WIDE}) for kind in ("JPEG", "PNG", "TIFF")),
        (photo.convert("CMYK"), "TIFF", {"compression": "jpeg"}),
        (photo.convert("1"), "TIFF", {"compression": "group4"}),
    )
    made = []
    for image, kind, options in kinds:
        stream = BytesIO()
        image.save(stream, kind, **options)
        made.append(stream.getvalue())
    for image in (photo, grey, clear):
        stream = BytesIO()
        pillow_heif.from_pillow(image).save(stream)
        made.append(stream.getvalue())
    # Deep colours, and what tifffile alone writes.
    twelve = rgb.astype(np.uint16) * 16
    made += [bytes(imagecodecs.png_encode(twelve)), bytes(imagecodecs.jpeg2k_encode(twelve, level=0))]
    hows: tuple[tuple[np.ndarray, dict[str, Any]], ...] = (
        *((twelve, {"compression": how, "predictor": how in ("zlib", "lzw")}) for how in (None, "zlib", "lzw", "lerc")),
        *((rgb, {"compression": how, "tile": (32, 48)}) for how in ("webp", "jpeg2000", "jpeg", "zstd", "lzma")),
        *((twelve, {"bigtiff": True, "byteorder": order}) for order in "<>"),
        (rgb / np.float32(255), {"compression": "zlib"}),
        (np.moveaxis(rgb, 2, 0), {"planarconfig": "separate", "compression": "zlib"}),
    )
    for values, options in hows:
        stream = BytesIO()
        tifffile.imwrite(stream, values, photometric="rgb", metadata=None, **options)
        made.append(stream.getvalue())
    stream = BytesIO()
    tifffile.imwrite(stream, np.moveaxis(rgb, 2, 0), photometric="minisblack", ome=True, metadata={"axes": "CYX"})
    made.append(stream.getvalue())
    return tuple(made)


@cache
def dicom_files() -> tuple[bytes, ...]:
    """Small DICOM files of every transfer syntax: grey, colour, palette, cine, with a region and without a preamble."""
    picture = drawn(96, 72)
    made = []
    for syntax in SYNTAXES:
        transform = "YBR_RCT" if "2000" in syntax.name or "High-Throughput" in syntax.name else "RGB"
        made += [of_image(picture, "MONOCHROME1", syntax, WindowCenter="128", WindowWidth="256")]
        made += [of_image(picture, transform, syntax, SequenceOfUltrasoundRegions=regions(region(8, 8, 88, 64)))]
        made += [of_frames([picture.convert("L"), picture.convert("L").rotate(90)], "MONOCHROME2", syntax)]
    made += [of_image(picture, "PALETTE COLOR", syntax) for syntax in NATIVE]
    made += [of_image(picture, "YBR_FULL_422", syntax) for syntax in (*NATIVE, LOSSY[0])]
    made += [of_image(picture, "RGB", syntax)[132:] for syntax in NATIVE]
    return tuple(made)


KINDS: dict[str, Callable[[], tuple[bytes, ...]]] = {"images": originals, "dicom": dicom_files}


def _flipped(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 16)):
        # Half of them where headers and tables are.
        at = rng.randrange(len(data)) if rng.random() < 0.5 else min(int(rng.expovariate(1 / 100)), len(data) - 1)
        data[at] ^= 1 << rng.randrange(8)


def _chunk(data: bytearray, rng: random.Random) -> slice:
    start = rng.randrange(len(data))
    return slice(start, start + rng.randint(1, max(1, len(data) // 4)))


def _swapped(data: bytearray, rng: random.Random) -> None:
    one, other = _chunk(data, rng), _chunk(data, rng)
    data[one], data[other] = data[other], data[one]


def _dropped(data: bytearray, rng: random.Random) -> None:
    del data[_chunk(data, rng)]


def _repeated(data: bytearray, rng: random.Random) -> None:
    chunk = _chunk(data, rng)
    data[chunk] = data[chunk] * rng.randint(2, 4)


def _overwritten(data: bytearray, rng: random.Random) -> None:
    chunk = _chunk(data, rng)
    data[chunk] = rng.choice((b"\0", b"\xff", rng.randbytes(1))) * len(data[chunk])


def _spliced(data: bytearray, rng: random.Random) -> None:
    other = rng.choice(rng.choice((originals, dicom_files))())
    data[rng.randrange(len(data)) :] = other[rng.randrange(len(other)) :]


def _cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def _cut_and_ended(data: bytearray, rng: random.Random) -> None:
    jpeg = data.startswith(b"\xff\xd8")
    _cut(data, rng)
    if jpeg:
        data += b"\xff\xd9"


MUTATIONS: dict[str, Callable[[bytearray, random.Random], None]] = {
    "bits flipped": _flipped,
    "chunks swapped": _swapped,
    "chunk dropped": _dropped,
    "chunk repeated": _repeated,
    "chunk overwritten": _overwritten,
    "spliced with another": _spliced,
    "cut off": _cut,
    "cut off, then ended": _cut_and_ended,
}
CUT = ("cut off", "cut off, then ended")


def mutant(kind: str, number: int) -> tuple[str, bytes, bytes]:
    """What was done, to which file, and what came of it."""
    rng = random.Random(number)
    original, how = rng.choice(KINDS[kind]()), rng.choice(tuple(MUTATIONS))
    data = bytearray(original)
    MUTATIONS[how](data, rng)
    return how, original, bytes(data)


@cache
def _read(data: bytes) -> Image.Image:
    return decode.read(data, "black").image


def verdict(how: str, original: bytes, data: bytes) -> str:
    """"refused" or "read", or what should not be.

    Who has only a part of a file and reads it must have all the pixels that were in it. A picture that was damaged
    without loss of length may be read where its format has no sum to tell by.
    """  # fmt: skip
    try:
        image = decode.read(data, "black").image
    except ImageRefused as refusal:
        return "refused" if str(refusal).endswith(".") else "no sentence"
    if image.mode != "RGB" or len(image.tobytes()) != 3 * image.width * image.height:
        return "not whole"
    if how in CUT and image.tobytes() != _read(original).tobytes():
        return "a part read as the whole"
    return "read"


def cost(file: Path) -> dict[str, Any]:
    """Seconds of a core and bytes of memory that reading a file takes, and what is said of it."""
    status = Path("/proc/self/status")

    def peak() -> int:
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) * 1024

    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    before, began = peak(), time.process_time()
    try:
        picture = decode.read(file, "black")
        said, notes = None, list(picture.notes)
    except ImageRefused as refusal:
        said, notes = str(refusal), []
    return {"said": said, "notes": notes, "seconds": time.process_time() - began, "bytes": peak() - before}


def main(arguments: list[str]) -> None:
    """Read what the command line names."""
    # Pillow warns of much that is then refused; a warning a mutant would be a log of its own.
    warnings.simplefilter("ignore")
    if arguments[0] != "--mutants":
        for file in arguments:
            print(json.dumps(cost(Path(file))))
        return
    kind, first, end = arguments[1:]
    for number in range(int(first), int(end)):
        how, original, data = mutant(kind, number)
        signal.setitimer(signal.ITIMER_VIRTUAL, HANGS)
        began = time.process_time()
        seen = verdict(how, original, data)
        print(json.dumps((number, how, seen, round(time.process_time() - began, 4))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
