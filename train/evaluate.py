"""Read the test split once and write evaluation.json, the figures and the model's README.

    python -m train.evaluate runs/skin --data DIR

DIR/evaluation.json is where every published number comes from; `--check` derives them all again and fails on any
difference (all but the spread over seeds, which `train.spread` derives from the runs of each), `--audit FOLDER` shows
the test pictures that the model got wrong. All scores are the Predictor's, all thresholds and the temperature are the
checkpoint's (chosen on validation before). Run again, it derives the same numbers. Figures go into `figures/`, which is
not part of what is released. Knows nothing of training.
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

from src.command_line import threshold_argument
from src.models import checkpoints
from src.models.checkpoints import CheckpointError
from src.models.evaluation import Metric
from src.models.prediction import Prediction
from src.models.predictor import Predictor
from src.results.formatting import with_interval
from src.results.thresholds import INTERVAL_METHOD, one_a_group, threshold_table
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
    subgroups,
    views,
)
from train.training import segmentation

log = logging.getLogger(__name__)

DECIMALS = 6
"""To which figures are written: enough for any use, few enough to come out the same on another day."""

OF_OTHER_RUNS = ("seeds", "left_out")
"""What evaluation.json says of networks that were trained otherwise: `train.spread` and `train.leave_out` write it."""

EXAMINED = 100
"""Pictures of a set on which heat maps and small views are measured: a minute or two of a set on two cores."""


def predict_samples(predictor: Predictor, samples: Sequence[Sample], description: str) -> list[Prediction]:
    """What the Predictor says of the samples. Raises ImageRefused."""
    found = []
    pictures = (sample.picture() for sample in samples)
    for answer in tqdm(predictor.predict_many(pictures), total=len(samples), desc=description, unit="image"):
        if not isinstance(answer, Prediction):
            raise answer
        found.append(answer)
    return found


def evaluate_split(
    task: Task,
    samples: Sequence[Sample],
    probabilities: np.ndarray,
    threshold: float,
    correlations: np.ndarray | None = None,
) -> dict[str, Any]:
    """Everything evaluation.json says of one split, from its calibrated probabilities (N, C).

    `correlations` (N,), each picture's highest with a training picture, adds the figures without near-duplicates.
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
    """Where samples are from and how many they are: images, groups, images of each class."""
    return {
        "sources": [SOURCES[name].title for name in dict.fromkeys(sample.source for sample in samples)],
        "n": len(samples),
        "groups": len({(sample.source, sample.group) for sample in samples}),
        "n_per_class": {code: sum(sample.label == i for sample in samples) for i, code in enumerate(task.codes)},
    }


def metrics_at(
    task: Task, labels: np.ndarray, probabilities: np.ndarray, groups: Sequence[str], threshold: float
) -> dict[str, Any]:
    """The metrics, and what holds at `threshold`, each with its 95% interval."""
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
    """The table of "malignant", and of each malignant class that is reported alone, from p(malignant) (N,).

    With `groups` (N) every group counts once, by the worst of its pictures: what a sensitivity can be promised by.
    """
    positive = metrics.is_malignant(task, labels)
    tables = {}
    for who in ("malignant", *task.reported_alone):
        # One malignant class against everything benign: the other malignant classes are neither.
        rows = np.flatnonzero(~positive | (who == "malignant") | (np.array(task.codes)[labels] == who)).tolist()
        cases = scores[rows].tolist(), positive[rows].tolist()
        if groups is not None:
            cases = one_a_group(*cases, [groups[row] for row in rows])
        tables[who] = threshold_table(*cases)
    return tables


def split_names(samples: Sequence[Sample], sources: Sequence[str]) -> dict[str, list[Sample]]:
    """The splits that are evaluated. "test" is the first source's; a further source's is "test-NAME", because two
    hospitals' figures say more apart than pooled. "validation" is what choices were made on, all sources together."""
    named: dict[str, list[Sample]] = {"validation": [sample for sample in samples if sample.split == "validation"]}
    for i, source in enumerate(sources):
        name = "test" if i == 0 else f"test-{source}"
        named[name] = [sample for sample in samples if sample.split == "test" and sample.source == source]
    return named


def drawn(samples: Sequence[Sample]) -> list[Sample]:
    """At most EXAMINED of the samples, drawn at random and in random order, the same every time."""
    order = np.random.default_rng(0).permutation(len(samples))
    return [samples[i] for i in order[:EXAMINED]]


def round_figures(value: Any) -> Any:
    """JSON content with floats rounded, and None for what is not finite (JSON has no NaN)."""
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
    """A trained checkpoint folder: its config's `vigil` block, its Predictor, and its recipe's samples.

    Raises CheckpointError for a folder that does not verify, DataMissing for data that is not there.
    """
    vigil = vigil_block(folder)
    recipe = vigil["recipe"]
    samples = load(vigil["task"], data, recipe["sources"], recipe.get("resplit"))
    if split_hash(samples) != vigil["split_sha256"]:
        log.warning("The data is not split as it was for training: a test image may have been trained on.")
    return vigil, Predictor(checkpoints.load(vigil["task"], folder)), samples


