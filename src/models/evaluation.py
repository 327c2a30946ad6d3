"""evaluation.json as one typed record: how a model did on every set that it was evaluated on.

`train.evaluate` writes the file; page, cards, thresholds and image warnings read this record. Parts that a file lacks
are empty or None. A file that does not have this format gives an empty record whose `problem` says so in one sentence.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, NonNegativeInt, ValidationError, model_validator

from src.pictures.flaws import Effect

log = logging.getLogger(__name__)

MALIGNANT: Final = "malignant"
"""The key of figures that count all malignant classes together; figures of one class have its code as their key."""

TARGETS: Final = (0.95, 0.90)
"""The sensitivities for which a threshold is sought on the validation split."""

MISSING: Final = "This checkpoint has no evaluation.json, so it is unknown how well it reads."
MALFORMED: Final = "This checkpoint's evaluation.json does not have Vigil's format, so its figures are not shown."

Table = Mapping[str, Sequence[Any]]
"""A threshold table as columns (src.results.thresholds.threshold_table)."""

Kind = Literal["validation", "home", "second", "away"]
"""The role of a set. "validation" chose the model and its threshold. No network learned from the others: "home" is the
test split of the first dataset that the model learned from, "second" that of a further one, and "away" a dataset of
which the model never saw an image."""

Share = Annotated[float, Field(ge=0, le=1)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class Metric(_Record):
    """A metric with its 95% interval. The value is None where it is not defined, the bounds where they are unknown."""

    value: float | None
    interval: Annotated[tuple[float | None, float | None], BeforeValidator(lambda found: found or (None, None))]


class Proportion(Metric):
    """A proportion of `of` cases, 0 to 1."""

    of: NonNegativeInt


class OperatingPointMetrics(_Record):
    """The counts at one threshold and the proportions that they make."""

    threshold: Share
    tp: NonNegativeInt
    fp: NonNegativeInt
    tn: NonNegativeInt
    fn: NonNegativeInt
    sensitivity: Proportion
    specificity: Proportion
    ppv: Proportion
    npv: Proportion


class Subgroup(OperatingPointMetrics):
    """The figures of one subgroup of `n` images, at the default threshold. Older evaluations have no interval."""

    n: NonNegativeInt
    auc_malignant: float | None
    auc_malignant_interval: tuple[float, float] | None = None


class ThresholdTable(_Record):
    """The four counts at every threshold that changes them, as columns. The thresholds rise."""

    threshold: tuple[Share, ...]
    tp: tuple[NonNegativeInt, ...]
    fp: tuple[NonNegativeInt, ...]
    tn: tuple[NonNegativeInt, ...]
    fn: tuple[NonNegativeInt, ...]

    @model_validator(mode="after")
    def _check_counts(self) -> "ThresholdTable":
        if any(low >= high for low, high in pairwise(self.threshold)):
            raise ValueError("the thresholds of a table must rise")
        rows = zip(self.threshold, self.tp, self.fp, self.tn, self.fn, strict=True)
        if len({(tp + fn, fp + tn) for _, tp, fp, tn, fn in rows}) > 1:
            raise ValueError("every row of a threshold table must count the same cases")
        return self


class CalibrationBin(_Record):
    """The `n` images whose p(malignant) lies between `lower` and `upper`.

    `mean_score` is their mean p(malignant), `share_malignant` the share that is malignant, with its 95% interval.
    """

    lower: Share
    upper: Share
    n: NonNegativeInt
    mean_score: Share
    share_malignant: Share
    interval: tuple[Share, Share]


class MapFaithfulness(_Record):
    """How far the explained class's probability falls (mean, -1 to 1) when marked pixels are removed.

    `drop` removes the pixels that the heat map marks most strongly, `random` those of the same map shifted at random;
    `above_random` is the mean difference of the two for the same image.
    """

    drop: Metric
    random: Metric
    above_random: Metric


class Faithfulness(_Record):
    """ROAD (Rong et al. 2022, arXiv:2202.00449), most relevant pixels first, on `n` images.

    `removed` are the shares of pixels removed. `maps` has an entry per kind of heat map, each for the most probable
    class.
    """

    n: NonNegativeInt
    groups: NonNegativeInt
    removed: tuple[Share, ...]
    maps: dict[str, MapFaithfulness]


class MapLocation(_Record):
    """How often the heat map's peak lies in the part that matters, or how much of its mass does.

    `n` images have a map and `empty` images have none. `inside` is the mean over the former; `chance` is the part's
    mean share of the area that the network reads.
    """

    n: NonNegativeInt
    empty: NonNegativeInt
    inside: Metric
    chance: Share | None


class Location(_Record):
    """Whether the heat map for the class `code` points to the part that matters.

    The part is the lesion, or the box that alone decides the label. `maps`: kind of heat map -> its location on images
    with a "right" and with a "wrong" decision.
    """

    part: Literal["lesion", "label box"]
    measure: Literal["peak", "mass"]
    code: str
    maps: dict[str, dict[Literal["right", "wrong"], MapLocation]]


class HeatMapEvaluation(_Record):
    """How far heat maps can be trusted, on a sample of `n` images. `location` is None where no part is annotated."""

    n: NonNegativeInt
    groups: NonNegativeInt
    faithfulness: Faithfulness
    location: Location | None = None


class FlipRate(_Record):
    """The share of `n` images whose decision flips after at least one small change, and p(malignant)'s mean range."""

    n: NonNegativeInt
    flipped: Metric
    spread: Metric


