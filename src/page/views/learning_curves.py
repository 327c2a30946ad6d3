"""A training's history, as config.json keeps it -> its learning curves, as HTML with SVG."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

_CURVES: Final = (
    ("Loss", (("train_loss", "in training, the recipe's, augmented"), ("loss", "on validation, log loss"))),
    (
        "On validation",
        (("auc_malignant", "AUC, malignant"), ("auc_macro", "AUC, macro"), ("accuracy", "accuracy")),
    ),
)
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 420, 220, 44, 34, 12
_DOTS = 30  # more points than these are a line alone


def curves(history: Sequence[Mapping[str, Any]]) -> str:
    """Loss and figures of each epoch, or of each C where that was searched; "" of a history without any."""
    x_name = "epoch" if history and "epoch" in history[0] else "C"
    charts = []
    for title, lines in _CURVES:
        drawn: dict[str, list[tuple[float, float]]] = {}
        for key, name in lines:
            points = [(row[x_name], row[key]) for row in history if _number(row.get(x_name)) and _number(row.get(key))]
            if points and points not in drawn.values():  # of two classes the macro AUC is the AUC
                drawn[name] = points
        if drawn:
            charts.append(_chart(title, x_name, drawn))
    if not charts:
        return ""
    what = "by epoch" if x_name == "epoch" else "by the strength of regularisation C, cross-validated within training"
    return f'<h3>Learning curves, {what}</h3><div class="v-charts">{"".join(charts)}</div>'


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _chart(title: str, x_name: str, lines: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Lines as SVG. C is drawn on a logarithmic axis. At most three lines, told apart by dashes besides colour."""

    def along(x: float) -> float:
        return math.log10(x) if x_name == "C" and x > 0 else x

    xs = [along(x) for points in lines.values() for x, _ in points]
    ys = [y for points in lines.values() for _, y in points]
    x_low, x_span = min(xs), (max(xs) - min(xs)) or 1
    y_low, y_span = min(ys), (max(ys) - min(ys)) or 1

    def place(x: float, y: float) -> tuple[float, float]:
        across = _LEFT + (along(x) - x_low) / x_span * (_WIDTH - _LEFT - 12)
        return across, _TOP + (1 - (y - y_low) / y_span) * (_HEIGHT - _TOP - _BOTTOM)

    marks = ""
    for share in (0, 0.5, 1):
        value, at = y_low + share * y_span, _TOP + (1 - share) * (_HEIGHT - _TOP - _BOTTOM)
        marks += (
            f'<line class="v-grid" x1="{_LEFT}" x2="{_WIDTH - 12}" y1="{at:.1f}" y2="{at:.1f}"/>'
            f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{value:.2f}</text>'
        )
    ends = sorted({x for points in lines.values() for x, _ in points})
    for x, anchor in {ends[0]: "start", ends[-1]: "end"}.items():
        at = place(x, y_low)[0]
        marks += f'<text x="{at:.1f}" y="{_HEIGHT - 16}" text-anchor="{anchor}">{x:g}</text>'
    marks += f'<text x="{(_LEFT + _WIDTH) / 2:.0f}" y="{_HEIGHT - 3}" text-anchor="middle">{escape(x_name)}</text>'
    drawn, legend = "", ""
    for number, (name, points) in enumerate(lines.items()):
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))
        drawn += f'<polyline class="v-line-{number}" points="{places}"/>'
        if len(points) <= _DOTS:
            drawn += "".join(
                f'<circle class="v-dot-{number}" cx="{x:.1f}" cy="{y:.1f}" r="2.2"/>'
                for x, y in (place(*point) for point in points)
            )
        legend += (
            f'<span><svg viewBox="0 0 28 8" aria-hidden="true"><line class="v-line-{number}" x1="1" x2="27" y1="4" '
            f'y2="4"/></svg>{escape(name)}, last {points[-1][1]:.3f}</span>'
        )
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg class="v-chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'role="img" aria-label="{escape(title)} by {escape(x_name)}">{marks}{drawn}</svg>'
        f'<p class="v-key">{legend}</p></figure>'
    )
