"""src/models/grad_cam.py: our maps equal those of pytorch-grad-cam and maps computed by hand, and their cost."""

import copy
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import timm.layers
import torch
import torch.nn.functional as F
from pytorch_grad_cam import GradCAM, GuidedBackpropReLUModel
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from src.models import checkpoints, grad_cam
from src.models.architectures import CLASSIFIERS
from src.models.config import TestTimeAugmentation
from src.models.tta import SYMMETRIES
from tests.support import synthetic_checkpoints

# network -> channels, side, the module whose output is the last feature map
LAST: dict[str, tuple[int, int, Callable[[Any], nn.Module]]] = {
    "tf_efficientnetv2_b0": (3, 96, lambda n: n.bn2),
    "convnext_tiny": (3, 96, lambda n: n.stages[-1]),
    "vigil_attention_cnn96": (3, 96, lambda n: n.features[-1]),
    "vigil_cnn28": (1, 28, lambda n: n.features[-1]),
}


# ConvNeXt-Tiny takes most of this file's time.
MARKED = [pytest.param(name, marks=pytest.mark.slow) if name == "convnext_tiny" else name for name in LAST]


def made(name: str, classes: int = 3) -> tuple[Any, Tensor]:
    """A random network without gradients, and a blotchy picture for it."""
    channels, side, _ = LAST[name]
    network = synthetic_checkpoints.network(name, classes, channels, side, seed=3).requires_grad_(False)
    for parameter, values in network.named_parameters():
        if parameter.endswith("gamma"):
            values.fill_(1)  # ConvNeXt's layer scale begins at 1e-6: its blocks, GELU and all, would count for nothing
    blotches = torch.rand(1, channels, 5, 5, generator=torch.Generator().manual_seed(4)) * 4 - 2
    return network, nn.functional.interpolate(blotches, size=(side, side), mode="bilinear")


def target(index: int) -> grad_cam.Target:
    return lambda logits: logits[index]


def features_of(network: Any, pixels: Tensor) -> Tensor:
    with torch.no_grad():
        return network.forward_features(pixels)


def hooks(network: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._backward_hooks) + len(m._forward_pre_hooks) for m in network.modules())


@pytest.mark.parametrize("name", MARKED)
def test_grad_cam_is_the_librarys(name: str) -> None:
    network, pixels = made(name)
    shown = 0
    for index in range(3):
        ours = grad_cam.grad_cam(network, features_of(network, pixels), target(index), pixels.shape[-1])
        with GradCAM(model=network, target_layers=[LAST[name][2](network)]) as cam:
            usual = cam(input_tensor=pixels.clone().requires_grad_(), targets=[ClassifierOutputTarget(index)])[0]
        assert ours.shape == usual.shape
        assert ours.dtype == np.float32
        assert np.abs(ours - usual).max() < 0.02
        assert ours.min() >= 0
        shown += bool(ours.any())
    assert shown >= 2, "empty maps prove nothing"


def test_grad_cam_costs_no_backbone_and_leaves_the_network_alone() -> None:
    network, pixels = made("vigil_cnn28")
    features, before = features_of(network, pixels), copy.deepcopy(network.state_dict())
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    handles = [network.features[0].register_forward_hook(count), network.features[0].register_full_backward_hook(count)]
    grad_cam.grad_cam(network, features, target(0), 28)
    assert calls == 0
    for handle in handles:
        handle.remove()
    assert hooks(network) == 0
    assert not network.training
    assert all(p.grad is None and not p.requires_grad for p in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not features.requires_grad


class Planted(nn.Module):
    """Sixteen-fold pooling of each channel; class k is the mean of channel k, class 2 the negative of all."""

    def forward_features(self, x: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(x, 16)

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        means = features.mean(dim=(2, 3))
        return means if pre_logits else torch.cat([means, -means.sum(dim=1, keepdim=True)], dim=1)

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Linear(1, 1)

    def get_classifier(self) -> nn.Module:
        return self.unused


def test_grad_cam_shows_where_the_evidence_was_planted() -> None:
    network: Any = Planted()
    pixels = torch.zeros(1, 2, 96, 96)
    pixels[0, 0, :16, 64:80] = 1
    pixels[0, 1, 80:, :16] = 2
    for index, (row, column) in enumerate([(8, 72), (88, 8)]):
        values = grad_cam.grad_cam(network, features_of(network, pixels), target(index), 96)
        assert values[row, column] == pytest.approx(1, abs=0.05)
        assert values[max(0, row - 40) : row + 40, max(0, column - 40) : column + 40].sum() == pytest.approx(
            values.sum(), rel=1e-5
        )


def test_map_is_all_zero_where_nothing_argues_for_the_class() -> None:
    network: Any = Planted()
    pixels = torch.rand(1, 2, 96, 96)
    values = grad_cam.grad_cam(network, features_of(network, pixels), target(2), 96)
    assert values.shape == (96, 96)
    assert not values.any()
    blank = grad_cam.grad_cam(network, torch.zeros(1, 2, 6, 6), target(0), 96)
    assert not blank.any()
    assert not grad_cam.guided_grad_cam(_Passing(), pixels, lambda logits: logits.sum(), values).any()


class _Passing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3))


