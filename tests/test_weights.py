"""src/weights.py: a whole checkpoint loads, every fault is refused in one sentence, and the page falls back."""

import json
import struct
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import safetensors.torch
import torch

from src import weights
from src.weights import CheckpointError, find, load, read_tensors
from tests import made_up_checkpoints
from tests.made_up_checkpoints import rewrite

TASK = "breastmnist"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A whole checkpoint, and no setting from outside."""
    for name in ("OWNER", "SKIN", "BREASTMNIST"):
        monkeypatch.delenv(f"VIGIL_WEIGHTS_{name}", raising=False)
    return made_up_checkpoints.write(tmp_path / "asked", TASK)


@pytest.fixture
def embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An embedded default of other weights."""
    monkeypatch.setattr(weights, "EMBEDDED", tmp_path / "checkpoints")
    return made_up_checkpoints.write(tmp_path / "checkpoints" / TASK, TASK, seed=1)


def edit(file: Path, change: Callable[[Any], Any]) -> None:
    content = json.loads(file.read_text())
    rewrite(file, change(content) or content)


def reseal(folder: Path) -> None:
    """Make config.json and evaluation.json name the weights that are there."""
    digest = weights.sha256(folder / "model.safetensors")
    edit(folder / "config.json", lambda c: c["vigil"].update(sha256=digest))
    edit(folder / "evaluation.json", lambda c: c.update(weights_sha256=digest))


def replace_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    change(tensors)
    safetensors.torch.save_file(tensors, folder / "model.safetensors")
    reseal(folder)


def test_whole_checkpoint(folder: Path) -> None:
    checkpoint = load(TASK, folder)
    digest = weights.sha256(folder / "model.safetensors")
    assert checkpoint.config.vigil.temperature == 1.5
    assert checkpoint.source == str(folder)
    assert checkpoint.revision == digest[:12]
    assert checkpoint.problem is None
    assert checkpoint.evaluation is not None
    assert not checkpoint.network.training
    stored = safetensors.torch.load_file(folder / "model.safetensors")
    for name, tensor in checkpoint.network.state_dict().items():
        assert torch.equal(tensor, stored[name].to(tensor.dtype))
    assert all(p.dtype == torch.float32 and not p.requires_grad for p in checkpoint.network.parameters())


def test_nothing_is_unpickled(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unpickle(*_: object, **__: object) -> None:
        raise AssertionError("torch.load was called")

    monkeypatch.setattr(torch, "load", unpickle)
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    load(TASK, folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors is missing"):
        load(TASK, folder)


def test_embedded_source_has_its_name(embedded: Path) -> None:
    assert load(TASK, embedded).source == "embedded"


def test_evaluation_may_lack(folder: Path) -> None:
    (folder / "evaluation.json").unlink()
    assert load(TASK, folder).evaluation is None


CONFIG_FAULTS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "unknown network": (lambda c: c.update(architecture="resnet18"), "unknown network 'resnet18'"),
    "another task's": (lambda c: c["vigil"].update(task="ultrasound"), "label_names must be benign"),
    "unknown task": (lambda c: c["vigil"].update(task="knee"), "unknown task 'knee'"),
    "classes in another order": (lambda c: c.update(label_names=["benign", "malignant"]), "label_names must be"),
    "wrong number of classes": (lambda c: c.update(num_classes=3), "num_classes 3 does not fit"),
    "a list": (lambda c: [c], "not a JSON object"),
    "nothing": (lambda _: {"a": 1}, "architecture: Field required"),
    "no vigil block": (lambda c: c.pop("vigil") and None, "vigil: Field required"),
    "no temperature": (lambda c: c["vigil"].pop("temperature") and None, "vigil.temperature: Field required"),
    "NaN temperature": (lambda c: c["vigil"].update(temperature=float("nan")), "vigil.temperature"),
    "zero temperature": (lambda c: c["vigil"].update(temperature=0), "vigil.temperature"),
    "threshold above 1": (lambda c: c["vigil"].update(default_threshold=1.5), "vigil.default_threshold"),
    "no hash": (lambda c: c["vigil"].update(sha256=""), "vigil.sha256"),
    "zero std": (lambda c: c["pretrained_cfg"].update(std=[0.0]), "pretrained_cfg.std"),
    "mean of three channels": (lambda c: c["pretrained_cfg"].update(mean=[0, 0, 0]), "one value a channel"),
    "not square": (lambda c: c["pretrained_cfg"].update(input_size=[1, 28, 30]), "square"),
    "huge input": (lambda c: c["pretrained_cfg"].update(input_size=[1, 9999, 9999]), "16 to 640"),
    "cropped": (lambda c: c["pretrained_cfg"].update(crop_pct=0.875), "crop_pct"),
}


@pytest.mark.parametrize("fault", CONFIG_FAULTS)
def test_config_faults_are_refused(fault: str, folder: Path) -> None:
    change, sentence = CONFIG_FAULTS[fault]
    edit(folder / "config.json", change)
    with pytest.raises(CheckpointError) as refused:
        load(TASK, folder)
    assert sentence in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}"])
