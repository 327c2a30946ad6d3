"""The networks that a checkpoint may name, each registered with timm: import this package, then build one by its name.

One file a network. They know layers and shapes. They know no task, no checkpoint and no training, and they download
nothing: `src.models.checkpoints` builds them and fills in their weights.
"""

from src.models.networks.attention_cnn96 import AttentionCNN96
from src.models.networks.base import Network, VigilNetwork
from src.models.networks.cnn28 import CNN28
from src.models.networks.efficientnet_cbam import EfficientNetV2MCBAM
from src.models.networks.lesion_unet import LesionUNet
from src.models.networks.linear28 import Linear28

__all__ = [
    "CLASSIFIERS",
    "CNN28",
    "SEGMENTERS",
    "AttentionCNN96",
    "EfficientNetV2MCBAM",
    "LesionUNet",
    "Linear28",
    "Network",
    "VigilNetwork",
]

CLASSIFIERS: frozenset[str] = frozenset(
    {
        "convnext_tiny",
        "tf_efficientnetv2_b0",
        "vigil_attention_cnn96",
        "vigil_cnn28",
        "vigil_efficientnetv2_m_cbam",
        "vigil_linear28",
    }
)
"""The networks that classify an image: a checkpoint's config must name one of these, whatever else timm knows."""

SEGMENTERS: frozenset[str] = frozenset({"vigil_lesion_unet"})
"""The networks that give a logit for each pixel: a lesion finder's config must name one of these."""
