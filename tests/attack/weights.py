"""Checkpoints that do not verify (section 9)."""

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from src.tasks import TASKS
from tests.attack.bench import Bench, Checks
from tests.attack.row import Row
from tests.attack.visitor import Visitor
from tests.hub import Hub
from tests.support import synthetic_checkpoints
from tests.support.app import ROOT, running
from tests.support.synthetic_checkpoints import edit, replace_tensors, reseal

MODEL = "model.safetensors"
PICKLE = b"\x80\x04."


def _flip(folder: Path) -> None:
    content = bytearray((folder / MODEL).read_bytes())
    content[-1] ^= 1
    (folder / MODEL).write_bytes(content)


def _swap(folder: Path) -> None:
    other = synthetic_checkpoints.write(folder.with_name(folder.name + "-other"), folder.name, seed=1)
    (folder / MODEL).write_bytes((other / MODEL).read_bytes())


def _only_a_pickle(folder: Path) -> None:
    (folder / MODEL).unlink()
    (folder / "pytorch_model.bin").write_bytes(PICKLE)


def _other_names(folder: Path) -> None:
    _only_a_pickle(folder)
    named = {"hf_hub_filename": "pytorch_model.bin", "file": "pytorch_model.bin", "hf_hub_id": "someone/else"}
    edit(folder / "config.json", lambda c: c["pretrained_cfg"].update(named))
    edit(folder / "config.json", lambda c: c.update(named))


def _nan(folder: Path) -> None:
    replace_tensors(folder, lambda t: next(v for v in t.values() if v.is_floating_point()).fill_(torch.nan))


def _header(folder: Path) -> None:
    (folder / MODEL).write_bytes(struct.pack("<Q", 99_000_000) + b"{" + b" " * 99_000_000)
    reseal(folder)


def _cut_header(folder: Path) -> None:
    (folder / MODEL).write_bytes(struct.pack("<Q", 58) + b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,999999]}}')
    reseal(folder)


# What is asked for -> how it is spoiled, and what the page says of it.
FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a flipped byte": (_flip, "sha256 differs"),
    "a swapped file": (_swap, "sha256 differs"),
    "a repository with only a .bin": (_only_a_pickle, f"has no {MODEL}"),
    "a config that names another file": (_other_names, f"has no {MODEL}"),
    "weights that are NaN": (_nan, "not finite"),
    "a header of 99 MB": (_header, "its header is too large"),
    "offsets beyond the file": (_cut_header, "cannot be read as safetensors"),
    "a branch that has moved to other files": (lambda folder: (folder / "config.json").write_text("{}"), "config.json"),
}


def _embedded(task: str) -> str:
    config = json.loads((ROOT / "checkpoints" / task / "config.json").read_text(encoding="utf-8"))
    return config["vigil"]["sha256"][:12]


def faults(bench: Bench) -> Iterator[Row]:
    """Start the app with a damaged checkpoint on the Hub for every task."""
    names = list(FAULTS)
    for first in range(0, len(names), len(TASKS)):
        folder, some = bench.folder / str(first), dict(zip(TASKS, names[first:], strict=False))
        hub = Hub()
        asked = {}
        for task, name in some.items():
            own = synthetic_checkpoints.write(folder / task, task)
            hub.put(f"owner/{task}", {file.name: file.read_bytes() for file in own.iterdir()})
            FAULTS[name][0](own)
            hub.put(f"owner/{task}", {file.name: file.read_bytes() for file in own.iterdir()})
            asked[f"VIGIL_WEIGHTS_{task.upper()}"] = f"owner/{task}@main"
        with running(folder, {**hub.environment(folder / "home"), **asked}) as app:
            visitor = Visitor(app.url)
            page = visitor.http.get("/config").text
            for task, name in some.items():
                sentence = FAULTS[name][1]
                picture = sorted((ROOT / "examples" / task).iterdir())[0]
                said = visitor.ask(task, [visitor.upload(picture.read_bytes(), picture.name), 0.3, "none"])
                told = f"The weights owner/{task}@main could not be used" in page and sentence in page
                yield Row(
                    9,
                    f"Asked for on the Hub: {name}",
                    1,
                    f"The embedded default answers: {_embedded(task) in said}; the tab says why (“{sentence}”): "
                    f"{told}; unpickled: {len(app.violations)}.",
                    _embedded(task) in said and told and not app.violations,
                )
        hub.close()


CHECKS: Checks = {9: (faults,)}
