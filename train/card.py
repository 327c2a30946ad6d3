"""Model cards, generated: README.md of a checkpoint folder, and model_card.md with the released models side by side.

    python -m train.card        writes model_card.md and README.md's table from checkpoints/*/

Every figure comes from evaluation.json, every setting from config.json; nothing is typed in.
"""

import json
import sys
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from src.evidence import METRIC_NAMES, figure
from src.tasks import DISCLAIMER, TASKS
from src.weights import EMBEDDED
from train.data import SOURCES

ROOT = EMBEDDED.parent
TABLE_START, TABLE_END = "<!-- models: written by python -m train.card -->", "<!-- /models -->"

LICENCES: dict[str, dict[str, Any]] = {
    # of the data a model learned from, as the Hub names them
    "skin": {"license": "cc-by-nc-4.0"},
    "breastmnist": {"license": "cc-by-4.0"},
    "histopathology": {"license": "cc0-1.0"},
    "ultrasound": {
        "license": "other",
        "license_name": "busi-research-use",
        "license_link": "https://doi.org/10.1016/j.dib.2019.104863",
    },
}

USE = f"""{DISCLAIMER}

Intended use: to show clinicians, students and engineers what such a model does and what its threshold costs. Out of
scope: any decision about a person; pictures of another kind or from another kind of device than the data named here;
people whom the data does not represent. The figures hold for the splits named and fall at another hospital, with
another device or another mix of patients."""


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """config.json and evaluation.json of a checkpoint folder."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return config, json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))


def split_title(name: str, split: dict[str, Any]) -> str:
    """What a column is headed with: the split's name, where it is from and how large it is."""
    return f"{name.split('-')[0]}, {' and '.join(split['sources'])} (n = {split['n']:,})"


