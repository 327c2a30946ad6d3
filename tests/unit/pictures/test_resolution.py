"""src/pictures/resolution.py: the micrometres per pixel that a file states, where they are a microscope's."""

from io import BytesIO
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from src.pictures import jpeg
from src.pictures.resolution import LEAST, MOST, plausible
from tests.unit.pictures.test_decode import read

VALUES = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
APERIO = (
    "Aperio Image Library v10.0\r\n46920x33014 [0,100 46000x32914] (240x240) {}JPEG/RGB Q=30|AppMag = 20|MPP = 0.499"
)


def tiff(**how: Any) -> bytes:
    stream = BytesIO()
    tifffile.imwrite(stream, VALUES, **{"photometric": "rgb", "metadata": None, **how})
    return stream.getvalue()


def ome(**stated: Any) -> bytes:
    return tiff(ome=True, metadata={"axes": "YXS", **stated})


def saved(kind: str, dpi: float) -> bytes:
    stream = BytesIO()
    Image.fromarray(VALUES).save(stream, kind, dpi=(dpi, dpi))
    return stream.getvalue()


STATED = {
    "tags, centimetre": (tiff(resolution=(40_000, 40_000), resolutionunit="CENTIMETER"), 0.25),
    "tags, inch": (tiff(resolution=(50_800, 50_800), resolutionunit="INCH"), 0.5),
    "OME": (ome(PhysicalSizeX=0.25, PhysicalSizeY=0.25), 0.25),
    "OME, µm": (ome(PhysicalSizeX=0.5, PhysicalSizeXUnit="µm", PhysicalSizeY=0.5, PhysicalSizeYUnit="µm"), 0.5),
    "OME, nm": (ome(PhysicalSizeX=970, PhysicalSizeXUnit="nm", PhysicalSizeY=970, PhysicalSizeYUnit="nm"), 0.97),
    "Aperio": (tiff(description=APERIO.format("")), 0.499),
    "Aperio, reduced": (tiff(description=APERIO.format("-> 11500x8228 ")), 4 * 0.499),
    "ImageJ": (tiff(imagej=True, resolution=(4, 4), metadata={"unit": "um"}), 0.25),
    "ImageJ, mm": (tiff(imagej=True, resolution=(2000, 2000), metadata={"unit": "mm"}), 0.5),
    "PNG": (saved("PNG", 25_400 / 0.25), 0.25),
}
NOT_STATED = {
    "72 per inch": tiff(resolution=(72, 72), resolutionunit="INCH"),
    "300 per inch": tiff(resolution=(300, 300), resolutionunit="INCH"),
    "no unit": tiff(resolution=(4, 4), resolutionunit="NONE"),
    "not square": tiff(resolution=(40_000, 20_000), resolutionunit="CENTIMETER"),
    "no tags": tiff(),
    "OME without a size": ome(),
    "OME, another unit": ome(PhysicalSizeX=1, PhysicalSizeXUnit="pixel", PhysicalSizeY=1, PhysicalSizeYUnit="pixel"),
    "Aperio without MPP": tiff(description=APERIO.format("").partition("|MPP")[0]),
    "ImageJ without a unit": tiff(imagej=True, resolution=(4, 4)),
    "PNG, 96 per inch": saved("PNG", 96),
    "JFIF": saved("JPEG", 25_400),
    "BMP": saved("BMP", 96),
}


@pytest.mark.parametrize("name", STATED)
def test_a_microscopes_scale_is_read(name: str) -> None:
    data, mpp = STATED[name]
    assert read(data).mpp == pytest.approx(mpp, rel=1e-3)


@pytest.mark.parametrize("name", NOT_STATED)
def test_any_other_scale_is_not(name: str) -> None:
    assert read(NOT_STATED[name]).mpp is None


@pytest.mark.parametrize("value", [b"\xff" * 8, b"\x00" * 8])
def test_a_damaged_tag_does_no_harm(value: bytes) -> None:
    whole = tiff(resolution=(40_000, 40_000), resolutionunit="CENTIMETER")
    at = whole.index((40_000).to_bytes(4, "little") + (1).to_bytes(4, "little"))
    assert read(whole[:at] + value + whole[at + 8 :]).mpp is None


def test_the_page_that_is_read_states_its_own_scale() -> None:
    stream = BytesIO()
    with tifffile.TiffWriter(stream) as file:
        file.write(VALUES[::2, ::2], subfiletype=1, resolution=(10_000, 10_000), resolutionunit="CENTIMETER")
        file.write(VALUES, resolution=(20_000, 20_000), resolutionunit="CENTIMETER")
    picture = read(stream.getvalue())
    assert picture.image.size == (80, 60)
    assert picture.mpp == pytest.approx(0.5)


@pytest.mark.parametrize(("size", "found"), [((LEAST, LEAST), LEAST), ((MOST, MOST), MOST), ((0.099, 0.099), None)])
def test_the_limits(size: tuple[float, float], found: float | None) -> None:
    assert plausible({"mpp": size}) == found


def test_a_jpeg_that_is_read_smaller_has_larger_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jpeg, "MAX_PIXELS", 3_000)
    monkeypatch.setattr(jpeg, "MOST_PIXELS", 12_000)
    picture = read(saved("JPEG", 72))
    assert picture.image.size == (40, 30)
    assert picture.at(0.25).mpp == 0.5
    assert picture.at(None).mpp is None
