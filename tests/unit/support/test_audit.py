"""The audit hook of tests/support/audit records forbidden actions. Without this, an empty list would prove nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.app import ROOT, Server, audit_environment

# On a closed socket the hook sees the address, and nothing is sent.
VIOLATIONS = """
import importlib.util, io, socket
importlib.util.find_spec("torch")  # some libraries ask first
import torch

line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
line.close()
for host in ("127.0.0.1", "192.0.2.7"):
    line.connect_ex((host, 9))
    socket.getaddrinfo(host, 9, flags=socket.AI_NUMERICHOST)
try:
    torch.load(io.BytesIO())
except RuntimeError as error:
    assert "was called" in str(error)
else:
    raise AssertionError("torch.load was not refused")
"""


@pytest.mark.slow
def test_other_machines_and_pickles_are_written_down_alone(tmp_path: Path) -> None:
    lines = tmp_path / "audit.txt"
    subprocess.run([sys.executable, "-c", VIOLATIONS], cwd=ROOT, env=audit_environment(lines), check=True)
    first, *rest = lines.read_text().splitlines()
    assert first.startswith("audited ")
    assert rest == ["socket.connect 192.0.2.7", "socket.getaddrinfo 192.0.2.7", "torch.load"]


def test_an_app_without_the_hook_does_not_pass_for_one_without_violations(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "pass"]) as process:
        app = Server("", tmp_path, tmp_path, tmp_path / "audit.txt", tmp_path, process)
    with pytest.raises(AssertionError, match="without its audit hook"):
        assert app.violations
    app.audit.write_text(f"audited {process.pid}\naudited 1\nsocket.connect 192.0.2.7\n")
    assert app.violations == ["socket.connect 192.0.2.7"]
