"""The networks that a checkpoint may use. Importing this package registers them with timm, which builds them by name.

There is one file per network. The networks know layers and shapes, but no task, checkpoint or training, and they
download nothing. `src.models.checkpoints` builds them and loads their weights.
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
"""The networks that classify an image. A checkpoint's config must name one of these, even if timm knows others."""

SEGMENTERS: frozenset[str] = frozenset({"vigil_lesion_unet"})
"""The networks that give a logit per pixel. A lesion finder's config must name one of these."""
