"""The result of one image, which page, API, PDF, JSON report and summary share.

`Result.model_dump(mode="json")` is the JSON of the API, so the names and the order of the fields are part of the API.
`Result.model_validate` checks a result that comes back from a visitor's browser. Probabilities and shares are 0 to 1,
intervals are exact 95% intervals, and positions are in pixels of the upright image.
"""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, model_validator

from src.models.prediction import Explanation, RegionKind
from src.pictures.parts import PartKind
from src.results.class_texts import ClassMeaning, Confidence
from src.results.thresholds import Decision
from src.tasks import TASKS, Task

Share = Annotated[float, Field(ge=0, le=1, strict=True)]
Finite = Annotated[float, Field(strict=True)]
LARGEST: Final = 2**53
"""The largest whole number that every JSON reader keeps. A browser sends results back, and could send larger ones."""
Count = Annotated[int, Field(ge=0, le=LARGEST)]
PositiveCount = Annotated[int, Field(gt=0, le=LARGEST)]
Interval = tuple[Share, Share]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class ClassResult(_Frozen):
    """One class of the task and its calibrated probability."""

    code: str
    name: str
    probability: Share
    malignant: StrictBool


class OperatingPointResult(_Frozen):
    """What a threshold costs on one set. Sensitivity or specificity is None if the set has no case to count.

    `positives` and `negatives` are numbers of images; `split` is the set's key in evaluation.json.
    """

    sensitivity: Share | None
    sensitivity_interval: Interval
    specificity: Share | None
    specificity_interval: Interval
    positives: Count
    negatives: Count
    split: str
    interval_method: str


class ClassSensitivity(_Frozen):
    """The sensitivity for one malignant class alone."""

    sensitivity: Share
    sensitivity_interval: Interval


class EstimateResult(_Frozen):
    """A figure with its 95% interval; `value` is None if there is nothing to count."""

    value: Finite | None
    interval: tuple[Finite, Finite]


class Per1000(_Frozen):
    """Expected numbers per 1,000 people (or tiles), `ill` of them with the disease; PPV and NPV are shares."""

    ill: PositiveCount
    found: EstimateResult
    missed: EstimateResult
    false_alarms: EstimateResult
    ppv: EstimateResult
    npv: EstimateResult


class HeldOutResult(_Frozen):
    """The operating point on one held-out set: `set` is its name and `kind` its relation to the training data.

    "home" is the test split of the first training set, "second" that of a further one, "away" a set that had no part in
    training. In JSON, `kind` is called `seen`. `alone` maps the classes that are reported alone to their sensitivity.
    """

    model_config = ConfigDict(validate_by_name=True, serialize_by_alias=True)

    set: str
    kind: Literal["home", "second", "away"] = Field(alias="seen")
    sensitivity: Share | None
    sensitivity_interval: Interval
    specificity: Share | None
    specificity_interval: Interval
    positives: Count
    negatives: Count
    split: str
    interval_method: str
    alone: dict[str, ClassSensitivity]
    per_1000: Per1000


class PromiseResult(_Frozen):
    """A sensitivity that validation can promise. `threshold` is None if validation has too few malignant cases.

    With `confidence`, at least `sensitivity` of such cancers are referred at `threshold`. Of the malignant cases of
    validation, there are `positives`, and `found` of them are referred at `threshold`. `positives_needed` is the number
    of malignant cases that would be enough if none of them was missed.
    """

    sensitivity: Share
    confidence: Share
    threshold: Share | None
    positives: Count
    found: Count
    positives_needed: PositiveCount


class Screening(_Frozen):
    """What the threshold costs on each set that the model was evaluated on, and the sensitivities that it promises."""

    places: tuple[HeldOutResult, ...]
    promises: tuple[PromiseResult, ...]


class GateResult(_Frozen):
    """Whether the image looks like one of the task. It is accepted if `score` is at most `limit`; both have no unit.

    `sentence` says so for a rejected image, and `looks_like` names the task that it looks like, if one is known.
    `unlike` marks an accepted image that is unlike the training images.
    """

    accepted: StrictBool
    sentence: str | None
    looks_like: str | None
    score: Finite
    limit: Finite
    unlike: StrictBool = False


