"""FROC by the protocol of CAMELYON16: how many lesions are found at how many false positives per slide.

For whoever has slides with masks of their lesions (Ehteshami Bejnordi et al. 2017, doi:10.1001/jama.2017.14585). Knows
no files. The steps are those of the challenge's published evaluation code.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from scipy import ndimage

NEAR_UM: Final = 75.0
"""Micrometres: annotations that are nearer to each other are one lesion, and a detection within half of it hits."""
ISOLATED_UM: Final = 200.0 + NEAR_UM
"""A lesion whose longest axis is shorter, after the lesions were joined, is isolated tumour cells, which count neither
as found nor as missed."""
FALSE_POSITIVES: Final = (0.25, 0.5, 1, 2, 4, 8)
"""The false positives per slide at which sensitivity is averaged."""


class Lesions(NamedTuple):
    """The lesions of a slide: `labels`, int (H, W), 0 for none, and the labels of `isolated` tumour cells."""

    labels: np.ndarray
    isolated: frozenset[int]


class Detection(NamedTuple):
    """A detection: its score, and its place in pixels of the mask."""

    score: float
    x: int
    y: int


class Froc(NamedTuple):
    """The curve, from the highest score to the lowest: false positives per slide and sensitivity, (N,) each.

    `score`: the mean sensitivity at FALSE_POSITIVES, which is the challenge's score; NaN without lesions.
    """

    false_positives: np.ndarray
    sensitivity: np.ndarray
    score: float


def lesions(mask: np.ndarray, mpp: float) -> Lesions:
    """The lesions of a slide. `mask`: tumour, bool (H, W). `mpp`: its micrometres per pixel."""
    distance = ndimage.distance_transform_edt(~mask) if mask.any() else np.full(mask.shape, np.inf)
    joined = ndimage.binary_fill_holes(distance < NEAR_UM / mpp / 2)
    labels, number = ndimage.label(joined, structure=np.ones((3, 3)))
    isolated = {label for label in range(1, number + 1) if _longest_axis(labels == label) * mpp < ISOLATED_UM}
    return Lesions(labels, frozenset(isolated))


def froc(slides: Sequence[tuple[Sequence[Detection], Lesions]]) -> Froc:
    """The curve over all slides: the detections and the lesions of each, without lesions for a slide without tumour.

    Detections in one lesion count once, with the highest score. Those in isolated tumour cells do not count. Raises
    ValueError without a slide.
    """
    if not slides:
        raise ValueError("no slides")
    wrong: list[float] = []
    found: list[float] = []
    total = 0
    for detections, (labels, isolated) in slides:
        best: dict[int, float] = {}
        for score, x, y in detections:
            label = int(labels[y, x])
            if label == 0:
                wrong.append(score)
            elif label not in isolated:
                best[label] = max(best.get(label, -np.inf), score)
        found += best.values()
        total += int(labels.max()) - len(isolated)
    scores = np.unique([*wrong, *found])[::-1]
    false_positives = (np.array(wrong)[None] >= scores[:, None]).sum(axis=1) / len(slides)
    hits = (np.array(found)[None] >= scores[:, None]).sum(axis=1)
    sensitivity = hits / total if total else np.full(len(scores), np.nan)
    # Between two points of the curve, sensitivity rises in a straight line, as in the challenge.
    at = np.interp(FALSE_POSITIVES, np.r_[0, false_positives], np.r_[0, sensitivity]) if total else np.nan
    return Froc(false_positives, sensitivity, float(np.mean(at)))


def _longest_axis(region: np.ndarray) -> float:
    """The longest axis, in pixels, of the ellipse with the same second moments as `region`, bool (H, W)."""
    points = np.argwhere(region).astype(float)
    # A pixel is a square and no point: 1/12 is the variance of its width.
    spread = np.cov(points.T, bias=True) + np.eye(2) / 12 if len(points) > 1 else np.eye(2) / 12
    return float(4 * np.sqrt(np.linalg.eigvalsh(spread).max()))
