"""From the datasets in their official layouts to samples with labels, groups and splits.

`python -m train.data --data DIR` prints the datasets in DIR. This package knows nothing of augmentation, of networks or
of the use of a split.
"""

import importlib
import logging
import pkgutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from src.tasks import TASKS
from train.data import splits
from train.data.histopathology import pcam
from train.data.mnist import breastmnist
from train.data.samples import READERS, SOURCES, SPLITS, DataMissing, DataSet, Sample, Source, Split, leaks, split_hash
from train.data.skin import acral, ham10000, isic2017
from train.data.ultrasound import breast_usg, busbra, busi, multirez

__all__ = [
    "READERS",
    "SOURCES",
    "SPLITS",
    "DataMissing",
    "DataSet",
    "Sample",
    "Source",
    "Split",
    "acral",
    "breast_usg",
    "breastmnist",
    "busbra",
    "busi",
    "ham10000",
    "isic2017",
    "leaks",
    "load",
    "load_external",
    "multirez",
    "pcam",
    "split_hash",
]

# A module that reads a dataset registers its reader when it is imported.
for _module in pkgutil.iter_modules(__path__):
    if _module.name != "__main__":
        importlib.import_module(f"{__name__}.{_module.name}")


def load(
    task: str,
    data: Path,
    sources: Sequence[str] | None = None,
    resplit: int | None = None,
    fold: Sequence[int] | None = None,
) -> list[Sample]:
    """All samples of a task, in the same order on every machine.

    `data` has a folder for each dataset. `sources` names the datasets to load; None means all of the task's. `resplit`
    is the seed of another split of the same groups (`splits.reshuffled`). `fold` is the number of a fold, from 0, and
    the number of folds: that fold is then validation, and the other folds are train (`splits.folded`). The notes of the
    readers are logged. Raises `DataMissing`, and `ValueError` for a dataset of another task or an impossible fold.
    """
    chosen = tuple(sources) if sources is not None else TASKS[task].sources
    unknown = [source for source in chosen if source not in TASKS[task].sources]
    if unknown or not chosen:
        raise ValueError(f"sources of {task} are {', '.join(TASKS[task].sources)}; not {', '.join(unknown) or 'none'}")
    samples = [sample for source in chosen for sample in _read_source(source, data)]
    samples = samples if resplit is None else splits.reshuffled(samples, resplit)
    return samples if fold is None else splits.folded(samples, fold[1])[fold[0]]


def load_external(task: str, data: Path, learned_from: Sequence[str]) -> dict[str, list[Sample]]:
    """The samples, by dataset, that a model trained on the sources `learned_from` never saw.

    These are the task's external datasets and those of its own datasets that are not in `learned_from`. A dataset that
    is missing is logged and left out.
    """
    external = {}
    for source in (*TASKS[task].sources, *TASKS[task].external_sources):
        if source in learned_from:
            continue
        try:
            external[source] = [replace(sample, split="external") for sample in _read_source(source, data)]
        except DataMissing as missing:
            logging.getLogger(__name__).warning("Left out: %s", missing)
    return external


def _read_source(source: str, data: Path) -> list[Sample]:
    dataset = READERS[source](data / source)
    for note in dataset.notes:
        logging.getLogger(__name__).warning(note)
    return dataset.samples
