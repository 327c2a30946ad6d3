"""From samples to arrays in memory to augmented batches. A seed gives the same batches for any number of workers or
processes.

This module knows nothing of losses or networks.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, WeightedRandomSampler
from tqdm import tqdm

from src.models.config import PretrainedConfig
from src.models.lesion_finder import LesionFinder, with_margin
from src.models.preprocess import Region, select_region, transform
from src.pictures import scanned_field
from src.pictures.picture import Box
from src.tasks import Task
from train.data import Sample
from train.data.masks import lesion_mask
from train.training.augmentation import Augmentation
from train.training.losses import class_weights
from train.training.recipe import LesionCrops, Recipe, Run, Sampling

T = TypeVar("T")
R = TypeVar("R")

Key = tuple[int, int, int]
"""The epoch, the index of the image, and the number of its copy in that epoch."""


def load_arrays(samples: Sequence[Sample], task: Task, channels: int, short_side: int) -> list[np.ndarray]:
    """Each sample's image as a uint8 array (H, W, channels), all in memory. The short side has at most `short_side`
    pixels.

    For a task with a region of interest, the image is the scanned field.
    """

    def one(sample: Sample) -> np.ndarray:
        image = _region(sample, task, channels).image
        array = np.asarray(image.resize(_reduced(image.size, short_side), Image.Resampling.BICUBIC))
        return array[..., None] if channels == 1 else array

    return _in_threads(one, samples, "reading")


def load_masks(samples: Sequence[Sample], task: Task, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The lesion masks of `arrays` (which `load_arrays` made from `samples`): uint8 (H, W), 0 or 1."""

    def one(pair: tuple[Sample, np.ndarray]) -> np.ndarray:
        sample, array = pair
        height, width = array.shape[:2]
        if not sample.masks:
            return np.zeros((height, width), dtype=np.uint8)
        picture = sample.picture().image
        return lesion_mask(sample, picture, scanned_field.crop(picture, task).box, (width, height))

    return _in_threads(one, list(zip(samples, arrays, strict=True)), "reading masks")


def load_evaluation_tensor(
    samples: Sequence[Sample], task: Task, config: PretrainedConfig, finder: LesionFinder | None = None
) -> Tensor:
    """The samples as the released model reads them, uint8 (N, C, H, W), before normalisation."""
    prepare = transform(config, normalise=False)

    def one(sample: Sample) -> Tensor:
        return prepare(_region(sample, task, config.input_size[0], finder).image)

    return torch.stack(_in_threads(one, samples, "reading validation"))


def _region(sample: Sample, task: Task, channels: int, finder: LesionFinder | None = None) -> Region:
    return select_region(scanned_field.crop(sample.picture().image, task), task, channels, finder)


def _reduced(size: tuple[int, int], short_side: int) -> tuple[int, int]:
    scale = min(1.0, short_side / min(size))
    return round(size[0] * scale), round(size[1] * scale)


def _in_threads(work: Callable[[T], R], items: Sequence[T], label: str) -> list[R]:
    # Threads are enough, because Pillow releases the interpreter's lock while it decodes.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(tqdm(pool.map(work, items), total=len(items), desc=label, unit="image"))


class Order:
    """Which images an epoch has, in which order. Only the recipe's seed and the epoch's number decide it.

    `labels` (class indices) and `sources` (dataset names) have an entry per training image; `codes` are the class
    codes. Only a recipe with `source_power` uses the sources.
    """

    def __init__(self, recipe: Run, labels: Sequence[int], codes: Sequence[str], sources: Sequence[str] = ()) -> None:
        self.seed = recipe.seed
        counts = Counter(labels)
        wanted = recipe.sampling.copies
        most = max(counts.values())
        self.indices: list[int] = []
        for index, label in enumerate(labels):
            copies = most // counts[label] if wanted == "balance" else wanted.get(codes[label], 1)
            self.indices += copies * [index]
        if wanted == "balance":
            # Whole copies do not quite reach the size of the largest class; further copies of the first images do.
            for label, count in counts.items():
                self.indices += [i for i, other in enumerate(labels) if other == label][: most % count]
        self.weights = _drawing_weights(recipe.sampling, labels, len(codes), sources)

    def __len__(self) -> int:
        return len(self.indices)

    def keys(self, epoch: int) -> list[Key]:
        """The keys of the epoch's images, in order."""
        generator = torch.Generator().manual_seed(self.seed * 100_003 + epoch)
        if self.weights is not None:
            order = list(WeightedRandomSampler(self.weights, len(self.indices), generator=generator))
        else:
            order = [self.indices[i] for i in torch.randperm(len(self.indices), generator=generator).tolist()]
        seen: Counter[int] = Counter()
        keys = []
        for index in order:
            keys.append((epoch, index, seen[index]))
            seen[index] += 1
        return keys


