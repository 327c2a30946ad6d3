"""Where the lesion is in a breast ultrasound picture: a small U-Net and the box around what it finds.

The network and its safetensors stand beside the ultrasound checkpoint and are named in its config (`vigil.region`).
Knows nothing of classes or of what is done with the box.
"""

from typing import Any

import numpy as np
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat
from scipy import ndimage
from torch import Tensor, nn

Box = tuple[int, int, int, int]
"""left, upper, right, lower in pixels; right and lower exclusive."""

FILE = "region.safetensors"


class RegionConfig(BaseModel):
    """How a picture becomes the U-Net's input, and its answer a box. Further keys are ignored.

    `side`: of the square input, in pixels. `threshold`: the probability from which a pixel is lesion. `smallest`: the
    share of the picture below which a patch is no lesion. `margin`: what is added on each side of a lesion, as a share
    of its longer side.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    side: int = Field(ge=32, le=640, multiple_of=16)
    mean: tuple[float, float, float]
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat]
    threshold: float = Field(gt=0, lt=1)
    smallest: float = Field(ge=0, lt=1)
    margin: float = Field(ge=0, le=2)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class LesionUNet(nn.Module):
    """U-Net (Ronneberger et al. 2015, arXiv:1505.04597) on the first four stages of EfficientNetV2-B0.

    Normalised pictures (N, 3, side, side), side a multiple of 16 -> logits (N, 1, side, side) of "lesion", for each
    pixel. 1.5 million parameters.
    """

    def __init__(self) -> None:
        super().__init__()
        self.backbone = self.whole_backbone()
        self.stages = self.backbone.prune_intermediate_layers([0, 1, 2, 3], prune_head=True)
        channels = [stage["num_chs"] for stage in self.backbone.feature_info[:4]]
        widths = [16, 32, 64]
        below = [*widths[1:], channels[-1]]
        self.up = nn.ModuleList(
            nn.Sequential(*_convolution(deep + skip, width), *_convolution(width, width))
            for deep, skip, width in zip(below, channels[:-1], widths, strict=True)
        )
        self.head = nn.Conv2d(widths[0], 1, 1)

    @staticmethod
    def whole_backbone(from_hub: bool = False) -> Any:
        """timm's network whose first four stages are the backbone; untrained, or the Hub's ImageNet weights."""
        return timm.create_model("tf_efficientnetv2_b0", pretrained=from_hub, num_classes=0)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the input's height and width."""
        *skips, deep = self.backbone.forward_intermediates(x, indices=self.stages, intermediates_only=True)
        for skip, merge in zip(reversed(skips), reversed(self.up), strict=True):
            deep = merge(torch.cat([_enlarged(deep, skip.shape[-2:]), skip], dim=1))
        return _enlarged(self.head(deep), x.shape[-2:])


def _convolution(in_chans: int, out_chans: int) -> list[nn.Module]:
    return [nn.Conv2d(in_chans, out_chans, 3, padding=1, bias=False), nn.BatchNorm2d(out_chans), nn.ReLU(inplace=True)]


def _enlarged(x: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class LesionFinder:
    """The trained U-Net made ready: a picture in, the box around the lesion out. Deterministic, keeps no state."""

    def __init__(self, network: LesionUNet, config: RegionConfig, device: str = "cpu") -> None:
        self.network = network.eval().requires_grad_(False).to(device)
        self.config = config
        self.device = torch.device(device)

    def probabilities(self, image: Image.Image) -> np.ndarray:
        """Probability of "lesion" for each pixel of the grey picture squeezed to side × side; float32, 0..1."""
        side = self.config.side
        small = image.convert("L").convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.asarray(small).copy()).permute(2, 0, 1)[None].to(self.device) / 255
        mean, std = (torch.tensor(v, device=self.device).view(1, 3, 1, 1) for v in (self.config.mean, self.config.std))
        with torch.inference_mode(False), torch.no_grad():
            return self.network((pixels - mean) / std)[0, 0].float().sigmoid().cpu().numpy()

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
    """The bounding box of the connected patch with the largest sum of `probabilities` (H, W) from `threshold` on.

    None where no patch covers the share `smallest` of all pixels.
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

    Square where the picture has room, since taller than wide is a sign that squeezing would wipe out.
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