def evaluate(folder: Path, data: Path, draw_into: Path | None = None) -> dict[str, Any]:
    """The content of evaluation.json for the checkpoint in `folder`; figures into `draw_into` where given.

    Raises CheckpointError for a folder that does not verify, DataMissing for data that is not there.
    """
    vigil, predictor, samples = open_run(folder, data)
    task, threshold = predictor.task, vigil["default_threshold"]
    splits = split_names(samples, vigil["recipe"]["sources"])
    external = load_external(task.name, data, vigil["recipe"]["sources"])
    parts = splits | {f"external-{name}": some for name, some in external.items()}
    held_out = [sample for name, some in parts.items() if name != "validation" for sample in some]
    training = [sample for sample in samples if sample.split == "train"]
    highest = duplicates.highest_correlations(held_out, training)
    correlation = {(sample.source, sample.name): r for sample, r in zip(held_out, highest, strict=True)}
    found: dict[str, Any] = {}
    answered: dict[str, list[Prediction]] = {}
    for name, some in parts.items():
        answered[name] = predict_samples(predictor, some, name)
        probabilities = np.array([answer.probabilities for answer in answered[name]])
        alike = None if name == "validation" else np.array([correlation[s.source, s.name] for s in some])
        found[name] = evaluate_split(task, some, probabilities, threshold, alike)
        if predictor.checkpoint.finder is not None:
            region = segmentation.evaluate_finder(predictor.checkpoint.finder, some)
            if region is not None:
                found[name]["region"] = region
        if name != "validation":
            chosen = drawn(some)
            found[name]["explanation"] = explanations.evaluate_heat_maps(predictor, chosen, threshold)
            found[name]["robustness"] = robustness.evaluate_robustness(predictor, chosen, threshold)
        if draw_into is not None:
            plots.draw(draw_into, name, task, np.array([sample.label for sample in some]), probabilities)
    found["validation"]["quality"] = quality.measure_effects(predictor, splits["validation"], threshold)
    found["validation"] |= measure_geometry(predictor, splits["validation"], threshold)
    for name, judged in gate.evaluate_gate(predictor, parts, answered, data).items():
        found[name]["gate"] = judged
    if draw_into is not None:
        plots.learning_curves(draw_into, vigil["history"])
    return round_figures(
        {
            "task": task.name,
            "model": vigil["name"],
            "weights_sha256": vigil["sha256"],
            "split_sha256": split_hash(samples),
            "training": counts(task, training),
            "intervals": {
                "metrics": f"95%, bootstrap of {metrics.RESAMPLES} draws of whole groups",
                "proportions": f"95%, {INTERVAL_METHOD}",
                "shares in samples": f"95%, {INTERVAL_METHOD} of as many cases as there are groups",
            },
            "splits": {name: found[name] for name in splits},
            "external": {name: found[f"external-{name}"] for name in external},
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

    What `train.spread` and `train.leave_out` wrote beside the same weights stays: it rests on other runs, which may be
    gone.
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
    """The figures of every set, a line each, to be read in a terminal."""
    lines = []
    for name, split in {**content["splits"], **content["external"]}.items():
        lines.append(f"{name} ({', '.join(split['sources'])}, n = {split['n']:,}, {split['groups']:,} groups)")
        lines += [f"  {metric:<20}{metric_text(found)}" for metric, found in split["metrics"].items()]
        for who, point in split["at_default_threshold"].items():
            for share in ("sensitivity", "specificity"):
                what = f"{share} {who}" if who != "malignant" else share
                lines.append(f"  {what:<20}{metric_text(point[share])} at {point['threshold']}")
    return "\n".join(lines)


def differences(folder: Path, data: Path) -> list[str]:
    """What does not come out again of a checkpoint folder's evaluation.json and of the cards that rest on it.

    But for OF_OTHER_RUNS, which rest on other weights. Raises CheckpointError and DataMissing.
    """
    stored = folder / "evaluation.json"
    if folder.is_dir() and not stored.is_file():
        raise CheckpointError(f"{folder} has no evaluation.json to check.")
    derived = json.loads(json.dumps(evaluate(folder, data)))
    published = json.loads(stored.read_text(encoding="utf-8"))
    for key in OF_OTHER_RUNS:
        published.pop(key, None)
    return [*check.compare_evaluations(published, derived), *check.compare_cards(folder)]


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status, 1 with one sentence on standard error where it cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m train.evaluate", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="checkpoint folder that `python -m train` wrote")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the data sets")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--check",
        action="store_true",
        help="write nothing; derive every number of evaluation.json, of the folder's card and, of an embedded "
        "checkpoint, of model_card.md and README.md again, and fail naming each difference",
    )
    instead.add_argument(
        "--audit",
        type=Path,
        metavar="FOLDER",
        help="write nothing but FOLDER/index.html: the test pictures as missed cancers, false alarms and correct ones",
    )
    parser.add_argument(
        "--threshold", type=threshold_argument, metavar="T", help="of the audit (default: the checkpoint's)"
    )
    options = parser.parse_args(arguments)
    if options.threshold is not None and options.audit is None:
        parser.error("--threshold is for --audit; evaluation is at the checkpoint's own")
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
