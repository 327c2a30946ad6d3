"""What is known of each model -> the Evidence tab, as HTML: what it learned from, how it did on pictures it did not
learn from, beside what others publish, and for whom.

Every figure comes from a checkpoint's evaluation.json and config.json. Pure but for reading the embedded folders; knows
nothing of Gradio, pictures or networks.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from markupsafe import Markup

from src.models import checkpoints
from src.models.checkpoints import Checkpoint
from src.models.config import VigilConfig
from src.page.render import render
from src.page.views import published
from src.page.views.learning_curves import learning_curves
from src.results.formatting import METRIC_NAMES, MIN_CASES, SPREAD_NAMES, figure, held_out, over_seeds
from src.tasks import TASKS, Task

_KINDS: Final[Mapping[str, str]] = {
    "sex": "Sex",
    "age": "Age in years",
    "localization": "Body site",
    "BIRADS": "BI-RADS grade by the radiologist",
    "lesion_share": "Lesion size: its bounding box as a share of the image",
    "Device": "Scanner",
}

_UNREADABLE: Final = (KeyError, TypeError, ValueError, AttributeError, IndexError)
"""What a file that Vigil did not write can raise. Anyone can publish a checkpoint, and the page must stand."""

Split = Mapping[str, Any]
"""What evaluation.json says of one set."""


@dataclass(frozen=True)
class Model:
    """A model to be shown: `origin` is empty for an embedded one, else where it was fetched from; `evaluation` is
    evaluation.json's content, None where there is none."""

    task: Task
    about: VigilConfig
    evaluation: Mapping[str, Any] | None
    origin: str = ""

    @property
    def title(self) -> str:
        """As it is chosen by: task, name, and where it is from if it is not embedded."""
        return f"{self.task.title}, {self.about.name}" + (f" ({self.origin})" if self.origin else "")


@dataclass(frozen=True)
class Share:
    """A proportion as it is shown: `figure` with its interval, None for too few cases; `n` how many cases it is of."""

    figure: str | None
    n: str


def models(served: Iterable[Checkpoint]) -> list[Model]:
    """The served checkpoints in their order, each followed by its task's embedded models that are not served."""
    found: list[Model] = []
    for checkpoint in served:
        task = TASKS[checkpoint.config.vigil.task]
        origin = "" if checkpoint.source == "embedded" else checkpoint.source
        found.append(Model(task, checkpoint.config.vigil, checkpoint.evaluation, origin))
        for folder in [*([task.name] if origin else []), *checkpoints.further(task.name)]:
            config, evaluation = (
                json.loads((checkpoints.EMBEDDED / folder / name).read_text(encoding="utf-8"))
                for name in ("config.json", "evaluation.json")
            )
            found.append(Model(task, VigilConfig.model_validate(config["vigil"]), evaluation))
    return found


# The page


def overview(shown: Iterable[Model]) -> str:
    """All models beside each other: AUC, and sensitivity and specificity at the default threshold, on each set."""
    rows = []
    for model in shown:
        try:
            rows += _overview_rows(model)
        except _UNREADABLE:
            continue  # its own page says that it cannot be shown
    head = ("Model", "Dataset", "AUC, malignant", "Sensitivity", "Specificity", "Threshold")
    return render("evidence_overview.html", head=head, rows=rows)


def _overview_rows(model: Model) -> list[list[str]]:
    evaluation = model.evaluation or {"splits": {}}
    rows = []
    for name, split in held_out(evaluation).items():
        point = split["at_default_threshold"]["malignant"]
        figures = (split["metrics"]["auc_malignant"], point["sensitivity"], point["specificity"])
        rows.append([model.title, set_title(evaluation, name), *map(figure, figures), f"{point['threshold']:g}"])
    return rows


def page(model: Model) -> str:
    """Everything about one model; one sentence where its evaluation.json is missing or is none of ours."""
    body: Markup | None = None
    if model.evaluation is not None:
        try:
            body = _evaluated(model, model.evaluation)
        except _UNREADABLE:
            body = None
    sources = [{key: source.get(key, "") for key in ("name", "licence", "citation")} for source in model.about.data]
    return render(
        "evidence.html",
        title=model.title,
        sources=sources,
        has_evaluation=model.evaluation is not None,
        body=body,
    )


def _evaluated(model: Model, evaluation: Mapping[str, Any]) -> Markup:
    sets = held_out(evaluation)
    titles = {name: set_title(evaluation, name) for name in sets}
    return render(
        "evidence_figures.html",
        training=_training(evaluation),
        titles=list(titles.values()),
        metrics=_metrics(sets),
        intervals={key: evaluation["intervals"][key] for key in ("metrics", "proportions")},
        notes=[_notes(titles[name], split) for name, split in sets.items()],
        seeds=_seeds(evaluation, sets),
        published=published.beside(model.task, sets),
        codes=model.task.codes,
        confusion=[_confusion(model.task, titles[name], split) for name, split in sets.items()],
        learning_curves=learning_curves(model.about.history),
        subgroups=[(titles[name], _subgroups(split, titles[name])) for name, split in sets.items()],
        min_cases=MIN_CASES,
    )


