"""evaluation.json -> where a model was measured, and which sensitivities validation can promise.

Reads what `train.evaluate` wrote and fills no gap: what a checkpoint lacks is empty or None. Knows nothing of wording,
markup or networks.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated, Any, Literal
from weakref import WeakKeyDictionary

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError, model_validator

from src.models.checkpoints import Checkpoint
from src.results.thresholds import CONFIDENCE, Promise, promise

log = logging.getLogger(__name__)

MALIGNANT = "malignant"
"""Whose table counts all malignant classes together; a class that is reported alone has one of its code."""

TARGETS = (0.95, 0.90)
"""The sensitivities that are looked for on validation."""

Table = Mapping[str, Sequence[Any]]
"""A `screening.threshold_table`."""

Share = Annotated[float, Field(ge=0, le=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class _Table(_Part):
    threshold: tuple[Share, ...]
    tp: tuple[NonNegativeInt, ...]
    fp: tuple[NonNegativeInt, ...]
    tn: tuple[NonNegativeInt, ...]
    fn: tuple[NonNegativeInt, ...]

    @model_validator(mode="after")
    def _sound(self) -> "_Table":
        if any(low >= high for low, high in pairwise(self.threshold)):
            raise ValueError("the thresholds of a table must rise")
        rows = zip(self.threshold, self.tp, self.fp, self.tn, self.fn, strict=True)
        if len({(tp + fn, fp + tn) for _, tp, fp, tn, fn in rows}) > 1:
            raise ValueError("every row of a threshold table must count the same cases")
        return self


class Figure(_Part):
    """A metric and its 95% interval; None where it is not defined."""

    value: float | None
    interval: tuple[float | None, float | None]


class Bin(_Part):
    """A tenth of p(malignant): its pictures, their mean, and the share of them found malignant with its interval."""

    lower: Share
    upper: Share
    n: NonNegativeInt
    mean_score: Share
    share_malignant: Share
    interval: tuple[Share, Share]


class Faith(_Part):
    """What one kind of heat map is worth: how far the explained class's probability falls (-1..1, mean) once the map's
    strongest parts are taken out; the same of the map shifted at random; and the difference, picture by picture."""

    drop: Figure
    random: Figure
    above_random: Figure


class Faithfulness(_Part):
    """ROAD (Rong et al. 2022, arXiv:2202.00449), the most relevant first; `removed` are the shares of the pixels taken
    out, `maps` the kinds of heat map, each for the most probable class."""

    n: NonNegativeInt
    groups: NonNegativeInt
    removed: tuple[Share, ...]
    maps: dict[str, Faith]


class Inside(_Part):
    """Of `n` pictures with a map, and `empty` without one: how often its peak, or how much of its mass, lies in the
    part (means); by chance that is the part's mean share of the area looked at."""

    n: NonNegativeInt
    empty: NonNegativeInt
    inside: Figure
    chance: Share | None


class Location(_Part):
    """Whether the heat map for the class `code` points to the part that matters: its peak to the lesion, or its mass to
    the box that alone makes the label. `maps`: kind of map -> "right" and "wrong" decisions."""

    part: Literal["lesion", "label box"]
    measure: Literal["peak", "mass"]
    code: str
    maps: dict[str, dict[Literal["right", "wrong"], Inside]]


class Explained(_Part):
    """How far heat maps can be trusted, on a sample of `n` pictures; `location` where the part that counts is known."""

    n: NonNegativeInt
    groups: NonNegativeInt
    faithfulness: Faithfulness
    location: Location | None = None


class Flips(_Part):
    """Of `n` pictures: the share whose decision flips in at least one view, and the mean spread of p(malignant)."""

    n: NonNegativeInt
    flipped: Figure
    spread: Figure


class Robust(_Part):
    """How decisions at `threshold` bear small changes (src.models.perturbations), on a sample of `n` pictures: by the
    pictures' truth, and the share that flips in each view by the view's name."""

    n: NonNegativeInt
    groups: NonNegativeInt
    threshold: Share
    pictures: dict[Literal["all", "malignant", "other"], Flips]
    views: dict[str, Figure]


class _Split(_Part):
    sources: tuple[str, ...] = ()
    n: NonNegativeInt = 0
    groups: NonNegativeInt = 0
    metrics: dict[str, Figure] = {}
    calibration: tuple[Bin, ...] = ()
    threshold_table: dict[str, _Table]
    threshold_table_groups: dict[str, _Table] = {}
    explanation: Explained | None = None
    robustness: Robust | None = None


class _Sensitivity(_Part):
    value: Share | None


class _Point(_Part):
    sensitivity: _Sensitivity


