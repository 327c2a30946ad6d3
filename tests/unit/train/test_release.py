"""The embedded checkpoints verify, and every published figure is in their evaluation.json."""

import json
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard, ModelCardData

from src.models import checkpoint_info, checkpoints
from src.models.config import Config
from src.results.formatting import METRIC_NAMES
from src.tasks import TASKS
from train import card, evaluate, release
from train.cards import findings
from train.data import SOURCES
from train.evaluation import metrics

SPLIT_OF_156 = ("ultrasound", "breastmnist")


@pytest.mark.parametrize("task", TASKS)
def test_the_embedded_default_verifies_and_is_evaluated(task: str) -> None:
    checkpoint = checkpoints.load(task, checkpoint_info.EMBEDDED / task)
    assert checkpoint.source == "embedded"
    test = checkpoint.evaluation.splits["test"]
    default = TASKS[task].default_threshold
    if default is not None:
        assert checkpoint.config.vigil.default_threshold == default
    if task in SPLIT_OF_156:
        assert test.n == 156
        assert test.n_per_class["malignant"] == 42
    if task == "skin":
        assert test.n >= 1400


@pytest.mark.parametrize("folder", card.released(), ids=lambda folder: folder.name)
def test_a_card_is_fresh(folder: Path) -> None:
    assert (folder / "README.md").read_text(encoding="utf-8") == card.card_text(folder), "run python -m train.card"


LICENCE = {"skin": "cc-by-nc-4.0", "breastmnist": "cc-by-4.0", "histopathology": "cc0-1.0", "ultrasound": "other"}


@pytest.mark.parametrize("folder", card.released(), ids=lambda folder: folder.name)
def test_huggingface_hub_reads_the_metadata(folder: Path) -> None:
    config, evaluation = card.read_folder(folder)
    found = ModelCard(card.card_text(folder, "owner/name")).data
    assert isinstance(found, ModelCardData)
    assert found.license == LICENCE[config["vigil"]["task"]]
    if found.license == "other":
        assert found.license_name
        assert str(found.license_link).startswith("https://")
    assert (found.library_name, found.pipeline_tag, found.model_name) == ("timm", "image-classification", "name")
    sources = config["vigil"]["recipe"]["sources"]
    assert found.datasets == sources
    assert found.eval_results
    for result in found.eval_results:
        source, kind = result.dataset_type, str(result.dataset_split)
        split = findings.column_sets(evaluation)[kind if source == sources[0] else f"{kind}-{source}"]
        point = split.at_default_threshold["malignant"]
        known = {**split.metrics, "sensitivity": point.sensitivity, "specificity": point.specificity}
        assert result.metric_value == known[result.metric_type].value
        assert (
            result.metric_type in ("sensitivity", "specificity")
            or result.metric_name == METRIC_NAMES[result.metric_type]
        )
    assert {"auc_malignant", "sensitivity", "specificity"} <= {result.metric_type for result in found.eval_results}


def test_model_card_says_what_a_model_card_says() -> None:
    text = card.model_card_text()
    for heading in (
        "Intended use",
        "Out of scope",
        "How the numbers were obtained",
        "Limits",
        "Data and licences",
        "How to cite",
        *(task.title for task in TASKS.values()),
    ):
        assert f"\n## {heading}" in text
    for source in SOURCES.values():
        assert source.licence in text
        assert source.citation in text


def test_model_card_and_readme_are_fresh() -> None:
    assert (card.ROOT / "model_card.md").read_text(encoding="utf-8") == card.model_card_text(), (
        "run python -m train.card"
    )
    text = (card.ROOT / "README.md").read_text(encoding="utf-8")
    assert card.readme_text(text) == text, "run python -m train.card"


def test_the_embedded_checkpoints_hold_what_a_folder_holds_and_stay_small() -> None:
    folders = card.released()
    assert {folder.name for folder in folders} >= {*TASKS, "breastmnist-logistic"}
    for folder in folders:
        config, _ = card.read_folder(folder)
        assert {file.name for file in folder.iterdir()} == {*Config.model_validate(config).files, "README.md"}
    assert sum(file.stat().st_size for folder in folders for file in folder.iterdir()) < 90 * 2**20


def test_the_counts_of_every_split_add_up() -> None:
    for folder in card.released():
        evaluation = json.loads((folder / "evaluation.json").read_text())
        for split in evaluation["splits"].values():
            for table in split["threshold_table"].values():
                sums = {sum(row) for row in zip(table["tp"], table["fp"], table["tn"], table["fn"], strict=True)}
                assert len(sums) == 1
                assert table["threshold"] == sorted(set(table["threshold"]))
            assert sum(map(sum, split["confusion_matrix"])) == split["n"] == sum(split["n_per_class"].values())
            point = split["at_default_threshold"]["malignant"]
            again = metrics.at_threshold(split["threshold_table"]["malignant"], point["threshold"])
            assert evaluate.round_figures(again) == point


def test_the_space_front_matter_fits_what_is_pinned() -> None:
    text = (card.ROOT / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(text.split("---")[1])
    needed = (card.ROOT / "requirements.in").read_text().replace("[mcp]", "")
    pins = dict(line.split("==") for line in needed.splitlines() if line[:1] not in "#")
    assert front["sdk"] == "gradio"
    assert front["sdk_version"] == pins["gradio"]
    assert (card.ROOT / front["app_file"]).is_file()
    assert len(front["short_description"]) <= 60  # the Hub's limit
    locked = (card.ROOT / "requirements.txt").read_text()
    assert all(f"\n{name}=={version}" in locked for name, version in pins.items())


def test_the_source_that_is_read_worst_chooses_the_default_threshold() -> None:
    home, away = [i / 1000 for i in range(501, 701)], [0.3004, 0.9]
    sources = len(home) * ["home"] + len(away) * ["away"]
    assert release.default_threshold(home, len(home) * ["home"], 0.95) == 0.511
    assert release.default_threshold(home + away, sources, 0.95) == 0.3
    assert release.default_threshold(home + away, sources, 0.5) == 0.601
