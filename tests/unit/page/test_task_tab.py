"""A task's tab, without a browser."""

from pathlib import Path
from typing import Any

from gradio import Blocks

from src.models import checkpoints
from src.models.prediction import Prediction
from src.models.predictor import Predictor
from src.page.tabs.task_tab import TaskTab
from src.results import decisions
from src.service.worker_pool import WorkerPool
from tests.support import synthetic_checkpoints
from tests.support.app import ROOT
from tests.support.event_loop import run
from tests.support.page_actions import EXAMPLE


def test_slider_runs_no_network(tmp_path: Path) -> None:
    class Counting(Predictor):
        calls = 0

        def predict(self, *arguments: Any, **further: Any) -> Prediction:
            self.calls += 1
            return super().predict(*arguments, **further)

    predictor = Counting(checkpoints.load("breastmnist", synthetic_checkpoints.write(tmp_path, "breastmnist")))
    work = WorkerPool({"breastmnist": predictor})
    with Blocks():
        tab = TaskTab({"breastmnist": predictor.checkpoint}, {}, work)
    picture = {"path": str(ROOT / "examples" / EXAMPLE["breastmnist"])}

    def shown(threshold: float) -> Any:
        return run(tab.handlers.show(picture, threshold, "Grad-CAM", "", "", ""))[tab.controls.result]

    result = shown(0.3)
    said = [{"model": "breastmnist", "p_malignant": 0.5, "most_probable": "x", "probability": 0.5}]
    perturbed = decisions.robustness([("darker", 0.1)], 0.4, 0.3).model_dump(mode="json")
    calls = predictor.calls
    again = [tab.handlers.decide_again(result, t, 10, "", perturbed, said) for t in (0, 1, result["p_malignant"])]
    assert [changes[tab.controls.result]["decision"] for changes in again] == ["refer", "no referral", "refer"]
    assert "the threshold of 100.0%" in again[1][tab.controls.robustness]
    assert "threshold 100.0%" in again[1][tab.controls.comparison]
    assert predictor.calls == calls
    assert tab.handlers.decide_again(result, 0.5, 10, "")[tab.controls.result] == shown(0.5), "as if read anew"
