"""Read the test split once and write evaluation.json, the figures and the model's README.

    python -m train.evaluate runs/skin --data DIR

Every published number comes from the evaluation.json that this command writes into the folder. The Predictor gives all
scores. The checkpoint gives the thresholds and the temperature, which were chosen on validation. A second run derives
the same numbers. The plots go into `figures/`, which is not published.

`--check` derives every number again and fails on any difference. It leaves out the numbers that rest on other networks:
`train.spread` and `train.leave_out` derive those. `--audit FOLDER` shows the test images that the model got wrong. This
module knows nothing of training.
"""

import argparse
import json
import logging
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix
from tqdm import tqdm

from src.command_line import runs_networks, threshold_argument
from src.models import checkpoints
from src.models.checkpoints import CheckpointError
from src.models.evaluation import Metric
from src.models.prediction import Prediction
from src.models.predictor import Predictor
from src.results.formatting import with_interval
from src.results.thresholds import INTERVAL_METHOD, threshold_table, worst_per_group
from src.tasks import Task
from train import card, check, gate, quality
from train.data import SOURCES, DataMissing, Sample, load, load_external, split_hash
from train.evaluation import (
    audit,
    duplicates,
    explanations,
    magnification,
    metrics,
    plots,
    robustness,
    stain,
    subgroups,
    views,
)
from train.training import segmentation

log = logging.getLogger(__name__)

DECIMALS = 6
"""Decimals of a figure in evaluation.json: few enough that a second run writes the same figure."""

OF_OTHER_RUNS = ("seeds", "left_out", "out_of_fold")
"""Keys of evaluation.json that describe other networks. `train.spread` and `train.leave_out` write them."""

EXAMINED = 100
"""Images per set for heat maps and robustness. They take one or two minutes per set on two cores."""


def predict_samples(predictor: Predictor, samples: Sequence[Sample], description: str) -> list[Prediction]:
    """The predictions for the samples, in their order. Raises ImageRefused."""
    predictions = []
    pictures = (sample.picture() for sample in samples)
    for answer in tqdm(predictor.predict_many(pictures), total=len(samples), desc=description, unit="image"):
        if not isinstance(answer, Prediction):
            raise answer
        predictions.append(answer)
    return predictions


def evaluate_split(
    task: Task,
    samples: Sequence[Sample],
    probabilities: np.ndarray,
    threshold: float,
    correlations: np.ndarray | None = None,
) -> dict[str, Any]:
    """The entry of one split in evaluation.json, from its calibrated probabilities (N, C).

    `correlations` (N,) has the highest correlation of each image with a training image. If it is given, the entry also
    has the figures without near-duplicates.
    """
    labels = np.array([sample.label for sample in samples])
    groups = [f"{sample.source}/{sample.group}" for sample in samples]
    positive = metrics.is_malignant(task, labels)
    scores = metrics.p_malignant(task, probabilities).round(DECIMALS)
    result: dict[str, Any] = {
        **counts(task, samples),
        **metrics_at(task, labels, probabilities, groups, threshold),
        "confusion_matrix": confusion_matrix(
            labels, probabilities.argmax(axis=1), labels=range(len(task.codes))
        ).tolist(),
        "calibration": metrics.calibration(positive, scores),
        "threshold_table": threshold_tables(task, labels, scores),
        "threshold_table_groups": threshold_tables(task, labels, scores, groups),
        "subgroups": subgroups.evaluate_subgroups(samples, positive, scores, threshold),
    }
    if correlations is not None:
        source = SOURCES[samples[0].source]
        side, limit = source.thumbnail_side, source.near_duplicate
        kept = np.flatnonzero(correlations <= limit)
        result["without_near_duplicates"] = {
            "thumbnail_side": side,
            "correlation_above": limit,
            "highest_correlation": float(correlations.max()),
            "n": len(kept),
            **(
                {name: result[name] for name in ("metrics", "at_default_threshold")}
                if len(kept) == len(samples)
                else metrics_at(task, labels[kept], probabilities[kept], [groups[row] for row in kept], threshold)
            ),
        }
    return result


