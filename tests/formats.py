"""Writes docs/FORMATS.md: it makes every kind of image in it, reads it and compares it with its 8-bit sRGB reference.

    python -m tests.formats             # write the table
    python -m tests.formats --check     # end with 1 where the table would be another

The pictures are the drawn examples; p(malignant) comes from the checkpoints of the repository. A kind is read rightly
where p differs from the twin's by at most WITHIN.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from functools import partial
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
from tests.support import print_profile
from tests.support.orientation import as_stored

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
CAREFUL: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95},
    "WEBP": {"lossless": True},
    "AVIF": {"quality": 95},
}
"""Options of the encoders, so that p changes by the reading and not by lost detail."""
HEAD = f"""# Formats

`python -m tests.formats` writes this page. It makes each of these files from a drawn example, reads it, and compares
p(malignant) with that of its reference: the same image as an 8-bit file in sRGB. The two differ by at most {WITHIN}.

- **Format.** The bytes of a file decide its format. Its suffix does not matter.
- **Colour.** Values are converted to sRGB by the file's ICC profile (relative colorimetric, black point compensation),
  by PNG's chunks cICP, sRGB, gAMA and cHRM, or by the code points of HEIC and AVIF. A profile that is damaged, does not
  fit or is larger than 4 MB is ignored, and a note says so. High dynamic range (PQ, HLG) is refused. No training image
  has a profile in the copies that we used. It is not known whether their originals had one.
- **Depth.** Values of more than 8 bits are scaled by the smallest of 8, 10, 12, 14 and 16 bits that holds 99.9% of
  them. The highest value is ignored if at most 5% of the pixels have it, because labels are burnt in at full scale.
  Floats from 0 to 1 are scaled. Other floats are refused, and the refusal gives their range.
- **Transparency.** Transparent parts become white in histopathology and black elsewhere. If the whole image is
  transparent, its transparency is ignored.
- **Several images in a file.** Reduced pages and thumbnails are ignored. Three planes that OME or ImageJ declare as
  channels become red, green and blue. More than two channels of unknown colour are refused. A HEIC gives its primary
  image. Of other pages the first is read, and a note says so.
- **Scale.** Histopathology takes the micrometres per pixel from TIFF (resolution tags in inch or centimetre, OME's
  PhysicalSize, Aperio's MPP, ImageJ's unit) and from PNG's pHYs, if they are between 0.1 and 4. The density of JPEG
  (JFIF) and the resolutions of screens and printers are ignored.
- **Size.** An image may have 40 megapixels. A JPEG of up to 160 megapixels is read at half its width and height. A
  JPEG 2000 may have 16 megapixels. An uploaded file may have 12 MB, and a file that `src.score` or the training reads
  from disk 250 MB.

