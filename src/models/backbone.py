"""The part of a classifier before its head, as one module: an image -> its last feature map and the gate's statistics.

The prediction, Grad-CAM and the gate all start from its outputs, so that an image goes through the backbone once.
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
        """Both from one pass, float32."""
        feature_map, stages = self.network.forward_intermediates(pixels)
        return feature_map, network_features(stages)
