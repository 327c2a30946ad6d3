"""src/models/checkpoints.py: a complete checkpoint loads, each fault is refused in one sentence, and the page then
serves the embedded default."""

import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from src.models import checkpoint_info, checkpoints
from src.models.checkpoints import CheckpointError, find, load, read_tensors
from tests.support.synthetic_checkpoints import edit, replace_tensors, reseal

TASK = "breastmnist"


def test_whole_checkpoint(folder: Path) -> None:
    checkpoint = load(TASK, folder)
    digest = checkpoints.sha256(folder / "model.safetensors")
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
    assert "has no evaluation.json" in (load(TASK, folder).evaluation.problem or "")


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
    "mean of three channels": (lambda c: c["pretrained_cfg"].update(mean=[0, 0, 0]), "one value per channel"),
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
    monkeypatch.setattr(checkpoints, "MAX_JSON_BYTES", 100)
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
    monkeypatch.setattr(checkpoints, "MAX_WEIGHTS_BYTES", 1000)
    with pytest.raises(CheckpointError, match="impossible size"):
        read_tensors(folder / "model.safetensors")


def test_evaluation_of_other_weights_is_refused(folder: Path) -> None:
    edit(folder / "evaluation.json", lambda c: c.update(weights_sha256="0" * 64))
    with pytest.raises(CheckpointError, match="made from other weights"):
        load(TASK, folder)


@pytest.mark.parametrize("where", ["", "nowhere", "/nowhere/a", "../a", "a/b/c", "a/b/c@d", "https://a/b", "own er/a"])
def test_what_names_no_checkpoint_is_refused(where: str) -> None:
    with pytest.raises(CheckpointError):
        load(TASK, where or "/nowhere")


@pytest.mark.parametrize("name", ["pickle.Unpickler", "torchvision.models.resnet18", "hf-hub:a/b", "local-dir:/tmp"])
def test_build_knows_its_own_list_only(name: str) -> None:
    with pytest.raises(CheckpointError, match="Unknown network"):
        checkpoints.build(name, 2, 1)


@pytest.mark.usefixtures("folder", "embedded")
def test_find_without_settings_is_the_embedded_one() -> None:
    checkpoint = find(TASK)
    assert (checkpoint.source, checkpoint.problem) == ("embedded", None)


@pytest.mark.usefixtures("embedded")
def test_find_takes_what_is_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = checkpoints.sha256(folder / "model.safetensors")[:12]
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
    assert checkpoint.revision == checkpoints.sha256(embedded / "model.safetensors")[:12]
    assert checkpoint.problem is not None
    assert str(folder) in checkpoint.problem
    assert "config.json cannot be read as JSON." in checkpoint.problem


@pytest.mark.usefixtures("folder")
def test_find_fails_where_the_embedded_one_is_broken(embedded: Path) -> None:
    (embedded / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError):
        find(TASK)


def test_a_further_one_that_is_broken_is_left_out(embedded: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("other", "whole"):
        shutil.copytree(embedded, embedded.with_name(f"{TASK}-{name}"))
    (embedded.with_name(f"{TASK}-other") / "model.safetensors").write_bytes(b"")
    assert checkpoint_info.further(TASK) == [f"{TASK}-other", f"{TASK}-whole"]
    assert list(checkpoints.find_further(TASK)) == [f"{TASK}-whole"]
    assert f"{TASK}-other is not offered" in caplog.text


def test_a_refused_checkpoint_can_be_told_in_a_process_without_torch() -> None:
    """A worker process pickles the error, and the app's own process imports the module that has it."""
    assert checkpoints.CheckpointError.__module__ == "src.models.checkpoint_info"
