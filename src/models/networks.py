"""The networks that timm lacks, registered with timm: import this module, then call `timm.create_model(name)`.

It knows layers and shapes. It does not know tasks, checkpoints or training, and it downloads nothing: where weights
come from is `src.models.checkpoints`' business, and ImageNet weights for a backbone are handed in by the trainer.

Every network here keeps timm's contract: `forward(x) == forward_head(forward_features(x))`, where `forward_features`
gives the last feature map (B, C, H, W), the one Grad-CAM reads; `get_classifier`, `reset_classifier`, `num_classes`,
`in_chans`, `num_features` and `pretrained_cfg`. With `num_classes=1` the one logit is that of the class of index 1, as
in scikit-learn's `decision_function`: sigmoid(logit) = p(class 1).
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from timm.layers.cbam import CbamModule
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.efficientnet import tf_efficientnetv2_m
from torch import Tensor, nn

__all__ = [
    "ARCHITECTURES",
    "CNN28",
    "AttentionCNN96",
    "EfficientNetV2MCBAM",
    "Linear28",
    "Network",
    "VigilNetwork",
]

ARCHITECTURES: frozenset[str] = frozenset(
    {
        "convnext_tiny",
        "tf_efficientnetv2_b0",
        "vigil_attention_cnn96",
        "vigil_cnn28",
        "vigil_efficientnetv2_m_cbam",
        "vigil_linear28",
    }
)
"""Every name that a checkpoint's config may give as its architecture; any other is refused, whatever timm may know."""


def _classifier(features: int, num_classes: int, device: torch.device | None = None) -> nn.Module:
    """A linear layer, or for no classes timm's convention: the features themselves."""
    return nn.Linear(features, num_classes, device=device) if num_classes > 0 else nn.Identity()


