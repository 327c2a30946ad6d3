"""A model's curves as SVG: ROC, the test scores of both classes, and how far a displayed probability holds.

Pure: counts in, markup out. What moves with the threshold has a data-move that `moving_positions` gives the place for;
what can be pointed at or tapped has a data-say, which the page's script (page.js) writes below the figure. Never colour
alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from src.models.evaluation import MALIGNANT, EvaluatedSet, Evaluation
from src.page.render import render
from src.results import chart_data
from src.results.chart_data import Point
from src.results.formatting import percent
from src.results.thresholds import CONFIDENCE, operating_point, proportion_interval

SCORE_BINS = 20

EXAMPLE = 0.3
"""The displayed probability that is always looked into."""

WIDE = 0.25
"""An interval wider than this contradicts next to nothing."""


@dataclass(frozen=True)
class Frame:
    """A figure's size and margins, in its own units."""

    width: int = 340
    height: int = 300
    left: int = 46
    right: int = 12
    top: int = 12
    bottom: int = 40

    def x(self, share: float) -> float:
        """0..1 -> from the left margin to the right one."""
        return self.left + share * (self.width - self.left - self.right)

    def y(self, share: float) -> float:
        """0..1 -> from the lower margin to the upper one."""
        return self.top + (1 - share) * (self.height - self.top - self.bottom)

    def at(self, point: Point) -> str:
        """A point of shares -> "x,y", as SVG has it."""
        return _pair(self.x(point[0]), self.y(point[1]))

    def path(self, points: Sequence[Point]) -> str:
        """Points of shares -> an SVG path."""
        return "M" + "L".join(map(self.at, points))


FRAME: Final = Frame()


def _pair(x: float, y: float) -> str:
    return f"{x:.1f},{y:.1f}"


def moving_positions(measured: Evaluation, thresholds: Sequence[float]) -> dict[str, list[str]]:
    """Where each moving part stands at each of `thresholds`: its name -> "x,y" in the figure's units."""
    found = {"cut": [_cut(threshold) for threshold in thresholds]}
    for i, place in enumerate(measured.held_out):
        found[f"{i}.roc"] = [_roc_point(place, threshold) for threshold in thresholds]
    return found


def curves_section(
    measured: Evaluation, threshold: float, thresholds: Sequence[float], p_malignant: float | None = None
) -> str:
    """The three figures, with the slider at `threshold` and the picture's own place where there is one.

    `thresholds` are those that can be pointed at on the curve.
    """
    home = measured.home
    if home is None:
        return ""
    return render(
        "curves.html",
        frame=FRAME,
        p_malignant=p_malignant,
        own_x=None if p_malignant is None else FRAME.x(p_malignant),
        roc=_roc(measured.held_out, threshold, thresholds, p_malignant),
        scores=_scores(home, threshold, p_malignant),
        reliability=_reliability(measured.held_out, p_malignant) if home.calibration else None,
        diagonal=FRAME.path([(0, 0), (1, 1)]),
    )


# ROC


def _roc_point(place: EvaluatedSet, threshold: float) -> str:
    point = operating_point(place.tables[MALIGNANT], threshold)
    return FRAME.at((point.fp / max(1, place.negatives), point.tp / max(1, place.positives)))


def _band(place: EvaluatedSet) -> str:
    """Where the true point at each threshold lies with at least 95%: the boxes of both shares' 97.5% intervals."""
    both = 1 - (1 - CONFIDENCE) / 2
    upper, lower = [], []
    for fp, tp in chart_data.roc_corners(place.tables[MALIGNANT]):
        left, right = proportion_interval(fp, place.negatives, both)
        bottom, top = proportion_interval(tp, place.positives, both)
        upper.append((left, top))
        lower.append((right, bottom))
    return FRAME.path(upper + lower[::-1]) + "Z"


def _roc(
    places: Sequence[EvaluatedSet], threshold: float, thresholds: Sequence[float], p_malignant: float | None
) -> dict[str, Any]:
    chart = chart_data.roc((place.title, place.tables[MALIGNANT]) for place in places)
    return {
        "axes": chart.axes,
        "bands": [(place.kind, _band(place)) for place in places if place.kind != "second"],
        "lines": [
            {"kind": place.kind, "path": FRAME.path(line.points)}
            for place, line in zip(places, chart.lines, strict=True)
        ],
        # The last lies on top of its neighbours; any of them says a threshold close enough.
        "targets": [(_roc_point(places[0], at), _counts(places, at)) for at in thresholds],
        "own": None if p_malignant is None else _roc_point(places[0], p_malignant),
        "points": [(place.kind, _roc_point(place, threshold)) for place in places],
        "keys": [
            {"kind": place.kind, "title": place.title, "auc": _metric(place, "auc_malignant", 1, 3)} for place in places
        ],
    }