def counts(task: Task, samples: Sequence[Sample]) -> dict[str, Any]:
    """The sources of the samples, and the numbers of images, of groups and of images per class."""
    return {
        "sources": [SOURCES[name].title for name in dict.fromkeys(sample.source for sample in samples)],
        "n": len(samples),
        "groups": len({(sample.source, sample.group) for sample in samples}),
        "n_per_class": {code: sum(sample.label == i for sample in samples) for i, code in enumerate(task.codes)},
    }


def metrics_at(
    task: Task, labels: np.ndarray, probabilities: np.ndarray, groups: Sequence[str], threshold: float
) -> dict[str, Any]:
    """The metrics and the operating point at `threshold`, each with its 95% interval."""
    points = metrics.point_estimates(task, probabilities, labels)
    intervals = metrics.bootstrap(
        lambda drawn: metrics.point_estimates(task, probabilities[drawn], labels[drawn]), groups
    )
    tables = threshold_tables(task, labels, metrics.p_malignant(task, probabilities).round(DECIMALS))
    return {
        "metrics": {name: {"value": value, "interval": intervals[name]} for name, value in points.items()},
        "at_default_threshold": {name: metrics.at_threshold(table, threshold) for name, table in tables.items()},
    }


def threshold_tables(
    task: Task, labels: np.ndarray, scores: np.ndarray, groups: Sequence[str] | None = None
) -> dict[str, dict[str, list[Any]]]:
    """The threshold table of "malignant" and of each malignant class that is reported alone, from p(malignant) (N,).

    With `groups` (N) every group counts once, by the worst of its images. A promised sensitivity rests on this table.
    """
    positive = metrics.is_malignant(task, labels)
    tables = {}
    for target in ("malignant", *task.reported_alone):
        # A single malignant class is compared with the benign classes. The other malignant classes count as neither.
        rows = np.flatnonzero(~positive | (target == "malignant") | (np.array(task.codes)[labels] == target)).tolist()
        cases = scores[rows].tolist(), positive[rows].tolist()
        if groups is not None:
            cases = worst_per_group(*cases, [groups[row] for row in rows])
        tables[target] = threshold_table(*cases)
    return tables


def split_names(samples: Sequence[Sample], sources: Sequence[str]) -> dict[str, list[Sample]]:
    """The evaluated splits by name.

    "test" is the test split of the first source, and "test-NAME" that of a further source: the figures of two hospitals
    say more when they are reported separately. "validation" has all sources together, as choices were made on it.
    """
    named: dict[str, list[Sample]] = {"validation": [sample for sample in samples if sample.split == "validation"]}
    for i, source in enumerate(sources):
        name = "test" if i == 0 else f"test-{source}"
        named[name] = [sample for sample in samples if sample.split == "test" and sample.source == source]
    return named


def examined(samples: Sequence[Sample]) -> list[Sample]:
    """At most EXAMINED of the samples, in an order that is random but the same every time."""
    order = np.random.default_rng(0).permutation(len(samples))
    return [samples[i] for i in order[:EXAMINED]]


def round_figures(value: Any) -> Any:
    """JSON content with rounded floats. NaN and infinity become None, because JSON has neither."""
    if isinstance(value, float):
        return round(value, DECIMALS) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: round_figures(item) for key, item in value.items()}
    return [round_figures(item) for item in value] if isinstance(value, list | tuple) else value


