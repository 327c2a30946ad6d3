"""train/training/recipe.py and train/recipes: every recipe is valid, and an error names the wrong setting."""

import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from src.models import checkpoints
from tests.support.tiny_recipe import TINY
from train.data import SOURCES
from train.training import augmentation, classifier
from train.training import recipe as recipes


def test_every_recipe_is_valid_and_its_parts_exist() -> None:
    files = sorted(recipes.RECIPES.glob("*.yaml"))
    assert {"skin", "ultrasound", "breastmnist", "breastmnist-logistic", "histopathology"} <= {f.stem for f in files}
    for file in files:
        recipe = recipes.load(file.stem)
        assert file.read_text().startswith("# "), "a recipe's header says what it is and how to run it"
        assert f"python -m train {file.stem} " in file.read_text()
        assert set(recipe.sources) <= set(SOURCES)
        if isinstance(recipe, recipes.Run):
            augmentation.Augmentation(recipe.augmentation, recipe.train_size or recipe.image_size)
        if isinstance(recipe, recipes.Recipe):
            checkpoints.build(
                recipe.architecture, classifier.outputs(recipe.task, recipe.architecture), recipe.channels
            )


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"learning_rate": 1}, "learning_rate"),
        ({"epochs": 0}, "epochs"),
        ({"task": "lungs"}, "task"),
        ({"refer_at_least": 0.9}, "refer_at_least"),
        ({"mean": [0.5]}, "mean and std"),
        ({"optimiser": {"lr": math.nan}}, "optimiser.lr"),
        ({"optimiser": {"lr": 1, "backbone_lr": 1, "layer_decay": 0.9}}, "backbone_lr"),
        ({"sampling": {"weight_power": 1, "copies": "balance"}}, "weight_power"),
        ({"sampling": {"copies": {"melanoma": 2}}}, "melanoma"),
        ({"loss": {"auxiliary": 0.4}}, "auxiliary"),
        ({"first_train_size": 128}, "first_train_size"),
        ({"fold": [5, 5]}, "fold 5 is none of 5"),
        ({"fold": [0, 1]}, "fold"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(yaml.safe_dump(TINY | change))
    with pytest.raises(recipes.RecipeError, match=named):
        recipes.load(str(file))


def test_an_unknown_recipe_names_the_known_ones() -> None:
    with pytest.raises(recipes.RecipeError, match="breastmnist-logistic"):
        recipes.load("skni")


@pytest.mark.parametrize(
    ("recipe", "sources"), [("ultrasound", ["busi", "breast_usg"]), ("breastmnist-logistic", ["breast_usg"])]
)
def test_a_recipe_that_learns_from_an_external_set_is_refused(recipe: str, sources: list[str], tmp_path: Path) -> None:
    settings = yaml.safe_load((recipes.RECIPES / f"{recipe}.yaml").read_text())
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(settings | {"sources": sources}))
    with pytest.raises(recipes.RecipeError, match="not breast_usg"):
        recipes.load(str(file))
