"""Find the lesion in a breast ultrasound image: a small U-Net segments it, and a box is put around the segment.

The weights of the U-Net are stored beside the ultrasound checkpoint, and its config describes them (`vigil.region`).
This module knows neither the task's classes nor the purpose of the box.
"""

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from torch import nn

from src.models import engine
from src.models.config import LesionFinderConfig
from src.pictures.picture import Box


class LesionFinder:
    """The trained U-Net, ready for use: an image -> the box around the lesion. It is deterministic and keeps no state.

    `network`: one of `architectures.SEGMENTERS`, with its weights. It runs on the CPU, where images are prepared.
    """

    def __init__(self, network: nn.Module, config: LesionFinderConfig) -> None:
        self.config = config
        size = len(config.mean), config.side, config.side
        self._forward = engine.forward_of(network.eval().requires_grad_(False), torch.device("cpu"), size)

    def probabilities(self, image: Image.Image) -> np.ndarray:
        """The probability that each pixel belongs to a lesion, float32 (side, side), 0 to 1.

        `image`: any mode and size. It is converted to grey and resized to side × side without keeping its aspect.
        """
        side = self.config.side
        small = image.convert("L").convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.asarray(small).copy()).permute(2, 0, 1)[None] / 255
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (self.config.mean, self.config.std))
        (logits,) = self._forward((pixels - mean) / std)
        return logits[0, 0].float().sigmoid().numpy()

    def find(self, image: Image.Image) -> Box | None:
        """The box around the most probable lesion, with a margin, in pixels of `image`. None if there is no lesion."""
        found = lesion_extent(self.probabilities(image), self.config.threshold, self.config.smallest)
        if found is None:
            return None
        across, down = image.width / self.config.side, image.height / self.config.side
        left, upper, right, lower = found
        return with_margin((left * across, upper * down, right * across, lower * down), self.config.margin, image.size)


def mask_extent(mask: np.ndarray) -> Box | None:
    """The bounding box of the largest connected component of a mask (H, W) of 0 and 1. None if the mask is empty."""
    return lesion_extent(mask.astype(np.float32), 0.5, 0.0)


def lesion_extent(probabilities: np.ndarray, threshold: float, smallest: float) -> Box | None:
    """The bounding box of the most probable lesion in `probabilities` (H, W), 0 to 1.

    A lesion is a connected component of pixels with at least `threshold`. The most probable one has the largest sum of
    probabilities. None if there is none, or if it covers less than the share `smallest` of all pixels.
    """
    patches, count = ndimage.label(probabilities >= threshold)
    if not count:
        return None
    numbers = np.arange(1, count + 1)
    sums = ndimage.sum_labels(probabilities, patches, numbers)
    largest = int(np.argmax(sums))
    if np.count_nonzero(patches == largest + 1) < max(1.0, smallest * probabilities.size):
        return None
    rows, columns = ndimage.find_objects(patches)[largest]
    return columns.start, rows.start, columns.stop, rows.stop


def with_margin(lesion: tuple[float, float, float, float], margin: float, size: tuple[int, int]) -> Box:
    """A square around `lesion`, moved and cut to lie within an image of `size` (width, height), in pixels.

    `lesion`: left, upper, right, lower. `margin`: the margin on each side, as a share of the lesion's longer side. The
    box is square wherever the image has room, because "taller than wide" is a sign of cancer that squeezing would hide.
    """
    left, upper, right, lower = lesion
    side = max(right - left, lower - upper) * (1 + 2 * margin)
    spans = []
    for middle, length in (((left + right) / 2, size[0]), ((upper + lower) / 2, size[1])):
        width = min(round(side), length)
        start = min(max(0, round(middle - width / 2)), length - width)
        spans.append((start, max(start + 1, start + width)))
    (x0, x1), (y0, y1) = spans
    return x0, y0, x1, y1