class _LeftOut(_Part):
    sources: tuple[str, ...]
    promised: dict[str, _Point | None] = {}


class _Evaluation(_Part):
    splits: dict[str, _Split] = {}
    left_out: dict[str, _LeftOut] = {}
    external: dict[str, _Split] = {}


@dataclass(frozen=True)
class Place:
    """Pictures that no network learned from, read once by the trained one.

    `kind`: "home" is the test split of the first set it learned from, "second" that of a further one, "away" a set of
    which it never saw a picture. `name` is the key in evaluation.json, `title` the set's own name. `tables` has
    MALIGNANT and the classes reported alone. `explanation` and `robustness` are None where they were not measured.
    """

    kind: Literal["home", "second", "away"]
    name: str
    title: str
    pictures: int
    groups: int
    tables: Mapping[str, Table]
    metrics: Mapping[str, Figure]
    calibration: tuple[Bin, ...]
    explanation: Explained | None = None
    robustness: Robust | None = None

    @property
    def positives(self) -> int:
        """Malignant pictures."""
        return self.tables[MALIGNANT]["tp"][0] + self.tables[MALIGNANT]["fn"][0]

    @property
    def negatives(self) -> int:
        """The other pictures."""
        return self.tables[MALIGNANT]["tn"][0] + self.tables[MALIGNANT]["fp"][0]


@dataclass(frozen=True)
class Measured:
    """`places`, home first; empty for a model that was not evaluated.

    `promised` counts validation by group; None where evaluation.json has no such table. `pictures` and `groups` are
    validation's own. `unseen`: target -> title of a source -> the sensitivity there of a network that the same recipe
    trained without that source, at the threshold for which its own validation promised the target.
    """

    places: tuple[Place, ...] = ()
    promised: Table | None = None
    pictures: int = 0
    groups: int = 0
    unseen: Mapping[float, Mapping[str, float]] = field(default_factory=dict)

    @property
    def home(self) -> Place | None:
        """Where pictures are most like those it learned from."""
        return next((place for place in self.places if place.kind == "home"), None)

    def promise(self, target: float) -> Promise | None:
        """What validation can promise of a sensitivity of `target`; None where it was not counted by group."""
        return None if self.promised is None else promise(self.promised, target, CONFIDENCE)


def of(checkpoint: Checkpoint) -> Measured:
    """The evaluation of a checkpoint, parsed once for as long as the checkpoint lives."""
    if checkpoint not in _parsed:
        _parsed[checkpoint] = parse(checkpoint.evaluation)
    return _parsed[checkpoint]


_parsed: WeakKeyDictionary[Checkpoint, Measured] = WeakKeyDictionary()


def parse(evaluation: Mapping[str, Any] | None) -> Measured:
    """Parse the content of evaluation.json. If it is invalid, the log says why and the result is empty."""
    try:
        content = _Evaluation.model_validate(evaluation or {})
    except ValidationError as error:
        first = error.errors()[0]
        log.warning("evaluation.json cannot be used: %s: %s", ".".join(map(str, first["loc"])), first["msg"])
        content = _Evaluation()
    tests = {name: split for name, split in content.splits.items() if name == "test" or name.startswith("test-")}
    places = [_place("home" if name == "test" else "second", name, split) for name, split in tests.items()]
    places += [_place("away", name, split) for name, split in content.external.items()]
    places = [place for place in places if MALIGNANT in place.tables]
    validation = content.splits.get("validation")
    by_group = validation.threshold_table_groups.get(MALIGNANT) if validation else None
    return Measured(
        places=tuple(sorted(places, key=lambda place: ("home", "second", "away").index(place.kind))),
        promised=by_group.model_dump() if by_group else None,
        pictures=validation.n if validation else 0,
        groups=validation.groups if validation else 0,
        unseen=_unseen(content.left_out),
    )


def _unseen(left_out: Mapping[str, _LeftOut]) -> dict[float, dict[str, float]]:
    found: dict[float, dict[str, float]] = {}
    for target in TARGETS:
        for name, source in left_out.items():
            point = source.promised.get(f"{target:g}")
            if point is not None and point.sensitivity.value is not None:
                title = " and ".join(source.sources) or name
                found.setdefault(target, {})[title] = point.sensitivity.value
    return found


def _place(kind: Literal["home", "second", "away"], name: str, split: _Split) -> Place:
    return Place(
        kind=kind,
        name=name,
        title=" and ".join(split.sources) or name,
        pictures=split.n,
        groups=split.groups,
        tables={who: table.model_dump() for who, table in split.threshold_table.items() if table.threshold},
        metrics=split.metrics,
        calibration=split.calibration,
        explanation=split.explanation,
        robustness=split.robustness,
    )
