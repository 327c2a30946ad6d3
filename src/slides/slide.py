"""A slide file -> pixels at any scale, by OpenSlide: RGB, sRGB, white where the scanner saw nothing.

Knows scales and levels, but no network and no tissue. It runs in a process of its own (src/slides/reader_program.py),
because OpenSlide and the decoders below it are C code that reads untrusted files.
"""

import hashlib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import openslide
from PIL import Image, ImageCms

from src.pictures import profiles
from src.pictures.picture import ImageRefused
from src.slides import dicom_colour

LEAST_MPP, MOST_MPP = 0.1, 2.0
"""Micrometres per pixel of a slide: a 100× objective gives 0.1, a 5× objective 2."""
ABOUT: Final = 0.1
"""A level whose scale differs from the wanted one by at most this share is read as it is."""
SAME: Final = 0.05
"""Pixels count as square, and a level as a copy of the slide, where width and height differ by at most this share."""
MOST_SIDE, MOST_PIXELS = 1_000_000, 10**11
"""Pixels of level 0. A slide of 26 × 76 mm at 0.1 µm per pixel has 0.2 × 10^12 with its label, and its tissue less."""
CACHE: Final = 2**23
"""Bytes of decoded tiles that OpenSlide keeps, for regions beside each other. Its default of 32 MB is no faster."""
MARGIN: Final = 2
"""Pixels of the result around a region that the bicubic filter reads too."""
ENDS: Final = 2**20
"""Bytes at the beginning and at the end of the file that are part of the fingerprint."""

NOT_A_SLIDE: Final = "This is not a slide that can be read (SVS, NDPI, MRXS, SCN, VMS, BIF, DICOM, or a TIFF in tiles)."
DAMAGED: Final = "The slide cannot be opened, because it is cut off, damaged or of a rare kind."
UNREADABLE: Final = "This part of the slide cannot be read, because the file is cut off or damaged."


class Level(NamedTuple):
    """A level of the pyramid: its number, its size in pixels, and how many pixels of level 0 make one of its own."""

    number: int
    width: int
    height: int
    downsample: float


class Reading(NamedTuple):
    """How pixels of a certain scale are read: from which level, and how many pixels of level 0 make one pixel."""

    level: Level
    scale: float

    @property
    def ratio(self) -> float:
        """Pixels of the level that make one pixel; below 1 where pixels are enlarged."""
        return self.scale / self.level.downsample


@dataclass(frozen=True)
class About:
    """What is known of a slide once it is open.

    `width` and `height`: of level 0, in pixels. `mpp`: micrometres per pixel of level 0. `stated_mpp`: what the file
    says, None where it says nothing that fits. `fingerprint`: changes with the content of the file. `notes`: what
    reading it changes, one sentence each.
    """

    vendor: str
    width: int
    height: int
    mpp: float
    stated_mpp: float | None
    levels: tuple[Level, ...]
    fingerprint: str
    notes: tuple[str, ...]

    def reading(self, mpp: float) -> Reading:
        """How pixels of about `mpp` micrometres are read.

        A level within ABOUT of it is taken as it is, so that nothing is resampled; else the nearest finer level, and
        level 0 where there is none.
        """
        near = min(self.levels, key=lambda level: abs(math.log(self.mpp * level.downsample / mpp)))
        if abs(self.mpp * near.downsample / mpp - 1) <= ABOUT:
            return Reading(near, near.downsample)
        finer = [level for level in self.levels if self.mpp * level.downsample < mpp]
        return Reading(max(finer, key=lambda level: level.downsample) if finer else self.levels[0], mpp / self.mpp)


