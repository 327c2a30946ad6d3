"""A model's curves as SVG: the ROC curve, the scores of the test images, and the reliability of probabilities.

Knows nothing of Gradio. Parts that move with the threshold have an attribute data-move; `moving_positions` has their
positions. Parts that can be pointed at or tapped have an attribute data-readout, whose text page.js writes below the
figure. Colour is never the only sign.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from src.models.evaluation import MALIGNANT, EvaluatedSet, Evaluation
from src.page.number_format import decimals, general, percent, thousands, whole_percent
from src.page.render import render
from src.page.translation import gettext as _
from src.results import chart_data
from src.results.chart_data import Point
from src.results.thresholds import CONFIDENCE, operating_point, proportion_interval

SCORE_BINS = 20

EXAMPLE = 0.3
"""The displayed probability whose reliability is always given."""

WIDE = 0.25
"""An interval wider than this contains almost any displayed probability, so it confirms none."""


@dataclass(frozen=True)
class Frame:
    """The size and margins of a figure, in units of its SVG."""

    width: int = 340
    height: int = 300
    left: int = 46
    right: int = 12
    top: int = 12
    bottom: int = 40

    def x(self, share: float) -> float:
        """The horizontal position of a share, 0 (left margin) to 1 (right margin)."""
        return self.left + share * (self.width - self.left - self.right)

    def y(self, share: float) -> float:
        """The vertical position of a share, 0 (lower margin) to 1 (upper margin)."""
        return self.top + (1 - share) * (self.height - self.top - self.bottom)

    def at(self, point: Point) -> str:
        """The position of a point of two shares, as SVG writes it: "x,y"."""
        return _pair(self.x(point[0]), self.y(point[1]))

    def path(self, points: Sequence[Point]) -> str:
        """The SVG path through points of two shares each."""
        return "M" + "L".join(map(self.at, points))


FRAME: Final = Frame()


def _pair(x: float, y: float) -> str:
    return f"{x:.1f},{y:.1f}"


def moving_positions(evaluation: Evaluation, thresholds: Sequence[float]) -> dict[str, list[str]]:
    """The positions of the moving parts: the name of a part -> "x,y" for each of `thresholds`, in units of the SVG."""
    positions = {"cut": [_cut(threshold) for threshold in thresholds]}
    for i, test_set in enumerate(evaluation.held_out):
        positions[f"{i}.roc"] = [_roc_point(test_set, threshold) for threshold in thresholds]
    return positions


def curves_section(
    evaluation: Evaluation, threshold: float, thresholds: Sequence[float], p_malignant: float | None = None
) -> str:
    """The three figures at `threshold`. They mark the image's score `p_malignant` if there is one.

    `thresholds` are those whose counts can be read off the ROC curve.
    """
    home = evaluation.home
    if home is None:
        return ""
    return render(
        "curves.html",
        frame=FRAME,
        p_malignant=p_malignant,
        image_x=None if p_malignant is None else FRAME.x(p_malignant),
        roc=_roc(evaluation.held_out, threshold, thresholds, p_malignant),
        scores=_scores(home, threshold, p_malignant),
        reliability=_reliability(evaluation.held_out, p_malignant) if home.calibration else None,
        diagonal=FRAME.path([(0, 0), (1, 1)]),
    )


# ROC curve


def _roc_point(test_set: EvaluatedSet, threshold: float) -> str:
    point = operating_point(test_set.tables[MALIGNANT], threshold)
    return FRAME.at((point.fp / max(1, test_set.negatives), point.tp / max(1, test_set.positives)))


def _band(test_set: EvaluatedSet) -> str:
    """The band that contains the true point at each threshold with at least 95% confidence.

    At each point it spans the box of two 97.5% intervals, one for each share.
    """
    both = 1 - (1 - CONFIDENCE) / 2
    upper, lower = [], []
    for fp, tp in chart_data.roc_corners(test_set.tables[MALIGNANT]):
        left, right = proportion_interval(fp, test_set.negatives, both)
        bottom, top = proportion_interval(tp, test_set.positives, both)
        upper.append((left, top))
        lower.append((right, bottom))
    return FRAME.path(upper + lower[::-1]) + "Z"


def _looks(test_sets: Sequence[EvaluatedSet]) -> list[str]:
    """How each set is drawn: "away" is the first set of this kind, "away-2" the next, so that no two look alike."""
    kinds: list[str] = [test_set.kind for test_set in test_sets]
    earlier = [kinds[:at].count(kind) for at, kind in enumerate(kinds)]
    return [f"{kind}-{n + 1}" if n else kind for kind, n in zip(kinds, earlier, strict=True)]


def _roc(
    test_sets: Sequence[EvaluatedSet], threshold: float, thresholds: Sequence[float], p_malignant: float | None
) -> dict[str, Any]:
    looks = _looks(test_sets)
    chart = chart_data.roc((test_set.title, test_set.tables[MALIGNANT]) for test_set in test_sets)
    return {
        "axes": chart.axes,
        "bands": [(test_set.kind, _band(test_set)) for test_set in test_sets if test_set.kind != "second"],
        "lines": [
            {"look": look, "path": FRAME.path(line.points)} for look, line in zip(looks, chart.lines, strict=True)
        ],
        # Neighbouring targets overlap and the last lies on top; the threshold that it shows is close enough.
        "targets": [(_roc_point(test_sets[0], at), _counts(test_sets, at)) for at in thresholds],
        "image_point": None if p_malignant is None else _roc_point(test_sets[0], p_malignant),
        "points": [(look, _roc_point(test_set, threshold)) for look, test_set in zip(looks, test_sets, strict=True)],
        "keys": [
            {"look": look, "title": test_set.title, "auc": _metric(test_set, "auc_malignant", 1, 3)}
            for look, test_set in zip(looks, test_sets, strict=True)
        ],
    }


def _counts(test_sets: Sequence[EvaluatedSet], threshold: float) -> str:
    """The counts at one threshold on every test set."""
    counts = [_("Threshold %(threshold)s.", threshold=general(threshold))]
    for test_set in test_sets:
        point = operating_point(test_set.tables[MALIGNANT], threshold)
        counts.append(
            _(
                "%(test_set)s: %(found)s of %(positives)s found, %(false_alarms)s false alarms among %(negatives)s.",
                test_set=test_set.title,
                found=thousands(point.tp),
                positives=thousands(test_set.positives),
                false_alarms=thousands(point.fp),
                negatives=thousands(test_set.negatives),
            )
        )
    return " ".join(counts)


def _metric(test_set: EvaluatedSet, name: str, scale: int, places: int) -> str:
    found = test_set.metrics.get(name)
    values = [None] if found is None else [found.value, *found.interval]
    shown = [decimals(scale * value, places) for value in values if value is not None]
    if len(shown) < 3:
        return _("not given")
    return _("%(value)s (%(low)s to %(high)s)", **dict(zip(("value", "low", "high"), shown, strict=True)))


# Scores of the test images


def _cut(threshold: float) -> str:
    """The position of the line at the threshold."""
    return _pair(FRAME.x(threshold), 0)


def _scores(test_set: EvaluatedSet, threshold: float, p_malignant: float | None) -> dict[str, Any]:
    at_edges = [operating_point(test_set.tables[MALIGNANT], i / SCORE_BINS) for i in range(SCORE_BINS)]
    # A score of 1 belongs to the last bin, and no score is higher.
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
            "counts": _(
                "%(low)s to %(high)s%%: %(malignant)s of %(positives)s malignant test images, %(others)s of "
                "%(negatives)s others.",
                low=f"{100 * i / SCORE_BINS:.0f}",
                high=f"{100 * (i + 1) / SCORE_BINS:.0f}",
                malignant=thousands(malignant),
                positives=thousands(test_set.positives),
                others=thousands(others),
                negatives=thousands(test_set.negatives),
            ),
        }
        for i, (malignant, others) in enumerate(counts)
    ]
    return {
        "bars": bars,
        "bar_width": (FRAME.width - FRAME.left - FRAME.right) / SCORE_BINS,
        "middle": middle,
        "image_point": None if p_malignant is None else _pair(FRAME.x(p_malignant), middle),
        "cut": _cut(threshold),
        "rank": _rank(test_set, p_malignant),
    }


def _rank(test_set: EvaluatedSet, p_malignant: float | None) -> str:
    """How the image's score compares with the scores of the test images of both classes."""
    if p_malignant is None:
        return _("Once an image is read, its score is marked here.")
    point = operating_point(test_set.tables[MALIGNANT], p_malignant)
    return _(
        "This image (the diamond) scores %(p)s. %(malignant)s of the %(positives)s malignant test images and "
        "%(others)s of the %(negatives)s others score this high or higher.",
        p=percent(p_malignant),
        malignant=thousands(point.tp),
        positives=thousands(test_set.positives),
        others=thousands(point.fp),
        negatives=thousands(test_set.negatives),
    )


