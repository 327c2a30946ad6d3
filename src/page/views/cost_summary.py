"""What a threshold costs in one sentence, beside a pictograph of a thousand people, as HTML.

Knows nothing of Gradio. It also carries the figures for every threshold of the slider, from which the page's script
(page.js) takes the sentence, the pictograph, the table of the costs and the curves while the slider moves.
"""

from collections.abc import Sequence
from typing import Any

from src.models.evaluation import MALIGNANT, EvaluatedSet, Evaluation
from src.page.render import render
from src.page.translation import gettext as _
from src.page.views.threshold_costs import moving_columns, moving_figures
from src.results.thresholds import PEOPLE, operating_point, outcome
from src.tasks import Task


def cost_summary(
    task: Task, evaluation: Evaluation, threshold: float, prevalence: float, thresholds: Sequence[float]
) -> str:
    """The sentence and the pictograph at `threshold`, with the figures of all `thresholds`.

    `prevalence` is how many of PEOPLE have the disease.
    """
    home = evaluation.home
    if home is None:
        return render("not_evaluated.html")
    counted = home.positives > 0 and home.negatives > 0
    return render(
        "cost_summary.html",
        task=task,
        test_sets=evaluation.held_out,
        shown=moving_figures(evaluation, threshold, prevalence),
        columns=moving_columns(evaluation, thresholds, prevalence)
        | (pictograph_columns(home, thresholds, prevalence) if counted else {}),
        pictograph=pictograph(home, threshold, prevalence) if counted else None,
        people=PEOPLE,
        interval_name=_("95%% interval"),
        prevalence=prevalence,
    )


def pictograph(test_set: EvaluatedSet, threshold: float, prevalence: float) -> dict[str, float]:
    """The places in the pictograph at which each group ends, 0 to PEOPLE: found, ill, referred.

    People stand in the order found, missed, false alarms, spared. A place may be a fraction, so that an expected number
    of 0.2 missed cancers is drawn as a fifth of a person and not as nobody.
    """
    expected = outcome(operating_point(test_set.tables[MALIGNANT], threshold), prevalence / PEOPLE, PEOPLE)
    return {
        "found": round(expected.found.value, 2),
        "ill": round(prevalence, 2),
        "referred": round(prevalence + expected.false_alarms.value, 2),
    }


def pictograph_columns(
    test_set: EvaluatedSet, thresholds: Sequence[float], prevalence: float
) -> dict[str, list[float]]:
    """The places of `pictograph` for each of `thresholds`, as columns."""
    rows = [pictograph(test_set, threshold, prevalence) for threshold in thresholds]
    columns: dict[str, Any] = {f"people.{key}": [row[key] for row in rows] for key in ("found", "referred")}
    return columns
