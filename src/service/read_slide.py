"""Answers the page's calls about a slide: what the viewer needs, a tile of the viewer, and a tile with its heat map.

The slides are the operator's own. They are decoded in the worker processes, which can be killed at any moment. The
functions raise ImageRefused with one sentence for the visitor. They know nothing of Gradio, HTTP or HTML.
"""

import base64
import io
import json
import math
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image
from pydantic import BaseModel, ValidationError

from src.exports import heat_map
from src.pictures.picture import ImageRefused, Picture
from src.service.model_loading import Models
from src.slides import files
from src.slides.report import SlideReport
from src.slides.slide import Reading, Slide
from src.tasks import TASKS

if TYPE_CHECKING:
    from src.models.predictor import Predictor

TASK: Final = next(task for task in TASKS.values() if task.mpp is not None)
TILE: Final = 512
"""Pixels of a tile of the viewer."""
COARSEST: Final = 8
"""Pixels of a level that make one pixel of the viewer, at most. A slide that needs more has no pyramid."""
OPEN: Final = 2
"""Slides that a process keeps open."""
QUALITY: Final = 85
NONE: Final = 255
"""The level of a cell without a score."""

NO_PYRAMID: Final = "This slide has no smaller levels, so it cannot be shown; its scores can be read with QuPath."
NO_TILE: Final = "There is no such tile."
DAMAGED: Final = "The scores of this slide cannot be read; the operator can compute them again."


class Viewed(BaseModel):
    """What the viewer needs of a slide.

    `coarsest`: how many pixels of level 0 make one pixel of the coarsest tiles, a power of two. `report`: slide.json;
    None for a slide that was not scored. `scores`: p(malignant) of the cells in 0 to 254, row by row, 255 where there
    is none, base64. `rows` and `columns`: of these cells, and `cell`: their side in pixels of level 0.
    """

    width: int
    height: int
    mpp: float
    tile: int
    coarsest: int
    report: SlideReport | None = None
    scores: str = ""
    rows: int = 0
    columns: int = 0
    cell: float = 0.0
    palette: str = ""


class TileAnswer(BaseModel):
    """The answer about one tile: its place in pixels of level 0, p(malignant), and a PNG of its heat map, base64."""

    x: int
    y: int
    side: int
    p_malignant: float
    unlike: bool
    heatmap: str


def view(_: Models, file: str, scores: str) -> Viewed:
    """What the viewer needs of the slide `file`, whose scores are in the folder `scores`."""
    about = _opened(file).about
    longest = max(about.width, about.height)
    coarsest = 2 ** math.ceil(math.log2(max(1, longest / TILE)))
    if coarsest / max(level.downsample for level in about.levels) > COARSEST:
        raise ImageRefused(NO_PYRAMID)
    viewed = Viewed(width=about.width, height=about.height, mpp=about.mpp, tile=TILE, coarsest=coarsest)
    if not (Path(scores) / files.REPORT).is_file():
        return viewed
    try:
        report = SlideReport.model_validate(json.loads((Path(scores) / files.REPORT).read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        raise ImageRefused(DAMAGED) from error
    if report.fingerprint != about.fingerprint:
        raise ImageRefused(DAMAGED)
    values = files.read_map(Path(scores), report)
    levels = np.where(np.isnan(values), NONE, np.rint(values * (NONE - 1))).astype(np.uint8)
    return viewed.model_copy(
        update={
            "report": report,
            "scores": base64.b64encode(levels.tobytes()).decode(),
            "rows": levels.shape[0],
            "columns": levels.shape[1],
            "cell": files.cell_side(report),
            "palette": base64.b64encode(heat_map.palette()).decode(),
        }
    )


def zoom_tile(_: Models, file: str, scale: int, column: int, row: int) -> bytes:
    """A tile of the viewer, JPEG: TILE × TILE pixels of `scale` pixels of level 0 each, smaller at the slide's edge."""
    slide = _opened(file)
    about = slide.about
    finer = [level for level in about.levels if level.downsample <= scale * 1.01]
    if scale < 1 or not finer:
        raise ImageRefused(NO_TILE)
    how = Reading(max(finer, key=lambda level: level.downsample), float(scale))
    width, height = math.ceil(about.width / scale), math.ceil(about.height / scale)
    x, y = column * TILE, row * TILE
    if not (0 <= x < width and 0 <= y < height) or how.ratio > COARSEST:
        raise ImageRefused(NO_TILE)
    pixels = slide.read(how, x, y, min(TILE, width - x), min(TILE, height - y))
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=QUALITY)
    return out.getvalue()


def tile_at(models: Models, file: str, x: float, y: float) -> TileAnswer:
    """The network's answer about the tile around a point, in pixels of level 0, with its Grad-CAM."""
    slide, predictor = _opened(file), models[TASK.name]
    assert TASK.mpp is not None
    how, side = slide.about.reading(TASK.mpp), TASK.input_side
    if not (0 <= x < slide.about.width and 0 <= y < slide.about.height):
        raise ImageRefused(NO_TILE)
    left, upper = round(x / how.scale - side / 2), round(y / how.scale - side / 2)
    image = Image.fromarray(slide.read(how, left, upper, side, side))
    return _explained(predictor, image, round(left * how.scale), round(upper * how.scale), round(side * how.scale))


def _explained(predictor: "Predictor", image: Image.Image, x: int, y: int, side: int) -> TileAnswer:
    malignant = next(diagnosis.code for diagnosis in TASK.classes if diagnosis.malignant)
    prediction = predictor.predict(Picture(image, ()), "Grad-CAM", malignant)
    assert prediction.heat_map is not None
    drawn = heat_map.draw(image, prediction.heat_map, prediction.box, TASK.label_box)
    large = drawn.resize((3 * image.width, 3 * image.height), Image.Resampling.BICUBIC)
    return TileAnswer(
        x=x,
        y=y,
        side=side,
        p_malignant=prediction.p_malignant,
        unlike=prediction.gate is not None and not prediction.gate.accepted,
        heatmap=base64.b64encode(heat_map.png(large)).decode(),
    )


@lru_cache(maxsize=OPEN)
def _opened(file: str) -> Slide:
    return Slide(Path(file))
