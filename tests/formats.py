"""Writes docs/FORMATS.md: every kind of picture named there is made, read and compared with its 8-bit sRGB twin.

    python -m tests.formats             # write the table
    python -m tests.formats --check     # end with 1 where the table would be another

The pictures are the drawn examples; p(malignant) comes from the checkpoints of the repository. A kind is read rightly
where p differs from the twin's by at most WITHIN.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
import pillow_heif
import tifffile
from PIL import Image, ImageCms

from src.models import checkpoints
from src.models.predictor import Predictor
from src.pictures import decode
from src.pictures.orientation import TURNS
from src.pictures.picture import ImageRefused

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "docs" / "FORMATS.md"
WITHIN = 0.02
EXAMPLES = {
    "skin": "skin/irregular.jpg",
    "ultrasound": "ultrasound/spiculated.jpg",
    "histopathology": "histopathology/nest.png",
}
D65 = (0.3127, 0.3290)
SPACES = {
    "Display P3": ((0.68, 0.32, 0.265, 0.69, 0.15, 0.06), 2.2),
    "Adobe RGB": ((0.64, 0.33, 0.21, 0.71, 0.15, 0.06), 563 / 256),
    "ProPhoto": ((0.7347, 0.2653, 0.1596, 0.8404, 0.0366, 0.0001), 1.8),
}
HEAD = f"""# What is read

Made by `python -m tests.formats`, which makes each of these files from a drawn example, reads it and compares
p(malignant) with that of the same picture as an 8-bit file in sRGB. Read rightly: they differ by at most {WITHIN}.
What a file is, its bytes say, not its name.

- **Colour.** Values are converted to sRGB by the file's ICC profile (relative colorimetric, black point compensation),
  by PNG's cICP, sRGB, gAMA and cHRM chunks, or by the code points of HEIC and AVIF. A profile that is damaged, does not
  fit or is larger than 4 MB is ignored, and a note says so. High dynamic range (PQ, HLG) is refused. The pictures that
  the models learned from carry no profile where they were seen; whether their originals did is not known.
- **Depth.** Values of more than 8 bits are scaled by the smallest of 8, 10, 12, 14 and 16 bits that holds 99.9% of
  them. The highest value is left out where at most 5% of the picture have it, as a label burnt in at full scale. Floats
  from 0 to 1 are scaled; others are refused with their range.
- **Transparency.** Transparent parts are white in histopathology and black elsewhere. An alpha of 0 everywhere is
  ignored.
- **Several pictures in a file.** Reduced pages and thumbnails are passed over. Three planes that OME or ImageJ call
  channels are put together as red, green and blue. Of other pages the first is read, and a note says so.
- **Size.** At most 40 megapixels; a JPEG up to 160 is read at half its width and height; JPEG 2000 up to 16.

