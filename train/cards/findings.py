"""A model's config.json and evaluation.json -> the sections that both kinds of card share, as Markdown.

Every figure comes from evaluation.json and every setting from config.json. No figure is typed in.
"""

from typing import Any

from src.results.formatting import METRIC_NAMES, SPREAD_NAMES, figure, over_seeds


def parts(evaluation: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every split, and every dataset that the model was not trained on, as "external-NAME"."""
    external = {f"external-{name}": split for name, split in evaluation.get("external", {}).items()}
    return {**evaluation["splits"], **external}


def split_title(name: str, split: dict[str, Any]) -> str:
    """The heading of a split's column: its name, its sources and its number of images."""
    return f"{name.split('-')[0]}, {' and '.join(split['sources'])} (n = {split['n']:,})"


def metric_table(evaluation: dict[str, Any]) -> str:
    """Markdown: one row per metric, one column per split."""
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
    """The section that both kinds of card share: network, data, calibration and figures."""
    vigil, test = config["vigil"], evaluation["splits"]["test"]
    data = "\n".join(f"- {source['name']} ({source['licence']}): {source['citation']}" for source in vigil["data"])
    size = "×".join(map(str, config["pretrained_cfg"]["input_size"]))
    counts = ", ".join(f"{code} {n:,}" for code, n in test["n_per_class"].items())
    averaged = {"flips": "mirrored views", "d4": "eight views (mirrored and turned)"}
    views = averaged.get(vigil.get("test_time_augmentation"))
    return f"""- Network: `{config["architecture"]}`, input {size}
- Weights: sha256 `{vigil["sha256"][:12]}…`, code `{vigil["code_version"]}`, seed {vigil["seed"]}
{f"- Test-time augmentation: the logits are averaged over {views}{chr(10)}" if views else ""}\
- Temperature: {vigil["temperature"]:.3f}
- Default threshold: {vigil["default_threshold"]:g}

Temperature and default threshold were set before the test split was read. The model was trained on:

{data}

The test split has {test["n"]:,} images in {test["groups"]:,} groups ({counts}).
No group crosses a split. All intervals are 95% intervals. Those of the metrics come from a
{evaluation["intervals"]["metrics"].removeprefix("95%, ")}. Those of the proportions at a threshold are
{evaluation["intervals"]["proportions"].removeprefix("95%, ")} intervals.

{metric_table(evaluation)}
{seeds(evaluation)}{left_out(evaluation)}{_unlike_training(test)}{_found(evaluation)}{_examined(evaluation)}"""


def seeds(evaluation: dict[str, Any]) -> str:
    """Mean and range over the seeds that the recipe was trained with; "" if it was trained once."""
    if not evaluation.get("seeds"):
        return ""
    trained = ", ".join(f"{run['seed']}" for run in evaluation["seeds"])
    lines = []
    for name, split in evaluation["splits"].items():
        figures = [
            f"{title} {moved}"
            for metric, title in SPREAD_NAMES.items()
            if (moved := over_seeds(evaluation, name, metric)) is not None
        ]
        lines.append(f"- {split_title(name, split)}: {'; '.join(figures)}")
    return (
        f"\nTrained with seeds {trained}. The released seed was chosen on validation. Here are the mean over the\n"
        "seeds and, in brackets, the range, at each seed's own default threshold:\n\n" + "\n".join(lines) + "\n"
    )


def left_out(evaluation: dict[str, Any]) -> str:
    """The figures of the same recipe on each source that it was not trained on; "" if they were not measured."""
    if not evaluation.get("left_out"):
        return ""
    who = list(next(iter(evaluation["left_out"].values()))["at_default_threshold"])
    head = ["source left out", "trained on", "AUC, malignant", *(f"sensitivity, {one}" for one in who), "specificity"]
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
        "\nThe same recipe was also trained without one source. That model then read the source, except for its test\n"
        "split. Each of these models has its own default threshold:\n\n" + "\n".join(lines) + "\n"
    )


