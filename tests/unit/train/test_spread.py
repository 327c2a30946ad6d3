"""train/spread.py on made-up data: the figures of a recipe over several seeds."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.models.evaluation import parse
from src.results.formatting import over_seeds
from tests.support import synthetic_checkpoints
from tests.support.short_evaluation import shorten
from tests.support.synthetic_checkpoints import edit
from train import evaluate, spread
from train.data import load

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two seeds of a recipe; the second is evaluated and has been told of both."""
    folder = tmp_path_factory.mktemp("runs")
    runs = [synthetic_checkpoints.trained(folder / f"{seed}", "breastmnist", data, seed) for seed in (0, 1)]
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)
        assert evaluate.main([str(runs[1]), "--data", str(data)]) == 0
    assert spread.main([*map(str, runs), "--data", str(data), "--into", str(runs[1])]) == 0
    return runs


@pytest.fixture
def content(runs: list[Path]) -> dict[str, Any]:
    return json.loads((runs[1] / "evaluation.json").read_text())


def test_each_seed_has_the_figures_that_its_evaluation_gives(
    content: dict[str, Any], runs: list[Path], data: Path
) -> None:
    first, second = content["seeds"]
    assert (first["seed"], second["seed"]) == (0, 1)
    assert first["weights_sha256"] != second["weights_sha256"] == content["weights_sha256"]
    assert first["splits"] != second["splits"]
    read = spread.seed_metrics(runs[1], data)
    assert (second["seed"], second["weights_sha256"]) == (read["seed"], read["weights_sha256"])
    assert second["splits"].keys() == read["splits"].keys() == content["splits"].keys()
    for name, known in read["splits"].items():
        assert second["splits"][name] == pytest.approx(known, abs=10**-evaluate.DECIMALS)


def test_the_released_one_is_not_read_again(
    content: dict[str, Any], runs: list[Path], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []

    def figures(folder: Path, data: Path) -> dict[str, Any]:
        assert data.is_dir()
        read.append(folder)
        return content["seeds"][0]

    monkeypatch.setattr(spread, "seed_metrics", figures)
    assert spread.main([*map(str, runs), "--data", str(data), "--into", str(runs[1])]) == 0
    assert read == [runs[0]]
    assert json.loads((runs[1] / "evaluation.json").read_text())["seeds"] == content["seeds"]


def test_the_card_says_mean_and_range(content: dict[str, Any], runs: list[Path]) -> None:
    values = [run["splits"]["test"]["auc_malignant"] for run in content["seeds"]]
    said = f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"
    assert over_seeds(parse(content), "test", "auc_malignant") == said
    card = (runs[1] / "README.md").read_text()
    assert "trained with seeds 0, 1" in card
    assert f"AUC, malignant {said}" in card


def test_evaluated_or_checked_again_it_stays(
    runs: list[Path], content: dict[str, Any], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = content["seeds"]
    evaluate.write_evaluation(runs[1], {key: value for key, value in content.items() if key != "seeds"})
    assert json.loads((runs[1] / "evaluation.json").read_text())["seeds"] == before
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)
        assert evaluate.main(["--check", str(runs[1]), "--data", str(data)]) == 0
    assert capsys.readouterr().out.startswith("0 differences")


def test_of_other_weights_it_does_not_stay(tmp_path: Path, content: dict[str, Any]) -> None:
    (tmp_path / "evaluation.json").write_text(json.dumps(content))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate.card, "write_card", lambda _: None)
        evaluate.write_evaluation(tmp_path, {"weights_sha256": "of another"})
    assert json.loads((tmp_path / "evaluation.json").read_text()) == {"weights_sha256": "of another"}


def without_sampling(vigil: dict[str, Any]) -> None:
    del vigil["recipe"]["sampling"]


def test_a_run_that_is_older_than_a_setting_counts_with_its_default(
    runs: list[Path], data: Path, tmp_path: Path
) -> None:
    older = synthetic_checkpoints.trained(tmp_path / "older", "breastmnist", data, seed=2)
    edit(older / "config.json", lambda config: without_sampling(config["vigil"]))
    released = shutil.copytree(runs[1], tmp_path / "released")
    assert spread.main([str(older), str(released), "--data", str(data), "--into", str(released)]) == 0
    written = json.loads((released / "evaluation.json").read_text())["seeds"]
    assert [run["seed"] for run in written] == [1, 2]


def of_another_sampling(vigil: dict[str, Any]) -> None:
    vigil["recipe"]["sampling"]["weight_power"] = 0.5


def of_another_recipe(vigil: dict[str, Any]) -> None:
    vigil["recipe"]["epochs"] = 7


def of_no_recipe_at_all(vigil: dict[str, Any]) -> None:
    vigil["recipe"]["epochs"] = 0


def of_another_split(vigil: dict[str, Any]) -> None:
    vigil["split_sha256"] = "0" * 64


def of_the_same_seed(vigil: dict[str, Any]) -> None:
    vigil["seed"] = 1


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (of_another_recipe, "has another recipe than {released}: epochs differs."),
        (of_another_sampling, "has another recipe than {released}: sampling differs."),
        (of_no_recipe_at_all, "other: epochs: Input should be greater than 0"),
        (of_another_split, "was trained on another split"),
        (of_the_same_seed, "have the same seed"),
    ],
)
def test_runs_that_say_nothing_about_a_seed_are_refused(
    change: Callable[[dict[str, Any]], None],
    sentence: str,
    runs: list[Path],
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = synthetic_checkpoints.trained(tmp_path / "other", "breastmnist", data)
    edit(other / "config.json", lambda config: change(config["vigil"]))
    before = (runs[1] / "evaluation.json").read_bytes()
    assert spread.main([str(other), str(runs[1]), "--data", str(data), "--into", str(runs[1])]) == 1
    assert sentence.format(released=runs[1]) in capsys.readouterr().err
    assert (runs[1] / "evaluation.json").read_bytes() == before


def test_the_released_one_must_be_among_them_and_evaluated(
    runs: list[Path], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert spread.main([str(runs[0]), "--data", str(data), "--into", str(runs[1])]) == 1
    assert "is not one of the runs" in capsys.readouterr().err
    assert spread.main([*map(str, runs), "--data", str(data), "--into", str(runs[0])]) == 1
    assert "evaluation.json is missing. Train and evaluate first." in capsys.readouterr().err


def test_what_is_external_is_not_read_again(data: Path, tmp_path: Path) -> None:
    run = synthetic_checkpoints.trained(tmp_path / "ultrasound", "ultrasound", data)
    assert set(spread.seed_metrics(run, data)["splits"]) == {"validation", "test", "test-busbra", "test-multirez"}
    assert "external" not in {sample.split for sample in load("ultrasound", data, ["busi", "busbra"])}
