"""The books of a folder of results: what run it belongs to, whether all parts are there, and the proof of it."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from src.read_ahead import read_ahead
from src.scale.addresses import ScaleError
from src.scale.parts import SUFFIX, Run, Written, digest, part_name, written
from src.scale.store import Store

RUN: Final = "_run.json"
MANIFEST: Final = "_manifest.json"
THREADS: Final = 16
"""Files that are read at the same time."""


def begin(store: Store, run: Run) -> None:
    """Write down the run of a folder. Raises ScaleError if the folder belongs to another run, or has parts of none."""
    found = _json(store, RUN)
    if found is None:
        if store.names(SUFFIX):
            raise ScaleError(f"{store.called} has files of another origin; name another folder by --out.")
        store.write(RUN, run.text().encode())
        return
    theirs: dict[str, Any] = {**found["run"], "inputs": found["inputs"]}
    ours: dict[str, Any] = {**run.about, "inputs": run.inputs}
    other = [name for name in sorted(ours | theirs) if theirs.get(name) != ours.get(name)]
    if other:
        raise ScaleError(
            f"{store.called} has the results of another run, which differs in {', '.join(other)}; name another folder "
            "by --out."
        )


def files(store: Store, names: Iterable[str]) -> Iterator[Written | None]:
    """The file of each part, in order; None if it is not there or not whole. Raises StoreError and OSError."""
    return read_ahead(lambda name: written(store, name), names, THREADS, 4 * THREADS)


def close(store: Store, run: Run, whole: Iterable[Written], left_out: Mapping[str, int]) -> dict[str, Any]:
    """Write the manifest of a run whose parts are all there, and return it. `left_out`: reason -> number of files."""
    ordered = sorted(whole, key=lambda file: file.name)
    manifest = {
        "run": dict(run.about),
        "inputs": {**run.inputs, "left_out": dict(left_out)},
        "rows": sum(file.rows for file in ordered),
        "errors": sum(file.errors for file in ordered),
        "parts": [
            {"name": file.name, "rows": file.rows, "errors": file.errors, "sha256": file.sha256} for file in ordered
        ],
    }
    store.write(MANIFEST, json.dumps(manifest, indent=1).encode())
    store.sweep()
    return manifest


def verify(store: Store) -> tuple[dict[str, Any], list[str]]:
    """The manifest of a folder, and a sentence on everything in which the folder differs from it.

    Every file is read to its end. Without a difference, every image of the run has exactly one row. Raises ScaleError
    for a folder without a manifest, StoreError and OSError.
    """
    manifest = _json(store, MANIFEST)
    if manifest is None:
        begun = " The same command as before continues the run." if store.read(RUN) is not None else ""
        raise ScaleError(f"{store.called} has no {MANIFEST}, so no run has ended there.{begun}")
    parts: dict[str, dict[str, Any]] = {part["name"]: part for part in manifest["parts"]}
    problems = [f"{name} is not in the manifest." for name in sorted(store.names(SUFFIX) - set(parts))]
    paths: list[str] = []
    rows = errors = 0
    for name, file in zip(
        parts, read_ahead(lambda name: written(store, name), parts, THREADS, 4 * THREADS), strict=True
    ):
        if file is None:
            problems.append(f"{name} is missing or not whole.")
            continue
        listed = parts[name]
        if (file.rows, file.errors, file.sha256) != (listed["rows"], listed["errors"], listed["sha256"]):
            problems.append(f"{name} is not the file that the manifest describes.")
        if part_name(manifest["run"], file.paths) != name:
            problems.append(f"{name} has other paths, weights or arguments than its name says.")
        paths += file.paths
        rows, errors = rows + file.rows, errors + file.errors
    twice = len(paths) - len(set(paths))
    if twice:
        problems.append(f"{twice} rows have a path that another row has, too.")
    if digest(paths) != manifest["inputs"]["sha256"] or len(paths) != manifest["inputs"]["count"]:
        problems.append("The paths of the rows are not those of the run's images.")
    if (rows, errors) != (manifest["rows"], manifest["errors"]):
        problems.append(f"There are {rows} rows with {errors} errors, and the manifest has other numbers.")
    return manifest, problems


def _json(store: Store, name: str) -> dict[str, Any] | None:
    data = store.read(name)
    if data is None:
        return None
    try:
        found = json.loads(data)
    except ValueError as error:
        raise ScaleError(f"{store.called}/{name} is damaged; name another folder by --out.") from error
    return found
