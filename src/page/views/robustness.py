"""How sure is it? A Robustness, as HTML.

Pure: figures in, markup out. Never colour alone: every chip has its decision's word and sign.
"""

from typing import Any

from src.models.evaluation import EvaluatedSet, Evaluation, Metric
from src.page.render import render
from src.results.formatting import percent
from src.results.result import Robustness


def robustness_section(found: Robustness, threshold: float, measured: Evaluation) -> str:
    """A chip for each small change, the spread of p(malignant) over them, and whether the decision holds.

    `found` is decided at `threshold`.
    """
    flips = [line for place in measured.held_out if (line := _flips(place))]
    return render("robustness.html", found=found, threshold=threshold, flips=flips)


def _flips(place: EvaluatedSet) -> dict[str, Any] | None:
    """How often decisions flip on pictures that the model did not learn from; None where it was not measured."""
    found = place.robustness
    every = found.pictures.get("all") if found else None
    if found is None or every is None or every.flipped.value is None:
        return None
    ill = found.pictures.get("malignant")
    return {
        "title": place.title,
        "n": every.n,
        "flipped": _interval(every.flipped),
        "threshold": found.threshold,
        "malignant": {"n": ill.n, "flipped": _interval(ill.flipped)} if ill and ill.n else None,
    }


def _interval(found: Metric) -> str:
    if found.value is None:
        return "–"
    low, high = found.interval
    return percent(found.value) + ("" if low is None or high is None else f" ({100 * low:.1f} to {100 * high:.1f})")
