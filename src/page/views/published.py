"""Published figures of other models on the same data, beside the same figures of our model, as HTML.

Their figures come from references.json, ours from evaluation.json.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup

from src.models.evaluation import MALIGNANT, EvaluatedSet, Metric
from src.page.number_format import decimals, general, thousands
from src.page.render import render
from src.page.translation import gettext as _
from src.page.translation import marked, translated
from src.results.formatting import METRIC_NAMES, with_interval
from src.results.thresholds import operating_point, proportion_interval
from src.tasks import Task

NAMES: Final[Mapping[str, str]] = {
    **METRIC_NAMES,
    "auc": marked("AUC, averaging not stated"),
    "f1": marked("F1, averaging not stated"),
    "sensitivity": marked("Sensitivity"),
    "specificity": marked("Specificity"),
    "sensitivity_mel": marked("Sensitivity for melanoma"),
    "accuracy_malignant": marked("Accuracy, malignant or not, at 0.5"),
    "f1_malignant": marked("F1, malignant, at 0.5"),
    "precision_malignant": marked("Precision (PPV), malignant, at 0.5"),
    "recall_malignant": marked("Recall (sensitivity), malignant, at 0.5"),
}

REFERENCES: Final[Mapping[str, Any]] = json.loads(
    (Path(__file__).parent / "references.json").read_text(encoding="utf-8")
)
"""Task -> the published results on its data. The entry "about" explains the keys of the file."""


def beside(task: Task, sets: Mapping[str, EvaluatedSet]) -> Markup:
    """The table of a task; empty if references.json has no result on its data.

    `sets` has our model's figures on each held-out set, by the set's name in evaluation.json.
    """
    if task.name not in REFERENCES:
        return Markup()
    rows = []
    for reference in REFERENCES[task.name]:
        ours = sets.get(reference["beside"])
        claims = [
            {
                "metric": translated(NAMES[claim["metric"]]),
                "theirs": _claimed(claim),
                "ours": _own(claim["metric"], ours) if ours else "–",
            }
            for claim in reference["figures"]
        ]
        rows.append({**reference, "claims": claims, "comparable": _comparable(reference, ours)})
    return render("published.html", rows=rows)


def _claimed(claimed: Mapping[str, Any]) -> str:
    if "range" in claimed:
        low, high = (decimals(end, 3) for end in claimed["range"])
        return _("%(low)s to %(high)s", low=low, high=high)
    if "interval" in claimed:
        return translated(with_interval(Metric.model_validate(claimed)))
    spread = f" ± {decimals(claimed['plus_minus'], 3)}" if "plus_minus" in claimed else ""
    return decimals(claimed["value"], 3) + spread


def _comparable(reference: Mapping[str, Any], ours: EvaluatedSet | None) -> str:
    if reference["difference"]:
        return _("No: %(difference)s.", difference=reference["difference"])
    if ours is None:
        return _("No: this model was not evaluated on that dataset.")
    n = thousands(ours.n)
    if ours.n == reference["n"]:
        return _("Yes: the same %(n)s images and the same question.", n=n)
    return _(
        "In part: the same dataset and question, but Vigil was evaluated on %(n)s of its images.", n=thousands(ours.n)
    )


def _own(metric: str, ours: EvaluatedSet) -> str:
    """The same figure of our model on one set; a dash if there is none."""
    if metric in ours.metrics:
        return translated(with_interval(ours.metrics[metric]))
    share, _underscore, target = metric.partition("_")
    if share in ("sensitivity", "specificity"):
        point = ours.at_default_threshold.get(target or MALIGNANT)
        if point is None:
            return "–"
        figure = translated(with_interval(getattr(point, share)))
        return _("%(title)s at %(threshold)s", title=figure, threshold=general(point.threshold))
    if target != MALIGNANT:
        return "–"
    half = operating_point(ours.tables[MALIGNANT], 0.5)
    if share == "f1":
        return decimals(2 * half.tp / (2 * half.tp + half.fp + half.fn), 3) if half.tp else "–"
    k, n = {
        "accuracy": (half.tp + half.tn, half.tp + half.tn + half.fp + half.fn),
        "precision": (half.tp, half.tp + half.fp),
        "recall": (half.tp, half.tp + half.fn),
    }[share]
    return translated(with_interval(Metric(value=k / n if n else None, interval=proportion_interval(k, n))))
