"""Measures of an image's quality: numbers from which `src.pictures.quality` decides whether an image has a flaw."""

import numpy as np
from PIL import Image
from scipy import ndimage

from src.pictures import annotations
from src.pictures.scaling import scaled
from src.tasks import Task

WHITE = 250
"""The grey level, 0 to 255, from which a pixel counts as white."""
VIVID = 60
"""The chroma, 0 to 255, above which a pixel counts as colour Doppler. A tinted display has less."""


def measure(image: Image.Image, field: Image.Image, task: Task, side: int) -> dict[str, float]:
    """All measures of an upright RGB image, by name.

    `field` is the part of `image` that the model reads (`scanned_field.crop`). `short_side` (pixels) and `aspect`
    (longer over shorter side) describe `image`. All other measures describe `field`, whose shorter side is first scaled
    to `side` pixels, so that a large image and its small copy have the same measures:

    - `brightness`: the 95th percentile of grey, 0 to 255. `contrast`: its standard deviation.
    - `focus`: the standard deviation of grey's Laplacian, divided by `contrast`.
    - `white`, `vivid`: the share of pixels that are white, or as colourful as colour Doppler, 0 to 1.
    - `chroma`: the 99th percentile of chroma, which is the largest minus the smallest of R, G and B, 0 to 255.
      `tint`: its median.
    - `red_green`, `yellow_blue`: the mean of R - G, and of (R + G) / 2 - B, -255 to 255.
    - `crosses`, `letters`, for tasks with a scanned field only: see `annotations.count`.
    """
    width, height = image.size
    scale = side / min(field.size)
    size = round(field.width * scale), round(field.height * scale)
    # The bound keeps a long strip from growing without limit.
    size = min(size[0], 4 * side), min(size[1], 4 * side)
    rgb = scaled(field, size)
    grey = np.asarray(Image.fromarray(rgb.transpose(1, 2, 0)).convert("L"))
    # Images have 256 levels, and counting them is much faster than sorting pixels.
    levels = np.bincount(grey.ravel(), minlength=256)
    chromas = np.bincount(np.ptp(rgb, axis=0).ravel(), minlength=256)
    red, green, blue = means = rgb.mean(axis=(1, 2), dtype=np.float32)
    # A tint gives every pixel a chroma, but it is not colour Doppler, so it is removed first.
    untinted = np.ptp(rgb * (means.mean() / np.maximum(means, 1))[:, None, None], axis=0)
    contrast = _standard_deviation(levels)
    measures = {
        "short_side": min(width, height),
        "aspect": max(width, height) / min(width, height),
        "contrast": contrast,
        "brightness": _quantile(levels, 0.95),
        "white": levels[WHITE:].sum() / levels.sum(),
        "focus": ndimage.laplace(grey.astype(np.float32))[1:-1, 1:-1].std() / max(1.0, contrast),
        "chroma": _quantile(chromas, 0.99),
        "red_green": red - green,
        "yellow_blue": (red + green) / 2 - blue,
        "tint": _quantile(chromas, 0.5),
        "vivid": np.mean(untinted > VIVID),
    }
    if task.crop_to_roi:
        crosses, letters = annotations.count(field)
        measures |= {"crosses": crosses, "letters": letters}
    return {name: float(value) for name, value in measures.items()}


def _standard_deviation(counts: np.ndarray) -> float:
    """The standard deviation of pixels, from the number of pixels (256,) with each level."""
    levels = np.arange(len(counts))
    mean = np.average(levels, weights=counts)
    return float(np.sqrt(np.average((levels - mean) ** 2, weights=counts)))


def _quantile(counts: np.ndarray, share: float) -> float:
    """As `np.quantile` of pixels, from the number of pixels (256,) with each level."""
    upto = np.cumsum(counts)
    position = share * (upto[-1] - 1)
    below, above = np.searchsorted(upto, [np.floor(position), np.ceil(position)], side="right")
    return float(below + (above - below) * (position % 1))