def _counts(places: Sequence[EvaluatedSet], threshold: float) -> str:
    """The counts at one threshold, everywhere."""
    counts = [f"Threshold {threshold:g}."]
    for place in places:
        point = operating_point(place.tables[MALIGNANT], threshold)
        counts.append(
            f"{place.title}: {point.tp:,} of {place.positives:,} found, {point.fp:,} false alarms among "
            f"{place.negatives:,}."
        )
    return " ".join(counts)


def _metric(place: EvaluatedSet, name: str, scale: int, decimals: int) -> str:
    found = place.metrics.get(name)
    values = [None] if found is None else [found.value, *found.interval]
    shown = [f"{scale * value:.{decimals}f}" for value in values if value is not None]
    return "{} ({} to {})".format(*shown) if len(shown) == 3 else "not given"


# scores


def _cut(threshold: float) -> str:
    """The place of the line at the threshold."""
    return _pair(FRAME.x(threshold), 0)


def _scores(place: EvaluatedSet, threshold: float, p_malignant: float | None) -> dict[str, Any]:
    at_edges = [operating_point(place.tables[MALIGNANT], i / SCORE_BINS) for i in range(SCORE_BINS)]
    # Nothing scores above 1, which belongs to the last bin.
    above = [*((point.tp, point.fp) for point in at_edges), (0, 0)]
    counts = [(low[0] - high[0], low[1] - high[1]) for low, high in pairwise(above)]
    tallest = [max(1, *side) for side in zip(*counts, strict=True)]
    middle = (FRAME.top + FRAME.height - FRAME.bottom) / 2
    room = (FRAME.height - FRAME.top - FRAME.bottom) / 2 - 8
    bars = [
        {
            "x": FRAME.x(i / SCORE_BINS),
            "up": room * malignant / tallest[0],
            "down": room * others / tallest[1],
            "counts": (
                f"{100 * i / SCORE_BINS:.0f} to {100 * (i + 1) / SCORE_BINS:.0f}%: {malignant:,} of "
                f"{place.positives:,} malignant test images, {others:,} of {place.negatives:,} others."
            ),
        }
        for i, (malignant, others) in enumerate(counts)
    ]
    return {
        "bars": bars,
        "bar_width": (FRAME.width - FRAME.left - FRAME.right) / SCORE_BINS,
        "middle": middle,
        "own": None if p_malignant is None else _pair(FRAME.x(p_malignant), middle),
        "cut": _cut(threshold),
        "rank": _rank(place, p_malignant),
    }


def _rank(place: EvaluatedSet, p_malignant: float | None) -> str:
    """The picture's place among the test scores of both classes."""
    if p_malignant is None:
        return "Once an image is read, its score is marked here."
    point = operating_point(place.tables[MALIGNANT], p_malignant)
    return (
        f"This image (the diamond) scores {percent(p_malignant)}. {point.tp:,} of the {place.positives:,} malignant "
        f"test images and {point.fp:,} of the {place.negatives:,} others score this high or higher."
    )


# reliability


def _reliability(places: Sequence[EvaluatedSet], p_malignant: float | None) -> dict[str, Any]:
    home = places[0]
    chart = chart_data.reliability(home.calibration, home.title)
    (line,) = chart.lines
    dots = [
        {
            "x": FRAME.x(x),
            "y": FRAME.y(y),
            "low": FRAME.y(low),
            "high": FRAME.y(high),
            "counts": reliability_sentence(home, x),
        }
        for (x, y), (low, high) in zip(line.points, line.intervals, strict=True)
    ]
    asked = [EXAMPLE] if p_malignant is None else [EXAMPLE, p_malignant]
    sentences = [f"{home.title}: {reliability_sentence(home, p)}" for p in asked]
    sentences += [f"{place.title}: {reliability_sentence(place, EXAMPLE)}" for place in places if place.kind == "away"]
    return {
        "axes": chart.axes,
        "example": f"{EXAMPLE:.0%}",
        "dots": dots,
        "sentences": sentences,
        "distinct_sentences": list(dict.fromkeys(sentences)),
        "title": home.title,
        "error": _metric(home, "calibration_error", 100, 1),
        "malignant": f"{100 * home.positives / home.n:.0f}%",
    }


def reliability_sentence(place: EvaluatedSet, displayed: float) -> str:
    """How many of the test pictures that were displayed with about this probability were malignant."""
    found = next((b for b in place.calibration if b.lower <= displayed < b.upper or displayed == b.upper == 1), None)
    if found is None:
        return f"no test image has a displayed probability of about {100 * displayed:.0f}%, so this cannot be checked."
    low, high = found.interval
    if found.mean_score < low:
        verdict = "this is too low"
    elif found.mean_score > high:
        verdict = "this is too high"
    else:
        verdict = "this fits" if high - low <= WIDE else "there are too few cases to tell"
    return (
        f"{found.n:,} test images have a displayed probability of {100 * found.lower:.0f} to {100 * found.upper:.0f}%. "
        f"Of these, {100 * found.share_malignant:.1f}% are malignant ({100 * low:.1f} to {100 * high:.1f}). Their mean "
        f"displayed probability is {100 * found.mean_score:.1f}%: {verdict}."
    )
