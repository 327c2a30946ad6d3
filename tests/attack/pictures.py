"""Files that are no images, and images that cost too much (section 3)."""

import hashlib
import json
import signal
import struct
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import PIL
import pillow_heif
import pydicom
import tifffile
from PIL import Image
from pydicom import uid
from pydicom.encaps import encapsulate

from src.pictures import decode
from tests.attack import reading
from tests.attack.bench import Bench, Checks, memory
from tests.attack.row import Row
from tests.attack.visitor import Visitor, content
from tests.support.app import ROOT
from tests.support.dicom_files import attributes, drawn, file_of, of_image
from tests.support.tiff_tiles import tiff_tile

SECONDS, MEMORY = 1, 50_000_000
MUTANTS, DICOM_MUTANTS, FEW_MUTANTS = 100_000, 20_000, 300


def png(side: int) -> bytes:
    """A complete PNG of side × side black pixels."""
    return strip(side, side)


def strip(width: int, height: int) -> bytes:
    """A complete PNG of width × height black pixels."""
    rows = zlib.compressobj(9)
    pixels = b"".join(rows.compress(bytes(width + 1)) for _ in range(height)) + rows.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def film(kind: str, frames: int) -> bytes:
    """A file of many frames."""
    first, *others = [Image.new("L", (64, 64), i % 2 * 128 + i % 100) for i in range(frames)]
    stream = BytesIO()
    first.save(stream, kind, save_all=True, append_images=others)
    return stream.getvalue()


def pages(number: int) -> bytes:
    """A TIFF of so many pages, which all say that they are the first."""
    data = bytearray(film("TIFF", 1))
    (first,) = struct.unpack_from("<I", data, 4)
    size = 2 + 12 * struct.unpack_from("<H", data, first)[0]
    directory = bytes(data[first : first + size])
    data += bytes(len(data) % 2)
    struct.pack_into("<I", data, first + size, len(data))
    for page in range(1, number):
        after = len(data) + size + 4 if page + 1 < number else 0
        data += directory + struct.pack("<I", after)
    return bytes(data)


def chunked(kind: bytes, head: bytes) -> bytes:
    """A PNG with a further chunk, whose text or profile unpacks to a gigabyte."""
    packer = zlib.compressobj(9)
    body = head + b"".join(packer.compress(bytes(10**6)) for _ in range(1000)) + packer.flush()
    start = 8 + 25  # behind the signature and IHDR
    picture = png(64)
    chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return picture[:start] + chunk + picture[start:]


def claiming(kind: str, box: bytes, offset: int) -> bytes:
    """A small picture whose header claims 60,000 × 60,000 pixels: the sides stand `offset` bytes behind `box`."""
    stream = BytesIO()
    Image.new("RGB", (64, 64), (120, 60, 30)).save(stream, kind)
    data = bytearray(stream.getvalue())
    struct.pack_into(">II", data, data.index(box) + offset, 60_000, 60_000)
    return bytes(data)


def wide_webp() -> bytes:
    """A small WebP whose header claims 16,384 × 16,384 pixels."""
    stream = BytesIO()
    Image.new("RGB", (64, 64), (120, 60, 30)).save(stream, "WEBP", lossless=True)
    data = bytearray(stream.getvalue())
    struct.pack_into("<I", data, data.index(b"VP8L") + 9, 0xFFFFFFF)
    return bytes(data)


def unpacking(compression: str, packed: Callable[[], bytes]) -> bytes:
    """A TIFF of 64 × 64 pixels, whose only strip unpacks to a gigabyte."""
    stream = BytesIO()
    shape = {"shape": (64, 64, 3), "dtype": np.uint8, "rowsperstrip": 64}
    tifffile.imwrite(stream, iter([packed()]), photometric="rgb", compression=compression, metadata=None, **shape)
    return stream.getvalue()


def zlib_gigabyte() -> bytes:
    """Zeros, packed by Deflate."""
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(10**6)) for _ in range(1000)) + packer.flush()


def zstd_gigabyte() -> bytes:
    """Zeros, packed by Zstandard."""
    return bytes(imagecodecs.zstd_encode(bytes(10**9)))


def dicom_with(elements: bytes) -> bytes:
    """A DICOM file with further elements before its image."""
    data = of_image(drawn(), "RGB", uid.ExplicitVRLittleEndian)
    start = data.index(b"\x28\0\x02\0")
    return data[:start] + elements + data[start:]


def dicom_claiming(syntax: str, **claims: int) -> bytes:
    """A small DICOM file with other attributes than its image has."""
    return of_image(drawn(), "RGB", syntax, **claims)


def dicom_of(frame: bytes, syntax: str) -> bytes:
    """A DICOM file of 128 × 160 pixels with this compressed frame."""
    data = attributes(128, 160, 3, "RGB")
    data.PixelData = encapsulate([frame])
    data["PixelData"].VR = "OB"
    return file_of(data, syntax)