class RobustnessEvaluation(_Record):
    """How decisions at `threshold` bear small changes (src.models.perturbations), on a sample of `n` images.

    `pictures` groups the images by their label; `views` is the share that each change flips, by the change's name.
    """

    n: NonNegativeInt
    groups: NonNegativeInt
    threshold: Share
    pictures: dict[Literal["all", "malignant", "other"], FlipRate]
    views: dict[str, Metric]


class StainChange(_Record):
    """The AUC of a set's images after their stain was changed, and the AUC that they lost by it."""

    auc_malignant: Metric
    lost: Metric


class GateContrast(_Record):
    """How well the gate separates `n` images of another kind.

    `same_look`: they resemble the task's own images. `refused`: the share of them that the gate refuses.
    """

    auroc: Metric
    same_look: bool
    n: NonNegativeInt = 0
    refused: float | None = None


class GateEvaluation(_Record):
    """The share of the set that the gate refuses, and its AUROC `against` images of each other kind."""

    refused: Metric
    against: dict[str, GateContrast] = {}

    def refuses(self, same_look: bool) -> tuple[float, float, str] | None:
        """What the gate refuses of all images of other kinds that do, or do not, look like the task's own.

        Returns the share of all images, the lowest share of a kind, and the name of that kind. None if nothing is
        known.
        """
        shares = {
            kind: (one.refused, one.n)
            for kind, one in self.against.items()
            if one.same_look == same_look and one.refused is not None and one.n
        }
        if not shares:
            return None
        lowest = min(shares, key=lambda kind: (shares[kind][0], kind))
        total = sum(n for _, n in shares.values())
        return sum(share * n for share, n in shares.values()) / total, shares[lowest][0], lowest


class LesionFinderEvaluation(_Record):
    """The lesion finder on `n` images with known outlines.

    `hit` is the share of images with a lesion on which the box lies, `empty` the share of the others without a box.
    """

    n: NonNegativeInt
    dice: Share
    hit: Share
    empty: Share


class WithoutNearDuplicates(_Record):
    """The same figures on the `n` images that resemble no training image.

    Two images count as near-duplicates where their thumbnails, `thumbnail_side` pixels square, correlate above
    `correlation_above`. `highest_correlation` is the highest that was seen.
    """

    thumbnail_side: NonNegativeInt
    correlation_above: float
    highest_correlation: float
    n: NonNegativeInt
    metrics: dict[str, Metric] = {}
    at_default_threshold: dict[str, OperatingPointMetrics] = {}


class QualityEvaluation(_Record):
    """What each flaw, put into validation images, did to the model's answers, by the flaw's code."""

    effects: dict[str, Effect] = {}


class MagnificationEvaluation(_Record):
    """How often the check of magnification warns, on `n` images.

    `false_alarms`: of the images as they are. `found`: of the same images shown at another magnification, relative to
    their own, as text.
    """

    n: NonNegativeInt
    false_alarms: Metric
    found: dict[str, Metric]


class ViewsOperatingPoint(_Record):
    """Sensitivity and specificity for pairs of images."""

    sensitivity: Metric
    specificity: Metric


class ViewsEvaluation(_Record):
    """How often two views side by side are found, and what reading them apart does.

    `false_alarms`: of `n` single images. `found`: of `pairs` of images, one beside the other, which were read `whole`
    and `apart` at `threshold`.
    """

    n: NonNegativeInt
    false_alarms: Metric
    pairs: NonNegativeInt
    found: Metric
    threshold: Share
    whole: ViewsOperatingPoint
    apart: ViewsOperatingPoint


