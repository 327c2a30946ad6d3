"""A recipe: every hyperparameter of one training run, read from a YAML file and checked before anything starts.

Knows nothing of how the settings are used; a setting that stands in no recipe exists nowhere in code.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError, model_validator

from src.models.tta import TestTimeAugmentation
from src.tasks import TASKS

RECIPES = Path(__file__).parents[1] / "recipes"


class RecipeError(ValueError):
    """A recipe that is not there or says something impossible; the message names the setting."""


class _Strict(BaseModel):
    # A misspelt setting must not pass silently with its default.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Loss(_Strict):
    """Focal loss (Lin et al. 2017, arXiv:1708.02002); `gamma` 0 is cross-entropy.

    `alpha` times the focal term, plus `cross_entropy` times plain cross-entropy. `class_weight_power`: weights
    proportional to frequency^-power, 0 for none, 1 for inverse frequency, mean 1 over samples. `auxiliary`: what the
    auxiliary head's loss counts beside the main one's; only for a network that has one.
    """

    gamma: float = Field(2.0, ge=0, le=10)
    alpha: PositiveFloat = 1.0
    cross_entropy: float = Field(0.0, ge=0)
    class_weight_power: float = Field(0.5, ge=0, le=1)
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    auxiliary: float = Field(0.0, ge=0)


class Sampling(_Strict):
    """Which pictures make an epoch.

    `weight_power`: drawn with replacement with weights frequency^-power of their class (1: every class as often as any
    other); 0 takes each picture once. `copies`: class code -> how many times each of its pictures stands in an epoch,
    every copy augmented on its own; "balance" gives every class as many as the largest has. `source_power`: pictures
    are drawn with replacement, and each source's share of a class is proportional to its size^(1 - power), the same in
    every class that it has, so that the source does not tell the class; None leaves the shares as they are.
    """

    weight_power: Annotated[float, Field(ge=0, le=1)] = 0.0
    copies: Literal["balance"] | dict[str, PositiveInt] = {}
    source_power: Annotated[float, Field(ge=0, le=1)] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "Sampling":
        if self.copies and (self.weight_power or self.source_power is not None):
            raise ValueError("weight_power or source_power, which draw with replacement, and copies: give one of them")
        return self


class Optimiser(_Strict):
    """AdamW, its learning rate set every update: linear warm-up and cosine decay to `lr_min`, or one cycle (Smith and
    Topin 2018, arXiv:1708.07120: up to `lr` over the first `warmup_epochs`, then down).

    `backbone_lr`: the learning rate of everything but the head, where it is not `lr`; `layer_decay`: each layer's is
    this factor of the one above (Clark et al. 2020, arXiv:2003.10555). `accumulate`: batches whose gradients make one
    update. `clip_norm`: the largest gradient norm.
    """

    lr: PositiveFloat
    backbone_lr: PositiveFloat | None = None
    lr_min: float = Field(1e-6, ge=0)
    weight_decay: float = Field(0.05, ge=0)
    layer_decay: float | None = Field(None, gt=0, le=1)
    schedule: Literal["cosine", "onecycle"] = "cosine"
    warmup_epochs: float = Field(1.0, ge=0)
    accumulate: PositiveInt = 1
    clip_norm: PositiveFloat | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "Optimiser":
        if self.backbone_lr is not None and self.layer_decay is not None:
            raise ValueError("backbone_lr and layer_decay both slow the backbone: give one of them")
        return self


class Run(_Strict):
    """Settings of any run of `train.training.loop`.

    Pictures: `image_size` is the side, in pixels, the released network sees; `train_size` the side it trains at
    (smaller is faster, and random crops magnify: Touvron et al. 2019, arXiv:1906.06423); `first_train_size` starts
    smaller and grows to it epoch by epoch (progressive learning: Tan and Le 2021, arXiv:2104.00298). `resplit`: another
    split of the same groups, made with this seed by scikit-learn's GroupShuffleSplit, to see what a figure owes to the
    split.

    Network: `frozen` modules keep their pretrained weights (the first stages see general edges and cost most of the
    time); `gradient_checkpointing` computes activations twice to keep fewer of them; `ema_decay` averages the weights.

    `patience`: the epochs without a better one that end the run.
    """

    task: str
    name: str
    architecture: str
    sources: tuple[str, ...]
    resplit: int | None = None
    seed: int = 0
    image_size: PositiveInt
    train_size: PositiveInt | None = None
    first_train_size: PositiveInt | None = None
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[PositiveFloat, ...] = (0.229, 0.224, 0.225)
    frozen: tuple[str, ...] = ()
    gradient_checkpointing: bool = False
    epochs: PositiveInt
    batch_size: PositiveInt
    augmentation: str
    sampling: Sampling = Sampling()
    optimiser: Optimiser
    ema_decay: float | None = Field(None, gt=0, lt=1)
    patience: PositiveInt = 5

    def size_in(self, epoch: int) -> int:
        """The side, in pixels, of the training pictures of `epoch` (from 0)."""
        last = self.train_size or self.image_size
        first = self.first_train_size or last
        grown = first + (last - first) * epoch / max(1, self.epochs - 1)
        # The networks halve a picture five times: only whole multiples of 32 waste nothing.
        return last if epoch == self.epochs - 1 else min(last, max(first, round(grown / 32) * 32))

    @model_validator(mode="after")
    def _possible(self) -> "Run":
        if self.task not in TASKS:
            raise ValueError(f"task: {self.task!r} is none of {', '.join(TASKS)}")
        _only_learned_from(self.task, self.sources)
        if (self.first_train_size or 0) > (self.train_size or self.image_size):
            raise ValueError("first_train_size is larger than train_size")
        strange = set(self.sampling.copies) - set(TASKS[self.task].codes) if self.sampling.copies != "balance" else ()
        if strange:
            raise ValueError(f"sampling.copies: {', '.join(sorted(strange))}: no class of {self.task}")
        return self


class LesionCrops(_Strict):
    """How a classifier that is shown lesions (`src.models.lesion_finder`) meets them in training: cut out by their
    masks.

    The margin on each side, as a share of the lesion's longer side, is drawn between `margins`, the box moved by up to
    `shift` of that side: the network's own boxes will not be perfect. The share `whole` of all pictures is shown whole,
    as those are where nothing is found; of a picture without a lesion that share too, and else a random window.
    """

    margins: tuple[float, float] = (0.05, 0.5)
    shift: Annotated[float, Field(ge=0, le=1)] = 0.15
    whole: Annotated[float, Field(ge=0, le=1)] = 0.15


class Recipe(Run):
    """Settings of one classifier.

    `select_by` names the validation metric that chooses the epoch, and whose standing still ends the run: the highest
    AUC, or the lowest `loss` (log loss, which sees how sure the answers are; AUC only sees their order); "last" takes
    the last one, so that validation chooses nothing. `test_time_augmentation`: the released model averages its logits
    over mirrored ("flips") or mirrored and turned ("d4") views of a picture. `calibrate_bias` fits a bias for each
    class to validation before the temperature. `refer_at_least` is the share of validation cancers of `refer_code` (or
    of all malignant classes) that the default threshold must refer, in each source; only for tasks whose threshold
    validation chooses. `lesion_crops`: the model is shown the lesion, which a U-Net finds (`--region`).
    """

    channels: Literal[1, 3] = 3
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    crop_mode: Literal["squash", "center"] = "squash"
    drop_rate: float = Field(0.0, ge=0, lt=1)
    drop_path_rate: float = Field(0.0, ge=0, lt=1)
    loss: Loss
    lesion_crops: LesionCrops | None = None
    select_by: Literal["auc_malignant", "auc_macro", "loss", "last"] = "auc_malignant"
    test_time_augmentation: TestTimeAugmentation = "none"
    calibrate_bias: bool = False
    refer_at_least: float | None = Field(None, gt=0, lt=1)
    refer_code: str | None = None

    @model_validator(mode="after")
    def _fits_its_task(self) -> "Recipe":
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError("mean and std need one value a channel")
        if (TASKS[self.task].default_threshold is None) != (self.refer_at_least is not None):
            raise ValueError(
                "refer_at_least is for the tasks whose default threshold validation chooses, and only those"
            )
        if self.refer_code is not None and self.refer_code not in TASKS[self.task].codes:
            raise ValueError(f"refer_code: {self.refer_code!r} is no class of {self.task}")
        if self.loss.auxiliary and self.architecture != "vigil_efficientnetv2_m_cbam":
            raise ValueError(f"loss.auxiliary: {self.architecture} has no auxiliary head")
        if self.lesion_crops is not None and not TASKS[self.task].crop_to_roi:
            raise ValueError(f"lesion_crops: {self.task} has no region of interest")
        return self


class RegionRecipe(Run):
    """Settings of the U-Net that finds the lesion (`src.models.lesion_finder`); `threshold`, `smallest` and `margin`
    as there."""

    task: Literal["ultrasound"]
    architecture: Literal["vigil_lesion_unet"]
    image_size: int = Field(ge=32, le=640, multiple_of=16)
    select_by: Literal["dice"] = "dice"
    threshold: float = Field(0.5, gt=0, lt=1)
    smallest: float = Field(0.003, ge=0, lt=1)
    margin: float = Field(0.25, ge=0, le=2)


class LogisticRecipe(_Strict):
    """Settings of the logistic regression baseline (`train.training.logistic`): `c_grid` is searched by
    cross-validation within the training split."""

    task: Literal["breastmnist"]
    name: str
    architecture: Literal["vigil_linear28"]
    sources: tuple[str, ...]
    resplit: int | None = None
    seed: int = 0
    image_size: Literal[28] = 28
    c_grid: tuple[PositiveFloat, ...]
    class_weight: Literal["balanced"] | None = None

    @model_validator(mode="after")
    def _fits_its_task(self) -> "LogisticRecipe":
        _only_learned_from(self.task, self.sources)
        return self


def _only_learned_from(task: str, sources: tuple[str, ...]) -> None:
    # An external set among them would spend the last look at what no model has seen.
    strange = [source for source in sources if source not in TASKS[task].sources]
    if strange or not sources:
        raise ValueError(
            f"sources: {task} learns from {', '.join(TASKS[task].sources)}; not {', '.join(strange) or 'nothing'}"
        )


AnyRecipe = Recipe | RegionRecipe | LogisticRecipe


def _kind(settings: Any) -> type[AnyRecipe]:
    if not isinstance(settings, dict):
        return Recipe
    if settings.get("architecture") == "vigil_lesion_unet":
        return RegionRecipe
    return LogisticRecipe if "c_grid" in settings else Recipe


def load(path_or_name: str) -> AnyRecipe:
    """Read a recipe: a YAML file, or the name of one in `train/recipes` ("skin", "breastmnist-logistic").

    Raises RecipeError, naming the recipes there are or the setting that is wrong.
    """
    path = Path(path_or_name)
    if path.suffix not in (".yaml", ".yml"):
        path = RECIPES / f"{path_or_name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(recipe.stem for recipe in RECIPES.glob("*.yaml")))
        raise RecipeError(f"There is no recipe {path_or_name!r}. Give a YAML file or one of: {known}.")
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise RecipeError(f"{path.name} is not valid YAML: {error}") from error
    return of_settings(settings, path.name)


def of_settings(settings: Any, name: str) -> AnyRecipe:
    """The recipe of `settings`, a mapping as YAML and config.json hold it; what is not in there has its default.

    Raises RecipeError, which calls them `name`, for what is no recipe.
    """
    try:
        return _kind(settings).model_validate(settings)
    except ValidationError as error:
        lines = (f"{'.'.join(map(str, e['loc'])) or name}: {e['msg']}" for e in error.errors())
        raise RecipeError(f"{name}: {'; '.join(lines)}") from error