def claiming_jpeg(side: int) -> bytes:
    """A small JPEG whose header claims side × side pixels."""
    stream = BytesIO()
    Image.new("RGB", (64, 64), (120, 60, 30)).save(stream, "JPEG")
    data = bytearray(stream.getvalue())
    struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, side, side)
    return bytes(data)


def deflated_gigabyte() -> bytes:
    """A deflated DICOM file of a few attributes and a gigabyte of zeros."""
    data = of_image(drawn(), "RGB", uid.DeflatedExplicitVRLittleEndian)
    start = 132 + 12 + struct.unpack_from("<I", data, 140)[0]
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return data[:start] + b"".join(packer.compress(bytes(10**6)) for _ in range(1000)) + packer.flush()


NATIVE = uid.ExplicitVRLittleEndian
NESTED = b"\x09\0\x02\x10SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff"
"""The start of a private sequence of undefined length, and of its first item."""


# What is refused: name -> the file, and a word of the sentence that says why.
BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "PNG of 13,300 × 13,300 pixels": (lambda: png(13_300), "40 megapixels"),
    "PNG of 20,000 × 20,000 pixels": (lambda: png(20_000), "40 megapixels"),
    "PNG of 160,000 × 28 pixels": (lambda: strip(160_000, 28), "20 times"),
    "PNG of 28 × 160,000 pixels": (lambda: strip(28, 160_000), "20 times"),
    "GIF of 300 frames": (lambda: film("GIF", 300), "GIF"),
    "TIFF of 300 pages": (lambda: film("TIFF", 300), "pages"),
    "TIFF that claims 60,000 pages": (lambda: pages(60_000), "pages"),
    "WebP of 300 frames": (lambda: film("WEBP", 300), "frames"),
    "PNG of 300 frames": (lambda: film("PNG", 300), "frames"),
    "EPS named .png": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\nshowpage\n" * 1000, "PostScript"),
    "PSD named .png": (lambda: b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 30_000, 30_000, 8, 3), "Photoshop"),
    "SVG named .png": (lambda: b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
    "SVG behind a long comment": (lambda: b"<?xml version='1.0'?><!--" + b"a" * 10**6 + b"--><svg/>", "not an image"),
    "PNG whose profile unpacks to 1 GB": (lambda: chunked(b"iCCP", b"p\0\0"), "damaged"),
    "PNG whose text unpacks to 1 GB": (lambda: chunked(b"zTXt", b"p\0\0"), "damaged"),
    "HEIC that claims 60,000 × 60,000 pixels": (lambda: claiming("HEIF", b"ispe", 8), "40 megapixels"),
    "AVIF that claims 60,000 × 60,000 pixels": (lambda: claiming("AVIF", b"ispe", 8), "damaged"),
    "JPEG 2000 that claims 60,000 × 60,000 pixels": (lambda: claiming("JPEG2000", b"\xff\x51", 6), "16 megapixels"),
    "WebP that claims 16,384 × 16,384 pixels": (wide_webp, "40 megapixels"),
    "TIFF whose JPEG tile claims 65,500 × 65,500 pixels": (lambda: tiff_tile("JPEG", 65_500), "larger size"),
    "TIFF whose JPEG 2000 tile claims 60,000 × 60,000 pixels": (lambda: tiff_tile("JPEG 2000", 60_000), "larger size"),
    "TIFF whose LERC tile claims 60,000 × 60,000 pixels": (lambda: tiff_tile("LERC", 60_000), "larger size"),
    "TIFF whose WebP tile claims 16,383 × 16,383 pixels": (lambda: tiff_tile("WebP", 16_383), "larger size"),
    "TIFF whose Deflate strip unpacks to 1 GB": (lambda: unpacking("zlib", zlib_gigabyte), "damaged"),
    "TIFF whose Zstandard strip unpacks to 1 GB": (lambda: unpacking("zstd", zstd_gigabyte), "damaged"),
    "DICOM that claims 65,000 × 65,000 pixels": (
        lambda: dicom_claiming(NATIVE, Rows=65_000, Columns=65_000),
        "40 megapixels",
    ),
    "DICOM that claims 1,000,000,000 frames": (lambda: dicom_claiming(NATIVE, NumberOfFrames=10**9), "frames"),
    "DICOM whose JPEG claims 65,500 × 65,500 pixels": (
        lambda: dicom_of(claiming_jpeg(65_500), uid.JPEGBaseline8Bit),
        "another size",
    ),
    "DICOM whose JPEG 2000 claims 60,000 × 60,000 pixels": (
        lambda: dicom_of(claiming("JPEG2000", b"\xff\x51", 6), uid.JPEG2000),
        "damaged",
    ),
    "DICOM that inflates to 1 GB": (deflated_gigabyte, "memory"),
    "DICOM with a million private elements": (lambda: dicom_with(b"\x09\0\x01\x10LO\0\0" * 10**6), "parts"),
    "DICOM of 100,000 nested sequences": (lambda: dicom_with(NESTED * 100_000), "damaged"),
    "PDF named .png": (lambda: b"%PDF-1.7\n" + b"1 0 obj <<>> endobj\n" * 10_000, "PDF"),
}


