"""Predictor, `score` and plain timm give the golden probabilities of every embedded checkpoint, which train.release
writes into config.json."""

import copy
import csv
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
from PIL import Image

from src import score
from src.models import checkpoints, engine_choice
from src.models.config import member_file
from src.models.predictor import Predictor
from src.models.probabilities import class_logits
from src.models.tta import views
from src.pictures import scanned_field
from src.tasks import TASKS
from tests.hub import Hub
from tests.support.app import ROOT
from tests.support.golden_values import CLOSE, as_files, golden, malignant, pictures, task_of
from train import card

pytestmark = pytest.mark.slow

RELEASED = card.released()


each_engine = pytest.mark.parametrize("name", ["openvino", "torch"])


@each_engine
@pytest.mark.parametrize("folder", RELEASED, ids=lambda folder: folder.name)
def test_every_example_has_a_golden_value_and_each_engine_gives_it(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(engine_choice.VARIABLE, name)
    predictor = Predictor(checkpoints.load(task_of(folder), folder))
    expected = golden(folder)
    drawn = [picture.name for picture in pictures(predictor.task.name)]
    assert list(expected) == drawn, f"run python -m train.release {folder}"
    for picture in pictures(predictor.task.name):
        assert sum(expected[picture.name]) == pytest.approx(1, abs=1e-5)
        assert predictor.predict(picture).probabilities == pytest.approx(expected[picture.name], abs=CLOSE)


@each_engine
@pytest.mark.parametrize("folder", RELEASED, ids=lambda folder: folder.name)
def test_score_gives_the_golden_values(
    folder: Path, name: str, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(engine_choice.VARIABLE, name)
    task, out, repo = task_of(folder), tmp_path / "scores.csv", f"owner/vigil-{folder.name}"
    # A task's default without asking, its further models from the Hub.
    commit = hub.put(repo, as_files(folder)).oid
    chosen = [] if folder.name == task else ["--weights", f"{repo}@{commit}"]
    assert score.main([task, str(ROOT / "examples" / task), *chosen, "--csv", str(out)]) == 0
    with out.open(newline="") as lines:
        found = {Path(row["path"]).name: row for row in csv.DictReader(lines)}
    expected = golden(folder)
    assert found.keys() == expected.keys()
    for picture, probabilities in expected.items():
        assert float(found[picture]["p_malignant"]) == pytest.approx(malignant(task, probabilities), abs=CLOSE)
        for code, p in zip(TASKS[task].codes, probabilities, strict=True):
            assert float(found[picture][f"p_{code}"]) == pytest.approx(p, abs=CLOSE)


@pytest.mark.parametrize("folder", RELEASED, ids=lambda folder: folder.name)
def test_bare_timm_gives_the_same_logits_from_the_hub(folder: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of Vigil but its networks (src.models.networks, imported above) and, for ultrasound, its crops.

    The predictor runs in OpenVINO. The first test compares both engines with the same values.
    """
    monkeypatch.setenv(engine_choice.VARIABLE, "openvino")
    repo = f"owner/vigil-{folder.name}"
    hub.put(repo, as_files(folder))
    model = timm.create_model(f"hf-hub:{repo}", pretrained=True).eval()
    settings = timm.data.resolve_model_data_config(model)
    transform = timm.data.create_transform(**settings)
    predictor = Predictor(checkpoints.load(task_of(folder), folder))
    vigil = predictor.checkpoint.config.vigil
    averaged = vigil.test_time_augmentation
    members = []
    for number in range(1, 1 + len(vigil.members)):
        other = copy.deepcopy(model)
        other.load_state_dict(safetensors.torch.load_file(folder / member_file(number)))
        members.append(other)
    for path in pictures(predictor.task.name):
        with Image.open(path) as opened:
            picture = opened.convert("L" if settings["input_size"][0] == 1 else "RGB")
        prediction = predictor.predict(path)
        own = picture.crop(prediction.box) if predictor.task.crop_to_roi else picture

        def answer(network: Any, part: Image.Image) -> torch.Tensor:
            with torch.no_grad():
                pixels = views(transform(part)[None], averaged)
                return torch.stack([class_logits(network(one)) for one in pixels]).mean(dim=0)[0]

        each = [answer(model, own)]
        for network, member in zip(members, vigil.members, strict=True):
            part = own if member.reads == "lesion" else scanned_field.crop(picture, predictor.task).image
            each.append(answer(network, part) / member.temperature)
        logits = torch.stack(each).mean(dim=0)
        assert logits.tolist() == pytest.approx(prediction.logits, abs=1e-4)
        # A single logit is that of the second class, as the card says.
        calibrated = torch.softmax(logits / vigil.temperature, dim=0)
        assert calibrated.tolist() == pytest.approx(golden(folder)[path.name], abs=CLOSE)