class Slide:
    """An open slide.

    `mpp`: micrometres per pixel of level 0, whatever the file says; None if the file is to say it. Raises ImageRefused
    for a file that cannot be opened, or whose scale is unknown or no microscope's.
    """

    def __init__(self, path: Path, mpp: float | None = None) -> None:
        self._path, self._mpp = path, mpp
        self._opened = _open(path)
        self.about = self._describe()

    def read(self, how: Reading, x: int, y: int, width: int, height: int) -> np.ndarray:
        """The region at (x, y), in pixels of the scale `how`: uint8 (height, width, 3) in sRGB.

        What lies outside the slide, or was not scanned, is white. Raises ImageRefused where it cannot be read.
        """
        level, ratio = how.level, how.ratio
        if ratio == 1:
            left, upper, right, lower = x, y, x + width, y + height
        else:
            margin = MARGIN * max(ratio, 1)
            left, upper = math.floor(x * ratio - margin), math.floor(y * ratio - margin)
            right, lower = math.ceil((x + width) * ratio + margin), math.ceil((y + height) * ratio + margin)
        at = round(left * level.downsample), round(upper * level.downsample)
        try:
            region = self._opened.read_region(at, level.number, (right - left, lower - upper))
        except openslide.OpenSlideError as error:
            # After an error, an OpenSlide object answers nothing any more.
            self._opened.close()
            self._opened = _open(self._path)
            raise ImageRefused(UNREADABLE) from error
        rgb = self._converted(region)
        if ratio != 1:
            box = x * ratio - left, y * ratio - upper, (x + width) * ratio - left, (y + height) * ratio - upper
            rgb = rgb.resize((width, height), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0)
        # Converted last, when there are fewest pixels.
        if self._to_srgb is not None:
            ImageCms.applyTransform(rgb, self._to_srgb, inPlace=True)
        return np.asarray(rgb)

    def _converted(self, region: Image.Image) -> Image.Image:
        """A region, RGBA, as RGB over white."""
        alpha = region.getchannel("A")
        rgb = region.convert("RGB")
        if self._is_ycbcr:
            rgb = Image.merge("YCbCr", rgb.split()).convert("RGB")
        if alpha.getextrema() == (255, 255):
            return rgb
        return Image.composite(rgb, Image.new("RGB", rgb.size, "white"), alpha)

    def _describe(self) -> About:
        properties = self._opened.properties
        width, height = self._opened.dimensions
        if not (0 < width <= MOST_SIDE and 0 < height <= MOST_SIDE and width * height <= MOST_PIXELS):
            raise ImageRefused(f"The slide says that it has {width:,} × {height:,} pixels, which no slide has.")
        levels = []
        for number, (across, down) in enumerate(self._opened.level_dimensions):
            if across > 0 and down > 0 and abs((width / across) / (height / down) - 1) <= SAME:
                levels.append(Level(number, across, down, self._opened.level_downsamples[number]))
        stated = _stated_mpp(properties)
        notes: list[str] = []
        self._to_srgb = self._colour_conversion(notes)
        self._is_ycbcr = dicom_colour.is_mislabelled(self._path, properties)
        if self._is_ycbcr:
            notes.append(dicom_colour.NOTE)
        return About(
            vendor=properties.get(openslide.PROPERTY_NAME_VENDOR, ""),
            width=width,
            height=height,
            mpp=self._mpp if self._mpp is not None else _plausible(stated),
            stated_mpp=stated[0] if stated else None,
            levels=tuple(levels),
            fingerprint=_fingerprint(self._path, self._opened),
            notes=tuple(notes),
        )

    def _colour_conversion(self, notes: list[str]) -> ImageCms.ImageCmsTransform | None:
        try:
            profile = self._opened.color_profile
            conversion = profiles.conversion(profile.tobytes(), "RGB") if profile is not None else None
        except profiles.UNUSABLE:
            notes.append(profiles.IGNORED)
            return None
        if conversion is not None:
            notes.append(profiles.CONVERTED)
        return conversion


def _open(path: Path) -> openslide.OpenSlide:
    if not path.exists():
        raise ImageRefused("There is no file of this name.")
    if path.is_dir():
        raise ImageRefused("This is a folder; name a file of the slide in it.")
    try:
        opened = openslide.OpenSlide(path)
        opened.set_cache(openslide.OpenSlideCache(CACHE))
    except openslide.OpenSlideUnsupportedFormatError as error:
        raise ImageRefused(NOT_A_SLIDE) from error
    except openslide.OpenSlideError as error:
        raise ImageRefused(DAMAGED) from error
    return opened


def _stated_mpp(properties: Mapping[str, str]) -> tuple[float, float] | None:
    """The width and height of a pixel in micrometres, None where the file does not state both."""
    try:
        stated = tuple(float(properties[f"openslide.mpp-{axis}"]) for axis in "xy")
    except (KeyError, ValueError):
        return None
    return (stated[0], stated[1]) if all(map(math.isfinite, stated)) else None


def _plausible(stated: tuple[float, float] | None) -> float:
    """The micrometres per pixel that the file states. Raises ImageRefused where they cannot be used."""
    if stated is None:
        raise ImageRefused("The slide does not say how many micrometres a pixel has; state it by --mpp.")
    width, height = stated
    if abs(width - height) > SAME * max(map(abs, stated)):
        raise ImageRefused(
            f"The slide says that a pixel has {width:.3g} × {height:.3g} µm and is not square; state the true value by "
            "--mpp."
        )
    if not (min(stated) >= LEAST_MPP and max(stated) <= MOST_MPP):
        raise ImageRefused(
            f"The slide says that a pixel has {width:.3g} µm, which is not {LEAST_MPP:g} to {MOST_MPP:g}; state the "
            "true value by --mpp."
        )
    return (width + height) / 2


def _fingerprint(path: Path, opened: openslide.OpenSlide) -> str:
    """A SHA-256 that changes with the slide's content, without reading gigabytes."""
    found = hashlib.sha256(f"{opened.properties.get('openslide.quickhash-1')} {opened.level_dimensions}".encode())
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        found.update(f"{size}".encode() + file.read(ENDS))
        file.seek(max(0, size - ENDS))
        found.update(file.read(ENDS))
    return found.hexdigest()
