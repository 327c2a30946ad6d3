"""src/models/gate.py: its features, its files, and its verdict in page, API and `score`."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from src import score
from src.models import architectures, checkpoints, gate
from src.models.checkpoints import CheckpointError
from src.models.config import GATE_FILE
from src.models.gate import Gate
from src.models.prediction import Prediction, Verdict
from src.models.predictor import Predictor
from src.pictures.picture import ImageRefused, Picture
from src.results import gate_sentences
from src.service import read_picture
from src.service.other_tasks import accepting_task
from src.tasks import TASKS
from tests.hub import Hub
from tests.support import synthetic_checkpoints, synthetic_datasets
from tests.support.gated_checkpoints import MODELS, gate_of, pictures, verdict


@pytest.mark.parametrize("name", sorted(architectures.CLASSIFIERS))
def test_the_stages_are_had_in_the_pass_that_gives_the_answer(name: str) -> None:
    channels, side = synthetic_checkpoints.INPUT.get(name, (3, 96))
    network = checkpoints.build(name, 2, channels).eval()
    x = torch.rand(2, channels, side, side)
    with torch.no_grad():
        feature_map, stages = network.forward_intermediates(x)
        torch.testing.assert_close(feature_map, network.forward_features(x), rtol=0, atol=0)
        described = gate.network_features(stages)
        alone = gate.network_features(network.forward_intermediates(x[1:])[1])
    assert (len(stages) == 0) == (name == "vigil_linear28")
    if stages:
        assert described.shape == (2, 2 * sum(stage.shape[1] for stage in stages))
        torch.testing.assert_close(described[:1, : stages[0].shape[1]], stages[0][:1].mean(dim=(2, 3)))
        # Deeper maps of a random network are too large to compare.
        first = 2 * sum(stage.shape[1] for stage in stages[: gate.STAGES])
        torch.testing.assert_close(alone[:, :first], described[1:, :first], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("size", [(28, 28), (640, 480), (40, 4000)])
@pytest.mark.parametrize("task", TASKS)
def test_statistics_of_any_picture_are_finite_and_keep_their_size(task: str, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    images = [noise, Image.new("RGB", size), Image.new("RGB", size, "white")]
    found = gate.picture_features(images, TASKS[task], 28)
    assert found.shape == (3, gate.PICTURE_FEATURES)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[:1], gate.picture_features(images[:1], TASKS[task], 28), rtol=1e-4, atol=1e-4)


def test_a_large_picture_has_the_statistics_of_its_small_copy() -> None:
    small = Image.fromarray(synthetic_datasets.colour(np.random.default_rng(0), 1, 3, 64, 64))
    large = small.resize((512, 512), Image.Resampling.BICUBIC)
    ours, theirs = (gate.picture_features([image], TASKS["skin"], 224)[0] for image in (small, large))
    np.testing.assert_allclose(ours[:17], theirs[:17], atol=0.02)
    assert not gate.picture_features([small.convert("L").convert("RGB")], TASKS["skin"], 224)[0, :8].any()


def test_a_display_that_tints_a_grey_picture_changes_little() -> None:
    grey = np.repeat(synthetic_datasets.grey(np.random.default_rng(0), 1, 3, 64, 64)[..., None], 3, axis=2) * 0.8
    tinted = grey * (0.85, 1.0, 1.15)
    for name, most in (("breastmnist", 0.02), ("ultrasound", 0.02), ("skin", 1.0)):
        ours, theirs = (
            gate.picture_features([Image.fromarray(pixels.astype(np.uint8))], TASKS[name], 28)[0]
            for pixels in (grey, tinted)
        )
        assert np.abs(ours - theirs)[:8].max() < most
    assert np.abs(ours - theirs)[:8].max() > 0.1  # of skin, whose colour says something


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_own_pictures_are_accepted_and_other_tasks_refused(
    name: str, gated_models: dict[str, Predictor], gate_data: Path, gated_folders: dict[str, Path]
) -> None:
    predictor = gated_models[name]
    assert (gated_folders[name] / GATE_FILE).stat().st_size < 2 * 2**20
    if gate_of(predictor).head is None:
        assert ("network" in gate_of(predictor).config.gaussians) == (name != "breastmnist-logistic")
    own = [verdict(predictor, picture).accepted for picture in pictures(predictor.task.name, gate_data, "validation")]
    assert np.mean(own) >= 0.9
    for other in ("skin", "histopathology") if predictor.task.colour == "grey" else ("breastmnist",):
        assert not any(verdict(predictor, picture).accepted for picture in pictures(other, gate_data, "test")[:8])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["breastmnist", "breastmnist-logistic"])
def test_many_pictures_get_the_verdicts_of_single_ones(
    name: str, gated_models: dict[str, Predictor], gate_data: Path
) -> None:
    several = [*pictures("breastmnist", gate_data, "test")[:3], *pictures("skin", gate_data, "test")[:3]]
    together = list(gated_models[name].predict_many([several[0], b"no picture", *several[1:]]))
    assert isinstance(together.pop(1), ImageRefused)
    for picture, answer in zip(several, together, strict=True):
        alone = verdict(gated_models[name], picture)
        assert isinstance(answer, Prediction)
        assert answer.gate is not None
        assert answer.gate.score == pytest.approx(alone.score, abs=1e-3)
        assert answer.gate.limit == alone.limit
        assert answer.warnings == gated_models[name].predict(picture).warnings


@pytest.mark.slow
def test_the_answer_is_the_same_with_and_without_a_gate(
    gated_folders: dict[str, Path], gated_models: dict[str, Predictor], gate_data: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(gated_folders["skin"], bare)
    config = json.loads((bare / "config.json").read_text(encoding="utf-8"))
    del config["vigil"]["gate"]
    synthetic_checkpoints.rewrite(bare / "config.json", config)
    (bare / GATE_FILE).unlink()
    picture = pictures("skin", gate_data, "test")[0]
    without = Predictor(checkpoints.load("skin", bare)).predict(picture)
    with_gate = gated_models["skin"].predict(picture)
    assert without.gate is None
    assert with_gate.gate is not None
    assert without.probabilities == with_gate.probabilities


def stored(picture: Picture, folder: Path) -> str:
    picture.image.save(folder / "picture.png")
    return str(folder / "picture.png")


@pytest.mark.slow
def test_a_picture_of_another_task_is_sent_to_its_tab(
    gated_models: dict[str, Predictor], gate_data: Path, tmp_path: Path
) -> None:
    # Not just any image, because one that the gate only just accepts may be rejected on another processor.
    surest = min(pictures("skin", gate_data, "test"), key=lambda picture: verdict(gated_models["skin"], picture).score)
    file = stored(surest, tmp_path)
    answer, _ = read_picture.answer(gated_models, "histopathology", file, 0.3, "none")
    result = answer.model_dump(mode="json")
    said = gate_sentences.sentence(TASKS["histopathology"], "skin")
    assert TASKS["skin"].title in said
    assert result["gate"] == {
        "accepted": False,
        "sentence": said,
        "looks_like": "skin",
        "score": pytest.approx(verdict(gated_models["histopathology"], file).score),
        "limit": gate_of(gated_models["histopathology"]).config.limit,
        "unlike": False,
    }
    assert result["quality"][0] == said
    assert sum("look like" in line for line in result["quality"]) == 1
    assert 0 <= result["p_malignant"] <= 1
    json.dumps(result, allow_nan=False)
    # `score` has one model at hand: it says that much.
    row = next(score.score(gated_models["histopathology"], [(file, None)], 0.3))
    assert row["quality"].startswith(gate_sentences.sentence(TASKS["histopathology"]))


@pytest.mark.slow
def test_an_own_picture_is_only_said_to_be_accepted(
    gated_models: dict[str, Predictor], gate_data: Path, tmp_path: Path
) -> None:
    accepted = [p for p in pictures("skin", gate_data, "validation") if verdict(gated_models["skin"], p).accepted]
    result, _ = read_picture.answer(gated_models, "skin", stored(accepted[0], tmp_path), 0.3, "none")
    assert result.gate is not None
    assert result.gate.accepted
    assert result.gate.sentence is result.gate.looks_like is None
    assert not any("look like" in line for line in result.quality)


@pytest.mark.slow
def test_only_other_tasks_defaults_are_asked_and_the_surest_is_named(
    gated_models: dict[str, Predictor], gate_data: Path
) -> None:
    picture = pictures("skin", gate_data, "test")[0]
    asked: list[str] = []

    class Said:
        def __init__(self, name: str, score: float) -> None:
            self.name, self.score = name, score

        def predict(self, given: Picture) -> Prediction:
            assert given.image is picture.image
            asked.append(self.name)
            return replace(gated_models["skin"].predict(picture), gate=Verdict(self.score, 1.0))

    every = {"skin": 0.1, "ultrasound": 0.8, "breastmnist": 0.2, "breastmnist-logistic": 0.1, "histopathology": 0.9}
    said: Any = {name: Said(name, value) for name, value in every.items()}
    assert accepting_task(said, picture, TASKS["skin"]) == "ultrasound"  # breastmnist has the same look
    assert set(asked) <= {"ultrasound", "breastmnist", "histopathology"}
    said["ultrasound"].score = 1.1
    assert accepting_task(said, picture, TASKS["skin"]) == "breastmnist"
    said["breastmnist"].score = said["histopathology"].score = 1.1
    assert accepting_task(said, picture, TASKS["skin"]) is None
    assert accepting_task({"skin": said["skin"]}, picture, TASKS["skin"]) is None


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("other", [None, *TASKS])
def test_the_sentence_is_one_line(task: str, other: str | None) -> None:
    said = gate_sentences.sentence(TASKS[task], other)
    assert said.startswith("This does not look like")
    assert said.endswith(".")
    assert (other is None) or TASKS[other].title in said
    warnings = gate_sentences.gate_warnings
    assert warnings(Verdict(2.0, 1.0), TASKS[task], other) == (said,)
    assert warnings(Verdict(2.0, 1.0, 0.5), TASKS[task], other) == (said,)
    assert warnings(Verdict(0.9, 1.0, 0.5), TASKS[task]) == (gate_sentences.unlike_sentence(TASKS[task]),)
    assert warnings(Verdict(1.0, 1.0), TASKS[task]) == warnings(None, TASKS[task]) == ()
    assert gate_sentences.gate_result(None, TASKS[task]) is None


def broken_block(config: Any, **fields: object) -> None:
    config["vigil"]["gate"]["picture"] |= fields


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder, _: (folder / GATE_FILE).unlink(), "missing"),
        (lambda folder, _: (folder / GATE_FILE).write_bytes(b"something else"), "sha256"),
        (lambda _, config: broken_block(config, features=7), "fit"),
        (lambda _, config: broken_block(config, spread=0), "spread"),
        (lambda _, config: config["vigil"]["gate"].update(limit=None), "limit"),
    ],
)
def test_a_damaged_gate_is_refused(
    damage: Callable[[Path, Any], object], said: str, gated_folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "breastmnist"
    shutil.copytree(gated_folders["breastmnist"], folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    damage(folder, config)
    synthetic_checkpoints.rewrite(folder / "config.json", config)
    with pytest.raises(CheckpointError, match=said):
        checkpoints.load("breastmnist", folder)


@pytest.mark.slow
def test_a_gate_of_another_network_or_without_variance_is_refused(gated_models: dict[str, Predictor]) -> None:
    sound = gate_of(gated_models["breastmnist"])
    network = gated_models["breastmnist"].checkpoint.network
    assert sound.fits(network, (1, 28, 28))
    assert not sound.fits(gated_models["breastmnist-logistic"].checkpoint.network, (1, 28, 28))
    flat = Gate(sound.config)
    flat.load_state_dict({name: 0 * t if name.endswith("rest") else t for name, t in sound.state_dict().items()})
    assert not flat.fits(network, (1, 28, 28))


@pytest.mark.slow
def test_the_hub_carries_the_gate(hub: Hub, gated_folders: dict[str, Path]) -> None:
    folder = gated_folders["breastmnist"]
    files = checkpoints.load("breastmnist", folder).config.files
    assert GATE_FILE in files
    hub.put("owner/vigil-breastmnist", {name: (folder / name).read_bytes() for name in files})
    pulled = checkpoints.load("breastmnist", "owner/vigil-breastmnist")
    assert pulled.gate is not None
    assert pulled.config.vigil.gate == pulled.gate.config == checkpoints.load("breastmnist", folder).config.vigil.gate
