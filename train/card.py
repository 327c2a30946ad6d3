"""Model cards, generated: README.md of a checkpoint folder, and model_card.md with the released models side by side.

    python -m train.card        writes model_card.md, README.md's table and the cards in checkpoints/*/ anew

Every figure comes from evaluation.json, every setting from config.json; nothing is typed in.
"""

import json
import sys
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from src.models import evaluation
from src.models.checkpoints import EMBEDDED
from src.models.evaluation import MALIGNANT, Evaluation
from src.results.formatting import METRIC_NAMES, with_interval
from src.tasks import DISCLAIMER, TASKS
from train.cards.findings import column_sets, describe
from train.data import SOURCES

ROOT = EMBEDDED.parent
TABLE_START, TABLE_END = "<!-- models: written by python -m train.card -->", "<!-- /models -->"

PIPELINE = "image-classification"

INTENDED_USE = """To show clinicians, students and engineers what such a model does, where it looked and what its
threshold costs; to compare with, and to build on in research."""

OUT_OF_SCOPE = """- Any decision about a person, with or without a clinician in between.
- Pictures of another kind, or from another kind of device, than the data named here.
- People whom the data does not represent."""

LIMITS = """- The figures hold for the splits named. They fall at another hospital, with another device or another mix
  of patients; where a split from elsewhere is shown ("external"), it says by how much.
- Probabilities are calibrated on pictures from the same sources; elsewhere they are not.
- What asks whether a picture is of this kind at all (the gate) refuses most others, not all, and knows nothing of
  devices or people that the data lacks. Its plain statistics of grey pictures leave a display's tint out since it was
  seen to refuse tinted pictures of BrEaST: of that set its share refused is no independent figure.
- Small splits leave wide intervals: read those, not the figures between them.
- A heat map shows what the network reacted to, not why, and is no evidence that it reacted to the right thing."""

OBTAINED = """Every picture was read by the Predictor that page, API and command line use, with the released weights.
Groups (lesions, cases, near-duplicates, slides where they are known) never cross a split. Networks learned from the
training split; epoch, calibration and default threshold were chosen on validation; the test split was read by
`python -m train.evaluate` afterwards, which derives the same figures again from the same data. Intervals are 95%."""


def read_folder(folder: Path) -> tuple[dict[str, Any], Evaluation]:
    """config.json and evaluation.json of a checkpoint folder."""
    return json.loads((folder / "config.json").read_text(encoding="utf-8")), evaluation.read(folder)


def metadata(config: dict[str, Any], figures: Evaluation, name: str) -> ModelCardData:
    """The card's metadata as the Hub reads it; its model-index has the figures of every held-out set."""
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


def text(folder: Path, repo: str | None = None) -> str:
    """README.md of a checkpoint folder, from its config.json and evaluation.json, for the Hub's repository `repo`
    ("OWNER/vigil-TASK" where there is none yet).

    Raises ValueError where evaluation.json lacks figures, or huggingface_hub cannot read the card's metadata.
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
    content = f"""---
{metadata(config, figures, repo.partition("/")[2]).to_yaml()}
---

# Vigil: {task.title.lower()}, {vigil["name"]}

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
    logits = model(transform(Image.open("picture.jpg"){converted})[None])
```

Probabilities are the softmax of the logits divided by the temperature, {vigil["temperature"]:.3f}; a single logit is
that of the second class. Classes: {", ".join(config["label_names"])}.{crop}
On Vigil's page: `VIGIL_WEIGHTS_{task.name.upper()}={repo}`.

## How to cite

{cite(config)}
"""
    parsed = ModelCard(content).data
    if not isinstance(parsed, ModelCardData) or not parsed.eval_results:
        raise ValueError("The card's metadata cannot be read back.")
    return content


def cite(config: dict[str, Any]) -> str:
    """What to name in a publication."""
    vigil = config["vigil"]
    papers = "; ".join(f"{source['name']}: {source['citation']}" for source in vigil["data"])
    return (
        f"Vigil, {vigil['name']} for {TASKS[vigil['task']].title.lower()}, code {vigil['code_version']}, weights\n"
        f"sha256 {vigil['sha256']}; and the data's papers: {papers}."
    )


def write_card(folder: Path) -> None:
    """Write README.md of a checkpoint folder from its config.json and evaluation.json."""
    (folder / "README.md").write_text(text(folder), encoding="utf-8")


def released() -> list[Path]:
    """The embedded checkpoint folders in the order of the tabs, a task's default first."""
    return [folder for task in TASKS for folder in sorted(EMBEDDED.glob(f"{task}*"))]


def model_card() -> str:
    """The text of model_card.md, from every embedded checkpoint."""
    sections, citations = [], []
    for folder in released():
        config, figures = read_folder(folder)
        task = TASKS[config["vigil"]["task"]]
        sections.append(
            f"## {task.title}: {config['vigil']['name']}\n\n"
            f"In `checkpoints/{folder.name}`, licence {task.licence.terms}.\n"
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

Generated by `python -m train.card` from `checkpoints/*/config.json` and `evaluation.json`; do not edit.

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

The code is under Apache-2.0. Weights carry the licence of the data they learned from, named with each model above.

{sources}

## How to cite

{cited}
"""


def readme(text: str) -> str:
    """The project's README.md with its table of models made anew: test AUC, and sensitivity and specificity at the
    default threshold, each with its 95% interval. Raises ValueError where the table's markers are missing."""
    lines = [
        "| tab, model | test split | AUC, malignant | sensitivity | specificity | at |",
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
                f"| {one.title}{', never learned from' * (one.kind == 'away')}, n = {one.n:,} "
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
    (ROOT / "model_card.md").write_text(model_card(), encoding="utf-8")
    (ROOT / "README.md").write_text(readme((ROOT / "README.md").read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