class EvaluatedSet(_Record):
    """The figures of one set of `n` images in `groups` independent groups.

    `name` is its key in evaluation.json. `threshold_table` and `at_default_threshold` have MALIGNANT and the codes of
    the classes that are reported alone as keys. `confusion_matrix` has a row per true class and a column per most
    probable class. Parts that were not measured are empty or None. `stain` has a key for each change of the stain
    (train.evaluation.stain).
    """

    name: str
    kind: Kind
    sources: tuple[str, ...] = ()
    n: NonNegativeInt = 0
    groups: NonNegativeInt = 0
    n_per_class: dict[str, NonNegativeInt] = {}
    metrics: dict[str, Metric] = {}
    at_default_threshold: dict[str, OperatingPointMetrics] = {}
    confusion_matrix: tuple[tuple[NonNegativeInt, ...], ...] = ()
    calibration: tuple[CalibrationBin, ...] = ()
    threshold_table: dict[str, ThresholdTable] = {}
    threshold_table_groups: dict[str, ThresholdTable] = {}
    subgroups: dict[str, dict[str, Subgroup]] = {}
    without_near_duplicates: WithoutNearDuplicates | None = None
    region: LesionFinderEvaluation | None = None
    explanation: HeatMapEvaluation | None = None
    robustness: RobustnessEvaluation | None = None
    stain: dict[str, StainChange] = {}
    gate: GateEvaluation | None = None
    quality: QualityEvaluation = QualityEvaluation()
    magnification: MagnificationEvaluation | None = None
    views: ViewsEvaluation | None = None

    @property
    def title(self) -> str:
        """The names of the datasets that the set comes from."""
        return " and ".join(self.sources) or self.name

    @cached_property
    def tables(self) -> dict[str, Table]:
        """The threshold tables that count at least one image, as columns."""
        return {key: table.model_dump() for key, table in self.threshold_table.items() if table.threshold}

    @property
    def positives(self) -> int:
        """The number of malignant images."""
        return self.tables[MALIGNANT]["tp"][0] + self.tables[MALIGNANT]["fn"][0]

    @property
    def negatives(self) -> int:
        """The number of other images."""
        return self.tables[MALIGNANT]["tn"][0] + self.tables[MALIGNANT]["fp"][0]


class Training(_Record):
    """The `n` images that the model learned from."""

    n: NonNegativeInt
    groups: NonNegativeInt
    n_per_class: dict[str, NonNegativeInt]


class Intervals(_Record):
    """How the 95% intervals were computed, in words."""

    metrics: str
    proportions: str


class SeedRun(_Record):
    """The same recipe trained with another seed: set name -> metric -> value."""

    seed: int
    splits: dict[str, dict[str, float | None]] = {}


class PromisedPoint(_Record):
    """The sensitivity at the threshold for which validation promised a target."""

    sensitivity: Metric


class LeftOutSource(_Record):
    """A dataset of `n` images, read by a network that `recipe` trained without it.

    `promised`: target sensitivity as text -> the sensitivity at the threshold for which that network's own validation
    promised the target; None where it could promise none. `refused`: the share of images that the network's gate
    refuses, and `unlike` the share of which it warns; None without a gate.
    """

    sources: tuple[str, ...]
    recipe: str = ""
    n: NonNegativeInt = 0
    learned_from: tuple[str, ...] = ()
    metrics: dict[str, Metric] = {}
    at_default_threshold: dict[str, OperatingPointMetrics] = {}
    promised: dict[str, PromisedPoint | None] = {}
    refused: Metric | None = None
    unlike: Metric | None = None


class PromisedThreshold(_Record):
    """The highest threshold that proves a sensitivity: `found` of the `positives` are referred at it."""

    threshold: Share
    found: NonNegativeInt
    positives: NonNegativeInt


class OutOfFold(_Record):
    """A cross-validation of `recipe`: a network per fold, each of which read the images of its own fold.

    The `n` images in `groups` groups are all that are in no test split. `by_fold`: fold -> metric -> value. `promised`:
    target sensitivity as text -> the threshold that proves it; None if none does.
    """

    recipe: str = ""
    n: NonNegativeInt = 0
    groups: NonNegativeInt = 0
    metrics: dict[str, Metric] = {}
    at_default_threshold: dict[str, OperatingPointMetrics] = {}
    by_fold: dict[str, dict[str, float | None]] = {}
    promised: dict[str, PromisedThreshold | None] = {}

    def range_of(self, metric: str) -> tuple[float, float] | None:
        """The lowest and the highest value of a metric in a single fold; None if it is unknown."""
        values = [value for fold in self.by_fold.values() if (value := fold.get(metric)) is not None]
        return (min(values), max(values)) if values else None


