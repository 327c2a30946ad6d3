"""Every command that runs networks reports an engine that cannot run them: one sentence, exit status 2."""

from importlib import import_module
from pathlib import Path

import pytest

from src.models import engine_choice, openvino_engine
from tests.support import synthetic_checkpoints
from train import publish, release

COMMANDS = {
    "score": "src.score",
    "local": "src.local",
    "export": "src.export",
    "train": "train.__main__",
    "evaluate": "train.evaluate",
    "gate": "train.gate",
    "geometry": "train.geometry",
    "leave_out": "train.leave_out",
    "members": "train.members",
    "publish": "train.publish",
    "release": "train.release",
    "spread": "train.spread",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrong_engine_ends_each_command_before_it_works(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(engine_choice.VARIABLE, "onnx")
    assert import_module(COMMANDS[command]).main([]) == 2
    assert capsys.readouterr().err == f"{command}: VIGIL_ENGINE must be auto, openvino or torch.\n"


def broken(*_: object) -> None:
    raise RuntimeError("No such operation.\nA stack trace.")


def test_an_engine_that_does_not_work_ends_a_command_that_has_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where the command has its own words for other errors."""
    folder = synthetic_checkpoints.write(tmp_path, "breastmnist")
    golden = {"benign.png": [0.5, 0.5]}
    synthetic_checkpoints.edit(folder / "config.json", lambda config: config["vigil"].update(golden=golden))
    monkeypatch.setenv(engine_choice.VARIABLE, "openvino")
    monkeypatch.setattr(openvino_engine, "converted", broken)
    sentence = "VIGIL_ENGINE is openvino, and OpenVINO does not work here: No such operation."
    assert release.main([str(folder)]) == 2
    assert capsys.readouterr().err == f"release: {sentence}\n"
    assert publish.main([str(folder), "somebody/vigil-breastmnist", "--dry-run"]) == 2
    assert capsys.readouterr().err == f"publish: {sentence}\n"
