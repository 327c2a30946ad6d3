"""The packages of the app, and its connections (section 10)."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from packaging.version import Version

from src.tasks import TASKS
from tests.attack.bench import Bench, Checks
from tests.attack.row import Row
from tests.attack.visitor import Visitor
from tests.support.app import ROOT

PINS, LOCK, NEEDED = ROOT / "requirements.txt", ROOT / "pre-requirements.txt", ROOT / "requirements.in"
PREDICTIONS, FEW_PREDICTIONS = 1_000, 8
AT_ONCE = 4


def pins(file: Path = PINS) -> dict[str, str]:
    """Package -> version, as requirements.txt or the lock file pins it."""
    return dict(re.findall(r"^([a-zA-Z0-9_.-]+)(?:\[[^]]*\])?==([^\s;\\]+)", file.read_text(), re.MULTILINE))


def hashes() -> dict[str, int]:
    """Package -> how many files of it the lock file knows by their sha256."""
    blocks = re.split(r"^(?=[a-zA-Z0-9])", LOCK.read_text(), flags=re.MULTILINE)
    return {
        found[0]: len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", block))
        for block in blocks
        if (found := re.findall(r"\A[a-zA-Z0-9_.-]+", block)) and not block.startswith("#")
    }


def floors() -> dict[str, tuple[str, str]]:
    """Package -> the lowest version that may be pinned, and why, as requirements.in says."""
    lines = re.findall(r"^# floor (\S+) (\S+): (.+)$", NEEDED.read_text(), re.MULTILINE)
    return {name: (version, reason) for name, version, reason in lines}


def below() -> list[str]:
    """The packages that are pinned below their floor."""
    pinned = pins()
    return [name for name, (version, _) in floors().items() if Version(pinned[name]) < Version(version)]


def locked(_: Bench) -> Iterator[Row]:
    """Check the lists. tests/run.sh installs from them."""
    known = hashes()
    yield Row(
        10,
        "Packages pinned, each with the sha256 of its files, in pre-requirements.txt, which a Space installs first",
        len(known),
        f"{sum(known.values()):,} hashes, {LOCK.stat().st_size / 1e3:.0f} kB; without one: "
        f"{sum(not number for number in known.values())}; the versions of requirements.txt: {pins(LOCK) == pins()}.",
        all(known.values()) and pins(LOCK) == pins(),
    )
    yield Row(
        10,
        f"Floors with their reason in requirements.in: {', '.join(floors())}",
        len(floors()),
        f"Pinned below its floor: {', '.join(below()) or 'none'}.",
        not below(),
    )


def audited(bench: Bench) -> Iterator[Row]:
    """pip-audit, from the environment that runs the tests.

    It calls clean what it was told nothing of: so what it could not ask about is counted, and a version with known
    vulnerabilities has to be found.
    """
    control = bench.folder / "control.txt"
    control.write_text(f"pillow==8.0.0 --hash=sha256:{0:064}\n")
    packages, known = _audit(LOCK), _audit(control)
    asked = [one for one in packages if "skip_reason" not in one]
    found = [f"{one['name']}: {', '.join(each['id'] for each in one['vulns'])}" for one in asked if one["vulns"]]
    able = any(one.get("vulns") for one in known)
    yield Row(
        10,
        "pip-audit on the lock file",
        len(packages),
        f"{len(asked)} could be asked about, with known vulnerabilities: {', '.join(found) or 'none'}. The control, "
        f"Pillow 8.0.0, was {'found' if able else 'not found: no advisory service is reached from here, NOT audited'}.",
        able and len(asked) == len(packages) > 0 and not found,
    )


def _audit(file: Path) -> list[dict[str, Any]]:
    """The findings of pip-audit by package; empty if it cannot run."""
    ran = subprocess.run(
        [sys.executable, "-m", "pip_audit", "--require-hashes", "--disable-pip", "--format", "json", "-r", str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    try:
        return json.loads(ran.stdout)["dependencies"]
    except json.JSONDecodeError:
        return []


def connections(bench: Bench) -> Iterator[Row]:
    """Count the connections and name lookups of Python in all processes of the app."""
    visitor = Visitor(bench.app.url)
    asked = PREDICTIONS if not bench.short else FEW_PREDICTIONS
    files = [(task, file) for task in TASKS for file in sorted((ROOT / "examples" / task).iterdir())]
    uploads = [(task, visitor.upload(file.read_bytes(), file.name)) for task, file in files]

    def read(number: int) -> bool:
        task, file = uploads[number % len(uploads)]
        return "p_malignant" in visitor.ask(task, [file, 0.3, "none"])

    with ThreadPoolExecutor(AT_ONCE) as pool:
        answered = sum(pool.map(read, range(asked)))
    left = bench.app.violations
    yield Row(
        10,
        "Predictions with the embedded weights, connections and name lookups to elsewhere counted in every process",
        asked,
        f"{answered:,} answered; {len(left)} left the app, unpickling included ({', '.join(left[:5]) or 'none'}).",
        answered == asked and not left,
    )


CHECKS: Checks = {10: (locked, audited, connections)}
