"""Held-out pictures that a model may know from training: how much each resembles its nearest training picture.

The readers keep lesions, cases and slides on one side and drop what BUSI and BreastMNIST repeat; this looks again at
what is left, across all of a task's sets. It finds the same framing only, not a second look at a lesion from another
angle. Knows nothing of models.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from tqdm import tqdm

from train.data import SOURCES, Sample, splits

CHUNK = 512  # training pictures in memory at a time


def highest_correlations(held_out: Sequence[Sample], training: Sequence[Sample]) -> np.ndarray:
    """For each held-out sample the highest correlation of its thumbnail with a training sample's, float32 (N,), -1..1.

    All of one task. The training pictures are read once and not kept.
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
