"""src/weights.py: a whole checkpoint loads, every fault is refused in one sentence, and the page falls back."""

import io
import json
import re
import socket
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import safetensors.torch
import torch

from src import weights
from src.weights import CheckpointError, find, load, read_tensors
from tests import made_up_checkpoints
from tests.hub import Hub, Reply, instead
from tests.made_up_checkpoints import rewrite

TASK = "breastmnist"


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


@pytest.mark.parametrize("where", ["", "nowhere", "/nowhere/a", "../a", "a/b/c", "a/b/c@d", "https://a/b", "own er/a"])
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


REPO = "owner/vigil-breastmnist"


@pytest.fixture
def uploaded(hub: Hub, folder: Path) -> str:
    """The commit of a Hub's repository that holds `folder` and files nobody may fetch."""
    files = {name: (folder / name).read_bytes() for name in weights.FILES}
    return hub.put(REPO, {**files, "pytorch_model.bin": b"\x80\x04.", "modeling.py": b"raise SystemExit"}).oid


def test_hub_gives_three_files_of_one_commit(hub: Hub, folder: Path, uploaded: str) -> None:
    hub.put(REPO, {"config.json": b"{}"}, branch="next")
    checkpoint = load(TASK, REPO)
    assert (checkpoint.source, checkpoint.revision) == (REPO, uploaded)
    assert checkpoint.config == load(TASK, folder).config
    assert checkpoint.evaluation is not None
    fetched = [line for line in hub.asked if "/resolve/" in line]
    assert {line.rpartition("/")[2] for line in fetched} == set(weights.FILES)
    assert all(f"/resolve/{uploaded}/" in line for line in fetched)


def test_revisions_are_branches_and_commits(hub: Hub, folder: Path, uploaded: str) -> None:
    newer = hub.put(REPO, {name: (folder / name).read_bytes() for name in weights.FILES}, branch="two/words").oid
    assert load(TASK, f"{REPO}@two/words").revision == newer
    assert load(TASK, f"{REPO}@{uploaded}").revision == uploaded
    with pytest.raises(CheckpointError, match=f"^{REPO} has no revision three on the Hub.$"):
        load(TASK, f"{REPO}@three")


@pytest.mark.usefixtures("uploaded", "embedded")
def test_owner_of_all_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIL_WEIGHTS_OWNER", "owner")
    assert find(TASK).source == REPO


