"""A dataset for the trainer: samples with a label, a group and a split, and the dataset's source.

This module knows nothing of a dataset's layout, which its reader knows, or of the preprocessing for a network.
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
from src.pictures.colour import Background
from src.pictures.limits import MAX_LOCAL_BYTES
from src.pictures.picture import Picture
from src.tasks import TASKS

Split = Literal["train", "validation", "test", "external"]
"""`external` is a dataset from elsewhere. No model may learn from it or be chosen by it."""
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class Source:
    """A public dataset. `name` is its folder in `--data`. The model cards give title, licence and citation.

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
"""Every dataset by its name. The decorator `reader_of` fills this mapping."""
READERS: Mapping[str, "Reader"] = MappingProxyType(_READERS)
"""The reader of every dataset, by the dataset's name."""


def reader_of(source: Source) -> Callable[["Reader"], "Reader"]:
    """A decorator that registers a function as the reader of `source`."""

    def register(reader: "Reader") -> "Reader":
        _SOURCES[source.name] = source
        _READERS[source.name] = reader
        return reader

    return register


class DataMissing(FileNotFoundError):  # noqa: N818  (read as a sentence: raise DataMissing)
    """A dataset is missing or incomplete. The message names the problem, the expected folder and the download."""

    def __init__(self, source: str, folder: Path, problem: str) -> None:
        about = SOURCES[source]
        super().__init__(f"{about.title}: {problem}. Expected in {folder}. Get it from {about.where}.")


@lru_cache(maxsize=8)
def _npz_array(path: Path, key: str) -> np.ndarray:
    with np.load(path) as arrays:
        return arrays[key]


@lru_cache(maxsize=8)
def _h5_file(path: Path, process: int) -> h5py.File:  # noqa: ARG001
    # `process` makes the cache's key differ between processes: a forked worker must not use its parent's file handle.
    return h5py.File(path, "r")


def _background(source: str) -> Background:
    """The colour that the task of a dataset fills transparent parts with, as for a visitor's image."""
    return next(task.background for task in TASKS.values() if source in (*task.sources, *task.external_sources))


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of a dataset. It holds no pixels and no open file, so it can be pickled for DataLoader workers.

    - `name`: stable within the dataset.
    - `label`: an index into `src.tasks.TASKS[task].codes`.
    - `group`: lesion, case, slide or near-duplicates. No group has members in two splits.
    - `path`: the image, or the .npz or .h5 file whose array `key` holds it at `row`.
    - `masks`: files of lesion outlines, if the dataset has them.
    - `has_lesion`: False for an image without a lesion. Its masks, if it has any, are empty.
    - `meta`: the columns for subgroups; None where the dataset has no value. `lesion_share` is the area of the lesion's
      bounding box as a share of the image, 0 to 1.
    - `aspect`: width divided by height before the file was squashed to a square; None if it was not squashed.
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
    has_lesion: bool = True
    meta: Mapping[str, str | float | None] = field(default_factory=dict)
    aspect: float | None = None

    def picture(self) -> Picture:
        """The image with its original aspect, 8-bit RGB. Raises `ImageRefused` for a file that cannot be read."""
        if self.key is None:
            found = decode.read(self.path, _background(self.source), MAX_LOCAL_BYTES)
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
    """The result of a reader: the samples, the reason for each dropped image by name, and notes for the user."""

    samples: list[Sample]
    dropped: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def split_hash(samples: Iterable[Sample]) -> str:
    """The SHA-256 of the samples' names, labels and splits. The order of the samples does not matter."""
    lines = sorted(f"{sample.name},{sample.label},{sample.split}\n" for sample in samples)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def leaks(samples: Iterable[Sample]) -> list[str]:
    """The groups that have members in more than one split."""
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for sample in samples:
        found[sample.source, sample.group].add(sample.split)
    return sorted(f"{source}: {group}" for (source, group), splits in found.items() if len(splits) > 1)


Reader = Callable[[Path], DataSet]
"""A function from the folder of a dataset to its samples. It raises `DataMissing`."""
