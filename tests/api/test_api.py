"""The API of a running app.py: through gradio_client, and through plain HTTP for requests that no client sends."""

import json
import struct
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from src.models import checkpoints, perturbations
from src.models.predictor import Predictor
from src.page import blocks, endpoints
from src.results.thresholds import operating_point, outcome, promise
from src.service.arguments import NOT_A_THRESHOLD, NOT_AN_EXPLANATION
from src.tasks import DISCLAIMER, TASKS
from tests.support.app import ROOT, Server

EXAMPLE = {
    "skin": "skin/irregular.jpg",
    "ultrasound": "ultrasound/spiculated.jpg",
    "breastmnist": "breastmnist/oval.png",
    "histopathology": "histopathology/nest.png",
}
KEYS = [
    "task",
    "model",
    "revision",
    "p_malignant",
    "threshold",
    "decision",
    "classes",
    "quality",
    "operating_point",
    "disclaimer",
    "explanation",
    "explained_class",
    "heatmap_empty",
    "size",
    "region",
    "region_kind",
    "screening",
    "confidence",
    "meaning",
    "gate",
    "parts",
]
POINT = {
    "sensitivity",
    "sensitivity_interval",
    "specificity",
    "specificity_interval",
    "positives",
    "negatives",
    "split",
    "interval_method",
}


@pytest.fixture(scope="module")
def client(server: Server) -> Client:
    return Client(server.url, verbose=False)


def example(task: str) -> Any:
    return handle_file(ROOT / "examples" / EXAMPLE[task])


def sentence(call: Callable[[], Any]) -> str:
    """What the call is refused with: one sentence, and nothing of the code behind it."""
    with pytest.raises(AppError) as caught:
        call()
    text = str(caught.value)
    assert text.endswith(".")
    assert len(text) < 200
    assert "\n" not in text
    assert "Traceback" not in text
    assert "show_error" not in text, "Gradio's own words for an unexpected error"
    return text


@pytest.mark.parametrize("task", TASKS)
def test_contract_of_every_endpoint(client: Client, server: Server, task: str) -> None:
    result, heatmap = client.predict(example(task), 0.3, "Grad-CAM", api_name=f"/{task}")
    assert list(result) == KEYS
    assert result["task"] == task
    assert result["model"] == f"made-up-{task}"
    assert result["disclaimer"] == DISCLAIMER
    assert result["decision"] == ("refer" if result["p_malignant"] >= 0.3 else "no referral")
    classes = result["classes"]
    assert {c["code"]: (c["name"], c["malignant"]) for c in classes} == {
        d.code: (d.name, d.malignant) for d in TASKS[task].classes
    }
    probabilities = [c["probability"] for c in classes]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1)
    assert sum(c["probability"] for c in classes if c["malignant"]) == pytest.approx(result["p_malignant"])
    assert result["explained_class"] == classes[0]["code"]

    with Image.open(ROOT / "examples" / EXAMPLE[task]) as picture, Image.open(heatmap) as drawn:
        assert list(picture.size) == result["size"] == list(drawn.size)
        same = np.array_equal(np.asarray(picture.convert("RGB")), np.asarray(drawn.convert("RGB")))
        assert same == result["heatmap_empty"]

    point = result["operating_point"]
    table = json.loads((server.checkpoints / task / "evaluation.json").read_text())["splits"]["test"]["threshold_table"]
    expected = operating_point(table["malignant"], 0.3)
    assert set(point) == POINT
    assert (point["sensitivity"], point["specificity"]) == (expected.sensitivity, expected.specificity)
    assert tuple(point["sensitivity_interval"]) == pytest.approx(expected.sensitivity_interval)
    assert (point["positives"], point["negatives"], point["split"]) == (60, 140, "test")


