"""Generates the model cards: README.md of a checkpoint folder, and model_card.md with all released models.

    python -m train.card        writes model_card.md, README.md's table and the cards in checkpoints/*/ again

Every figure comes from evaluation.json and every setting from config.json. No figure is typed in.
"""

import json
import sys
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from src.models import evaluation
from src.models.checkpoint_info import EMBEDDED
from src.models.evaluation import MALIGNANT, Evaluation
from src.results.formatting import METRIC_NAMES, with_interval
from src.tasks import DISCLAIMER, TASKS, Task
from train.cards.findings import column_sets, describe
from train.data import SOURCES

ROOT = EMBEDDED.parent
TABLE_START, TABLE_END = "<!-- models: written by python -m train.card -->", "<!-- /models -->"

PIPELINE = "image-classification"

INTENDED_USE = """Vigil shows clinicians, students and engineers the predictions of its models, their heat maps and the
costs of their thresholds. Researchers can compare with it and build on it."""

OUT_OF_SCOPE = """- Any decision about a person, with or without a clinician.
- Images of another kind, or from another kind of device, than the datasets named here.
- People whom these datasets do not represent."""

LIMITS = """- The figures hold for the named splits. Expect other figures, mostly lower ones, at another hospital, with
  another device or with other patients. If there is a column "external", it shows a dataset from elsewhere.
- Probabilities are calibrated on images from the same sources. Elsewhere they are not calibrated.
- The gate checks whether an image is of this kind. It rejects most other images, but not all. It does not notice
  devices or people that the datasets lack.
- The gate ignores the tint of grey images. This rule was added after the gate had rejected tinted images of BrEaST, so
  the share that it rejects there is not an independent figure.
- Small splits have wide intervals. Read the intervals, not only the figures between them.
- A heat map shows what the network reacted to. It does not show why, and it is no evidence that the network reacted to
  the right thing."""

OBTAINED = """The Predictor read every image with the released weights. The page, the API and the commands use the same
Predictor. No group (lesion, case, near-duplicates, or slide, if it is known) crosses a split. The networks were
trained on the training split. Validation gave the calibration. It also gave the epoch and the default threshold, unless
the recipe or the task fixes them. Then `python -m train.evaluate` read the test split. The same command derives the
same figures again from the same data. Intervals are 95%."""


def read_folder(folder: Path) -> tuple[dict[str, Any], Evaluation]:
    """config.json and evaluation.json of a checkpoint folder."""
    return json.loads((folder / "config.json").read_text(encoding="utf-8")), evaluation.read(folder)


def metadata(config: dict[str, Any], figures: Evaluation, name: str) -> ModelCardData:
    """The card's metadata for the Hub, with the figures of every split except validation as a model-index."""
    vigil = config["vigil"]
    task, sources = TASKS[vigil["task"]], vigil["recipe"]["sources"]
    results = []
    for name_in_file, one in column_sets(figures).items():
        split, _, source = name_in_file.partition("-")
        if split == "validation":
            continue
        point = one.at_default_threshold[MALIGNANT]
        at = f"malignant, at {point.threshold:g}"
        listed = {
            **{metric: (title, one.metrics.get(metric)) for metric, title in METRIC_NAMES.items()},
            "sensitivity": (f"Sensitivity, {at}", point.sensitivity),
            "specificity": (f"Specificity, {at}", point.specificity),
        }
        results += [
            EvalResult(
                task_type=PIPELINE,
                dataset_type=source or sources[0],
                dataset_name=one.title,
                dataset_split=split,
                metric_type=metric,
                metric_name=title,
                metric_value=found.value,
            )
            for metric, (title, found) in listed.items()
            if found is not None and found.value is not None
        ]
    return ModelCardData(
        **task.licence.metadata(),
        library_name="timm",
        pipeline_tag=PIPELINE,
        datasets=list(sources),
        tags=["timm", PIPELINE, "medical", "cancer", "vigil"],
        model_name=name,
        eval_results=results,
    )


def card_text(folder: Path, repo: str | None = None) -> str:
    """README.md of a checkpoint folder, from its config.json and evaluation.json, for the Hub's repository `repo`
    ("OWNER/vigil-TASK" by default).

    Raises ValueError if evaluation.json lacks figures, or huggingface_hub cannot read the card's metadata.
    """
    config, figures = read_folder(folder)
    description = describe(config, figures)
    vigil = config["vigil"]
    task = TASKS[vigil["task"]]
    repo = repo or f"OWNER/vigil-{task.name}"
    own = "import src.models.networks  # registers the network; run this in Vigil's folder\n" * (
        "vigil_" in config["architecture"]
    )
    colours = (["L"] if task.colour == "grey" else []) + (
        ["RGB"] if config["pretrained_cfg"]["input_size"][0] == 3 else []
    )
    converted = "".join(f'.convert("{colour}")' for colour in colours)
    crop = " Vigil crops to the scanned field first (`src.pictures.scanned_field`)." if task.crop_to_roi else ""
    if vigil.get("region"):
        crop = " Vigil crops to the lesion first (`src.models.lesion_finder`, region.safetensors)."
    if vigil.get("members"):
        crop += " These are the logits of the first network only. Vigil averages them with those of its members."
    content = f"""---
{metadata(config, figures, repo.partition("/")[2]).to_yaml()}
---

# Vigil: {title_in_sentence(task)}, {vigil["name"]}

Reads {task.modality}. **{DISCLAIMER}**

**Intended use.** {INTENDED_USE}

**Out of scope.**

{OUT_OF_SCOPE}

{description}
## Limits

{task.limits}
{LIMITS}

## Use

```python
import timm
import torch
from PIL import Image
{own}
model = timm.create_model("hf-hub:{repo}", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
with torch.no_grad():
    logits = model(transform(Image.open("image.jpg"){converted})[None])
```

The probabilities are `softmax(logits / {vigil["temperature"]:.3f})`. The classes are
{", ".join(config["label_names"])}. A single logit belongs to the second class.{crop}

To use these weights on Vigil's page, set `VIGIL_WEIGHTS_{task.name.upper()}={repo}`.

## How to cite

{cite(config)}
"""
    parsed = ModelCard(content).data
    if not isinstance(parsed, ModelCardData) or not parsed.eval_results:
        raise ValueError("The card's metadata cannot be read back.")
    return content


