"""Page, API, `score`, Predictor and plain timm give the golden probabilities of each embedded checkpoint.

The golden values stand in config.json (train.release); the app runs once, with weights from a Hub and without.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from gradio_client import Client, handle_file
from playwright.sync_api import Browser, expect

from src.models.checkpoint_info import EMBEDDED
from src.tasks import TASKS
from tests.hub import Hub, instead
from tests.support.app import ROOT, Server, running
from tests.support.chromium import PATIENCE
from tests.support.golden_values import CLOSE, as_files, golden, malignant, pictures
from tests.support.page_actions import open_tab, p_malignant, upload


@pytest.fixture(scope="module")
def commits(session_hub: Hub) -> dict[str, str]:
    """Task -> commit, for the weights that a Hub has; its skin weights are private, ultrasound's cannot be had."""
    session_hub.reset()
    made = {
        task: session_hub.put(f"owner/vigil-{task}", as_files(EMBEDDED / task), private=task == "skin").oid
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
    folder = EMBEDDED / task
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
        expected = malignant(task, golden(EMBEDDED / task)[picture.name])
        assert p_malignant(panel) == pytest.approx(expected, abs=CLOSE + 0.0005)  # the page's own rounding
    page.close()


def test_the_log_names_commits_and_says_what_failed(app: Server, commits: dict[str, str]) -> None:
    log = app.log.read_text()
    assert f"skin: owner/vigil-skin, revision {commits['skin']}" in log
    assert "ultrasound: the embedded checkpoint serves instead of owner/vigil-ultrasound@main" in log
    assert "instead of owner/vigil-ultrasound@main: The Hub is out of order (500)." in log
    assert "\nHfHubHTTPError\n" in log  # what caused it: its kind and place, never its words
    assert "hf_read" not in log
