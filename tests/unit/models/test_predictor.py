"""src/models/predictor.py: the calibrated answer equals timm's for the same folder, for single images, for batches and
from many threads."""

import io
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import timm.data
import torch
from PIL import Image

from src.models import checkpoints
from src.models.config import TestTimeAugmentation
from src.models.prediction import EXPLANATIONS, Prediction
from src.models.predictor import Predictor
from src.models.preprocess import select_region
from src.models.probabilities import calibrated, class_logits
from src.models.tta import views
from src.pictures import decode, quality
from src.pictures.limits import MAX_BYTES, MAX_LOCAL_BYTES
from src.pictures.picture import ImageRefused, Picture
from src.pictures.scanned_field import crop
from src.tasks import TASKS
from tests.support import synthetic_checkpoints

MODELS: dict[str, tuple[str, str | None, dict[str, Any]]] = {
    "skin": ("skin", None, {}),
    "skin, centre": ("skin", None, {"crop_mode": "center", "interpolation": "bilinear"}),
    "ultrasound": ("ultrasound", None, {}),
    "breastmnist": ("breastmnist", None, {}),
    "breastmnist, centre": ("breastmnist", None, {"crop_mode": "center"}),
    "breastmnist, logistic": ("breastmnist", "vigil_linear28", {}),
    "histopathology": ("histopathology", None, {}),
    "histopathology, flips": ("histopathology", None, {"test_time_augmentation": "flips"}),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Predictor]]:
    """A made-up checkpoint's folder and predictor by MODELS' name, made once."""
    cache: dict[str, tuple[Path, Predictor]] = {}

    def get(name: str) -> tuple[Path, Predictor]:
        if name not in cache:
            task, architecture, overrides = MODELS[name]
            folder = tmp_path_factory.mktemp("checkpoint")
            synthetic_checkpoints.write(folder, task, architecture, **overrides)
            cache[name] = folder, Predictor(checkpoints.load(task, folder))
        return cache[name]

    return get


def photograph(seed: int, width: int = 150, height: int = 110) -> Image.Image:
    blotches = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(blotches).resize((width, height), Image.Resampling.BICUBIC)


def png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def many(n: int) -> list[bytes]:
    return [png(photograph(seed, 60 + 7 * (seed % 5), 60 + 11 * (seed % 4))) for seed in range(n)]


@pytest.mark.parametrize("name", [name for name in MODELS if "flips" not in name])
def test_answer_is_timms_for_the_same_folder(name: str, made: Callable[[str], tuple[Path, Predictor]]) -> None:
    folder, predictor = made(name)
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    preprocess = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    image = photograph(1)
    channels, _, _ = predictor.checkpoint.config.pretrained_cfg.input_size
    pixels = preprocess(select_region(crop(image, predictor.task), predictor.task, channels).image)[None]
    prediction = predictor.predict(png(image))
    with torch.no_grad():
        logits = class_logits(model(pixels))[0]
    # A sum of large terms is as exact as its terms.
    exact = 1e-5 * max(1, float(logits.abs().max()))
    np.testing.assert_allclose(prediction.logits, logits.numpy(), rtol=1e-4, atol=exact)
    np.testing.assert_array_equal(predictor.forward_pass(Picture(image, ())).pixels.numpy(), pixels.numpy())


@pytest.mark.parametrize("name", MODELS)
def test_probabilities_are_calibrated_and_add_up(name: str, made: Callable[[str], tuple[Path, Predictor]]) -> None:
    _, predictor = made(name)
    prediction = predictor.predict(png(photograph(2)))
    scaled = np.exp(np.array(prediction.logits) / 1.5)
    np.testing.assert_allclose(prediction.probabilities, scaled / scaled.sum(), rtol=1e-9)
    assert math.fsum(prediction.probabilities) == pytest.approx(1, abs=1e-12)
    malignant = [p for p, d in zip(prediction.probabilities, predictor.task.classes, strict=True) if d.malignant]
    assert prediction.p_malignant == pytest.approx(sum(malignant), abs=1e-12)
    classes = prediction.classes()
    assert [c["probability"] for c in classes] == sorted(prediction.probabilities, reverse=True)
    assert classes[0]["code"] == predictor.task.codes[prediction.top]
    assert {c["code"]: c["malignant"] for c in classes} == {d.code: d.malignant for d in predictor.task.classes}
    assert prediction.model == f"made-up-{predictor.task.name}"
    assert prediction.revision == predictor.checkpoint.revision


def test_temperature_by_hand() -> None:
    np.testing.assert_allclose(calibrated(np.array([[0.0, 2 * math.log(3)]]), 2.0), [[0.25, 0.75]])
    # float32 would give 0 / 0 here
    np.testing.assert_allclose(calibrated(np.array([[1e4, -1e4]]), 0.01), [[1, 0]])


