"""Augmentation pipelines by name, built with albumentations.

Each turns an RGB or grey uint8 array (H, W, C) into one of shape (size, size, C).
"""

import random

import albumentations as A
import cv2
import numpy as np

from train.training.artefacts import Borders, Callipers, Hairs, RoundFrame, Ruler, Text

# Each DataLoader worker is a process of its own; OpenCV's threads on top of that only fight over the cores.
cv2.setNumThreads(0)


def _crop(size: int, smallest: float, ratio: tuple[float, float] = (0.75, 1.333)) -> A.RandomResizedCrop:
    return A.RandomResizedCrop(size=(size, size), scale=(smallest, 1.0), ratio=ratio, interpolation=cv2.INTER_AREA)


def _dermatoscopy(size: int) -> list[A.BasicTransform]:
    """For skin: a lesion has no up or left, and lamps, lenses and skins differ in colour and sharpness."""
    return [
        _crop(size, 0.5),
        A.D4(p=1.0),
        A.Affine(rotate=(-30, 30), shear=(-8, 8), border_mode=cv2.BORDER_REFLECT_101, p=0.4),
        A.ColorJitter(brightness=(0.8, 1.2), contrast=(0.8, 1.2), saturation=(0.8, 1.2), hue=(-0.03, 0.03), p=0.8),
        A.OneOf([A.GaussianBlur(blur_limit=(3, 5)), A.GaussNoise(std_range=(0.01, 0.04))], p=0.2),
        A.CoarseDropout(num_holes_range=(1, 4), hole_height_range=(0.05, 0.15), hole_width_range=(0.05, 0.15), p=0.3),
    ]


def _dermatoscopy_strong(size: int) -> list[A.BasicTransform]:
    """`dermatoscopy` with hair, ink, gel, bent skin, and other lamps and cameras.

    It is for long runs: over few epochs it lowers the metrics.
    """
    return [
        _crop(size, 0.4),
        A.D4(p=1.0),
        A.Affine(rotate=(-45, 45), shear=(-10, 10), border_mode=cv2.BORDER_REFLECT_101, p=0.4),
        A.OneOf(
            [
                A.ElasticTransform(alpha=40, sigma=8, border_mode=cv2.BORDER_REFLECT_101),
                A.GridDistortion(num_steps=5, distort_limit=0.2),
                A.OpticalDistortion(distort_limit=0.3),
                A.Perspective(scale=(0.03, 0.08)),
            ],
            p=0.25,
        ),
        A.ColorJitter(brightness=(0.75, 1.25), contrast=(0.75, 1.25), saturation=(0.7, 1.3), hue=(-0.04, 0.04), p=0.8),
        A.OneOf(
            [A.CLAHE(clip_limit=(1, 3)), A.RandomGamma(gamma_limit=(75, 130)), A.RGBShift(), A.RandomToneCurve()], p=0.3
        ),
        A.PlanckianJitter(p=0.2),
        A.OneOf([A.GaussianBlur(blur_limit=(3, 5)), A.MotionBlur(blur_limit=(3, 5)), A.Defocus(radius=(1, 2))], p=0.2),
        A.OneOf([A.GaussNoise(std_range=(0.01, 0.05)), A.ISONoise()], p=0.2),
        A.ImageCompression(quality_range=(60, 95), p=0.2),
        Hairs(p=0.3),
        A.CoarseDropout(num_holes_range=(1, 5), hole_height_range=(0.05, 0.18), hole_width_range=(0.05, 0.18), p=0.4),
    ]


