"""A network that learns from the answers of others."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from pydantic import ValidationError
from torch import Tensor, nn

from src.models import checkpoints
from src.models.config import TestTimeAugmentation
from src.models.probabilities import class_logits
from src.models.tta import views
from tests.support import synthetic_checkpoints
from tests.support.tiny_recipe import TINY, recipe_of, run
from train.data import load
from train.training import loop, losses
from train.training import recipe as recipes
from train.training.classifier import Classification
from train.training.teachers import Teachers, WithTeachers

pytestmark = pytest.mark.slow

TAUGHT = {"distillation": {"share": 1.0}}
PRECISION = loop.Precision(torch.device("cpu"), None)


def test_the_loss_by_hand() -> None:
    logits, taught = torch.tensor([[0.0, 0.0], [math.log(3.0), 0.0]]), torch.tensor([[math.log(3.0), 0.0]] * 2)
    expected = (0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)) / 2
    assert losses.distillation_loss(logits, taught, 1.0).item() == pytest.approx(expected, rel=1e-5)


def test_a_temperature_keeps_the_size_of_the_gradients() -> None:
    taught, sizes = torch.tensor([[0.2, -0.1, 0.0]]), []
    for temperature in (1.0, 10.0):
        logits = torch.zeros(1, 3, requires_grad=True)
        losses.distillation_loss(logits, taught, temperature).backward()
        assert logits.grad is not None
        sizes.append(logits.grad.norm().item())
    assert sizes[0] == pytest.approx(sizes[1], rel=0.1)


def test_with_mixup_all_read_the_same_mixed_images() -> None:
    class Reads(nn.Module):
        """Returns the images themselves."""

        def forward(self, pixels: Tensor) -> Tensor:
            return pixels.flatten(1)

    torch.manual_seed(0)
    pixels = torch.randn(6, 3, 4, 4)
    teachers = Teachers([Reads()], [1.0], ["none"])
    read, taught = WithTeachers(Reads(), teachers, 1.0)(pixels)
    torch.testing.assert_close(read, taught)
    originals, mixed = pixels.flatten(1), 0
    for image in read:
        # The point of the line between two originals that is nearest to the image.
        distances = [
            (a.lerp(b, ((image - a) @ (b - a) / (b - a).square().sum().clamp(min=1e-9)).clamp(0, 1)) - image).norm()
            for a in originals
            for b in originals
        ]
        assert min(distances) < 1e-4
        mixed += (originals - image).norm(dim=1).min() > 0.1
    assert mixed >= 3
    torch.testing.assert_close(WithTeachers(Reads(), teachers)(pixels)[0], originals)


def test_mixed_images_have_no_labels_to_learn_from() -> None:
    with pytest.raises(ValidationError, match="share of 1"):
        recipe_of(distillation={"share": 0.5, "mixup": 1.0})


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that reads images as `TINY` does."""
    recipe = recipe_of()
    return synthetic_checkpoints.write(
        tmp_path_factory.mktemp("teacher"), "histopathology", "vigil_attention_cnn96", mean=recipe.mean, std=recipe.std
    )


def test_teachers_answer_with_their_mean_calibrated_logits(teacher: Path, tmp_path: Path) -> None:
    recipe = recipe_of(**TAUGHT)
    other = synthetic_checkpoints.write(
        tmp_path, "histopathology", "vigil_attention_cnn96", seed=1, mean=recipe.mean, std=recipe.std, temperature=0.5
    )
    teachers = Teachers.load(recipe, [teacher, other])
    pixels = torch.linspace(-1, 1, 2 * 3 * 96 * 96).reshape(2, 3, 96, 96)
    logits = []
    for folder, temperature in ((teacher, 1.5), (other, 0.5)):
        network = checkpoints.load("histopathology", folder).network
        logits.append(class_logits(network(pixels)) / temperature)
    assert torch.allclose(teachers(pixels), (logits[0] + logits[1]) / 2, atol=1e-6)
    assert not torch.allclose(logits[0], logits[1], atol=1e-3)


