"""A recipe has the settings of one training run. It is read from a YAML file and checked before anything starts.

The recipe of a network names its augmentation, whose strengths are in train/training/augmentation.py. This module knows
nothing of how the settings are used.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from src.models.config import TestTimeAugmentation
from src.tasks import TASKS, Task

RECIPES = Path(__file__).parents[1] / "recipes"


class RecipeError(ValueError):
    """The recipe is missing or impossible; the message names the setting."""


class _Strict(BaseModel):
    # A misspelt setting must not pass silently with its default.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Loss(_Strict):
    """Focal loss (Lin et al. 2017, arXiv:1708.02002) plus cross-entropy, with class weights.

    `alpha` multiplies the focal term and `cross_entropy` the plain cross-entropy; `gamma` 0 makes the focal term
    cross-entropy too. Class weights are proportional to frequency^-`class_weight_power`, with mean 1 over samples: 0
    gives equal weights, 1 inverse frequency. `auxiliary` multiplies the auxiliary head's loss; only a network with such
    a head may have it.
    """

    gamma: float = Field(2.0, ge=0, le=10)
    alpha: PositiveFloat = 1.0
    cross_entropy: float = Field(0.0, ge=0)
    class_weight_power: float = Field(0.5, ge=0, le=1)
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    auxiliary: float = Field(0.0, ge=0)


class Distillation(_Strict):
    """How a network learns from the answers of teachers (Hinton et al. 2015, arXiv:1503.02531).

    Teachers and network read the same augmented image (Beyer et al. 2022, arXiv:2106.05237). The teachers' answer is
    the mean of their calibrated logits. The loss is `share` times the Kullback-Leibler divergence from that answer,
    plus 1 - `share` times the recipe's own loss. Both answers are divided by `temperature` before the softmax, and the
    divergence is multiplied by its square, which keeps the size of the gradients. With `all_views`, a teacher's logits
    are the mean over the views of its test-time augmentation. With `mixup`, each image is first mixed with another of
    its batch, in shares that follow the beta distribution with both parameters `mixup` (Zhang et al. 2018,
    arXiv:1710.09412). So the teachers answer images on which they were not trained. A mixed image has no label, so
    `share` must be 1.
    """

    share: float = Field(1.0, gt=0, le=1)
    temperature: PositiveFloat = 1.0
    all_views: bool = False
    mixup: NonNegativeFloat = 0.0

    @model_validator(mode="after")
    def _labels(self) -> Self:
        if self.mixup and self.share < 1:
            raise ValueError("mixup needs a share of 1, because a mixed image has no label")
        return self


class Sampling(_Strict):
    """Which training images make an epoch.

    With `weight_power` above 0, images are drawn with replacement and with weights frequency^-power of their class: at
    1 every class comes equally often. With 0 each image comes once. `copies` maps a class code to the number of times
    that each of its images comes per epoch, each time augmented anew; "balance" repeats every class up to the size of
    the largest. `source_power` draws with replacement so that each source's share of a class is proportional to its
    size^(1 - power), the same in every class that the source has: then the source does not reveal the class. None
    leaves the shares as they are.
    """

    weight_power: Annotated[float, Field(ge=0, le=1)] = 0.0
    copies: Literal["balance"] | dict[str, PositiveInt] = {}
    source_power: Annotated[float, Field(ge=0, le=1)] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> "Sampling":
        if self.copies and (self.weight_power or self.source_power is not None):
            raise ValueError("copies excludes weight_power and source_power, which draw with replacement")
        return self


def _one_of(fold: tuple[int, int]) -> tuple[int, int]:
    if fold[0] >= fold[1]:
        raise ValueError(f"fold {fold[0]} is none of {fold[1]}, which are counted from 0")
    return fold


Fold = Annotated[tuple[NonNegativeInt, Annotated[int, Field(ge=2)]], AfterValidator(_one_of)]


class Optimiser(_Strict):
    """AdamW with a learning rate that changes at every update.

    The schedule is a linear warm-up and a cosine decay to `lr_min`, or one cycle (Smith and Topin 2018,
    arXiv:1708.07120), which rises to `lr` over the first `warmup_epochs` and then falls. `backbone_lr` is the learning
    rate of all but the head, where it differs from `lr`. With `layer_decay`, each layer's rate is this factor times the
    rate of the layer above (Clark et al. 2020, arXiv:2003.10555). The gradients of `accumulate` batches make one
    update. `clip_norm` is the largest gradient norm.
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
            raise ValueError("backbone_lr and layer_decay exclude each other, because both slow the backbone")
        return self


