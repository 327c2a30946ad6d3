"""Measures of an image's quality: numbers from which `src.pictures.quality` decides whether an image has a flaw."""

import numpy as np
from PIL import Image
from scipy import ndimage

from src.pictures import annotations
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
    resized = field if size == field.size else field.resize(size, Image.Resampling.BICUBIC, reducing_gap=3)
    # Channels first, because numpy reduces a last axis of three values forty times more slowly.
    rgb = np.ascontiguousarray(np.asarray(resized).transpose(2, 0, 1)).astype(np.float32)
    red, green, blue = rgb
    grey = np.asarray(resized.convert("L")).astype(np.float32)
    chroma = np.ptp(rgb, axis=0)
    # A tint gives every pixel a chroma, but it is not colour Doppler, so it is removed first.
    untinted = np.ptp(rgb * (rgb.mean() / np.maximum(rgb.mean(axis=(1, 2), keepdims=True), 1)), axis=0)
    measures = {
        "short_side": min(width, height),
        "aspect": max(width, height) / min(width, height),
        "contrast": grey.std(),
        "brightness": np.percentile(grey, 95),
        "white": np.mean(grey >= WHITE),
        "focus": ndimage.laplace(grey)[1:-1, 1:-1].std() / max(1.0, float(grey.std())),
        "chroma": np.percentile(chroma, 99),
        "red_green": np.mean(red - green),
        "yellow_blue": np.mean((red + green) / 2 - blue),
        "tint": np.median(chroma),
        "vivid": np.mean(untinted > VIVID),
    }
    if task.crop_to_roi:
        crosses, letters = annotations.count(field)
        measures |= {"crosses": crosses, "letters": letters}
    return {name: float(value) for name, value in measures.items()}