class Network(nn.Module):
    """timm's contract as a type: what Vigil calls on any network, ours or timm's.

    timm's own networks keep the contract without a common class, so `src.models.checkpoints.build` casts them to this
    one; no `isinstance` may be asked of it.
    """

    num_classes: int
    pretrained_cfg: dict[str, Any]

    def forward_features(self, x: Tensor) -> Tensor:
        """The last feature map (B, C, H, W) of normalised images (B, channels, height, width)."""
        raise NotImplementedError

    def forward_intermediates(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """What `forward_features` gives, and the maps (B, channels, h, w) of the stages on the way, in one pass."""
        raise NotImplementedError

    def forward_head(self, feature_map: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits (B, `num_classes`) of a feature map, or the classifier's input if `pre_logits`."""
        raise NotImplementedError

    def get_classifier(self) -> nn.Module:
        """The last linear layer."""
        raise NotImplementedError


class VigilNetwork(Network):
    """What the networks below share: timm's contract around a feature map, an embedding of it and a linear classifier.

    A subclass sets `features` (images to map), `classifier`, and says in `embed` how the map becomes one vector.
    """

    side: ClassVar[int | None] = None
    """Height and width in pixels of the only images the network takes; None where any size will do."""

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
        """`num_features`: channels of the map. `head_hidden_size`: width of the classifier's input. `img_size` is what
        timm passes to a network of fixed size; any other than `side` is a ValueError."""
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

        Raises ValueError where the network is made for one size and the images have another.
        """
        self._check_size(x)
        return self.features(x)

    def forward_intermediates(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """What `forward_features` gives, and the maps after each ReLU on the way, in one pass; raises as that does."""
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
        """Logits (B, `num_classes`) of a feature map, or the classifier's input if `pre_logits`."""
        embedding = self.embed(feature_map)
        return embedding if pre_logits else self.classifier(embedding)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, `num_classes`) of normalised images (B, `in_chans`, height, width)."""
        return self.forward_head(self.forward_features(x))

    def get_classifier(self) -> nn.Module:
        """The last linear layer."""
        return self.classifier

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the last linear layer with a fresh one; 0 classes leave the embedding as the output."""
        device = next((parameter.device for parameter in self.parameters()), None)
        self.num_classes = num_classes
        self.classifier = _classifier(self.head_hidden_size, num_classes, device)


def _dense(widths: Sequence[int], drop_rates: Sequence[float]) -> nn.Sequential:
    """Dropout, linear, batch norm and GELU from each width to the next, and a last dropout: one rate per width."""
    layers: list[nn.Module] = []
    for width, following, rate in zip(widths[:-1], widths[1:], drop_rates[:-1], strict=True):
        layers += [nn.Dropout(rate), nn.Linear(width, following, bias=False), nn.BatchNorm1d(following), nn.GELU()]
    return nn.Sequential(*layers, nn.Dropout(drop_rates[-1]))


class EfficientNetV2MCBAM(VigilNetwork):
    """EfficientNetV2-M (Tan and Le 2021, arXiv:2104.00298) with attention on its last map and two heads.

    The 1280-channel map is refined by CBAM (Woo et al. 2018, arXiv:1807.06521: channel attention from average and
    maximum through one shared MLP of reduction 16, then spatial attention by a 7×7 convolution), its positions become
    tokens of 512, multi-head self-attention with residual and layer norm relates them (Vaswani et al. 2017,
    arXiv:1706.03762), and the mean over tokens goes through the main head, 512→256→128→classes.

    The auxiliary head, 512→256→classes, reads the mean of the tokens *before* the self-attention, so that backbone and
    CBAM have a short path to the loss (deep supervision: Lee et al. 2015, arXiv:1409.5185). `forward` always
    returns the main logits alone, in training too, so that the output has one type for test-time augmentation, Grad-CAM
    and the Hub; a training step that wants both calls `forward_with_auxiliary`.

    Both heads have batch norm: in training a batch needs two images or more.
    """

    EMBEDDING: ClassVar[int] = 512

    def __init__(
        self, num_classes: int = 7, in_chans: int = 3, drop_rate: float = 0.4, drop_path_rate: float = 0.2
    ) -> None:
        """`drop_rate` before the first linear layer of each head; before the second three quarters of it, before the
        third half: 0.4, 0.3, 0.2. `drop_path_rate`: stochastic depth in the backbone."""
        super().__init__(num_classes, in_chans, num_features=1280, head_hidden_size=128)
        rates = (drop_rate, 0.75 * drop_rate, 0.5 * drop_rate)
        self.backbone = tf_efficientnetv2_m(num_classes=0, in_chans=in_chans, drop_path_rate=drop_path_rate)
        self.cbam = CbamModule(self.num_features, rd_ratio=1 / 16, spatial_kernel_size=7)
        self.projection = nn.Linear(self.num_features, self.EMBEDDING)
        self.attention = nn.MultiheadAttention(self.EMBEDDING, num_heads=8, batch_first=True)
        self.norm = nn.LayerNorm(self.EMBEDDING)
        self.main_head = _dense((self.EMBEDDING, 256, 128), rates)
        self.classifier = _classifier(128, num_classes)
        self.auxiliary_head = _dense((self.EMBEDDING, 256), rates[:2])
        self.auxiliary_classifier = _classifier(256, num_classes)

    def load_backbone(self, state_dict: dict[str, Tensor]) -> None:
        """Start the backbone from the weights of timm's own `tf_efficientnetv2_m`, whose classifier is left out.

        Raises RuntimeError where any other key is missing, unexpected or of another shape.
        """
        self.backbone.load_state_dict({k: v for k, v in state_dict.items() if not k.startswith("classifier.")})

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade a second forward pass of the backbone for its activations' memory."""
        self.backbone.set_grad_checkpointing(enable)

    def forward_features(self, x: Tensor) -> Tensor:
        """The map (B, 1280, height/32, width/32) after CBAM, of normalised images (B, `in_chans`, height, width)."""
        return self.cbam(self.backbone.forward_features(x))

    def forward_intermediates(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """What `forward_features` gives, and the maps of the backbone's stages, in one pass."""
        feature_map, maps = self.backbone.forward_intermediates(x)
        return self.cbam(feature_map), maps

    def _tokens(self, feature_map: Tensor) -> Tensor:
        """One token of 512 for each position: (B, positions, 512)."""
        return self.projection(feature_map.flatten(2).transpose(1, 2))

    def _main_embedding(self, tokens: Tensor) -> Tensor:
        attended, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        return self.main_head(self.norm(tokens + attended).mean(dim=1))

    def embed(self, feature_map: Tensor) -> Tensor:
        """The classifier's input (B, 128)."""
        return self._main_embedding(self._tokens(feature_map))

    def forward_with_auxiliary(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Main and auxiliary logits, each (B, `num_classes`), for a loss that weighs both."""
        tokens = self._tokens(self.forward_features(x))
        main = self.classifier(self._main_embedding(tokens))
        auxiliary = self.auxiliary_classifier(self.auxiliary_head(tokens.mean(dim=1)))
        return main, auxiliary

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the last linear layer of both heads with a fresh one."""
        super().reset_classifier(num_classes)
        self.auxiliary_classifier = _classifier(256, num_classes, self.projection.weight.device)


def _convolution(in_chans: int, out_chans: int) -> list[nn.Module]:
    """3×3 convolution, batch norm and ReLU, keeping height and width."""
    return [
        nn.Conv2d(in_chans, out_chans, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(out_chans),
        nn.ReLU(inplace=True),
    ]


class CNN28(VigilNetwork):
    """A small convolutional network for 28×28 images, sized for the 546 training images of BreastMNIST.

    Three pairs of 3×3 convolutions (32, 64, 128 channels) with batch norm and ReLU, 2×2 max-pooling after the first
    two pairs: the 7×7 map that remains is as coarse as Grad-CAM can bear. Whole channels are dropped between pairs
    (Tompson et al. 2015, arXiv:1411.4280), for neighbouring pixels of such small images carry the same information.
    """

    side = 28

    def __init__(
        self,
        num_classes: int = 2,
        in_chans: int = 1,
        drop_rate: float = 0.5,
        img_size: int | Sequence[int] | None = None,
    ) -> None:
        """`drop_rate` before the classifier; a fifth of it drops channels between the pairs."""
        super().__init__(num_classes, in_chans, num_features=128, head_hidden_size=128, img_size=img_size)
        self.features = nn.Sequential(
            *_convolution(in_chans, 32),
            *_convolution(32, 32),
            nn.MaxPool2d(2),
            nn.Dropout2d(drop_rate / 5),
            *_convolution(32, 64),
            *_convolution(64, 64),
            nn.MaxPool2d(2),
            nn.Dropout2d(drop_rate / 5),
            *_convolution(64, 128),
            *_convolution(128, 128),
        )
        self.dropout = nn.Dropout(drop_rate)
        self.classifier = _classifier(128, num_classes)

    def embed(self, feature_map: Tensor) -> Tensor:
        """The mean (B, 128) of a map (B, 128, 7, 7)."""
        return self.dropout(feature_map.mean(dim=(2, 3)))


class Linear28(VigilNetwork):
    """One linear layer over the normalised pixels of a 28×28 image: scikit-learn's logistic regression as a network.

    Its feature map is the image itself, so pixel times weight is each pixel's share of the logit.
    """

    side = 28

    def __init__(self, num_classes: int = 1, in_chans: int = 1, img_size: int | Sequence[int] | None = None) -> None:
        pixels = in_chans * 28 * 28
        super().__init__(num_classes, in_chans, num_features=in_chans, head_hidden_size=pixels, img_size=img_size)
        self.features = nn.Identity()
        self.classifier = _classifier(pixels, num_classes)

    def embed(self, feature_map: Tensor) -> Tensor:
        """The pixels (B, `in_chans` × 784), row by row, as numpy's `images.reshape(n, -1)` orders them."""
        return feature_map.flatten(1)

    def load_logistic_regression(
        self, coef: ArrayLike, intercept: ArrayLike, mean: ArrayLike = 0.0, scale: ArrayLike = 1.0
    ) -> None:
        """Take over a fitted `LogisticRegression`, so that the logits are its `decision_function`.

        `coef` (`num_classes`, pixels) and `intercept` (`num_classes`,) are its `coef_` and `intercept_`: one row for
        two classes, with the logit of the class of index 1. `mean` and `scale`, each a number or (pixels,), are a
        `StandardScaler`'s `mean_` and `scale_` where one stood between our normalised pixels and the regression: it is
        folded into weights and bias. Raises ValueError where the shapes do not fit this layer.
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


class AttentionCNN96(VigilNetwork):
    """A convolutional network with self-attention for 96×96 images; 494,337 parameters for RGB and one class.

    Three 3×3 convolutions (64, 128, 256; ReLU, 2×2 max-pooling after each) leave a 12×12×256 map, read as 144 tokens by
    one head of scaled dot-product attention (Vaswani et al. 2017, arXiv:1706.03762; width 128, scaled by sqrt(128)),
    whose output goes through a further 128→128; mean over tokens, dense 64 with ReLU, dropout, dense `num_classes`.
    """

    side = 96

    def __init__(
        self,
        num_classes: int = 1,
        in_chans: int = 3,
        drop_rate: float = 0.5,
        img_size: int | Sequence[int] | None = None,
    ) -> None:
        """`drop_rate` before the classifier."""
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
        self.activation = nn.ReLU()  # a module, because guided backpropagation finds modules only
        self.dropout = nn.Dropout(drop_rate)
        self.classifier = _classifier(64, num_classes)

    def embed(self, feature_map: Tensor) -> Tensor:
        """The classifier's input (B, 64) of a map (B, 256, 12, 12)."""
        tokens = feature_map.flatten(2).transpose(1, 2)
        attended = F.scaled_dot_product_attention(self.query(tokens), self.key(tokens), self.value(tokens))
        return self.dropout(self.activation(self.hidden(self.output(attended).mean(dim=1))))


def _cfg(input_size: tuple[int, int, int], num_classes: int, **kwargs: Any) -> dict[str, Any]:
    """timm's description of untrained weights: no source, pixels 0 to 1 normalised to -1 to 1, the whole image."""
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


# register_model looks this name up in the module, so it stands before the entry points.
default_cfgs = generate_default_cfgs(
    {
        "vigil_efficientnetv2_m_cbam": _cfg(
            (3, 224, 224),
            num_classes=7,
            pool_size=(7, 7),
            first_conv="backbone.conv_stem",
            classifier=("classifier", "auxiliary_classifier"),
        ),
        "vigil_cnn28": _cfg(
            (1, 28, 28), num_classes=2, fixed_input_size=True, pool_size=(7, 7), first_conv="features.0"
        ),
        "vigil_linear28": _cfg((1, 28, 28), num_classes=1, fixed_input_size=True, pool_size=(28, 28)),
        "vigil_attention_cnn96": _cfg(
            (3, 96, 96), num_classes=1, fixed_input_size=True, pool_size=(12, 12), first_conv="features.0"
        ),
    }
)


@register_model
def vigil_efficientnetv2_m_cbam(pretrained: bool = False, **kwargs: Any) -> EfficientNetV2MCBAM:
    """EfficientNetV2-M with CBAM, multi-head self-attention and two heads."""
    return build_model_with_cfg(EfficientNetV2MCBAM, "vigil_efficientnetv2_m_cbam", pretrained, **kwargs)


@register_model
def vigil_cnn28(pretrained: bool = False, **kwargs: Any) -> CNN28:
    """Small convolutional network for 28×28 images."""
    return build_model_with_cfg(CNN28, "vigil_cnn28", pretrained, **kwargs)


@register_model
def vigil_linear28(pretrained: bool = False, **kwargs: Any) -> Linear28:
    """Logistic regression over 28×28 pixels."""
    return build_model_with_cfg(Linear28, "vigil_linear28", pretrained, **kwargs)


@register_model
def vigil_attention_cnn96(pretrained: bool = False, **kwargs: Any) -> AttentionCNN96:
    """Convolutional network with self-attention for 96×96 images."""
    return build_model_with_cfg(AttentionCNN96, "vigil_attention_cnn96", pretrained, **kwargs)
