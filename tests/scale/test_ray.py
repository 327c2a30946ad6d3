"""Ray Data: the rows of the local engine, whatever is killed."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from src.scale.run import verify
from tests.scale.conftest import Command, descendants, ended, until
from tests.support.scale_runs import files
from tests.support.scoring import picture

ACTOR = "MapWorker"
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
"""127.0.0.1 and ::1 as Linux lists them."""
MANY = int(os.environ.get("SCALE_IMAGES", "2000"))
"""The images of the largest run."""


def same(out: Path, plain: Path) -> None:
    assert files(out) == files(plain)
    assert (out / "_manifest.json").read_bytes() == (plain / "_manifest.json").read_bytes()
    assert verify(str(out)) == 0


def test_a_killed_actor_costs_no_row(command: Command, images: Path, plain: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run = command(images, "--out", out, "--engine", "ray", "--workers", 2)
    until(lambda: files(out) or run.poll() is not None)
    actors = descendants(run.pid, ACTOR)
    assert actors
    os.kill(actors[0], signal.SIGKILL)
    assert ended(run) == 1
    same(out, plain)


def test_ray_listens_on_the_loopback_alone(command: Command, images: Path, tmp_path: Path) -> None:
    run = command(images, "--out", tmp_path / "out", "--engine", "ray", "--workers", 1)
    until(lambda: files(tmp_path / "out") or run.poll() is not None)
    inodes = set()
    for pid in [run.pid, *descendants(run.pid, "")]:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                inodes.add(str(link.readlink()).removeprefix("socket:[").rstrip("]"))
            except OSError:
                continue
    rows = [line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/net/{table}").read_text().splitlines()]
    ours = [row[1].rpartition(":") for row in rows if row[3] == "0A" and row[9] in inodes]
    assert ours
    assert {address for address, _, _ in ours} <= LOOPBACK
    # Ray's dashboard would listen on this port.
    assert f"{8265:04X}" not in {port for _, _, port in ours}


def test_a_killed_driver_goes_on(command: Command, images: Path, plain: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run = command(images, "--out", out, "--engine", "ray", "--workers", 2)
    until(lambda: len(files(out)) > 3 or run.poll() is not None)
    run.send_signal(signal.SIGKILL)
    run.communicate()
    assert ended(command(images, "--out", out, "--engine", "ray", "--workers", 2)) == 1
    same(out, plain)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head without cores, and three raylets with a core each."""
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    yield found
    found.shutdown()


def test_a_lost_machine_costs_no_row(
    cluster: Cluster, command: Command, images: Path, plain: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    nodes = [cluster.add_node(num_cpus=1) for _ in range(3)]
    run = command(images, "--out", out, "--engine", "ray", "--address", cluster.address)
    until(lambda: files(out) or run.poll() is not None)
    cluster.remove_node(nodes[0], allow_graceful=False)
    assert ended(run) == 1
    same(out, plain)


def test_many_images_through_three_raylets(cluster: Cluster, command: Command, tmp_path: Path) -> None:
    for number in range(MANY):
        picture(tmp_path / "in" / f"{number:05}.png", number, side=40)
    for _ in range(3):
        cluster.add_node(num_cpus=1)
    out = tmp_path / "out"
    run = command(tmp_path / "in", "--out", out, "--engine", "ray", "--address", cluster.address, "--part-size", 50)
    assert ended(run) == 0
    assert verify(str(out)) == 0
