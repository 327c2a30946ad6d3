"""Combine trained checkpoints of a task into one whose networks' logits are averaged.

    python -m train.combine runs/lesions runs/fields --name "Two networks" --data DIR --out runs/both

The first checkpoint gives its config, lesion finder and gate. Each other one becomes a member (`vigil.members`), which
reads lesions if it has the same lesion finder, and the whole field otherwise. All must be of the same architecture and
input, and must have learned from the same split. Temperature and default threshold are chosen on validation again. Then
`python -m train.evaluate OUT` writes evaluation.json.
"""

import argparse
import json
import logging
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from src.command_line import runs_networks
from src.models import checkpoints
from src.models.checkpoints import Checkpoint, CheckpointError
from src.models.config import FURTHER_FILES, MOST_MEMBERS, member_file
from src.models.predictor import Predictor
from train import evaluate, release
from train.data import DataMissing, Sample, load
from train.training import recipe as recipes
from train.training.recipe import Recipe, RecipeError


def combine(folders: Sequence[Path], name: str, validation: Sequence[Sample], out: Path) -> None:
    """Write the checkpoint folder `out`, called `name`, from trained checkpoint folders, the first of which leads.

    `validation`: the samples of their validation split. Raises CheckpointError if a folder does not verify or if the
    checkpoints do not fit each other, and RecipeError if its recipe is invalid.
    """
    if out.resolve() in [folder.resolve() for folder in folders]:
        raise CheckpointError(f"{out} is one of the checkpoints. Give another --out.")
    blocks = [evaluate.vigil_block(folder) for folder in folders]
    for folder, block in zip(folders, blocks, strict=True):
        _recipe(folder, block)
    if not 1 < len(folders) <= 1 + MOST_MEMBERS:
        raise CheckpointError(f"2 to {1 + MOST_MEMBERS} checkpoints can be combined.")
    first, *others = [checkpoints.load(blocks[0]["task"], folder) for folder in folders]
    for folder, block, other in zip(folders[1:], blocks[1:], others, strict=True):
        _check(folder, (blocks[0], first), (block, other))
    content = json.loads((folders[0] / "config.json").read_text(encoding="utf-8"))
    vigil = content["vigil"]
    out.mkdir(parents=True, exist_ok=True)
    # These files describe earlier weights, or belong to them.
    for stale in (
        "evaluation.json",
        "README.md",
        *FURTHER_FILES.values(),
        *map(member_file, range(1, 1 + MOST_MEMBERS)),
    ):
        (out / stale).unlink(missing_ok=True)
    for file in ("model.safetensors", *FURTHER_FILES.values()):
        if (folders[0] / file).is_file():
            shutil.copyfile(folders[0] / file, out / file)
    for number, folder in enumerate(folders[1:], 1):
        shutil.copyfile(folder / "model.safetensors", out / member_file(number))
    vigil["name"] = name
    vigil["members"] = [
        {
            "name": block["name"],
            "recipe": block["recipe"],
            "reads": "field" if other.finder is None else "lesion",
            "temperature": block["temperature"] / blocks[0]["temperature"],
            "sha256": block["sha256"],
        }
        for block, other in zip(blocks[1:], others, strict=True)
    ]
    release.write_json(out / "config.json", content)
    recipe = _recipe(folders[0], vigil)
    logits, labels = release.predict_logits(Predictor(checkpoints.load(recipe.task, out)), validation)
    release.calibrate(vigil, recipe, logits, [sample.source for sample in validation], labels)
    release.write_json(out / "config.json", content)
    release.write_golden(out)


def _recipe(folder: Path, block: dict[str, Any]) -> Recipe:
    """The recipe in the `vigil` block of `folder`. Raises CheckpointError if it is not that of a neural network."""
    recipe = recipes.of_settings(block["recipe"], str(folder))
    if not isinstance(recipe, Recipe):
        raise CheckpointError(f"{folder} is no neural network. Only neural networks can be combined.")
    return recipe


def _validation(folder: Path, data: Path) -> list[Sample]:
    """The validation split of a trained checkpoint. Raises CheckpointError and DataMissing."""
    recipe = _recipe(folder, evaluate.vigil_block(folder))
    samples = load(recipe.task, data, recipe.sources, recipe.resplit, recipe.fold)
    return [sample for sample in samples if sample.split == "validation"]


def _check(folder: Path, first: tuple[dict[str, Any], Checkpoint], other: tuple[dict[str, Any], Checkpoint]) -> None:
    """Raise CheckpointError if the checkpoint `other` in `folder` cannot be a member of `first`."""
    (block, leading), (own_block, own) = first, other
    if own.members or leading.members:
        raise CheckpointError("A checkpoint that is combined already cannot be combined again.")
    same = (
        ("architecture", leading.config.architecture, own.config.architecture),
        ("number of outputs", leading.config.num_classes, own.config.num_classes),
        ("input", leading.config.pretrained_cfg, own.config.pretrained_cfg),
        (
            "test_time_augmentation",
            leading.config.vigil.test_time_augmentation,
            own.config.vigil.test_time_augmentation,
        ),
        ("split", block["split_sha256"], own_block["split_sha256"]),
    )
    for what, expected, found in same:
        if found != expected:
            raise CheckpointError(f"{folder} has another {what} than the first checkpoint.")
    if own.finder is not None and own.config.vigil.region != leading.config.vigil.region:
        raise CheckpointError(f"{folder} has another lesion finder than the first checkpoint.")


@runs_networks("combine")
def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status: 1, with one sentence on standard error, if it fails."""
    parser = argparse.ArgumentParser(prog="python -m train.combine", description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+", metavar="DIR", help="trained checkpoint folders")
    parser.add_argument("--name", required=True, help="the model's name on the page")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the datasets")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint folder to write")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        combine(options.folders, options.name, _validation(options.folders[0], options.data), options.out)
    except (CheckpointError, RecipeError, DataMissing, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{options.out}: written. Evaluate it with python -m train.evaluate.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
