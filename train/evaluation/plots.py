"""The plots of an evaluation as PNG files: ROC, precision-recall, confusion matrix, reliability and learning curves.

This module only draws. `src/results/chart_data.py` computes the curves that the page shows, too; scikit-learn draws the
others.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.metrics import ConfusionMatrixDisplay, PrecisionRecallDisplay

from src.models.evaluation import CalibrationBin
from src.results import chart_data
from src.results.chart_data import Chart
from src.results.thresholds import threshold_table
from src.tasks import Task
from train.evaluation import metrics


def _figure(width: float = 5, height: float = 4.5) -> Figure:
    # pyplot is not used, because it needs a window system and keeps global state.
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    # Without this, the version of matplotlib in the file would make equal plots differ.
    figure.savefig(folder / f"{name}.png", dpi=130, metadata={"Software": None})


def _plot(axes: Axes, chart: Chart) -> None:
    """Draw a chart's lines, with the whiskers of their intervals."""
    for line in chart.lines:
        x, y = np.array(line.points).T
        whiskers = np.abs(np.array(line.intervals).T - y) if line.intervals else None
        axes.errorbar(x, y, yerr=whiskers, marker=".", capsize=3, label=line.name)
    if chart.diagonal:
        axes.plot([0, 1], [0, 1], color="grey", linestyle=":")
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axes.set(title=chart.title, xlabel=chart.axes.x, xscale="log" if chart.axes.log_x else "linear")
    if chart.axes.y != chart.title:
        axes.set_ylabel(chart.axes.y)
    axes.legend()


def draw(folder: Path, split: str, task: Task, labels: np.ndarray, probabilities: np.ndarray) -> None:
    """Draw ROC, precision-recall, confusion matrix and reliability of one split into `folder`.

    `labels` (N,) class indices, `probabilities` (N, C) calibrated.
    """
    positive, scores = metrics.is_malignant(task, labels), metrics.p_malignant(task, probabilities)
    figure = _figure()
    name = f"{split}, AUC {metrics.auc(positive, scores):.3f}"
    _plot(figure.subplots(), chart_data.roc([(name, threshold_table(scores.tolist(), positive.tolist()))]))
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
    bins = [CalibrationBin.model_validate(row) for row in metrics.calibration(positive, scores)]
    _plot(axes, chart_data.reliability(bins, split))
    for one in bins:
        axes.annotate(f"{one.n}", (one.mean_score, one.share_malignant), textcoords="offset points", xytext=(6, -10))
    _save(figure, folder, f"{split}-reliability")


def learning_curves(folder: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Draw losses and metrics over epochs into `folder`; for the logistic regression, the AUC over C."""
    charts = chart_data.learning_curves(history)
    if not charts:
        return
    figure = _figure(4 * len(charts), 4)
    for axes, chart in zip(figure.subplots(1, len(charts), squeeze=False)[0], charts, strict=True):
        _plot(axes, chart)
    _save(figure, folder, "learning-curves")