def test_screening_says_what_it_costs_at_home_and_away(client: Client, server: Server) -> None:
    result, _ = client.predict(example("ultrasound"), 0.3, "none", api_name="/ultrasound")
    content = json.loads((server.checkpoints / "ultrasound" / "evaluation.json").read_text())
    places = result["screening"]["places"]
    assert [(place["seen"], place["set"], place["split"]) for place in places] == [
        ("home", "Home", "test"),
        ("second", "Second", "test-second"),
        ("away", "Elsewhere", "elsewhere"),
    ]
    assert {key: places[0][key] for key in POINT} == result["operating_point"]
    away = operating_point(content["external"]["elsewhere"]["threshold_table"]["malignant"], 0.3)
    carried = outcome(away, 0.01)
    assert places[2]["sensitivity"] == pytest.approx(away.sensitivity)
    assert places[2]["per_1000"]["ill"] == 10
    for name in ("found", "missed", "false_alarms", "ppv", "npv"):
        expected = getattr(carried, name)
        assert places[2]["per_1000"][name]["value"] == pytest.approx(expected.value)
        assert places[2]["per_1000"][name]["interval"] == pytest.approx([expected.low, expected.high])
    by_group = content["splits"]["validation"]["threshold_table_groups"]["malignant"]
    for found, target in zip(result["screening"]["promises"], (0.95, 0.9), strict=True):
        expected_promise = promise(by_group, target)
        assert (found["sensitivity"], found["confidence"]) == (target, 0.95)
        assert (found["threshold"], found["found"]) == (expected_promise.threshold, expected_promise.found)
        assert (found["positives"], found["positives_needed"]) == (70, expected_promise.needed)


def test_melanoma_is_reported_alone(client: Client, server: Server) -> None:
    result, _ = client.predict(example("skin"), 0.3, "none", api_name="/skin")
    tables = json.loads((server.checkpoints / "skin" / "evaluation.json").read_text())["splits"]["test"]
    alone = operating_point(tables["threshold_table"]["mel"], 0.3)
    (place,) = result["screening"]["places"]
    assert place["alone"]["mel"]["sensitivity"] == pytest.approx(alone.sensitivity)
    assert place["alone"]["mel"]["sensitivity_interval"] == pytest.approx(list(alone.sensitivity_interval))


def test_same_numbers_as_the_predictor(client: Client, server: Server) -> None:
    result, _ = client.predict(example("skin"), api_name="/skin")
    prediction = Predictor(checkpoints.load("skin", server.checkpoints / "skin")).predict(
        ROOT / "examples" / EXAMPLE["skin"]
    )
    assert result["p_malignant"] == pytest.approx(prediction.p_malignant, abs=1e-6)
    assert result["classes"][0]["probability"] == pytest.approx(prediction.classes()[0]["probability"], abs=1e-6)


@pytest.mark.parametrize("task", TASKS)
def test_threshold_and_explanation_may_be_left_out(client: Client, server: Server, task: str) -> None:
    result, heatmap = client.predict(example(task), api_name=f"/{task}")
    config = json.loads((server.checkpoints / task / "config.json").read_text())
    assert result["threshold"] == config["vigil"]["default_threshold"]
    assert result["explanation"] == "Grad-CAM"
    assert heatmap is not None


@pytest.mark.parametrize("task", TASKS)
def test_same_answer_whatever_is_asked_besides(client: Client, task: str) -> None:
    asked = [(0.3, "Grad-CAM"), (1, "none"), (0, "Guided Grad-CAM")]
    answers = [client.predict(example(task), *arguments, api_name=f"/{task}") for arguments in asked]
    assert len({json.dumps(result["classes"]) for result, _ in answers}) == 1
    assert [heatmap is None for _, heatmap in answers] == [False, True, False]
    assert answers[1][0]["explained_class"] is None


def test_decision_at_exactly_the_threshold(client: Client) -> None:
    p = client.predict(example("skin"), 0.5, "none", api_name="/skin")[0]["p_malignant"]
    decisions = {
        t: client.predict(example("skin"), t, "none", api_name="/skin")[0]["decision"]
        for t in (0.0, float(np.nextafter(p, 0)), p, float(np.nextafter(p, 1)), 1.0)
    }
    assert list(decisions.values()) == ["refer", "refer", "refer", "no referral", "no referral"]


def str_of(value: object) -> str:
    return str(value)[:8]


@pytest.mark.parametrize("threshold", ["abc", None, [0.3], {}, True, -0.01, 1.01, 10**400], ids=str_of)
def test_wrong_threshold(client: Client, threshold: Any) -> None:
    assert sentence(lambda: client.predict(example("skin"), threshold, "none", api_name="/skin")) == NOT_A_THRESHOLD


@pytest.mark.parametrize("explain", ["grad-cam", None, ["none"], True])
def test_wrong_explanation(client: Client, explain: Any) -> None:
    assert sentence(lambda: client.predict(example("skin"), 0.3, explain, api_name="/skin")) == NOT_AN_EXPLANATION


