"""A task's models side by side, as HTML: their figures on the test split, their speed, and their answers to an image.

Knows nothing of Gradio or of pixels.
"""

from collections.abc import Mapping, Sequence

from src.models.checkpoint_info import CheckpointInfo
from src.models.evaluation import MALIGNANT
from src.page.number_format import decimals, general, percent, percentage, thousands
from src.page.render import render
from src.page.translation import gettext as _
from src.page.translation import translated
from src.results.formatting import with_interval
from src.results.result import ModelAnswer
from src.results.thresholds import decide, operating_point

Served = Mapping[str, CheckpointInfo]
"""The checkpoints of one task by their folders' names, the default first."""

Speeds = Mapping[str, float]
"""Milliseconds per image by the folder's name, without the models that were not timed."""


def title(checkpoint: CheckpointInfo) -> str:
    """The model's name, as the visitor chooses it."""
    return checkpoint.config.vigil.name


def models_table(served: Served, speeds: Speeds) -> str:
    """The table of the models: figures on the test split, default threshold and speed."""
    rows = []
    for name, checkpoint in served.items():
        home, threshold = checkpoint.evaluation.home, checkpoint.config.vigil.default_threshold
        shares = ["–", "–"]
        if home is not None:
            point = operating_point(home.tables[MALIGNANT], threshold)
            shares = [
                _share(value, interval) if counted else "–"
                for value, interval, counted in (
                    (point.sensitivity, point.sensitivity_interval, home.positives),
                    (point.specificity, point.specificity_interval, home.negatives),
                )
            ]
        speed = f"{decimals(speeds[name])} ms" if name in speeds else "–"
        auc = translated(with_interval(home.metrics.get("auc_malignant"))) if home else "–"
        rows.append([title(checkpoint), auc, *shares, general(threshold), speed])
    sizes = sorted({home.n for checkpoint in served.values() if (home := checkpoint.evaluation.home)})
    return render("models_table.html", rows=rows, test_sizes=list(map(thousands, sizes)))


def _share(value: float, interval: tuple[float, float]) -> str:
    low, high = map(percentage, interval)
    return _("%(value)s (%(low)s to %(high)s)", value=percent(value), low=low, high=high)


def side_by_side(answers: Sequence[ModelAnswer], served: Served, threshold: float) -> str:
    """The answer of each model to one image, decided at `threshold`."""
    cards = [
        {"answer": answer, "title": title(served[answer.model]), "decision": decide(answer.p_malignant, threshold)}
        for answer in answers
    ]
    agree = len({card["decision"] for card in cards}) == 1
    return render("side_by_side.html", cards=cards, agree=agree, threshold=threshold)