def bombs(bench: Bench) -> Iterator[Row]:
    """Each read in a process of its own, then given to the app."""
    files = [bench.folder / f"{number}.png" for number in range(len(BOMBS))]
    for file, (make, _) in zip(files, BOMBS.values(), strict=True):
        file.write_bytes(make())
    alone = [sys.executable, "-m", "tests.attack.reading", *map(str, files)]
    costs = map(json.loads, subprocess.check_output(alone, cwd=ROOT, text=True).splitlines())
    visitor = Visitor(bench.app.url)
    for file, cost, (name, (_, word)) in zip(files, costs, BOMBS.items(), strict=True):
        held = memory(bench.app.process.pid)
        said = visitor.ask("skin", [visitor.upload(file.read_bytes(), file.name), 0.3, "none"])
        grown = memory(bench.app.process.pid) - held
        refused = cost["said"] is not None and word in cost["said"] and cost["said"] == content(said).get("error")
        yield Row(
            3,
            f"{name}, {file.stat().st_size / 1e6:.1f} MB",
            2,
            f"“{cost['said']}” Alone it takes {cost['seconds']:.2f} s of a core and {cost['bytes'] / 1e6:.0f} MB; "
            f"the app {'says the same' if refused else 'SAYS OTHERWISE'} and holds {max(0, grown) / 1e6:.0f} MB more.",
            refused and cost["seconds"] < SECONDS and max(cost["bytes"], grown) < MEMORY,
        )


def _made_by() -> str:
    """Of what the counts depend on: the code that mutates, the code that reads, the decoders' versions."""
    files = [Path(reading.__file__), *sorted(Path(decode.__file__).parent.glob("*.py"))]
    decoders = (PIL, imagecodecs, pillow_heif, tifffile, pydicom)
    versions = " ".join(module.__version__ for module in decoders).encode()
    return hashlib.sha256(b"".join(file.read_bytes() for file in files) + versions).hexdigest()


def mutants(bench: Bench) -> Iterator[Row]:
    """Mutants of pictures."""
    kinds = "JPEG, PNG, WebP, TIFF, BMP, HEIC, AVIF and JPEG 2000 files"
    yield from _mutants(bench, "images", FEW_MUTANTS if bench.short else MUTANTS, kinds)


def dicom_mutants(bench: Bench) -> Iterator[Row]:
    """Mutants of DICOM files."""
    yield from _mutants(
        bench, "dicom", FEW_MUTANTS if bench.short else DICOM_MUTANTS, "DICOM files of every transfer syntax"
    )


def _mutants(bench: Bench, kind: str, wanted: int, kinds: str) -> Iterator[Row]:
    """Read in one process after another; kept in runs/attack, so that what was interrupted goes on where it was."""
    kept = (bench.folder if bench.short else ROOT / "runs" / "attack") / f"mutants-{kind}.json"
    kept.parent.mkdir(parents=True, exist_ok=True)
    state: dict[str, Any] = json.loads(kept.read_text()) if kept.is_file() else {}
    if state.get("made_by") != _made_by():
        state = {"made_by": _made_by(), "next": 0, "seconds": 0.0, "longest": 0.0, "seen": {}, "wrong": []}
    seen = Counter(state["seen"])
    while state["next"] < wanted:
        first = state["next"]
        with subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.attack.reading",
                "--mutants",
                kind,
                str(first),
                str(min(wanted, first + 1000)),
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # libtiff's own words about each
            text=True,
        ) as child:
            assert child.stdout
            for line in child.stdout:
                number, how, verdict, seconds = json.loads(line)
                seen[verdict] += 1
                state["next"] = number + 1
                state["seconds"] += seconds
                state["longest"] = max(state["longest"], seconds)
                if verdict not in ("read", "refused"):
                    state["wrong"].append((number, how, verdict))
        if child.returncode:
            verdict = "hung" if child.returncode == -signal.SIGVTALRM else f"ended with {child.returncode}"
            seen[verdict] += 1
            state["wrong"].append((state["next"], "", verdict))
            state["next"] += 1
        state["seen"] = dict(seen)
        kept.write_text(json.dumps(state))
    some = ", ".join(f"number {number} {how} {verdict}" for number, how, verdict in state["wrong"][:5])
    yield Row(
        3,
        f"Mutated {kinds} read: bits flipped, cut off, chunks swapped, dropped, repeated, overwritten, spliced",
        state["next"],
        f"{seen['refused']:,} refused with a sentence, {seen['read']:,} read whole; "
        f"{len(state['wrong'])} crashes, hangs over {reading.HANGS} s, other errors or parts read as the whole "
        f"({some or 'none'}); the longest took {state['longest']:.2f} s of a core, all {state['seconds']:.0f} s.",
        not state["wrong"],
    )


CHECKS: Checks = {3: (bombs, mutants, dicom_mutants)}
