"""Unusual files over the API: read with the plain image's answer, or refused with a sentence."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image

from tests.support.api_calls import example, picture, saved, sentence


def header(side: int) -> bytes:
    """A PNG that claims side × side pixels and holds none."""
    parts = []
    for kind, body in (
        (b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\0" * 1000)),
        (b"IEND", b""),
    ):
        parts.append(struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


REFUSED = {
    "one_pixel.png": (lambda: saved(picture(size=(1, 1)), "PNG"), "1 × 1 pixels"),
    "text.jpg": (lambda: b"no picture at all", "not an image"),
    "empty.png": (lambda: b"", "empty"),
    "truncated.jpg": (lambda: saved(picture(size=(400, 300)), "JPEG")[:6000], "cut off"),
    "enormous.png": (lambda: header(40_000), "megapixels"),
    "animated.gif": (lambda: saved(picture(), "GIF"), "GIF"),
    "drawing.svg": (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("task", ["skin", "breastmnist"])
def test_what_cannot_be_read_is_refused_with_a_sentence(client: Client, tmp_path: Path, name: str, task: str) -> None:
    make, expected = REFUSED[name]
    (tmp_path / name).write_bytes(make())
    text = sentence(lambda: client.predict(handle_file(tmp_path / name), 0.3, "none", api_name=f"/{task}"))
    assert expected in text
    assert str(tmp_path) not in text
    assert client.predict(example(task), 0.3, "none", api_name=f"/{task}")[0]["task"] == task, "the worker lives"


def deep(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)


def turned(image: Image.Image) -> bytes:
    """The picture stored lying on its side, with the EXIF orientation that puts it upright again."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(image.transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif)


RIGHT: dict[str, tuple[Callable[[Image.Image], bytes], float, str]] = {
    # bytes, how far p(malignant) may be from the plain picture's, what the person is told
    "tiff.tif": (lambda image: saved(image, "TIFF"), 1e-6, ""),
    "bmp.bmp": (lambda image: saved(image, "BMP"), 1e-6, ""),
    "webp.webp": (lambda image: saved(image, "WEBP", lossless=True), 1e-6, ""),
    "wrong_suffix.txt": (lambda image: saved(image, "PNG"), 1e-6, ""),
    "exif.png": (turned, 1e-6, ""),
    "frames.png": (
        lambda image: saved(image, "PNG", save_all=True, append_images=[image.rotate(90)] * 2),
        1e-6,
        "only the first or main one was read",
    ),
    "frames.webp": (
        lambda image: saved(image, "WEBP", lossless=True, save_all=True, append_images=[image.rotate(90)]),
        1e-6,
        "only the first or main one was read",
    ),
    "cmyk.tif": (lambda image: saved(image.convert("CMYK"), "TIFF"), 0.1, "CMYK"),
}


@pytest.mark.parametrize("name", RIGHT)
def test_unusual_pictures_get_the_plain_ones_answer(client: Client, tmp_path: Path, name: str) -> None:
    make, tolerance, told = RIGHT[name]
    (tmp_path / "plain.png").write_bytes(saved(picture(), "PNG"))
    (tmp_path / name).write_bytes(make(picture()))
    plain, _ = client.predict(handle_file(tmp_path / "plain.png"), 0.3, "none", api_name="/skin")
    result, _ = client.predict(handle_file(tmp_path / name), 0.3, "none", api_name="/skin")
    assert result["p_malignant"] == pytest.approx(plain["p_malignant"], abs=tolerance)
    assert result["size"] == plain["size"]
    assert told in " ".join(result["quality"])


def test_deep_grey_and_a_palette_with_transparency(client: Client, tmp_path: Path) -> None:
    grey = picture("L")
    (tmp_path / "plain.png").write_bytes(saved(grey, "PNG"))
    (tmp_path / "deep.png").write_bytes(saved(deep(grey), "PNG"))
    (tmp_path / "palette.png").write_bytes(saved(grey.convert("P"), "PNG", transparency=0))
    plain, deep_grey, palette = (
        client.predict(handle_file(tmp_path / name), 0.3, "none", api_name="/ultrasound")[0]
        for name in ("plain.png", "deep.png", "palette.png")
    )
    assert deep_grey["p_malignant"] == pytest.approx(plain["p_malignant"], abs=1e-3)
    assert "16 bits" in " ".join(deep_grey["quality"])
    assert palette["task"] == "ultrasound"
