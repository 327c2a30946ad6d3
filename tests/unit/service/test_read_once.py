"""A picture is read once: whatever a visitor does, each picture is decoded once and passes each backbone once."""

import asyncio
import inspect
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian
from torch import Tensor, nn

from src import score
from src.models import checkpoints, engine
from src.models.backbone import Backbone
from src.models.config import LesionFinderConfig
from src.models.engine import forward_of
from src.models.lesion_finder import LesionFinder
from src.models.networks import LesionUNet
from src.models.predictor import Predictor
from src.page import layout
from src.page.endpoints import MODEL_EVENT
from src.pictures import decode, scanned_field
from src.pictures.picture import ImageRefused
from src.service import batch, read_picture
from src.service.model_loading import Models
from src.service.read_picture import AnswerWithheld
from src.service.worker_pool import ThreadWorkerPool
from src.tasks import TASKS
from tests.support import dicom_files, synthetic_checkpoints, synthetic_datasets
from tests.support.small_models import small_models

THRESHOLD = 0.3
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Counting:
    """A forward pass by any engine, which counts its calls in `passes`."""

    passes: ClassVar[Counter[str]] = Counter()

    def __init__(self, module: nn.Module, *arguments: Any) -> None:
        assert isinstance(module, Backbone | LesionUNet)
        self.kind = "pass" if isinstance(module, Backbone) else "lesion"
        self.forward = forward_of(module, *arguments)

    def __call__(self, pixels: Tensor) -> tuple[Tensor, ...]:
        self.passes[self.kind] += 1
        return self.forward(pixels)


@pytest.fixture(scope="module", autouse=True)
def counting() -> Iterator[None]:
    """Every network of this module counts its passes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "forward_of", Counting)
        yield


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, counting: None) -> Models:  # noqa: ARG001 - counts
    return small_models(tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture
def file(tmp_path: Path) -> str:
    pixels = synthetic_datasets.colour(np.random.default_rng(0), 1, 4, 120, 96)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    return str(tmp_path / "picture.png")


@pytest.fixture
def dicom(file: str, tmp_path: Path) -> str:
    """The same image as a DICOM file, of which every report can be made."""
    content = dicom_files.of_image(Image.open(file), "RGB", ExplicitVRLittleEndian, Modality="XC")
    (tmp_path / "picture.dcm").write_bytes(content)
    return str(tmp_path / "picture.dcm")


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts decodes, searches for the scanned field and the lesion, and passes of a backbone, whatever their batch.

    Guided Grad-CAM's backward pass, which PyTorch makes by itself, is not among them.
    """
    counts = Counting.passes
    counts.clear()

    def count(owner: Any, name: str, kind: str) -> None:
        original = getattr(owner, name)

        def counting(*arguments: Any) -> Any:
            counts[kind] += 1
            return original(*arguments)

        monkeypatch.setattr(owner, name, counting)

    count(decode.Film, "picture", "decode")
    count(scanned_field, "find", "field")
    return counts


def once(task: str) -> dict[str, int]:
    return {"decode": 1, "pass": 1, **({"field": 1} if TASKS[task].crop_to_roi else {})}


@pytest.mark.parametrize("explain", ["none", "Grad-CAM", "Guided Grad-CAM"])
@pytest.mark.parametrize("task", TASKS)
def test_an_answer_takes_one_decode_and_one_pass(
    task: str, explain: str, models: Models, file: str, counted: Counter[str]
) -> None:
    read_picture.answer(models, task, file, THRESHOLD, explain)
    assert counted == once(task)
    counted.clear()
    read_picture.answer_in_layers(models, task, file, THRESHOLD, explain)
    assert counted == once(task)


@pytest.mark.parametrize("kind", read_picture.SUFFIXES)
@pytest.mark.parametrize("task", TASKS)
def test_a_report_takes_one_decode_and_one_pass(
    task: str, kind: str, models: Models, dicom: str, counted: Counter[str]
) -> None:
    assert read_picture.report(models, task, dicom, THRESHOLD, "Grad-CAM", kind, NOW)
    assert counted == once(task)


def test_a_dicom_report_on_another_file_is_refused_before_it_is_read(
    models: Models, file: str, counted: Counter[str]
) -> None:
    with pytest.raises(ImageRefused, match="not a DICOM file"):
        read_picture.report(models, "skin", file, THRESHOLD, "Grad-CAM", read_picture.DICOM, NOW)
    assert not counted


@pytest.mark.parametrize("task", TASKS)
def test_robustness_takes_one_decode_and_one_pass(task: str, models: Models, file: str, counted: Counter[str]) -> None:
    found = read_picture.robustness(models, task, file, THRESHOLD, despite_gate=False)
    # Of the scanned field one search for each changed picture, since it may lie elsewhere there.
    fields = {"field": 1 + len(found.views)} if TASKS[task].crop_to_roi else {}
    assert counted == {"decode": 1, "pass": 1, **fields}


def test_a_comparison_takes_one_decode_and_a_pass_of_each_model(
    models: Models, file: str, counted: Counter[str]
) -> None:
    assert len(read_picture.compare_models(models, "breastmnist", file)) == 2
    assert counted == {"decode": 1, "pass": 2}


def test_a_batch_and_score_take_one_decode_and_at_most_one_pass_a_picture(
    models: Models, file: str, counted: Counter[str]
) -> None:
    items = batch.items(models, [(file, "a.png"), (file, "b.png"), (file, "c.png")])
    assert all(row.p_malignant is not None for row in batch.read_items(models, "ultrasound", items, THRESHOLD))
    assert counted == {"decode": 3, "pass": 3, "field": 3}
    counted.clear()
    assert len(list(score.score(models["ultrasound"], [(file, None)] * 3, THRESHOLD))) == 3
    assert counted == {"decode": 3, "pass": 1, "field": 3}


