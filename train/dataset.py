"""Samples -> arrays in memory -> augmented batches, the same for a seed whatever the number of workers or processes.

Knows nothing of losses or networks.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, WeightedRandomSampler
from tqdm import tqdm

from src.predictor import transform, view
from src.tasks import Task
from src.weights import PretrainedConfig
from train.augment import Augmentation
from train.data import Sample
from train.losses import class_weights
from train.recipe import Recipe

Key = tuple[int, int, int]
"""epoch, index of the picture, which of its copies in that epoch"""


def load_arrays(samples: Sequence[Sample], task: Task, channels: int, short_side: int) -> list[np.ndarray]:
    """Each sample's picture as uint8 (H, W, channels), its short side at most `short_side` pixels, all in memory."""

    def one(sample: Sample) -> np.ndarray:
        image, _ = view(sample.picture().image, task, channels)
        scale = short_side / min(image.size)
        if scale < 1:
            image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
        array = np.asarray(image)
        return array[..., None] if channels == 1 else array

    # Pillow decodes without holding the interpreter's lock, so threads do.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(tqdm(pool.map(one, samples), total=len(samples), desc="reading", unit="image"))


def load_evaluation_tensor(samples: Sequence[Sample], task: Task, config: PretrainedConfig) -> Tensor:
    """The samples as the released model will see them, uint8 (N, C, H, W), before normalisation."""
    prepare = transform(config, normalise=False)

    def one(sample: Sample) -> Tensor:
        return prepare(view(sample.picture().image, task, config.input_size[0])[0])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        rows = pool.map(one, samples)
        return torch.stack(list(tqdm(rows, total=len(samples), desc="reading validation", unit="image")))


class Order:
    """Which pictures an epoch has, in which order: a matter of the recipe's seed and the epoch's number alone.

    `labels` (class indices) and `codes` (the classes' names) are those of the training pictures.
    """

    def __init__(self, recipe: Recipe, labels: Sequence[int], codes: Sequence[str]) -> None:
        self.seed = recipe.seed
        counts = Counter(labels)
        wanted = recipe.sampling.copies
        most = max(counts.values())
        self.indices: list[int] = []
        for index, label in enumerate(labels):
            copies = most // counts[label] if wanted == "balance" else wanted.get(codes[label], 1)
            self.indices += copies * [index]
        if wanted == "balance":
            # Whole copies fall short of the largest class by less than one each; the first pictures make it up.
            for label, count in counts.items():
                self.indices += [i for i, other in enumerate(labels) if other == label][: most % count]
        weights = class_weights(labels, len(codes), recipe.sampling.weight_power)
        self.weights = [float(weights[label]) for label in labels] if recipe.sampling.weight_power else None

    def __len__(self) -> int:
        return len(self.indices)

    def keys(self, epoch: int) -> list[Key]:
        """The epoch's pictures in order."""
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


class Batches(Sampler[list[Key]]):
    """The batches of the epochs from `first` on, one after the other; of each batch the part of one process.

    One sampler for all epochs, so that the loader's workers go on while an epoch is judged.
    """

    def __init__(self, order: Order, recipe: Recipe, first: int, rank: int = 0, processes: int = 1) -> None:
        self.order, self.recipe, self.first, self.rank, self.processes = order, recipe, first, rank, processes
        # A last batch of one picture has no batch statistics.
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
    """Augmented training pictures by `Key`. The same key gives the same picture in every run with the same seed.

    `side_in` says how large, in pixels, an epoch's pictures are.
    """

    def __init__(
        self,
        arrays: Sequence[np.ndarray],
        labels: Sequence[int],
        augmentation: str,
        side_in: Callable[[int], int],
        seed: int,
    ) -> None:
        self.arrays, self.labels, self.side_in, self.seed = arrays, labels, side_in, seed
        self.augmentation = augmentation
        # By side: where batches are made ahead, two epochs may be under way at once.
        self._pipelines: dict[int, Augmentation] = {}

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor]:
        """uint8 (C, side, side) and the label, int64 ()."""
        epoch, index, copy = key
        side = self.side_in(epoch)
        if side not in self._pipelines:
            self._pipelines[side] = Augmentation(self.augmentation, side)
        seed = int(np.random.SeedSequence([self.seed, epoch, index, copy]).generate_state(1)[0])
        image = self._pipelines[side](self.arrays[index], seed)
        return torch.from_numpy(image.transpose(2, 0, 1).copy()), torch.tensor(self.labels[index])

    def loader(self, batches: Batches, workers: int) -> DataLoader[tuple[Tensor, Tensor]]:
        """The pictures of `batches`, made ready by `workers` processes ahead of the network."""
        return DataLoader(
            self,
            batch_sampler=batches,
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            pin_memory=torch.cuda.is_available(),
        )
