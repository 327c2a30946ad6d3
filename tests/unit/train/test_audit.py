"""`python -m train.evaluate --audit`: the page that sorts the test images by their decision."""

import re
from pathlib import Path
from typing import Any

import pytest

from train import evaluate
from train.evaluation import audit

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("short_evaluation")]


def test_the_audit_sorts_the_test_pictures(
    evaluated: Path, content: dict[str, Any], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "CORRECT_SHOWN", 2)
    before = (evaluated / "evaluation.json").read_bytes()
    assert evaluate.main([str(evaluated), "--data", str(data), "--audit", str(tmp_path / "audit")]) == 0
    assert (evaluated / "evaluation.json").read_bytes() == before
    page = (tmp_path / "audit" / "index.html").read_text()
    tests = [split for name, split in content["splits"].items() if name != "validation"]
    points = [split["at_default_threshold"]["malignant"] for split in tests]
    missed, alarms = (sum(point[count] for point in points) for count in ("fn", "fp"))
    correct = sum(point["tp"] + point["tn"] for point in points)
    assert f"<h2>Missed cancer: {missed}</h2>" in page
    assert f"<h2>False alarm: {alarms}</h2>" in page
    assert f"<h2>Correct: {correct}, 2 of them shown: the closest decisions</h2>" in page
    assert page.count("<figure>") == missed + alarms + 2
    assert page.count('src="data:image/jpeg;base64,') == 2 * page.count("<figure>") == page.count("src=")
    parts = re.split("<h2>", page)[1:]
    p = [[float(value) for value in re.findall(r"p\(malignant\) <b>([\d.]+)</b>", part)] for part in parts]
    assert p[0] == sorted(p[0]), "the cancer that was missed by most first"
    assert p[1] == sorted(p[1], reverse=True)
    assert all(value < 0.3 for value in p[0])
    assert all(value >= 0.3 for value in p[1])


def test_the_audit_takes_another_threshold(evaluated: Path, data: Path, tmp_path: Path) -> None:
    arguments = [str(evaluated), "--data", str(data), "--audit", str(tmp_path)]
    assert evaluate.main([*arguments, "--threshold", "0"]) == 0
    page = (tmp_path / "index.html").read_text()
    assert "<h2>Missed cancer: 0</h2>" in page
    assert "at threshold 0:" in page
    for wrong in ([*arguments, "--threshold", "2"], [str(evaluated), "--data", str(data), "--threshold", "0.5"]):
        with pytest.raises(SystemExit):
            evaluate.main(wrong)


def test_an_audit_never_lands_in_the_repository(
    evaluated: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate.main([str(evaluated), "--data", str(data), "--audit", str(audit.ROOT / "docs")]) == 1
    assert "outside the repository" in capsys.readouterr().err
    assert not (audit.ROOT / "docs" / "index.html").exists()
    ignored = (audit.ROOT / ".gitignore").read_text().splitlines()
    assert f"/{audit.IGNORED.relative_to(audit.ROOT)}/" in ignored
