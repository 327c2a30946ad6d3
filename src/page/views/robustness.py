"""The section "How sure is it?": a Robustness as HTML.

Knows nothing of Gradio or of pixels. Colour is never the only sign: every chip has the word and the icon of its
decision.
"""

from typing import Any

from src.models.evaluation import EvaluatedSet, Evaluation, Metric
from src.page.number_format import decimals, percent
from src.page.render import render
from src.page.translation import gettext as _
from src.results.result import Robustness


def no_robustness() -> str:
    """The text in place of the section before altered versions were read."""
    return render("no_robustness.html")


def robustness_section(found: Robustness, threshold: float, evaluation: Evaluation) -> str:
    """Whether the decision holds, the range of p(malignant), and a chip for each altered version of the image.

    `found` is decided at `threshold`.
    """
    flip_rates = [rate for test_set in evaluation.held_out if (rate := _flip_rate(test_set))]
    return render("robustness.html", found=found, threshold=threshold, flip_rates=flip_rates)


def _flip_rate(test_set: EvaluatedSet) -> dict[str, Any] | None:
    """How often decisions flip on images that the model did not learn from; None if it was not measured."""
    found = test_set.robustness
    every = found.pictures.get("all") if found else None
    if found is None or every is None or every.flipped.value is None:
        return None
    malignant = found.pictures.get("malignant")
    return {
        "title": test_set.title,
        "n": every.n,
        "flipped": _interval(every.flipped),
        "threshold": found.threshold,
        "malignant": {"n": malignant.n, "flipped": _interval(malignant.flipped)} if malignant and malignant.n else None,
    }


def _interval(found: Metric) -> str:
    if found.value is None:
        return "–"
    low, high = found.interval
    shown = percent(found.value)
    if low is None or high is None:
        return shown
    return _("%(value)s (%(low)s to %(high)s)", value=shown, low=decimals(100 * low), high=decimals(100 * high))
