"""Scales images for measurements, about five times as fast as Pillow."""

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

REDUCING_GAP = 3
"""As for Pillow's `resize`, which first reduces an image whose side is at least twice this many times the new side."""


def scaled(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """An RGB image at another size (width, height), by an antialiasing bicubic filter: uint8, (3, height, width).

    If it becomes smaller, about one value in a hundred differs from Pillow's `resize`, by two of 256 levels at most,
    because PyTorch rounds the filter to 16 bits. That changed p(malignant) by up to 0.004 in 310 skin images. So Pillow
    scales the networks' inputs.
    """
    if any(old >= 2 * REDUCING_GAP * new for old, new in zip(image.size, size, strict=True)):
        # Pillow is faster here, because it reduces the image first.
        image = image.resize(size, Image.Resampling.BICUBIC, reducing_gap=REDUCING_GAP)
    # A copy, because PyTorch does not take the read-only memory of an image.
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    if image.size != size:
        pixels = functional.interpolate(pixels[None], size[::-1], mode="bicubic", antialias=True)[0]
    return pixels.contiguous().numpy()
