"""A model's curves as SVG: ROC, the test scores of both classes, and how far a displayed probability holds.

Pure: counts in, markup out. What moves with the threshold has a data-move that `moves` gives the place for; what can be
pointed at or tapped has a data-say, which the page's script (page.js) writes below the figure. Never colour alone.
"""

from collections.abc import Iterable, Sequence
from html import escape
from itertools import pairwise

from src.page.views.result_card import percent
from src.results.evaluation import MALIGNANT, Measured, Place, Table
from src.results.thresholds import CONFIDENCE, operating_point, proportion_interval

WIDTH, HEIGHT = 340, 300
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 12, 40

SCORE_BINS = 20

EXAMPLE = 0.3
"""The displayed probability that is always looked into."""

WIDE = 0.25
"""An interval wider than this contradicts next to nothing."""


def moves(measured: Measured, thresholds: Sequence[float]) -> dict[str, list[str]]:
    """Where each moving part stands at each of `thresholds`: its name -> "x,y" in the figure's units."""
    found = {"cut": [_at(_x(threshold), 0) for threshold in thresholds]}
    for i, place in enumerate(measured.places):
        found[f"{i}.roc"] = [_roc_point(place, threshold) for threshold in thresholds]
    return found


def figures(measured: Measured, threshold: float, thresholds: Sequence[float], p_malignant: float | None = None) -> str:
    """The three figures, with the slider at `threshold` and the picture's own place where there is one.

    `thresholds` are those that can be pointed at on the curve.
    """
    if measured.home is None:
        return ""
    return (
        '<section class="v-curves">'
        + _roc(measured, threshold, thresholds, p_malignant)
        + _scores(measured.home, threshold, p_malignant)
        + _reliability(measured.places, p_malignant)
        + "</section>"
    )


def _x(share: float) -> float:
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _y(share: float) -> float:
    return TOP + (1 - share) * (HEIGHT - TOP - BOTTOM)


def _path(points: Iterable[tuple[float, float]]) -> str:
    """Points in 0..1 -> an SVG path."""
    return "M" + "L".join(_at(_x(x), _y(y)) for x, y in points)


TICKS = (0, 0.25, 0.5, 0.75, 1)


def _x_axis(label: str) -> str:
    return f'<text x="{_x(0.5):.1f}" y="{HEIGHT - 8}" text-anchor="middle">{label}</text>' + "".join(
        f'<text x="{_x(share):.1f}" y="{HEIGHT - BOTTOM + 14}" text-anchor="middle">{100 * share:.0f}</text>'
        for share in TICKS
    )


def _turned(y: float, label: str) -> str:
    return f'<text transform="translate(12,{y:.1f}) rotate(-90)" text-anchor="middle">{label}</text>'


def _axes(x_label: str, y_label: str) -> str:
    lines = "".join(
        f'<path class="v-grid" d="M{_x(share):.1f},{TOP}V{HEIGHT - BOTTOM}M{LEFT},{_y(share):.1f}H{WIDTH - RIGHT}"/>'
        f'<text x="{LEFT - 6}" y="{_y(share) + 3.5:.1f}" text-anchor="end">{100 * share:.0f}</text>'
        for share in TICKS
    )
    return lines + _x_axis(x_label) + _turned(_y(0.5), y_label)


def _figure(title: str, alternative: str, drawing: str, below: str, hint: str) -> str:
    return (
        f'<figure><h3>{title}</h3><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(alternative)}">'
        f'{drawing}</svg><p class="v-readout" aria-live="polite">{hint}</p><figcaption>{below}</figcaption></figure>'
    )


def _at(x: float, y: float) -> str:
    """A place in the figure, as SVG has it."""
    return f"{x:.1f},{y:.1f}"


def _diamond(at: str) -> str:
    return f'<path class="v-own" transform="translate({at})" d="M0,-7l6,7l-6,7l-6,-7z"/>'


def _own_line(p_malignant: float) -> str:
    return f'<path class="v-own-line" d="M{_x(p_malignant):.1f},{TOP}V{HEIGHT - BOTTOM}"/>'


# ROC


def _roc_point(place: Place, threshold: float) -> str:
    point = operating_point(place.tables[MALIGNANT], threshold)
    return _at(_x(point.fp / max(1, place.negatives)), _y(point.tp / max(1, place.positives)))


def _corners(table: Table) -> list[tuple[int, int]]:
    """(fp, tp) where the curve turns, from nobody referred to everyone."""
    points = [(0, 0), *zip(reversed(table["fp"]), reversed(table["tp"]), strict=True)]
    turns = (
        here
        for before, here, after in zip(points, points[1:], points[2:], strict=False)
        if not (before[0] == here[0] == after[0] or before[1] == here[1] == after[1])
    )
    return [points[0], *turns, points[-1]]


def _line(place: Place) -> str:
    corners = _corners(place.tables[MALIGNANT])
    return _path((fp / max(1, place.negatives), tp / max(1, place.positives)) for fp, tp in corners)


