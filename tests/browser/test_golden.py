"""One answer everywhere: page, API, `score`, Predictor and bare timm give what each embedded checkpoint says it must.

The golden values stand in config.json (train.release); the app runs once, with weights from a Hub and without.
"""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from gradio_client import Client, handle_file
from PIL import Image
from playwright.sync_api import Browser, expect

from src import score
from src.models import checkpoints
from src.models.predictor import Predictor, class_logits, views
from src.tasks import TASKS
from tests.browser.test_page import open_tab, p_malignant, upload
from tests.hub import Hub, instead
from tests.support.app import ROOT, Server, running
from tests.support.chromium import PATIENCE
from train import card, release

RELEASED = card.released()
CLOSE = release.GOLDEN_TOLERANCE


def pictures(task: str) -> list[Path]:
    return sorted((ROOT / "examples" / task).iterdir())


def golden(folder: Path) -> dict[str, tuple[float, ...]]:
    return checkpoints.load(task_of(folder), folder).config.vigil.golden


def task_of(folder: Path) -> str:
    return folder.name.partition("-")[0]


def malignant(task: str, probabilities: tuple[float, ...]) -> float:
    return sum(p for p, one in zip(probabilities, TASKS[task].malignant, strict=True) if one)


def as_files(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in checkpoints.load(task_of(folder), folder).config.files}


@pytest.mark.parametrize("folder", RELEASED, ids=lambda folder: folder.name)
def test_every_example_has_a_golden_value_and_the_predictor_gives_it(folder: Path) -> None:
    predictor = Predictor(checkpoints.load(task_of(folder), folder))
    expected = golden(folder)
    drawn = [picture.name for picture in pictures(predictor.task.name)]
    assert list(expected) == drawn, f"run python -m train.release {folder}"
    for picture in pictures(predictor.task.name):
        assert sum(expected[picture.name]) == pytest.approx(1, abs=1e-5)
        assert predictor.predict(picture).probabilities == pytest.approx(expected[picture.name], abs=CLOSE)


@pytest.mark.parametrize("folder", RELEASED, ids=lambda folder: folder.name)
def test_score_gives_the_golden_values(folder: Path, hub: Hub, tmp_path: Path) -> None:
    task, out, repo = task_of(folder), tmp_path / "scores.csv", f"owner/vigil-{folder.name}"
    # A task's default without asking, its further models from the Hub.
    commit = hub.put(repo, as_files(folder)).oid
    chosen = [] if folder.name == task else ["--weights", f"{repo}@{commit}"]
    assert score.main([task, str(ROOT / "examples" / task), *chosen, "--csv", str(out)]) == 0
    with out.open(newline="") as lines:
        found = {Path(row["path"]).name: row for row in csv.DictReader(lines)}
    expected = golden(folder)
    assert found.keys() == expected.keys()
    for name, probabilities in expected.items():
        assert float(found[name]["p_malignant"]) == pytest.approx(malignant(task, probabilities), abs=CLOSE)
        for code, p in zip(TASKS[task].codes, probabilities, strict=True):
            assert float(found[name][f"p_{code}"]) == pytest.approx(p, abs=CLOSE)


@pytest.mark.parametrize("folder", RELEASED, ids=lambda folder: folder.name)
def test_bare_timm_gives_the_same_logits_from_the_hub(folder: Path, hub: Hub) -> None:
    """Nothing of Vigil but its networks (src.models.networks, imported above) and, for ultrasound, its crop."""
    repo = f"owner/vigil-{folder.name}"
    hub.put(repo, as_files(folder))
    model = timm.create_model(f"hf-hub:{repo}", pretrained=True).eval()
    settings = timm.data.resolve_model_data_config(model)
    transform = timm.data.create_transform(**settings)
    predictor = Predictor(checkpoints.load(task_of(folder), folder))
    averaged = predictor.checkpoint.config.vigil.test_time_augmentation
    for path in pictures(predictor.task.name):
        with Image.open(path) as opened:
            picture = opened.convert("L" if settings["input_size"][0] == 1 else "RGB")
        prediction = predictor.predict(path)
        if predictor.task.crop_to_roi:
            picture = picture.crop(prediction.box)
        with torch.no_grad():
            pixels = views(transform(picture)[None], averaged)
            logits = torch.stack([class_logits(model(one)) for one in pixels]).mean(dim=0)[0]
        assert logits.tolist() == pytest.approx(prediction.logits, abs=1e-4)
        # A single logit is that of the second class, as the card says.
        calibrated = torch.softmax(logits / predictor.checkpoint.config.vigil.temperature, dim=0)
        assert calibrated.tolist() == pytest.approx(golden(folder)[path.name], abs=CLOSE)


