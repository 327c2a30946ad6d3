"""BreastMNIST: BUSI's pictures at 28×28, grey, in one .npz (Yang et al. 2023), so neither is a test of the other."""

from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from src.tasks import TASKS
from train.data import splits
from train.data.samples import DataMissing, DataSet, Sample, Source, Split, reader_of

PARTS: dict[str, Split] = {"train": "train", "val": "validation", "test": "test"}

# The one place that fixes the polarity: in the file 0 is malignant and 1 is "normal, benign".
MEANING = {0: "malignant", 1: "benign"}

# At 28×28 this finds 229 of the 239 pairs that BUSI's own pictures give (ultrasound.NEAR_DUPLICATE), and 9 more.
NEAR_DUPLICATE = 0.95


def items(root: Path) -> tuple[np.ndarray, list[tuple[str, int, str]]]:
    """Pixels (n, 784) uint8 and for each item its part, its row there and its class. Raises `DataMissing`."""
    path = root / "breastmnist.npz"
    if not path.is_file():
        sizes = sorted(other.name for other in root.glob("breastmnist_*.npz"))
        other = f" ({', '.join(sizes)} has larger images; the set at 28×28 is needed)" if sizes else ""
        raise DataMissing("breastmnist", root, f"breastmnist.npz is not there{other}")
    try:
        with np.load(path) as stored:
            held = {key: stored[key] for key in stored}
    except (BadZipFile, EOFError, OSError, ValueError) as error:
        raise DataMissing("breastmnist", root, f"breastmnist.npz is not whole ({error})") from error
    absent = [key for part in PARTS for key in (f"{part}_images", f"{part}_labels") if key not in held]
    if absent:
        raise DataMissing("breastmnist", root, f"breastmnist.npz has no {', '.join(absent)}")
    places: list[tuple[str, int, str]] = []
    for part in PARTS:
        labels = held[f"{part}_labels"].ravel().tolist()
        if held[f"{part}_images"].shape != (len(labels), 28, 28):
            raise DataMissing("breastmnist", root, f"breastmnist.npz has not one 28×28 image for each label of {part}")
        places += [(part, row, MEANING[label]) for row, label in enumerate(labels)]
    return np.concatenate([held[f"{part}_images"] for part in PARTS]).reshape(len(places), -1), places


@reader_of(
    Source(
        "breastmnist",
        "BreastMNIST",
        "https://zenodo.org/records/10519652 (breastmnist.npz)",
        "CC BY 4.0",
        "Yang et al. 2023, doi:10.1038/s41597-022-01721-8",
        near_duplicate=NEAR_DUPLICATE,
        thumbnail_side=28,
    )
)
def breastmnist(root: Path) -> DataSet:
    """BreastMNIST with its official split, less what repeats a more held-out image. Raises `DataMissing`."""
    pixels, places = items(root)
    codes = TASKS["breastmnist"].codes
    names = [f"breastmnist/{part}/{row}" for part, row, _ in places]
    groups = splits.merged(names, splits.near_duplicates(names, pixels, NEAR_DUPLICATE))
    samples = [
        Sample(
            name=name,
            label=codes.index(code),
            group=groups[name],
            split=PARTS[part],
            source="breastmnist",
            path=root / "breastmnist.npz",
            key=f"{part}_images",
            row=row,
        )
        for name, (part, row, code) in zip(names, places, strict=True)
    ]
    return DataSet(*splits.without_leaks(samples))