def test_logistic_regressions_map_is_its_pixels_contributions() -> None:
    network: Any = synthetic_checkpoints.network("vigil_linear28", 1, 1, 28).requires_grad_(False)
    pixels = torch.randn(1, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    targets: dict[int, grad_cam.Target] = {1: lambda logits: logits[0], -1: lambda logits: -logits[0]}
    for sign, argued in targets.items():
        values = grad_cam.grad_cam(network, features_of(network, pixels), argued, 28)
        contributions = np.maximum(sign * (network.classifier.weight.view(28, 28) * pixels[0, 0]).numpy(), 0)
        expected = (contributions - contributions.min()) / (contributions.max() - contributions.min())
        np.testing.assert_allclose(values, expected, atol=1e-4)


def test_guided_gradient_of_a_relu_network_is_the_librarys() -> None:
    network, pixels = made("vigil_cnn28")
    ours = grad_cam.guided_gradient(network, pixels, target(1))
    # The library swaps the activations of the network it is given.
    theirs = GuidedBackpropReLUModel(copy.deepcopy(network), device="cpu")(pixels.clone(), target_category=1)
    np.testing.assert_allclose(ours[0].numpy().transpose(1, 2, 0), theirs.reshape(28, 28, 1), rtol=1e-3, atol=1e-6)
    assert ours.any()


class Called(nn.Module):
    """An activation that is no module of its own but called, as some of timm's blocks do."""

    def __init__(self, function: Callable[..., Tensor], **named: Any) -> None:
        super().__init__()
        self.function, self.named = function, named

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, **self.named)


@pytest.mark.parametrize(
    "activation",
    [
        *(nn.ReLU(), nn.ReLU(inplace=True), nn.GELU(), nn.GELU(approximate="tanh"), nn.SiLU(), nn.SiLU(inplace=True)),
        *(timm.layers.GELU(), timm.layers.create_act_layer("silu", inplace=True), timm.layers.create_act_layer("relu")),
        *(Called(F.relu), Called(F.relu, inplace=True), Called(torch.relu), Called(Tensor.relu)),
        *(Called(F.gelu), Called(F.gelu, approximate="tanh"), Called(F.silu), Called(F.silu, inplace=True)),
    ],
    ids=lambda activation: (
        f"{type(activation).__module__}-{getattr(activation, 'function', type(activation)).__name__}"
    ),
)
def test_guided_activation_lets_positive_gradients_of_positive_inputs_pass(activation: nn.Module) -> None:
    x = torch.tensor([-2.0, -0.5, 0.5, 2.0, 0.5, 2.0], requires_grad=True)
    upstream = torch.tensor([1.0, 1.0, 1.0, 2.0, -1.0, -3.0])
    with grad_cam.GuidedBackpropagation() as guided:
        answer = activation(x)
    assert guided.met == 1
    (gradient,) = torch.autograd.grad(answer, x, upstream)
    plain = x.detach().clone().requires_grad_()
    (derivative,) = torch.autograd.grad(activation(plain.clone()).sum(), plain)
    assert torch.allclose(gradient, torch.where((x > 0) & (upstream > 0), upstream * derivative, 0.0))
    assert torch.equal(x.detach(), torch.tensor([-2.0, -0.5, 0.5, 2.0, 0.5, 2.0]))
    assert torch.equal(answer, activation(x.detach().clone()))


@pytest.mark.parametrize(
    "activation", [nn.Hardswish(), nn.ReLU6(), nn.LeakyReLU(), nn.Mish(), nn.ELU(), nn.PReLU(), Called(torch.relu_)]
)
def test_an_activation_that_would_be_missed_is_refused(activation: nn.Module) -> None:
    with pytest.raises(NotImplementedError, match="guided backpropagation"), grad_cam.GuidedBackpropagation():
        activation(torch.ones(2))