def _band(place: Place) -> str:
    """Where the true point at each threshold lies with at least 95%: the boxes of both shares' 97.5% intervals."""
    both = 1 - (1 - CONFIDENCE) / 2
    upper, lower = [], []
    for fp, tp in _corners(place.tables[MALIGNANT]):
        left, right = proportion_interval(fp, place.negatives, both)
        bottom, top = proportion_interval(tp, place.positives, both)
        upper.append((left, top))
        lower.append((right, bottom))
    return _path(upper + lower[::-1]) + "Z"


def _roc(measured: Measured, threshold: float, thresholds: Sequence[float], p_malignant: float | None) -> str:
    home = measured.places[0]
    bands = "".join(
        f'<path class="v-band v-{place.kind}" d="{_band(place)}"/>'
        for place in measured.places
        if place.kind != "second"
    )
    lines = "".join(f'<path class="v-line v-{place.kind}" d="{_line(place)}"/>' for place in measured.places)
    # The last lies on top of its neighbours; any of them says a threshold close enough.
    targets = "".join(
        f'<circle class="v-target" r="7" transform="translate({_roc_point(home, at)})" '
        f'data-say="{_say(measured.places, at)}"/>'
        for at in thresholds
    )
    own = "" if p_malignant is None else _diamond(_roc_point(home, p_malignant))
    points = "".join(
        f'<circle class="v-point-at v-{place.kind}" r="5.5" data-move="{i}.roc" '
        f'transform="translate({_roc_point(place, threshold)})"/>'
        for i, place in enumerate(measured.places)
    )
    aucs = [f"{place.title}: AUC {_metric(place, 'auc_malignant', 1, 3)}" for place in measured.places]
    keys = "".join(
        f'<li><svg viewBox="0 0 26 8" aria-hidden="true"><path class="v-line v-{place.kind}" d="M1,4H25"/></svg>'
        f"{escape(auc)}</li>"
        for place, auc in zip(measured.places, aucs, strict=True)
    )
    diamond = "" if p_malignant is None else "; the diamond is the threshold that would just refer this picture"
    return _figure(
        "What other thresholds would cost",
        f"ROC curve with its 95% band and the point of the threshold. {'; '.join(aucs)}.",
        _axes("false alarms among those without it, %", "found among those with it, %")
        + f'<path class="v-chance" d="{_path([(0, 0), (1, 1)])}"/>{bands}{lines}{targets}{own}{points}',
        f'<ul class="v-key">{keys}</ul><p>ROC curve; its band holds the true point of each threshold with at least '
        f"95%. The dot is where the slider stands{diamond}.</p>",
        "Point at the curve, or tap it, for its thresholds.",
    )


def _say(places: Sequence[Place], threshold: float) -> str:
    """The counts at one threshold, everywhere."""
    counts = []
    for place in places:
        point = operating_point(place.tables[MALIGNANT], threshold)
        counts.append(
            f"{place.title}: {point.tp:,} of {place.positives:,} found, {point.fp:,} false alarms among "
            f"{place.negatives:,}."
        )
    return escape(" ".join([f"Threshold {threshold:g}.", *counts]))


def _metric(place: Place, name: str, scale: int, decimals: int) -> str:
    found = place.metrics.get(name)
    values = [None] if found is None else [found.value, *found.interval]
    shown = [f"{scale * value:.{decimals}f}" for value in values if value is not None]
    return "{} ({} to {})".format(*shown) if len(shown) == 3 else "not given"


# scores


