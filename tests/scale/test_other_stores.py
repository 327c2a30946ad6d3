"""Google Cloud Storage (gcp-storage-emulator) and the Hub's datasets (tests/hub.py), both on the loopback."""

from collections.abc import Iterator
from pathlib import Path

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


def probabilities(folder: Path) -> dict[str, float | None]:
    """The answer for each file name."""
    return {row["path"].rpartition("/")[2]: row["p_malignant"] for row in rows(folder)}