def test_one_logit_is_that_of_the_second_class(made: Callable[[str], tuple[Path, Predictor]]) -> None:
    logits = class_logits(torch.tensor([[3.0], [-1.0]]))
    assert torch.equal(logits, torch.tensor([[0.0, 3.0], [0.0, -1.0]]))
    _, predictor = made("breastmnist, logistic")
    network: Any = predictor.checkpoint.network
    prediction = predictor.predict(png(photograph(3)))
    with torch.no_grad():
        (logit,) = network(predictor.forward_pass(png(photograph(3))).pixels)[0]
    # BreastMNIST: class 0 is malignant, so a positive logit speaks for benign.
    assert predictor.task.codes == ("malignant", "benign")
    assert prediction.p_malignant == pytest.approx(1 - torch.sigmoid(logit / 1.5).item(), abs=1e-6)


@pytest.mark.parametrize("name", ["skin", "ultrasound", "breastmnist", "histopathology"])
def test_batched_is_as_alone_and_in_order(name: str, made: Callable[[str], tuple[Path, Predictor]]) -> None:
    _, predictor = made(name)
    pictures: list[Any] = many(11)
    pictures[4] = b"no picture"
    pictures[7] = decode.read(pictures[7], "black")
    answers = list(predictor.predict_many(pictures, batch_size=4))
    assert len(answers) == 11
    assert isinstance(answers[4], ImageRefused)
    for i, (picture, answer) in enumerate(zip(pictures, answers, strict=True)):
        if i != 4:
            assert isinstance(answer, Prediction)
            alone = predictor.predict(picture)
            if name in ("breastmnist", "histopathology"):
                np.testing.assert_allclose(answer.probabilities, alone.probabilities, rtol=0, atol=1e-5)
            # Deep random networks with logits of 200 amplify float32's rounding, as trained ones do not.
            scale = np.abs(alone.logits).max()
            np.testing.assert_allclose(answer.logits, alone.logits, rtol=0, atol=1e-4 * scale)
            assert replace(answer, logits=(), probabilities=(), p_malignant=0) == replace(
                alone, logits=(), probabilities=(), p_malignant=0
            )


def test_nothing_of_nothing(made: Callable[[str], tuple[Path, Predictor]]) -> None:
    assert list(made("breastmnist")[1].predict_many([])) == []


