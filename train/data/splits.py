"""Splits that keep a group on one side, and the near-duplicates that make groups.

Everything here depends on names and pixels alone, never on the order of files or on random numbers. Knows no dataset.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import GroupShuffleSplit, StratifiedGroupKFold

from train.data.samples import SPLITS, Sample, Split

_HELD_OUT = {split: rank for rank, split in enumerate(SPLITS)}


def stratified(
    sizes: Mapping[str, int], strata: Mapping[str, str], *, validation: float, test: float
) -> dict[str, Split]:
    """Assign groups to splits, in each stratum by the shares of images given.

    `sizes` is group -> number of images, `strata` group -> stratum. Groups are taken in the order of the SHA-256 of
    their names, first for test, then for validation. So where a user has more or fewer groups than we had, all but a
    few at the cuts still land where they did for us; of three groups or more in a stratum, each split gets one.
    """
    members: dict[str, list[str]] = defaultdict(list)
    for group, stratum in strata.items():
        members[stratum].append(group)
    assigned: dict[str, Split] = {}
    for groups in members.values():
        total = sum(sizes[group] for group in groups)
        shares: tuple[tuple[Split, float], ...] = (("test", test * total), ("validation", validation * total))
        filled: Counter[Split] = Counter()
        for group in sorted(groups, key=lambda name: hashlib.sha256(name.encode()).digest()):
            # A group goes where at least half of it still fits, so that small strata are not overfilled by rounding up.
            left = {split: share - filled[split] for split, share in shares if share}
            fits = (split for split in left if not filled[split] or left[split] >= sizes[group] / 2)
            assigned[group] = next(fits, "train")
            filled[assigned[group]] += sizes[group]
    return assigned


def merged(names: Iterable[str], pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Name -> group, where pairs are joined and a group is called after its first member in sorted order."""
    ordered = sorted(names)
    position = {name: index for index, name in enumerate(ordered)}
    edges = np.array([(position[a], position[b]) for a, b in pairs], dtype=np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(len(ordered), len(ordered)))
    _, component = connected_components(graph, directed=False)
    first: dict[int, str] = {}
    return {name: first.setdefault(int(number), name) for name, number in zip(ordered, component, strict=True)}


def most_held_out(groups: Mapping[str, str], splits: Mapping[str, Split]) -> dict[str, Split]:
    """Name -> split, where all of a group get the split of its most held-out member (test, then validation)."""
    best: dict[str, Split] = {}
    for name, group in groups.items():
        best[group] = max(best.get(group, "train"), splits[name], key=_HELD_OUT.__getitem__)
    return {name: best[group] for name, group in groups.items()}


def thumbnail(image: Image.Image, side: int) -> np.ndarray:
    """The grey picture squeezed to side × side, float32 (side * side,), as `near_duplicates` takes it."""
    small = image.convert("L").resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(small, dtype=np.float32).ravel()


def correlations(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Pearson correlation of each row of (n, k) with each of (m, k): (n, m) float32. A flat row has 0 with all."""

    def unit(rows: np.ndarray) -> np.ndarray:
        centred = rows.astype(np.float32) - rows.mean(axis=1, keepdims=True, dtype=np.float32)
        return centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-6)

    return unit(left) @ unit(right).T


def near_duplicates(names: Sequence[str], thumbnails: np.ndarray, threshold: float) -> list[tuple[str, str]]:
    """The pairs of names whose thumbnails (n, k) correlate above the threshold."""
    left, right = np.nonzero(np.triu(correlations(thumbnails, thumbnails) > threshold, k=1))
    return [(names[a], names[b]) for a, b in zip(left.tolist(), right.tolist(), strict=True)]


def reshuffled(samples: Sequence[Sample], seed: int) -> list[Sample]:
    """The samples with another split, 70/15/15 by groups drawn at random, in place of their own.

    scikit-learn's GroupShuffleSplit, source by source. For the question how much a figure owes to its split: a model
    trained so is judged on its own split alone.
    """
    split: dict[str, Split] = {}
    for source in sorted({sample.source for sample in samples}):
        rest = np.array(sorted((s for s in samples if s.source == source), key=lambda s: s.name), dtype=object)
        for name, share in (("test", 0.15), ("validation", 0.15 / 0.85)):
            shuffle = GroupShuffleSplit(n_splits=1, test_size=share, random_state=seed)
            kept, held_out = next(shuffle.split(rest, groups=[sample.group for sample in rest]))
            split |= dict.fromkeys((sample.name for sample in rest[held_out]), cast(Split, name))
            rest = rest[kept]
    return [replace(sample, split=split.get(sample.name, "train")) for sample in samples]


def folded(samples: Sequence[Sample], folds: int) -> list[list[Sample]]:
    """For each fold all samples, those that are not test split anew: the fold is validation, the rest is train.

    Groups stay whole, and folds are alike in classes and sources (scikit-learn's StratifiedGroupKFold, in the order of
    the SHA-256 of the groups' names). Test and external samples keep their split. Raises ValueError for more folds than
    groups.
    """
    rest = [sample for sample in samples if sample.split in ("train", "validation")]
    groups = [f"{sample.source}/{sample.group}" for sample in rest]
    if folds < 2 or folds > len(set(groups)):
        raise ValueError(f"{len(set(groups))} groups cannot make {folds} folds.")
    order = sorted(range(len(rest)), key=lambda i: (hashlib.sha256(groups[i].encode()).digest(), rest[i].name))
    strata = [f"{rest[i].source} {rest[i].label}" for i in order]
    # Rare strata may have fewer groups than there are folds: scikit-learn then warns, and spreads them as it can.
    cut = StratifiedGroupKFold(folds).split(order, strata, [groups[i] for i in order])
    made = []
    for _, held_out in cut:
        inside = {(rest[order[i]].source, rest[order[i]].name) for i in held_out}
        made.append(
            [
                sample
                if sample.split not in ("train", "validation")
                else replace(sample, split="validation" if (sample.source, sample.name) in inside else "train")
                for sample in samples
            ]
        )
    return made


def without_leaks(samples: Sequence[Sample]) -> tuple[list[Sample], dict[str, str]]:
    """Keep a published split free of leaks: (kept, name -> reason for the dropped). No test image is ever dropped.

    A group's members outside its most held-out split go: near-duplicates of a test image are neither trained nor
    validated on, and those of a validation image are not trained on. Of the rest, training images whose near-duplicate
    carries another label go too, all of them: one of the labels is wrong and nobody knows which.
    """
    members: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        members[sample.group].append(sample)
    kept: list[Sample] = []
    dropped: dict[str, str] = {}
    for sample in samples:
        group = members[sample.group]
        held_out = max((member.split for member in group), key=_HELD_OUT.__getitem__)
        if sample.split != held_out:
            dropped[sample.name] = f"{sample.split} image that repeats a {held_out} image"
        elif sample.split == "train" and len(Counter(member.label for member in group)) > 1:
            dropped[sample.name] = "train image whose repeat has another label"
        else:
            kept.append(sample)
    return kept, dropped
