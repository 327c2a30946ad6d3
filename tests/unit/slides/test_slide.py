"""Opening and reading slides: scale, levels, colours, and what is refused."""

import itertools
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile

from src.pictures import profiles
from src.pictures.picture import ImageRefused
from src.slides import dicom_colour
from src.slides.slide import About, Level, Reading, Slide
from tests.support import dicom_slide, slide_files

PINK, PURPLE = (230, 120, 180), (90, 40, 120)


def patches(side: int = 512) -> np.ndarray:
    """Pink with a purple square."""
    pixels = np.full((side, side, 3), PINK, np.uint8)
    pixels[side // 4 : side // 2, side // 4 : side // 2] = PURPLE
    return pixels


def about(mpp: float, *downsamples: float) -> About:
    levels = tuple(Level(n, round(8000 / d), round(8000 / d), d) for n, d in enumerate(downsamples))
    return About("", 8000, 8000, mpp, mpp, levels, "", ())


@pytest.mark.parametrize(
    ("mpp", "downsamples", "level", "ratio"),
    [
        (0.25, (1, 4, 16), 1, 1),  # 1.0 µm is within 10% of 0.97
        (0.25, (1, 2, 8), 1, 1.94),
        (0.25, (1,), 0, 3.88),
        (0.5, (1, 2, 4), 1, 1),
        (0.23, (1, 4, 16), 1, 1),  # 0.92
        (0.21, (1, 4, 16), 1, 0.97 / 0.84),
        (0.97, (1, 4), 0, 1),
        (1.2, (1, 4), 0, 0.97 / 1.2),
        (0.1, (1, 32), 0, 9.7),
    ],
)
def test_the_level_is_the_nearest_or_the_next_finer_one(
    mpp: float, downsamples: tuple[float, ...], level: int, ratio: float
) -> None:
    found = about(mpp, *downsamples).reading(0.97)
    assert found.level.number == level
    assert found.ratio == pytest.approx(ratio)


@pytest.mark.parametrize("mpp", [None, 0.02, 3.0, 264.6])
def test_an_unknown_or_impossible_scale_is_refused_and_can_be_stated(mpp: float | None, tmp_path: Path) -> None:
    file = slide_files.write(tmp_path / "slide.tif", patches(), mpp)
    with pytest.raises(ImageRefused, match="--mpp"):
        Slide(file)
    slide = Slide(file, 0.5)
    assert slide.about.mpp == 0.5


@pytest.mark.parametrize(("down", "said"), [(10_000, "0.5 × 1 µm"), (26, "0.5 × 385 µm")])
def test_pixels_that_are_not_square_are_refused(down: int, said: str, tmp_path: Path) -> None:
    file = slide_files.write(
        tmp_path / "slide.tif", patches(), None, resolution=(20_000, down), resolutionunit="CENTIMETER"
    )
    with pytest.raises(ImageRefused, match=f"{said} and is not square"):
        Slide(file)


def test_a_region_is_the_same_from_any_level_and_at_any_place(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = slide_files.reduced(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8), 1 / 16)
    slide = Slide(slide_files.write(tmp_path / "slide.tif", pixels, 0.25, (1, 4), compression=None))
    fine, coarse = slide.about.levels
    whole = slide.read(Reading(fine, 4.0), 0, 0, 256, 256).astype(int)
    level = slide.read(Reading(coarse, 4.0), 0, 0, 256, 256).astype(int)
    assert np.abs(whole - level)[2:-2, 2:-2].mean() < 1
    for x, y in itertools.product((0, 37, 200), (0, 51)):
        part = slide.read(Reading(fine, 4.0), x, y, 40, 30).astype(int)
        assert np.abs(part - whole[y : y + 30, x : x + 40]).max() <= 2
    outside = slide.read(Reading(fine, 4.0), 240, -20, 60, 60)
    assert (outside[:18] == 255).all()
    assert (outside[:, 18:] == 255).all()


def test_what_was_not_scanned_is_white(tmp_path: Path) -> None:
    pixels = patches()
    tiles = [pixels[:256, :256], None, None, pixels[256:, 256:]]
    with tifffile.TiffWriter(tmp_path / "sparse.tif") as out:
        out.write(
            iter(tiles), shape=pixels.shape, dtype=np.uint8, tile=(256, 256), photometric="rgb", metadata=None,
            resolution=(20_000, 20_000), resolutionunit="CENTIMETER",
        )  # fmt: skip
    slide = Slide(tmp_path / "sparse.tif")
    read = slide.read(slide.about.reading(0.5), 0, 0, 512, 512)
    assert (read[:256, 256:] == 255).all()
    assert (read[10, 10] == PINK).all()


def test_the_profile_of_the_scanner_is_honoured(tmp_path: Path) -> None:
    wide = bytes(imagecodecs.cms_profile("rgb", whitepoint=profiles.D65, primaries=profiles.PRIMARIES[9], gamma=2.2))
    plain, profiled = (
        Slide(slide_files.write(tmp_path / name, patches(), 0.97, compression=None, **options))
        for name, options in (("plain.tif", {}), ("profiled.tif", {"iccprofile": wide}))
    )
    assert profiles.CONVERTED in profiled.about.notes
    first, second = (slide.read(slide.about.reading(0.97), 0, 0, 50, 50)[20, 20] for slide in (plain, profiled))
    assert (first == PINK).all()
    assert second[1] < first[1], "BT.2020 has more saturated primaries"


def test_a_damaged_profile_is_said(tmp_path: Path) -> None:
    file = slide_files.write(tmp_path / "slide.tif", patches(), 0.97, compression=None, iccprofile=b"no profile" * 20)
    slide = Slide(file)
    assert profiles.IGNORED in slide.about.notes
    assert (slide.read(slide.about.reading(0.97), 0, 0, 50, 50)[20, 20] == PINK).all()


@pytest.mark.parametrize(("photometric", "jpeg_colours"), [("YBR_FULL_422", "YCbCr"), ("RGB", "YCbCr"), ("RGB", "RGB")])
def test_dicom_colours_are_right_whatever_the_header_says(photometric: str, jpeg_colours: str, tmp_path: Path) -> None:
    slide = Slide(dicom_slide.write(tmp_path / "slide.dcm", patches(), 0.97, photometric, jpeg_colours))
    read = slide.read(slide.about.reading(0.97), 0, 0, 512, 512).astype(int)
    assert np.abs(read[10, 10] - PINK).max() <= 3
    assert np.abs(read[200, 200] - PURPLE).max() <= 3
    assert (dicom_colour.NOTE in slide.about.notes) == (photometric != "YBR_FULL_422" and jpeg_colours == "YCbCr")


def test_other_files_are_refused_by_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.svs").write_text("no slide")
    tifffile.imwrite(tmp_path / "strips.tif", patches())
    for path, sentence in (
        (tmp_path / "text.svs", "not a slide"),
        (tmp_path / "strips.tif", "not a slide"),
        (tmp_path, "folder"),
        (tmp_path / "missing.svs", "no file"),
    ):
        with pytest.raises(ImageRefused, match=sentence):
            Slide(path)


def test_a_slide_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    file = slide_files.write(tmp_path / "slide.tif", patches(), 0.97)
    with tifffile.TiffFile(file, mode="r+b") as opened:
        opened.pages[0].tags["ImageWidth"].overwrite(3_000_000)
    with pytest.raises(ImageRefused):
        Slide(file).read(Slide(file).about.reading(0.97), 0, 0, 100, 100)


def test_the_fingerprint_changes_with_the_content_alone(tmp_path: Path) -> None:
    pixels = patches()
    first = slide_files.write(tmp_path / "a.tif", pixels, 0.97)
    same = tmp_path / "b.tif"
    same.write_bytes(first.read_bytes())
    pixels[0, 0] = 0
    other = slide_files.write(tmp_path / "c.tif", pixels, 0.97, compression=None)
    prints = [Slide(file).about.fingerprint for file in (first, same, other)]
    assert prints[0] == prints[1] != prints[2]