def test_any_class_is_explained_on_request(client: Client) -> None:
    told = [client.predict(example("skin"), 0.3, "Grad-CAM", code, api_name="/skin") for code in ("", "mel", "nv")]
    assert [result["explained_class"] for result, _ in told] == [told[0][0]["classes"][0]["code"], "mel", "nv"]
    assert len({json.dumps(result["classes"]) for result, _ in told}) == 1
    said = sentence(lambda: client.predict(example("skin"), 0.3, "Grad-CAM", "melanoma", api_name="/skin"))
    assert said == f"The class to explain must be one of {', '.join(TASKS['skin'].codes)}, or empty."


def test_a_further_model_answers_on_request(client: Client) -> None:
    own, further = (
        client.predict(example("breastmnist"), 0.3, "none", "", model, api_name="/breastmnist")[0]
        for model in ("", "breastmnist-logistic")
    )
    predictor = Predictor(checkpoints.load("breastmnist", checkpoints.EMBEDDED / "breastmnist-logistic"))
    expected = predictor.predict(ROOT / "examples" / EXAMPLE["breastmnist"])
    assert own["model"] == "made-up-breastmnist"
    assert further["model"] == expected.model
    assert further["p_malignant"] == pytest.approx(expected.p_malignant, abs=1e-6)
    assert further["operating_point"] != own["operating_point"]
    for model in ("skin", "breastmnist-", "../skin", 3):
        asked = (example("breastmnist"), 0.3, "none", "", model)
        said = sentence(partial(client.predict, *asked, api_name="/breastmnist"))
        assert said == "The model must be one of breastmnist, breastmnist-logistic, or empty."


def test_robustness_reads_the_views(client: Client, server: Server) -> None:
    found = client.predict("skin", example("skin"), api_name="/robustness")
    assert [view["name"] for view in found["views"]] == [
        view.name for view in perturbations.perturbations(TASKS["skin"])
    ]
    result, _ = client.predict(example("skin"), 0.3, "none", api_name="/skin")
    # Read in one batch with its views, for which a processor may take other kernels.
    assert found["p_malignant"] == pytest.approx(result["p_malignant"], abs=1e-5)
    every = [found["p_malignant"], *(view["p_malignant"] for view in found["views"])]
    assert (found["lowest"], found["highest"]) == (min(every), max(every))
    default = json.loads((server.checkpoints / "skin" / "config.json").read_text())["vigil"]["default_threshold"]
    assert all((view["decision"] == "refer") == (view["p_malignant"] >= default) for view in found["views"])
    high = client.predict("skin", example("skin"), 1, api_name="/robustness")
    assert not high["borderline"]
    assert {view["decision"] for view in high["views"]} == {"no referral"}
    assert "task must be one of" in sentence(lambda: client.predict("skins", example("skin"), api_name="/robustness"))
    assert sentence(lambda: client.predict("skin", example("skin"), 2, api_name="/robustness")) == NOT_A_THRESHOLD


def test_callers_who_know_three_arguments_are_answered(server: Server) -> None:
    said = call(server, json.dumps({"data": [uploaded(server), 0.3, "none"]}))
    assert "p_malignant" in said
    said = call(server, json.dumps({"data": [uploaded(server)]}))
    assert '"explanation": "Grad-CAM"' in said


def call(server: Server, body: str) -> str:
    """POST a body to /skin as it stands; what the server says in the end, as text."""
    address = f"{server.url}/gradio_api/call/skin"
    accepted = httpx.post(address, content=body, headers={"Content-Type": "application/json"}, timeout=60)
    if accepted.status_code != 200:
        assert 400 <= accepted.status_code < 500
        return accepted.text
    return httpx.get(f"{address}/{accepted.json()['event_id']}", timeout=60).text


def uploaded(server: Server, content: bytes = b"", name: str = "picture.png") -> dict[str, Any]:
    """What a client names a file by that it has uploaded."""
    content = content or (ROOT / "examples" / EXAMPLE["skin"]).read_bytes()
    answer = httpx.post(f"{server.url}/gradio_api/upload", files={"files": (name, content)}, timeout=60)
    return {"path": answer.json()[0], "meta": {"_type": "gradio.FileData"}}


