"""Attack the app and write down what came of it:

    python -m tests.attack [--only 3,4] [--check an_hour] [--short]

Starts app.py as the Space starts it, with the embedded checkpoints, on two cores; runs the checks of every point of
docs/HARDENING.md or of those named, and writes docs/HARDENING.md. What is kept in docs/hardening.json of what was not
run stays, unless versions have moved. Returns 1 where anything did not hold.
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
from tests.attack.found import table
from tests.space import CORES, VARIABLES
from tests.support.app import ROOT, running

MODULES = (
    *("server", "files", "routes", "load", "greedy", "dying", "lasting", "pictures", "memory", "arguments", "fetching"),
    *("tables", "output", "weights", "supply", "operators", "nesting", "names", "fuzz_calls", "fuzz_readers"),
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
    """Every check there is, by its point."""
    found: dict[int, list[Check]] = {point: [] for point in POINTS}
    for name in MODULES:
        for point, some in import_module(f"tests.attack.{name}").CHECKS.items():
            found[point] += some
    return found


def attack(tried: list[Check], short: bool, commit: str) -> list[dict[str, Any]]:
    """The rows of checks of one point, from an app of their own; each is printed as it comes."""
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
    """The rows of a point of which some checks ran again: theirs in the place of those that tried the same."""
    again = {row["what"]: row for row in new}
    return [again.pop(row["what"], row) for row in kept] + list(again.values())


def versions() -> dict[str, str]:
    """What the checks ran on."""
    return {"Python": platform.python_version(), **{name: metadata.version(name) for name in VERSIONS}}


def page(kept: dict[str, Any]) -> str:
    """docs/HARDENING.md."""
    lines = [
        "# What was tried on this page, and what came of it",
        "",
        f"Written by `python -m tests.attack`: app.py as a Space starts it, with the embedded checkpoints, on {CORES} "
        "cores, attacked from loopback. " + ", ".join(f"{name} {version}" for name, version in kept["versions"].items())
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
        lines += ["| what was tried | how often | what came of it | held | when |", "| --- | --- | --- | --- | --- |"]
        for row in rows:
            when = f"{row['when']}, commit {row['commit']}{', short form' if row['short'] else ''}"
            held = "yes" if row["ok"] else "**no**"
            cells = (row["what"], f"{row['how_often']:,}", row["outcome"], held, when)
            lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Run the checks; returns 1 where something did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description="Attack the app.")
    parser.add_argument("--only", default="", help="sections of docs/HARDENING.md, such as 3,4")
    parser.add_argument("--check", action="append", help="of those points the checks of this name alone")
    parser.add_argument("--short", action="store_true", help="a few seconds' worth of each")
    options = parser.parse_args(arguments)
    try:
        points = [int(point) for point in options.only.split(",")] if options.only else list(POINTS)
    except ValueError:
        parser.error("--only takes numbers, such as 3,4")
    if unknown := set(points) - set(POINTS):
        parser.error(f"There is no point {min(unknown)}.")
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.is_file() else {}
    if kept.get("versions") != versions():
        kept = {"versions": versions(), "points": {}}
    # Before the first point: what is written after each is a change to the tree, too.
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
