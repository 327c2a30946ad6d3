"""A task's tab, without a browser."""

import asyncio
import re
from pathlib import Path
from typing import Any

from gradio import Blocks

from src import fair_queue
from src.models import checkpoints
from src.models.prediction import Prediction
from src.models.predictor import Predictor
from src.page.tabs.task_tab import TaskTab
from src.results import decisions
from src.service.worker_pool import ThreadWorkerPool
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
    work = ThreadWorkerPool({"breastmnist": predictor})
    with Blocks():
        tab = TaskTab({"breastmnist": predictor.checkpoint}, {}, work)
    picture = {"path": str(ROOT / "examples" / EXAMPLE["breastmnist"])}

    def shown(threshold: float) -> Any:
        return run(tab.handlers.answer(picture, threshold, "Grad-CAM", "", "", ""))[tab.controls.result]

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


def test_a_waiting_visitor_is_told_the_place_and_then_gets_the_answer(tmp_path: Path) -> None:
    predictor = Predictor(checkpoints.load("breastmnist", synthetic_checkpoints.write(tmp_path, "breastmnist")))
    work = ThreadWorkerPool({"breastmnist": predictor}, at_once=1)
    with Blocks():
        tab = TaskTab({"breastmnist": predictor.checkpoint}, {}, work)
    picture = {"path": str(ROOT / "examples" / EXAMPLE["breastmnist"])}

    async def visit() -> list[Any]:
        fair_queue.visitor.set("first")
        running = await work.turns.take("first")
        fair_queue.visitor.set("second")
        ahead = asyncio.ensure_future(work.turns.take("second"))
        await asyncio.sleep(0)
        fair_queue.visitor.set("third")
        shown = []
        async for changes in tab.handlers.show(picture, 0.3, "none", "", "", ""):
            shown.append(changes)
            if len(shown) <= 2:
                work.turns.give_back(running if len(shown) == 1 else await ahead)
        return shown

    *waiting, answer = run(visit())
    places = [re.findall(r"place <b>(\d)</b>", changes[tab.controls.decision]) for changes in waiting]
    assert places[:2] == [["2"], ["1"]]
    assert all(set(changes) == {tab.controls.decision} for changes in waiting), "nothing else changes"
    assert answer[tab.controls.result]["decision"] in ("refer", "no referral")
