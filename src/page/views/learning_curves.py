"""The learning curves of a training, from the history in config.json, as HTML with SVG."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from src.page.render import render
from src.results import chart_data
from src.results.chart_data import Chart, Point

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 420, 220, 44, 12, 12, 34
_MAX_DOTS = 30  # a line with more points is drawn without dots


def learning_curves(history: Sequence[Mapping[str, Any]]) -> str:
    """Loss and metrics by epoch, or by C if the training searched for it; "" if the history has none."""
    charts = chart_data.learning_curves(history)
    if not charts:
        return ""
    return render("learning_curves.html", by_epoch=not charts[0].axes.log_x, charts=list(map(_drawn, charts)))


def _drawn(chart: Chart) -> dict[str, Any]:
    """A chart in units of its SVG. Its lines differ in their dashes and not only in colour."""

    def x_value(x: float) -> float:
        return math.log10(x) if chart.axes.log_x and x > 0 else x

    points = [point for line in chart.lines for point in line.points]
    xs, ys = [x_value(x) for x, _ in points], [y for _, y in points]
    x_low, x_span = min(xs), (max(xs) - min(xs)) or 1
    y_low, y_span = min(ys), (max(ys) - min(ys)) or 1

    def position(point: Point) -> Point:
        share = (x_value(point[0]) - x_low) / x_span
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT), y_position((point[1] - y_low) / y_span)

    def y_position(share: float) -> float:
        return _TOP + (1 - share) * (_HEIGHT - _TOP - _BOTTOM)

    ends = {min(x for x, _ in points): "start", max(x for x, _ in points): "end"}
    return {
        "title": chart.title,
        "x_label": chart.axes.x,
        "width": _WIDTH,
        "height": _HEIGHT,
        "left": _LEFT,
        "right": _WIDTH - _RIGHT,
        "y_ticks": [(y_position(share), y_low + share * y_span) for share in (0, 0.5, 1)],
        "x_ticks": [(position((x, y_low))[0], anchor, x) for x, anchor in ends.items()],
        "lines": [
            {
                "name": line.name,
                "points": list(map(position, line.points)),
                "dots": len(line.points) <= _MAX_DOTS,
                "last": line.points[-1][1],
            }
            for line in chart.lines
        ],
    }
