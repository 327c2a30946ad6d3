"""What is known of each model -> the Evidence tab, as HTML: what it learned from, how it did on pictures it did not
learn from, beside what others publish, and for whom.

Every figure comes from a checkpoint's evaluation.json and config.json; others' from references.json. Pure but for
reading the embedded folders; knows nothing of Gradio, pictures or networks.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Final

from src import weights
from src.page import learning
from src.screening import operating_point, proportion_interval
from src.tasks import TASKS, Task
from src.weights import Checkpoint, VigilConfig

MIN_CASES = 20
"""Of fewer cases no figure is given: the exact 95% interval of 10 in 20 spans 46 points."""

METRIC_NAMES: Final[Mapping[str, str]] = {
    "auc_malignant": "AUC, malignant",
    "auc_macro": "AUC, macro over classes",
    "auc_mel": "AUC, melanoma",
    "average_precision": "Average precision, malignant",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "f1_macro": "F1, macro",
    "brier": "Brier score",
    "calibration_error": "Expected calibration error",
}

_PUBLISHED_NAMES: Final[Mapping[str, str]] = {
    **METRIC_NAMES,
    "auc": "AUC, averaging not stated",
    "f1": "F1, averaging not stated",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "sensitivity_mel": "Sensitivity for melanoma",
    "accuracy_malignant": "Accuracy, malignant or not, at 0.5",
    "f1_malignant": "F1, malignant, at 0.5",
    "precision_malignant": "Precision (PPV), malignant, at 0.5",
    "recall_malignant": "Recall (sensitivity), malignant, at 0.5",
}

_KINDS: Final[Mapping[str, str]] = {
    "sex": "Sex",
    "age": "Age in years",
    "localization": "Body site",
    "BIRADS": "BI-RADS, as graded by the radiologist",
    "lesion_share": "Lesion size: its bounding box, as a share of the picture",
    "Device": "Scanner",
}

REFERENCES: Final[Mapping[str, Any]] = json.loads(
    (Path(__file__).parent / "references.json").read_text(encoding="utf-8")
)
"""Task -> what others publish on its data; the file says at its top what its keys mean."""


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
        for folder in [*([task.name] if origin else []), *weights.further(task.name)]:
            config, evaluation = (
                json.loads((weights.EMBEDDED / folder / name).read_text(encoding="utf-8"))
                for name in ("config.json", "evaluation.json")
            )
            found.append(Model(task, VigilConfig.model_validate(config["vigil"]), evaluation))
    return found


# Figures


def figure(found: Mapping[str, Any]) -> str:
    """ "0.912 (0.874 to 0.945)" of `value` and `interval` (None where it is not known), or a dash without a value."""
    if found["value"] is None:
        return "–"
    if found["interval"] is None:
        return f"{found['value']:.3f}"
    low, high = found["interval"]
    return f"{found['value']:.3f} ({low:.3f} to {high:.3f})"


def _counted(found: Mapping[str, Any], n: str = "") -> str:
    """A cell: the figure and of how many (`n` where `of` is not what to say); of few, that they are too few."""
    of = f"<small>n = {n or format(found['of'], ',')}</small>"
    if found["of"] < MIN_CASES or found["value"] is None:
        return f'<span class="v-few">too few</span> {of}'
    return f"{figure(found)} {of}"


def held_out(evaluation: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Name -> what is known of each set that the model was not chosen by: the test splits, then sets from elsewhere."""
    tests = {name: split for name, split in evaluation["splits"].items() if name.startswith("test")}
    return tests | evaluation.get("external", {})


def _set_title(evaluation: Mapping[str, Any], name: str) -> str:
    split = held_out(evaluation)[name]
    kind = "elsewhere" if name in evaluation.get("external", {}) else "test"
    return f"{kind}, {escape(' and '.join(split['sources']))} (n = {split['n']:,})"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], caption: str, classes: str = "") -> str:
    """Cells are markup; the first of a row is its header."""
    columns = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{cells[0]}</th>{"".join(f"<td>{cell}</td>" for cell in cells[1:])}</tr>' for cells in rows
    )
    return (
        f'<div class="v-scroll" tabindex="0" role="region" aria-label="{escape(caption)}">'
        f'<table class="v-evidence {classes}"><caption class="v-hidden">{escape(caption)}</caption>'
        f"<thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table></div>"
    )


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
                        _set_title(model.evaluation or {}, name),
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
    parts += [_published(model.task, sets), _confusion(model.task, evaluation, sets)]
    parts += [learning.curves(model.about.history)]
    parts += [_subgroups(split, _set_title(evaluation, name)) for name, split in sets.items()]
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
            cells = (_counted(split["at_default_threshold"][who][share]) for split in sets.values())
            rows.append([f"{title} at {point['threshold']:g}", *cells])
    head = ["", *(_set_title(evaluation, name) for name in sets)]
    notes = "".join(f"<li>{_notes(evaluation, name, split)}</li>" for name, split in sets.items())
    intervals = evaluation["intervals"]
    return (
        f"<h3>On pictures it did not learn from</h3>{table(head, rows, 'Figures of each set')}"
        f'<p class="v-note">Intervals: {escape(intervals["metrics"])}; of proportions, '
        f'{escape(intervals["proportions"])}.</p><ul class="v-note">{notes}</ul>'
    )


