"""The Evidence tab as HTML: each model's training data, its figures on held-out sets, and what others publish.

Every figure comes from a checkpoint's evaluation.json and config.json. Only `models` reads files, those of the embedded
folders. This module knows nothing of Gradio, images or networks.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from markupsafe import Markup

from src.models import checkpoint_info, evaluation
from src.models.checkpoint_info import CheckpointInfo
from src.models.config import VigilConfig
from src.models.evaluation import (
    MALFORMED,
    MALIGNANT,
    TARGETS,
    EvaluatedSet,
    Evaluation,
    Metric,
    Proportion,
    WithoutNearDuplicates,
)
from src.page.number_format import decimals, general, percent, thousands, whole_percent
from src.page.render import render
from src.page.translation import gettext as _
from src.page.translation import marked, translated
from src.page.views import evidence_plot, published
from src.page.views.learning_curves import learning_curves
from src.results.formatting import (
    METRIC_NAMES,
    MIN_CASES,
    SHARE_NAMES,
    SPREAD_NAMES,
    over_seeds,
    share_title,
    with_interval,
)
from src.tasks import TASKS, Task

_KINDS: Final[Mapping[str, str]] = {
    "sex": marked("Sex"),
    "age": marked("Age in years"),
    "localization": marked("Body site"),
    "BIRADS": marked("BI-RADS grade by the radiologist"),
    "lesion_share": marked("Lesion size: its bounding box as a share of the image"),
    "Device": marked("Scanner"),
}

_OTHER_KINDS: Final[Mapping[str, str]] = {
    "clinical": marked("clinical photographs"),
    "document": marked("documents"),
    "histology_other": marked("histology of other tissue"),
    "natural": marked("photographs of everyday things"),
    "ultrasound_other": marked("ultrasound of other organs"),
    "xray": marked("X-rays"),
}
"""What the folders of images of no task show (`train.gate`)."""

_STAINS: Final = (marked("fixed stain matrices"),)
"""The names of changes of the stain in evaluation.json that other languages translate."""


@dataclass(frozen=True)
class Model:
    """A model to be shown. `origin` is empty for an embedded model; else it names the folder or repository."""

    task: Task
    about: VigilConfig
    evaluation: Evaluation
    origin: str = ""

    @property
    def title(self) -> str:
        """The model's task, its name, and its origin if it is not embedded."""
        return f"{translated(self.task.title)}, {self.about.name}" + (f" ({self.origin})" if self.origin else "")


@dataclass(frozen=True)
class Share:
    """A proportion as it is shown: `figure` has its interval, or is None for too few cases; `n` counts the cases."""

    figure: str | None
    n: str


def models(served: Iterable[CheckpointInfo]) -> list[Model]:
    """The served checkpoints in their order, each followed by its task's embedded models that are not served."""
    found: list[Model] = []
    for checkpoint in served:
        task = TASKS[checkpoint.config.vigil.task]
        origin = "" if checkpoint.source == "embedded" else checkpoint.source
        found.append(Model(task, checkpoint.config.vigil, checkpoint.evaluation, origin))
        for folder in [*([task.name] if origin else []), *checkpoint_info.further(task.name)]:
            config = json.loads((checkpoint_info.EMBEDDED / folder / "config.json").read_text(encoding="utf-8"))
            figures = evaluation.read(checkpoint_info.EMBEDDED / folder)
            found.append(Model(task, VigilConfig.model_validate(config["vigil"]), figures))
    return found


# The page


def overview(shown: Iterable[Model]) -> str:
    """All models beside each other: sensitivity and specificity at the default threshold on each set, and the AUC.

    A model whose figures are incomplete has no row; its own page says that they cannot be shown.
    """
    complete = [model for model in shown if _problem(model) is None]
    rows = [row for model in complete for row in _overview_rows(model)]
    plot = evidence_plot.plot((model.title, model.evaluation) for model in complete)
    head = tuple(map(_, ("Model", "Dataset", "AUC, malignant", "Sensitivity", "Specificity", "Threshold")))
    return render("evidence_overview.html", head=head, rows=rows, plot=plot)


