"""The endpoints of a running app.py: their contract, and the same answer whatever is asked besides."""

import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image

from src.models import checkpoint_info, checkpoints, perturbations
from src.models.predictor import Predictor
from src.results.thresholds import operating_point, outcome, promise
from src.service.arguments import NOT_A_THRESHOLD
from src.tasks import DISCLAIMER, TASKS
from tests.support.api_calls import EXAMPLE, call, example, picture, saved, sentence, uploaded
from tests.support.app import ROOT, Server, has_torch

KEYS = [
    "task",
    "model",
    "revision",
    "p_malignant",
    "threshold",
    "decision",
    "classes",
    "quality",
    "operating_point",
    "disclaimer",
    "explanation",
    "explained_class",
    "heatmap_empty",
    "size",
    "region",
    "region_kind",
    "screening",
    "confidence",
    "meaning",
    "gate",
    "parts",
    "cine",
    "spacing",
    "members",
]


POINT = {
    "sensitivity",
    "sensitivity_interval",
    "specificity",
    "specificity_interval",
    "positives",
    "negatives",
    "split",
    "interval_method",
}


@pytest.mark.parametrize("task", TASKS)
def test_contract_of_every_endpoint(client: Client, server: Server, task: str) -> None:
    result, heatmap = client.predict(example(task), 0.3, "Grad-CAM", api_name=f"/{task}")
    assert list(result) == KEYS
    assert result["task"] == task
    assert result["model"] == f"made-up-{task}"
    assert result["disclaimer"] == DISCLAIMER
    assert result["decision"] == ("refer" if result["p_malignant"] >= 0.3 else "no referral")
    classes = result["classes"]
    assert {c["code"]: (c["name"], c["malignant"]) for c in classes} == {
        d.code: (d.name, d.malignant) for d in TASKS[task].classes
    }
    probabilities = [c["probability"] for c in classes]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1)
    assert sum(c["probability"] for c in classes if c["malignant"]) == pytest.approx(result["p_malignant"])
    assert result["explained_class"] == classes[0]["code"]

    with Image.open(ROOT / "examples" / EXAMPLE[task]) as picture, Image.open(heatmap) as drawn:
        assert list(picture.size) == result["size"] == list(drawn.size)
        same = np.array_equal(np.asarray(picture.convert("RGB")), np.asarray(drawn.convert("RGB")))
        assert same == result["heatmap_empty"]

    point = result["operating_point"]
    table = json.loads((server.checkpoints / task / "evaluation.json").read_text())["splits"]["test"]["threshold_table"]
    expected = operating_point(table["malignant"], 0.3)
    assert set(point) == POINT
    assert (point["sensitivity"], point["specificity"]) == (expected.sensitivity, expected.specificity)
    assert tuple(point["sensitivity_interval"]) == pytest.approx(expected.sensitivity_interval)
    assert (point["positives"], point["negatives"], point["split"]) == (60, 140, "test")


def test_screening_says_what_it_costs_at_home_and_away(client: Client, server: Server) -> None:
    result, _ = client.predict(example("ultrasound"), 0.3, "none", api_name="/ultrasound")
    content = json.loads((server.checkpoints / "ultrasound" / "evaluation.json").read_text())
    places = result["screening"]["places"]
    assert [(place["seen"], place["set"], place["split"]) for place in places] == [
        ("home", "Home", "test"),
        ("second", "Second", "test-second"),
        ("away", "Elsewhere", "elsewhere"),
    ]
    assert {key: places[0][key] for key in POINT} == result["operating_point"]
    away = operating_point(content["external"]["elsewhere"]["threshold_table"]["malignant"], 0.3)
    carried = outcome(away, 0.01)
    assert places[2]["sensitivity"] == pytest.approx(away.sensitivity)
    assert places[2]["per_1000"]["ill"] == 10
    for name in ("found", "missed", "false_alarms", "ppv", "npv"):
        expected = getattr(carried, name)
        assert places[2]["per_1000"][name]["value"] == pytest.approx(expected.value)
        assert places[2]["per_1000"][name]["interval"] == pytest.approx([expected.low, expected.high])
    by_group = content["splits"]["validation"]["threshold_table_groups"]["malignant"]
    for found, target in zip(result["screening"]["promises"], (0.95, 0.9), strict=True):
        expected_promise = promise(by_group, target)
        assert (found["sensitivity"], found["confidence"]) == (target, 0.95)
        assert (found["threshold"], found["found"]) == (expected_promise.threshold, expected_promise.found)
        assert (found["positives"], found["positives_needed"]) == (70, expected_promise.needed)