class Run(_Strict):
    """Settings of any run of `train.training.loop`.

    Images: `image_size` is the input side in pixels of the released network, `train_size` that of training. A smaller
    side is faster, and random crops magnify (Touvron et al. 2019, arXiv:1906.06423). Training may start at
    `first_train_size` and grow to `train_size` epoch by epoch (progressive learning: Tan and Le 2021,
    arXiv:2104.00298). `resplit` seeds another split of the same groups by scikit-learn's GroupShuffleSplit, which shows
    how much a figure owes to the split. `fold` is the number of a fold, from 0, and the number of folds: the run
    validates on that fold and trains on the others.

    Network: `frozen` modules keep their pretrained weights; the first stages detect general edges and take most of the
    time. `gradient_checkpointing` saves memory by computing activations twice. `ema_decay` averages the weights.

    A run ends after `patience` epochs without a better one.
    """

    task: str
    name: str
    architecture: str
    sources: tuple[str, ...]
    resplit: int | None = None
    fold: Fold | None = None
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
        """The side in pixels of the training images in `epoch`, which counts from 0."""
        last = self.train_size or self.image_size
        first = self.first_train_size or last
        grown = first + (last - first) * epoch / max(1, self.epochs - 1)
        # The networks halve an image five times, so only multiples of 32 fit exactly.
        return last if epoch == self.epochs - 1 else min(last, max(first, round(grown / 32) * 32))

    @model_validator(mode="after")
    def _possible(self) -> "Run":
        _known_task(self.task)
        _only_learned_from(self.task, self.sources)
        if (self.first_train_size or 0) > (self.train_size or self.image_size):
            raise ValueError("first_train_size is larger than train_size")
        unknown = set(self.sampling.copies) - set(TASKS[self.task].codes) if self.sampling.copies != "balance" else ()
        if unknown:
            raise ValueError(f"sampling.copies: {self.task} has no class {', '.join(sorted(unknown))}")
        return self


class LesionCrops(_Strict):
    """How training crops images to the lesion, for a classifier that reads lesions (`src.models.lesion_finder`).

    The annotated mask gives the box. Its margin is drawn between `margins`, as a share of the lesion's longer side, and
    the box moves by up to `shift` of that side, because the lesion finder's boxes are not perfect either. The share
    `whole` of all images stays uncropped, as images do in which nothing is found. The other images without a lesion are
    cropped to a random window.
    """

    margins: tuple[float, float] = (0.05, 0.5)
    shift: Annotated[float, Field(ge=0, le=1)] = 0.15
    whole: Annotated[float, Field(ge=0, le=1)] = 0.15


class Recipe(Run):
    """Settings of one classifier.

    `select_by` names the validation metric that chooses the epoch and that `patience` watches: the highest AUC, or the
    lowest `loss` (log loss, which also measures calibration). With "last" validation chooses nothing.
    `test_time_augmentation` averages the released model's logits over mirrored ("flips") or mirrored and rotated ("d4")
    copies of an image. `calibrate_bias` fits a bias per class on validation before the temperature. The default
    threshold must refer the share `refer_at_least` of validation's cancers in each source: of the class `refer_code`,
    or of all malignant classes; only tasks whose threshold validation chooses have this setting. With `lesion_crops`
    the model reads the lesion that a U-Net finds (`--region`). With `distillation` it learns from other checkpoints
    (`--teachers`).
    """

    channels: Literal[1, 3] = 3
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    crop_mode: Literal["squash", "center"] = "squash"
    drop_rate: float = Field(0.0, ge=0, lt=1)
    drop_path_rate: float = Field(0.0, ge=0, lt=1)
    loss: Loss
    distillation: Distillation | None = None
    lesion_crops: LesionCrops | None = None
    select_by: Literal["auc_malignant", "auc_macro", "loss", "last"] = "auc_malignant"
    test_time_augmentation: TestTimeAugmentation = "none"
    calibrate_bias: bool = False
    refer_at_least: float | None = Field(None, gt=0, lt=1)
    refer_code: str | None = None

    @model_validator(mode="after")
    def _fits_its_task(self) -> "Recipe":
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError("mean and std need one value per channel")
        if (TASKS[self.task].default_threshold is None) != (self.refer_at_least is not None):
            raise ValueError(
                "refer_at_least is for the tasks whose default threshold validation chooses, and only those"
            )
        if self.refer_code is not None and self.refer_code not in TASKS[self.task].codes:
            raise ValueError(f"refer_code: {self.task} has no class {self.refer_code!r}")
        if self.loss.auxiliary and self.architecture != "vigil_efficientnetv2_m_cbam":
            raise ValueError(f"loss.auxiliary: {self.architecture} has no auxiliary head")
        if self.distillation is not None and self.loss.auxiliary:
            raise ValueError("distillation: a network with an auxiliary head cannot learn from teachers")
        if self.lesion_crops is not None and not TASKS[self.task].crop_to_roi:
            raise ValueError(f"lesion_crops: {self.task} has no region of interest")
        return self