def _problem(model: Model) -> str | None:
    """One sentence on why the model's figures cannot be shown; None if they can."""
    if model.evaluation.problem is None and not model.evaluation.complete(len(model.task.codes)):
        return MALFORMED
    return model.evaluation.problem


def _overview_rows(model: Model) -> list[list[str]]:
    rows = []
    for one in model.evaluation.held_out:
        point = one.at_default_threshold[MALIGNANT]
        cells = (one.metrics["auc_malignant"], point.sensitivity, point.specificity)
        rows.append([model.title, set_title(one), *map(shown_with_interval, cells), general(point.threshold)])
    return rows


def page(model: Model) -> str:
    """Everything about one model. One sentence stands for the figures of a missing or malformed evaluation.json."""
    problem = _problem(model)
    sources = [{key: source.get(key, "") for key in ("name", "licence", "citation")} for source in model.about.data]
    return render(
        "evidence.html",
        title=model.title,
        sources=sources,
        problem=problem or "",
        body=None if problem else _evaluated(model),
    )


def _evaluated(model: Model) -> Markup:
    sets = {one.name: one for one in model.evaluation.held_out}
    titles = {name: set_title(one) for name, one in sets.items()}
    return render(
        "evidence_figures.html",
        training=_training(model.evaluation),
        titles=list(titles.values()),
        metrics=_metrics(model.evaluation.held_out),
        intervals=model.evaluation.intervals,
        notes=[_notes(titles[name], one) for name, one in sets.items()],
        other_kinds=_other_kinds(model.evaluation),
        seeds=_seeds(model.evaluation),
        out_of_fold=_out_of_fold(model.evaluation),
        left_out=_left_out(model.evaluation),
        own_thresholds=model.task.default_threshold is None,
        published=published.beside(model.task, sets),
        codes=model.task.codes,
        confusion=[_confusion(model.task, titles[name], one) for name, one in sets.items()],
        learning_curves=learning_curves(model.about.history),
        networks=1 + len(model.about.members),
        subgroups=[(titles[name], _subgroups(one, titles[name])) for name, one in sets.items()],
        min_cases=MIN_CASES,
    )


def set_title(one: EvaluatedSet) -> str:
    """A set's title on the page: whether it is a test split or external, its datasets, and its number of images."""
    return f"{_('external') if one.kind == 'away' else _('test')}, {one.title} (n = {thousands(one.n)})"


def shown_with_interval(found: Metric | None) -> str:
    """A figure with its interval in the visitor's language."""
    return translated(with_interval(found))


def share_of(found: Proportion, n: str = "") -> Share:
    """A proportion's figure, unless it has fewer than MIN_CASES cases; `n` replaces the number of cases."""
    few = found.of < MIN_CASES or found.value is None
    return Share(None if few else shown_with_interval(found), n or thousands(found.of))


def _training(evaluation: Evaluation) -> dict[str, Any] | None:
    """The number of training images, by class; older evaluations do not have it."""
    training = evaluation.training
    if training is None:
        return None
    return {
        "n": thousands(training.n),
        "groups": thousands(training.groups),
        "classes": ", ".join(f"{code} {thousands(n)}" for code, n in training.n_per_class.items()),
    }


def _metrics(sets: Sequence[EvaluatedSet]) -> list[list[str | Share]]:
    """A row for each metric and each proportion at the default threshold, with a cell for each set."""
    first = sets[0]
    rows: list[list[str | Share]] = [
        [translated(title), *(shown_with_interval(one.metrics.get(name)) for one in sets)]
        for name, title in METRIC_NAMES.items()
        if name in first.metrics
    ]
    for target, point in first.at_default_threshold.items():
        for name in SHARE_NAMES if target == MALIGNANT else SHARE_NAMES[:1]:
            title = translated(share_title(name, target))
            points = (one.at_default_threshold.get(target) for one in sets)
            cells = (share_of(getattr(found, name)) if found else "–" for found in points)
            rows.append([_("%(title)s at %(threshold)s", title=title, threshold=general(point.threshold)), *cells])
    return rows