def _scores(place: Place, threshold: float, p_malignant: float | None) -> str:
    at_edges = [operating_point(place.tables[MALIGNANT], i / SCORE_BINS) for i in range(SCORE_BINS)]
    # Nothing scores above 1, which belongs to the last bin.
    above = [*((point.tp, point.fp) for point in at_edges), (0, 0)]
    counts = [(low[0] - high[0], low[1] - high[1]) for low, high in pairwise(above)]
    tallest = [max(1, *side) for side in zip(*counts, strict=True)]
    middle, room = (TOP + HEIGHT - BOTTOM) / 2, (HEIGHT - TOP - BOTTOM) / 2 - 8
    width = (WIDTH - LEFT - RIGHT) / SCORE_BINS
    bars = []
    for i, (malignant, others) in enumerate(counts):
        x, up, down = _x(i / SCORE_BINS), room * malignant / tallest[0], room * others / tallest[1]
        say = (
            f"{100 * i / SCORE_BINS:.0f} to {100 * (i + 1) / SCORE_BINS:.0f}%: {malignant:,} of {place.positives:,} "
            f"malignant test pictures, {others:,} of {place.negatives:,} others."
        )
        bars.append(
            f'<rect class="v-bar-malignant" x="{x + 1:.1f}" y="{middle - up:.1f}" width="{width - 2:.1f}" '
            f'height="{up:.1f}"/><rect class="v-bar-other" x="{x + 1:.1f}" y="{middle:.1f}" width="{width - 2:.1f}" '
            f'height="{down:.1f}"/><rect class="v-target" x="{x:.1f}" y="{TOP}" width="{width:.1f}" '
            f'height="{HEIGHT - TOP - BOTTOM}" data-say="{say}"/>'
        )
    own = "" if p_malignant is None else _own_line(p_malignant) + _diamond(_at(_x(p_malignant), middle))
    sentence = _rank(place, p_malignant)
    return _figure(
        "Where test pictures score",
        f"Histogram of p(malignant), malignant test pictures above and the others below. {sentence}",
        _x_axis("p(malignant), %")
        + _turned((TOP + middle) / 2, "malignant")
        + _turned((middle + HEIGHT - BOTTOM) / 2, "others")
        + f'<path d="M{LEFT},{middle}H{WIDTH - RIGHT}"/>{"".join(bars)}{own}'
        f'<path class="v-cut" data-move="cut" transform="translate({_at(_x(threshold), 0)})" '
        f'd="M0,{TOP}V{HEIGHT - BOTTOM}"/>',
        f"<p>{sentence}</p><p>The thick line is the threshold; what lies to its right is referred. Each side has a "
        "scale of its own.</p>",
        "Point at a bar, or tap it, for its numbers.",
    )


def _rank(place: Place, p_malignant: float | None) -> str:
    """The picture's place among the test scores of both classes."""
    if p_malignant is None:
        return "A picture that is read gets its place here."
    point = operating_point(place.tables[MALIGNANT], p_malignant)
    return (
        f"This picture, the diamond, scores {percent(p_malignant)}. So high or higher score {point.tp:,} of the "
        f"{place.positives:,} malignant test pictures and {point.fp:,} of the {place.negatives:,} others."
    )


# reliability


def _reliability(places: Sequence[Place], p_malignant: float | None) -> str:
    home = places[0]
    if not home.calibration:
        return ""
    dots = []
    for found in home.calibration:
        x, low, high = _x(found.mean_score), _y(found.interval[0]), _y(found.interval[1])
        dots.append(
            f'<path class="v-whisker" transform="translate({_at(x, 0)})" '
            f'd="M0,{low:.1f}V{high:.1f}M-4,{low:.1f}h8M-4,{high:.1f}h8"/>'
            f'<circle class="v-point-at v-home" cx="{x:.1f}" cy="{_y(found.share_malignant):.1f}" r="4.5"/>'
            f'<rect class="v-target" x="{x - 12:.1f}" y="{TOP}" width="24" height="{HEIGHT - TOP - BOTTOM}" '
            f'data-say="{trust(home, found.mean_score)}"/>'
        )
    asked = [EXAMPLE] if p_malignant is None else [EXAMPLE, p_malignant]
    sentences = [f"{home.title}: {trust(home, p)}" for p in asked]
    sentences += [f"{place.title}: {trust(place, EXAMPLE)}" for place in places if place.kind == "away"]
    return _figure(
        f"How far a displayed {EXAMPLE:.0%} can be trusted",
        "Reliability diagram: the share found malignant against the probability displayed. " + " ".join(sentences),
        _axes("displayed, %", "found malignant, %")
        + f'<path class="v-chance" d="{_path([(0, 0), (1, 1)])}"/>'
        + ("" if p_malignant is None else _own_line(p_malignant))
        + "".join(dots),
        "".join(f"<p>{escape(sentence)}</p>" for sentence in dict.fromkeys(sentences))
        + f"<p>On average over {escape(home.title)}'s test pictures what is displayed is off by "
        f"{_metric(home, 'calibration_error', 100, 1)} percentage points. It holds where as many are malignant as "
        f"there, {100 * home.positives / home.pictures:.0f}%: where fewer are, what is displayed means less.</p>",
        "Point at a dot, or tap it, for its numbers.",
    )


def trust(place: Place, displayed: float) -> str:
    """How many of the test pictures that were displayed with about this probability were malignant."""
    found = next((b for b in place.calibration if b.lower <= displayed < b.upper or displayed == b.upper == 1), None)
    if found is None:
        return f"no test picture was displayed with about {100 * displayed:.0f}%, so that cannot be checked."
    low, high = found.interval
    if found.mean_score < low:
        verdict = "which is too low"
    elif found.mean_score > high:
        verdict = "which is too high"
    else:
        verdict = "which fits" if high - low <= WIDE else "which so few cannot contradict"
    return (
        f"of the {found.n:,} test pictures displayed with {100 * found.lower:.0f} to {100 * found.upper:.0f}%, "
        f"{100 * found.share_malignant:.1f}% were malignant ({100 * low:.1f} to {100 * high:.1f}); on average "
        f"{100 * found.mean_score:.1f}% was displayed, {verdict}."
    )
