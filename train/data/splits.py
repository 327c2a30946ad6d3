"""Splits that never divide a group, and groups of near-duplicates.

The splits depend on names and pixels, never on the order of files. This module knows no particular dataset.
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
    """Assign groups to splits so that, in each stratum, `validation` and `test` get these shares of the images, 0 to 1.

    `sizes` has the number of images of each group, `strata` its stratum. Groups are assigned in the order of the
    SHA-256 of their names: first to test, then to validation, then to train. So with a few more or fewer groups, nearly
    all groups keep their split. If a stratum has three groups or more, each split gets one.
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
            # A split takes a group only if half of it still fits, so that small strata do not overfill a split.
            left = {split: share - filled[split] for split, share in shares if share}
            fits = (split for split in left if not filled[split] or left[split] >= sizes[group] / 2)
            assigned[group] = next(fits, "train")
            filled[assigned[group]] += sizes[group]
    return assigned


def merged(names: Iterable[str], pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Join pairs of names into groups: name -> group. A group has the name of its first member in sorted order."""
    ordered = sorted(names)
    position = {name: index for index, name in enumerate(ordered)}
    edges = np.array([(position[a], position[b]) for a, b in pairs], dtype=np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(len(ordered), len(ordered)))
    _, component = connected_components(graph, directed=False)
    first: dict[int, str] = {}
    return {name: first.setdefault(int(number), name) for name, number in zip(ordered, component, strict=True)}


def most_held_out(groups: Mapping[str, str], splits: Mapping[str, Split]) -> dict[str, Split]:
    """Name -> split: all members of a group get the split of its most held-out member (test, then validation)."""
    best: dict[str, Split] = {}
    for name, group in groups.items():
        best[group] = max(best.get(group, "train"), splits[name], key=_HELD_OUT.__getitem__)
    return {name: best[group] for name, group in groups.items()}


def thumbnail(image: Image.Image, side: int) -> np.ndarray:
    """The grey image scaled to side × side, float32 (side * side,), for `near_duplicates`."""
    small = image.convert("L").resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(small, dtype=np.float32).ravel()


def correlations(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The Pearson correlations of each row of (n, k) with each row of (m, k): float32 (n, m); 0 for a constant row."""

    def unit(rows: np.ndarray) -> np.ndarray:
        centred = rows.astype(np.float32) - rows.mean(axis=1, keepdims=True, dtype=np.float32)
        return centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-6)

    return unit(left) @ unit(right).T


def near_duplicates(names: Sequence[str], thumbnails: np.ndarray, threshold: float) -> list[tuple[str, str]]:
    """The pairs of names whose thumbnails (n, k) correlate above the threshold."""
    left, right = np.nonzero(np.triu(correlations(thumbnails, thumbnails) > threshold, k=1))
    return [(names[a], names[b]) for a, b in zip(left.tolist(), right.tolist(), strict=True)]


def reshuffled(samples: Sequence[Sample], seed: int) -> list[Sample]:
    """The samples with another split, 70/15/15 by groups that are drawn at random.

    scikit-learn's GroupShuffleSplit splits each source. This shows how much a figure depends on the split. A model that
    was trained on such a split must be evaluated on the same split.
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
    """All samples once per fold: the samples of the fold are validation, and the samples of the other folds are train.

    No group is divided, and the folds have similar shares of classes and sources (scikit-learn's StratifiedGroupKFold,
    in the order of the SHA-256 of the groups' names). Test and external samples keep their split. Raises ValueError for
    fewer than two folds or for more folds than groups.
    """
    rest = [sample for sample in samples if sample.split in ("train", "validation")]
    groups = [f"{sample.source}/{sample.group}" for sample in rest]
    if folds < 2 or folds > len(set(groups)):
        raise ValueError(f"{len(set(groups))} groups cannot make {folds} folds.")
    order = sorted(range(len(rest)), key=lambda i: (hashlib.sha256(groups[i].encode()).digest(), rest[i].name))
    strata = [f"{rest[i].source} {rest[i].label}" for i in order]
    # A rare stratum may have fewer groups than there are folds. scikit-learn then warns and distributes them anyway.
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
    """Drop images that leak between the splits of a published dataset. Returns the kept samples, and name -> reason.

    Members of a group outside its most held-out split are dropped: near-duplicates of a test image are used neither for
    training nor for validation, and those of a validation image are not used for training. Training images whose
    near-duplicate has another label are dropped too, as nobody knows which label is wrong. No test image is dropped.
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