@pytest.mark.parametrize("threshold", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none(server: Server, threshold: str) -> None:
    said = call(server, f'{{"data": [{json.dumps(uploaded(server))}, {threshold}, "none"]}}')
    assert "p_malignant" not in said
    assert "Traceback" not in said


FILE = {"meta": {"_type": "gradio.FileData"}}
DATA_URL = "data:image/png;base64,iVBORw0KGgo="


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (None, endpoints.NO_IMAGE),
        *(
            (image, blocks.NOT_UPLOADED)
            for image in (
                5,
                "x",
                "/etc/passwd",
                True,
                [],
                ["x"],
                {},
                {"path": None},
                {"path": "/etc/passwd"},
                {"path": "requirements.txt"},
                {"path": ["x"], **FILE},
                {"url": DATA_URL, **FILE},
                {"path": None, "url": DATA_URL, **FILE},
                {"path": "http://127.0.0.1:9/x.png", **FILE},
                {"path": "https://example.org/x.png", "url": "https://example.org/x.png", **FILE},
            )
        ),
    ],
)
def test_only_uploaded_files_are_opened(server: Server, image: Any, expected: str) -> None:
    said = call(server, json.dumps({"data": [image, 0.3, "none"]}))
    assert expected in said
    assert "p_malignant" not in said


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "requirements.txt", "../../etc/passwd", DATA_URL, "", "\x00", "a" * 9999]
)
def test_paths_of_the_server_are_not_opened(server: Server, path: str) -> None:
    said = call(server, json.dumps({"data": [{"path": path, **FILE}, 0.3, "none"]}))
    assert blocks.NOT_UPLOADED in said


def test_a_path_out_of_the_upload_folder_is_not_opened(server: Server) -> None:
    for path in (
        f"{server.uploads}/../{server.checkpoints.name}/app.log",
        str(server.uploads),
        f"{server.uploads}/gone",
    ):
        said = call(server, json.dumps({"data": [{"path": path, **FILE}, 0.3, "none"]}))
        assert blocks.NOT_UPLOADED in said


def test_a_data_url_beside_an_upload_is_not_read(server: Server) -> None:
    said = call(server, json.dumps({"data": [{**uploaded(server), "url": DATA_URL}, 0.3, "none"]}))
    assert "p_malignant" in said


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def picture(mode: str = "RGB", size: tuple[int, int] = (120, 90)) -> Image.Image:
    with Image.open(ROOT / "examples" / EXAMPLE["skin"]) as opened:
        return opened.resize(size).convert(mode)


