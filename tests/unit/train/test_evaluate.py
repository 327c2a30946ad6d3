"""The evaluation on made-up data: external datasets, near-duplicates, subgroups, `--check` and `--audit`."""

import copy
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from sklearn.metrics import roc_auc_score

from src.models import checkpoints, evaluation, perturbations
from src.results import thresholds
from src.results.formatting import MIN_CASES
from src.tasks import TASKS
from tests.support import synthetic_checkpoints, synthetic_datasets
from train import card, check, evaluate
from train.data import SOURCES, Sample, load
from train.evaluation import audit, duplicates, explanations, metrics, subgroups
from train.training import recipe as recipes

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def _few_resamples() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "RESAMPLES", 20)
        patch.setattr(evaluate, "EXAMINED", 6)
        patch.setattr(explanations, "FAITHFULNESS_IMAGES", 2)
        yield


@pytest.fixture(scope="module")
def evaluated(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = synthetic_checkpoints.trained(tmp_path_factory.mktemp("evaluated") / "ultrasound", "ultrasound", data)
    assert evaluate.main([str(folder), "--data", str(data)]) == 0
    return folder


@pytest.fixture(scope="module")
def content(evaluated: Path) -> dict[str, Any]:
    return json.loads((evaluated / "evaluation.json").read_text())


def test_a_set_from_elsewhere_has_the_same_figures_as_a_split(content: dict[str, Any]) -> None:
    assert set(content["splits"]) == {"validation", "test", "test-busbra", "test-multirez"}
    elsewhere, home = content["external"]["breast_usg"], content["splits"]["test-busbra"]
    assert set(elsewhere) == set(home)
    assert elsewhere["sources"] == ["BrEaST"]
    assert elsewhere["n"] == 24
    assert elsewhere["n_per_class"] == {"benign": 16, "malignant": 7, "normal": 1}
    assert elsewhere["metrics"].keys() == home["metrics"].keys()
    assert elsewhere["at_default_threshold"]["malignant"]["threshold"] == 0.3
    assert list(elsewhere["subgroups"]) == ["age", "BIRADS", "lesion_share"]


def test_a_set_that_is_not_there_is_left_out(data: Path, tmp_path: Path) -> None:
    for name in ("busi", "busbra", "multirez", "breastmnist"):
        (tmp_path / name).symlink_to(data / name)
    folder = synthetic_checkpoints.trained(tmp_path / "ultrasound", "ultrasound", data)
    assert evaluate.evaluate(folder, tmp_path)["external"] == {}
    assert (
        evaluate.evaluate(synthetic_checkpoints.trained(tmp_path / "breastmnist-model", "breastmnist", data), data)[
            "external"
        ]
        == {}
    )


def test_it_says_what_the_model_learned_from(content: dict[str, Any], data: Path) -> None:
    training = [sample for sample in load("ultrasound", data) if sample.split == "train"]
    assert content["training"]["n"] == len(training) == sum(content["training"]["n_per_class"].values())
    assert content["training"]["sources"] == ["BUSI", "BUS-BRA", "Multi-REZ"]


@pytest.mark.parametrize(
    ("recipe", "sources"), [("ultrasound", ["busi", "breast_usg"]), ("breastmnist-logistic", ["breast_usg"])]
)
def test_a_recipe_that_learns_from_an_external_set_is_refused(recipe: str, sources: list[str], tmp_path: Path) -> None:
    settings = yaml.safe_load((recipes.RECIPES / f"{recipe}.yaml").read_text())
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(settings | {"sources": sources}))
    with pytest.raises(recipes.RecipeError, match="not breast_usg"):
        recipes.load(str(file))


