"""A model's config.json and evaluation.json -> what both kinds of card say of it, as Markdown.

Every figure comes from evaluation.json, every setting from config.json; nothing is typed in.
"""

from typing import Any

from src.results.formatting import METRIC_NAMES, SPREAD_NAMES, figure, over_seeds


def parts(evaluation: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every split, and every set from elsewhere that the model never saw as "external-NAME"."""
    external = {f"external-{name}": split for name, split in evaluation.get("external", {}).items()}
    return {**evaluation["splits"], **external}


def split_title(name: str, split: dict[str, Any]) -> str:
    """What a column is headed with: the split's name, where it is from and how large it is."""
    return f"{name.split('-')[0]}, {' and '.join(split['sources'])} (n = {split['n']:,})"


def metric_table(evaluation: dict[str, Any]) -> str:
    """Markdown: a row a metric, a column a split."""
    splits = parts(evaluation)
    names = [name for name in METRIC_NAMES if name in splits["test"]["metrics"]]
    lines = ["| | " + " | ".join(split_title(name, split) for name, split in splits.items()) + " |"]
    lines.append("| --- |" + " --- |" * len(splits))
    for name in names:
        cells = (figure(split["metrics"][name]) for split in splits.values())
        lines.append(f"| {METRIC_NAMES[name]} | " + " | ".join(cells) + " |")
    for who in splits["test"]["at_default_threshold"]:
        for share in ("sensitivity", "specificity", "ppv", "npv"):
            if who != "malignant" and share != "sensitivity":
                continue
            cells = (figure(split["at_default_threshold"][who][share]) for split in splits.values())
            title = (share.upper() if len(share) == 3 else share.capitalize()) + (
                f" for {who}" if who != "malignant" else ""
            )
            threshold = splits["test"]["at_default_threshold"][who]["threshold"]
            lines.append(f"| {title} at {threshold:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def describe(config: dict[str, Any], evaluation: dict[str, Any]) -> str:
    """The part that both kinds of card share: data, how it was trained and calibrated, figures."""
    vigil, test = config["vigil"], evaluation["splits"]["test"]
    data = "\n".join(f"- {source['name']} ({source['licence']}): {source['citation']}" for source in vigil["data"])
    size = "×".join(map(str, config["pretrained_cfg"]["input_size"]))
    counts = ", ".join(f"{code} {n:,}" for code, n in test["n_per_class"].items())
    averaged = {"flips": ", logits averaged over mirrored views", "d4": ", logits averaged over eight views"}
    return f"""Network `{config["architecture"]}`, input {size}, weights sha256 `{vigil["sha256"][:12]}…`, code
`{vigil["code_version"]}`, seed {vigil["seed"]}{averaged.get(vigil.get("test_time_augmentation"), "")}. Temperature \
{vigil["temperature"]:.3f} and default threshold
{vigil["default_threshold"]:g}, both set before the test split was read.

Learned from:

{data}

Test split: {test["n"]:,} images in {test["groups"]:,} groups that never cross a split ({counts}).
Intervals are 95%: {evaluation["intervals"]["metrics"].removeprefix("95%, ")}; for proportions at a threshold,
{evaluation["intervals"]["proportions"].removeprefix("95%, ")}.

{metric_table(evaluation)}
{seeds(evaluation)}{left_out(evaluation)}{_unlike_training(test)}{_found(evaluation)}{_examined(evaluation)}"""


def seeds(evaluation: dict[str, Any]) -> str:
    """Mean and range over the seeds that the recipe was trained with; "" where it was trained once."""
    if not evaluation.get("seeds"):
        return ""
    trained = ", ".join(f"{run['seed']}" for run in evaluation["seeds"])
    lines = []
    for name, split in evaluation["splits"].items():
        told = [
            f"{title} {moved}"
            for metric, title in SPREAD_NAMES.items()
            if (moved := over_seeds(evaluation, name, metric)) is not None
        ]
        lines.append(f"- {split_title(name, split)}: {'; '.join(told)}")
    return (
        f"\nTrained with seeds {trained}, of which validation chose the one above; mean, and lowest to highest, at\n"
        "the default threshold of each:\n\n" + "\n".join(lines) + "\n"
    )


def left_out(evaluation: dict[str, Any]) -> str:
    """How the same recipe reads each source that it did not learn from; "" where that was not measured."""
    if not evaluation.get("left_out"):
        return ""
    who = list(next(iter(evaluation["left_out"].values()))["at_default_threshold"])
    head = ["source left out", "learned from", "AUC, malignant", *(f"sensitivity, {one}" for one in who), "specificity"]
    lines = [f"| {' | '.join(head)} |", "| --- |" + " --- |" * (len(head) - 1)]
    for found in evaluation["left_out"].values():
        points = found["at_default_threshold"]
        cells = [
            f"{' and '.join(found['sources'])} (n = {found['n']:,})",
            ", ".join(found["learned_from"]),
            figure(found["metrics"]["auc_malignant"]),
            *(figure(points[one]["sensitivity"]) for one in who),
            figure(points["malignant"]["specificity"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return (
        "\nThe same recipe trained without one source, at its own default threshold, reads that source so (its test\n"
        "split is not among these pictures):\n\n" + "\n".join(lines) + "\n"
    )


def _unlike_training(test: dict[str, Any]) -> str:
    """What the test figures are without the pictures that resemble a training one, where that was looked at."""
    apart = test.get("without_near_duplicates")
    if apart is None:
        return ""
    alike = test["n"] - apart["n"]
    looked = f"above a correlation of {apart['correlation_above']:g} of {apart['thumbnail_side']} px thumbnails"
    if not alike:
        return f"\nNo test image is a near-duplicate of a training image ({looked}).\n"
    return (
        f"\nWithout the {alike} test images that have a near-duplicate in training ({looked}): AUC, malignant "
        f"{figure(apart['metrics']['auc_malignant'])}, accuracy {figure(apart['metrics']['accuracy'])}.\n"
    )


def _found(evaluation: dict[str, Any]) -> str:
    """How well the lesion is found that the network is shown, for a model with `src.models.lesion_finder`'s U-Net."""
    lines = []
    for name, split in parts(evaluation).items():
        if "region" in split:
            region = split["region"]
            lines.append(
                f"- {split_title(name, split)}: Dice {region['dice']:.3f}; the box is centred on the lesion in "
                f"{region['hit']:.0%} of the pictures that have one; "
                f"nothing is found in {region['empty']:.0%} of the rest"
            )
    if not lines:
        return ""
    heading = "The network is shown the lesion that a U-Net finds, or the scanned field where it finds none:"
    return f"\n{heading}\n\n" + "\n".join(lines) + "\n"


def _examined(evaluation: dict[str, Any]) -> str:
    """The gate, small changes and heat maps, where they were measured."""
    lines = []
    for name, split in parts(evaluation).items():
        told = []
        if "gate" in split:
            told.append(_gate(split["gate"]))
        if "robustness" in split:
            flipped, n = split["robustness"]["pictures"]["all"]["flipped"], split["robustness"]["n"]
            told.append(f"small changes flip the decision of {figure(flipped)} of {n} pictures")
        if "explanation" in split:
            faith = split["explanation"]["faithfulness"]
            falls = "; ".join(
                f"{method} {figure(found['drop'])}, shifted at random {found['random']['value']:.3f}"
                for method, found in faith["maps"].items()
            )
            told.append(
                f"taking out what a heat map marks lowers the class's probability ({faith['n']} pictures): {falls}"
            )
        if told:
            lines.append(f"- {split_title(name, split)}: {'. '.join(one[0].upper() + one[1:] for one in told)}.")
    if not lines:
        return ""
    return "\nIs it such a picture, does the decision bear small changes, do heat maps mark what counts:\n\n" + (
        "\n".join(lines) + "\n"
    )


def _gate(gate: dict[str, Any]) -> str:
    """Whom the gate refuses, and how well it tells other pictures apart."""
    said = f"the gate refuses {figure(gate['refused'])}"
    for near, which in ((False, "other kinds"), (True, "near kinds")):
        aurocs = {kind: found["auroc"] for kind, found in gate.get("against", {}).items() if found["same_look"] == near}
        if aurocs:
            # Of equal ones the least certain, so that the card is the same each time.
            least = min(aurocs, key=lambda kind: (aurocs[kind]["value"], aurocs[kind]["interval"], kind))
            said += f"; AUROC against {which} at least {figure(aurocs[least])} ({least.removeprefix('strange/')})"
    return said
