"""Where the network looked, as HTML: the picture, the heat map over it, and what shows how far to trust it.

Pure: layers and a Result in, markup out. Opacity and divider are moved by the page's script (page.js), and
no server is asked. Never colour alone: the caption says for which class the map argues, and of what its colours tell.
"""

from base64 import b64encode
from html import escape
from io import BytesIO

from PIL import Image

from src.exports import heat_map
from src.exports.heat_map import Layers
from src.page.views.result_card import percent
from src.results.evaluation import Faithfulness, Figure, Location, Measured, Place
from src.results.result import Result
from src.tasks import Task

SMALL = 200
"""Pictures no wider are sent without loss: there is nothing to save."""


def view(result: Result, layers: Layers | None, measured: Measured) -> str:
    """The picture under its heat map, with its opacity and a divider to move; the caption alone where there is none."""
    if layers is None:
        return caption(result)
    width, height = layers.picture.size
    frames = [] if layers.seen == (0, 0, 1, 1) else [layers.seen]
    frames += [] if layers.label is None else [layers.label]
    framed = "".join(f'<i class="v-frame" style="{_placed(frame)}"></i>' for frame in frames)
    opacity = round(100 * heat_map.OPACITY)
    return (
        f'<figure class="v-view" style="--v-opacity:{opacity};--v-split:0"><div class="v-stage" '
        f'style="aspect-ratio:{width}/{height}"><img class="v-base" src="{_data_url(layers.picture)}" '
        'alt="The picture with the heat map over it; the caption below says for which class">'
        f'<div class="v-over"><img src="{_data_url(layers.colours)}" alt="" style="{_placed(layers.box)}"></div>'
        f'{framed}<i class="v-divider"></i>'
        f"{_range('v-split', 0, 'Divider: the plain picture to its left, with the heat map to its right')}</div>"
        f'<div class="v-tools"><label>Opacity{_range("v-opacity", opacity, "Opacity of the heat map")}</label>'
        '<button type="button" data-view="enlarge">Enlarge</button><button type="button" data-view="save">Save'
        "</button></div>"
        f'<figcaption>{caption(result)}<p class="v-note">Drag the line at the picture\'s left edge to lay it bare; '
        f"the arrow keys do too.</p>{_trust(result, measured)}</figcaption></figure>"
    )


def _range(moves: str, value: int, label: str) -> str:
    """A slider that sets the figure's variable `moves`, 0 to 100."""
    return (
        f'<input type="range" min="0" max="100" value="{value}" data-moves="--{moves}" class="{moves}" '
        f'aria-label="{label}, per cent">'
    )


def _placed(box: tuple[float, float, float, float]) -> str:
    left, upper, right, lower = (100 * share for share in box)
    return f"left:{left:.3f}%;top:{upper:.3f}%;width:{right - left:.3f}%;height:{lower - upper:.3f}%"


def _data_url(image: Image.Image) -> str:
    """As PNG where it is small or has transparency, else as JPEG; never kept on disk, as Gradio's own pictures are."""
    if image.mode == "RGBA" or max(image.size) <= SMALL:
        return f"data:image/png;base64,{b64encode(heat_map.png(image)).decode()}"
    file = BytesIO()
    image.save(file, "JPEG", quality=88)
    return f"data:image/jpeg;base64,{b64encode(file.getvalue()).decode()}"


def caption(result: Result) -> str:
    """Which class the heat map argues for, and its colours."""
    code = result.explained_class
    if code is None:
        return '<p class="v-note">No heat map was asked for.</p>'
    name = escape(next(one.name for one in result.classes if one.code == code))
    method = escape(result.explanation)
    first = code == result.classes[0].code
    if result.heatmap_empty:
        because = "; it won because less argues for the others" if first else ""
        return (
            f'<p class="v-caption">{method}: nothing in the picture argues for <b>{name}</b>{_which(result)}{because}.'
            "</p>"
        )
    return (
        f'<p class="v-caption">{method}: what argues for <b>{name}</b>{_which(result)}.</p>'
        '<p class="v-legend"><span>weak<span class="v-hidden"> is purple</span></span><i></i><span>strong'
        '<span class="v-hidden"> is yellow</span></span></p>'
    )


def _trust(result: Result, measured: Measured) -> str:
    """How far maps of this kind were to be trusted on pictures that the model did not learn from."""
    lines = [
        line
        for place in measured.places
        if place.explanation is not None
        for line in (
            _faithful(place, place.explanation.faithfulness, result.explanation),
            _located(result.about_task, place, place.explanation.location, result.explanation),
        )
        if line
    ]
    if not lines:
        return ""
    items = "".join(f"<li>{line}</li>" for line in lines)
    return (
        '<details class="v-method" open><summary>How far can it be trusted?</summary>'
        f'<ul class="v-note v-promises">{items}</ul><p class="v-note">In brackets the 95% interval; measured on maps '
        "for the most probable class unless another is named.</p></details>"
    )


def _faithful(place: Place, found: Faithfulness, method: str) -> str:
    faith = found.maps.get(method)
    if faith is None or faith.drop.value is None or faith.random.value is None:
        return ""
    return (
        f"<b>{escape(place.title)}, {found.n:,} pictures:</b> where the map is strong is taken out, the class's "
        f"probability falls by {_points(faith.drop)} percentage points; by {_points(faith.random)} where a map shifted "
        f"at random is. The difference is {_points(faith.above_random)}."
    )


def _located(task: Task, place: Place, found: Location | None, method: str) -> str:
    shares = [
        (percent(one.inside.value), one.n, kind, percent(one.chance))
        for kind, one in (found.maps.get(method, {}) if found else {}).items()
        if one.n and one.inside.value is not None and one.chance is not None
    ]
    name = next((one.name for one in task.classes if found and one.code == found.code), None)
    if found is None or name is None or not shares:
        return ""
    part = "the outlined lesion" if found.part == "lesion" else "the framed middle, which alone makes the label,"
    if found.measure == "peak":
        told = f"its peak lies in {part} " + " and ".join(
            f"in {share} of {n:,} {kind} decisions (by chance in {chance})" for share, n, kind, chance in shares
        )
    else:
        told = f"{part} holds " + " and ".join(
            f"{share} of its mass in {n:,} {kind} decisions (by chance {chance})" for share, n, kind, chance in shares
        )
    return f"<b>{escape(place.title)}, of a map for {escape(name)}:</b> {told}."


def _points(found: Figure) -> str:
    """A share's figure in percentage points."""
    if found.value is None:
        return "–"
    low, high = found.interval
    ends = "" if low is None or high is None else f" ({100 * low:.1f} to {100 * high:.1f})"
    return f"{100 * found.value:.1f}{ends}"


def _which(result: Result) -> str:
    """The explained class's place among the classes."""
    if result.explained_class == result.classes[0].code:
        return ", the most probable class"
    return f", which is not the most probable class ({escape(result.classes[0].name)} is)"