def test_a_group_counts_once_by_its_worst_picture() -> None:
    task = TASKS["skin"]
    codes, lesions, scores = zip(
        *[("mel", "a", 0.9), ("mel", "a", 0.2), ("bcc", "b", 0.6), ("nv", "c", 0.1), ("nv", "c", 0.3)], strict=True
    )
    labels = np.array([task.codes.index(code) for code in codes])
    tables = evaluate.threshold_tables(task, labels, np.array(scores), lesions)
    assert tables["malignant"] == {
        "threshold": [0.2, 0.3, 0.6],
        "tp": [2, 1, 1],
        "fp": [1, 1, 0],
        "tn": [0, 0, 1],
        "fn": [0, 1, 1],
    }
    assert tables["mel"] == {"threshold": [0.2, 0.3], "tp": [1, 0], "fp": [1, 1], "tn": [0, 0], "fn": [0, 1]}
    assert evaluate.threshold_tables(task, labels, np.array(scores))["mel"]["threshold"] == [0.1, 0.2, 0.3, 0.9]


@pytest.mark.parametrize("seed", range(10))
def test_auc_is_scikit_learns_and_the_share_of_pairs_in_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    positive, scores = rng.random(80) < 0.3, rng.random(80).round(1 + seed % 3)  # with ties
    assert metrics.auc(positive, scores) == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)
    difference = scores[positive][:, None] - scores[~positive][None, :]
    in_order = (difference > 0) + 0.5 * (difference == 0)
    assert metrics.auc(positive, scores) == pytest.approx(in_order.mean(), abs=1e-12)
    assert np.isnan(metrics.auc(np.ones(5, dtype=bool), scores[:5]))


# explanation, robustness


def test_every_held_out_set_says_how_far_maps_and_decisions_can_be_trusted(content: dict[str, Any]) -> None:
    assert not {"explanation", "robustness"} & set(content["splits"]["validation"])
    read = evaluation.parse(content)
    assert [place.name for place in read.held_out] == ["test", "test-busbra", "test-multirez", "breast_usg"]
    for place in read.held_out:
        assert place.explanation is not None
        assert place.robustness is not None
        assert place.explanation.n == place.robustness.n == min(place.n, evaluate.EXAMINED)
        assert place.explanation.groups == place.robustness.groups <= place.explanation.n
        assert set(place.explanation.faithfulness.maps) == set(explanations.METHODS)
        assert place.explanation.faithfulness.n == explanations.FAITHFULNESS_IMAGES
        location = place.explanation.location
        if place.name == "test-multirez":
            assert location is None, "it has no lesion outlines"
            continue
        assert location is not None
        assert (location.part, location.measure, location.code) == ("lesion", "peak", "malignant")
        counts = {sum(found.n + found.empty for found in answers.values()) for answers in location.maps.values()}
        assert len(counts) == 1, "both kinds of map are of the same pictures"
        assert 0 < max(counts) <= place.explanation.n
        assert place.robustness.threshold == 0.3
        assert list(place.robustness.views) == [view.name for view in perturbations.perturbations(TASKS["ultrasound"])]
        by_truth = place.robustness.pictures
        assert by_truth["all"].n == by_truth["malignant"].n + by_truth["other"].n == place.robustness.n


def test_what_needs_a_drawn_lesion_is_left_out_where_there_is_none(data: Path, tmp_path: Path) -> None:
    found = evaluate.evaluate(synthetic_checkpoints.trained(tmp_path / "breastmnist-model", "breastmnist", data), data)[
        "splits"
    ]["test"]
    assert "location" not in found["explanation"]
    assert found["robustness"]["n"] == evaluate.EXAMINED


# near-duplicates


def test_a_repeat_of_a_training_picture_is_found_across_sets(tmp_path: Path) -> None:
    synthetic_datasets.busi(tmp_path / "busi")
    synthetic_datasets.busbra(tmp_path / "busbra")
    training = [sample for sample in load("ultrasound", tmp_path, ["busi", "busbra"]) if sample.split == "train"]
    test = [sample for sample in load("ultrasound", tmp_path, ["busbra"]) if sample.split == "test"]
    before = duplicates.highest_correlations(test, training)
    assert before.shape == (len(test),)
    assert before.max() < SOURCES["busbra"].near_duplicate
    original = next(sample for sample in training if sample.source == "busi")
    pixels = np.asarray(original.picture().image.convert("L"))
    synthetic_datasets.save(test[0].path, synthetic_datasets.repeat(pixels, np.random.default_rng(0)))
    after = duplicates.highest_correlations(test, training)
    assert after[0] > SOURCES["busbra"].near_duplicate
    assert np.array_equal(after[1:], before[1:])


