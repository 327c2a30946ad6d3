"""The figures of an evaluation: ROC, precision-recall, confusion matrix, reliability, learning curves, as PNG files.

Draws what it is given; chooses and computes nothing. scikit-learn's displays do the drawing.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.metrics import ConfusionMatrixDisplay, PrecisionRecallDisplay, RocCurveDisplay

from src.tasks import Task
from train.evaluation import metrics


def _figure(width: float = 5, height: float = 4.5) -> Figure:
    # Without pyplot: no window system, no global state.
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    # Without the version and date that would make the same figure another file.
    figure.savefig(folder / f"{name}.png", dpi=130, metadata={"Software": None})


def draw(folder: Path, split: str, task: Task, labels: np.ndarray, probabilities: np.ndarray) -> None:
    """ROC, precision-recall, confusion matrix and reliability of one split, into `folder`.

    `labels` (N,) class indices, `probabilities` (N, C) calibrated.
    """
    positive, scores = metrics.is_malignant(task, labels), metrics.p_malignant(task, probabilities)
    figure = _figure()
    RocCurveDisplay.from_predictions(positive, scores, ax=figure.subplots(), name="malignant", plot_chance_level=True)
    _save(figure, folder, f"{split}-roc")

    figure = _figure()
    axes = figure.subplots()
    PrecisionRecallDisplay.from_predictions(positive, scores, ax=axes, name="malignant", plot_chance_level=True)
    axes.set(xlabel="sensitivity (recall)", ylabel="PPV (precision)")
    _save(figure, folder, f"{split}-precision-recall")

    figure = _figure()
    ConfusionMatrixDisplay.from_predictions(
        labels,
        probabilities.argmax(axis=1),
        labels=range(len(task.codes)),
        display_labels=task.codes,
        ax=figure.subplots(),
        cmap="cividis",
        colorbar=False,
    )
    _save(figure, folder, f"{split}-confusion")

    figure = _figure()
    axes = figure.subplots()
    rows = metrics.calibration(positive, scores)
    share = np.array([row["share_malignant"] for row in rows])
    bounds = np.array([row["interval"] for row in rows]).T
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":")
    axes.errorbar(
        [row["mean_score"] for row in rows], share, yerr=np.abs(bounds - share), marker="o", capsize=3, color="#1f5f8b"
    )
    for row in rows:
        axes.annotate(
            f"{row['n']}", (row["mean_score"], row["share_malignant"]), textcoords="offset points", xytext=(6, -10)
        )
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="mean p(malignant) shown", ylabel="share found malignant (95% interval)")
    _save(figure, folder, f"{split}-reliability")


def learning_curves(folder: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Losses and metrics over epochs, or cross-validated over C for the logistic regression, into `folder`."""
    x_name = "epoch" if "epoch" in history[0] else "C"
    labels = {
        "train_loss": "training loss",
        "loss": "validation log loss",
        "accuracy": "validation accuracy",
        "auc_malignant": "AUC, malignant",
        "auc_macro": "AUC, macro",
    }
    panels = [[key for key in keys if key in history[0]] for keys in (list(labels)[:2], list(labels)[2:])]
    panels = [keys for keys in panels if keys]
    figure = _figure(4 * len(panels), 4)
    for axes, keys in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for key in keys:
            axes.plot([row[x_name] for row in history], [row[key] for row in history], marker=".", label=labels[key])
        axes.set_xlabel(x_name)
        axes.set_xscale("linear" if x_name == "epoch" else "log")
        axes.legend()
    _save(figure, folder, "learning-curves")
