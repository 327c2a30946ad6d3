"""The gate: its distance, its fit and its limit, and its verdict in page, API and `score`.

Made-up sets stand for the tasks: each has its own colour and size, so that gates of random networks tell them apart.
"""

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
from scipy.spatial.distance import mahalanobis

from src import score
from src.models import checkpoints, gate, networks
from src.models.checkpoints import CheckpointError
from src.models.config import GATE_FILE
from src.models.gate import Gate, Gaussian, Verdict
from src.models.prediction import Prediction
from src.models.predictor import Predictor
from src.pictures.picture import ImageRefused, Picture
from src.results import gate_sentences
from src.service import read_picture
from src.service.other_tasks import accepting_task
from src.tasks import TASKS
from tests.hub import Hub
from tests.support import synthetic_checkpoints, synthetic_datasets
from train import gate as fitting
from train import gate_head
from train.data import Sample, load, split_hash
from train.quality import subsample

# Checkpoint folder -> architecture (None: the task's default).
MODELS = {"skin": None, "breastmnist": None, "breastmnist-logistic": "vigil_linear28", "histopathology": None}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = synthetic_datasets.everything(tmp_path_factory.mktemp("data"))
    rng = np.random.default_rng(9)
    for folder, make in (
        ("noise", lambda: rng.integers(0, 256, (90, 120, 3))),
        ("white", lambda: np.full((90, 120), 250)),
    ):
        for number in range(5):
            synthetic_datasets.save(root / "strange" / folder / f"{number}.png", make().astype(np.uint8))
    (root / "strange" / "white" / "notes.txt").write_text("no picture")
    return root


