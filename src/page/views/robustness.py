"""How sure is it? A Robustness, as HTML.

Pure: figures in, markup out. Never colour alone: every chip has its decision's word and sign.
"""

from html import escape

from src.page.views.result_card import ARROW, DASH, INFO, WARNING, percent
from src.results.evaluation import Figure, Measured
from src.results.result import PerturbedResult, Robustness


def strip(found: Robustness, threshold: float, measured: Measured) -> str:
    """A chip a view, the spread of p(malignant) over them with the threshold on it, and whether the decision holds.

    `found` is decided at `threshold`.
    """
    views = found.views
    chips = "".join(_chip(view) for view in views)
    low, high = found.lowest, found.highest
    spread = f"over {len(views)} views from {percent(low)} to {percent(high)}"
    return (
        f'<section class="v-certainty" role="status"><h3>How sure is it?</h3>{_verdict(found, threshold)}'
        f'<div class="v-scale v-spread" role="img" aria-label="p(malignant) {spread}; the threshold is at '
        f'{percent(threshold)}"><i class="v-fill" style="left:{100 * low:.2f}%;right:{100 - 100 * high:.2f}%"></i>'
        f'<i class="v-here" style="left:{100 * found.p_malignant:.2f}%"></i>'
        f'<i class="v-mark" style="left:{100 * threshold:.2f}%"></i></div>'
        f'<p class="v-note">p(malignant) {spread}. The bar is that spread, the dot the picture as it is, the line the '
        f'threshold of {percent(threshold)}.</p><ul class="v-chips">{chips}</ul>{_flips(measured)}</section>'
    )


def _verdict(found: Robustness, threshold: float) -> str:
    flipped, views = found.flipped, len(found.views)
    if found.borderline:
        return (
            f'<p class="v-verdict v-borderline">{WARNING}<span><b>Borderline:</b> small changes of the picture move it '
            f"across the threshold of {percent(threshold)}: {flipped} of {views} views are decided otherwise.</span>"
            "</p>"
        )
    return (
        f'<p class="v-verdict">{INFO}<span><b>The decision holds</b> in all {views} views. That says nothing of '
        "whether it is right.</span></p>"
    )


def _chip(view: PerturbedResult) -> str:
    refer = view.decision == "refer"
    kind, sign, word = ("v-refer", ARROW, "refer") if refer else ("v-no-referral", DASH, "no referral")
    return f'<li class="{kind}">{sign}<span><b>{escape(view.name)}</b> {percent(view.p_malignant)}, {word}</span></li>'


def _flips(measured: Measured) -> str:
    """How often decisions flip on pictures that the model did not learn from."""
    lines = []
    for place in measured.places:
        found = place.robustness
        every = found.pictures.get("all") if found else None
        if found is None or every is None or every.flipped.value is None:
            continue
        ill = found.pictures.get("malignant")
        malignant = f"; of the {ill.n:,} malignant ones {_interval(ill.flipped)}" if ill and ill.n else ""
        lines.append(
            f"<li><b>{escape(place.title)}:</b> of {every.n:,} pictures {_interval(every.flipped)} flip in at least "
            f"one of such views at {found.threshold:g}{malignant}.</li>"
        )
    if not lines:
        return ""
    return (
        f'<p class="v-note">How often decisions flip, in brackets the 95% interval:</p><ul class="v-note v-promises">'
        f"{''.join(lines)}</ul>"
    )


def _interval(found: Figure) -> str:
    if found.value is None:
        return "–"
    low, high = found.interval
    return percent(found.value) + ("" if low is None or high is None else f" ({100 * low:.1f} to {100 * high:.1f})")