# Reliability


def _reliability(test_sets: Sequence[EvaluatedSet], p_malignant: float | None) -> dict[str, Any]:
    home = test_sets[0]
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
    probabilities = [EXAMPLE] if p_malignant is None else [EXAMPLE, p_malignant]
    sentences = [f"{home.title}: {reliability_sentence(home, p)}" for p in probabilities]
    sentences += [
        f"{test_set.title}: {reliability_sentence(test_set, EXAMPLE)}"
        for test_set in test_sets
        if test_set.kind == "away"
    ]
    return {
        "axes": chart.axes,
        "example": whole_percent(EXAMPLE),
        "dots": dots,
        "sentences": sentences,
        "distinct_sentences": list(dict.fromkeys(sentences)),
        "title": home.title,
        "error": _metric(home, "calibration_error", 100, 1),
        "malignant": whole_percent(home.positives / home.n),
    }


def reliability_sentence(test_set: EvaluatedSet, displayed: float) -> str:
    """How many of the test images with about this displayed probability (0 to 1) are malignant."""
    found = next((b for b in test_set.calibration if b.lower <= displayed < b.upper or displayed == b.upper == 1), None)
    if found is None:
        return _(
            "no test image has a displayed probability of about %(p)s%%, so this cannot be checked.",
            p=f"{100 * displayed:.0f}",
        )
    low, high = found.interval
    if found.mean_score < low:
        verdict = _("this is too low")
    elif found.mean_score > high:
        verdict = _("this is too high")
    else:
        verdict = _("this fits") if high - low <= WIDE else _("there are too few cases to tell")
    return _(
        "%(n)s test images have a displayed probability of %(lower)s to %(upper)s%%. Of these, %(share)s%% are "
        "malignant (%(low)s to %(high)s). Their mean displayed probability is %(mean)s%%: %(verdict)s.",
        n=thousands(found.n),
        lower=f"{100 * found.lower:.0f}",
        upper=f"{100 * found.upper:.0f}",
        share=decimals(100 * found.share_malignant),
        low=decimals(100 * low),
        high=decimals(100 * high),
        mean=decimals(100 * found.mean_score),
        verdict=verdict,
    )
