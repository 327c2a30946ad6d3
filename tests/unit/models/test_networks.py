"""src/models/networks: the shapes and parameters of docs/ARCHITECTURE.md, timm's contract and the Hub's format."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from timm.layers import DropPath
from torch import Tensor, nn

from src.models.architectures import CLASSIFIERS, SEGMENTERS
from src.models.networks import AttentionCNN96, EfficientNetV2MCBAM, Linear28

OURS = ("vigil_attention_cnn96", "vigil_cnn28", "vigil_efficientnetv2_m_cbam", "vigil_linear28")
# The largest has 55 million parameters, so that it alone would take most of this file's time.
LARGE = pytest.param("vigil_efficientnetv2_m_cbam", marks=pytest.mark.slow)
OURS_MARKED = [LARGE if name == LARGE.values[0] else name for name in OURS]
FIXED_SIZE = ("vigil_attention_cnn96", "vigil_cnn28", "vigil_linear28")
FEATURE_MAP = {
    "vigil_attention_cnn96": (256, 12, 12),
    "vigil_cnn28": (128, 7, 7),
    "vigil_efficientnetv2_m_cbam": (1280, 2, 2),  # of the 64×64 image that `batch` makes for it
    "vigil_linear28": (1, 28, 28),
}


def create(name: str, **kwargs: Any) -> Any:
    """timm.create_model, whose declared type, nn.Module, would hide the methods under test from mypy."""
    return timm.create_model(name, **kwargs)


@pytest.fixture(scope="module")
def network() -> Callable[[str], Any]:
    """A network in eval mode, built once: whoever changes it must put it back."""
    built: dict[str, Any] = {}

    def get(name: str) -> Any:
        if name not in built:
            torch.manual_seed(0)
            built[name] = create(name)
        return built[name].eval()

    return get


def batch(model: Any, images: int = 2) -> Tensor:
    chans, side, _ = model.pretrained_cfg["input_size"]
    size = side if model.pretrained_cfg["fixed_input_size"] else 64
    return torch.randn(images, chans, size, size, generator=torch.Generator().manual_seed(1))


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_architectures_are_names_timm_can_build() -> None:
    assert set(OURS) < CLASSIFIERS
    assert not CLASSIFIERS & SEGMENTERS
    assert all(timm.is_model(name) for name in CLASSIFIERS | SEGMENTERS)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("vigil_attention_cnn96", 494_337),
        ("vigil_cnn28", 287_138),
        ("vigil_efficientnetv2_m_cbam", 55_069_670),
        ("vigil_linear28", 785),
    ],
)
def test_parameter_count(network: Callable[[str], Any], name: str, count: int) -> None:
    assert parameters(network(name)) == count


def test_attention_cnn96_has_each_layer_as_designed(network: Callable[[str], Any]) -> None:
    model = network("vigil_attention_cnn96")
    assert {name: tuple(weight.shape) for name, weight in model.state_dict().items()} == {
        "features.0.weight": (64, 3, 3, 3),
        "features.0.bias": (64,),
        "features.3.weight": (128, 64, 3, 3),
        "features.3.bias": (128,),
        "features.6.weight": (256, 128, 3, 3),
        "features.6.bias": (256,),
        "query.weight": (128, 256),
        "query.bias": (128,),
        "key.weight": (128, 256),
        "key.bias": (128,),
        "value.weight": (128, 256),
        "value.bias": (128,),
        "output.weight": (128, 128),
        "output.bias": (128,),
        "hidden.weight": (64, 128),
        "hidden.bias": (64,),
        "classifier.weight": (1, 64),
        "classifier.bias": (1,),
    }
    assert model.dropout.p == 0.5


def test_attention_cnn96_is_scaled_dot_product_attention(network: Callable[[str], Any]) -> None:
    model: AttentionCNN96 = network("vigil_attention_cnn96")
    feature_map = torch.randn(2, 256, 12, 12, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        tokens = feature_map.reshape(2, 256, 144).permute(0, 2, 1)
        scores = model.query(tokens) @ model.key(tokens).transpose(1, 2) / 128**0.5
        pooled = model.output(scores.softmax(dim=-1) @ model.value(tokens)).mean(dim=1)
        expected = model.classifier(model.hidden(pooled).clamp(min=0))
        torch.testing.assert_close(model.forward_head(feature_map), expected)


def test_cbam_network_has_both_heads_as_designed(network: Callable[[str], Any]) -> None:
    model: EfficientNetV2MCBAM = network("vigil_efficientnetv2_m_cbam")

    def layers(*modules: nn.Module) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = []
        for layer in nn.Sequential(*modules).modules():
            match layer:
                case nn.Linear():
                    found.append(("linear", layer.in_features, layer.out_features))
                case nn.BatchNorm1d() | nn.GELU():
                    found.append((type(layer).__name__,))
                case nn.Dropout():
                    found.append(("dropout", pytest.approx(layer.p)))
        return found

    between = [("BatchNorm1d",), ("GELU",)]
    main = [("dropout", 0.4), ("linear", 512, 256), *between, ("dropout", 0.3), ("linear", 256, 128), *between]
    assert layers(model.main_head, model.classifier) == [*main, ("dropout", 0.2), ("linear", 128, 7)]
    auxiliary = [("dropout", 0.4), ("linear", 512, 256), *between, ("dropout", 0.3), ("linear", 256, 7)]
    assert layers(model.auxiliary_head, model.auxiliary_classifier) == auxiliary
    assert model.attention.num_heads == 8
    assert model.cbam.channel.fc1.out_channels == 1280 // 16
    assert model.cbam.spatial.conv.conv.kernel_size == (7, 7)


def test_cbam_attention_lies_between_0_and_1(network: Callable[[str], Any]) -> None:
    model = network("vigil_efficientnetv2_m_cbam")
    seen: list[Tensor] = []
    gates = (model.cbam.channel.gate, model.cbam.spatial.gate)
    hooks = [gate.register_forward_hook(lambda _module, _inputs, output: seen.append(output)) for gate in gates]
    feature_map = torch.randn(2, 1280, 2, 2, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        refined = model.cbam(feature_map)
    for hook in hooks:
        hook.remove()
    channel, spatial = seen
    assert channel.shape == (2, 1280, 1, 1)
    assert spatial.shape == (2, 1, 2, 2)
    assert all(((gate > 0) & (gate < 1)).all() for gate in seen)
    torch.testing.assert_close(refined, feature_map * channel * spatial)


@pytest.mark.parametrize("name", OURS)
def test_forward_is_head_of_features(network: Callable[[str], Any], name: str) -> None:
    model = network(name)
    images = batch(model)
    with torch.no_grad():
        feature_map = model.forward_features(images)
        logits = model(images)
        assert feature_map.shape == (2, *FEATURE_MAP[name]) == (2, model.num_features, *FEATURE_MAP[name][1:])
        assert logits.shape == (2, model.num_classes)
        assert torch.equal(logits, model.forward_head(feature_map))
        assert torch.equal(logits, model.get_classifier()(model.forward_head(feature_map, pre_logits=True)))


@pytest.mark.parametrize("name", OURS_MARKED)
def test_an_images_logits_do_not_depend_on_its_batch(network: Callable[[str], Any], name: str) -> None:
    # Untrained, EfficientNetV2's map is of the order of 1e5 in eval mode: float32's rounding alone would show.
    model = deepcopy(network(name)).double()
    images = batch(model).double()
    with torch.no_grad():
        together, alone = model(images), torch.cat([model(image[None]) for image in images])
    torch.testing.assert_close(together, alone)
    assert (together - together[0]).abs().max() > 1e-4  # and they do depend on the image


@pytest.mark.parametrize("name", OURS_MARKED)
def test_training_reaches_every_parameter(network: Callable[[str], Any], name: str) -> None:
    model = deepcopy(network(name)).train()
    for layer in model.modules():
        if isinstance(layer, DropPath):
            layer.drop_prob = 0.0  # else chance may leave a whole block out of a batch this small
    images = batch(model, images=4)  # of two values batch norm makes -1 and 1 whatever they are: no gradient
    if name == "vigil_efficientnetv2_m_cbam":
        main, auxiliary = model.forward_with_auxiliary(images)
        assert main.shape == auxiliary.shape == (4, 7)
        loss = main.square().sum() + auxiliary.square().sum()
    else:
        loss = model(images).square().sum()
    loss.backward()
    gradients = {key: weight.grad for key, weight in model.named_parameters()}
    missed = [key for key, gradient in gradients.items() if gradient is None or not gradient.any()]
    assert missed == []


def test_main_logits_are_the_same_with_and_without_auxiliary(network: Callable[[str], Any]) -> None:
    model: EfficientNetV2MCBAM = network("vigil_efficientnetv2_m_cbam")
    images = batch(model)
    with torch.no_grad():
        torch.testing.assert_close(model.forward_with_auxiliary(images)[0], model(images))


@pytest.mark.parametrize("name", FIXED_SIZE)
@pytest.mark.parametrize("wrong", ["side", "chans"])
def test_wrong_input_is_refused_with_the_right_shape_named(
    network: Callable[[str], Any], name: str, wrong: str
) -> None:
    model = network(name)
    chans, side, _ = model.pretrained_cfg["input_size"]
    shape = (1, chans, side + 4, side + 4) if wrong == "side" else (1, 4 - chans, side, side)
    with pytest.raises(ValueError, match=rf"\(batch, {chans}, {side}, {side}\)"):
        model(torch.zeros(shape))


@pytest.mark.parametrize("name", FIXED_SIZE)
def test_a_network_of_fixed_size_cannot_be_built_for_another(name: str) -> None:
    with pytest.raises(ValueError, match="is made for"):
        create(name, img_size=64)


@pytest.mark.parametrize("name", FIXED_SIZE)
def test_classes_channels_and_reset(name: str) -> None:
    model = create(name, num_classes=5, in_chans=2).eval()
    images = torch.randn(2, 2, *model.pretrained_cfg["input_size"][1:])
    assert model(images).shape == (2, 5)
    model.reset_classifier(num_classes=3)
    assert model(images).shape == (2, model.num_classes) == (2, 3)
    model.reset_classifier(num_classes=0)
    assert model(images).shape == (2, model.head_hidden_size)


def test_reset_replaces_both_heads_of_the_cbam_network() -> None:
    model = create("vigil_efficientnetv2_m_cbam", drop_rate=0.0)
    model.reset_classifier(num_classes=2)
    assert model.get_classifier().weight.shape == (2, 128)
    assert model.auxiliary_classifier.weight.shape == (2, 256)
    assert all(layer.p == 0 for layer in model.modules() if isinstance(layer, nn.Dropout))


def save(model: Any, folder: Path, **pretrained_cfg: Any) -> str:
    """A checkpoint folder as docs/ARCHITECTURE.md has it, `vigil` block and all; returns timm's name for it."""
    save_file(model.state_dict(), folder / "model.safetensors")
    cfg = {key: model.pretrained_cfg[key] for key in ("input_size", "mean", "std", "interpolation", "crop_pct")}
    config = {
        "architecture": model.pretrained_cfg["architecture"],
        "num_classes": model.num_classes,
        "pretrained_cfg": {**cfg, **pretrained_cfg},
        "vigil": {"task": "skin"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return f"local-dir:{folder}"


@pytest.mark.parametrize("name", OURS_MARKED)
def test_hub_format_round_trip(network: Callable[[str], Any], name: str, tmp_path: Path) -> None:
    model = network(name)
    chans = model.in_chans
    address = save(model, tmp_path, mean=[0.25] * chans, std=[0.75] * chans, crop_pct=0.9, label_names=["a", "b"])
    loaded = create(address, pretrained=True).eval()
    images = batch(model)
    with torch.no_grad():
        assert torch.equal(loaded(images), model(images))
    data = timm.data.resolve_model_data_config(loaded)
    assert tuple(data["mean"]) == (0.25,) * chans
    assert tuple(data["std"]) == (0.75,) * chans
    assert data["crop_pct"] == 0.9
    assert tuple(data["input_size"]) == model.pretrained_cfg["input_size"]
    assert loaded.pretrained_cfg["label_names"] == ["a", "b"]


def test_hub_format_is_loaded_strictly(tmp_path: Path) -> None:
    model = create("vigil_cnn28")
    address = save(model, tmp_path)
    weights = model.state_dict()
    weights.pop("features.0.weight")
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(RuntimeError, match=r"features\.0\.weight"):
        create(address, pretrained=True)


def test_timms_own_export_can_be_loaded_again(tmp_path: Path) -> None:
    model = create("vigil_cnn28", num_classes=3, in_chans=2).eval()
    timm.models.save_for_hf(model, str(tmp_path), safe_serialization=True)
    loaded = create(f"local-dir:{tmp_path}", pretrained=True).eval()
    images = torch.randn(2, 2, 28, 28)
    assert torch.equal(loaded(images), model(images))


@pytest.mark.parametrize("standardised", [False, True])
def test_linear28_is_scikit_learns_logistic_regression(standardised: bool) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, size=60)
    images = rng.normal(loc=np.outer(labels, np.linspace(-0.1, 0.3, 784)), scale=np.linspace(0.5, 2, 784))
    images = images.reshape(60, 28, 28)
    pixels = images.reshape(60, -1)
    regression = LogisticRegression(max_iter=200)
    model: Linear28 = create("vigil_linear28").eval()
    if standardised:
        scaler = StandardScaler()
        fitted = make_pipeline(scaler, regression).fit(pixels, labels)
        model.load_logistic_regression(regression.coef_, regression.intercept_, scaler.mean_, scaler.scale_)
    else:
        fitted = regression.fit(pixels, labels)
        model.load_logistic_regression(regression.coef_, regression.intercept_)
    with torch.no_grad():
        logits = model(torch.from_numpy(images).float()[:, None])[:, 0].numpy()
    np.testing.assert_allclose(logits, fitted.decision_function(pixels), atol=1e-4)
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), fitted.predict_proba(pixels)[:, 1], atol=1e-4)


def test_linear28_refuses_coefficients_of_another_shape() -> None:
    model: Linear28 = create("vigil_linear28")
    with pytest.raises(ValueError, match=r"\(1, 784\)"):
        model.load_logistic_regression(np.zeros((1, 100)), np.zeros(1))
    with pytest.raises(ValueError, match="intercept"):
        model.load_logistic_regression(np.zeros((1, 784)), np.zeros(2))
