"""python -m src.score: the threshold, the target of sensitivity, and what they cost."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from src import score
from src.results.thresholds import operating_point, promise, threshold_table
from tests.support.scoring import picture, read


@pytest.mark.parametrize(("threshold", "decision"), [("0", "refer"), ("1", "no referral")])
def test_threshold(threshold: str, decision: str, made_checkpoint: Callable[[str], str], tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    arguments = [str(picture(tmp_path / "a.png")), "--weights", made_checkpoint("breastmnist"), "--csv", str(out)]
    assert score.main(["breastmnist", *arguments, "--threshold", threshold]) == 0
    assert read(out)[0]["decision"] == decision


@pytest.mark.parametrize("target", [0.9, 0.95, 0.8])
def test_target_sensitivity_takes_the_promised_threshold(
    target: float, made_checkpoint: Callable[[str], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = made_checkpoint("breastmnist"), tmp_path / "out.csv"
    by_group = json.loads((Path(folder) / "evaluation.json").read_text())["splits"]["validation"][
        "threshold_table_groups"
    ]["malignant"]
    threshold = promise(by_group, target).threshold
    assert threshold is not None
    files = [str(picture(tmp_path / f"{i}.png", i)) for i in range(8)]
    arguments = ["breastmnist", *files, "--weights", folder, "--csv", str(out)]
    assert score.main([*arguments, "--target-sensitivity", str(target)]) == 0
    chosen = read(out)
    assert f"score: threshold {threshold:g}; Home: sensitivity 0." in capsys.readouterr().err
    assert score.main([*arguments, "--threshold", str(threshold)]) == 0
    assert read(out) == chosen
    for row in chosen:
        assert row["decision"] == ("refer" if float(row["p_malignant"]) >= threshold else "no referral")


def test_target_sensitivity_that_cannot_be_promised_is_refused(
    made_checkpoint: Callable[[str], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "few", tmp_path / "out.csv"
    shutil.copytree(made_checkpoint("breastmnist"), folder)
    content = json.loads((folder / "evaluation.json").read_text())
    few = threshold_table([0.9] * 42 + [0.1] * 42, [True] * 42 + [False] * 42)
    arguments = ["breastmnist", str(picture(tmp_path / "a.png")), "--weights", str(folder), "--csv", str(out)]
    for tables, sentence in (
        (
            {"malignant": few},
            "A sensitivity of 0.95 cannot be promised: the 42 malignant images of validation can prove 0.931 at most, "
            "and 59 without a miss are needed.",
        ),
        ({}, "No sensitivity can be promised, because evaluation.json does not count validation by image."),
    ):
        content["splits"]["validation"]["threshold_table_groups"] = tables
        (folder / "evaluation.json").write_text(json.dumps(content))
        assert score.main([*arguments, "--target-sensitivity", "0.95"]) == 1
        assert capsys.readouterr().err == f"score: {sentence}\n"
        assert not out.exists()
        assert score.main([*arguments, "--target-sensitivity", "0.9"]) == (0 if tables else 1)
        capsys.readouterr()
        out.unlink(missing_ok=True)


def test_costs_are_said_at_home_and_away(
    made_checkpoint: Callable[[str], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = made_checkpoint("ultrasound")
    arguments = [str(picture(tmp_path / "a.png")), "--weights", folder, "--csv", str(tmp_path / "out.csv")]
    assert score.main(["ultrasound", *arguments]) == 0
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("score: threshold"))
    away = operating_point(
        json.loads((Path(folder) / "evaluation.json").read_text())["external"]["elsewhere"]["threshold_table"][
            "malignant"
        ],
        0.3,
    )
    low, high = away.sensitivity_interval
    assert line.startswith("score: threshold 0.3; Home: sensitivity ")
    assert f"; external, Elsewhere: sensitivity {away.sensitivity:.3f} ({low:.3f} to {high:.3f}), specificity " in line


@pytest.mark.parametrize(
    "arguments",
    [[f"--target-sensitivity={text}"] for text in ("1", "0", "x")] + [["--target-sensitivity=0.9", "--threshold=0.3"]],
)
def test_impossible_target_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        score.main(["skin", "a.png", *arguments])
    assert stopped.value.code == 2


@pytest.mark.parametrize("threshold", ["nan", "-0.1", "1.01", "inf", "half", ""])
def test_impossible_threshold_is_refused(threshold: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        score.main(["skin", "a.png", f"--threshold={threshold}"])
    assert stopped.value.code == 2
    assert "is not a number from 0 to 1" in capsys.readouterr().err