def metric_table(evaluation: dict[str, Any]) -> str:
    """Markdown: a row a metric, a column a split."""
    splits = evaluation["splits"]
    names = [name for name in METRIC_NAMES if name in splits["test"]["metrics"]]
    lines = ["| | " + " | ".join(split_title(name, split) for name, split in splits.items()) + " |"]
    lines.append("| --- |" + " --- |" * len(splits))
    for name in names:
        cells = (figure(split["metrics"][name]) for split in splits.values())
        lines.append(f"| {METRIC_NAMES[name]} | " + " | ".join(cells) + " |")
    for who in splits["test"]["at_default_threshold"]:
        for share in ("sensitivity", "specificity", "ppv", "npv"):
            if who != "malignant" and share != "sensitivity":
                continue
            cells = (figure(split["at_default_threshold"][who][share]) for split in splits.values())
            title = (share.upper() if len(share) == 3 else share.capitalize()) + (
                f" for {who}" if who != "malignant" else ""
            )
            threshold = splits["test"]["at_default_threshold"][who]["threshold"]
            lines.append(f"| {title} at {threshold:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def metadata(config: dict[str, Any], evaluation: dict[str, Any]) -> ModelCardData:
    """The card's metadata as the Hub reads it, with the test figures as a model-index."""
    vigil, test = config["vigil"], evaluation["splits"]["test"]
    task = TASKS[vigil["task"]]
    results = [
        EvalResult(
            task_type="image-classification",
            dataset_type=vigil["recipe"]["sources"][0],
            dataset_name=test["sources"][0],
            dataset_split="test",
            metric_type=name,
            metric_name=METRIC_NAMES[name],
            metric_value=test["metrics"][name]["value"],
        )
        for name in ("auc_malignant", "accuracy", "balanced_accuracy", "f1_macro")
    ]
    return ModelCardData(
        **LICENCES[task.name],
        library_name="timm",
        pipeline_tag="image-classification",
        tags=["timm", "image-classification", "medical", "cancer", "vigil"],
        model_name=f"vigil-{task.name}",
        eval_results=results,
    )


def describe(config: dict[str, Any], evaluation: dict[str, Any]) -> str:
    """The part of a card that both kinds share: data, how it was trained and calibrated, figures."""
    vigil, test = config["vigil"], evaluation["splits"]["test"]
    data = "\n".join(f"- {source['name']} ({source['licence']}): {source['citation']}" for source in vigil["data"])
    size = "×".join(map(str, config["pretrained_cfg"]["input_size"]))
    counts = ", ".join(f"{code} {n:,}" for code, n in test["n_per_class"].items())
    return f"""Network `{config["architecture"]}`, input {size}, weights sha256 `{vigil["sha256"][:12]}…`, code
`{vigil["code_version"]}`, seed {vigil["seed"]}. Temperature {vigil["temperature"]:.3f} and default threshold
{vigil["default_threshold"]:g}, both set before the test split was read.

Learned from:

{data}

Test split: {test["n"]:,} images in {test["groups"]:,} groups that never cross a split ({counts}).
Intervals are 95%: {evaluation["intervals"]["metrics"].removeprefix("95%, ")}; for proportions at a threshold,
{evaluation["intervals"]["proportions"].removeprefix("95%, ")}.

{metric_table(evaluation)}
"""


def write(folder: Path) -> None:
    """Write README.md of a checkpoint folder from its config.json and evaluation.json."""
    config, evaluation = read(folder)
    task = TASKS[config["vigil"]["task"]]
    own = (
        "import src.networks  # of the Vigil repository, registers the network\n"
        if "vigil_" in config["architecture"]
        else ""
    )
    text = f"""---
{metadata(config, evaluation).to_yaml()}
---

# Vigil: {task.title.lower()}, {config["vigil"]["name"]}

Reads {task.modality}. {USE}

{describe(config, evaluation)}
## Use

```python
import timm
{own}
model = timm.create_model("hf-hub:OWNER/vigil-{task.name}", pretrained=True).eval()
```

Probabilities are the softmax of the logits divided by the temperature in `config.json` (block `vigil`); a single logit
is that of the second class.
"""
    (folder / "README.md").write_text(text, encoding="utf-8")


def released() -> list[Path]:
    """The embedded checkpoint folders in the order of the tabs, a task's default first."""
    return [folder for task in TASKS for folder in sorted(EMBEDDED.glob(f"{task}*"))]


def model_card() -> str:
    """The text of model_card.md, from every embedded checkpoint."""
    parts = []
    for folder in released():
        config, evaluation = read(folder)
        title = TASKS[evaluation["task"]].title
        parts.append(f"## {title}: {config['vigil']['name']}\n\n{describe(config, evaluation)}")
    models = "\n".join(parts)
    sources = "\n".join(
        f"- {source.title}: {source.where}. Licence: {source.licence}. {source.citation}."
        for source in SOURCES.values()
    )
    return f"""# Vigil: model card

Generated by `python -m train.card` from `checkpoints/*/config.json` and `evaluation.json`; do not edit.

{USE}

{models}
## Data

{sources}
"""


def readme(text: str) -> str:
    """The project's README.md with its table of models made anew: test AUC, and sensitivity and specificity at the
    default threshold, each with its 95% interval. Raises ValueError where the table's markers are missing."""
    lines = [
        "| tab, model | test split | AUC, malignant | sensitivity | specificity | at |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for folder in released():
        config, evaluation = read(folder)
        for name, split in evaluation["splits"].items():
            if name.startswith("test"):
                point = split["at_default_threshold"]["malignant"]
                lines.append(
                    f"| {TASKS[evaluation['task']].title}, {config['vigil']['name']} "
                    f"| {' and '.join(split['sources'])}, n = {split['n']:,} "
                    f"| {figure(split['metrics']['auc_malignant'])} | {figure(point['sensitivity'])} "
                    f"| {figure(point['specificity'])} | {point['threshold']:g} |"
                )
    before, start, rest = text.partition(TABLE_START)
    _, end, after = rest.partition(TABLE_END)
    if not start or not end:
        raise ValueError("README.md lacks the markers of its table of models.")
    return before + start + "\n" + "\n".join(lines) + "\n" + end + after


def main() -> int:
    """Write model_card.md and the table in README.md."""
    (ROOT / "model_card.md").write_text(model_card(), encoding="utf-8")
    (ROOT / "README.md").write_text(readme((ROOT / "README.md").read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
