"""Run the app on this machine as a Hugging Face Space would, without the Hub:

    python -m tests.space [--python PYTHON] [--environment DIR]

The `hf upload` of docs/DEPLOYMENT.md puts the app on a Hub on loopback, as it would put it on the real one. The files
that arrived there run in a fresh environment from requirements.txt alone, with a Space's variables, read-only, on two
cores and, where root starts this, as the user `nobody` (then PYTHON must be one that nobody may run, such as Debian's
/usr/bin/python3.11). The page and every endpoint have to answer; start-up time and peak memory are printed. Port 7860
has to be free. `--environment` keeps the environment for the next time.
"""

import argparse
import os
import pwd
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gradio_client import Client, handle_file

from src.tasks import TASKS
from tests.hub import Hub

ROOT = Path(__file__).resolve().parent.parent
CORES, MEMORY_GB, PORT = 2, 16, 7860
STARTS_WITHIN = 300
VARIABLES = {
    "SYSTEM": "spaces",
    "SPACE_ID": "owner/vigil",
    "SPACE_AUTHOR_NAME": "owner",
    "SPACE_REPO_NAME": "vigil",
    "SPACE_TITLE": "Vigil",
    "SPACE_HOST": "owner-vigil.hf.space",
    "GRADIO_SERVER_NAME": "0.0.0.0",
    "GRADIO_NUM_PORTS": "1",
    "GRADIO_ALLOW_FLAGGING": "never",
    "GRADIO_THEME": "huggingface",
    "PYTHONUNBUFFERED": "1",
    "TQDM_POSITION": "-1",
    # Not a Space's, but nothing here may ask the network.
    "GRADIO_ANALYTICS_ENABLED": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
}


def documented_command(starting: str) -> list[str]:
    """The words of the one command in docs/DEPLOYMENT.md that starts so, for the Hub's user "owner"."""
    text = (ROOT / "docs" / "DEPLOYMENT.md").read_text(encoding="utf-8").replace("\\\n", " ")
    (line,) = (line for line in text.splitlines() if line.startswith(starting))
    return shlex.split(line.replace("OWNER", "owner"), comments=True)


def hf(words: list[str], hub: Hub, source: Path, home: Path) -> None:
    """Run an `hf` command in `source`, against `hub`. Raises CalledProcessError."""
    client = Path(sys.executable).with_name("hf")
    environment = {**os.environ, **hub.environment(home), "HF_TOKEN": "hf_write"}
    subprocess.run([str(client), *words[1:]], cwd=source, env=environment, check=True, stdout=subprocess.DEVNULL)


def deploy(hub: Hub, source: Path, home: Path) -> dict[str, bytes]:
    """Upload `source` as docs/DEPLOYMENT.md says; every file that the Space then has."""
    hf(documented_command("hf upload OWNER/vigil . ."), hub, source, home)
    return hub.files("owner/vigil", kind="space")


def build(python: str, environment: Path, requirements: Path) -> None:
    """Make a virtual environment with what `requirements` lists, unless it is there; first, as a Space does, with what
    pre-requirements.txt beside it does."""
    if (environment / "bin" / "python").exists():
        return
    subprocess.run([python, "-m", "venv", str(environment)], check=True)
    for listed in (requirements.with_name("pre-requirements.txt"), requirements):
        subprocess.run([str(environment / "bin" / "pip"), "install", "--quiet", "-r", str(listed)], check=True)


@contextmanager
def running(environment: Path, checkout: Path, home: Path, user: str | None) -> Iterator[subprocess.Popen[str]]:
    """The app, started as a Space starts it."""
    account: dict[str, Any] = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user else {}
    process = subprocess.Popen(
        [str(environment / "bin" / "python"), "app.py"],
        cwd=checkout,
        env={"PATH": os.defpath, "HOME": str(home), "TMPDIR": str(home), **VARIABLES},
        text=True,
        **account,
    )
    os.sched_setaffinity(process.pid, sorted(os.sched_getaffinity(0))[:CORES])
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def answers(process: subprocess.Popen[str]) -> None:
    """Wait until the page answers. Raises TimeoutError, and ChildProcessError where the app ended."""
    until = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < until:
        if process.poll() is not None:
            raise ChildProcessError(f"app.py ended with status {process.returncode}.")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{PORT}", timeout=5) as page:
                if b"Vigil" in page.read():
                    return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(f"The page does not answer within {STARTS_WITHIN} seconds.")


def peak_memory(process: subprocess.Popen[str]) -> float:
    """The most memory, in GB, that the process ever held."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) * 1024 / 1e9


def main(arguments: list[str] | None = None) -> int:
    """Run the check; returns 1 where a Space would not work."""
    parser = argparse.ArgumentParser(prog="python -m tests.space", description="Run the app as a Space would.")
    parser.add_argument("--python", default=sys.executable, help="Python 3.11 that the environment is made from")
    parser.add_argument("--environment", type=Path, help="folder to keep the environment in")
    options = parser.parse_args(arguments)
    user = "nobody" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="space-") as made:
        folder = Path(made)
        folder.chmod(0o755)
        home, checkout = folder / "home", folder / "app"
        home.mkdir()
        hub = Hub()
        files = deploy(hub, ROOT, folder / "client")
        hub.close()
        for name, content in files.items():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            (checkout / name).write_bytes(content)
        print(f"Uploaded: {len(files)} files, {sum(map(len, files.values())) / 1e6:.1f} MB")

        environment = options.environment or folder / "environment"
        started = time.monotonic()
        build(options.python, environment, checkout / "requirements.txt")
        print(f"Environment from requirements.txt alone: {time.monotonic() - started:.0f} s")

        for path in (checkout, *checkout.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        if user:
            shutil.chown(home, user)
        print(f"As {user or 'yourself'}, read-only, {CORES} cores")
        started = time.monotonic()
        with running(environment, checkout, home, user) as process:
            answers(process)
            print(f"The page answers after {time.monotonic() - started:.1f} s")
            client = Client(f"http://127.0.0.1:{PORT}", verbose=False)
            for task in TASKS:
                picture = sorted((ROOT / "examples" / task).iterdir())[0]
                asked = time.monotonic()
                result, heatmap = client.predict(handle_file(picture), api_name=f"/{task}")
                assert heatmap
                seconds = time.monotonic() - asked
                print(f"  /{task}: {result['decision']}, revision {result['revision']}, {seconds:.1f} s")
            memory = peak_memory(process)
        print(f"Peak memory: {memory:.2f} of {MEMORY_GB} GB")
        strange = [
            path for path in checkout.rglob("*") if path.is_file() and str(path.relative_to(checkout)) not in files
        ]
        if strange:
            print(f"Written into the checkout: {strange}")
        return int(memory > MEMORY_GB or bool(strange))


if __name__ == "__main__":
    sys.exit(main())