def test_melanoma_is_reported_alone(client: Client, server: Server) -> None:
    result, _ = client.predict(example("skin"), 0.3, "none", api_name="/skin")
    tables = json.loads((server.checkpoints / "skin" / "evaluation.json").read_text())["splits"]["test"]
    alone = operating_point(tables["threshold_table"]["mel"], 0.3)
    (place,) = result["screening"]["places"]
    assert place["alone"]["mel"]["sensitivity"] == pytest.approx(alone.sensitivity)
    assert place["alone"]["mel"]["sensitivity_interval"] == pytest.approx(list(alone.sensitivity_interval))


def test_same_numbers_as_the_predictor(client: Client, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIL_ENGINE", "openvino")  # as the app does
    result, _ = client.predict(example("skin"), api_name="/skin")
    prediction = Predictor(checkpoints.load("skin", server.checkpoints / "skin")).predict(
        ROOT / "examples" / EXAMPLE["skin"]
    )
    assert result["p_malignant"] == pytest.approx(prediction.p_malignant, abs=1e-6)
    assert result["classes"][0]["probability"] == pytest.approx(prediction.classes()[0]["probability"], abs=1e-6)


@pytest.mark.parametrize("task", TASKS)
def test_threshold_and_explanation_may_be_left_out(client: Client, server: Server, task: str) -> None:
    result, heatmap = client.predict(example(task), api_name=f"/{task}")
    config = json.loads((server.checkpoints / task / "config.json").read_text())
    assert result["threshold"] == config["vigil"]["default_threshold"]
    assert result["explanation"] == "Grad-CAM"
    assert heatmap is not None


@pytest.mark.parametrize("task", TASKS)
def test_same_answer_whatever_is_asked_besides(client: Client, task: str) -> None:
    asked = [(0.3, "Grad-CAM"), (1, "none"), (0, "Guided Grad-CAM")]
    answers = [client.predict(example(task), *arguments, api_name=f"/{task}") for arguments in asked]
    assert len({json.dumps(result["classes"]) for result, _ in answers}) == 1
    assert [heatmap is None for _, heatmap in answers] == [False, True, False]
    assert answers[1][0]["explained_class"] is None


def test_decision_at_exactly_the_threshold(client: Client) -> None:
    p = client.predict(example("skin"), 0.5, "none", api_name="/skin")[0]["p_malignant"]
    decisions = {
        t: client.predict(example("skin"), t, "none", api_name="/skin")[0]["decision"]
        for t in (0.0, float(np.nextafter(p, 0)), p, float(np.nextafter(p, 1)), 1.0)
    }
    assert list(decisions.values()) == ["refer", "refer", "refer", "no referral", "no referral"]


def test_any_class_is_explained_on_request(client: Client) -> None:
    told = [client.predict(example("skin"), 0.3, "Grad-CAM", code, api_name="/skin") for code in ("", "mel", "nv")]
    assert [result["explained_class"] for result, _ in told] == [told[0][0]["classes"][0]["code"], "mel", "nv"]
    assert len({json.dumps(result["classes"]) for result, _ in told}) == 1
    said = sentence(lambda: client.predict(example("skin"), 0.3, "Grad-CAM", "melanoma", api_name="/skin"))
    assert said == f"The class to explain must be one of {', '.join(TASKS['skin'].codes)}, or empty."


def test_a_further_model_answers_on_request(client: Client) -> None:
    own, further = (
        client.predict(example("breastmnist"), 0.3, "none", "", model, api_name="/breastmnist")[0]
        for model in ("", "breastmnist-logistic")
    )
    predictor = Predictor(checkpoints.load("breastmnist", checkpoint_info.EMBEDDED / "breastmnist-logistic"))
    expected = predictor.predict(ROOT / "examples" / EXAMPLE["breastmnist"])
    assert own["model"] == "made-up-breastmnist"
    assert further["model"] == expected.model
    assert further["p_malignant"] == pytest.approx(expected.p_malignant, abs=1e-6)
    assert further["operating_point"] != own["operating_point"]
    for model in ("skin", "breastmnist-", "../skin", 3):
        asked = (example("breastmnist"), 0.3, "none", "", model)
        said = sentence(partial(client.predict, *asked, api_name="/breastmnist"))
        assert said == "The model must be one of breastmnist, breastmnist-logistic, or empty."


def test_only_the_worker_processes_load_torch(client: Client, server: Server) -> None:
    for task in TASKS:
        client.predict(example(task), 0.3, "Grad-CAM", api_name=f"/{task}")
    assert not has_torch(server.process.pid)
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    assert any(has_torch(int(child)) for child in children), "the workers have it, so the app's would be seen, too"


def test_robustness_reads_the_views(client: Client, server: Server) -> None:
    found = client.predict("skin", example("skin"), api_name="/robustness")
    assert [view["name"] for view in found["views"]] == [
        view.name for view in perturbations.perturbations(TASKS["skin"])
    ]
    result, _ = client.predict(example("skin"), 0.3, "none", api_name="/skin")
    # Read in one batch with its views, for which a processor may take other kernels.
    assert found["p_malignant"] == pytest.approx(result["p_malignant"], abs=1e-5)
    every = [found["p_malignant"], *(view["p_malignant"] for view in found["views"])]
    assert (found["lowest"], found["highest"]) == (min(every), max(every))
    default = json.loads((server.checkpoints / "skin" / "config.json").read_text())["vigil"]["default_threshold"]
    assert all((view["decision"] == "refer") == (view["p_malignant"] >= default) for view in found["views"])
    high = client.predict("skin", example("skin"), 1, api_name="/robustness")
    assert not high["borderline"]
    assert {view["decision"] for view in high["views"]} == {"no referral"}
    assert "task must be one of" in sentence(lambda: client.predict("skins", example("skin"), api_name="/robustness"))
    assert sentence(lambda: client.predict("skin", example("skin"), 2, api_name="/robustness")) == NOT_A_THRESHOLD


def test_callers_who_know_three_arguments_are_answered(server: Server) -> None:
    said = call(server, json.dumps({"data": [uploaded(server), 0.3, "none"]}))
    assert "p_malignant" in said
    said = call(server, json.dumps({"data": [uploaded(server)]}))
    assert '"explanation": "Grad-CAM"' in said


def test_concurrent_calls_get_the_quiet_answers(client: Client, tmp_path: Path) -> None:
    pictures = []
    for i in range(6):
        (tmp_path / f"{i}.png").write_bytes(saved(picture().rotate(60 * i), "PNG"))
        pictures.append(tmp_path / f"{i}.png")

    def read(file: Path) -> str:
        return json.dumps(client.predict(handle_file(file), 0.3, "Guided Grad-CAM", api_name="/skin")[0])

    quiet = {file: read(file) for file in pictures}
    assert len(set(quiet.values())) == len(pictures)
    with ThreadPoolExecutor(6) as pool:
        for _ in range(3):
            assert dict(zip(pictures, pool.map(read, pictures), strict=True)) == quiet


def test_only_these_endpoints_are_offered(client: Client) -> None:
    offered = client.view_api(return_format="dict", print_info=False)
    endpoints = offered["named_endpoints"]
    assert set(endpoints) == {*(f"/{task}" for task in TASKS), "/robustness"}
    assert not offered["unnamed_endpoints"]
    for name, (required, further) in {
        **{
            f"/{name}": (["image"], ["threshold", "explain", "code", "model", *(["mpp"] if task.mpp else [])])
            for name, task in TASKS.items()
        },
        "/robustness": (["task", "image"], ["threshold", "model", "mpp"]),
    }.items():
        parameters = endpoints[name]["parameters"]
        assert [p["parameter_name"] for p in parameters] == required + further
        assert [p["parameter_has_default"] for p in parameters] == [False] * len(required) + [True] * len(further)
        returned = ["result"] if name == "/robustness" else ["result", "Heatmap"]
        assert [r["label"] for r in endpoints[name]["returns"]] == returned
        assert "not a diagnosis" in endpoints[name]["description"]