def _dermatoscopy_sources(size: int) -> list[A.BasicTransform]:
    """`dermatoscopy` with the differences between clinics, drawn at random for every image.

    These are aspect, white balance, tint, gain, sharpness, round frames, borders, rulers, hair and text.
    """
    return [
        _crop(size, 0.5, ratio=(0.6, 1.67)),
        A.D4(p=1.0),
        A.Affine(rotate=(-30, 30), shear=(-8, 8), border_mode=cv2.BORDER_REFLECT_101, p=0.4),
        A.ColorJitter(brightness=(0.75, 1.25), contrast=(0.75, 1.25), saturation=(0.7, 1.3), hue=(-0.04, 0.04), p=0.8),
        # White balance: one gain a channel.
        A.MultiplicativeNoise(multiplier=(0.85, 1.15), per_channel=True, elementwise=False, p=0.5),
        A.OneOf([A.GaussianBlur(blur_limit=(3, 5)), A.GaussNoise(std_range=(0.01, 0.04))], p=0.2),
        A.ImageCompression(quality_range=(50, 95), p=0.2),
        Hairs(p=0.1),
        Ruler(p=0.12),
        RoundFrame(p=0.2),
        Borders(p=0.06),
        Text(p=0.06),
        A.CoarseDropout(num_holes_range=(1, 4), hole_height_range=(0.05, 0.15), hole_width_range=(0.05, 0.15), p=0.2),
    ]


def _ultrasound(size: int) -> list[A.BasicTransform]:
    """For ultrasound: depth is vertical, so images are not flipped upside down; machines change greys and scale."""
    return [
        _crop(size, 0.5, ratio=(0.7, 1.4)),
        A.HorizontalFlip(p=0.5),
        A.Affine(rotate=(-10, 10), shear=(-5, 5), border_mode=cv2.BORDER_CONSTANT, p=0.5),
        A.RandomBrightnessContrast(brightness_limit=0.25, contrast_limit=0.3, p=0.7),
        A.RandomGamma(gamma_limit=(65, 150), p=0.5),
        A.OneOf([A.CLAHE(clip_limit=(1, 3)), A.Sharpen(alpha=(0.1, 0.4)), A.GaussianBlur(blur_limit=(3, 5))], p=0.3),
        A.OneOf(
            [A.GaussNoise(std_range=(0.01, 0.06)), A.MultiplicativeNoise(multiplier=(0.8, 1.2), elementwise=True)],
            p=0.3,
        ),
        A.ElasticTransform(alpha=20, sigma=6, border_mode=cv2.BORDER_CONSTANT, p=0.2),
        A.CoarseDropout(num_holes_range=(1, 6), hole_height_range=(0.05, 0.18), hole_width_range=(0.05, 0.18), p=0.4),
    ]


def _ultrasound_strong(size: int, smallest: float = 0.5) -> list[A.BasicTransform]:
    """`ultrasound` with the differences between machines and hospitals at random: greys, grain, marks, geometry."""
    return [
        _crop(size, smallest, ratio=(0.6, 1.6)),
        A.HorizontalFlip(p=0.5),
        A.Affine(rotate=(-15, 15), shear=(-8, 8), border_mode=cv2.BORDER_CONSTANT, p=0.5),
        A.OneOf(
            [
                A.ElasticTransform(alpha=30, sigma=6, border_mode=cv2.BORDER_CONSTANT),
                A.GridDistortion(num_steps=5, distort_limit=0.25),
                A.OpticalDistortion(distort_limit=0.3),
            ],
            p=0.3,
        ),
        A.OneOf(
            [
                A.RandomBrightnessContrast(brightness_limit=0.3, contrast_limit=0.4),
                A.RandomGamma(gamma_limit=(50, 180)),
                A.RandomToneCurve(scale=0.3),
                A.CLAHE(clip_limit=(1, 4)),
                A.Equalize(),
            ],
            p=0.85,
        ),
        A.OneOf(
            [
                A.Sharpen(alpha=(0.1, 0.5)),
                A.GaussianBlur(blur_limit=(3, 7)),
                A.MotionBlur(blur_limit=(3, 7)),
                A.MedianBlur(blur_limit=5),
                A.Downscale(scale_range=(0.4, 0.9)),
            ],
            p=0.5,
        ),
        A.OneOf(
            [A.GaussNoise(std_range=(0.01, 0.08)), A.MultiplicativeNoise(multiplier=(0.7, 1.3), elementwise=True)],
            p=0.4,
        ),
        A.ImageCompression(quality_range=(50, 95), p=0.2),
        Callipers(p=0.4),
        A.CoarseDropout(num_holes_range=(1, 6), hole_height_range=(0.05, 0.18), hole_width_range=(0.05, 0.18), p=0.4),
    ]


