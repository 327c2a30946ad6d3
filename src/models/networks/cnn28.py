"""A small convolutional network for 28×28 images."""

from collections.abc import Sequence
from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from src.models.networks.base import VigilNetwork, convolution, linear_classifier, untrained_cfg

NAME = "vigil_cnn28"


class CNN28(VigilNetwork):
    """A small convolutional network for 28×28 images, sized for the 546 training images of BreastMNIST.

    It has three pairs of 3×3 convolutions (32, 64, 128 channels) with batch norm and ReLU, and 2×2 max-pooling after
    the first two pairs. The last map has 7×7 positions, because a coarser map tells little in Grad-CAM. Dropout between
    the pairs drops whole channels (Tompson et al. 2015, arXiv:1411.4280), because neighbouring pixels of such
    small images carry the same information.
    """

    side = 28

    def __init__(
        self,
        num_classes: int = 2,
        in_chans: int = 1,
        drop_rate: float = 0.5,
        img_size: int | Sequence[int] | None = None,
    ) -> None:
        """`drop_rate`: dropout before the classifier. A fifth of it drops channels between the pairs."""
        super().__init__(num_classes, in_chans, num_features=128, head_hidden_size=128, img_size=img_size)
        self.features = nn.Sequential(
            *convolution(in_chans, 32),
            *convolution(32, 32),
            nn.MaxPool2d(2),
            nn.Dropout2d(drop_rate / 5),
            *convolution(32, 64),
            *convolution(64, 64),
            nn.MaxPool2d(2),
            nn.Dropout2d(drop_rate / 5),
            *convolution(64, 128),
            *convolution(128, 128),
        )
        self.dropout = nn.Dropout(drop_rate)
        self.classifier = linear_classifier(128, num_classes)

    def embed(self, feature_map: Tensor) -> Tensor:
        """The mean over the positions, (B, 128), of a map (B, 128, 7, 7)."""
        return self.dropout(feature_map.mean(dim=(2, 3)))


default_cfgs = generate_default_cfgs(
    {NAME: untrained_cfg((1, 28, 28), num_classes=2, fixed_input_size=True, pool_size=(7, 7), first_conv="features.0")}
)


@register_model
def vigil_cnn28(pretrained: bool = False, **kwargs: Any) -> CNN28:
    """Small convolutional network for 28×28 images."""
    return build_model_with_cfg(CNN28, NAME, pretrained, **kwargs)
