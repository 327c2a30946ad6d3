"""The datasets in their official layouts -> samples with labels, groups and splits. `python -m train.data --data DIR`
shows what is there.

Knows nothing of augmentation, networks or what a split is used for.
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

# Whatever module of this package reads a dataset registers it when it is imported.
for _module in pkgutil.iter_modules(__path__):
    if _module.name != "__main__":
        importlib.import_module(f"{__name__}.{_module.name}")


def load(task: str, data: Path, sources: Sequence[str] | None = None, resplit: int | None = None) -> list[Sample]:
    """All samples of a task, in the same order on every machine.

    `data` holds the sets, each in its own folder; `sources` chooses among the task's sets (all of them by default);
    `resplit` is the seed of another split of the same groups (`splits.reshuffled`).
    What a reader has to say is logged. Raises `DataMissing`, and `ValueError` for a set that is not the task's.
    """
    chosen = tuple(sources) if sources is not None else TASKS[task].sources
    strange = [source for source in chosen if source not in TASKS[task].sources]
    if strange or not chosen:
        raise ValueError(f"sources of {task} are {', '.join(TASKS[task].sources)}; not {', '.join(strange) or 'none'}")
    samples = [sample for source in chosen for sample in _read(source, data)]
    return samples if resplit is None else splits.reshuffled(samples, resplit)


def load_external(task: str, data: Path, learned_from: Sequence[str]) -> dict[str, list[Sample]]:
    """Name -> samples of the sets that are there and that a model which `learned_from` these sources never saw.

    The task's external sets, and those of its own that were left out of its training. One that is not there is logged.
    """
    found = {}
    for source in (*TASKS[task].sources, *TASKS[task].external_sources):
        if source in learned_from:
            continue
        try:
            found[source] = [replace(sample, split="external") for sample in _read(source, data)]
        except DataMissing as missing:
            logging.getLogger(__name__).warning("Left out: %s", missing)
    return found


def _read(source: str, data: Path) -> list[Sample]:
    found = READERS[source](data / source)
    for note in found.notes:
        logging.getLogger(__name__).warning(note)
    return found.samples
