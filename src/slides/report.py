"""slide.json: what a run says about one slide, as types. Knows no pixels and no file."""

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from src.slides.grid import Region
from src.slides.slide import About, Reading
from src.slides.tiles import HIGH, Tiles
from src.tasks import DISCLAIMER

NOT_CALIBRATED = (
    "highest and high_quantile are not probabilities that the slide is malignant: the networks learned tiles, and no "
    "slide had a label. docs/SLIDES.md says how to calibrate them with slides of your own."
)


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Place(_Block):
    """A rectangle in pixels of level 0."""

    x: int
    y: int
    width: int
    height: int


class FailedPlace(Place):
    """A part that could not be read, and the reason in one sentence."""

    reason: str


class HotSpot(Place):
    """A hot spot: its tile, the centre of the tile in millimetres, and its score. `unlike`: the gate rejects it."""

    x_mm: float
    y_mm: float
    p_malignant: float
    unlike: bool


class SlideReport(_Block):
    """The content of slide.json.

    `mpp`: micrometres per pixel of level 0, by `--mpp` where it differs from `stated_mpp`. `level`: the level that
    tiles are read from, and `tile_mpp` the micrometres per pixel of a tile. `stride_um` and `tile_um`: micrometres.
    `views`: passes of the network per tile. `tissue_fraction`: of the slide. `tiles`: those that were scored.
    `unlike_fraction`: the share of tiles that the gate rejects; null without a gate. `highest` and `high_quantile`: the
    highest p(malignant), and its 99.9th percentile. `area_mm2`: of the cells with p(malignant) >= `threshold`.
    `warnings`: sentences for the person. `complete`: whether every one of the `blocks` was read.
    """

    slide: str
    vendor: str
    fingerprint: str
    width: int
    height: int
    mpp: float
    stated_mpp: float | None
    level: int
    level_downsample: float
    tile_mpp: float
    tile_um: float
    stride_um: float
    model: str
    revision: str
    views: int
    all_tiles: bool
    tissue_fraction: float
    tissue_mm2: float
    tiles: int
    complete: bool
    blocks: int
    failed_blocks: list[FailedPlace]
    unlike_fraction: float | None
    threshold: float
    highest: float | None
    high_quantile: float | None
    area_mm2: float
    calibrated: bool
    spots: list[HotSpot]
    warnings: list[str]
    meaning: str = NOT_CALIBRATED
    disclaimer: str = DISCLAIMER


def quantile(tiles: Tiles) -> float | None:
    """The 99.9th percentile of p(malignant), None without tiles."""
    return float(np.quantile(tiles.p_malignant, HIGH)) if len(tiles.p_malignant) else None


def hot_spots(tiles: Tiles) -> list[HotSpot]:
    """The hot spots as they are reported."""
    return [
        HotSpot(**_place(one.box), x_mm=one.x_mm, y_mm=one.y_mm, p_malignant=one.p_malignant, unlike=one.unlike)
        for one in tiles.spots()
    ]


def failed_places(failed: Sequence[tuple[Region, str]], about: About, how: Reading) -> list[FailedPlace]:
    """The parts that could not be read, clipped to the slide. Their regions are in pixels of the scale `how`."""
    found = []
    for region, reason in failed:
        left, upper = max(0, round(region.x * how.scale)), max(0, round(region.y * how.scale))
        right = min(about.width, round((region.x + region.width) * how.scale))
        lower = min(about.height, round((region.y + region.height) * how.scale))
        found.append(FailedPlace(x=left, y=upper, width=right - left, height=lower - upper, reason=reason))
    return found


def _place(region: Region) -> dict[str, int]:
    return region._asdict()
