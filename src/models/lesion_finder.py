"""Finds the lesion in a breast ultrasound picture: a small U-Net, and the box around the patch that it finds.

The U-Net's weights lie beside the ultrasound checkpoint, whose config describes them (`vigil.region`). Knows nothing of
classes, and nothing of what the box is used for.
"""

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from torch import nn

from src.models import engine
from src.models.config import LesionFinderConfig
from src.pictures.picture import Box

NOTHING_FOUND = "No lesion was found to look at closely; the whole scanned field was read."


class LesionFinder:
    """The trained U-Net, ready for use: a picture in, the box around the lesion out. Deterministic, keeps no state.

    `network`: one of `networks.SEGMENTERS`, with its weights. It runs on the CPU, where pictures are prepared.
    """

    def __init__(self, network: nn.Module, config: LesionFinderConfig) -> None:
        self.config = config
        self._forward = engine.forward_of(network.eval().requires_grad_(False), torch.device("cpu"))

    def probabilities(self, image: Image.Image) -> np.ndarray:
        """The probability of "lesion" for each pixel of the picture in grey, squeezed to side × side.

        float32 (side, side), 0..1.
        """
        side = self.config.side
        small = image.convert("L").convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.asarray(small).copy()).permute(2, 0, 1)[None] / 255
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (self.config.mean, self.config.std))
        (logits,) = self._forward((pixels - mean) / std)
        return logits[0, 0].float().sigmoid().numpy()

    def find(self, image: Image.Image) -> Box | None:
        """The box around the likeliest lesion with its margin, in pixels of `image`; None where there is none."""
        found = lesion_extent(self.probabilities(image), self.config.threshold, self.config.smallest)
        if found is None:
            return None
        across, down = image.width / self.config.side, image.height / self.config.side
        left, upper, right, lower = found
        return with_margin((left * across, upper * down, right * across, lower * down), self.config.margin, image.size)


def mask_extent(mask: np.ndarray) -> Box | None:
    """The bounding box of the largest patch of a mask (H, W) of 0 and 1, None where it is empty."""
    return lesion_extent(mask.astype(np.float32), 0.5, 0.0)


def lesion_extent(probabilities: np.ndarray, threshold: float, smallest: float) -> Box | None:
    """The bounding box of the likeliest lesion in `probabilities` (H, W).

    A patch is connected pixels from `threshold` on; the likeliest has the largest sum of probabilities. None where it
    covers less than the share `smallest` of all pixels.
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
    """A square around `lesion` with `margin` of its longer side on each side, moved and cut to lie within `size`.

    Square where the picture has room: "taller than wide" is a sign of cancer, which squeezing would remove.
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