| file | read as | p of the reference | p | notes or refusal |
| --- | --- | --- | --- | --- |
"""


class Kind(NamedTuple):
    """A kind of picture: what it is called, the task whose example it is made of, and how. `refused`: it must be."""

    name: str
    task: str
    make: Callable[[Image.Image], bytes]
    refused: bool = False


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


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


def deep_png(image: Image.Image, bits: int, alpha: bool) -> bytes:
    values = deep(image, bits)
    if alpha:
        values = np.dstack((values, np.full(values.shape[:2], 65535, np.uint16)))
    return bytes(imagecodecs.png_encode(values))


def as_tiff(image: Image.Image, bits: int = 8, **options: Any) -> bytes:
    return tiff(deep(image, bits) if bits > 8 else np.asarray(image), **options)


def float_tiff(image: Image.Image, full: float) -> bytes:
    """Floats; `full` is the value of white."""
    return tiff((np.asarray(image) * (full / 255)).astype(np.float32))


def by_imagecodecs(image: Image.Image, codec: str, bits: int = 8, **options: Any) -> bytes:
    values = deep(image, bits) if bits > 8 else np.asarray(image)
    return bytes(getattr(imagecodecs, f"{codec}_encode")(values, **options))


def in_space(image: Image.Image, space: str, kind: str) -> bytes:
    primaries, gamma = SPACES[space]
    profile = bytes(imagecodecs.cms_profile("rgb", whitepoint=D65, primaries=primaries, gamma=gamma))
    stored = ImageCms.profileToProfile(image.convert("RGB"), ImageCms.createProfile("sRGB"), BytesIO(profile))
    assert stored is not None
    return encoded(stored, kind, icc_profile=profile, **CAREFUL.get(kind, {}))


def in_print(image: Image.Image, kind: str) -> bytes:
    inks = print_profile.separated(image)
    return encoded(inks, kind, icc_profile=print_profile.profile(), **CAREFUL.get(kind, {}))


def turned(image: Image.Image, orientation: int, kind: str) -> bytes:
    image, exif = as_stored(image, orientation)
    return encoded(image, kind, exif=exif, **CAREFUL.get(kind, {}))


def planes(image: Image.Image, **options: bool) -> bytes:
    values = np.moveaxis(np.asarray(image), 2, 0)
    return tiff(values, photometric="minisblack", metadata={"axes": "CYX"}, **options)


def kinds() -> Iterator[Kind]:
    """Every kind that the table names."""
    tissue, breast = "histopathology", "ultrasound"
    plain: tuple[tuple[str, dict[str, Any]], ...] = (
        *((kind, {}) for kind in ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "AVIF", "JPEG2000")),
        ("JPEG", {"progressive": True}),
    )
    for kind, options in plain:
        how = {**CAREFUL.get(kind, {}), **options}
        yield Kind(", ".join((kind, *options)), "skin", partial(encoded, kind=kind, **how))
    yield Kind("HEIC", "skin", heic)
    for kind in ("JPEG", "PNG", "TIFF", "WEBP"):
        for orientation in TURNS:
            yield Kind(
                f"{kind}, orientation {orientation}", "skin", partial(turned, orientation=orientation, kind=kind)
            )
        for space in SPACES:
            yield Kind(f"{kind}, {space}", "skin", partial(in_space, space=space, kind=kind))
    for kind in ("JPEG", "TIFF"):
        yield Kind(f"{kind}, CMYK with a profile", "skin", partial(in_print, kind=kind))
    for bits in (10, 12, 14, 16):
        for task, colours in ((tissue, "RGB"), (breast, "grey")):
            depth = f"{colours}, {bits} of 16 bits"
            yield Kind(f"PNG, {depth}", task, partial(deep_png, bits=bits, alpha=False))
            yield Kind(f"PNG with alpha, {depth}", task, partial(deep_png, bits=bits, alpha=True))
            yield Kind(f"TIFF, {depth}", task, partial(as_tiff, bits=bits))
            yield Kind(f"JPEG 2000, {depth}", task, partial(by_imagecodecs, codec="jpeg2k", bits=bits, level=0))
    yield Kind("TIFF, floats from 0 to 1", tissue, partial(float_tiff, full=1))
    yield Kind("TIFF, floats from 0 to 255.5", tissue, partial(float_tiff, full=255.5), refused=True)
    for compression in ("lzw", "zlib", "packbits", "zstd", "lzma", "lerc", "jpeg2000"):
        yield Kind(f"TIFF, {compression}", tissue, partial(as_tiff, compression=compression))
    lossless: dict[str, Any] = {"compression": "webp", "compressionargs": {"lossless": True}}
    yield Kind("TIFF, webp", tissue, partial(as_tiff, **lossless))
    yield Kind("TIFF, jpegxl", tissue, partial(as_tiff, compression="jpegxl"), refused=True)
    for order, name in (("<", "little"), (">", "big")):
        yield Kind(f"BigTIFF, {name}-endian", tissue, partial(as_tiff, bigtiff=True, byteorder=order))
    yield Kind("OME-TIFF, axes CYX", tissue, partial(planes, ome=True))
    yield Kind("ImageJ TIFF, axes CYX", tissue, partial(planes, imagej=True))
    twelve = partial(by_imagecodecs, codec="jpeg", bits=12, bitspersample=12)
    yield Kind("JPEG, 12 bits", breast, twelve, refused=True)
    yield Kind("JPEG, lossless", breast, partial(by_imagecodecs, codec="ljpeg"), refused=True)
    yield Kind("JPEG XL", "skin", partial(by_imagecodecs, codec="jpegxl"), refused=True)
    yield Kind("GIF", "skin", partial(encoded, kind="GIF"), refused=True)


def rows() -> Iterator[tuple[str, bool]]:
    """A line of the table for each kind, and whether it holds."""
    predictors = {task: Predictor(checkpoints.find(task)) for task in EXAMPLES}
    examples: dict[str, Image.Image] = {}
    twins: dict[str, float] = {}
    for task, name in EXAMPLES.items():
        with Image.open(ROOT / "examples" / name) as file:
            examples[task] = file.convert("L" if predictors[task].task.colour == "grey" else "RGB")
        twins[task] = predictors[task].predict(encoded(examples[task], "PNG")).p_malignant
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
