"""The part of a classifier before its head, as one module: images -> their last feature map and the gate's features.

The prediction, Grad-CAM and the gate all use its outputs, so that an image passes the backbone only once.
"""

from torch import Tensor, nn

from src.models.gate import network_features
from src.models.networks import Network


class Backbone(nn.Module):
    """Normalised images (N, channels, side, side) -> the last feature map (N, C, h, w) and `gate.network_features`."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Both outputs from one pass, float32."""
        feature_map, stages = self.network.forward_intermediates(pixels)
        return feature_map, network_features(stages)