def set_title(evaluation: Mapping[str, Any], name: str) -> str:
    """What a set is called on the page: at home or elsewhere, where it is from and how large it is."""
    split = held_out(evaluation)[name]
    kind = "elsewhere" if name in evaluation.get("external", {}) else "test"
    return f"{kind}, {' and '.join(split['sources'])} (n = {split['n']:,})"


def share_of(found: Mapping[str, Any], n: str = "") -> Share:
    """A proportion's figure, unless it is of fewer than MIN_CASES; `n` where `of` is not what to show."""
    few = found["of"] < MIN_CASES or found["value"] is None
    return Share(None if few else figure(found), n or f"{found['of']:,}")


def _training(evaluation: Mapping[str, Any]) -> dict[str, Any] | None:
    """How many pictures it learned from, by class; older evaluations do not say."""
    if "training" not in evaluation:
        return None
    training = evaluation["training"]
    return {
        "n": f"{training['n']:,}",
        "groups": f"{training['groups']:,}",
        "classes": ", ".join(f"{code} {n:,}" for code, n in training["n_per_class"].items()),
    }


def _metrics(sets: Mapping[str, Split]) -> list[list[str | Share]]:
    """A row for each metric and each proportion at the default threshold, with a cell for each set."""
    first = next(iter(sets.values()))
    rows: list[list[str | Share]] = [
        [title, *(figure(split["metrics"][name]) for split in sets.values())]
        for name, title in METRIC_NAMES.items()
        if name in first["metrics"]
    ]
    for who, point in first["at_default_threshold"].items():
        for share in ("sensitivity", "specificity", "ppv", "npv") if who == "malignant" else ("sensitivity",):
            title = share.upper() if len(share) == 3 else share.capitalize()
            title += f" for {who}" if who != "malignant" else ""
            cells = (share_of(split["at_default_threshold"][who][share]) for split in sets.values())
            rows.append([f"{title} at {point['threshold']:g}", *cells])
    return rows


def _notes(title: str, split: Split) -> dict[str, Any]:
    """What has to be known to read a set's figures."""
    region, without = split.get("region"), split.get("without_near_duplicates")
    return {
        "title": title,
        "groups": f"{split['groups']:,}",
        "independent": split["groups"] == split["n"],
        "region": region
        and {
            "n": f"{region['n']:,}",
            "dice": f"{region['dice']:.3f}",
            "hit": f"{region['hit']:.1%}",
            "empty": f"{region['empty']:.1%}",
        },
        "near_duplicates": without and _near_duplicates(split, without),
    }


def _near_duplicates(split: Split, without: Mapping[str, Any]) -> dict[str, Any]:
    """How the figures change without the pictures that resemble a training picture."""
    left_out = split["n"] - without["n"]
    found: dict[str, Any] = {
        "left_out": left_out,
        "thumbnail_side": f"{without['thumbnail_side']:d}",
        "correlation_above": f"{without['correlation_above']:g}",
        "highest_correlation": f"{without['highest_correlation']:.3f}",
    }
    if left_out:
        point = without["at_default_threshold"]["malignant"]
        found |= {
            "n": f"{without['n']:,}",
            "auc": figure(without["metrics"]["auc_malignant"]),
            "sensitivity": figure(point["sensitivity"]),
            "specificity": figure(point["specificity"]),
        }
    return found


def _seeds(evaluation: Mapping[str, Any], sets: Mapping[str, Split]) -> dict[str, Any] | None:
    """Mean and range over the seeds that the recipe was trained with; None where it was trained once."""
    if not evaluation.get("seeds"):
        return None
    rows = [
        [title[0].upper() + title[1:], *(over_seeds(evaluation, name, metric) or "–" for name in sets)]
        for metric, title in SPREAD_NAMES.items()
        if any(over_seeds(evaluation, name, metric) for name in sets)
    ]
    return {"rows": rows, "trained": ", ".join(f"{run['seed']}" for run in evaluation["seeds"])}


def _confusion(task: Task, title: str, split: Split) -> dict[str, Any]:
    """A set's confusion matrix: a row for each true class, each count with its share of the row, 0 to 100."""
    rows = []
    for code, counts in zip(task.codes, split["confusion_matrix"], strict=True):
        total = sum(counts)
        cells = [(f"{n:,}", f"{100 * n / total if total else 0:.0f}") for n in counts]
        rows.append({"code": code, "total": f"{total:,}", "cells": cells})
    return {"title": title, "rows": rows}


def _subgroups(split: Split, title: str) -> list[dict[str, Any]]:
    """A table for each way that the set is divided."""
    tables = []
    for kind, values in split["subgroups"].items():
        rows: list[list[str | Share]] = []
        for value, found in values.items():
            positives, others = found["tp"] + found["fn"], found["tn"] + found["fp"]
            auc = {
                "value": found["auc_malignant"],
                "interval": found.get("auc_malignant_interval"),  # older evaluations have none
                "of": min(positives, others),
            }
            shares = [share_of(auc, f"{positives:,} + {others:,}")]
            shares += [share_of(found[name]) for name in ("sensitivity", "specificity")]
            rows.append([value, f"{found['n']:,}", *shares])
        kind_title = _KINDS.get(kind, kind)
        threshold = f"{next(iter(values.values()))['threshold']:g}"
        tables.append({"kind": kind_title, "caption": f"{kind_title}, {title}", "threshold": threshold, "rows": rows})
    return tables
