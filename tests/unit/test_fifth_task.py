"""A fifth task needs its record in tasks.py, a reader, a recipe and its texts, and nothing else."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from src.results import class_texts
from tests.support.app import ROOT

pytestmark = pytest.mark.slow

RECORD = """
            Task(
                name="thyroid",
                title="Thyroid ultrasound",
                modality="an ultrasound picture of the thyroid",
                data_set="a made-up set",
                look="thyroid ultrasound",
                classes=(
                    Diagnosis("calm", "Benign nodule", False, "routine"),
                    Diagnosis("papillary", "Papillary carcinoma", True, "urgent"),
                ),
                colour="grey",
                default_threshold=0.3,
                sources=("nodules",),
                licence=Licence("cc0-1.0"),
                limits="- Drawn by a program.",
                input_side=28,
            ),
"""

READER = '''
"""Nodules: a folder per class, which has a folder per split."""

from pathlib import Path

from src.tasks import TASKS
from train.data.samples import DataMissing, DataSet, Sample, Source, reader_of


@reader_of(Source("nodules", "Nodules", "nowhere", "CC0", "nobody", near_duplicate=0.99, thumbnail_side=28))
def nodules(root: Path) -> DataSet:
    if not root.is_dir():
        raise DataMissing("nodules", root, "the folder is missing")
    return DataSet(
        [
            Sample(f"{split}/{file.stem}", label, f"{split}/{file.stem}", split, "nodules", file)
            for label, code in enumerate(TASKS["thyroid"].codes)
            for split in ("train", "validation", "test")
            for file in sorted((root / code / split).iterdir())
        ]
    )
'''

RECIPE = """
task: thyroid
name: Tiny
architecture: vigil_cnn28
sources: [nodules]
image_size: 28
channels: 1
mean: [0.5]
std: [0.2]
epochs: 2
batch_size: 8
augmentation: ultrasound-28
loss: {gamma: 2.0}
optimiser: {lr: 1.0e-2, warmup_epochs: 0.5}
"""

TEXT = {
    "plain": "Nodule",
    "what": "It is a nodule. This text is made up.",
    "next_step": "None.",
    "sources": [{"title": "Nobody", "url": "https://example.org"}],
}

# Everything in one process, since a process takes longer to import the libraries than to do any step.
STEPS = """
import asyncio, json, sys
from src import score
from src.models import checkpoints
from src.models.predictor import Predictor
from src.page import layout
from src.service.worker_pool import ThreadWorkerPool
from train import __main__ as train
from train import evaluate
from train.evaluation import explanations, metrics

folder, data, images, table, image = sys.argv[1:]
metrics.RESAMPLES, evaluate.EXAMINED, explanations.FAITHFULNESS_IMAGES = 20, 6, 2
assert train.main(["thyroid", "--data", data, "--out", folder, "--workers", "0"]) == 0
assert evaluate.main([folder, "--data", data]) == 0
assert score.main(["thyroid", images, "--csv", table]) == 0
work = ThreadWorkerPool({"thyroid": Predictor(checkpoints.find("thyroid"))})
page = layout.build(work)
(function,) = (one.fn for one in page.fns.values() if one.api_name == "thyroid")
result, heat_map = asyncio.run(function({"path": image}, 0.3, "Grad-CAM"))
print(json.dumps({"result": result, "heat_map": heat_map, "page": json.dumps(page.config, default=str)}))
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code with the four additions."""
    house = tmp_path_factory.mktemp("house")
    for part in ("src", "train", "examples"):
        shutil.copytree(ROOT / part, house / part, ignore=shutil.ignore_patterns("__pycache__"))
    tasks = (house / "src" / "tasks.py").read_text(encoding="utf-8")
    first = "        for task in (\n"
    assert tasks.count(first) == 1
    (house / "src" / "tasks.py").write_text(tasks.replace(first, first + RECORD), encoding="utf-8")
    (house / "train" / "data" / "thyroid.py").write_text(READER, encoding="utf-8")
    (house / "train" / "recipes" / "thyroid.yaml").write_text(RECIPE, encoding="utf-8")
    texts = house / Path(class_texts.__file__).relative_to(ROOT).with_suffix(".json")
    content = json.loads(texts.read_text(encoding="utf-8"))
    texts.write_text(json.dumps(content | {"thyroid": {"calm": TEXT, "papillary": TEXT}}), encoding="utf-8")
    return house


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bright nodules are papillary, dark ones calm."""
    data, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for code, level in (("calm", 70), ("papillary", 180)):
        for split in ("train", "validation", "test"):
            folder = data / "nodules" / code / split
            folder.mkdir(parents=True)
            for number in range(16):
                pixels = np.clip(rng.normal(level, 20, (40, 40)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{code}{number}.png")
    return data


def steps(house: Path, *arguments: Path) -> dict[str, Any]:
    """Run STEPS in the copy; the JSON that it prints."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(house)}
    done = subprocess.run(
        [sys.executable, "-c", STEPS, *map(str, arguments)],
        cwd=house,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_the_four_additions_take_a_fifth_task_through(house: Path, data: Path, tmp_path: Path) -> None:
    folder, images = house / "checkpoints" / "thyroid", data / "nodules" / "papillary" / "test"
    image = images / "papillary3.png"
    answer = steps(house, folder, data, images, tmp_path / "scores.csv", image)
    assert "cc0-1.0" in (folder / "README.md").read_text(encoding="utf-8")

    with (tmp_path / "scores.csv").open(encoding="utf-8", newline="") as table:
        rows = {row["path"]: row for row in csv.DictReader(table)}
    assert len(rows) == 16
    assert all(row["error"] == "" and 0 <= float(row["p_papillary"]) <= 1 for row in rows.values())

    assert answer["result"]["task"] == "thyroid"
    assert answer["result"]["p_malignant"] == pytest.approx(float(rows[str(image)]["p_malignant"]), abs=1e-5)
    assert answer["result"]["operating_point"]["positives"] == 16
    assert answer["result"]["meaning"]["papillary"]["plain"] == TEXT["plain"]
    assert Path(answer["heat_map"]).is_file()
    assert "Thyroid ultrasound" in answer["page"]
    assert "not as Vigil writes it" not in answer["page"], "the Evidence tab shows its figures"
