"""The heat map over its image, as HTML, with a caption and the evaluation of such heat maps.

Knows nothing of Gradio. The page's script (page.js) moves opacity and divider without the server. Colour is never the
only sign: the caption names the class that the map explains and says what the colours mean.
"""

import math
from base64 import b64encode
from io import BytesIO
from typing import Any

from PIL import Image

from src.exports import heat_map
from src.exports.heat_map import Layers
from src.models.evaluation import EvaluatedSet, Evaluation, Faithfulness, Location, Metric
from src.page.number_format import decimals, general, percent
from src.page.render import render
from src.page.translation import gettext as _
from src.results.result import Result
from src.tasks import Task

SMALL = 200
"""Images with no side longer than this, in pixels, are sent as PNG, because a JPEG would save little."""


def heat_map_viewer(result: Result, layers: Layers | None) -> str:
    """The image under its heat map, with controls for opacity and divider; without a heat map only the caption."""
    if layers is None:
        return heat_map_caption(result)
    frames = [] if layers.seen == (0, 0, 1, 1) else [layers.seen]
    frames += [] if layers.label is None else [layers.label]
    return render(
        "heat_map_viewer.html",
        size=layers.image.size,
        image=_data_url(layers.image),
        colours=_data_url(layers.colours),
        box=layers.box,
        frames=frames,
        opacity=round(100 * heat_map.OPACITY),
        caption=heat_map_caption(result),
        scale=_scale_bar(result),
    )


def _scale_bar(result: Result) -> dict[str, Any] | None:
    """A length of 1, 2 or 5 times a power of ten, up to a third of the image's width; None without a physical scale."""
    if result.spacing is None:
        return None
    width = result.spacing[0] * result.size[0]
    power = 10.0 ** math.floor(math.log10(width / 3))
    length = next(step * power for step in (5, 2, 1) if step * power <= width / 3)
    return {"text": f"{general(length)} mm", "share": length / width}


def heat_map_trust(result: Result, evaluation: Evaluation) -> str:
    """How to use the heat map, and how far such heat maps can be trusted; "" if there is no heat map."""
    if result.explained_class is None:
        return ""
    return render("heat_map_trust.html", heat_map_evaluation=_heat_map_evaluation(result, evaluation))


def _data_url(image: Image.Image) -> str:
    """The image as a PNG if it is small or has transparency, else as a JPEG.

    It is not written to the disk, as Gradio does with its own images.
    """
    if image.mode == "RGBA" or max(image.size) <= SMALL:
        return f"data:image/png;base64,{b64encode(heat_map.png(image)).decode()}"
    file = BytesIO()
    image.save(file, "JPEG", quality=88)
    return f"data:image/jpeg;base64,{b64encode(file.getvalue()).decode()}"


def heat_map_caption(result: Result) -> str:
    """The caption: the class that the heat map explains, and the meaning of its colours."""
    code = result.explained_class
    return render(
        "heat_map_caption.html",
        result=result,
        name=next((one.name for one in result.classes if one.code == code), None),
        most_probable=result.classes[0],
    )


def _heat_map_evaluation(result: Result, evaluation: Evaluation) -> list[dict[str, Any]]:
    """The evaluation of this kind of heat map on images that the model did not learn from."""
    figures = []
    for test_set in evaluation.held_out:
        if test_set.explanation is not None:
            figures += [
                _faithfulness(test_set, test_set.explanation.faithfulness, result.explanation),
                _location(result.about_task, test_set, test_set.explanation.location, result.explanation),
            ]
    return [figure for figure in figures if figure]


def _faithfulness(test_set: EvaluatedSet, found: Faithfulness, method: str) -> dict[str, Any] | None:
    """How far the probability falls without the parts that the map marks; None if it was not measured."""
    faith = found.maps.get(method)
    if faith is None or faith.drop.value is None or faith.random.value is None:
        return None
    return {
        "measure": "faithfulness",
        "test_set": test_set.title,
        "n": found.n,
        "drop": _points(faith.drop),
        "random": _points(faith.random),
        "difference": _points(faith.above_random),
    }


def _location(task: Task, test_set: EvaluatedSet, found: Location | None, method: str) -> dict[str, Any] | None:
    """Whether the map points to the part that matters; None if it was not measured."""
    shares = [
        {"inside": percent(one.inside.value), "n": one.n, "decisions": kind, "chance": percent(one.chance)}
        for kind, one in (found.maps.get(method, {}) if found else {}).items()
        if one.n and one.inside.value is not None and one.chance is not None
    ]
    name = next((one.name for one in task.classes if found and one.code == found.code), None)
    if found is None or name is None or not shares:
        return None
    return {"measure": found.measure, "test_set": test_set.title, "name": name, "part": found.part, "shares": shares}


def _points(found: Metric) -> str:
    """A share, 0 to 1, in percentage points with its interval."""
    if found.value is None:
        return "–"
    low, high = found.interval
    shown = decimals(100 * found.value)
    if low is None or high is None:
        return shown
    return _("%(value)s (%(low)s to %(high)s)", value=shown, low=decimals(100 * low), high=decimals(100 * high))
