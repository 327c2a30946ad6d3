"""Read the test split once and write evaluation.json, the figures and the model's README.

    python -m train.evaluate runs/skin --data DIR

DIR/evaluation.json is where every published number comes from. All scores are the Predictor's, all thresholds and the
temperature are the checkpoint's (chosen on validation before). Run again, it derives the same numbers. Figures go into
`figures/`, which is not part of what is released. Knows nothing of training.
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

from src import weights
from src.predictor import Prediction, Predictor
from src.screening import INTERVAL_METHOD, operating_point, threshold_table
from src.tasks import TASKS, Task
from src.weights import CheckpointError
from train import card, figures, metrics
from train.data import SOURCES, DataMissing, Sample, load, split_hash

log = logging.getLogger(__name__)

DECIMALS = 6
"""To which figures are written: enough for any use, few enough to come out the same on another day."""

AGE_BANDS = ((0, 40, "under 40"), (40, 60, "40 to 59"), (60, math.inf, "60 and over"))
SHARE_BANDS = ((0, 0.05, "under 5% of the picture"), (0.05, 0.15, "5 to 15%"), (0.15, math.inf, "15% and more"))


def score(predictor: Predictor, samples: Sequence[Sample], description: str) -> np.ndarray:
    """Calibrated probabilities float64 (N, C) of the samples, through the Predictor. Raises ImageRefused."""
    rows = []
    pictures = (sample.picture() for sample in samples)
    for answer in tqdm(predictor.predict_many(pictures), total=len(samples), desc=description, unit="image"):
        if not isinstance(answer, Prediction):
            raise answer
        rows.append(answer.probabilities)
    return np.array(rows)


def subgroups_of(sample: Sample) -> dict[str, str]:
    """The subgroups a sample belongs to: kind -> value, from what its data set says of it."""
    found = {}
    for key, value in sample.meta.items():
        if key in ("age", "lesion_share") and isinstance(value, int | float):
            bands = AGE_BANDS if key == "age" else SHARE_BANDS
            found[key] = next((name for low, high, name in bands if low <= value < high), "unknown")
        elif key in ("sex", "localization", "BIRADS", "Device"):
            found[key] = "unknown" if value is None else str(value)
    return found


def evaluate_split(
    task: Task, samples: Sequence[Sample], probabilities: np.ndarray, threshold: float
) -> dict[str, Any]:
    """Everything evaluation.json says of one split, from its calibrated probabilities (N, C)."""
    labels = np.array([sample.label for sample in samples])
    groups = [f"{sample.source}/{sample.group}" for sample in samples]
    positive = metrics.is_malignant(task, labels)
    scores = metrics.p_malignant(task, probabilities).round(DECIMALS)
    points = metrics.point_estimates(task, probabilities, labels)
    intervals = metrics.bootstrap(
        lambda drawn: metrics.point_estimates(task, probabilities[drawn], labels[drawn]), groups
    )
    tables = {"malignant": threshold_table(scores.tolist(), positive.tolist())}
    for code in task.reported_alone:
        # One malignant class against everything benign: the other malignant classes are neither.
        counted = (labels == task.codes.index(code)) | ~positive
        tables[code] = threshold_table(scores[counted].tolist(), positive[counted].tolist())
    result: dict[str, Any] = {
        "sources": [SOURCES[name].title for name in dict.fromkeys(sample.source for sample in samples)],
        "n": len(samples),
        "groups": len(set(groups)),
        "n_per_class": {code: int((labels == i).sum()) for i, code in enumerate(task.codes)},
        "metrics": {name: {"value": value, "interval": intervals[name]} for name, value in points.items()},
        "at_default_threshold": {name: at_threshold(table, threshold) for name, table in tables.items()},
        "confusion_matrix": confusion_matrix(
            labels, probabilities.argmax(axis=1), labels=range(len(task.codes))
        ).tolist(),
        "calibration": metrics.calibration(positive, scores),
        "threshold_table": tables,
        "subgroups": {},
    }
    kinds = [subgroups_of(sample) for sample in samples]
    for kind in sorted({kind for found in kinds for kind in found}):
        result["subgroups"][kind] = {}
        for value in sorted({found[kind] for found in kinds if kind in found}):
            inside = np.array([found.get(kind) == value for found in kinds])
            result["subgroups"][kind][value] = {
                "n": int(inside.sum()),
                "malignant": int(positive[inside].sum()),
                "auc_malignant": metrics.auc(positive[inside], scores[inside]),
                **at_threshold(threshold_table(scores[inside].tolist(), positive[inside].tolist()), threshold),
            }
    return result


def at_threshold(table: Mapping[str, Sequence[Any]], threshold: float) -> dict[str, Any]:
    """The counts of a threshold table at one threshold, and the proportions they make with exact 95% intervals."""
    point = operating_point(table, threshold)
    return {
        "threshold": threshold,
        "tp": point.tp,
        "fp": point.fp,
        "tn": point.tn,
        "fn": point.fn,
        **metrics.proportions(point),
    }


def split_names(samples: Sequence[Sample], sources: Sequence[str]) -> dict[str, list[Sample]]:
    """The splits that are evaluated. "test" is the first source's; a further source's is "test-NAME", because two
    hospitals' figures say more apart than pooled. "validation" is what choices were made on, all sources together."""
    named: dict[str, list[Sample]] = {"validation": [sample for sample in samples if sample.split == "validation"]}
    for i, source in enumerate(sources):
        name = "test" if i == 0 else f"test-{source}"
        named[name] = [sample for sample in samples if sample.split == "test" and sample.source == source]
    return named


