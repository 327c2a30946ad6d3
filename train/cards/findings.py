"""The figures of config.json and evaluation.json as Markdown, for the model's own card and for model_card.md.

Every figure comes from evaluation.json and every setting from config.json.
"""

from typing import Any

from src.models.evaluation import (
    MALIGNANT,
    EvaluatedSet,
    Evaluation,
    GateEvaluation,
    HeatMapEvaluation,
    RobustnessEvaluation,
    WithoutNearDuplicates,
)
from src.results.formatting import METRIC_NAMES, SHARE_NAMES, SPREAD_NAMES, over_seeds, share_title, with_interval


def column_sets(evaluation: Evaluation) -> dict[str, EvaluatedSet]:
    """The sets of a card's columns by name; the name of a set that the model never saw starts with "external-"."""
    external = {f"external-{name}": one for name, one in evaluation.external.items()}
    return {**evaluation.splits, **external}


def set_title(name: str, one: EvaluatedSet) -> str:
    """A column's title: the split, its datasets and its number of images."""
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
            cells = (with_interval(found and getattr(found, share)) for found in points)
            lines.append(f"| {share_title(share, target)} at {point.threshold:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def describe(config: dict[str, Any], evaluation: Evaluation) -> str:
    """The part that both kinds of card share: the data, the training, the calibration and the figures.

    Raises ValueError where the evaluation lacks figures that a card shows.
    """
    vigil, test = config["vigil"], evaluation.splits.get("test")
    if test is None or evaluation.intervals is None or not evaluation.complete(len(config["label_names"])):
        raise ValueError(evaluation.problem or "evaluation.json lacks figures that the card shows.")
    data = "\n".join(f"- {source['name']} ({source['licence']}): {source['citation']}" for source in vigil["data"])
    size = "×".join(map(str, config["pretrained_cfg"]["input_size"]))
    counts = ", ".join(f"{code} {n:,}" for code, n in test.n_per_class.items())
    averaged = {"flips": ", logits averaged over mirrored views", "d4": ", logits averaged over eight views"}
    sections = (seeds_section(evaluation), left_out_section(evaluation), _without_near_duplicates(test))
    return f"""Network `{config["architecture"]}`, input {size}, weights sha256 `{vigil["sha256"][:12]}…`, code
`{vigil["code_version"]}`, seed {vigil["seed"]}{averaged.get(vigil.get("test_time_augmentation"), "")}. Temperature \
{vigil["temperature"]:.3f} and default threshold
{vigil["default_threshold"]:g}, both set before the test split was read.

Learned from:

{data}

Test split: {test.n:,} images in {test.groups:,} groups that never cross a split ({counts}).
Intervals are 95%: {evaluation.intervals.metrics.removeprefix("95%, ")}; for proportions at a threshold,
{evaluation.intervals.proportions.removeprefix("95%, ")}.

{metric_table(evaluation)}
{"".join(sections)}{_lesion_finder(evaluation)}{_trustworthiness(evaluation)}"""


def seeds_section(evaluation: Evaluation) -> str:
    """Mean and range over the seeds that the recipe was trained with; "" where it was trained once."""
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
        f"\nTrained with seeds {trained}, of which validation chose the one above; mean, and lowest to highest, at\n"
        "the default threshold of each:\n\n" + "\n".join(lines) + "\n"
    )


