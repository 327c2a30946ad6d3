"""Logistic regression over the pixels of a 28×28 image, as a network."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from src.models.networks.base import VigilNetwork, linear_classifier, untrained_cfg

NAME = "vigil_linear28"


class Linear28(VigilNetwork):
    """One linear layer over the normalised pixels of a 28×28 image: scikit-learn's logistic regression as a network.

    Its feature map is the image itself, so each pixel's share of the logit is the pixel times its weight.
    """

    side = 28

    def __init__(self, num_classes: int = 1, in_chans: int = 1, img_size: int | Sequence[int] | None = None) -> None:
        pixels = in_chans * 28 * 28
        super().__init__(num_classes, in_chans, num_features=in_chans, head_hidden_size=pixels, img_size=img_size)
        self.features = nn.Identity()
        self.classifier = linear_classifier(pixels, num_classes)

    def embed(self, feature_map: Tensor) -> Tensor:
        """The pixels (B, `in_chans` × 784), row by row, as numpy's `images.reshape(n, -1)` orders them."""
        return feature_map.flatten(1)

    def load_logistic_regression(
        self, coef: ArrayLike, intercept: ArrayLike, mean: ArrayLike = 0.0, scale: ArrayLike = 1.0
    ) -> None:
        """Copy the weights of a fitted `LogisticRegression`. The logits then equal its `decision_function`.

        `coef` (`num_classes`, pixels) and `intercept` (`num_classes`,) are its `coef_` and `intercept_`: one row for
        two classes, with the logit of the class of index 1. `mean` and `scale`, each a number or (pixels,), are the
        `mean_` and `scale_` of the `StandardScaler` before the regression, if there was one. They are merged into the
        weights and the bias. Raises ValueError if the shapes do not fit this layer.
        """
        weight = np.asarray(coef, dtype=np.float64) / np.asarray(scale, dtype=np.float64)
        if weight.shape != (self.num_classes, self.head_hidden_size) or np.shape(intercept) != (self.num_classes,):
            raise ValueError(
                f"Expected coefficients of shape ({self.num_classes}, {self.head_hidden_size}) and "
                f"{self.num_classes} intercept(s), got {weight.shape} and {np.shape(intercept)}."
            )
        offset = weight @ np.broadcast_to(np.asarray(mean, dtype=np.float64), (self.head_hidden_size,))
        bias = np.asarray(intercept, dtype=np.float64) - offset
        self.classifier.load_state_dict({"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)})


default_cfgs = generate_default_cfgs(
    {NAME: untrained_cfg((1, 28, 28), num_classes=1, fixed_input_size=True, pool_size=(28, 28))}
)


@register_model
def vigil_linear28(pretrained: bool = False, **kwargs: Any) -> Linear28:
    """Logistic regression over 28×28 pixels."""
    return build_model_with_cfg(Linear28, NAME, pretrained, **kwargs)