def _ultrasound_lesion(size: int) -> list[A.BasicTransform]:
    """`ultrasound-strong` for images that are already cropped to the lesion."""
    return _ultrasound_strong(size, smallest=0.8)


def _ultrasound_28(size: int) -> list[A.BasicTransform]:
    """For 28-pixel images, in which every pixel counts: small shifts and grey values only."""
    return [
        A.Affine(
            scale=(0.85, 1.15),
            translate_percent=(-0.1, 0.1),
            rotate=(-12, 12),
            border_mode=cv2.BORDER_REFLECT_101,
            p=0.9,
        ),
        A.HorizontalFlip(p=0.5),
        A.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.25, p=0.7),
        A.GaussNoise(std_range=(0.01, 0.04), p=0.3),
        A.CoarseDropout(num_holes_range=(1, 2), hole_height_range=(0.1, 0.25), hole_width_range=(0.1, 0.25), p=0.3),
        A.Resize(size, size),
    ]


def _histology(size: int) -> list[A.BasicTransform]:
    """For tissue, which has no up, and whose colour depends on stain and scanner.

    The central 32 of 96 pixels decide the label, so crops are central and never random windows.
    """
    return [
        A.Affine(scale=(0.95, 1.2), rotate=(-20, 20), border_mode=cv2.BORDER_REFLECT_101, p=0.5),
        A.D4(p=1.0),
        # Validation and test come from other slides, whose stain is what a network most easily learns by mistake.
        A.ColorJitter(brightness=(0.7, 1.3), contrast=(0.7, 1.3), saturation=(0.5, 1.5), hue=(-0.1, 0.1), p=0.95),
        A.ToGray(p=0.1),
        A.OneOf([A.GaussianBlur(blur_limit=(3, 5)), A.GaussNoise(std_range=(0.01, 0.05))], p=0.3),
        A.ImageCompression(quality_range=(60, 95), p=0.3),
        A.Resize(size, size, interpolation=cv2.INTER_CUBIC),
    ]


def _histology_stain(size: int) -> list[A.BasicTransform]:
    """`histology` with the amounts of haematoxylin and eosin changed at random."""
    stain = A.HEStain(
        method="random_preset",
        intensity_scale_range=(0.6, 1.4),
        intensity_shift_range=(-0.25, 0.25),
        augment_background=False,
        p=0.7,
    )
    return [stain, *_histology(size)]


PIPELINES = {
    "dermatoscopy": _dermatoscopy,
    "dermatoscopy-strong": _dermatoscopy_strong,
    "dermatoscopy-sources": _dermatoscopy_sources,
    "ultrasound": _ultrasound,
    "ultrasound-strong": _ultrasound_strong,
    "ultrasound-lesion": _ultrasound_lesion,
    "ultrasound-28": _ultrasound_28,
    "histology": _histology,
    "histology-stain": _histology_stain,
}


class Augmentation:
    """A named pipeline. The same seed gives the same change in every worker.

    `name` is a key of PIPELINES (else KeyError); `size` is the side of the result in pixels.
    """

    def __init__(self, name: str, size: int) -> None:
        self.compose = A.Compose(PIPELINES[name](size))

    def __call__(self, image: np.ndarray, seed: int) -> np.ndarray:
        """Augment an image: uint8 (H, W, C) to uint8 (size, size, C)."""
        return self._seeded(seed)(image=image)["image"]

    def with_mask(self, image: np.ndarray, mask: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Augment an image and its mask (H, W) alike; the mask keeps its values and becomes (size, size)."""
        changed = self._seeded(seed)(image=image, mask=mask)
        return changed["image"], changed["mask"]

    def _seeded(self, seed: int) -> A.Compose:
        # One shared stream for all transforms: `set_random_seed` would give each the same draws, so that all of them
        # happen together or not at all.
        self.compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
        return self.compose
