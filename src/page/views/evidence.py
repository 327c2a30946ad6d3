"""What is known of each model -> the Evidence tab, as HTML: what it learned from, how it did on pictures it did not
learn from, beside what others publish, and for whom.

Every figure comes from a checkpoint's evaluation.json and config.json. Pure but for reading the embedded folders; knows
nothing of Gradio, pictures or networks.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any, Final

from src.models import checkpoints
from src.models.checkpoints import Checkpoint
from src.models.config import VigilConfig
from src.page.views import learning_curves, published
from src.results.formatting import (
    METRIC_NAMES,
    MIN_CASES,
    SPREAD_NAMES,
    counted,
    figure,
    held_out,
    over_seeds,
    set_title,
    table,
)
from src.tasks import TASKS, Task

_KINDS: Final[Mapping[str, str]] = {
    "sex": "Sex",
    "age": "Age in years",
    "localization": "Body site",
    "BIRADS": "BI-RADS, as graded by the radiologist",
    "lesion_share": "Lesion size: its bounding box, as a share of the picture",
    "Device": "Scanner",
}


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
            for name, split in held_out(model.evaluation or {"splits": {}}).items():
                point = split["at_default_threshold"]["malignant"]
                rows.append(
                    [
                        escape(model.title),
                        set_title(model.evaluation or {}, name),
                        figure(split["metrics"]["auc_malignant"]),
                        figure(point["sensitivity"]),
                        figure(point["specificity"]),
                        f"{point['threshold']:g}",
                    ]
                )
        except (KeyError, TypeError, ValueError, AttributeError):
            continue  # its own page says that it cannot be shown
    head = ("Model", "Read on", "AUC, malignant", "Sensitivity", "Specificity", "at threshold")
    return (
        '<div class="v-evidence-page"><h2>Evidence</h2><p>Counted on pictures that no model learned from and no '
        "threshold was chosen by; in brackets the 95% interval. “Elsewhere” is another hospital, which no model saw "
        f"before: expect figures like those, not like the ones at home.</p>{table(head, rows, 'All models')}</div>"
    )


def page(model: Model) -> str:
    """Everything about one model; one sentence where its evaluation.json is missing or is none of ours."""
    if model.evaluation is None:
        body = "<p>This checkpoint brings no evaluation.json, so nothing can be said of how well it reads.</p>"
    else:
        try:
            body = _figures(model, model.evaluation)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError):
            # Whoever published a checkpoint wrote this file, and the page must stand whatever is in it.
            body = "<p>This checkpoint's evaluation.json is not as Vigil writes it, so its figures are not shown.</p>"
    return f'<div class="v-evidence-page"><h2>{escape(model.title)}</h2>{_learned_from(model)}{body}</div>'


def _learned_from(model: Model) -> str:
    items = "".join(
        f"<li><b>{escape(source.get('name', ''))}</b> ({escape(source.get('licence', ''))}): "
        f"{escape(source.get('citation', ''))}</li>"
        for source in model.about.data
    )
    return f"<h3>What it learned from</h3><ul>{items}</ul>" if items else ""


def _figures(model: Model, evaluation: Mapping[str, Any]) -> str:
    sets = held_out(evaluation)
    parts = [_training(evaluation), _metrics(evaluation, sets), _seeds(evaluation, sets)]
    parts += [published.beside(model.task, sets), _confusion(model.task, evaluation, sets)]
    parts += [learning_curves.curves(model.about.history)]
    parts += [_subgroups(split, set_title(evaluation, name)) for name, split in sets.items()]
    return "".join(parts)


def _training(evaluation: Mapping[str, Any]) -> str:
    if "training" not in evaluation:
        return ""
    training = evaluation["training"]
    classes = ", ".join(f"{escape(code)} {n:,}" for code, n in training["n_per_class"].items())
    return f"<p>{training['n']:,} pictures in {training['groups']:,} groups: {classes}.</p>"


def _metrics(evaluation: Mapping[str, Any], sets: Mapping[str, Mapping[str, Any]]) -> str:
    first = next(iter(sets.values()))
    rows = [
        [title, *(figure(split["metrics"][name]) for split in sets.values())]
        for name, title in METRIC_NAMES.items()
        if name in first["metrics"]
    ]
    for who, point in first["at_default_threshold"].items():
        for share in ("sensitivity", "specificity", "ppv", "npv") if who == "malignant" else ("sensitivity",):
            title = share.upper() if len(share) == 3 else share.capitalize()
            title += f" for {escape(who)}" if who != "malignant" else ""
            cells = (counted(split["at_default_threshold"][who][share]) for split in sets.values())
            rows.append([f"{title} at {point['threshold']:g}", *cells])
    head = ["", *(set_title(evaluation, name) for name in sets)]
    notes = "".join(f"<li>{_notes(evaluation, name, split)}</li>" for name, split in sets.items())
    intervals = evaluation["intervals"]
    return (
        f"<h3>On pictures it did not learn from</h3>{table(head, rows, 'Figures of each set')}"
        f'<p class="v-note">Intervals: {escape(intervals["metrics"])}; of proportions, '
        f'{escape(intervals["proportions"])}.</p><ul class="v-note">{notes}</ul>'
    )


def _notes(evaluation: Mapping[str, Any], name: str, split: Mapping[str, Any]) -> str:
    said = [f"{set_title(evaluation, name)}: {split['groups']:,} groups."]
    if split["groups"] == split["n"]:
        said.append(
            "Each picture counts on its own: the data does not say which share a patient or a slide, so these "
            "intervals may be too narrow."
        )
    if "region" in split:
        region = split["region"]
        said.append(
            f"The lesion finder, on {region['n']:,} of them with known outlines: Dice {region['dice']:.3f}, its box "
            f"lies on the lesion in {region['hit']:.1%}, and it finds none where there is none in "
            f"{region['empty']:.1%}."
        )
    without = split.get("without_near_duplicates")
    if without is not None:
        left_out = split["n"] - without["n"]
        nearest = (
            f"correlation of {without['thumbnail_side']:d}-pixel thumbnails above "
            f"{without['correlation_above']:g}; the highest is {without['highest_correlation']:.3f}"
        )
        if left_out:
            auc, point = without["metrics"]["auc_malignant"], without["at_default_threshold"]["malignant"]
            said.append(
                f"Without the {left_out:,} pictures that have a near-duplicate in training ({nearest}; n = "
                f"{without['n']:,}): AUC {figure(auc)}, sensitivity {figure(point['sensitivity'])}, specificity "
                f"{figure(point['specificity'])}."
            )
        else:
            said.append(f"None of them has a near-duplicate in training ({nearest}).")
    return " ".join(said)


def _seeds(evaluation: Mapping[str, Any], sets: Mapping[str, Mapping[str, Any]]) -> str:
    if not evaluation.get("seeds"):
        return ""
    rows = [
        [title[0].upper() + title[1:], *(over_seeds(evaluation, name, metric) or "–" for name in sets)]
        for metric, title in SPREAD_NAMES.items()
        if any(over_seeds(evaluation, name, metric) for name in sets)
    ]
    head = ["", *(set_title(evaluation, name) for name in sets)]
    trained = ", ".join(f"{run['seed']}" for run in evaluation["seeds"])
    return (
        f"<h3>Trained again with other seeds</h3>{table(head, rows, 'Mean and range over seeds')}"
        f'<p class="v-note">Mean, and lowest to highest, of the same recipe with seeds {escape(trained)}; which of '
        "them is shown here was chosen on validation.</p>"
    )


# Confusion matrix


def _confusion(task: Task, evaluation: Mapping[str, Any], sets: Mapping[str, Mapping[str, Any]]) -> str:
    head = ["truth \\ most probable", *map(escape, task.codes)]
    tables = []
    for name, split in sets.items():
        rows = []
        for code, counts in zip(task.codes, split["confusion_matrix"], strict=True):
            total = sum(counts)
            shares = (100 * n / total if total else 0 for n in counts)
            cells = (
                f'<span class="v-cell" style="--share:{share:.0f}%">{n:,}</span>'
                for n, share in zip(counts, shares, strict=True)
            )
            rows.append([f"{escape(code)} <small>n = {total:,}</small>", *cells])
        title = set_title(evaluation, name)
        tables.append(f"<figure><figcaption>{title}</figcaption>{table(head, rows, title)}</figure>")
    return f'<h3>Confusion matrix</h3><div class="v-charts v-matrices">{"".join(tables)}</div>'


# Subgroups


def _subgroups(split: Mapping[str, Any], title: str) -> str:
    tables = []
    for kind, values in split["subgroups"].items():
        rows = []
        for value, found in values.items():
            positives, others = found["tp"] + found["fn"], found["tn"] + found["fp"]
            auc = {
                "value": found["auc_malignant"],
                "interval": found.get("auc_malignant_interval"),  # older evaluations have none
                "of": min(positives, others),
            }
            cells = (counted(auc, f"{positives:,} + {others:,}"), counted(found["sensitivity"]))
            rows.append([escape(value), f"{found['n']:,}", *cells, counted(found["specificity"])])
        threshold = next(iter(values.values()))["threshold"]
        head = (
            escape(_KINDS.get(kind, kind)),
            "n",
            "AUC, malignant <small>n malignant + others</small>",
            f"Sensitivity at {threshold:g}",
            f"Specificity at {threshold:g}",
        )
        tables.append(table(head, rows, f"{_KINDS.get(kind, kind)}, {title}"))
    if not tables:
        return ""
    return (
        f"<h3>For whom: {title}</h3>"
        f'<p class="v-note">No figure is given of fewer than {MIN_CASES} cases. So many cells hold some that differ by '
        f"chance: about one 95% interval in twenty misses its true value.</p>{''.join(tables)}"
    )