def _notes(evaluation: Mapping[str, Any], name: str, split: Mapping[str, Any]) -> str:
    said = [f"{_set_title(evaluation, name)}: {split['groups']:,} groups."]
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


SPREAD_NAMES: Final = {
    "auc_malignant": "AUC, malignant",
    "auc_macro": "AUC, macro",
    "accuracy": "accuracy",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
}
"""What is said of a recipe trained several times over, each with another seed."""


def over_seeds(evaluation: Mapping[str, Any], name: str, metric: str) -> str | None:
    """Mean and range of a metric on one split over the seeds it was trained with; None where there are none."""
    values = [run["splits"].get(name, {}).get(metric) for run in evaluation.get("seeds", ())]
    known = [value for value in values if value is not None]
    return f"{sum(known) / len(known):.3f} ({min(known):.3f} to {max(known):.3f})" if known else None


def _seeds(evaluation: Mapping[str, Any], sets: Mapping[str, Mapping[str, Any]]) -> str:
    if not evaluation.get("seeds"):
        return ""
    rows = [
        [title[0].upper() + title[1:], *(over_seeds(evaluation, name, metric) or "–" for name in sets)]
        for metric, title in SPREAD_NAMES.items()
        if any(over_seeds(evaluation, name, metric) for name in sets)
    ]
    head = ["", *(_set_title(evaluation, name) for name in sets)]
    trained = ", ".join(f"{run['seed']}" for run in evaluation["seeds"])
    return (
        f"<h3>Trained again with other seeds</h3>{table(head, rows, 'Mean and range over seeds')}"
        f'<p class="v-note">Mean, and lowest to highest, of the same recipe with seeds {escape(trained)}; which of '
        "them is shown here was chosen on validation.</p>"
    )


# What others publish


def _published(task: Task, sets: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for reference in REFERENCES[task.name]:
        ours = sets.get(reference["beside"])
        source = escape(reference["source"])
        link = (
            f'<a href="{source}" target="_blank" rel="noopener">source</a>' if source.startswith("https:") else source
        )
        claims = reference["figures"]
        rows.append(
            [
                f"{escape(reference['model'])}<br><small>{link}</small>",
                escape(reference["split"]) + (f" (n = {reference['n']:,})" if reference["n"] else ""),
                "<br>".join(_PUBLISHED_NAMES[claim["metric"]] for claim in claims),
                "<br>".join(map(_claimed, claims)),
                "<br>".join(_own(claim["metric"], ours) if ours else "–" for claim in claims),
                _comparable(reference, ours),
            ]
        )
    head = ("Published by others", "Read on", "Figure", "Theirs", "Vigil", "Comparable?")
    return (
        '<h3>Beside what others publish</h3><p class="v-note">Theirs as their authors state it; none was derived again '
        f"here.</p>{table(head, rows, 'Published figures', 'v-published')}"
    )


def _claimed(claimed: Mapping[str, Any]) -> str:
    if "range" in claimed:
        return f"{claimed['range'][0]:.3f} to {claimed['range'][1]:.3f}"
    if "interval" in claimed:
        return figure(claimed)
    return f"{claimed['value']:.3f}" + (f" ± {claimed['plus_minus']:.3f}" if "plus_minus" in claimed else "")


def _comparable(reference: Mapping[str, Any], ours: Mapping[str, Any] | None) -> str:
    if reference["difference"]:
        return f"No: {escape(reference['difference'])}."
    if ours is None:
        return "No: this model was not read on it as a set from elsewhere."
    if ours["n"] == reference["n"]:
        return f"Yes: the same {ours['n']:,} pictures and the same question."
    return f"In part: the same set and question, but {ours['n']:,} pictures of it here."


def _own(metric: str, split: Mapping[str, Any]) -> str:
    """Our figure of the same name on one set; a dash where there is none."""
    if metric in split["metrics"]:
        return figure(split["metrics"][metric])
    points = split["at_default_threshold"]
    share, _, who = metric.partition("_")
    if share in ("sensitivity", "specificity"):
        point = points[who or "malignant"]
        return f"{figure(point[share])} at {point['threshold']:g}"
    if who != "malignant":
        return "–"
    half = operating_point(split["threshold_table"]["malignant"], 0.5)
    if share == "f1":
        return f"{2 * half.tp / (2 * half.tp + half.fp + half.fn):.3f}" if half.tp else "–"
    k, n = {
        "accuracy": (half.tp + half.tn, half.tp + half.tn + half.fp + half.fn),
        "precision": (half.tp, half.tp + half.fp),
        "recall": (half.tp, half.tp + half.fn),
    }[share]
    return figure({"value": k / n if n else None, "interval": proportion_interval(k, n)})


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
        title = _set_title(evaluation, name)
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
            cells = (_counted(auc, f"{positives:,} + {others:,}"), _counted(found["sensitivity"]))
            rows.append([escape(value), f"{found['n']:,}", *cells, _counted(found["specificity"])])
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