def _notes(title: str, one: EvaluatedSet) -> dict[str, Any]:
    """The facts without which a set's figures would mislead."""
    region = one.region
    return {
        "title": title,
        "groups": thousands(one.groups),
        "independent": one.groups == one.n,
        "region": region
        and {
            "n": thousands(region.n),
            "dice": decimals(region.dice, 3),
            "hit": percent(region.hit),
            "empty": percent(region.empty),
        },
        "another_kind": percent(one.gate.refused.value) if one.gate and one.gate.refused.value is not None else None,
        "stain": [
            {
                "change": translated(change),
                "lost": shown_with_interval(found.lost),
                "auc": shown_with_interval(found.auc_malignant),
            }
            for change, found in one.stain.items()
        ],
        "near_duplicates": one.without_near_duplicates and _near_duplicates(one.n, one.without_near_duplicates),
    }


def _other_kinds(evaluation: Evaluation) -> list[dict[str, Any]]:
    """What the gate recognises of images of other and of similar kinds; empty for a model without a gate."""
    home = evaluation.home
    found = []
    for same_look in (False, True):
        refused = home.gate.refuses(same_look) if home is not None and home.gate is not None else None
        if refused is not None:
            share, lowest, kind = refused
            name = kind.removeprefix("strange/")
            title = translated(TASKS[name].title if name in TASKS else _OTHER_KINDS.get(name, name))
            found.append({"same_look": same_look, "share": percent(share), "lowest": percent(lowest), "kind": title})
    return found


def _near_duplicates(n: int, without: WithoutNearDuplicates) -> dict[str, Any]:
    """The figures without those of the set's `n` images that resemble a training image."""
    left_out, point = n - without.n, without.at_default_threshold.get(MALIGNANT)
    return {
        "left_out": left_out,
        "thumbnail_side": without.thumbnail_side,
        "correlation_above": general(without.correlation_above),
        "highest_correlation": decimals(without.highest_correlation, 3),
        "n": thousands(without.n),
        "auc": shown_with_interval(without.metrics.get("auc_malignant")),
        "sensitivity": shown_with_interval(point.sensitivity if point else None),
        "specificity": shown_with_interval(point.specificity if point else None),
    }


def _seeds(evaluation: Evaluation) -> dict[str, Any] | None:
    """Mean and range over the seeds that the recipe was trained with; None if it was trained once."""
    if not evaluation.seeds:
        return None
    rows = []
    for metric, title in SPREAD_NAMES.items():
        cells = [over_seeds(evaluation, one.name, metric) for one in evaluation.held_out]
        if any(cells):
            rows.append(
                [translated(title[0].upper() + title[1:]), *(translated(cell) if cell else "–" for cell in cells)]
            )
    return {"rows": rows, "trained": ", ".join(f"{run.seed}" for run in evaluation.seeds)}


def _out_of_fold(evaluation: Evaluation) -> dict[str, Any] | None:
    """The figures of a recipe's cross-validation; None if there was none."""
    one = evaluation.out_of_fold
    if one is None:
        return None
    rows: list[list[str | Share]] = []
    for name in ("auc_malignant", "auc_mel", "calibration_error"):
        if name in one.metrics:
            found = one.range_of(name)
            folds = _("%(low)s to %(high)s", low=decimals(found[0], 3), high=decimals(found[1], 3)) if found else "–"
            rows.append([translated(METRIC_NAMES[name]), shown_with_interval(one.metrics[name]), folds])
    for target, point in one.at_default_threshold.items():
        for share in SHARE_NAMES[:2] if target == MALIGNANT else SHARE_NAMES[:1]:
            title = translated(share_title(share, target))
            at = _("%(title)s at %(threshold)s", title=title, threshold=general(point.threshold))
            rows.append([at, share_of(getattr(point, share)), "–"])
    known = {target: one.promised[f"{target:g}"] for target in TARGETS if f"{target:g}" in one.promised}
    return {
        "recipe": one.recipe,
        "n": thousands(one.n),
        "groups": thousands(one.groups),
        "networks": len(one.by_fold),
        "head": ["", _("All folds"), _("Single folds")],
        "rows": rows,
        "promises": {whole_percent(target): promised for target, promised in known.items()},
    }