@pytest.mark.parametrize("name", sorted(CLASSIFIERS))
def test_every_activation_of_every_network_is_met_once(name: str) -> None:
    channels = 1 if name.endswith("28") else 3
    side = {"vigil_cnn28": 28, "vigil_linear28": 28, "vigil_attention_cnn96": 96}.get(name, 64)
    network = checkpoints.build(name, 2, channels).eval()
    activations = [m for m in network.modules() if type(m).__name__ in ("ReLU", "GELU", "SiLU")]
    used = set()
    for activation in activations:
        activation.register_forward_hook(lambda module, *_: used.add(module))
    with torch.no_grad(), grad_cam.GuidedBackpropagation() as guided:
        network(torch.randn(1, channels, side, side))
    # CBAM calls its one ReLU for the average and for the maximum; the auxiliary head is not asked.
    twice = name == "vigil_efficientnetv2_m_cbam"
    assert guided.met == len(used) + twice
    assert len(activations) == len(used) + twice
    assert bool(used) == (name != "vigil_linear28")


@pytest.mark.parametrize("name", MARKED)
def test_guided_network_computes_the_same_and_is_left_alone(name: str) -> None:
    network, pixels = made(name)
    kinds = [type(module) for module in network.modules()]
    with torch.no_grad():
        answer = network(pixels)
        with grad_cam.GuidedBackpropagation():
            assert torch.equal(network(pixels), answer)
    cam = grad_cam.grad_cam(network, features_of(network, pixels), target(0), pixels.shape[-1])
    values = grad_cam.guided_grad_cam(network, pixels, target(0), cam)
    assert values.shape == cam.shape
    assert values.dtype == np.float32
    assert (values.min(), values.max()) == (0, 1)
    assert not values[cam == 0].any()
    leaf = pixels.clone().requires_grad_()
    (plain,) = torch.autograd.grad(network(leaf)[0, 0], leaf)
    assert not torch.allclose(grad_cam.guided_gradient(network, pixels, target(0)), plain, rtol=0.1)
    assert [type(module) for module in network.modules()] == kinds
    assert hooks(network) == 0
    with torch.no_grad():
        assert torch.equal(network(pixels), answer)


# Where logits are averaged over views, the average decides, and it is what the map explains.


@pytest.mark.parametrize("kind", SYMMETRIES)
def test_symmetries_can_be_undone(kind: TestTimeAugmentation) -> None:
    picture = torch.arange(18.0).reshape(1, 2, 3, 3)
    assert all(torch.equal(one.undone(one.of(picture)), picture) for one in SYMMETRIES[kind])


@pytest.mark.parametrize("kind", ["flips", "d4"])
def test_averaged_logits_are_explained_and_not_the_first_views(kind: TestTimeAugmentation) -> None:
    network, pixels = made("vigil_attention_cnn96")
    symmetries = SYMMETRIES[kind]

    def maps(x: Tensor) -> tuple[np.ndarray, np.ndarray]:
        features = features_of(network, torch.cat([symmetry.of(x) for symmetry in symmetries]))
        cam = grad_cam.grad_cam(network, features, target(1), 96, symmetries)
        return cam, grad_cam.guided_grad_cam(network, x, target(1), cam, symmetries)

    cam, guided = maps(pixels)
    # The gradient of the averaged logit: by hand, each view's own, turned back.
    raw = []
    for symmetry in symmetries:
        features = features_of(network, symmetry.of(pixels)).requires_grad_()
        (gradient,) = torch.autograd.grad(network.forward_head(features)[0, 1], features)
        each = (gradient.mean(dim=(2, 3), keepdim=True) * features).sum(dim=1, keepdim=True)
        raw.append(symmetry.undone(each.detach()))
    expected = nn.functional.interpolate(torch.cat(raw).mean(0, keepdim=True).relu(), (96, 96), mode="bilinear")[0, 0]
    expected = (expected - expected.min()) / (expected.max() - expected.min())
    np.testing.assert_allclose(cam, expected, atol=0.05)
    alone = grad_cam.grad_cam(network, features_of(network, pixels), target(1), 96)
    assert np.abs(cam - alone).max() > 0.1
    # The average is the same for a picture and its mirror image, so the map is mirrored and no other.
    mirrored_cam, mirrored_guided = maps(pixels.flip(3))
    np.testing.assert_allclose(mirrored_cam[:, ::-1], cam, atol=1e-3)
    np.testing.assert_allclose(mirrored_guided[:, ::-1], guided, atol=1e-2)


@pytest.mark.slow
def test_app_starts_without_scikit_learn() -> None:
    code = "import sys, src.score; print({'sklearn', 'albumentations', 'pytorch_grad_cam'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
