"""Google Cloud Storage (gcp-storage-emulator), the Hub's datasets (tests/hub.py) and a web server, on the loopback."""

from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import gcsfs
import pytest
from gcp_storage_emulator.server import create_server

from src.scale.run import verify
from tests.hub import Hub
from tests.scale.conftest import Command, ended
from tests.support.app import free_port
from tests.support.scale_runs import files, rows


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch, images: Path) -> Iterator[gcsfs.GCSFileSystem]:
    """The images in the bucket clinic of an emulator that the environment names."""
    port = free_port()
    server = create_server("127.0.0.1", port, in_memory=True, default_bucket="clinic")
    server.start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    gcsfs.GCSFileSystem.clear_instance_cache()
    found = gcsfs.GCSFileSystem()
    for image in images.iterdir():
        found.pipe_file(f"clinic/in/{image.name}", image.read_bytes())
    yield found
    server.stop()


def test_google_cloud_storage(google: gcsfs.GCSFileSystem, command: Command, plain: Path, tmp_path: Path) -> None:
    assert ended(command("gs://clinic/in", "--out", "gs://clinic/out", "--workers", 2)) == 1
    assert verify("gs://clinic/out") == 0
    for path in google.ls("clinic/out", detail=False):
        if path.endswith(".parquet"):
            (tmp_path / path.rpartition("/")[2]).write_bytes(google.cat_file(path))
    assert probabilities(tmp_path) == probabilities(plain)
    assert ended(command("gs://clinic/in", "--out", "gs://clinic/out", "--workers", 1)) == 1  # reads the parts alone


def test_a_dataset_of_the_hub(session_hub: Hub, command: Command, images: Path, plain: Path, tmp_path: Path) -> None:
    session_hub.put("owner/lesions", {file.name: file.read_bytes() for file in images.iterdir()}, kind="dataset")
    out = tmp_path / "out"
    assert ended(command("hf://datasets/owner/lesions", "--out", out, "--workers", 2)) == 1
    assert verify(str(out)) == 0
    assert len(files(out)) == len(files(plain))
    assert probabilities(out) == probabilities(plain)


@pytest.fixture
def web(images: Path) -> Iterator[str]:
    """The address of a web server for the images."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(images))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_web_addresses(web: str, command: Command, images: Path, plain: Path, tmp_path: Path) -> None:
    table = tmp_path / "addresses.csv"
    lines = ["path", *(f"{web}/{file.name}?signature=S3CRET" for file in images.iterdir())]
    table.write_text("\n".join(lines) + "\n")
    out = tmp_path / "out"
    assert ended(command(table, "--out", out, "--workers", 2)) == 1
    assert verify(str(out)) == 0
    assert probabilities(out) == probabilities(plain)
    assert not any(b"S3CRET" in file.read_bytes() for file in out.iterdir())


def probabilities(folder: Path) -> dict[str, float | None]:
    """The answer for each file name."""
    return {row["path"].rpartition("/")[2]: row["p_malignant"] for row in rows(folder)}