def vigil_block(folder: Path) -> dict[str, Any]:
    """The `vigil` block of a trained checkpoint folder's config.json. Raises CheckpointError for another folder."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8")) if folder.is_dir() else {}
    if "recipe" not in config.get("vigil", {}):
        raise CheckpointError(f"{folder} is not a checkpoint folder that `python -m train` wrote.")
    return config["vigil"]


def open_run(folder: Path, data: Path) -> tuple[dict[str, Any], Predictor, list[Sample]]:
    """The `vigil` block of a trained folder's config.json, its Predictor, and the samples of its recipe.

    Raises CheckpointError if the folder does not verify, and DataMissing if a dataset is missing.
    """
    vigil = vigil_block(folder)
    recipe = vigil["recipe"]
    samples = load(vigil["task"], data, recipe["sources"], recipe.get("resplit"), recipe.get("fold"))
    if split_hash(samples) != vigil["split_sha256"]:
        log.warning("The datasets are not split as they were for training: test images may have been trained on.")
    return vigil, Predictor(checkpoints.load(vigil["task"], folder)), samples


def evaluate(folder: Path, data: Path, draw_into: Path | None = None) -> dict[str, Any]:
    """The content of evaluation.json for the checkpoint in `folder`. If `draw_into` is given, plots go there.

    Raises CheckpointError if the folder does not verify, and DataMissing if a dataset is missing.
    """
    vigil, predictor, samples = open_run(folder, data)
    task, threshold = predictor.task, vigil["default_threshold"]
    splits = split_names(samples, vigil["recipe"]["sources"])
    external = load_external(task.name, data, vigil["recipe"]["sources"])
    parts = splits | {f"external-{name}": part for name, part in external.items()}
    held_out = [sample for name, part in parts.items() if name != "validation" for sample in part]
    training = [sample for sample in samples if sample.split == "train"]
    highest = duplicates.highest_correlations(held_out, training)
    correlation = {(sample.source, sample.name): r for sample, r in zip(held_out, highest, strict=True)}
    entries: dict[str, Any] = {}
    predictions: dict[str, list[Prediction]] = {}
    for name, part in parts.items():
        predictions[name] = predict_samples(predictor, part, name)
        probabilities = np.array([prediction.probabilities for prediction in predictions[name]])
        correlations = None if name == "validation" else np.array([correlation[s.source, s.name] for s in part])
        entries[name] = evaluate_split(task, part, probabilities, threshold, correlations)
        if predictor.checkpoint.finder is not None:
            region = segmentation.evaluate_finder(predictor.checkpoint.finder, task, part)
            if region is not None:
                entries[name]["region"] = region
        if name != "validation":
            chosen = examined(part)
            entries[name]["explanation"] = explanations.evaluate_heat_maps(predictor, chosen, threshold)
            entries[name]["robustness"] = robustness.evaluate_robustness(predictor, chosen, threshold)
            changed = stain.measure(predictor, part, np.array([found.p_malignant for found in predictions[name]]))
            if changed is not None:
                entries[name]["stain"] = changed
        if draw_into is not None:
            plots.draw(draw_into, name, task, np.array([sample.label for sample in part]), probabilities)
    entries["validation"]["quality"] = quality.measure_effects(predictor, splits["validation"], threshold)
    entries["validation"] |= measure_geometry(predictor, splits["validation"], threshold)
    for name, entry in gate.evaluate_gate(predictor, parts, predictions, data).items():
        entries[name]["gate"] = entry
    if draw_into is not None:
        plots.learning_curves(draw_into, vigil["history"])
    return round_figures(
        {
            "task": task.name,
            "model": vigil["name"],
            "weights_sha256": vigil["sha256"],
            "members_sha256": [member["sha256"] for member in vigil.get("members", [])],
            "split_sha256": split_hash(samples),
            "training": counts(task, training),
            "intervals": {
                "metrics": f"95%, bootstrap of {metrics.RESAMPLES} draws of whole groups",
                "proportions": f"95%, {INTERVAL_METHOD}",
                "shares in samples": f"95%, {INTERVAL_METHOD} of as many cases as there are groups",
            },
            "splits": {name: entries[name] for name in splits},
            "external": {name: entries[f"external-{name}"] for name in external},
        }
    )


def measure_geometry(predictor: Predictor, samples: Sequence[Sample], threshold: float) -> dict[str, Any]:
    """What pictures of another geometry do, as far as the task has such: parts of evaluation.json's validation split.

    Raises ImageRefused.
    """
    found = {
        "magnification": magnification.measure(predictor.task, samples),
        "views": views.measure(predictor, samples, threshold),
    }
    return {name: measured for name, measured in found.items() if measured is not None}


def write_evaluation(folder: Path, content: Mapping[str, Any]) -> None:
    """Write evaluation.json and the model card of a checkpoint folder.

    The entries of `train.spread` and `train.leave_out` stay if the weights are the same, because the runs that they
    describe may be gone.
    """
    file = folder / "evaluation.json"
    before = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if before.get("weights_sha256") == content["weights_sha256"]:
        content = {**{key: before[key] for key in OF_OTHER_RUNS if key in before}, **content}
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n"
    file.write_text(text, encoding="utf-8")
    card.write_card(folder)


def metric_text(metric: Mapping[str, Any]) -> str:
    """A metric of evaluation.json with its interval, as text."""
    return with_interval(Metric.model_validate(metric))


def summary(content: Mapping[str, Any]) -> str:
    """The figures of every set as text for a terminal, one line per figure."""
    lines = []
    for name, split in {**content["splits"], **content["external"]}.items():
        lines.append(f"{name} ({', '.join(split['sources'])}, n = {split['n']:,}, {split['groups']:,} groups)")
        lines += [f"  {name:<20}{metric_text(metric)}" for name, metric in split["metrics"].items()]
        for target, point in split["at_default_threshold"].items():
            for share in ("sensitivity", "specificity"):
                title = f"{share} {target}" if target != "malignant" else share
                lines.append(f"  {title:<20}{metric_text(point[share])} at {point['threshold']}")
    return "\n".join(lines)


def add_to_evaluation(folder: Path, found: Mapping[str, Mapping[str, Any]]) -> None:
    """Add entries of OF_OTHER_RUNS to evaluation.json in `folder`, and to its cards.

    An entry keeps the older keys that `found` does not have. Raises CheckpointError if `folder` was not evaluated.
    """
    file = folder / "evaluation.json"
    if not file.is_file():
        raise CheckpointError(f"{file} is missing. Train and evaluate first.")
    content = json.loads(file.read_text(encoding="utf-8"))
    write_evaluation(folder, content | {key: content.get(key, {}) | dict(entry) for key, entry in found.items()})


def differences(folder: Path, data: Path) -> list[str]:
    """A sentence for each published number or line of a card that a fresh evaluation does not give again.

    The entries OF_OTHER_RUNS are not checked, because they describe other weights. Raises CheckpointError and
    DataMissing.
    """
    stored = folder / "evaluation.json"
    if folder.is_dir() and not stored.is_file():
        raise CheckpointError(f"{folder} has no evaluation.json to check.")
    derived = json.loads(json.dumps(evaluate(folder, data)))
    published = json.loads(stored.read_text(encoding="utf-8"))
    for key in OF_OTHER_RUNS:
        published.pop(key, None)
    return [*check.compare_evaluations(published, derived), *check.compare_cards(folder)]


@runs_networks("evaluate")
def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status: 1, with one sentence on standard error, if it fails."""
    parser = argparse.ArgumentParser(prog="python -m train.evaluate", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="checkpoint folder that `python -m train` wrote")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the datasets")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--check",
        action="store_true",
        help="write nothing; derive every number of evaluation.json and of the cards again, and fail if one differs",
    )
    instead.add_argument(
        "--audit",
        type=Path,
        metavar="FOLDER",
        help="write only FOLDER/index.html, which shows missed cancers, false alarms and correct decisions",
    )
    parser.add_argument(
        "--threshold",
        type=threshold_argument,
        metavar="T",
        help="threshold of the audit (default: the checkpoint's)",
    )
    options = parser.parse_args(arguments)
    if options.threshold is not None and options.audit is None:
        parser.error("--threshold needs --audit; an evaluation uses the checkpoint's own threshold")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        if options.check:
            found = differences(options.folder, options.data)
            print("\n".join([*found, f"{len(found)} differences, beyond a tolerance of {check.TOLERANCE:g}."]))
            return 1 if found else 0
        if options.audit is not None:
            vigil, predictor, samples = open_run(options.folder, options.data)
            threshold = vigil["default_threshold"] if options.threshold is None else options.threshold
            test = [sample for sample in samples if sample.split == "test"]
            counts = audit.write_page(options.audit, predictor, test, threshold)
            print(f"{options.audit / 'index.html'}: {', '.join(f'{kind.lower()} {n:,}' for kind, n in counts.items())}")
            return 0
        content = evaluate(options.folder, options.data, options.folder / "figures")
    except (CheckpointError, DataMissing, audit.AuditError) as error:
        print(error, file=sys.stderr)
        return 1
    write_evaluation(options.folder, content)
    print(summary(content))
    return 0


if __name__ == "__main__":
    sys.exit(main())