def readers(models: Models) -> list[Callable[..., Any]]:
    """The functions behind page and API that read an uploaded picture, each once, however many events call it."""
    functions = layout.build(ThreadWorkerPool(models)).fns.values()
    found = {one.fn: None for one in functions if one.concurrency_id == MODEL_EVENT["concurrency_id"] and one.fn}
    return [function for function in found if "image" in inspect.signature(function).parameters]


async def end(answer: Any) -> None:
    """Wait for a handler, or for all that a generator of answers yields."""
    if inspect.isasyncgen(answer):
        async for _ in answer:
            pass
    else:
        await answer


def test_every_action_of_page_and_api_reads_a_picture_once(models: Models, dicom: str, counted: Counter[str]) -> None:
    image = {"path": dicom, "orig_name": "a.dcm"}
    given = {"task": "skin", "image": image, "threshold": THRESHOLD, "explain": "Grad-CAM", "code": "", "model": ""}
    passes = []
    for read in readers(models):
        counted.clear()
        asyncio.run(end(read(*(given.get(name.lstrip("_"), "") for name in inspect.signature(read).parameters))))
        assert counted["decode"] == 1, read
        passes.append((read.__name__, counted["pass"]))
    each_tab = ["show", "check_robustness", *["make_report"] * len(read_picture.SUFFIXES)]
    # Two models of BreastMNIST are compared, and one of every other task.
    compared = [("compare_models", 1)] * (len(TASKS) - 1) + [("compare_models", 2)]
    once_each = [(name, 1) for name in [*TASKS, "robustness", *each_tab * len(TASKS)]]
    assert sorted(passes) == sorted(once_each + compared)


def test_a_rejected_picture_is_refused_by_the_same_pass(models: Models, file: str, counted: Counter[str]) -> None:
    gates = {"breastmnist": -1.0, "breastmnist-logistic": 1e9, "skin": 1e9, "histopathology": -1.0, "ultrasound": 1e9}
    gated = {
        name: Predictor(replace(models[name].checkpoint, gate=synthetic_checkpoints.gate(limit)))
        for name, limit in gates.items()
    }
    for withheld in (
        lambda: read_picture.report(gated, "breastmnist", file, THRESHOLD, "none", "pdf", NOW),
        lambda: read_picture.robustness(gated, "breastmnist", file, THRESHOLD, despite_gate=False),
        lambda: read_picture.compare_models(gated, "breastmnist", file),
    ):
        counted.clear()
        with pytest.raises(AnswerWithheld):
            withheld()
        assert counted["decode"] == 1
        assert counted["pass"] <= 2
    assert read_picture.report(gated, "breastmnist", file, THRESHOLD, "none", "pdf", NOW, despite_gate=True)
    assert read_picture.robustness(gated, "breastmnist", file, THRESHOLD)
    assert len(read_picture.compare_models(gated, "breastmnist", file, "breastmnist-logistic")) == 2
    assert len(read_picture.compare_models(gated, "breastmnist", file, despite_gate=True)) == 2
    # Which tab reads such a picture, only the other tasks' networks can say: a pass of each, and no other decode.
    counted.clear()
    result, _ = read_picture.answer(gated, "breastmnist", file, THRESHOLD, "none")
    assert result.gate is not None
    assert result.gate.looks_like in ("skin", "ultrasound")
    assert counted == {"decode": 1, "pass": len(TASKS), "field": 1}


def test_a_lesion_is_searched_once(file: str, counted: Counter[str], models: Models) -> None:
    config = {"side": 32, "mean": 3 * [0.5], "std": 3 * [0.5], "threshold": 0.5, "smallest": 0.0, "margin": 0.25}
    named = {"architecture": "vigil_lesion_unet", "sha256": "0" * 64}
    network = checkpoints.build("vigil_lesion_unet", 1, 3)
    finder = LesionFinder(network, LesionFinderConfig.model_validate(config | named))
    predictor = Predictor(replace(models["ultrasound"].checkpoint, finder=finder))
    read_picture.report({"ultrasound": predictor}, "ultrasound", file, THRESHOLD, "Grad-CAM", "json", NOW)
    assert counted == {"decode": 1, "pass": 1, "field": 1, "lesion": 1}


def test_each_tile_passes_the_backbone_once(models: Models, tmp_path: Path, counted: Counter[str]) -> None:
    pixels = synthetic_datasets.colour(np.random.default_rng(0), 1, 4, 192, 192)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    file = str(tmp_path / "picture.png")
    result, _ = read_picture.answer(models, "histopathology", file, THRESHOLD, "Grad-CAM", "", "", 0.97)
    assert result.parts is not None
    assert result.parts.count == 4
    assert counted == {"decode": 1, "pass": 1}
    counted.clear()
    read_picture.robustness(models, "histopathology", file, THRESHOLD, mpp=0.97)
    assert counted == {"decode": 1, "pass": 2}
    counted.clear()
    (item,) = batch.items(models, [(file, "a.png")])
    (row,) = batch.read_items(models, "histopathology", [item], THRESHOLD, 0.97)
    assert row.p_malignant == pytest.approx(result.p_malignant, abs=1e-5)
    assert "4 tiles" in row.line["quality"]
    assert counted == {"decode": 1, "pass": 1}