def rounded(value: Any) -> Any:
    """JSON content with floats rounded, and None for what is not finite (JSON has no NaN)."""
    if isinstance(value, float):
        return round(value, DECIMALS) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list | tuple) else value


def evaluate(folder: Path, data: Path) -> dict[str, Any]:
    """The content of evaluation.json for the checkpoint in `folder`.

    Raises CheckpointError for a folder that does not verify, DataMissing for data that is not there.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8")) if folder.is_dir() else {}
    vigil = config.get("vigil", {})
    if "recipe" not in vigil:
        raise CheckpointError(f"{folder} is not a checkpoint folder that `python -m train` wrote.")
    task, sources = TASKS[vigil["task"]], vigil["recipe"]["sources"]
    samples = load(task.name, data, sources)
    if split_hash(samples) != vigil["split_sha256"]:
        log.warning("The data is not split as it was for training: a test image may have been trained on.")
    predictor = Predictor(weights.load(task.name, folder))
    splits = {}
    for name, some in split_names(samples, sources).items():
        probabilities = score(predictor, some, name)
        splits[name] = evaluate_split(task, some, probabilities, vigil["default_threshold"])
        figures.draw(folder / "figures", name, task, np.array([sample.label for sample in some]), probabilities)
    figures.learning_curves(folder / "figures", vigil["history"])
    return rounded(
        {
            "task": task.name,
            "model": vigil["name"],
            "weights_sha256": vigil["sha256"],
            "split_sha256": split_hash(samples),
            "intervals": {
                "metrics": f"95%, bootstrap of {metrics.RESAMPLES} draws of whole groups",
                "proportions": f"95%, {INTERVAL_METHOD}",
            },
            "splits": splits,
        }
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status, 1 with one sentence on standard error where it cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m train.evaluate", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="checkpoint folder that `python -m train` wrote")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the data sets")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        content = evaluate(options.folder, options.data)
    except (CheckpointError, DataMissing) as error:
        print(error, file=sys.stderr)
        return 1
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n"
    (options.folder / "evaluation.json").write_text(text, encoding="utf-8")
    card.write(options.folder)
    for name, split in content["splits"].items():
        print(f"{name} ({', '.join(split['sources'])}, n = {split['n']:,}, {split['groups']:,} groups)")
        for metric, found in split["metrics"].items():
            low, high = found["interval"]
            print(f"  {metric:<20}{found['value']:.3f}  ({low:.3f} to {high:.3f})")
        for who, point in split["at_default_threshold"].items():
            for share in ("sensitivity", "specificity"):
                low, high = point[share]["interval"]
                what = f"{share} {who}" if who != "malignant" else share
                print(f"  {what:<20}{point[share]['value']:.3f}  ({low:.3f} to {high:.3f}) at {point['threshold']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