def test_the_figures_without_near_duplicates_leave_them_out() -> None:
    task = TASKS["breastmnist"]
    samples = [
        Sample(f"s{n}", n % 2, f"g{n}", "test", "breastmnist", Path(), meta={"sex": "female"}) for n in range(60)
    ]
    sure = np.where(np.arange(60) % 2 == 0, 0.9, 0.1)
    sure[:10] = 1 - sure[:10]  # wrong on the first ten, which training does not know
    probabilities = np.stack([sure, 1 - sure], axis=1)
    correlations = np.where(np.arange(60) < 20, 0.5, 0.99).astype(np.float32)
    found = evaluate.evaluate_split(task, samples, probabilities, 0.3, correlations)
    without = found["without_near_duplicates"]
    assert (found["n"], without["n"]) == (60, 20)
    assert found["metrics"]["accuracy"]["value"] == pytest.approx(50 / 60)
    assert without["metrics"]["accuracy"]["value"] == pytest.approx(0.5)
    assert without["at_default_threshold"]["malignant"]["sensitivity"]["of"] == 10
    assert without["correlation_above"] == SOURCES["breastmnist"].near_duplicate
    assert without["highest_correlation"] == pytest.approx(0.99)
    nothing = evaluate.evaluate_split(task, samples, probabilities, 0.3, np.zeros(60, dtype=np.float32))
    assert nothing["without_near_duplicates"]["metrics"] == nothing["metrics"]
    assert "without_near_duplicates" not in evaluate.evaluate_split(task, samples, probabilities, 0.3)


# subgroups


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


# --check


