"""Samples -> arrays in memory -> augmented batches, the same for a seed whatever the number of workers.

Knows nothing of losses or networks.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from src.predictor import transform, view
from src.tasks import Task
from src.weights import PretrainedConfig
from train.augment import Augmentation
from train.data import Sample


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


class TrainingSet(Dataset[tuple[Tensor, Tensor]]):
    """Augmented training pictures. Item i of epoch e is the same in every run with the same seed."""

    def __init__(self, arrays: Sequence[np.ndarray], labels: Sequence[int], seed: int) -> None:
        self.arrays = arrays
        self.labels = labels
        self.seed = seed
        self.epoch = 0
        self.augmentation: Augmentation

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """uint8 (C, size, size) and the label, int64 ()."""
        seed = int(np.random.SeedSequence([self.seed, self.epoch, index]).generate_state(1)[0])
        image = self.augmentation(self.arrays[index], seed)
        return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))), torch.tensor(self.labels[index])

    def batches(
        self, epoch: int, augmentation: Augmentation, batch_size: int, workers: int
    ) -> DataLoader[tuple[Tensor, Tensor]]:
        """The batches of one epoch, in an order that depends on seed and epoch alone."""
        self.epoch, self.augmentation = epoch, augmentation
        order = torch.Generator().manual_seed(self.seed * 100_003 + epoch)
        return DataLoader(
            self,
            batch_size=batch_size,
            shuffle=True,
            generator=order,
            num_workers=workers,
            # A last batch of one picture has no batch statistics.
            drop_last=len(self) > batch_size,
            pin_memory=torch.cuda.is_available(),
        )
