"""Where the network looked, as HTML: the picture, the heat map over it, and how far the map can be trusted.

Pure: layers and a Result in, markup out. Opacity and divider are moved by the page's script (page.js), and no server is
asked. Never colour alone: the caption says for which class the map argues, and what its colours mean.
"""

from base64 import b64encode
from io import BytesIO
from typing import Any

from PIL import Image

from src.exports import heat_map
from src.exports.heat_map import Layers
from src.models.evaluation import EvaluatedSet, Evaluation, Faithfulness, Location, Metric
from src.page.render import render
from src.results.formatting import percent
from src.results.result import Result
from src.tasks import Task

SMALL = 200
"""Pictures no wider are sent without loss: there is nothing to save."""


def heat_map_viewer(result: Result, layers: Layers | None, measured: Evaluation) -> str:
    """The picture under its heat map, with its opacity and a divider to move; the caption alone where there is none."""
    if layers is None:
        return heat_map_caption(result)
    frames = [] if layers.seen == (0, 0, 1, 1) else [layers.seen]
    frames += [] if layers.label is None else [layers.label]
    return render(
        "heat_map_viewer.html",
        size=layers.picture.size,
        picture=_data_url(layers.picture),
        colours=_data_url(layers.colours),
        box=layers.box,
        frames=frames,
        opacity=round(100 * heat_map.OPACITY),
        caption=heat_map_caption(result),
        trust=_trust(result, measured),
    )


def _data_url(image: Image.Image) -> str:
    """As PNG where it is small or has transparency, else as JPEG; never kept on disk, as Gradio's own pictures are."""
    if image.mode == "RGBA" or max(image.size) <= SMALL:
        return f"data:image/png;base64,{b64encode(heat_map.png(image)).decode()}"
    file = BytesIO()
    image.save(file, "JPEG", quality=88)
    return f"data:image/jpeg;base64,{b64encode(file.getvalue()).decode()}"


def heat_map_caption(result: Result) -> str:
    """Which class the heat map argues for, and its colours."""
    code = result.explained_class
    return render(
        "heat_map_caption.html",
        result=result,
        name=next((one.name for one in result.classes if one.code == code), None),
        most_probable=result.classes[0],
    )


def _trust(result: Result, measured: Evaluation) -> list[dict[str, Any]]:
    """What was measured of maps of this kind, on pictures that the model did not learn from."""
    found = []
    for place in measured.held_out:
        if place.explanation is not None:
            found += [
                _faithful(place, place.explanation.faithfulness, result.explanation),
                _located(result.about_task, place, place.explanation.location, result.explanation),
            ]
    return [one for one in found if one]


def _faithful(place: EvaluatedSet, found: Faithfulness, method: str) -> dict[str, Any] | None:
    """How far the probability falls without the parts that the map marks; None where it was not measured."""
    faith = found.maps.get(method)
    if faith is None or faith.drop.value is None or faith.random.value is None:
        return None
    return {
        "measure": "faithfulness",
        "place": place.title,
        "n": found.n,
        "drop": _points(faith.drop),
        "random": _points(faith.random),
        "difference": _points(faith.above_random),
    }


def _located(task: Task, place: EvaluatedSet, found: Location | None, method: str) -> dict[str, Any] | None:
    """Whether the map points to the part that matters; None where it was not measured."""
    shares = [
        {"inside": percent(one.inside.value), "n": one.n, "decisions": kind, "chance": percent(one.chance)}
        for kind, one in (found.maps.get(method, {}) if found else {}).items()
        if one.n and one.inside.value is not None and one.chance is not None
    ]
    name = next((one.name for one in task.classes if found and one.code == found.code), None)
    if found is None or name is None or not shares:
        return None
    return {"measure": found.measure, "place": place.title, "name": name, "part": found.part, "shares": shares}


def _points(found: Metric) -> str:
    """A share's figure in percentage points."""
    if found.value is None:
        return "–"
    low, high = found.interval
    ends = "" if low is None or high is None else f" ({100 * low:.1f} to {100 * high:.1f})"
    return f"{100 * found.value:.1f}{ends}"
