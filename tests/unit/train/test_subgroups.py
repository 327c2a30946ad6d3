"""train/evaluation/subgroups.py: the figures per sex, age, BI-RADS and lesion size."""

from pathlib import Path

import numpy as np
import pytest

from src.results.formatting import MIN_CASES
from train.data import Sample
from train.evaluation import subgroups

pytestmark = pytest.mark.usefixtures("short_evaluation")


def test_subgroups_by_hand() -> None:
    def sample(n: int) -> Sample:
        meta = {"sex": "male" if n < 50 else None, "age": [39.0, 40.0, 60.0, None][n % 4], "BIRADS": str(2 + n % 4)}
        return Sample(f"s{n}", 0, f"g{n}", "test", "busbra", Path(), meta={**meta, "lesion_share": 0.05, "dx": "nv"})

    samples = [sample(n) for n in range(100)]
    positive = np.arange(100) % 2 == 0
    scores = np.where(positive, 0.8, 0.1)
    scores[0] = 0.2
    found = subgroups.evaluate_subgroups(samples, positive, scores, 0.3)
    assert list(found) == ["sex", "age", "BIRADS", "lesion_share"], "nothing else becomes a subgroup"
    assert list(found["sex"]) == ["male", "unknown"]
    assert list(found["age"]) == ["under 40", "40 to 59", "60 and over", "unknown"], "in order of age, not of letters"
    assert list(found["lesion_share"]) == ["5 to 15%"]
    male = found["sex"]["male"]
    assert (male["n"], male["malignant"], male["tp"], male["fn"], male["tn"], male["fp"]) == (50, 25, 24, 1, 25, 0)
    assert male["sensitivity"]["of"] == 25
    assert male["auc_malignant"] == pytest.approx(1.0)
    # an odd BI-RADS holds no cancer here: n is said, the AUC is not
    assert found["BIRADS"]["3"]["n"] == 25
    assert found["BIRADS"]["3"]["auc_malignant"] is None
    assert found["BIRADS"]["3"]["sensitivity"] == {"value": None, "interval": None, "of": 0}


@pytest.mark.parametrize(("positives", "given"), [(MIN_CASES - 1, False), (MIN_CASES, True)])
def test_no_auc_of_a_small_subgroup(positives: int, given: bool) -> None:
    samples = [Sample(f"s{n}", 0, f"g{n}", "test", "x", Path(), meta={"sex": "male"}) for n in range(100)]
    positive = np.arange(100) < positives
    found = subgroups.evaluate_subgroups(samples, positive, np.linspace(1, 0, 100), 0.3)["sex"]["male"]
    assert (found["auc_malignant"] is not None) == given
    assert (found["auc_malignant_interval"] is not None) == given