def test_config_that_is_no_json_is_refused(content: bytes, folder: Path) -> None:
    (folder / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read as JSON\."):
        load(TASK, folder)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_missing_file_is_refused(file: str, folder: Path) -> None:
    (folder / file).unlink()
    with pytest.raises(CheckpointError, match="is missing"):
        load(TASK, folder)


def test_huge_json_is_refused_unread(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "MAX_JSON_BYTES", 100)
    with pytest.raises(CheckpointError, match="too large"):
        load(TASK, folder)


def test_another_tasks_checkpoint_is_refused(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="for breastmnist, not for skin"):
        load("skin", folder)


def test_flipped_byte_is_refused(folder: Path) -> None:
    file = folder / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match="sha256 differs"):
        load(TASK, folder)


TENSOR_FAULTS: dict[str, tuple[Callable[[dict[str, torch.Tensor]], object], str]] = {
    "missing": (lambda t: t.pop("classifier.bias"), "do not fit the network vigil_cnn28"),
    "extra": (lambda t: t.update(extra=torch.zeros(1)), "do not fit"),
    "of another shape": (lambda t: t.update({"classifier.bias": torch.zeros(3)}), "do not fit"),
    "NaN": (lambda t: t["classifier.bias"].fill_(float("nan")), r"not finite \(classifier.bias\)"),
    "infinite": (lambda t: t["classifier.bias"].fill_(float("-inf")), "not finite"),
    "float8": (lambda t: t.update({"classifier.bias": torch.zeros(2, dtype=torch.float8_e4m3fn)}), "of a type"),
    "complex": (lambda t: t.update({"classifier.bias": torch.zeros(2, dtype=torch.complex64)}), "of a type"),
}