@pytest.fixture(scope="module")
def commits(session_hub: Hub) -> dict[str, str]:
    """Task -> commit, for the weights that a Hub has; its skin weights are private, ultrasound's cannot be had."""
    session_hub.reset()
    made = {
        task: session_hub.put(f"owner/vigil-{task}", as_files(checkpoints.EMBEDDED / task), private=task == "skin").oid
        for task in ("skin", "ultrasound", "breastmnist")
    }
    session_hub.fault("/api/models/owner/vigil-ultrasound", instead(status=500))
    return made


@pytest.fixture(scope="module")
def app(commits: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The app as its operator starts it, with three of four weights from the Hub."""
    folder = tmp_path_factory.mktemp("app")
    asked = {f"VIGIL_WEIGHTS_{task.upper()}": f"owner/vigil-{task}@main" for task in commits}
    with running(folder, {**asked, "HF_HOME": str(folder / "home"), "HF_TOKEN": "hf_read"}) as server:
        yield server


@pytest.mark.parametrize("task", TASKS)
def test_the_api_gives_the_golden_values_and_names_the_commit(app: Server, commits: dict[str, str], task: str) -> None:
    folder = checkpoints.EMBEDDED / task
    client = Client(app.url, verbose=False)
    for name, probabilities in golden(folder).items():
        picture = handle_file(ROOT / "examples" / task / name)
        result: Any = client.predict(picture, explain="none", api_name=f"/{task}")[0]
        assert result["p_malignant"] == pytest.approx(malignant(task, probabilities), abs=CLOSE)
        found = {one["code"]: one["probability"] for one in result["classes"]}
        assert found == pytest.approx(dict(zip(TASKS[task].codes, probabilities, strict=True)), abs=CLOSE)
        digest = json.loads((folder / "config.json").read_text())["vigil"]["sha256"][:12]
        assert result["revision"] == (commits[task] if task in ("skin", "breastmnist") else digest)


def test_the_page_gives_the_golden_values_and_says_where_the_weights_come_from(
    app: Server, commits: dict[str, str], browser: Browser
) -> None:
    page = browser.new_page(viewport={"width": 1440, "height": 1000})
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    page.goto(app.url)
    for task in TASKS:
        panel = open_tab(page, task)
        problem = panel.locator(".v-problem")
        if task == "ultrasound":
            expect(problem).to_contain_text("The Hub is out of order (500).")
        else:
            expect(problem).to_have_count(0)
        if task in ("skin", "breastmnist"):
            expect(panel).to_contain_text(commits[task])
        picture = pictures(task)[0]
        upload(panel, picture)
        expect(panel.locator(".v-decision")).to_be_visible()
        expected = malignant(task, golden(checkpoints.EMBEDDED / task)[picture.name])
        assert p_malignant(panel) == pytest.approx(expected, abs=CLOSE + 0.0005)  # the page's own rounding
    page.close()


def test_the_log_names_commits_and_says_what_failed(app: Server, commits: dict[str, str]) -> None:
    log = app.log.read_text()
    assert f"skin: owner/vigil-skin, revision {commits['skin']}" in log
    assert "ultrasound: the embedded checkpoint serves instead of owner/vigil-ultrasound@main" in log
    assert "instead of owner/vigil-ultrasound@main: The Hub is out of order (500)." in log
    assert "\nHfHubHTTPError\n" in log  # what caused it: its kind and place, never its words
    assert "hf_read" not in log