def test_private_weights_take_a_token(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.put(REPO, {name: (folder / name).read_bytes() for name in weights.FILES}, private=True)
    with pytest.raises(CheckpointError, match="or HF_TOKEN is not allowed to read it"):
        load(TASK, REPO)
    monkeypatch.setenv("HF_TOKEN", "hf_read")
    assert load(TASK, REPO).source == REPO


def test_first_download_shows_progress_on_a_terminal_and_the_second_fetches_nothing(
    hub: Hub, folder: Path, uploaded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    assert load(TASK, REPO).revision == uploaded
    kilobytes = (folder / "model.safetensors").stat().st_size // 1000
    assert re.search(rf"100%.*{kilobytes}k/{kilobytes}k", terminal.getvalue())
    hub.asked.clear()
    assert load(TASK, REPO).revision == uploaded
    assert [line for line in hub.asked if "/resolve/" in line] == []


NO_ANSWER = {
    "unreachable": instead(delay=60),
    "out of order": instead(status=503),
    "busy": instead(status=429, headers={"Retry-After": "300"}),
}


@pytest.mark.parametrize("fault", NO_ANSWER)
def test_a_cached_revision_still_loads(fault: str, hub: Hub, uploaded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    load(TASK, REPO)
    hub.put(REPO, {})
    monkeypatch.setattr(weights, "HUB_ANSWER_SECONDS", 0.5)
    hub.fault(".", NO_ANSWER[fault])
    assert load(TASK, REPO).revision == uploaded
    assert load(TASK, f"{REPO}@{uploaded}").revision == uploaded


def same_size(reply: Reply) -> Reply:
    return replace(reply, body=reply.body[::-1])


def half(reply: Reply) -> Reply:
    return replace(reply, body=reply.body[: len(reply.body) // 2])


INFO, WEIGHTS = "GET /api/models/", "GET /storage/"
NOT_IN_TIME = "The Hub did not answer in time."
# what happens -> on which requests, how it is answered, and what the person is told
MISBEHAVIOURS: dict[str, tuple[str, Callable[[Reply], Reply], str]] = {
    "401": (INFO, instead(status=401), f"The Hub refuses {REPO} (401)"),
    "403": (INFO, instead(status=403), "HF_TOKEN is not allowed to read it."),
    "404": (INFO, instead(status=404, headers={"X-Error-Code": "RepoNotFound"}), f"The Hub has no {REPO}"),
    "429": (INFO, instead(status=429, headers={"Retry-After": "3600"}), "it says to wait 3600 seconds."),
    "500": (INFO, instead(status=500), "The Hub is out of order (500)."),
    "slow": (INFO, instead(delay=60), NOT_IN_TIME),
    "falls silent": (WEIGHTS, instead(delay=60), NOT_IN_TIME),
    "500 for a file": ("/resolve/", instead(status=500), NOT_IN_TIME),
    "a file lacks": (
        "/resolve/.*/evaluation.json",
        instead(status=404, headers={"X-Error-Code": "EntryNotFound"}),
        "has not all of config.json, evaluation.json, model.safetensors.",
    ),
    "truncated": (WEIGHTS, half, "Consistency check failed"),
    "wrong hash": (WEIGHTS, same_size, "sha256 differs"),
    "garbled": ("GET .*/config.json", same_size, "config.json cannot be read as JSON."),
    "a web page": (INFO, instead(body=b"<html>Sign in to the hotel's network</html>"), f"did not give {REPO} whole"),
    "JSON of something else": (INFO, instead(body=b'{"a": 1}'), "KeyError"),
    "a list": (INFO, instead(body=b"[1]"), "TypeError"),
    "no commit": (INFO, instead(body=b'{"id": "owner/vigil-breastmnist"}'), "AssertionError"),
}


@pytest.mark.parametrize("name", MISBEHAVIOURS)
@pytest.mark.usefixtures("embedded")
def test_a_misbehaving_hub_never_stops_the_page_and_is_asked_again(
    name: str, hub: Hub, uploaded: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    request, change, sentence = MISBEHAVIOURS[name]
    # Limits so short are for what reaches them; a busy machine may need longer for the rest.
    if sentence == NOT_IN_TIME:
        monkeypatch.setattr(weights, "HUB_ANSWER_SECONDS", 0.5 if request == INFO else 30)
        monkeypatch.setattr(weights, "HUB_FILES_SECONDS", 1)
    hub.fault(request, change)
    started = time.monotonic()
    checkpoint = find(TASK, REPO)
    assert time.monotonic() - started < 40
    assert checkpoint.source == "embedded"
    assert checkpoint.problem is not None
    assert sentence in checkpoint.problem
    assert "\n" not in checkpoint.problem
    assert "Traceback" in caplog.text
    hub.behave()
    monkeypatch.setattr(weights, "HUB_ANSWER_SECONDS", 30)
    monkeypatch.setattr(weights, "HUB_FILES_SECONDS", 30)
    again = find(TASK, REPO)
    assert (again.source, again.revision, again.problem) == (REPO, uploaded, None)


def no_safetensors(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\x80\x04.pickle")
    reseal(folder)


HUB_CONTENT: dict[str, tuple[Callable[[Path], object], str]] = {
    "an unknown network": (
        lambda folder: edit(folder / "config.json", lambda c: c.update(architecture="resnet18")),
        "unknown network 'resnet18'",
    ),
    "no safetensors": (
        no_safetensors,
        "model.safetensors is not a safetensors file",
    ),
    "shapes that do not fit": (
        lambda folder: replace_tensors(folder, lambda t: t.update({"classifier.bias": torch.zeros(3)})),
        "do not fit the network",
    ),
    "weights of another config": (
        lambda folder: edit(folder / "config.json", lambda c: c["vigil"].update(sha256="0" * 64)),
        "sha256 differs",
    ),
}


@pytest.mark.parametrize("content", HUB_CONTENT)
@pytest.mark.usefixtures("embedded")
def test_a_bad_checkpoint_on_the_hub_never_stops_the_page(content: str, hub: Hub, folder: Path) -> None:
    spoil, sentence = HUB_CONTENT[content]
    spoil(folder)
    hub.put(REPO, {name: (folder / name).read_bytes() for name in weights.FILES})
    checkpoint = find(TASK, REPO)
    assert checkpoint.source == "embedded"
    assert checkpoint.problem is not None
    assert sentence in checkpoint.problem


def test_a_transfer_that_breaks_off_is_taken_up_again(hub: Hub, folder: Path, uploaded: str) -> None:
    cuts = iter([(folder / "model.safetensors").stat().st_size // 2])
    hub.fault(WEIGHTS, lambda reply: replace(reply, cut=next(cuts, None)))
    assert load(TASK, REPO).revision == uploaded
    assert sum(line.startswith(WEIGHTS) for line in hub.asked) == 2


@pytest.mark.usefixtures("hub", "embedded", "folder")
def test_find_falls_back_at_once_where_nothing_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{unused.getsockname()[1]}")
        started = time.monotonic()
        checkpoint = find(TASK, f"{REPO}@main")
    assert checkpoint.problem is not None
    assert "The Hub cannot be reached." in checkpoint.problem
    assert time.monotonic() - started < 40
