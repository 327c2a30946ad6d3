"""Our own networks. Importing this package registers them with timm, which builds them by name.

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
    "CNN28",
    "AttentionCNN96",
    "EfficientNetV2MCBAM",
    "LesionUNet",
    "Linear28",
    "Network",
    "VigilNetwork",
]