class PartsResult(_Frozen):
    """What the model said of an image that it read in parts, of which the result reports one.

    `kind`: "tiles" of an image whose scale is known, or "views", two side by side. `count`: the number of parts.
    `counted`: how many of them the gate accepts, or all where it accepts none; the result reports the one of these with
    the highest p(malignant), and `mean_p_malignant` is their mean. `mpp`: micrometres per pixel, None for views.
    """

    kind: PartKind
    count: PositiveCount
    counted: PositiveCount
    mean_p_malignant: Share
    mpp: Finite | None


class CineResult(_Frozen):
    """What the model said of the frames of a cine, of which the result reports one. Frames are counted from 0.

    `count`: the number of frames in the file. `read`: the frames that were read, and `p_malignant` one value for each.
    `frame`: the one that the result reports. `median_p_malignant`: the median over the frames that were read.
    """

    count: PositiveCount
    frame: Count
    median_p_malignant: Share
    read: Annotated[tuple[Count, ...], Field(min_length=1, max_length=100)]
    p_malignant: Annotated[tuple[Share, ...], Field(min_length=1, max_length=100)]


class Result(_Frozen):
    """The answer of one checkpoint to one image, decided at one threshold.

    `classes` has every class of the task, the most probable first; `p_malignant` is the sum over the malignant ones.
    `quality` has warnings, one sentence each. `operating_point` is None if the checkpoint was not evaluated.
    `explained_class` is the code of the class that the heat map explains; it and `heatmap_empty` (no evidence for the
    class) are None without a heat map. `size` is width and height; `region` is the left, upper, right and lower edge of
    the part that the network read. `gate` is None for a checkpoint without a gate. `parts` is None for an image that
    was not read in parts, and `cine` for a file of one image. `spacing` is the width and height of a pixel in
    millimetres, None where the file does not state them. `members` has the p(malignant) of each network of a model that
    averages several; it is empty for a model of one network.
    """

    task: str
    model: str
    revision: str
    p_malignant: Share
    threshold: Share
    decision: Decision
    classes: tuple[ClassResult, ...]
    quality: tuple[str, ...]
    operating_point: OperatingPointResult | None
    disclaimer: str
    explanation: Explanation
    explained_class: str | None
    heatmap_empty: StrictBool | None
    size: tuple[PositiveCount, PositiveCount]
    region: tuple[Count, Count, PositiveCount, PositiveCount]
    region_kind: RegionKind
    screening: Screening
    confidence: Confidence
    meaning: dict[str, ClassMeaning]
    gate: GateResult | None
    parts: PartsResult | None = None
    cine: CineResult | None = None
    spacing: tuple[Finite, Finite] | None = None
    members: Annotated[tuple[Share, ...], Field(max_length=10)] = ()

    @model_validator(mode="after")
    def _fits_its_task(self) -> "Result":
        if self.task not in TASKS:
            raise ValueError("unknown task")
        codes = TASKS[self.task].codes
        if sorted(one.code for one in self.classes) != sorted(codes):
            raise ValueError("the classes are not the task's")
        if self.explained_class is not None and self.explained_class not in codes:
            raise ValueError("the explained class is not the task's")
        return self

    @property
    def about_task(self) -> Task:
        """The task's record."""
        return TASKS[self.task]

    @property
    def rejected(self) -> bool:
        """Whether the gate rejected the image."""
        return self.gate is not None and not self.gate.accepted

    @property
    def whole_image(self) -> bool:
        """Whether the network read the whole image."""
        return self.region == (0, 0, *self.size)


class PerturbedResult(_Frozen):
    """The prediction for one small change of the image, `name` in plain words."""

    name: str
    p_malignant: Share
    decision: Decision


class Robustness(_Frozen):
    """The predictions for small changes of one image.

    `p_malignant` is that of the unchanged image; `lowest` and `highest` include it. `flipped` counts the changes with
    another decision than the unchanged image, and `borderline` is true if there is one.
    """

    views: Annotated[tuple[PerturbedResult, ...], Field(min_length=1, max_length=100)]
    p_malignant: Share
    lowest: Share
    highest: Share
    flipped: Count
    borderline: StrictBool


class ModelAnswer(_Frozen):
    """The answer of one of a task's models to an image.

    `model` is the name of its checkpoint folder, `most_probable` the name of the most probable class, and `probability`
    the probability of that class.
    """

    model: str
    p_malignant: Share
    most_probable: str
    probability: Share
