"""The brightness of a sample's image."""

import numpy as np

from train.data import Sample


def mean_level(sample: Sample) -> float:
    """The mean grey level, 0 to 255."""
    return float(np.asarray(sample.picture().image.convert("L")).mean())