class RegionRecipe(Run):
    """Settings of the U-Net that finds the lesion. `src.models.lesion_finder` explains `threshold`, `smallest` and
    `margin`.
    """

    architecture: Literal["vigil_lesion_unet"]
    image_size: int = Field(ge=32, le=640, multiple_of=16)
    select_by: Literal["dice"] = "dice"
    threshold: float = Field(0.5, gt=0, lt=1)
    smallest: float = Field(0.003, ge=0, lt=1)
    margin: float = Field(0.25, ge=0, le=2)

    @model_validator(mode="after")
    def _has_region(self) -> "RegionRecipe":
        if not TASKS[self.task].crop_to_roi:
            raise ValueError(f"task: {self.task} has no region of interest")
        return self


class LogisticRecipe(_Strict):
    """Settings of the logistic regression (`train.training.logistic`). Cross-validation on the training split searches
    `c_grid`.
    """

    task: str
    name: str
    architecture: Literal["vigil_linear28"]
    sources: tuple[str, ...]
    resplit: int | None = None
    fold: Fold | None = None
    seed: int = 0
    image_size: Literal[28] = 28
    c_grid: tuple[PositiveFloat, ...]
    class_weight: Literal["balanced"] | None = None

    @model_validator(mode="after")
    def _fits_its_task(self) -> "LogisticRecipe":
        task = _known_task(self.task)
        if len(task.codes) != 2 or task.colour != "grey" or task.input_side != self.image_size:
            raise ValueError(f"task: {self.task} is not a task of two classes and of grey images at 28×28 pixels")
        _only_learned_from(self.task, self.sources)
        return self


def _known_task(name: str) -> Task:
    if name not in TASKS:
        raise ValueError(f"task: {name!r} is none of {', '.join(TASKS)}")
    return TASKS[name]


def _only_learned_from(task: str, sources: tuple[str, ...]) -> None:
    # No model may learn from an external dataset, because it would be external no more.
    unknown = [source for source in sources if source not in TASKS[task].sources]
    if unknown or not sources:
        raise ValueError(
            f"sources: {task} learns from {', '.join(TASKS[task].sources)}; not {', '.join(unknown) or 'nothing'}"
        )


AnyRecipe = Recipe | RegionRecipe | LogisticRecipe


def _kind(settings: Any) -> type[AnyRecipe]:
    if not isinstance(settings, dict):
        return Recipe
    if settings.get("architecture") == "vigil_lesion_unet":
        return RegionRecipe
    return LogisticRecipe if "c_grid" in settings else Recipe


def load(path_or_name: str) -> AnyRecipe:
    """Read a recipe from a YAML file, or by the name of one in `train/recipes` ("skin", "breastmnist-logistic").

    Raises RecipeError, which names the recipes that exist or the setting that is wrong.
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
    """The recipe with these `settings`, a mapping as in YAML and config.json. Missing settings have their defaults.

    Raises RecipeError for an invalid recipe; its message uses `name`.
    """
    try:
        return _kind(settings).model_validate(settings)
    except ValidationError as error:
        lines = (f"{'.'.join(map(str, e['loc'])) or name}: {e['msg']}" for e in error.errors())
        raise RecipeError(f"{name}: {'; '.join(lines)}") from error
