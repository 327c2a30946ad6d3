"""How much each held-out image resembles its nearest training image: a model may know such an image.

The dataset readers keep each lesion, case and slide in one split and drop images that BUSI and BreastMNIST repeat. This
module checks the remaining images again, across all datasets of a task. It finds copies with the same framing only; it
cannot find another view of the same lesion.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from tqdm import tqdm

from train.data import SOURCES, Sample, splits

CHUNK = 512  # training pictures in memory at a time


def highest_correlations(held_out: Sequence[Sample], training: Sequence[Sample]) -> np.ndarray:
    """Each held-out sample's highest correlation with a training sample, float32 (N,), -1 to 1.

    The correlation is that of their thumbnails. All samples belong to one task. Each training image is read once.
    """
    side = max(SOURCES[sample.source].thumbnail_side for sample in held_out)

    def thumbnail(sample: Sample) -> np.ndarray:
        return splits.thumbnail(sample.picture().image, side)

    highest = np.full(len(held_out), -1, dtype=np.float32)
    with ThreadPoolExecutor() as pool:
        ours = np.stack(list(pool.map(thumbnail, held_out)))
        for start in tqdm(range(0, len(training), CHUNK), desc="near-duplicates", unit=f"{CHUNK} images"):
            theirs = np.stack(list(pool.map(thumbnail, training[start : start + CHUNK])))
            highest = np.maximum(highest, splits.correlations(ours, theirs).max(axis=1))
    return highest
