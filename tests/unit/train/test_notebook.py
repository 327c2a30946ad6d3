"""train/vigil_t4.ipynb, cell by cell on the CPU with made-up data: from the download to a model on the Hub."""

import gzip
import importlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import timm
import yaml

from src.models import checkpoints
from tests.hub import Hub
from tests.support import synthetic_datasets
from train.data import READERS
from train.evaluation import metrics
from train.training.recipe import RECIPES

pytestmark = pytest.mark.slow

NOTEBOOK = json.loads((RECIPES.parent / "vigil_t4.ipynb").read_text(encoding="utf-8"))
CELLS: dict[str, str] = {
    cell["id"]: "".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"
}
TINY = """
task: breastmnist
name: Tiny
architecture: vigil_cnn28
sources: [breastmnist]
image_size: 28
channels: 1
mean: [0.5]
std: [0.25]
epochs: 2
batch_size: 16
augmentation: ultrasound-28
loss: {gamma: 1.0}
optimiser: {lr: 1.0e-3}
"""


class Kernel:
    """Runs cells as Jupyter does, a line that starts with ! being a command; `python -m` runs in this process."""

    def __init__(self, **parameters: Any) -> None:
        self.names: dict[str, Any] = {"_shell": self.shell}
        self.run("parameters")
        assert parameters.keys() <= self.names.keys()
        self.names |= parameters

    def run(self, cell: str) -> None:
        """Execute one cell."""
        source = re.sub(r"^(\s*)!(.+)$", r'\1_shell(f"\2")', CELLS[cell], flags=re.MULTILINE)
        exec(compile(source, cell, "exec"), self.names)  # noqa: S102 - our own notebook

    @staticmethod
    def shell(line: str) -> None:
        """Run a command; only those of this repository are known."""
        words = line.split()
        assert words[:2] == ["python", "-m"], line
        module = words[2] if hasattr(importlib.import_module(words[2]), "main") else f"{words[2]}.__main__"
        assert importlib.import_module(module).main(words[3:]) == 0, line


def test_outputs_are_not_kept_and_parameters_are_marked() -> None:
    for cell in NOTEBOOK["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
    tagged = [cell["id"] for cell in NOTEBOOK["cells"] if "parameters" in cell["metadata"].get("tags", [])]
    assert tagged == ["parameters"]
    assert NOTEBOOK["metadata"]["colab"]["gpuType"] == "T4"
    kernel = Kernel()
    assert (RECIPES / f"{kernel.names['RECIPE']}.yaml").is_file()


def test_from_download_to_the_hub(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_write")
    monkeypatch.setattr(metrics, "RESAMPLES", 20)
    recipe = tmp_path / "breastmnist-tiny.yaml"
    recipe.write_text(yaml.safe_dump(yaml.safe_load(TINY)))
    published = synthetic_datasets.breastmnist(tmp_path / "server")
    kernel = Kernel(
        RECIPE=str(recipe),
        OWNER="owner",
        DATA=str(tmp_path / "data"),
        OUT=str(tmp_path / "out"),
        PRETRAINED="none",
        INSTALL=False,
    )
    addresses = {"breastmnist": [(published / "breastmnist.npz").as_uri()]}
    for cell in CELLS:
        if cell == "download":
            # The real addresses cannot be reached from here; only they are replaced.
            source = CELLS[cell].replace("\n# BUSI takes", "\nSETS = ADDRESSES\n# BUSI takes")
            monkeypatch.setitem(CELLS, cell, source)
            kernel.names["ADDRESSES"] = addresses
        if cell != "parameters":
            kernel.run(cell)
    assert hub.repositories["model", "owner/vigil-breastmnist"].private
    checkpoint = checkpoints.load("breastmnist", "owner/vigil-breastmnist")
    assert checkpoint.config.vigil.name == "Tiny"
    assert checkpoint.evaluation is not None
    assert timm.create_model("hf-hub:owner/vigil-breastmnist", pretrained=True).num_classes == 2


def zipped(folder: Path, archive: Path) -> Path:
    """`archive`.zip of what is in `folder`, which is gone then."""
    made = Path(shutil.make_archive(str(archive), "zip", folder))
    shutil.rmtree(folder)
    return made


def server(folder: Path) -> dict[str, list[str]]:
    """Made-up sets, packed as their authors publish them: set -> addresses."""
    ham = synthetic_datasets.ham10000(folder / "ham", pairs=0)
    for part in (1, 2):
        zipped(ham / f"HAM10000_images_part_{part}", ham / f"HAM10000_images_part_{part}")
    (ham / "HAM10000_metadata.csv").rename(ham / "HAM10000_metadata")
    busi = synthetic_datasets.busi(folder / "busi", listed=False)
    (folder / "bra").mkdir()
    synthetic_datasets.busbra(folder / "bra" / "BUSBRA")
    pcam = synthetic_datasets.pcam_h5(folder / "pcam", slides=2)
    for file in list(pcam.glob("*.h5")):
        with gzip.open(f"{file}.gz", "wb") as packed:
            packed.write(file.read_bytes())
        file.unlink()
    return {
        "ham10000": [zipped(ham, folder / "dataverse_files").as_uri()],
        "busi": [zipped(busi, folder / "Dataset_BUSI").as_uri()],
        "busbra": [zipped(folder / "bra", folder / "BUSBRA").as_uri()],
        "breastmnist": [(synthetic_datasets.breastmnist(folder) / "breastmnist.npz").as_uri()],
        "pcam": [file.as_uri() for file in sorted(pcam.iterdir())],
    }


def test_every_set_is_unpacked_to_where_its_reader_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(DATA=str(tmp_path / "data"), INSTALL=False)
    kernel.names |= {"ADDRESSES": server(tmp_path), "Path": Path}
    source = CELLS["download"].replace("\n# BUSI takes", "\nSETS = ADDRESSES\n# BUSI takes")
    monkeypatch.setitem(CELLS, "download", source)
    for task in ("skin", "ultrasound", "breastmnist", "histopathology"):
        kernel.names["TASK"] = task
        kernel.run("download")
    names = ("ham10000", "busi", "busbra", "breastmnist", "pcam")
    assert kernel.names["ADDRESSES"].keys() == set(names)
    for name in names:
        assert READERS[name](tmp_path / "data" / name).samples
    # A second run fetches nothing.
    monkeypatch.setitem(kernel.names, "ADDRESSES", {})
    kernel.run("download")


def test_the_addresses_are_those_the_sources_name() -> None:
    cell = CELLS["download"]
    for record in ("10.7910/DVN/DBW86T", "scholar.cu.edu.eg", "8231412", "10519652", "2546921"):
        assert record in cell
