"""The figures of one split by subgroup: sex, age band, body site, BI-RADS, lesion size, device.

A subgroup with few cases says little. It has no AUC where fewer than MIN_CASES are malignant or fewer than MIN_CASES
are not. Proportions carry the number of their cases, and page and cards hide those of fewer than MIN_CASES.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from src.results.formatting import MIN_CASES
from src.results.thresholds import threshold_table
from train.data import Sample
from train.evaluation import metrics

AGE_BANDS = ((0, 40, "under 40"), (40, 60, "40 to 59"), (60, math.inf, "60 and over"))
SHARE_BANDS = ((0, 0.05, "under 5% of the picture"), (0.05, 0.15, "5 to 15%"), (0.15, math.inf, "15% and more"))
BANDS = {"age": AGE_BANDS, "lesion_share": SHARE_BANDS}
KINDS = ("sex", "age", "localization", "BIRADS", "lesion_share", "Device")


def subgroups_of(sample: Sample) -> dict[str, str]:
    """A sample's subgroups: kind -> value. It is "unknown" where the dataset has the kind, but not for this sample."""
    found = {}
    for kind in KINDS:
        if kind in sample.meta:
            value = sample.meta[kind]
            if isinstance(value, int | float):
                value = next(name for low, high, name in BANDS[kind] if low <= value < high)
            found[kind] = value or "unknown"
    return found


def evaluate_subgroups(
    samples: Sequence[Sample], positive: np.ndarray, scores: np.ndarray, threshold: float
) -> dict[str, dict[str, dict[str, Any]]]:
    """The figures of each subgroup: kind -> value -> src.models.evaluation.Subgroup as JSON, at `threshold`.

    `positive` is bool (N,); `scores` (N,) has p(malignant). The AUC's interval resamples whole groups.
    """
    found = [subgroups_of(sample) for sample in samples]
    groups = [f"{sample.source}/{sample.group}" for sample in samples]
    result: dict[str, dict[str, dict[str, Any]]] = {}
    for kind in KINDS:
        for value in sorted({one[kind] for one in found if kind in one}, key=lambda value: _sort_key(kind, value)):
            rows = np.flatnonzero([one.get(kind) == value for one in found])
            result.setdefault(kind, {})[value] = {
                "n": len(rows),
                "malignant": int(positive[rows].sum()),
                **_auc(positive[rows], scores[rows], [groups[row] for row in rows]),
                **metrics.at_threshold(threshold_table(scores[rows].tolist(), positive[rows].tolist()), threshold),
            }
    return result


def _sort_key(kind: str, value: str) -> tuple[bool, int, str]:
    bands = [name for _, _, name in BANDS.get(kind, ())]
    return value == "unknown", bands.index(value) if value in bands else 0, value


def _auc(positive: np.ndarray, scores: np.ndarray, groups: Sequence[str]) -> dict[str, Any]:
    if min(positive.sum(), (~positive).sum()) < MIN_CASES:
        return {"auc_malignant": None, "auc_malignant_interval": None}
    drawn = metrics.bootstrap(lambda rows: {"auc": metrics.auc(positive[rows], scores[rows])}, groups)
    return {"auc_malignant": metrics.auc(positive, scores), "auc_malignant_interval": drawn["auc"]}