def test_checked_again_every_number_comes_out_and_nothing_is_written(
    evaluated: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {file: file.stat().st_mtime_ns for file in evaluated.rglob("*")}
    assert evaluate.main(["--check", str(evaluated), "--data", str(data)]) == 0
    assert capsys.readouterr().out.startswith("0 differences")
    assert {file: file.stat().st_mtime_ns for file in evaluated.rglob("*")} == before


def test_a_number_that_does_not_come_out_is_named(
    evaluated: Path, content: dict[str, Any], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(evaluated, tmp_path / "copy")
    changed = copy.deepcopy(content)
    changed["external"]["breast_usg"]["calibration"][0]["n"] += 1  # a figure that no card shows
    synthetic_checkpoints.rewrite(folder / "evaluation.json", changed)
    card_text = (folder / "README.md").read_text()
    (folder / "README.md").write_text(card_text.replace("| Accuracy | 0.", "| Accuracy | 1."))
    assert evaluate.main(["--check", str(folder), "--data", str(data)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("evaluation.json.external.breast_usg.calibration")
    assert re.match(
        r".*README.md, line \d+: “\| Accuracy \| 1\..*” is published, “\| Accuracy \| 0\..*” is derived", lines[1]
    )
    assert lines[2].startswith("2 differences")
    assert len(lines) == 3


def changed_at(content: Any, path: tuple[Any, ...], change: Callable[[Any], Any]) -> Any:
    """A copy in which the value at `path` is changed."""
    changed = copy.deepcopy(content)
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = change(place[path[-1]])
    return changed


@pytest.mark.parametrize(
    "path",
    [
        ("weights_sha256",),
        ("training", "n"),
        ("splits", "test", "n_per_class", "malignant"),
        ("splits", "test", "metrics", "accuracy", "interval", 0),
        ("splits", "test", "at_default_threshold", "malignant", "tp"),
        ("splits", "test", "confusion_matrix", 1, 2),
        ("splits", "test", "calibration", 0, "n"),
        ("splits", "test", "threshold_table", "malignant", "threshold", 3),
        ("splits", "test", "threshold_table", "malignant", "tp", 0),
        ("splits", "test", "threshold_table", "malignant", "fn", 2),
        ("splits", "test", "threshold_table", "malignant", "fp", 3),
        ("splits", "test-busbra", "subgroups", "lesion_share", "5 to 15%", "sensitivity", "of"),
        ("splits", "test-busbra", "without_near_duplicates", "n"),
        ("splits", "test-busbra", "explanation", "faithfulness", "maps", "Grad-CAM", "drop", "value"),
        ("splits", "test-busbra", "explanation", "location", "maps", "Grad-CAM", "right", "n"),
        ("splits", "test-busbra", "robustness", "pictures", "all", "flipped", "interval", 1),
    ],
)
def test_every_kind_of_number_is_compared(content: dict[str, Any], path: tuple[Any, ...]) -> None:
    def more(value: Any) -> Any:
        return value + "0" if isinstance(value, str) else value + (0.0002 if isinstance(value, float) else 1)

    changed = changed_at(content, path, more)
    found = list(check.compare_evaluations(changed, content))
    assert len(found) == 1
    assert found[0].startswith("evaluation.json." + ".".join(str(key) for key in path[:2]))
    assert list(check.compare_evaluations(content, changed)), "the other way round too"


def test_an_entry_of_one_side_alone_is_named(content: dict[str, Any]) -> None:
    without = copy.deepcopy(content)
    del without["external"]["breast_usg"]
    assert list(check.compare_evaluations(content, without)) == [
        "evaluation.json.external.breast_usg: published, but not derived again."
    ]
    assert list(check.compare_evaluations(without, content)) == [
        "evaluation.json.external.breast_usg: derived, but not published."
    ]


def test_float_noise_is_no_difference_even_where_it_parts_ties() -> None:
    rng = np.random.default_rng(0)
    scores, positive = rng.random(200).round(2), rng.random(200) < 0.3
    noisy = scores + rng.normal(0, 1e-6, 200)
    one, other = (thresholds.threshold_table(s.tolist(), positive.tolist()) for s in (scores, noisy))
    assert len(one["threshold"]) < len(other["threshold"])
    assert list(check.compare_evaluations({"t": one, "auc": 0.8}, {"t": other, "auc": 0.80005})) == []
    assert len(
        list(
            check.compare_evaluations(
                {"t": one}, {"t": thresholds.threshold_table([*scores[1:], 0.5], positive.tolist())}
            )
        )
    )


def test_the_cards_of_an_embedded_checkpoint_are_checked_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded = checkpoints.EMBEDDED / "breastmnist"
    monkeypatch.setattr(card, "ROOT", tmp_path)
    (tmp_path / "model_card.md").write_text(card.model_card_text().replace("Brier score | 0.", "Brier score | 1.", 1))
    readme = (checkpoints.EMBEDDED.parent / "README.md").read_text()
    (tmp_path / "README.md").write_text(readme.replace("| BreastMNIST, n = 156 | 0.", "| BreastMNIST, n = 156 | 1.", 1))
    found = list(check.compare_cards(embedded))
    assert [line.split(",")[0].rsplit("/", 1)[1] for line in found] == ["model_card.md", "README.md"]
    elsewhere = shutil.copytree(embedded, tmp_path / "breastmnist")
    assert list(check.compare_cards(elsewhere)) == []
    (elsewhere / "README.md").unlink()
    assert list(check.compare_cards(elsewhere)) == [f"{elsewhere / 'README.md'} is missing."]


def test_without_an_evaluation_there_is_nothing_to_check(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = synthetic_checkpoints.trained(tmp_path / "new", "breastmnist", data)
    assert evaluate.main(["--check", str(folder), "--data", str(data)]) == 1
    assert capsys.readouterr().err == f"{folder} has no evaluation.json to check.\n"


# --audit


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