def _drawing_weights(
    sampling: Sampling, labels: Sequence[int], classes: int, sources: Sequence[str]
) -> list[float] | None:
    """The weight with which each image is drawn; None if each image is taken once."""
    if not sampling.weight_power and sampling.source_power is None:
        return None
    weights = class_weights(labels, classes, sampling.weight_power).tolist()
    if sampling.source_power is None:
        return [weights[label] for label in labels]
    strata = Counter(zip(labels, sources, strict=True))
    shares = {source: size ** (1 - sampling.source_power) for source, size in Counter(sources).items()}
    of_class = Counter(labels)
    whole = {label: sum(share for source, share in shares.items() if strata[label, source]) for label in of_class}
    return [
        weights[label] * of_class[label] * shares[source] / whole[label] / strata[label, source]
        for label, source in zip(labels, sources, strict=True)
    ]


class Batches(Sampler[list[Key]]):
    """The batches of all epochs from `first` on, one after another; each process gets its part of a batch.

    One sampler serves all epochs, so that the loader's workers continue during validation.
    """

    def __init__(self, order: Order, recipe: Run, first: int, rank: int = 0, processes: int = 1) -> None:
        self.order, self.recipe, self.first, self.rank, self.processes = order, recipe, first, rank, processes
        # An incomplete last batch is left out: a batch of one image has no batch statistics.
        self.per_epoch = max(1, len(order) // recipe.batch_size)

    def __iter__(self) -> Iterator[list[Key]]:
        size = self.recipe.batch_size
        for epoch in range(self.first, self.recipe.epochs):
            keys = self.order.keys(epoch)
            for batch in range(self.per_epoch):
                yield keys[batch * size : (batch + 1) * size][self.rank :: self.processes]

    def __len__(self) -> int:
        return self.per_epoch * (self.recipe.epochs - self.first)


class TrainingSet(Dataset[tuple[Tensor, Tensor]]):
    """Augmented training images by `Key`. The same key gives the same image in every run with the same seed.

    `arrays` are uint8 (H, W, C), with a label each. `lesions`, for a recipe with `lesion_crops`, are the boxes around
    the lesions; None marks an image without a lesion.
    """

    def __init__(
        self,
        arrays: Sequence[np.ndarray],
        labels: Sequence[int],
        recipe: Run,
        lesions: Sequence[Box | None] = (),
    ) -> None:
        self.arrays, self.labels, self.recipe, self.lesions = arrays, labels, recipe, lesions
        # One pipeline per side: as batches are prepared in advance, two epochs may be in work at once.
        self._pipelines: dict[int, Augmentation] = {}

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor]:
        """The image, uint8 (C, side, side), and its label, int64 ()."""
        pipeline, seed = self._drawn(key)
        array = self.arrays[key[1]]
        if self.lesions:
            array = lesion_crop(array, self.lesions[key[1]], cast(Recipe, self.recipe).lesion_crops, seed)
        return _channels_first(pipeline(array, seed)), torch.tensor(self.labels[key[1]])

    def _drawn(self, key: Key) -> tuple[Augmentation, int]:
        epoch, index, copy = key
        side = self.recipe.size_in(epoch)
        if side not in self._pipelines:
            self._pipelines[side] = Augmentation(self.recipe.augmentation, side)
        return self._pipelines[side], int(
            np.random.SeedSequence([self.recipe.seed, epoch, index, copy]).generate_state(1)[0]
        )

    def loader(self, batches: Batches, workers: int) -> DataLoader[tuple[Tensor, Tensor]]:
        """Iterate over `batches`; `workers` processes prepare the images in advance."""
        return DataLoader(
            self,
            batch_sampler=batches,
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            pin_memory=torch.cuda.is_available(),
        )


class LesionSet(TrainingSet):
    """Augmented images with their lesion masks, uint8 (H, W), 0 or 1."""

    def __init__(
        self, arrays: Sequence[np.ndarray], masks: Sequence[np.ndarray], labels: Sequence[int], recipe: Run
    ) -> None:
        super().__init__(arrays, labels, recipe)
        self.masks = masks

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor]:
        """The image, uint8 (C, side, side), and its mask, float32 (1, side, side), 0 or 1."""
        pipeline, seed = self._drawn(key)
        image, mask = pipeline.with_mask(self.arrays[key[1]], self.masks[key[1]], seed)
        return _channels_first(image), torch.from_numpy(mask.astype(np.float32))[None]


def _channels_first(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image.transpose(2, 0, 1).copy())


def lesion_crop(array: np.ndarray, lesion: Box | None, settings: LesionCrops | None, seed: int) -> np.ndarray:
    """The part of `array` (H, W, C) that a classifier of lesions trains on (`LesionCrops`)."""
    settings = settings or LesionCrops()
    draw = np.random.default_rng([seed, 1])
    if draw.random() < settings.whole:
        return array
    height, width = array.shape[:2]
    if lesion is None:
        side = draw.uniform(0.3, 0.9) * min(height, width)
        x, y = draw.uniform(0, width - side), draw.uniform(0, height - side)
        left, upper, right, lower = with_margin((x, y, x + side, y + side), 0.0, (width, height))
    else:
        moved = draw.uniform(-1, 1, 2) * settings.shift * max(lesion[2] - lesion[0], lesion[3] - lesion[1])
        x0, y0, x1, y1 = np.asarray(lesion, dtype=float) + np.tile(moved, 2)
        left, upper, right, lower = with_margin((x0, y0, x1, y1), draw.uniform(*settings.margins), (width, height))
    return array[upper:lower, left:right]