| file | read as | p of the twin | p | notes or reason |
| --- | --- | --- | --- | --- |
"""


class Kind(NamedTuple):
    """A kind of picture: what it is called, the task whose example it is made of, and how. `refused`: it must be."""

    name: str
    task: str
    make: Callable[[Image.Image], bytes]
    refused: bool = False


def pillow(kind: str, **options: Any) -> Callable[[Image.Image], bytes]:
    def make(image: Image.Image) -> bytes:
        stream = BytesIO()
        image.save(stream, kind, **options)
        return stream.getvalue()

    return make


def heic(image: Image.Image, **options: Any) -> bytes:
    stream = BytesIO()
    pillow_heif.encode(image.mode, image.size, image.tobytes(), stream, quality=95, **options)
    return stream.getvalue()


def tiff(values: np.ndarray, **options: Any) -> bytes:
    stream = BytesIO()
    options.setdefault("photometric", "rgb" if values.ndim == 3 else "minisblack")
    tifffile.imwrite(stream, values, **{"metadata": None, **options})
    return stream.getvalue()


def deep(image: Image.Image, bits: int) -> np.ndarray:
    return np.asarray(image).astype(np.uint16) * np.uint16(2 ** (bits - 8))


def with_alpha(values: np.ndarray) -> np.ndarray:
    return np.dstack((values, np.full(values.shape[:2], 65535, np.uint16)))


def in_space(image: Image.Image, name: str, make: Callable[..., Callable[[Image.Image], bytes]], kind: str) -> bytes:
    primaries, gamma = SPACES[name]
    profile = imagecodecs.cms_profile("rgb", whitepoint=D65, primaries=primaries, gamma=gamma)
    stored = ImageCms.profileToProfile(image.convert("RGB"), ImageCms.createProfile("sRGB"), BytesIO(profile))
    assert stored is not None, "profileToProfile returns None only where it works in place"
    return make(kind, icc_profile=profile, **({"quality": 95} if kind == "JPEG" else {}))(stored)


def turned(image: Image.Image, orientation: int, kind: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    inverse = {6: 8, 8: 6}.get(orientation, orientation)
    return pillow(kind, exif=exif)(image.transpose(TURNS[inverse]))


def planes(image: Image.Image, **options: Any) -> bytes:
    values = np.moveaxis(np.asarray(image), 2, 0)
    return tiff(values, photometric="minisblack", metadata={"axes": "CYX"}, **options)


def bound(make: Callable[..., bytes], *values: Any) -> Callable[[Image.Image], bytes]:
    """`make(image, *values)` as a function of the image alone."""
    return lambda image: make(image, *values)


def kinds() -> Iterator[Kind]:
    """Every kind that the table names."""
    tissue, breast = "histopathology", "ultrasound"
    for kind, options in (
        *(("JPEG", {"quality": 95}), ("JPEG", {"quality": 95, "progressive": True}), ("PNG", {})),
        *(("WEBP", {"lossless": True}), ("BMP", {}), ("TIFF", {}), ("AVIF", {"quality": 95}), ("JPEG2000", {})),
    ):
        yield Kind(f"{kind}, {', '.join(options) or 'plain'}", "skin", pillow(kind, **options))
    yield Kind("HEIC", "skin", heic)
    for kind in ("JPEG", "PNG", "TIFF", "WEBP"):
        for orientation in (3, 6):
            yield Kind(
                f"{kind}, orientation {orientation}", "skin", bound(lambda i, o, k: turned(i, o, k), orientation, kind)
            )
        for space in SPACES:
            yield Kind(f"{kind}, {space}", "skin", bound(lambda i, s, k: in_space(i, s, pillow, k), space, kind))
    for bits in (10, 12, 14, 16):
        yield Kind(f"PNG, RGB, {bits} of 16 bits", tissue, bound(lambda i, b: imagecodecs.png_encode(deep(i, b)), bits))
        yield Kind(
            f"PNG, RGB and alpha, {bits} of 16 bits",
            tissue,
            bound(lambda i, b: imagecodecs.png_encode(with_alpha(deep(i, b))), bits),
        )
        yield Kind(
            f"PNG, grey, {bits} of 16 bits", breast, bound(lambda i, b: imagecodecs.png_encode(deep(i, b)), bits)
        )
        yield Kind(
            f"PNG, grey and alpha, {bits} of 16 bits",
            breast,
            bound(lambda i, b: imagecodecs.png_encode(with_alpha(deep(i, b))), bits),
        )
        yield Kind(f"TIFF, RGB, {bits} of 16 bits", tissue, bound(lambda i, b: tiff(deep(i, b)), bits))
        yield Kind(f"TIFF, grey, {bits} of 16 bits", breast, bound(lambda i, b: tiff(deep(i, b)), bits))
        yield Kind(
            f"JPEG 2000, RGB, {bits} of 16 bits",
            tissue,
            bound(lambda i, b: imagecodecs.jpeg2k_encode(deep(i, b), level=0), bits),
        )
    yield Kind("TIFF, RGB, floats from 0 to 1", tissue, lambda i: tiff(np.asarray(i) / np.float32(255)))
    yield Kind("TIFF, RGB, floats from 0 to 255", tissue, lambda i: tiff(np.asarray(i) / np.float32(1.001)), True)
    for compression in ("lzw", "zlib", "packbits", "zstd", "lzma", "lerc", "jpeg2000", "webp"):
        how = {"compressionargs": {"lossless": True}} if compression == "webp" else {}
        yield Kind(
            f"TIFF, {compression}",
            tissue,
            bound(lambda i, c, h: tiff(np.asarray(i), compression=c, **h), compression, how),
        )
    yield Kind("TIFF, jpegxl", tissue, lambda i: tiff(np.asarray(i), compression="jpegxl"), True)
    for order in "<>":
        yield Kind(
            f"BigTIFF, byte order {order}",
            tissue,
            bound(lambda i, o: tiff(np.asarray(i), bigtiff=True, byteorder=o), order),
        )
    yield Kind("OME-TIFF, axes CYX", tissue, lambda i: planes(i, ome=True))
    yield Kind("ImageJ TIFF, axes CYX", tissue, lambda i: planes(i, imagej=True))
    yield Kind("JPEG of 12 bits", breast, lambda i: imagecodecs.jpeg_encode(deep(i, 12), bitspersample=12), True)
    yield Kind("JPEG, lossless", breast, lambda i: imagecodecs.ljpeg_encode(np.asarray(i)), True)
    yield Kind("JPEG XL", "skin", lambda i: imagecodecs.jpegxl_encode(np.asarray(i)), True)
    yield Kind("GIF", "skin", pillow("GIF"), True)


def rows() -> Iterator[tuple[str, bool]]:
    """A line of the table for each kind, and whether it holds."""
    predictors = {task: Predictor(checkpoints.find(task)) for task in EXAMPLES}
    examples, twins = {}, {}
    for task, name in EXAMPLES.items():
        with Image.open(ROOT / "examples" / name) as file:
            examples[task] = file.convert("L" if predictors[task].task.colour == "grey" else "RGB")
        twins[task] = predictors[task].predict(pillow("PNG")(examples[task])).p_malignant
    for kind in kinds():
        predictor, twin = predictors[kind.task], twins[kind.task]
        try:
            picture = decode.read(kind.make(examples[kind.task]), predictor.task.background)
        except ImageRefused as refusal:
            yield f"| {kind.name} ({kind.task}) | refused | {twin:.2f} | | {refusal} |", kind.refused
            continue
        p = predictor.predict(picture).p_malignant
        size = f"{picture.image.width} × {picture.image.height}"
        yield (
            f"| {kind.name} ({kind.task}) | {size} | {twin:.2f} | {p:.2f} | {' '.join(picture.notes)} |",
            abs(p - twin) <= WITHIN and not kind.refused,
        )


def main() -> None:
    """Write or check the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.formats", description="The table of what is read.")
    parser.add_argument("--check", action="store_true", help="compare with the table instead of writing it")
    check = parser.parse_args().check
    made = list(rows())
    text = HEAD + "\n".join(line for line, _ in made) + "\n"
    wrong = [line for line, holds in made if not holds]
    print(f"{len(made)} kinds, {len(wrong)} wrong", *wrong, sep="\n")
    if not check:
        TABLE.write_text(text, encoding="utf-8")
    sys.exit(bool(wrong) or TABLE.read_text(encoding="utf-8") != text)


if __name__ == "__main__":
    main()