def left_out_section(evaluation: Evaluation) -> str:
    """The figures of the same recipe on each dataset that it was trained without; "" where none was left out."""
    if not evaluation.left_out:
        return ""
    targets = list(next(iter(evaluation.left_out.values())).at_default_threshold)
    sensitivities = (f"sensitivity, {target}" for target in targets)
    head = ["source left out", "learned from", "AUC, malignant", *sensitivities, "specificity"]
    lines = [f"| {' | '.join(head)} |", "| --- |" + " --- |" * (len(head) - 1)]
    for source in evaluation.left_out.values():
        points = [source.at_default_threshold.get(target) for target in targets]
        malignant = source.at_default_threshold.get(MALIGNANT)
        cells = [
            f"{' and '.join(source.sources)} (n = {source.n:,})",
            ", ".join(source.learned_from),
            with_interval(source.metrics.get("auc_malignant")),
            *(with_interval(point and point.sensitivity) for point in points),
            with_interval(malignant and malignant.specificity),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return (
        "\nThe same recipe trained without one source, at its own default threshold, reads that source so (its test\n"
        "split is not among these pictures):\n\n" + "\n".join(lines) + "\n"
    )


def _without_near_duplicates(test: EvaluatedSet) -> str:
    """The test figures without images that resemble a training image; "" where these were not sought."""
    without = test.without_near_duplicates
    return "" if without is None else _near_duplicates(test.n - without.n, without)


def _near_duplicates(alike: int, without: WithoutNearDuplicates) -> str:
    looked = f"above a correlation of {without.correlation_above:g} of {without.thumbnail_side} px thumbnails"
    if not alike:
        return f"\nNo test image is a near-duplicate of a training image ({looked}).\n"
    return (
        f"\nWithout the {alike} test images that have a near-duplicate in training ({looked}): AUC, malignant "
        f"{with_interval(without.metrics.get('auc_malignant'))}, accuracy "
        f"{with_interval(without.metrics.get('accuracy'))}.\n"
    )


def _lesion_finder(evaluation: Evaluation) -> str:
    """The lesion finder's figures; "" for a model that has none (src.models.lesion_finder)."""
    lines = [
        f"- {set_title(name, one)}: Dice {one.region.dice:.3f}; the box is centred on the lesion in "
        f"{one.region.hit:.0%} of the pictures that have one; "
        f"nothing is found in {one.region.empty:.0%} of the rest"
        for name, one in column_sets(evaluation).items()
        if one.region is not None
    ]
    if not lines:
        return ""
    heading = "The network is shown the lesion that a U-Net finds, or the scanned field where it finds none:"
    return f"\n{heading}\n\n" + "\n".join(lines) + "\n"


def _trustworthiness(evaluation: Evaluation) -> str:
    """The figures of the gate, of small changes and of heat maps, where these were measured."""
    lines = []
    for name, one in column_sets(evaluation).items():
        sentences = [
            _gate(one.gate) if one.gate else "",
            _robustness(one.robustness) if one.robustness else "",
            _heat_maps(one.explanation) if one.explanation else "",
        ]
        if any(sentences):
            said = ". ".join(sentence[0].upper() + sentence[1:] for sentence in sentences if sentence)
            lines.append(f"- {set_title(name, one)}: {said}.")
    if not lines:
        return ""
    return "\nIs it such a picture, does the decision bear small changes, do heat maps mark what counts:\n\n" + (
        "\n".join(lines) + "\n"
    )


def _robustness(robustness: RobustnessEvaluation) -> str:
    every = robustness.pictures.get("all")
    flipped = with_interval(every and every.flipped)
    return f"small changes flip the decision of {flipped} of {robustness.n} pictures"


def _heat_maps(explanation: HeatMapEvaluation) -> str:
    falls = "; ".join(
        f"{method} {with_interval(found.drop)}, shifted at random "
        f"{'–' if found.random.value is None else f'{found.random.value:.3f}'}"
        for method, found in explanation.faithfulness.maps.items()
    )
    n = explanation.faithfulness.n
    return f"taking out what a heat map marks lowers the class's probability ({n} pictures): {falls}"


def _gate(gate: GateEvaluation) -> str:
    """The share that the gate refuses, and its lowest AUROC against images of other kinds."""
    said = f"the gate refuses {with_interval(gate.refused)}"
    for near, which in ((False, "other kinds"), (True, "near kinds")):
        known = {
            kind: (found.auroc.value, tuple(end or 0.0 for end in found.auroc.interval or ()), kind)
            for kind, found in gate.against.items()
            if found.same_look == near and found.auroc.value is not None
        }
        if known:
            # Ties go to the widest interval and then to the name, so that the card is the same each time.
            least = min(known, key=known.__getitem__)
            lowest = with_interval(gate.against[least].auroc)
            said += f"; AUROC against {which} at least {lowest} ({least.removeprefix('strange/')})"
    return said
