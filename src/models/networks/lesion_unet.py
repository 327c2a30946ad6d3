"""The U-Net that finds the lesion in a breast ultrasound image."""

from typing import Any, ClassVar

import timm
import torch
import torch.nn.functional as F
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from src.models.networks.base import convolution, untrained_cfg

NAME = "vigil_lesion_unet"


class LesionUNet(nn.Module):
    """U-Net (Ronneberger et al. 2015, arXiv:1505.04597) on the first four stages of EfficientNetV2-B0.

    Normalised images (B, `in_chans`, side, side), whose side is a multiple of 16 -> logits per pixel (B, `num_classes`,
    side, side). The only class is "lesion". The network has 1.5 million parameters.
    """

    BACKBONE: ClassVar[str] = "tf_efficientnetv2_b0"
    """The name of timm's network whose first four stages are the backbone."""
    STAGES: ClassVar[list[int]] = [0, 1, 2, 3]

    def __init__(self, num_classes: int = 1, in_chans: int = 3) -> None:
        super().__init__()
        self.num_classes, self.in_chans = num_classes, in_chans
        backbone: Any = timm.create_model(self.BACKBONE, num_classes=0, in_chans=in_chans)
        self.backbone = backbone
        self.stages = backbone.prune_intermediate_layers(self.STAGES, prune_head=True)
        channels = [stage["num_chs"] for stage in backbone.feature_info[: len(self.STAGES)]]
        widths = [16, 32, 64]
        below = [*widths[1:], channels[-1]]
        self.up = nn.ModuleList(
            nn.Sequential(*convolution(deep + skip, width), *convolution(width, width))
            for deep, skip, width in zip(below, channels[:-1], widths, strict=True)
        )
        self.head = nn.Conv2d(widths[0], num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, `num_classes`, height, width) of normalised images (B, `in_chans`, height, width)."""
        *skips, deep = self.backbone.forward_intermediates(x, indices=self.stages, intermediates_only=True)
        for skip, merge in zip(reversed(skips), reversed(self.up), strict=True):
            deep = merge(torch.cat([_enlarged(deep, skip.shape[-2:]), skip], dim=1))
        return _enlarged(self.head(deep), x.shape[-2:])

    def get_classifier(self) -> nn.Module:
        """The last layer, a 1×1 convolution."""
        return self.head


def _enlarged(x: Tensor, size: torch.Size) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


default_cfgs = generate_default_cfgs(
    {NAME: untrained_cfg((3, 192, 192), num_classes=1, first_conv="backbone.conv_stem", classifier="head")}
)


@register_model
def vigil_lesion_unet(pretrained: bool = False, **kwargs: Any) -> LesionUNet:
    """U-Net on EfficientNetV2-B0 for lesions in breast ultrasound images."""
    return build_model_with_cfg(LesionUNet, NAME, pretrained, **kwargs)
