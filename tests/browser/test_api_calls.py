"""The API calls on a task's tab give the answer that the tab shows."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from tests.support.app import ROOT, Server
from tests.support.page_actions import EXAMPLE, open_section, open_tab, p_malignant, threshold, upload

LIMIT = 300
"""Seconds for one call. A training may run beside the tests."""


def code(panel: Locator, language: str) -> str:
    return panel.get_by_label(f"The call in {language}").inner_text()


def test_python_and_curl_give_the_answer_that_is_shown(page: Page, server: Server, tmp_path: Path) -> None:
    panel = open_tab(page, "skin")
    upload(panel, ROOT / "examples" / EXAMPLE["skin"])
    expect(panel.locator(".v-word")).to_have_text(re.compile("^(Refer|No referral)$"))
    threshold(panel, 0.42)
    expect(panel.locator(".v-decision")).to_contain_text("the threshold of 42.0%")
    open_section(panel, "API")
    shutil.copy(ROOT / "examples" / EXAMPLE["skin"], tmp_path / "image.jpg")
    word = panel.locator(".v-word").inner_text().lower()

    import_and_call = code(panel, "Python").replace("Client(", "Client(verbose=False, src=")
    assert f'src="{server.url}"' in import_and_call
    script = import_and_call + "\nprint(result['threshold'])"
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT, check=True
    )
    decision, p, at = re.fullmatch(r"(.*) (\S+)\n(\S+)\n", ran.stdout).groups()  # type: ignore[union-attr]
    assert (decision, float(at)) == (word, 0.42)
    assert abs(float(p) - p_malignant(panel)) < 0.001

    ran = subprocess.run(
        ["bash", "-c", code(panel, "curl")], cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT, check=True
    )
    (data,) = re.findall(r"event: complete\ndata: (.*)", ran.stdout)
    result = json.loads(data)[0]
    assert (result["decision"], result["threshold"]) == (word, 0.42)
    assert abs(result["p_malignant"] - p_malignant(panel)) < 0.001


def test_the_address_and_the_model_stay_when_the_calls_change(page: Page, server: Server) -> None:
    panel = open_tab(page, "breastmnist")
    open_section(panel, "API")
    curl = panel.get_by_label("The call in curl")
    expect(curl).to_contain_text('"breastmnist"')
    threshold(panel, 0.42)
    panel.locator(".v-example").first.click()
    expect(panel.locator(".v-word")).to_have_text(re.compile("^(Refer|No referral)$"))
    expect(curl).to_contain_text("0.42")
    panel.get_by_role("radio", name="Logistic regression").check()
    expect(curl).to_contain_text("logistic")
    expect(curl).to_contain_text(f"SERVER={server.url}/gradio_api")
    assert f'Client("{server.url}")' in code(panel, "Python")
    assert f'Client.connect("{server.url}")' in code(panel, "JavaScript")


def test_javascript_names_the_server_and_the_arguments(page: Page, server: Server) -> None:
    panel = open_tab(page, "histopathology")
    open_section(panel, "API")
    shown = code(panel, "JavaScript")
    assert f'Client.connect("{server.url}")' in shown
    assert re.findall(r" (\w+): ", shown) == ["image", "threshold", "explain", "code", "model", "mpp"]