class Evaluation(_Record):
    """A model's evaluation.json. `problem` says in one sentence why nothing is known; None for a valid file."""

    training: Training | None = None
    intervals: Intervals | None = None
    splits: dict[str, EvaluatedSet] = {}
    external: dict[str, EvaluatedSet] = {}
    left_out: dict[str, LeftOutSource] = {}
    out_of_fold: OutOfFold | None = None
    seeds: tuple[SeedRun, ...] = ()
    problem: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _name_sets(cls, content: Any) -> Any:
        """Give each set its key as its name, and its kind."""
        if not isinstance(content, Mapping):
            return content
        named = {part: content[part] for part in ("splits", "external") if isinstance(content.get(part), Mapping)}
        return {**content} | {
            part: {
                name: {**found, "name": name, "kind": _kind(part, name)} if isinstance(found, Mapping) else found
                for name, found in sets.items()
            }
            for part, sets in named.items()
        }

    @property
    def validation(self) -> EvaluatedSet | None:
        """The validation split."""
        return self.splits.get("validation")

    @cached_property
    def held_out(self) -> tuple[EvaluatedSet, ...]:
        """The sets that neither trained the model nor chose it: home, then further test splits, then those away."""
        sets = [one for one in (*self.splits.values(), *self.external.values()) if one.kind != "validation"]
        ranks = ("home", "second", "away")
        return tuple(sorted((one for one in sets if MALIGNANT in one.tables), key=lambda one: ranks.index(one.kind)))

    @property
    def home(self) -> EvaluatedSet | None:
        """The test split whose images are most like those that the model learned from."""
        return next((one for one in self.held_out if one.kind == "home"), None)

    @cached_property
    def validation_by_group(self) -> Table | None:
        """The threshold table that counts validation's groups; None where the file has none."""
        table = self.validation.threshold_table_groups.get(MALIGNANT) if self.validation else None
        return table.model_dump() if table else None

    @property
    def left_out_titled(self) -> dict[str, LeftOutSource]:
        """The left-out datasets by their titles. A clinic's collection within a dataset is named behind the dataset."""
        titled = {}
        for name, source in self.left_out.items():
            dataset, _, clinic = name.partition("/")
            title = " and ".join(source.sources) or dataset
            titled[f"{title} ({clinic})" if clinic else title] = source
        return titled

    @property
    def left_out_sensitivity(self) -> dict[float, dict[str, Metric | None]]:
        """Target -> title of a left-out dataset -> the sensitivity there, at the threshold promised for the target.

        It is None where the network could not promise the target. A target that no network could promise is missing.
        """
        found: dict[float, dict[str, Metric | None]] = {}
        for target in TARGETS:
            points = {title: one.promised.get(f"{target:g}") for title, one in self.left_out_titled.items()}
            if any(points.values()):
                found[target] = {title: point.sensitivity if point else None for title, point in points.items()}
        return found

    @property
    def flaw_effects(self) -> Mapping[str, Effect]:
        """Flaw code -> its effect on this model's answers; empty where it was not measured."""
        return self.validation.quality.effects if self.validation else {}

    def complete(self, classes: int) -> bool:
        """Whether every held-out set has the figures that the Evidence tab and the cards show for `classes` classes."""
        return bool(self.held_out and self.intervals) and all(
            "auc_malignant" in one.metrics
            and MALIGNANT in one.at_default_threshold
            and [len(row) for row in one.confusion_matrix] == [classes] * classes
            for one in self.held_out
        )


def _kind(part: str, name: str) -> Kind:
    if part == "external":
        return "away"
    if name == "test":
        return "home"
    return "second" if name.startswith("test-") else "validation"


def parse(content: Mapping[str, Any] | None) -> Evaluation:
    """The record of evaluation.json's `content`, which is None for a missing file. Never raises.

    The log says which part of a malformed file is wrong.
    """
    if content is None:
        return Evaluation(problem=MISSING)
    try:
        return Evaluation.model_validate({**content, "problem": None})
    except ValidationError as error:
        first = error.errors()[0]
        log.warning("evaluation.json cannot be used: %s: %s", ".".join(map(str, first["loc"])), first["msg"])
        return Evaluation(problem=MALFORMED)


def read(folder: Path) -> Evaluation:
    """The record of a checkpoint folder's evaluation.json. Raises OSError or ValueError for a file that is no JSON."""
    file = folder / "evaluation.json"
    return parse(json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None)
