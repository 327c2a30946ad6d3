"""A convolutional network with self-attention for 96×96 images."""

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from src.models.networks.base import VigilNetwork, linear_classifier, untrained_cfg

NAME = "vigil_attention_cnn96"


class AttentionCNN96(VigilNetwork):
    """A convolutional network with self-attention for 96×96 images; 494,337 parameters for RGB and one class.

    Three 3×3 convolutions (64, 128, 256 channels; ReLU and 2×2 max-pooling after each) give a map of 12×12×256. One
    head of scaled dot-product attention (Vaswani et al. 2017, arXiv:1706.03762; width 128, scaled by sqrt(128)) reads
    it as 144 tokens. A linear layer 128→128, the mean over the tokens, a linear layer of 64 with ReLU, dropout and a
    linear layer of `num_classes` follow.
    """

    side = 96

    def __init__(
        self,
        num_classes: int = 1,
        in_chans: int = 3,
        drop_rate: float = 0.5,
        img_size: int | Sequence[int] | None = None,
    ) -> None:
        """`drop_rate`: dropout before the classifier."""
        super().__init__(num_classes, in_chans, num_features=256, head_hidden_size=64, img_size=img_size)
        layers: list[nn.Module] = []
        for width, following in ((in_chans, 64), (64, 128), (128, 256)):
            layers += [nn.Conv2d(width, following, kernel_size=3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*layers)
        self.query = nn.Linear(256, 128)
        self.key = nn.Linear(256, 128)
        self.value = nn.Linear(256, 128)
        self.output = nn.Linear(128, 128)
        self.hidden = nn.Linear(128, 64)
        self.activation = nn.ReLU()
        self.dropout = nn.Dropout(drop_rate)
        self.classifier = linear_classifier(64, num_classes)

    def embed(self, feature_map: Tensor) -> Tensor:
        """The classifier's input (B, 64) of a map (B, 256, 12, 12)."""
        tokens = feature_map.flatten(2).transpose(1, 2)
        attended = F.scaled_dot_product_attention(self.query(tokens), self.key(tokens), self.value(tokens))
        return self.dropout(self.activation(self.hidden(self.output(attended).mean(dim=1))))


default_cfgs = generate_default_cfgs(
    {
        NAME: untrained_cfg(
            (3, 96, 96), num_classes=1, fixed_input_size=True, pool_size=(12, 12), first_conv="features.0"
        )
    }
)


@register_model
def vigil_attention_cnn96(pretrained: bool = False, **kwargs: Any) -> AttentionCNN96:
    """Convolutional network with self-attention for 96×96 images."""
    return build_model_with_cfg(AttentionCNN96, NAME, pretrained, **kwargs)