def _left_out(evaluation: Evaluation) -> dict[str, Any] | None:
    """A table with a row for each dataset that a recipe was trained without; None if that was not measured."""
    sources = evaluation.left_out_titled
    if not sources:
        return None
    targets = list(dict.fromkeys(target for source in sources.values() for target in source.at_default_threshold))
    aucs = [name for name in ("auc_malignant", "auc_mel") if any(name in one.metrics for one in sources.values())]
    promised = evaluation.left_out_sensitivity
    gated = any(source.refused is not None for source in sources.values())
    head = [_("Left out"), _("Recipe"), _("Trained on"), *(translated(METRIC_NAMES[name]) for name in aucs)]
    head += [translated(share_title("sensitivity", target)) for target in targets]
    head += [_("Specificity"), _("Threshold"), translated(METRIC_NAMES["calibration_error"])]
    head += [_("Sensitivity where %(target)s was promised", target=whole_percent(target)) for target in promised]
    head += [_("Taken for another kind of image"), _("Unlike what it learned from")] * gated
    rows: list[list[str | Share]] = []
    for title, source in sources.items():
        points = [source.at_default_threshold.get(target) for target in targets]
        malignant = source.at_default_threshold.get(MALIGNANT)
        row: list[str | Share] = [f"{title} (n = {thousands(source.n)})", source.recipe or "–"]
        row.append("; ".join(source.learned_from))
        row += [shown_with_interval(source.metrics.get(name)) for name in aucs]
        row += [share_of(point.sensitivity) if point else "–" for point in points]
        row += [share_of(malignant.specificity), general(malignant.threshold)] if malignant else ["–", "–"]
        row.append(shown_with_interval(source.metrics.get("calibration_error")))
        row += [shown_with_interval(found[title]) if found[title] else _("not promised") for found in promised.values()]
        row += [shown_with_interval(source.refused), shown_with_interval(source.unlike)] * gated
        rows.append(row)
    finder = any(one.region is not None for one in evaluation.held_out)
    return {"head": head, "rows": rows, "finder": finder}


def _confusion(task: Task, title: str, one: EvaluatedSet) -> dict[str, Any]:
    """A set's confusion matrix: a row for each true class, each count with its share of the row, 0 to 100."""
    rows = []
    for code, counts in zip(task.codes, one.confusion_matrix, strict=True):
        total = sum(counts)
        cells = [(thousands(n), f"{100 * n / total if total else 0:.0f}") for n in counts]
        rows.append({"code": code, "total": thousands(total), "cells": cells})
    return {"title": title, "rows": rows}


def _subgroups(one: EvaluatedSet, title: str) -> list[dict[str, Any]]:
    """A table for each way that the set is divided."""
    tables = []
    for kind, values in one.subgroups.items():
        rows: list[list[str | Share]] = []
        for value, found in values.items():
            positives, others = found.tp + found.fn, found.tn + found.fp
            auc = Proportion(
                value=found.auc_malignant,
                interval=found.auc_malignant_interval or (None, None),
                of=min(positives, others),
            )
            shares = [share_of(auc, f"{thousands(positives)} + {thousands(others)}")]
            shares += [share_of(found.sensitivity), share_of(found.specificity)]
            rows.append([value.removesuffix(" of the picture"), thousands(found.n), *shares])
        if rows:
            kind_title = _(_KINDS[kind]) if kind in _KINDS else kind
            threshold = general(next(iter(values.values())).threshold)
            caption = f"{kind_title}, {title}"
            tables.append({"kind": kind_title, "caption": caption, "threshold": threshold, "rows": rows})
    return tables