def _unlike_training(test: dict[str, Any]) -> str:
    """The test figures without the near-duplicates of training images; "" if they were not searched for."""
    apart = test.get("without_near_duplicates")
    if apart is None:
        return ""
    alike = test["n"] - apart["n"]
    rule = (
        f"Two images count as near-duplicates if their thumbnails of {apart['thumbnail_side']} px correlate above "
        f"{apart['correlation_above']:g}."
    )
    if not alike:
        return f"\nNo test image is a near-duplicate of a training image. {rule}\n"
    return (
        f"\nThere are {alike} test images that have a near-duplicate in training. Without them, AUC, malignant is "
        f"{figure(apart['metrics']['auc_malignant'])} and accuracy is {figure(apart['metrics']['accuracy'])}. {rule}\n"
    )


def _found(evaluation: dict[str, Any]) -> str:
    """How well the lesion finder works, for a model that has one (`src.models.lesion_finder`)."""
    lines = []
    for name, split in parts(evaluation).items():
        if "region" in split:
            region = split["region"]
            lines.append(
                f"- {split_title(name, split)}: Dice {region['dice']:.3f}. The box is centred on the lesion in "
                f"{region['hit']:.0%} of the images that have one. "
                f"Nothing is found in {region['empty']:.0%} of the others."
            )
    if not lines:
        return ""
    heading = "The network reads the lesion that a U-Net finds. Where the U-Net finds none, it reads the scanned field."
    return f"\n{heading}\n\n" + "\n".join(lines) + "\n"


def _examined(evaluation: dict[str, Any]) -> str:
    """Gate, robustness and heat maps, one column per split; "" if none of them was measured."""
    examined = {name: rows for name, split in parts(evaluation).items() if (rows := _checks(split))}
    if not examined:
        return ""
    names = list(dict.fromkeys(row for rows in examined.values() for row in rows))
    titles = [split_title(name, parts(evaluation)[name]) for name in examined]
    lines = [f"| | {' | '.join(titles)} |", "| --- |" + " --- |" * len(titles)]
    lines += [f"| {name} | {' | '.join(rows.get(name, '–') for rows in examined.values())} |" for name in names]
    return (
        "\nThe gate checks whether an image is of this kind. The lowest AUROC is that of the images which it\n"
        "separates worst from its own. Small changes (brightness, turns, shifts, JPEG) should not flip a\n"
        "decision. A heat map is faithful if the probability of the class falls when the marked part is removed,\n"
        "and falls less when the same map is shifted at random.\n\n" + "\n".join(lines) + "\n"
    )


def _checks(split: dict[str, Any]) -> dict[str, str]:
    """The title and the figure of each check that was made on a split."""
    rows = {}
    if "gate" in split:
        rows["Own images that the gate rejects"] = figure(split["gate"]["refused"])
        against = split["gate"].get("against", {})
        for same_look, kinds in ((False, "other kinds"), (True, "similar kinds")):
            aurocs = {kind: found["auroc"] for kind, found in against.items() if found["same_look"] == same_look}
            if aurocs:
                # Of equal ones the least certain, so that the card is the same each time.
                worst = min(aurocs, key=lambda kind: (aurocs[kind]["value"], aurocs[kind]["interval"], kind))
                named = f"{figure(aurocs[worst])}, {worst.removeprefix('strange/')}"
                rows[f"Gate, lowest AUROC against {kinds} of image"] = named
    if "robustness" in split:
        robustness = split["robustness"]
        flipped = figure(robustness["pictures"]["all"]["flipped"])
        rows["Decisions that small changes flip"] = f"{flipped}, n = {robustness['n']}"
    if "explanation" in split:
        faithfulness = split["explanation"]["faithfulness"]
        for method, found in faithfulness["maps"].items():
            rows[f"{method}, fall of the probability"] = f"{figure(found['drop'])}, n = {faithfulness['n']}"
            rows[f"{method}, the same, shifted at random"] = f"{found['random']['value']:.3f}"
    return rows
