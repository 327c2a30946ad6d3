"""EfficientNetV2-M with attention on its last feature map and two heads."""

from collections.abc import Sequence
from typing import Any, ClassVar

from timm.layers.cbam import CbamModule
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.efficientnet import tf_efficientnetv2_m
from torch import Tensor, nn

from src.models.networks.base import VigilNetwork, linear_classifier, untrained_cfg

NAME = "vigil_efficientnetv2_m_cbam"


def _dense(widths: Sequence[int], drop_rates: Sequence[float]) -> nn.Sequential:
    """Dropout, linear layer, batch norm and GELU from each width to the next, then dropout. One rate per width."""
    layers: list[nn.Module] = []
    for width, following, rate in zip(widths[:-1], widths[1:], drop_rates[:-1], strict=True):
        layers += [nn.Dropout(rate), nn.Linear(width, following, bias=False), nn.BatchNorm1d(following), nn.GELU()]
    return nn.Sequential(*layers, nn.Dropout(drop_rates[-1]))


class EfficientNetV2MCBAM(VigilNetwork):
    """EfficientNetV2-M (Tan and Le 2021, arXiv:2104.00298) with attention on its last map and two heads.

    CBAM refines the 1280-channel map (Woo et al. 2018, arXiv:1807.06521: channel attention from average and maximum
    through one shared MLP of reduction 16, then spatial attention by a 7×7 convolution). Its positions become tokens
    of 512. Multi-head self-attention with residual and layer norm relates them (Vaswani et al. 2017,
    arXiv:1706.03762). The mean over the tokens goes through the main head, 512→256→128→classes.

    The auxiliary head, 512→256→classes, reads the mean of the tokens before the self-attention, so that backbone and
    CBAM have a short path to the loss (deep supervision: Lee et al. 2015, arXiv:1409.5185). `forward` returns the main
    logits alone, in training too: test-time augmentation, Grad-CAM and the Hub need one type of output. A training
    step that wants both calls `forward_with_auxiliary`.

    Both heads have batch norm, so a training batch needs at least two images.
    """

    EMBEDDING: ClassVar[int] = 512

    def __init__(
        self, num_classes: int = 7, in_chans: int = 3, drop_rate: float = 0.4, drop_path_rate: float = 0.2
    ) -> None:
        """`drop_rate`: the dropout before the first linear layer of each head. It is three quarters of that before the
        second layer and half of it before the third. `drop_path_rate`: stochastic depth in the backbone."""
        super().__init__(num_classes, in_chans, num_features=1280, head_hidden_size=128)
        rates = (drop_rate, 0.75 * drop_rate, 0.5 * drop_rate)
        self.backbone = tf_efficientnetv2_m(num_classes=0, in_chans=in_chans, drop_path_rate=drop_path_rate)
        self.cbam = CbamModule(self.num_features, rd_ratio=1 / 16, spatial_kernel_size=7)
        self.projection = nn.Linear(self.num_features, self.EMBEDDING)
        self.attention = nn.MultiheadAttention(self.EMBEDDING, num_heads=8, batch_first=True)
        self.norm = nn.LayerNorm(self.EMBEDDING)
        self.main_head = _dense((self.EMBEDDING, 256, 128), rates)
        self.classifier = linear_classifier(128, num_classes)
        self.auxiliary_head = _dense((self.EMBEDDING, 256), rates[:2])
        self.auxiliary_classifier = linear_classifier(256, num_classes)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Save the memory of the backbone's activations by computing its forward pass twice."""
        self.backbone.set_grad_checkpointing(enable)

    def forward_features(self, x: Tensor) -> Tensor:
        """The map (B, 1280, height/32, width/32) after CBAM, of normalised images (B, `in_chans`, height, width)."""
        return self.cbam(self.backbone.forward_features(x))

    def forward_intermediates(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The map after CBAM, and the maps of the backbone's stages, from one pass."""
        feature_map, maps = self.backbone.forward_intermediates(x)
        return self.cbam(feature_map), maps

    def _tokens(self, feature_map: Tensor) -> Tensor:
        """The tokens (B, positions, 512), one per position."""
        return self.projection(feature_map.flatten(2).transpose(1, 2))

    def _main_embedding(self, tokens: Tensor) -> Tensor:
        attended, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        return self.main_head(self.norm(tokens + attended).mean(dim=1))

    def embed(self, feature_map: Tensor) -> Tensor:
        """The classifier's input (B, 128)."""
        return self._main_embedding(self._tokens(feature_map))

    def forward_with_auxiliary(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The main and the auxiliary logits, each (B, `num_classes`), for a loss that weights both."""
        tokens = self._tokens(self.forward_features(x))
        main = self.classifier(self._main_embedding(tokens))
        auxiliary = self.auxiliary_classifier(self.auxiliary_head(tokens.mean(dim=1)))
        return main, auxiliary

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the last linear layer of both heads with a fresh one."""
        super().reset_classifier(num_classes)
        self.auxiliary_classifier = linear_classifier(256, num_classes, self.projection.weight.device)


default_cfgs = generate_default_cfgs(
    {
        NAME: untrained_cfg(
            (3, 224, 224),
            num_classes=7,
            pool_size=(7, 7),
            first_conv="backbone.conv_stem",
            classifier=("classifier", "auxiliary_classifier"),
        )
    }
)


@register_model
def vigil_efficientnetv2_m_cbam(pretrained: bool = False, **kwargs: Any) -> EfficientNetV2MCBAM:
    """EfficientNetV2-M with CBAM, multi-head self-attention and two heads."""
    return build_model_with_cfg(EfficientNetV2MCBAM, NAME, pretrained, **kwargs)
