"""src/server/environment.py: the variables that Gradio and uvicorn read, and the folder of uploads that is chosen."""

import os
from pathlib import Path

import pytest

from src.server import environment
from src.server.disk import Claim, claim
from src.server.settings import SettingRefused


def test_what_the_environment_tells_gradio_and_uvicorn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("GRADIO_ANALYTICS_MAX_EVENTS", "GRADIO_ANALYTICS_CACHE_FREQUENCY"):
        monkeypatch.setenv(name, "10000")
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    claimed: Claim = environment.prepare()
    assert claimed.folder.parent == tmp_path
    assert os.environ["GRADIO_TEMP_DIR"] == str(claimed.folder)
    assert os.environ["FORWARDED_ALLOW_IPS"] == ""
    assert int(os.environ["GRADIO_ANALYTICS_MAX_EVENTS"]) <= 1000
    claimed.lock.release()


def test_another_users_default_folder_is_passed_by(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")  # restored afterwards, as prepare() sets it
    default = tmp_path / "gradio"

    def claimed_by_others(base: Path) -> Claim:  # tests may run as root, whom no permission stops
        if base == default:
            raise PermissionError(13, "Permission denied", str(base))
        return claim(base)

    monkeypatch.setattr(environment, "get_upload_folder", lambda: str(default))
    monkeypatch.setattr(environment, "claim", claimed_by_others)
    claimed = environment.prepare()
    assert claimed.folder.parent == tmp_path / f"vigil-{os.getuid()}"
    assert os.environ["GRADIO_TEMP_DIR"] == str(claimed.folder)
    claimed.lock.release()


def test_a_folder_that_was_chosen_and_cannot_be_used_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "file"))
    with pytest.raises(SettingRefused, match="GRADIO_TEMP_DIR: no folder can be made"):
        environment.prepare()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
