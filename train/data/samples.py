"""What a dataset is to the trainer: samples with a label, a group and a split, and where each set comes from.

Knows nothing of the sets' layouts (the readers do) nor of how a picture is made ready for a network.
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

import h5py
import numpy as np
from PIL import Image

from src.pictures import decode
from src.pictures.picture import Picture

Split = Literal["train", "validation", "test", "external"]
"""`external` is a set from elsewhere that no model may learn from or be chosen by: all of it is for the last look."""
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class Source:
    """A public dataset: `name` is its folder under `--data`; the release names title, licence and citation.

    Two of its images count as near-duplicates if their grey thumbnails of `thumbnail_side` pixels correlate above
    `near_duplicate` (0 to 1).
    """

    name: str
    title: str
    where: str
    licence: str
    citation: str
    near_duplicate: float
    thumbnail_side: int = 64


_SOURCES: dict[str, Source] = {}
_READERS: dict[str, "Reader"] = {}
SOURCES: Mapping[str, Source] = MappingProxyType(_SOURCES)
"""Every dataset by its name; the readers fill it."""
READERS: Mapping[str, "Reader"] = MappingProxyType(_READERS)
"""The reader of every dataset: the set's folder -> its samples. Raises `DataMissing`."""


def reader_of(source: Source) -> Callable[["Reader"], "Reader"]:
    """Registers the function that it decorates as the reader of `source`."""

    def register(reader: "Reader") -> "Reader":
        _SOURCES[source.name] = source
        _READERS[source.name] = reader
        return reader

    return register


class DataMissing(FileNotFoundError):  # noqa: N818  (read as a sentence: raise DataMissing)
    """A dataset that is not there, or not whole. The message says what is missing, where it belongs, its source."""

    def __init__(self, source: str, folder: Path, what: str) -> None:
        about = SOURCES[source]
        super().__init__(f"{about.title}: {what}. Expected in {folder}. Get it from {about.where}.")


@lru_cache(maxsize=8)
def _npz_array(path: Path, key: str) -> np.ndarray:
    with np.load(path) as arrays:
        return arrays[key]


@lru_cache(maxsize=8)
def _h5_file(path: Path, process: int) -> h5py.File:  # noqa: ARG001
    # `process` is only a part of the key: a forked DataLoader worker must not read through its parent's handle.
    return h5py.File(path, "r")


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture of a dataset. Holds no pixels and no open file, so it can be pickled for DataLoader workers.

    `name` is stable within the set, `label` indexes `src.tasks.TASKS[task].codes`, and no `group` (lesion, case,
    near-duplicates, slide) has members in two splits. `path` is the picture, or the .npz or .h5 file whose array `key`
    holds it at `row`. `masks` are lesion outlines where the set has them. `meta` has the columns for subgroups,
    None where the set does not say; `lesion_share` is the lesion's bounding box as a share of the picture, 0 to 1.
    `aspect` is the picture's width over its height before somebody squashed the file to a square; None where the file
    has the picture's own shape.
    """

    name: str
    label: int
    group: str
    split: Split
    source: str
    path: Path
    key: str | None = None
    row: int | None = None
    masks: tuple[Path, ...] = ()
    meta: Mapping[str, str | float | None] = field(default_factory=dict)
    aspect: float | None = None

    def picture(self) -> Picture:
        """The image in its own shape: RGB, 8 bit. Raises `images.ImageRefused` for a file that is not one."""
        if self.key is None:
            found = decode.read(self.path)
            if self.aspect is None:
                return found
            size = (round(found.image.height * self.aspect), found.image.height)
            return Picture(found.image.resize(size, Image.Resampling.BICUBIC), found.notes)
        stored: Any = (
            _h5_file(self.path, os.getpid())[self.key] if self.path.suffix == ".h5" else _npz_array(self.path, self.key)
        )
        return Picture(Image.fromarray(np.asarray(stored[self.row])).convert("RGB"), ())


@dataclass(frozen=True)
class DataSet:
    """What a reader returns: the samples in use, name -> reason for those left out, and what a person should know."""

    samples: list[Sample]
    dropped: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def split_hash(samples: Iterable[Sample]) -> str:
    """SHA-256 of who is in which split with which label; the order of the samples does not matter."""
    lines = sorted(f"{sample.name},{sample.label},{sample.split}\n" for sample in samples)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def leaks(samples: Iterable[Sample]) -> list[str]:
    """The groups that have members in more than one split; empty where all is well."""
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for sample in samples:
        found[sample.source, sample.group].add(sample.split)
    return sorted(f"{source}: {group}" for (source, group), splits in found.items() if len(splits) > 1)


Reader = Callable[[Path], DataSet]
"""The folder of a dataset -> its samples."""
