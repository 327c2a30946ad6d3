"""The interface of timm's classifiers, which all classifiers here have, and a base class for those that timm lacks.

The interface: `forward(x) == forward_head(forward_features(x))`, where `forward_features` gives the last feature map
(B, C, H, W) for Grad-CAM; `get_classifier`, `reset_classifier`, `num_classes`, `in_chans`, `num_features`
and `pretrained_cfg`. With `num_classes=1` the one logit belongs to the class of index 1, as in scikit-learn's
`decision_function`: sigmoid(logit) = p(class 1).
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn


class Network(nn.Module):
    """The interface of timm's classifiers as a type, with the methods that Vigil calls.

    timm's own networks have this interface but no common base class, so `src.models.checkpoints.build` casts them to
    this type. Do not use it with `isinstance`.
    """

    num_classes: int
    pretrained_cfg: dict[str, Any]

    def forward_features(self, x: Tensor) -> Tensor:
        """The last feature map (B, C, H, W) of normalised images (B, channels, height, width), float32."""
        raise NotImplementedError

    def forward_intermediates(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The last feature map, and the maps (B, channels, h, w) of the stages before it, in one pass."""
        raise NotImplementedError

    def forward_head(self, feature_map: Tensor, pre_logits: bool = False) -> Tensor:
        """The logits (B, `num_classes`) of a feature map, or the classifier's input if `pre_logits`."""
        raise NotImplementedError

    def get_classifier(self) -> nn.Module:
        """The last linear layer of the network."""
        raise NotImplementedError


class VigilNetwork(Network):
    """Base class of the classifiers that timm lacks: a feature map, an embedding of it and a linear classifier.

    A subclass sets `features`, the layers that make the map, and `classifier`, and defines `embed`.
    """

    side: ClassVar[int | None] = None
    """The height and width, in pixels, of the images that the network accepts. None if it accepts any size."""

    features: nn.Module
    classifier: nn.Module

    def __init__(
        self,
        num_classes: int,
        in_chans: int,
        num_features: int,
        head_hidden_size: int,
        img_size: int | Sequence[int] | None = None,
    ) -> None:
        """`num_features`: the number of channels of the feature map. `head_hidden_size`: the width of the classifier's
        input. `img_size`: height and width in pixels, which timm passes to a network of fixed size. Raises ValueError
        if `img_size` is not `side`."""
        super().__init__()
        if img_size is not None:
            size = (img_size, img_size) if isinstance(img_size, int) else tuple(img_size)
            if size != (self.side, self.side):
                raise ValueError(f"{type(self).__name__} is made for {self.side}×{self.side} pixels, not {size}.")
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.num_features = num_features
        self.head_hidden_size = head_hidden_size

    def forward_features(self, x: Tensor) -> Tensor:
        """The last feature map (B, `num_features`, H, W) of normalised images (B, `in_chans`, height, width).

        Raises ValueError if the images do not have the network's fixed size.
        """
        self._check_size(x)
        return self.features(x)

    def forward_intermediates(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The last feature map, and the map after each ReLU before it, from one pass.

        Raises ValueError as `forward_features` does.
        """
        self._check_size(x)
        maps = []
        for layer in self.features if isinstance(self.features, nn.Sequential) else ():
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                maps.append(x)
        return x, maps

    def _check_size(self, x: Tensor) -> None:
        if self.side is not None and tuple(x.shape[1:]) != (self.in_chans, self.side, self.side):
            raise ValueError(
                f"{type(self).__name__} takes images of shape (batch, {self.in_chans}, {self.side}, {self.side}), "
                f"not {tuple(x.shape)}."
            )

    def embed(self, feature_map: Tensor) -> Tensor:
        """The classifier's input (B, `head_hidden_size`)."""
        raise NotImplementedError

    def forward_head(self, feature_map: Tensor, pre_logits: bool = False) -> Tensor:
        """The logits (B, `num_classes`) of a feature map, or the classifier's input if `pre_logits`."""
        embedding = self.embed(feature_map)
        return embedding if pre_logits else self.classifier(embedding)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, `num_classes`) of normalised images (B, `in_chans`, height, width)."""
        return self.forward_head(self.forward_features(x))

    def get_classifier(self) -> nn.Module:
        """The last linear layer of the network."""
        return self.classifier

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the last linear layer with an untrained one. With 0 classes the network returns the embedding."""
        device = next((parameter.device for parameter in self.parameters()), None)
        self.num_classes = num_classes
        self.classifier = linear_classifier(self.head_hidden_size, num_classes, device)


def linear_classifier(features: int, num_classes: int, device: torch.device | None = None) -> nn.Module:
    """A linear layer from `features` to `num_classes` values. For 0 classes it is the identity, as in timm."""
    return nn.Linear(features, num_classes, device=device) if num_classes > 0 else nn.Identity()


def convolution(in_chans: int, out_chans: int) -> list[nn.Module]:
    """A 3×3 convolution, batch norm and ReLU. Height and width stay the same."""
    return [
        nn.Conv2d(in_chans, out_chans, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(out_chans),
        nn.ReLU(inplace=True),
    ]


def untrained_cfg(input_size: tuple[int, int, int], num_classes: int, **kwargs: Any) -> dict[str, Any]:
    """timm's configuration of a network without pretrained weights. Pixels of 0..1 are normalised to -1..1."""
    chans = input_size[0]
    return {
        "url": "",
        "input_size": input_size,
        "num_classes": num_classes,
        "mean": (0.5,) * chans,
        "std": (0.5,) * chans,
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "classifier": "classifier",
        **kwargs,
    }