def test_fault_of_ours_is_not_taken_for_a_bad_picture(
    made: Callable[[str], tuple[Path, Predictor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality, "find_flaws", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(made("breastmnist")[1].predict_many(many(3)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["skin", "histopathology"])
def test_concurrent_calls_give_the_quiet_answers(name: str, made: Callable[[str], tuple[Path, Predictor]]) -> None:
    folder, _ = made(name)
    predictor = Predictor(checkpoints.load(MODELS[name][0], folder))  # fresh, so that nothing is ready before the crowd
    pictures = many(3)
    jobs = [(picture, explanation) for picture in pictures for explanation in EXPLANATIONS] * 2

    def work(job: tuple[bytes, Any]) -> Prediction:
        return predictor.predict(*job)

    with ThreadPoolExecutor(8) as crowd:
        loud = list(crowd.map(work, jobs))
    alone = {job: work(job) for job in set(jobs)}
    for job, answer in zip(jobs, loud, strict=True):
        quiet = alone[job]
        assert answer.logits == quiet.logits
        if answer.heat_map is None:
            assert quiet.heat_map is None
        else:
            assert quiet.heat_map is not None
            np.testing.assert_allclose(answer.heat_map.values, quiet.heat_map.values, atol=1e-5)
    # whatever is asked besides
    assert loud[0].logits == loud[1].logits == loud[2].logits


@pytest.mark.parametrize("name", MODELS)
def test_explanation_of_a_chosen_class(name: str, made: Callable[[str], tuple[Path, Predictor]]) -> None:
    _, predictor = made(name)
    side = predictor.checkpoint.config.pretrained_cfg.input_size[1]
    maps = {}
    for code in predictor.task.codes:
        heat_map = predictor.predict(png(photograph(4)), "Grad-CAM", code).heat_map
        assert heat_map is not None
        assert (heat_map.method, heat_map.code) == ("Grad-CAM", code)
        assert heat_map.values.shape == (side, side)
        assert heat_map.values.dtype == np.float32
        assert 0 <= heat_map.values.min() <= heat_map.values.max() <= 1
        maps[code] = heat_map.values
    shown = [values.tobytes() for values in maps.values() if values.any()]
    assert len(set(shown)) == len(shown) > 0, "each class has its own map, or an empty one"
    prediction = predictor.predict(png(photograph(4)), "Guided Grad-CAM")
    assert prediction.heat_map is not None
    assert prediction.heat_map.code == predictor.task.codes[prediction.top]
    with pytest.raises(ValueError):
        predictor.predict(png(photograph(4)), "Grad-CAM", "no such class")


def test_explanation_runs_the_backbone_once(
    made: Callable[[str], tuple[Path, Predictor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, predictor = made("skin")
    (original,), calls = predictor._backbones, []

    def counted(pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs = original(pixels)
        calls.append(any(output.requires_grad for output in outputs))
        return outputs

    monkeypatch.setattr(predictor, "_backbones", [counted])
    predictor.predict(png(photograph(5)), "Grad-CAM")
    assert calls == [False], "one pass of the backbone, without gradients"


def test_box_is_what_the_network_saw(made: Callable[[str], tuple[Path, Predictor]]) -> None:
    image = Image.new("RGB", (300, 200))
    image.paste(photograph(6, 160, 120).convert("L"), (60, 40))
    for name, box in (("ultrasound", (60, 40, 220, 160)), ("skin", (0, 0, 300, 200))):
        prediction = made(name)[1].predict(png(image), "Grad-CAM")
        assert prediction.size == (300, 200)
        assert prediction.box == pytest.approx(box, abs=4)
        assert prediction.heat_map is not None
        assert prediction.heat_map.box == prediction.box
    # timm's "center" keeps the central square alone, and so does the map over the picture
    centre = made("skin, centre")[1].predict(png(image), "Grad-CAM").heat_map
    assert centre is not None
    assert centre.box == (50, 0, 250, 200)


def test_the_region_has_the_colour_of_its_task() -> None:
    image = photograph(7)
    for name, task in TASKS.items():
        for channels, mode in ((1, "L"), (3, "RGB")):
            shown = select_region(crop(image, task), task, channels).image
            assert shown.mode == mode
            if channels == 3:
                red, green, blue = (np.asarray(band) for band in shown.split())
                assert (np.array_equal(red, green) and np.array_equal(red, blue)) == (task.colour == "grey"), name


@pytest.mark.parametrize("source", [b"", b"no picture", png(photograph(0))[:300], "nowhere.png"])
def test_what_is_no_picture_is_refused(source: Any, made: Callable[[str], tuple[Path, Predictor]]) -> None:
    with pytest.raises(ImageRefused):
        made("breastmnist")[1].predict(source)


def test_answer_that_is_no_number_is_refused(tmp_path: Path) -> None:
    # Finite weights whose answer overflows float32: NaN is below every threshold and would read "no referral".
    folder = synthetic_checkpoints.write(tmp_path, "breastmnist", std=[1e-38])
    predictor = Predictor(checkpoints.load("breastmnist", folder))
    with pytest.raises(ImageRefused, match="not a number"):
        predictor.predict(png(photograph(8)))
    assert isinstance(next(iter(predictor.predict_many(many(2)))), ImageRefused)


@pytest.mark.parametrize(("kind", "number"), [("none", 1), ("flips", 4), ("d4", 8)])
def test_the_views_are_all_different_and_begin_with_the_picture(kind: TestTimeAugmentation, number: int) -> None:
    pixels = torch.arange(27.0).reshape(1, 3, 3, 3)
    found = views(pixels, kind)
    assert torch.equal(found[0], pixels)
    assert len({tuple(one.ravel().tolist()) for one in found}) == len(found) == number
    assert all(sorted(one.ravel().tolist()) == pixels.ravel().tolist() for one in found)


def test_test_time_augmentation_is_the_mean_over_mirrored_pictures(
    made: Callable[[str], tuple[Path, Predictor]],
) -> None:
    plain, flipping = made("histopathology")[1], made("histopathology, flips")[1]
    picture = photograph(3, 96, 96)
    across = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    mirrored = [picture, across] + [one.transpose(Image.Transpose.FLIP_TOP_BOTTOM) for one in (picture, across)]
    each = [plain.predict(png(one)).logits for one in mirrored]
    alone = flipping.predict(png(picture), "Grad-CAM")
    assert alone.logits == pytest.approx(np.mean(each, axis=0), abs=1e-5)
    assert alone.logits != pytest.approx(each[0], abs=1e-3)
    [batched] = flipping.predict_many([png(picture)])
    assert isinstance(batched, Prediction)
    assert batched.logits == pytest.approx(alone.logits, abs=1e-5)


def test_a_file_on_ones_own_disk_may_have_more_bytes_than_an_upload(
    made: Callable[[str], tuple[Path, Predictor]], tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2100, 2000, 3), dtype=np.uint8)
    file = tmp_path / "large.bmp"
    Image.fromarray(noise).save(file)
    assert MAX_BYTES < file.stat().st_size < MAX_LOCAL_BYTES
    with pytest.raises(ImageRefused, match="at most 12 MB"):
        decode.read(file, "black")
    _, predictor = made("breastmnist")
    (answer,) = predictor.predict_many([file])
    assert not isinstance(answer, ImageRefused)
