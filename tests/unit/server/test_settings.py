"""src/server/settings.py: an invalid setting ends the start with one sentence that names the variable."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from src.server import environment, settings
from src.server.rate_limit import Allowed
from src.server.settings import Address, SettingRefused
from tests.support.app import ROOT

CANARY = "canary-of-a-value"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("VIGIL_", "GRADIO_SERVER", "GRADIO_TEMP", "SPACE_ID")):
            monkeypatch.delenv(name)
    monkeypatch.setenv(settings.PORT, str(free()))


def free() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(params=["127.0.0.1", "0.0.0.0"])
def taken(request: pytest.FixtureRequest) -> Iterator[int]:
    """A port that another program listens at."""
    with socket.socket() as other:
        other.bind((request.param, 0))
        other.listen()
        yield other.getsockname()[1]


def refusal() -> str:
    with pytest.raises(SettingRefused) as caught:
        settings.check()
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize(
    ("name", "values"),
    [
        *(
            (
                name,
                ["0/minute", "abc", "-1/minute", "120", "120/fortnight", "1/second;9/hour", "1.5/minute", "٣/minute"],
            )
            for name in ("VIGIL_VISITOR_LIMIT", "VIGIL_TOTAL_LIMIT")
        ),
        ("VIGIL_SLIDE_LIMIT", ["0", "-1", "2000 MB", "2GB", "1.5", "50001", "２０"]),
        ("VIGIL_PROXIES", ["-1", "one", "1.0", "３", "²", "0x1"]),
        ("VIGIL_WRITER_URL", ["example.org", "ftp://example.org", "http://", "http://user@example.org", "http:///v1"]),
        ("GRADIO_SERVER_PORT", ["abc", "0", "-1", "65536", "7_860", "７８６０", "99999999999999999999"]),
        ("GRADIO_NUM_PORTS", ["abc", "0"]),
        ("GRADIO_NODE_NUM_PORTS", ["abc", "0"]),
        ("GRADIO_NODE_SERVER_PORT", ["abc", "65536"]),
        ("GRADIO_NUM_WORKERS", ["abc", "-1"]),
        ("GRADIO_DEBUG", ["abc", "2"]),
        *(
            (f"GRADIO_{name}", ["1", "True", "/srv"])
            for name in ("ALLOWED_PATHS", "SHARE", "LOCAL_DEV_MODE", "VIBE_MODE")
        ),
        ("GRADIO_SERVER_NAME", ["no such name", "192.0.2.1", f"{CANARY}.invalid", "x" * 300]),
    ],
)
def test_what_cannot_be_meant_is_refused_by_its_name(
    name: str, values: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in values:
        monkeypatch.setenv(name, value)
        assert refusal().startswith(name), value


@pytest.mark.parametrize("name", ["VIGIL_VISITORS_LIMIT", "VIGIL_LIMIT", "VIGIL_WEIGHTS_KIDNEY", "VIGIL_"])
def test_a_slip_in_a_name_is_not_passed_over(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, CANARY)
    sentence = refusal()
    assert sentence.startswith(f"Vigil has no setting {name}.")
    assert "VIGIL_VISITOR_LIMIT" in sentence
    assert CANARY not in sentence


def test_what_can_be_meant_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "VIGIL_VISITOR_LIMIT": "7 per hour",
        "VIGIL_TOTAL_LIMIT": "1000000/minute",
        "VIGIL_PROXIES": "2",
        "VIGIL_WRITER_URL": "http://127.0.0.1:8000/v1",
        "VIGIL_WEIGHTS_SKIN": "owner/vigil-skin@v1",
        "GRADIO_NUM_PORTS": "1",
        "GRADIO_SERVER_NAME": "localhost",
        "GRADIO_ANALYTICS_ENABLED": "False",
    }.items():
        monkeypatch.setenv(name, value)
    assert settings.check() == Address("localhost", int(os.environ[settings.PORT]))
    allowed = Allowed.from_environment()
    assert (allowed.visitor.amount, allowed.visitor.get_expiry(), allowed.proxies) == (7, 3600, 2)


def test_the_limit_for_slides_has_megabytes_and_none_on_a_space(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.slide_limit() == 0
    monkeypatch.setenv("VIGIL_SLIDE_LIMIT", "2000")
    settings.check()
    assert settings.slide_limit() == 2_000_000_000
    monkeypatch.setenv("SPACE_ID", "owner/space")
    assert refusal().startswith("VIGIL_SLIDE_LIMIT must be left unset on a Space")
    monkeypatch.delenv("VIGIL_SLIDE_LIMIT")
    settings.check()


def test_empty_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*settings.CHECKED, *settings.OURS, settings.NAME):
        monkeypatch.setenv(name, " ")
    monkeypatch.setattr(settings, "DEFAULT_PORT", free())
    assert settings.check() == Address("127.0.0.1", settings.DEFAULT_PORT)
    assert settings.PORT not in os.environ, "Gradio would read it as a number"
    assert Allowed.from_environment().proxies == 0


@pytest.mark.parametrize("asked", [True, False])
def test_a_port_in_use_is_said_asked_for_or_not(asked: bool, taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if asked:
        monkeypatch.setenv(settings.PORT, str(taken))
    else:
        monkeypatch.delenv(settings.PORT)
        monkeypatch.setattr(settings, "DEFAULT_PORT", taken)
    assert f"another program listens on port {taken}" in refusal()


@pytest.mark.parametrize("megabytes", [0, 500, 619])
def test_a_temporary_folder_with_too_little_room_is_refused(
    megabytes: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=megabytes * 10**6))
    with pytest.raises(SettingRefused, match=rf"^GRADIO_TEMP_DIR: .* has {megabytes} MB free, and uploads need 620 MB"):
        environment.prepare()
    assert os.environ["GRADIO_TEMP_DIR"] == str(tmp_path / "uploads")
    assert not list((tmp_path / "uploads").glob("*/"))


def test_a_temporary_folder_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "file" / "uploads"))
    with pytest.raises(SettingRefused, match=r"^GRADIO_TEMP_DIR: no folder can be made in "):
        environment.prepare()


@pytest.mark.slow
def test_the_app_ends_with_one_sentence_and_status_2() -> None:
    """tests/attack/operators.py starts the app with an invalid limit, and with a port in use."""
    name = "GRADIO_SERVER_PORT"
    ended = subprocess.run(
        [sys.executable, "app.py"],
        cwd=ROOT,
        env={**os.environ, name: "abc"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith(f"app: {name} must be ")
    assert ended.stderr.count("\n") == 1