@pytest.fixture(scope="module")
def folders(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoint folders with their gates."""
    root, made = tmp_path_factory.mktemp("checkpoints"), {}
    for name, architecture in MODELS.items():
        task = name.split("-")[0]
        samples = load(task, data)
        about = {
            "recipe": {"sources": list({sample.source for sample in samples})},
            "split_sha256": split_hash(samples),
        }
        made[name] = synthetic_checkpoints.write(root / name, task, architecture)
        config = json.loads((made[name] / "config.json").read_text(encoding="utf-8"))
        config["vigil"] |= about
        synthetic_checkpoints.rewrite(made[name] / "config.json", config)
    assert fitting.main([*map(str, made.values()), "--data", str(data)]) == 0
    return made


@pytest.fixture(scope="module")
def models(folders: dict[str, Path]) -> dict[str, Predictor]:
    return {name: Predictor(checkpoints.load(name.split("-")[0], folder)) for name, folder in folders.items()}


def keeper(predictor: Predictor) -> Gate:
    assert predictor.checkpoint.gate is not None
    return predictor.checkpoint.gate


def verdict(predictor: Predictor, picture: Picture | str) -> Verdict:
    found = predictor.predict(picture).gate
    assert found is not None
    return found


def pictures(task: str, data: Path, split: str) -> list[Picture]:
    return [sample.picture() for sample in load(task, data) if sample.split == split]


def test_the_distance_is_mahalanobis_with_the_covariance_of_the_axes_and_the_rest() -> None:
    rng = np.random.default_rng(0)
    found = rng.normal(size=(200, 12)) @ rng.normal(size=(12, 12)) + 3
    tensors = fitting.gaussian(found, lambda spread: np.zeros_like(spread))
    made = Gaussian(12, len(tensors["axes"]))
    made.load_state_dict(tensors)
    axes, rest = tensors["axes"].double().numpy(), float(tensors["rest"])
    covariance = axes.T @ np.diag(tensors["variances"].double().numpy() - rest) @ axes + rest * np.eye(12)
    scale = found.std(axis=0)
    points = rng.normal(size=(5, 12)) * 4
    expected = [
        mahalanobis((point - found.mean(axis=0)) / scale, np.zeros(12), np.linalg.inv(covariance)) ** 2 / 12
        for point in points
    ]
    with torch.no_grad():
        np.testing.assert_allclose(made(torch.tensor(points).float()).exp(), expected, rtol=1e-3)
        assert abs(float(made(torch.tensor(found).float()).exp().mean()) - 1) < 0.1


@pytest.mark.parametrize("name", sorted(networks.CLASSIFIERS))
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
    for image in (noise, Image.new("RGB", size), Image.new("RGB", size, "white")):
        found = gate.picture_features(image, TASKS[task], 28)
        assert found.shape == (gate.PICTURE_FEATURES,)
        assert np.isfinite(found).all()


def test_a_large_picture_has_the_statistics_of_its_small_copy() -> None:
    small = Image.fromarray(synthetic_datasets.colour(np.random.default_rng(0), 1, 3, 64, 64))
    large = small.resize((512, 512), Image.Resampling.BICUBIC)
    ours, theirs = (gate.picture_features(image, TASKS["skin"], 224) for image in (small, large))
    np.testing.assert_allclose(ours[:17], theirs[:17], atol=0.02)
    assert not gate.picture_features(small.convert("L").convert("RGB"), TASKS["skin"], 224)[:8].any()


def test_a_display_that_tints_a_grey_picture_changes_little() -> None:
    grey = np.repeat(synthetic_datasets.grey(np.random.default_rng(0), 1, 3, 64, 64)[..., None], 3, axis=2) * 0.8
    tinted = grey * (0.85, 1.0, 1.15)
    for name, most in (("breastmnist", 0.02), ("ultrasound", 0.02), ("skin", 1.0)):
        ours, theirs = (
            gate.picture_features(Image.fromarray(pixels.astype(np.uint8)), TASKS[name], 28)
            for pixels in (grey, tinted)
        )
        assert np.abs(ours - theirs)[:8].max() < most
    assert np.abs(ours - theirs)[:8].max() > 0.1  # of skin, whose colour says something


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_own_pictures_are_accepted_and_other_tasks_refused(
    name: str, models: dict[str, Predictor], data: Path, folders: dict[str, Path]
) -> None:
    predictor = models[name]
    assert (folders[name] / GATE_FILE).stat().st_size < 2 * 2**20
    if keeper(predictor).head is None:
        assert ("network" in keeper(predictor).config.gaussians) == (name != "breastmnist-logistic")
    own = [verdict(predictor, picture).accepted for picture in pictures(predictor.task.name, data, "validation")]
    assert np.mean(own) >= 0.9
    for other in ("skin", "histopathology") if predictor.task.colour == "grey" else ("breastmnist",):
        assert not any(verdict(predictor, picture).accepted for picture in pictures(other, data, "test")[:8])


@pytest.mark.parametrize("name", ["breastmnist", "breastmnist-logistic"])
def test_many_pictures_get_the_verdicts_of_single_ones(name: str, models: dict[str, Predictor], data: Path) -> None:
    several = [*pictures("breastmnist", data, "test")[:3], *pictures("skin", data, "test")[:3]]
    together = list(models[name].predict_many([several[0], b"no picture", *several[1:]]))
    assert isinstance(together.pop(1), ImageRefused)
    for picture, answer in zip(several, together, strict=True):
        alone = verdict(models[name], picture)
        assert isinstance(answer, Prediction)
        assert answer.gate is not None
        assert answer.gate.score == pytest.approx(alone.score, abs=1e-3)
        assert answer.gate.limit == alone.limit
        assert answer.warnings == models[name].predict(picture).warnings


def test_the_answer_is_the_same_with_and_without_a_gate(
    folders: dict[str, Path], models: dict[str, Predictor], data: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(folders["skin"], bare)
    config = json.loads((bare / "config.json").read_text(encoding="utf-8"))
    del config["vigil"]["gate"]
    synthetic_checkpoints.rewrite(bare / "config.json", config)
    (bare / GATE_FILE).unlink()
    picture = pictures("skin", data, "test")[0]
    without, with_gate = Predictor(checkpoints.load("skin", bare)).predict(picture), models["skin"].predict(picture)
    assert without.gate is None
    assert with_gate.gate is not None
    assert without.probabilities == with_gate.probabilities


def stored(picture: Picture, folder: Path) -> str:
    picture.image.save(folder / "picture.png")
    return str(folder / "picture.png")


def test_a_picture_of_another_task_is_sent_to_its_tab(models: dict[str, Predictor], data: Path, tmp_path: Path) -> None:
    file = stored(pictures("skin", data, "test")[0], tmp_path)
    answer, _ = read_picture.answer(models, "histopathology", file, 0.3, "none")
    result = answer.model_dump(mode="json")
    said = gate_sentences.sentence(TASKS["histopathology"], "skin")
    assert TASKS["skin"].title in said
    assert result["gate"] == {
        "accepted": False,
        "sentence": said,
        "looks_like": "skin",
        "score": pytest.approx(verdict(models["histopathology"], file).score),
        "limit": keeper(models["histopathology"]).config.limit,
        "unlike": False,
    }
    assert result["quality"][0] == said
    assert sum("look like" in line for line in result["quality"]) == 1
    assert 0 <= result["p_malignant"] <= 1
    json.dumps(result, allow_nan=False)
    # `score` has one model at hand: it says that much.
    row = next(score.score(models["histopathology"], [(file, None)], 0.3))
    assert row["quality"].startswith(gate_sentences.sentence(TASKS["histopathology"]))


def test_an_own_picture_is_only_said_to_be_accepted(models: dict[str, Predictor], data: Path, tmp_path: Path) -> None:
    accepted = [p for p in pictures("skin", data, "validation") if verdict(models["skin"], p).accepted]
    result, _ = read_picture.answer(models, "skin", stored(accepted[0], tmp_path), 0.3, "none")
    assert result.gate is not None
    assert result.gate.accepted
    assert result.gate.sentence is result.gate.looks_like is None
    assert not any("look like" in line for line in result.quality)


def test_only_other_tasks_defaults_are_asked_and_the_surest_is_named(models: dict[str, Predictor], data: Path) -> None:
    picture = pictures("skin", data, "test")[0]
    asked: list[str] = []

    class Said:
        def __init__(self, name: str, score: float) -> None:
            self.name, self.score = name, score

        def predict(self, given: Picture) -> Prediction:
            assert given.image is picture.image
            asked.append(self.name)
            return replace(models["skin"].predict(picture), gate=Verdict(self.score, 1.0))

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


def test_no_test_picture_is_read_for_the_fit(models: dict[str, Predictor], data: Path) -> None:
    samples = load("breastmnist", data)
    held_out = [replace(sample, path=Path("gone")) if sample.split == "test" else sample for sample in samples]
    others = fitting.of_other_tasks(TASKS["breastmnist"], data, "train")
    assert set(others) == {"skin", "histopathology"}  # not what looks the same
    assert all(sample.split == "train" for chosen in others.values() for sample in chosen)
    made = fitting.fit(models["breastmnist"], held_out, others)
    assert made.config.limit == pytest.approx(keeper(models["breastmnist"]).config.limit)
    assert set(fitting.of_other_tasks(TASKS["skin"], data, "train")) == {"ultrasound", "breastmnist", "histopathology"}


def test_the_limit_lies_above_own_pictures_and_a_quarter_into_the_gap() -> None:
    own, far = np.linspace(0, 1, 1001), np.linspace(5, 6, 1001)
    assert fitting.limit(own, far) == pytest.approx(0.995 + 0.25 * (5.01 - 0.995))
    assert fitting.limit(own, own) == pytest.approx(0.995)  # no gap


def test_figures_are_counted_by_hand(models: dict[str, Predictor], data: Path) -> None:
    predictor = models["breastmnist"]
    samples = load("breastmnist", data)
    parts = {split: [sample for sample in samples if sample.split == split] for split in ("validation", "test")}
    answered = {split: [predictor.predict(sample.picture()) for sample in chosen] for split, chosen in parts.items()}
    found = fitting.evaluate_gate(predictor, parts, answered, data)
    own = np.array([verdict(predictor, sample.picture()).score for sample in parts["test"]])
    limit = keeper(predictor).config.limit
    assert found["test"]["n"] == len(own)
    assert found["test"]["refused"]["value"] == pytest.approx((own > limit).mean())
    assert "against" not in found["validation"]
    against = found["test"]["against"]
    assert {kind: part["same_look"] for kind, part in against.items()} == {
        "skin": False, "ultrasound": True, "histopathology": False, "strange/noise": False, "strange/white": False,
    }  # fmt: skip
    theirs = np.array([verdict(predictor, picture).score for picture in pictures("skin", data, "test")])
    pairs = (theirs[:, None] > own).mean() + 0.5 * (theirs[:, None] == own).mean()
    assert against["skin"]["auroc"]["value"] == pytest.approx(pairs, abs=1e-3)
    low, high = against["skin"]["auroc"]["interval"]
    assert low < against["skin"]["auroc"]["value"] <= high
    assert against["strange/white"]["n"] == 5
    assert fitting.evaluate_gate(predictor, parts, answered, data) == found


def test_without_the_other_sets_there_is_no_gate(folders: dict[str, Path], data: Path, tmp_path: Path) -> None:
    alone, folder = tmp_path / "data", tmp_path / "skin"
    shutil.copytree(data / "ham10000", alone / "ham10000")
    shutil.copytree(folders["skin"], folder)
    before = (folder / "config.json").read_bytes()
    assert fitting.main([str(folder), "--data", str(alone)]) == 1
    assert (folder / "config.json").read_bytes() == before


def broken_block(config: Any, **fields: object) -> None:
    config["vigil"]["gate"]["picture"] |= fields


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
    damage: Callable[[Path, Any], object], said: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "breastmnist"
    shutil.copytree(folders["breastmnist"], folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    damage(folder, config)
    synthetic_checkpoints.rewrite(folder / "config.json", config)
    with pytest.raises(CheckpointError, match=said):
        checkpoints.load("breastmnist", folder)


def test_a_gate_of_another_network_or_with_a_variance_of_zero_is_refused(
    models: dict[str, Predictor],
) -> None:
    sound = keeper(models["breastmnist"])
    network = models["breastmnist"].checkpoint.network
    assert sound.fits(network, (1, 28, 28))
    assert not sound.fits(models["breastmnist-logistic"].checkpoint.network, (1, 28, 28))
    flat = Gate(sound.config)
    flat.load_state_dict({name: 0 * t if name.endswith("rest") else t for name, t in sound.state_dict().items()})
    assert not flat.fits(network, (1, 28, 28))


def test_the_hub_carries_the_gate(hub: Hub, folders: dict[str, Path]) -> None:
    folder = folders["breastmnist"]
    files = checkpoints.load("breastmnist", folder).config.files
    assert GATE_FILE in files
    hub.put("owner/vigil-breastmnist", {name: (folder / name).read_bytes() for name in files})
    pulled = checkpoints.load("breastmnist", "owner/vigil-breastmnist")
    assert pulled.gate is not None
    assert pulled.config.vigil.gate == pulled.gate.config == checkpoints.load("breastmnist", folder).config.vigil.gate


def test_samples_are_the_same_every_time() -> None:
    samples = [Sample(str(n), 0, str(n), "train", "pcam", Path()) for n in range(500)]
    chosen = subsample(samples, 40)
    assert chosen == subsample(samples, 40)
    assert len({sample.name for sample in chosen}) == 40
    assert subsample(samples[:30], 40) == samples[:30]


def rows(middle: float, number: int, seed: int, width: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (number, width)) + middle * np.linspace(1, 2, width)


def test_the_limit_leaves_room_for_a_source_that_was_not_learned_from() -> None:
    # The third source lies on the way to the others, where its own head would not put the limit.
    own = {"a": rows(0, 80, 0), "b": rows(0.2, 80, 1), "c": rows(1.2, 80, 2)}
    validation = {"a": rows(0, 80, 3), "b": rows(0.2, 80, 4), "c": rows(1.2, 80, 5)}
    others = rows(3, 200, 6)
    made = gate_head.fit(own, validation, others)
    assert made.config.head is not None
    assert made.config.head.unlike_above <= made.config.limit

    def scores(found: np.ndarray) -> np.ndarray:
        picture, network = torch.tensor(found[:, :5]).float(), torch.tensor(found[:, 5:]).float()
        return np.array([verdict.score for verdict in made.verdicts(picture, network)])

    without = gate_head.fit({key: own[key] for key in "ab"}, {key: validation[key] for key in "ab"}, others)
    assert made.config.limit > without.config.limit
    assert (scores(np.concatenate(list(validation.values()))) <= made.config.limit).mean() > 0.99
    assert (scores(rows(3, 200, 7)) > made.config.limit).mean() > 0.97
    with pytest.raises(ValueError, match="takes at least two"):
        gate_head.fit({"a": own["a"]}, {"a": validation["a"]}, others)


def test_only_several_sources_have_a_head_and_it_learns_from_half_of_the_strange_pictures(
    models: dict[str, Predictor], data: Path
) -> None:
    assert keeper(models["skin"]).head is not None
    assert keeper(models["histopathology"]).head is None
    learned, left = (list(fitting.strange_pictures(data, "black", half)) for half in (True, False))
    assert len(learned) + len(left) == 10
    assert learned
    assert left
    found = verdict(models["skin"], pictures("skin", data, "validation")[0])
    assert found.unlike_above <= found.limit


@pytest.mark.parametrize("task", TASKS)
def test_another_camera_keeps_the_shape_and_changes_the_look(task: str) -> None:
    rng = np.random.default_rng(0)
    change = gate_head.another_camera(TASKS[task], seed=1)
    before = [Picture(Image.fromarray(synthetic_datasets.colour(rng, n % 3, 3, 90, 64)), ()) for n in range(6)]
    after = [change(picture) for picture in before]
    assert {picture.image.size for picture in after} <= {(90, 64), (64, 90)}
    assert sum(a.image != b.image for a, b in zip(after, before, strict=True)) >= 5
