"""A model's config.json and evaluation.json -> the sections that both kinds of card share, as Markdown.

Every figure comes from evaluation.json and every setting from config.json. No figure is typed in.
"""

from collections.abc import Mapping
from typing import Any

from src.models.evaluation import (
    MALIGNANT,
    EvaluatedSet,
    Evaluation,
    GateEvaluation,
    HeatMapEvaluation,
    LeftOutSource,
    RobustnessEvaluation,
    WithoutNearDuplicates,
)
from src.results.formatting import METRIC_NAMES, SHARE_NAMES, SPREAD_NAMES, over_seeds, share_title, with_interval
from src.tasks import TASKS, Task


def column_sets(evaluation: Evaluation) -> dict[str, EvaluatedSet]:
    """Every split, and every dataset that the model was not trained on, as "external-NAME"."""
    external = {f"external-{name}": one for name, one in evaluation.external.items()}
    return {**evaluation.splits, **external}


def set_title(name: str, one: EvaluatedSet) -> str:
    """The heading of a column: the split, its datasets and its number of images."""
    return f"{name.split('-')[0]}, {one.title} (n = {one.n:,})"


def metric_table(evaluation: Evaluation) -> str:
    """A Markdown table with a row per metric and a column per set."""
    sets, test = column_sets(evaluation), evaluation.splits["test"]
    lines = ["| | " + " | ".join(set_title(name, one) for name, one in sets.items()) + " |"]
    lines.append("| --- |" + " --- |" * len(sets))
    for name, title in METRIC_NAMES.items():
        if name in test.metrics:
            cells = (with_interval(one.metrics.get(name)) for one in sets.values())
            lines.append(f"| {title} | " + " | ".join(cells) + " |")
    for target, point in test.at_default_threshold.items():
        for share in SHARE_NAMES if target == MALIGNANT else SHARE_NAMES[:1]:
            points = (one.at_default_threshold.get(target) for one in sets.values())
            cells = (with_interval(getattr(found, share) if found else None) for found in points)
            lines.append(f"| {share_title(share, target)} at {point.threshold:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def describe(config: dict[str, Any], evaluation: Evaluation) -> str:
    """The section that both kinds of card share: network, data, calibration and figures.

    Raises ValueError if the evaluation lacks figures that a card shows.
    """
    vigil, test = config["vigil"], evaluation.splits.get("test")
    if test is None or evaluation.intervals is None or not evaluation.complete(len(config["label_names"])):
        raise ValueError(evaluation.problem or "evaluation.json lacks figures that the card shows.")
    data = "\n".join(f"- {source['name']} ({source['licence']}): {source['citation']}" for source in vigil["data"])
    size = "×".join(map(str, config["pretrained_cfg"]["input_size"]))
    counts = ", ".join(f"{code} {n:,}" for code, n in test.n_per_class.items())
    averaged = {"flips": "mirrored views", "d4": "eight views (mirrored and turned)"}
    views = averaged.get(vigil.get("test_time_augmentation"))
    sections = (
        seeds_section(evaluation),
        _out_of_fold(evaluation),
        left_out_section(evaluation, TASKS[vigil["task"]]),
        _without_near_duplicates(test),
    )
    return f"""- Network: `{config["architecture"]}`, input {size}
- Weights: sha256 `{vigil["sha256"][:12]}…`, code `{vigil["code_version"]}`, seed {vigil["seed"]}
{f"- Test-time augmentation: the logits are averaged over {views}{chr(10)}" if views else ""}\
{_members(vigil)}\
- Temperature: {vigil["temperature"]:.3f}
- Default threshold: {vigil["default_threshold"]:g}{_worst_source(vigil["recipe"])}
{_fold(vigil["recipe"])}\

Temperature and default threshold were set before the test split was read. The model was trained on:

{data}

The test split has {test.n:,} images in {test.groups:,} groups ({counts}).
No group crosses a split. All intervals are 95% intervals. For the metrics, they come from a
{evaluation.intervals.metrics.removeprefix("95%, ")}. For the proportions at a threshold, they are
{evaluation.intervals.proportions.removeprefix("95%, ")} intervals.

{metric_table(evaluation)}
{"".join(sections)}{_lesion_finder(evaluation, vigil)}{_geometry(evaluation)}{_trustworthiness(evaluation)}"""


def _members(vigil: Mapping[str, Any]) -> str:
    """The networks whose logits are averaged with those of model.safetensors; "" for a checkpoint of one network."""
    members = vigil.get("members") or []
    if not members:
        return ""
    parts = {"lesion": "reads lesions", "field": "reads the whole image"}
    listed = "; ".join(f"`{member['sha256'][:12]}…` {parts[member['reads']]}" for member in members)
    return (
        f"- Members: the logits are averaged with those of {len(members)} further "
        f"network{'s' if len(members) > 1 else ''} (sha256 {listed})\n"
    )


def _fold(recipe: Mapping[str, Any]) -> str:
    """Which fold is the validation split; "" for a recipe that is trained on a split of its own."""
    if recipe.get("fold") is None:
        return ""
    fold, folds = recipe["fold"]
    return f"- Validation: fold {fold + 1} of {folds}. The folds divide all groups outside the test split.\n"


def _worst_source(recipe: Mapping[str, Any]) -> str:
    """How the recipe's default threshold was chosen; "" if it is fixed for the task."""
    share, code = recipe.get("refer_at_least"), recipe.get("refer_code")
    if share is None:
        return ""
    images = f"validation images of class {code}" if code else "malignant validation images"
    return (
        f". In every source, it refers at least {share:.0%} of the {images}. It is the highest such threshold, so the "
        "worst source chooses it."
    )


def seeds_section(evaluation: Evaluation) -> str:
    """Mean and range over the seeds that the recipe was trained with; "" if it was trained once."""
    if not evaluation.seeds:
        return ""
    trained = ", ".join(f"{run.seed}" for run in evaluation.seeds)
    lines = []
    for name, one in evaluation.splits.items():
        spreads = [
            f"{title} {spread}"
            for metric, title in SPREAD_NAMES.items()
            if (spread := over_seeds(evaluation, name, metric)) is not None
        ]
        lines.append(f"- {set_title(name, one)}: {'; '.join(spreads)}")
    return (
        f"\nThe recipe was trained with seeds {trained}. The released seed was chosen on validation. The list has the\n"
        "mean over the seeds, and the range in brackets:\n\n" + "\n".join(lines) + "\n"
    )


def _out_of_fold(evaluation: Evaluation) -> str:
    """The figures of a recipe's cross-validation; "" if there was none."""
    one = evaluation.out_of_fold
    if one is None:
        return ""
    lines = []
    for name in ("auc_malignant", "auc_mel", "calibration_error"):
        if name in one.metrics:
            found = one.range_of(name)
            folds = f", in single folds {found[0]:.3f} to {found[1]:.3f}" if found else ""
            lines.append(f"- {METRIC_NAMES[name]}: {with_interval(one.metrics[name])}{folds}")
    for target, point in one.at_default_threshold.items():
        for share in SHARE_NAMES[:2] if target == MALIGNANT else SHARE_NAMES[:1]:
            figure = with_interval(getattr(point, share))
            lines.append(f"- {share_title(share, target)} at {point.threshold:g}: {figure}")
    for text, promised in one.promised.items():
        lines.append(
            f"- A sensitivity of {float(text):.0%} cannot be promised."
            if promised is None
            else f"- A sensitivity of {float(text):.0%} can be promised from the threshold {promised.threshold:g}, "
            f"which refers {promised.found:,} of {promised.positives:,} groups with a malignant image."
        )
    return (
        f"\nThe recipe `{one.recipe}` was cross-validated on the {one.n:,} images ({one.groups:,} groups) outside the\n"
        f"test splits. Each of {len(one.by_fold)} networks was trained without one fold, and then read that fold.\n"
        "None of them is the released model.\n\n" + "\n".join(lines) + "\n"
    )


def left_out_section(evaluation: Evaluation, task: Task) -> str:
    """The figures of a recipe on each source that it was not trained on; "" if they were not measured."""
    if not evaluation.left_out:
        return ""
    sources = evaluation.left_out_titled
    finder = (
        "\nAll of them use the lesion finder of this model, which was not trained anew."
        if any(one.region is not None for one in evaluation.held_out)
        else ""
    )
    thresholds = (
        "Each has its own default threshold."
        if task.default_threshold is None
        else f"The threshold {task.default_threshold:g} is fixed."
    )
    promised = evaluation.left_out_sensitivity
    targets = list(dict.fromkeys(target for source in sources.values() for target in source.at_default_threshold))
    sensitivities = (f"sensitivity, {target}" for target in targets)
    aucs = {name: METRIC_NAMES[name] for name in ("auc_malignant", "auc_mel") if _any_has(sources, name)}
    head = ["source left out", "recipe", "trained on", *aucs.values(), *sensitivities, "specificity", "threshold"]
    head += [METRIC_NAMES["calibration_error"].lower()]
    head += [f"sensitivity where validation promised {target:.0%}" for target in promised]
    gated = any(source.refused is not None for source in sources.values())
    head += ["refused by the gate", "unlike what it learned from"] * gated
    lines = [f"| {' | '.join(head)} |", "| --- |" + " --- |" * (len(head) - 1)]
    for title, source in sources.items():
        points = [source.at_default_threshold.get(target) for target in targets]
        malignant = source.at_default_threshold.get(MALIGNANT)
        cells = [
            f"{title} (n = {source.n:,})",
            f"`{source.recipe}`" if source.recipe else "–",
            "; ".join(source.learned_from),
            *(with_interval(source.metrics.get(name)) for name in aucs),
            *(with_interval(point.sensitivity if point else None) for point in points),
            with_interval(malignant.specificity if malignant else None),
            f"{malignant.threshold:g}" if malignant else "–",
            with_interval(source.metrics.get("calibration_error")),
            *(with_interval(found[title]) if found[title] else "not promised" for found in promised.values()),
            *[with_interval(source.refused), with_interval(source.unlike)] * gated,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return (
        "\nA recipe was trained without one source at a time. This shows what an unknown source does to its figures.\n"
        "Each of these models was evaluated on the training and validation images of the source that it lacked.\n"
        f"{thresholds}{finder}\n\n" + "\n".join(lines) + "\n"
    )


def _any_has(sources: Mapping[str, LeftOutSource], metric: str) -> bool:
    return any(metric in source.metrics for source in sources.values())


def _without_near_duplicates(test: EvaluatedSet) -> str:
    """The test figures without the near-duplicates of training images; "" if they were not searched for."""
    without = test.without_near_duplicates
    return "" if without is None else _near_duplicates(test.n - without.n, without)


def _near_duplicates(alike: int, without: WithoutNearDuplicates) -> str:
    rule = (
        f"Two images count as near-duplicates if their thumbnails of {without.thumbnail_side} px correlate above "
        f"{without.correlation_above:g}."
    )
    if not alike:
        return f"\nNo test image is a near-duplicate of a training image. {rule}\n"
    return (
        f"\n{alike} test images have a near-duplicate in training. Without them, the AUC (malignant) is "
        f"{with_interval(without.metrics.get('auc_malignant'))} and the accuracy is "
        f"{with_interval(without.metrics.get('accuracy'))}. {rule}\n"
    )


def _lesion_finder(evaluation: Evaluation, vigil: Mapping[str, Any]) -> str:
    """How well the lesion finder works, for a model that has one (`src.models.lesion_finder`)."""
    lines = [
        f"- {set_title(name, one)}: Dice {one.region.dice:.3f}. The box is centred on the lesion in "
        f"{one.region.hit:.0%} of the images that have one. It finds nothing in {one.region.empty:.0%} of the others."
        for name, one in column_sets(evaluation).items()
        if one.region is not None
    ]
    if not lines:
        return ""
    reads = "first network" if vigil.get("members") else "network"
    heading = f"The {reads} reads the lesion that a U-Net finds. If the U-Net finds none, it reads the scanned field."
    return f"\n{heading}\n\n" + "\n".join(lines) + "\n"


def _geometry(evaluation: Evaluation) -> str:
    """What images of another geometry do, on validation; "" if it was not measured."""
    validation = evaluation.validation
    if validation is None:
        return ""
    said = ""
    if (one := validation.magnification) is not None:
        found = "".join(f"\n- shown at {factor} times: {with_interval(share)}" for factor, share in one.found.items())
        said += (
            f"\nA check of texture warns of images at another magnification. Of {one.n:,} validation images it warns\n"
            f"of these shares:\n\n- as they are, which is a false alarm: {with_interval(one.false_alarms)}{found}\n"
        )
    if (two := validation.views) is not None:
        said += (
            f"\nTwo views side by side are read apart, and the higher p(malignant) is reported. Of {two.pairs:,}\n"
            f"pairs of validation images, {with_interval(two.found)} are found. Of {two.n:,} single images,\n"
            f"{with_interval(two.false_alarms)} are taken for two. At {two.threshold:g}, the pairs are read\n"
            f"whole with a sensitivity of {with_interval(two.whole.sensitivity)} and a specificity of\n"
            f"{with_interval(two.whole.specificity)}, and apart with {with_interval(two.apart.sensitivity)} and\n"
            f"{with_interval(two.apart.specificity)}.\n"
        )
    return said


def _trustworthiness(evaluation: Evaluation) -> str:
    """Gate, robustness and heat maps, one column per set; "" if none of them was measured."""
    sets = column_sets(evaluation)
    examined = {name: rows for name, one in sets.items() if (rows := _checks(one))}
    if not examined:
        return ""
    names = list(dict.fromkeys(row for rows in examined.values() for row in rows))
    titles = [set_title(name, sets[name]) for name in examined]
    lines = [f"| | {' | '.join(titles)} |", "| --- |" + " --- |" * len(titles)]
    lines += [f"| {name} | {' | '.join(rows.get(name, '–') for rows in examined.values())} |" for name in names]
    return (
        "\nThe gate checks whether an image is of this kind. Its AUROC says how well it separates these images from\n"
        "those of another kind. The table has the AUROC for the kind that it separates worst. Small changes\n"
        "(brightness, turns, shifts, JPEG) should not flip a decision. A heat map is faithful if the class's\n"
        "probability falls when the marked pixels are removed, and falls less when the same map is shifted at\n"
        "random.\n\n" + "\n".join(lines) + "\n"
    )


def _checks(one: EvaluatedSet) -> dict[str, str]:
    """The title and the figure of each check that was made on a set."""
    return {
        **(_gate(one.gate) if one.gate else {}),
        **(_robustness(one.robustness) if one.robustness else {}),
        **{f"AUC lost if the stain changes ({name})": with_interval(change.lost) for name, change in one.stain.items()},
        **(_heat_maps(one.explanation) if one.explanation else {}),
    }


def _gate(gate: GateEvaluation) -> dict[str, str]:
    rows = {"Own images that the gate rejects": with_interval(gate.refused)}
    for same_look, kinds in ((False, "other kinds"), (True, "similar kinds")):
        known = {
            kind: (found.auroc.value, tuple(end or 0.0 for end in found.auroc.interval), kind)
            for kind, found in gate.against.items()
            if found.same_look == same_look and found.auroc.value is not None
        }
        if known:
            # Ties go to the widest interval and then to the name, so that the card is the same each time.
            least = min(known, key=known.__getitem__)
            named = f"{with_interval(gate.against[least].auroc)}, {least.removeprefix('strange/')}"
            rows[f"Gate, lowest AUROC against {kinds} of image"] = named
        if (refused := gate.refuses(same_look)) is not None:
            share, least_refused, kind = refused
            rows[f"Gate, share of {kinds} of image that it refuses"] = (
                f"{share:.3f}; lowest {least_refused:.3f}, {kind.removeprefix('strange/')}"
            )
    return rows


def _robustness(robustness: RobustnessEvaluation) -> dict[str, str]:
    every = robustness.pictures.get("all")
    return {
        "Decisions that small changes flip": f"{with_interval(every.flipped if every else None)}, n = {robustness.n}"
    }


def _heat_maps(explanation: HeatMapEvaluation) -> dict[str, str]:
    rows = {}
    for method, found in explanation.faithfulness.maps.items():
        shifted = "–" if found.random.value is None else f"{found.random.value:.3f}"
        rows[f"{method}, fall of the probability"] = f"{with_interval(found.drop)}, n = {explanation.faithfulness.n}"
        rows[f"{method} shifted at random, fall of the probability"] = shifted
    return rows