def cite(config: dict[str, Any]) -> str:
    """The sentence to cite in a publication."""
    vigil = config["vigil"]
    task = title_in_sentence(TASKS[vigil["task"]])
    papers = "; ".join(f"{source['name']}: {source['citation']}" for source in vigil["data"])
    return (
        f"Vigil, {vigil['name']} for {task}, code {vigil['code_version']}, weights sha256\n"
        f"  {vigil['sha256']}. Cite the papers of the data too: {papers}."
    )


def title_in_sentence(task: Task) -> str:
    """A task's title within a sentence: "skin lesions", but "BreastMNIST", which is a name."""
    return task.title.lower() if task.title[1:].islower() else task.title


def write_card(folder: Path) -> None:
    """Write README.md of a checkpoint folder from its config.json and evaluation.json."""
    (folder / "README.md").write_text(card_text(folder), encoding="utf-8")


def released() -> list[Path]:
    """The embedded checkpoint folders in the order of the tabs, a task's default first."""
    return [folder for task in TASKS for folder in sorted(EMBEDDED.glob(f"{task}*"))]


def model_card_text() -> str:
    """The text of model_card.md, from every embedded checkpoint."""
    sections, citations = [], []
    for folder in released():
        config, figures = read_folder(folder)
        task = TASKS[config["vigil"]["task"]]
        sections.append(
            f"## {task.title}: {config['vigil']['name']}\n\n"
            f"- Folder: `checkpoints/{folder.name}`\n- Licence: {task.licence.terms}\n"
            f"{describe(config, figures)}"
        )
        citations.append(f"- {cite(config)}")
    models, cited = "\n".join(sections), "\n".join(citations)
    data_limits = "\n".join(task.limits for task in TASKS.values())
    sources = "\n".join(
        f"- {source.title}: {source.where}. Licence: {source.licence}. {source.citation}."
        for source in (SOURCES[name] for task in TASKS.values() for name in (*task.sources, *task.external_sources))
    )
    return f"""# Vigil: model card

`python -m train.card` generates this file from `checkpoints/*/config.json` and `evaluation.json`. Do not edit it.

**{DISCLAIMER}**

## Intended use

{INTENDED_USE}

## Out of scope

{OUT_OF_SCOPE}

## How the numbers were obtained

{OBTAINED}

{models}
## Limits

{LIMITS}
{data_limits}

## Data and licences

The code has the licence Apache-2.0. Weights have the licence of the data that they were trained on. Each model above
names it. The trainer reads these datasets:

{sources}

## How to cite

{cited}
"""


def readme_text(text: str) -> str:
    """The project's README.md with a new table of models: test AUC, and sensitivity and specificity at the default
    threshold, each with its 95% interval. Raises ValueError if the table's markers are missing."""
    lines = [
        "| tab, model | test split | AUC, malignant | sensitivity | specificity | threshold |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for folder in released():
        config, figures = read_folder(folder)
        vigil = config["vigil"]
        for one in figures.held_out:
            point = one.at_default_threshold[MALIGNANT]
            cells = (one.metrics["auc_malignant"], point.sensitivity, point.specificity)
            lines.append(
                f"| {TASKS[vigil['task']].title}, {vigil['name']} "
                f"| {one.title}{', not trained on' * (one.kind == 'away')}, n = {one.n:,} "
                f"| {' | '.join(map(with_interval, cells))} | {point.threshold:g} |"
            )
    before, start, rest = text.partition(TABLE_START)
    _, end, after = rest.partition(TABLE_END)
    if not start or not end:
        raise ValueError("README.md lacks the markers of its table of models.")
    return before + start + "\n" + "\n".join(lines) + "\n" + end + after


def main() -> int:
    """Write model_card.md, the table in README.md and the card of every embedded checkpoint."""
    for folder in released():
        write_card(folder)
    (ROOT / "model_card.md").write_text(model_card_text(), encoding="utf-8")
    (ROOT / "README.md").write_text(readme_text((ROOT / "README.md").read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
