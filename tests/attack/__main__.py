"""Attack the app and write the outcomes to docs/HARDENING.md:

    python -m tests.attack [--only 3,4] [--check an_hour] [--short]

The command starts app.py as a Space does, with the embedded checkpoints, on two cores. It runs the checks of every
section of docs/HARDENING.md, or of the named ones, and writes the file. Outcomes of checks that did not run stay in
docs/hardening.json, unless a version has changed. The exit status is 1 if a promise did not hold.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from tests.attack.bench import CANARIES, Bench, Check, settle
from tests.attack.known_faults import table
from tests.space import CORES, VARIABLES
from tests.support.app import ROOT, running

MODULES = (
    *("server", "files", "routes", "load", "greedy", "dying", "lasting", "pictures", "memory", "arguments", "fetching"),
    *("tables", "output", "weights", "supply", "operators", "nesting", "names", "fuzz_calls", "fuzz_readers"),
    *("bursts", "odd_json", "incomplete"),
)
POINTS = {
    1: "Bodies and files",
    2: "Routes",
    3: "Pictures",
    4: "Arguments",
    5: "Load",
    6: "Work that hangs or dies",
    7: "Memory and disk over time",
    8: "Output",
    9: "Weights",
    10: "Supply",
    11: "Settings",
}
VERSIONS = ("gradio", "gradio_client", "pillow", "huggingface-hub", "timm", "safetensors", "torch", "starlette")
DOCS = ROOT / "docs"
KEPT, WRITTEN = DOCS / "hardening.json", DOCS / "HARDENING.md"


def checks() -> dict[int, list[Check]]:
    """Every check, by the number of its section."""
    found: dict[int, list[Check]] = {point: [] for point in POINTS}
    for name in MODULES:
        for point, some in import_module(f"tests.attack.{name}").CHECKS.items():
            found[point] += some
    return found


def attack(tried: list[Check], short: bool, commit: str) -> list[dict[str, Any]]:
    """The rows of the checks of one section, which share a new app. Each row is printed at once."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="attack-") as made:
        folder = Path(made)
        (folder / "app").mkdir()
        with running(folder / "app", {**VARIABLES, **CANARIES}) as app:
            settle(app.process.pid)
            for check in tried:
                own = folder / check.__name__
                own.mkdir()
                for row in check(Bench(app, own, short)):
                    print(f"{'ok' if row.ok else 'FAILED'}  {row.what} | {row.how_often:,} | {row.outcome}", flush=True)
                    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
                    rows.append({**asdict(row), "when": when, "commit": commit, "short": short})
    return rows


def merged(kept: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a section after some of its checks ran again: each new row replaces the one with the same attack."""
    again = {row["what"]: row for row in new}
    return [again.pop(row["what"], row) for row in kept] + list(again.values())


def versions() -> dict[str, str]:
    """The versions of Python and of the packages under attack."""
    return {"Python": platform.python_version(), **{name: metadata.version(name) for name in VERSIONS}}


def page(kept: dict[str, Any]) -> str:
    """docs/HARDENING.md."""
    lines = [
        "# Attacks that were tried, and their outcomes",
        "",
        "`python -m tests.attack` writes this page. It attacks app.py from loopback. The app runs as on a Space, with "
        f"the embedded checkpoints, on {CORES} cores. "
        + ", ".join(f"{name} {version}" for name, version in kept["versions"].items())
        + ".",
        "",
        *table(),
    ]  # fmt: skip
    for point, title in POINTS.items():
        lines += ["", f"## {point}. {title}", ""]
        rows = kept["points"].get(str(point))
        if rows is None:
            lines.append("Not run on these versions.")
            continue
        lines += ["| attack | times | outcome | held | when |", "| --- | --- | --- | --- | --- |"]
        for row in rows:
            when = f"{row['when']}, commit {row['commit']}{', short form' if row['short'] else ''}"
            held = "yes" if row["ok"] else "**no**"
            cells = (row["what"], f"{row['how_often']:,}", row["outcome"], held, when)
            lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status, 1 if a promise did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description="Attack the app.")
    parser.add_argument("--only", default="", help="sections of docs/HARDENING.md, such as 3,4")
    parser.add_argument("--check", action="append", help="run only the checks of this name")
    parser.add_argument("--short", action="store_true", help="run each check for a few seconds only")
    options = parser.parse_args(arguments)
    try:
        points = [int(point) for point in options.only.split(",")] if options.only else list(POINTS)
    except ValueError:
        parser.error("--only takes numbers, such as 3,4")
    if unknown := set(points) - set(POINTS):
        parser.error(f"There is no section {min(unknown)}.")
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.is_file() else {}
    if kept.get("versions") != versions():
        kept = {"versions": versions(), "points": {}}
    # This comes before the first section, because writing the file changes the working tree, too.
    described = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    held = True
    for point, every in checks().items():
        tried = [check for check in every if not options.check or check.__name__ in options.check]
        if point not in points or not tried:
            continue
        print(f"{point}. {POINTS[point]}", flush=True)
        rows = attack(tried, options.short, described.stdout.strip())
        held = held and all(row["ok"] for row in rows)
        before = kept["points"].get(str(point), []) if options.check else []
        kept["points"][str(point)] = merged(before, rows)
        KEPT.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        WRITTEN.write_text(page(kept), encoding="utf-8")
    return int(not held)


if __name__ == "__main__":
    sys.exit(main())