@pytest.mark.parametrize("fault", TENSOR_FAULTS)
def test_tensor_faults_are_refused(fault: str, folder: Path) -> None:
    change, sentence = TENSOR_FAULTS[fault]
    replace_tensors(folder, change)
    with pytest.raises(CheckpointError, match=sentence):
        load(TASK, folder)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"12345678",
        b"\x80\x04\x95" + b"pickle" * 9,
        struct.pack("<Q", 2**62) + b"{}",
        struct.pack("<Q", 2) + b"[]" + b"x" * 9,
        struct.pack("<Q", 58) + b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,999999]}}',
        struct.pack("<Q", 5 * 2**20) + b"{" + b" " * (5 * 2**20),
    ],
)
def test_what_is_no_safetensors_is_refused(content: bytes, folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(content)
    reseal(folder)
    with pytest.raises(CheckpointError, match=r"cannot be read|impossible size|not a safetensors file"):
        load(TASK, folder)


def test_huge_file_is_refused_unread(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "MAX_WEIGHTS_BYTES", 1000)
    with pytest.raises(CheckpointError, match="impossible size"):
        read_tensors(folder / "model.safetensors")


def test_evaluation_of_other_weights_is_refused(folder: Path) -> None:
    edit(folder / "evaluation.json", lambda c: c.update(weights_sha256="0" * 64))
    with pytest.raises(CheckpointError, match="made from other weights"):
        load(TASK, folder)


@pytest.mark.parametrize("where", ["", "nowhere", "/nowhere/a", "../a", "a/b/c", "a/b@c/d", "https://a/b", "own er/a"])
def test_what_names_no_checkpoint_is_refused(where: str) -> None:
    with pytest.raises(CheckpointError):
        load(TASK, where or "/nowhere")


@pytest.mark.parametrize("name", ["pickle.Unpickler", "torchvision.models.resnet18", "hf-hub:a/b", "local-dir:/tmp"])
def test_build_knows_its_own_list_only(name: str) -> None:
    with pytest.raises(CheckpointError, match="Unknown network"):
        weights.build(name, 2, 1)


@pytest.mark.usefixtures("folder", "embedded")
def test_find_without_settings_is_the_embedded_one() -> None:
    checkpoint = find(TASK)
    assert (checkpoint.source, checkpoint.problem) == ("embedded", None)


@pytest.mark.usefixtures("embedded")
def test_find_takes_what_is_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = weights.sha256(folder / "model.safetensors")[:12]
    assert find(TASK, str(folder)).revision == asked
    monkeypatch.setenv("VIGIL_WEIGHTS_OWNER", "nobody")
    monkeypatch.setenv("VIGIL_WEIGHTS_BREASTMNIST", str(folder))
    checkpoint = find(TASK)
    assert (checkpoint.revision, checkpoint.problem) == (asked, None)


def test_find_falls_back_from_a_broken_folder(folder: Path, embedded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "config.json").write_text("{")
    monkeypatch.setenv("VIGIL_WEIGHTS_BREASTMNIST", str(folder))
    checkpoint = find(TASK)
    assert checkpoint.source == "embedded"
    assert checkpoint.revision == weights.sha256(embedded / "model.safetensors")[:12]
    assert checkpoint.problem is not None
    assert str(folder) in checkpoint.problem
    assert "config.json cannot be read as JSON." in checkpoint.problem


@pytest.mark.usefixtures("folder")
def test_find_fails_where_the_embedded_one_is_broken(embedded: Path) -> None:
    (embedded / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError):
        find(TASK)


class Hub:
    """As much of the Hub as is asked for, on a loopback port; `answer` may change or withhold a reply to a path."""

    def __init__(self, files: Path) -> None:
        self.asked: list[str] = []
        self.closing = threading.Event()
        self.answer: Callable[[str], tuple[int, bytes] | None] = lambda _: None
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.asked.append(self.path)
                status, body = hub.answer(self.path) or hub.reply(self.path, files)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("ETag", f'"{len(body)}"')
                self.send_header("X-Repo-Commit", COMMIT)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @staticmethod
    def reply(path: str, files: Path) -> tuple[int, bytes]:
        if path.startswith("/api/models/owner/vigil-breastmnist"):
            return 200, json.dumps({"id": "owner/vigil-breastmnist", "sha": COMMIT}).encode()
        file = files / path.rpartition("/")[2]
        if path.startswith(f"/owner/vigil-breastmnist/resolve/{COMMIT}/") and file.is_file():
            return 200, file.read_bytes()
        return 404, b""

    def silent(self, _: str) -> tuple[int, bytes]:
        self.closing.wait(60)
        return 500, b""

    def close(self) -> None:
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def hub(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    made = Hub(folder)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", made.url)
    monkeypatch.setattr(
        huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", made.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path / "cache"), raising=False)
    yield made
    made.close()


def test_hub_gives_three_files_of_one_commit(hub: Hub, folder: Path) -> None:
    checkpoint = load(TASK, "owner/vigil-breastmnist@v1")
    assert (checkpoint.source, checkpoint.revision) == ("owner/vigil-breastmnist", COMMIT)
    assert checkpoint.config == load(TASK, folder).config
    assert checkpoint.evaluation is not None
    assert "/api/models/owner/vigil-breastmnist/revision/v1" in hub.asked
    fetched = [path for path in hub.asked if not path.startswith("/api/")]
    assert {path.rpartition("/")[2] for path in fetched} == set(weights.FILES)
    assert all(f"/resolve/{COMMIT}/" in path for path in fetched)


@pytest.mark.usefixtures("hub", "embedded")
def test_owner_of_all_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIL_WEIGHTS_OWNER", "owner")
    assert find(TASK).source == "owner/vigil-breastmnist"


HUB_FAULTS: dict[str, Callable[[str], tuple[int, bytes] | None]] = {
    "no such repository": lambda _: (404, b""),
    "closed to us": lambda _: (401, b""),
    "broken": lambda _: (500, b""),
    "busy": lambda _: (429, b""),
    "a web page": lambda _: (200, b"<html>Sign in to the hotel's network</html>"),
    "JSON of something else": lambda _: (200, b'{"a": 1}'),
    "a list": lambda _: (200, b"[1]"),
    "no commit": lambda path: (200, b'{"id": "owner/vigil-breastmnist"}') if path.startswith("/api") else None,
    "no config": lambda path: (404, b"") if path.endswith("config.json") else None,
    "other weights": lambda path: (200, b"x" * 99) if path.endswith("model.safetensors") else None,
}


@pytest.mark.parametrize("fault", HUB_FAULTS)
@pytest.mark.usefixtures("embedded")
def test_find_falls_back_from_a_hub_that_answers_wrongly(fault: str, hub: Hub) -> None:
    hub.answer = HUB_FAULTS[fault]
    checkpoint = find(TASK, "owner/vigil-breastmnist")
    assert checkpoint.source == "embedded"
    assert checkpoint.problem is not None


@pytest.mark.usefixtures("embedded")
def test_find_falls_back_at_once_where_nothing_listens(hub: Hub) -> None:
    hub.close()
    started = time.monotonic()
    checkpoint = find(TASK, "owner/vigil-breastmnist@main")
    assert checkpoint.problem is not None
    assert "ConnectError" in checkpoint.problem
    assert time.monotonic() - started < 10


@pytest.mark.usefixtures("embedded")
def test_find_falls_back_from_a_silent_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "HUB_ANSWER_SECONDS", 0.2)
    hub.answer = hub.silent
    checkpoint = find(TASK, "owner/vigil-breastmnist")
    assert checkpoint.problem is not None
    assert "Timeout" in checkpoint.problem


@pytest.mark.usefixtures("embedded")
def test_find_falls_back_from_a_hub_that_falls_silent(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "HUB_FILES_SECONDS", 0.5)
    hub.answer = lambda path: None if path.startswith("/api") else hub.silent(path)
    started = time.monotonic()
    checkpoint = find(TASK, "owner/vigil-breastmnist")
    assert checkpoint.problem is not None
    assert "within 0.5 seconds" in checkpoint.problem
    assert time.monotonic() - started < 10