def test_a_teacher_answers_over_all_its_views(tmp_path: Path) -> None:
    pixels = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    answers = {}
    kinds: tuple[TestTimeAugmentation, ...] = ("none", "d4")
    for kind in kinds:
        folder = synthetic_checkpoints.write(
            tmp_path / kind,
            "histopathology",
            "vigil_attention_cnn96",
            mean=recipe_of().mean,
            std=recipe_of().std,
            test_time_augmentation=kind,
        )
        for all_views in (False, True):
            recipe = recipe_of(distillation={"all_views": all_views})
            answers[kind, all_views] = Teachers.load(recipe, [folder])(pixels)
        network = checkpoints.load("histopathology", folder).network
        logits = [class_logits(network(view)) / 1.5 for view in views(pixels, kind)]
        torch.testing.assert_close(answers[kind, True], torch.stack(logits).mean(dim=0))
        torch.testing.assert_close(answers[kind, False], logits[0])
    assert not torch.allclose(answers["d4", True], answers["d4", False], atol=1e-3)


def test_a_network_comes_to_answer_as_its_teacher_does(data: Path, teacher: Path, tmp_path: Path) -> None:
    recipe = recipe_of(**TAUGHT, epochs=30, select_by="last", optimiser={"lr": 3e-3})
    training = [sample for sample in load("histopathology", data) if sample.split == "train"][:16]
    teachers = Teachers.load(recipe, [teacher])
    weights = {name: tensor.clone() for name, tensor in teachers.state_dict().items()}
    losses_seen: list[float] = []

    class Watched(Classification):
        def loss(self, answers: Any, targets: torch.Tensor) -> torch.Tensor:
            # What the labels say must not count.
            loss = super().loss(answers, 1 - targets)
            losses_seen.append(loss.item())
            return loss

        def validate(self, *_: Any) -> dict[str, float]:
            return {}

    loop.run(Watched(recipe, training, teachers=teachers, validates=False), tmp_path, PRECISION, workers=0)
    assert sum(losses_seen[-4:]) < 0.3 * sum(losses_seen[:4])
    assert all(torch.equal(tensor, weights[name]) for name, tensor in teachers.state_dict().items())


def test_a_share_of_the_loss_is_the_labels(data: Path, teacher: Path) -> None:
    training = [sample for sample in load("histopathology", data) if sample.split == "train"][:8]
    answers = torch.tensor([[1.0, -1.0]] * 8), torch.tensor([[0.5, 0.2]] * 8)
    targets, found = torch.tensor([0, 1] * 4), {}
    for share in (0.25, 1.0):
        recipe = recipe_of(distillation={"share": share})
        job = Classification(recipe, training, teachers=Teachers.load(recipe, [teacher]), validates=False)
        found[share] = job.loss(answers, targets).item()
    labels = job.focal(answers[0], targets).item()
    assert found[0.25] == pytest.approx(0.25 * found[1.0] + 0.75 * labels, rel=1e-5)


def test_the_command_names_what_it_lacks(
    data: Path, teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, taught = tmp_path / "plain.yaml", tmp_path / "taught.yaml"
    plain.write_text(yaml.safe_dump(TINY))
    taught.write_text(yaml.safe_dump(TINY | TAUGHT))
    assert run(taught, data, tmp_path / "out") == 1
    assert "needs --teachers" in capsys.readouterr().err
    assert run(plain, data, tmp_path / "out", "--teachers", str(teacher)) == 1
    assert "--teachers must not be given" in capsys.readouterr().err
    assert run(taught, data, tmp_path / "out", "--teachers", str(tmp_path / "nowhere")) == 1
    assert "nowhere" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_teacher_that_reads_other_images_is_refused(teacher: Path) -> None:
    with pytest.raises(recipes.RecipeError, match="other channels, mean or std"):
        Teachers.load(recipe_of(**TAUGHT, mean=(0.5, 0.5, 0.5)), [teacher])


def test_the_command_trains_with_a_teacher(data: Path, teacher: Path, tmp_path: Path) -> None:
    taught = tmp_path / "taught.yaml"
    taught.write_text(yaml.safe_dump(TINY | TAUGHT | {"epochs": 1}))
    assert run(taught, data, tmp_path / "out", "--teachers", str(teacher)) == 0
    assert checkpoints.load("histopathology", tmp_path / "out").config.vigil.name == "Tiny"