def header(side: int) -> bytes:
    """A PNG that claims side × side pixels and holds none."""
    parts = []
    for kind, body in (
        (b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\0" * 1000)),
        (b"IEND", b""),
    ):
        parts.append(struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


REFUSED = {
    "one_pixel.png": (lambda: saved(picture(size=(1, 1)), "PNG"), "1 × 1 pixels"),
    "text.jpg": (lambda: b"no picture at all", "not an image"),
    "empty.png": (lambda: b"", "empty"),
    "truncated.jpg": (lambda: saved(picture(size=(400, 300)), "JPEG")[:6000], "cut off"),
    "enormous.png": (lambda: header(40_000), "megapixels"),
    "animated.gif": (lambda: saved(picture(), "GIF"), "GIF"),
    "drawing.svg": (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("task", ["skin", "breastmnist"])
def test_what_cannot_be_read_is_refused_with_a_sentence(client: Client, tmp_path: Path, name: str, task: str) -> None:
    make, expected = REFUSED[name]
    (tmp_path / name).write_bytes(make())
    text = sentence(lambda: client.predict(handle_file(tmp_path / name), 0.3, "none", api_name=f"/{task}"))
    assert expected in text
    assert str(tmp_path) not in text
    assert client.predict(example(task), 0.3, "none", api_name=f"/{task}")[0]["task"] == task, "the worker lives"


def deep(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)


def turned(image: Image.Image) -> bytes:
    """The picture stored lying on its side, with the EXIF orientation that puts it upright again."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(image.transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif)


RIGHT: dict[str, tuple[Callable[[Image.Image], bytes], float, str]] = {
    # bytes, how far p(malignant) may be from the plain picture's, what the person is told
    "tiff.tif": (lambda image: saved(image, "TIFF"), 1e-6, ""),
    "bmp.bmp": (lambda image: saved(image, "BMP"), 1e-6, ""),
    "webp.webp": (lambda image: saved(image, "WEBP", lossless=True), 1e-6, ""),
    "wrong_suffix.txt": (lambda image: saved(image, "PNG"), 1e-6, ""),
    "exif.png": (turned, 1e-6, ""),
    "frames.png": (
        lambda image: saved(image, "PNG", save_all=True, append_images=[image.rotate(90)] * 2),
        1e-6,
        "first was read",
    ),
    "frames.webp": (
        lambda image: saved(image, "WEBP", lossless=True, save_all=True, append_images=[image.rotate(90)]),
        1e-6,
        "first was read",
    ),
    "cmyk.tif": (lambda image: saved(image.convert("CMYK"), "TIFF"), 0.1, "CMYK"),
}


@pytest.mark.parametrize("name", RIGHT)
def test_unusual_pictures_get_the_plain_ones_answer(client: Client, tmp_path: Path, name: str) -> None:
    make, tolerance, told = RIGHT[name]
    (tmp_path / "plain.png").write_bytes(saved(picture(), "PNG"))
    (tmp_path / name).write_bytes(make(picture()))
    plain, _ = client.predict(handle_file(tmp_path / "plain.png"), 0.3, "none", api_name="/skin")
    result, _ = client.predict(handle_file(tmp_path / name), 0.3, "none", api_name="/skin")
    assert result["p_malignant"] == pytest.approx(plain["p_malignant"], abs=tolerance)
    assert result["size"] == plain["size"]
    assert told in " ".join(result["quality"])


def test_deep_grey_and_a_palette_with_transparency(client: Client, tmp_path: Path) -> None:
    grey = picture("L")
    (tmp_path / "plain.png").write_bytes(saved(grey, "PNG"))
    (tmp_path / "deep.png").write_bytes(saved(deep(grey), "PNG"))
    (tmp_path / "palette.png").write_bytes(saved(grey.convert("P"), "PNG", transparency=0))
    plain, deep_grey, palette = (
        client.predict(handle_file(tmp_path / name), 0.3, "none", api_name="/ultrasound")[0]
        for name in ("plain.png", "deep.png", "palette.png")
    )
    assert deep_grey["p_malignant"] == pytest.approx(plain["p_malignant"], abs=1e-3)
    assert "16 bits" in " ".join(deep_grey["quality"])
    assert palette["task"] == "ultrasound"


def test_too_large_an_upload_is_refused(server: Server) -> None:
    answer = httpx.post(f"{server.url}/gradio_api/upload", files={"files": ("a.png", b"0" * 13_000_000)}, timeout=60)
    assert answer.status_code == 413


def test_concurrent_calls_get_the_quiet_answers(client: Client, tmp_path: Path) -> None:
    pictures = []
    for i in range(6):
        (tmp_path / f"{i}.png").write_bytes(saved(picture().rotate(60 * i), "PNG"))
        pictures.append(tmp_path / f"{i}.png")

    def read(file: Path) -> str:
        return json.dumps(client.predict(handle_file(file), 0.3, "Guided Grad-CAM", api_name="/skin")[0])

    quiet = {file: read(file) for file in pictures}
    assert len(set(quiet.values())) == len(pictures)
    with ThreadPoolExecutor(6) as pool:
        for _ in range(3):
            assert dict(zip(pictures, pool.map(read, pictures), strict=True)) == quiet


def test_only_these_endpoints_are_offered(client: Client) -> None:
    offered = client.view_api(return_format="dict", print_info=False)
    endpoints = offered["named_endpoints"]
    assert set(endpoints) == {*(f"/{task}" for task in TASKS), "/robustness"}
    assert not offered["unnamed_endpoints"]
    for name, (required, further) in {
        **{
            f"/{name}": (["image"], ["threshold", "explain", "code", "model", *(["mpp"] if task.mpp else [])])
            for name, task in TASKS.items()
        },
        "/robustness": (["task", "image"], ["threshold", "model", "mpp"]),
    }.items():
        parameters = endpoints[name]["parameters"]
        assert [p["parameter_name"] for p in parameters] == required + further
        assert [p["parameter_has_default"] for p in parameters] == [False] * len(required) + [True] * len(further)
        returned = ["result"] if name == "/robustness" else ["result", "Heatmap"]
        assert [r["label"] for r in endpoints[name]["returns"]] == returned
        assert "not a diagnosis" in endpoints[name]["description"]


def test_nothing_of_a_picture_or_a_trace_is_logged(server: Server, client: Client, tmp_path: Path) -> None:
    (tmp_path / "jane-doe-1960.png").write_bytes(saved(picture(), "PNG"))
    (tmp_path / "john-doe-1961.png").write_bytes(b"not an image")
    client.predict(handle_file(tmp_path / "jane-doe-1960.png"), 0.3, "none", api_name="/skin")
    sentence(lambda: client.predict(handle_file(tmp_path / "john-doe-1961.png"), 0.3, "none", api_name="/skin"))
    log = server.log.read_text()
    assert "doe" not in log
    assert server.process.poll() is None
