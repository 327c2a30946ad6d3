"""The lesion masks of a sample, from the outlines that some datasets have."""

import numpy as np
from PIL import Image

from src.pictures import decode
from src.pictures.picture import Box
from train.data.samples import Sample


def lesion_mask(sample: Sample, picture: Image.Image, box: Box, size: tuple[int, int]) -> np.ndarray:
    """The lesion mask of the part `box` of `picture`, scaled to `size` (width, height): uint8 (H, W), 0 or 1."""
    width, height = size
    mask = np.zeros((height, width), dtype=np.uint8)
    for file in sample.masks:
        drawn = decode.read(file, "black").image.convert("L").resize(picture.size, Image.Resampling.BILINEAR).crop(box)
        mask |= np.asarray(drawn.resize(size, Image.Resampling.BILINEAR)) > 127
    return mask
