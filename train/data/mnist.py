"""BreastMNIST: the images of BUSI at 28×28, grey, in one .npz (Yang et al. 2023).

So neither dataset can test a model that was trained on the other.
"""

from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from src.tasks import TASKS
from train.data import splits
from train.data.samples import DataMissing, DataSet, Sample, Source, Split, reader_of

PARTS: dict[str, Split] = {"train": "train", "val": "validation", "test": "test"}

# In the file 0 is malignant and 1 is "normal, benign".
CLASS_OF_LABEL = {0: "malignant", 1: "benign"}

# At 28×28 this limit finds 229 of the 239 pairs that the images of BUSI give (ultrasound.NEAR_DUPLICATE), and 9 others.
NEAR_DUPLICATE = 0.95


def read_npz(root: Path) -> tuple[np.ndarray, list[tuple[str, int, str]]]:
    """The pixels, uint8 (n, 784), and the part, the row in it and the class of each image. Raises `DataMissing`."""
    path = root / "breastmnist.npz"
    if not path.is_file():
        sizes = sorted(other.name for other in root.glob("breastmnist_*.npz"))
        other = f" ({', '.join(sizes)} has larger images; the set at 28×28 is needed)" if sizes else ""
        raise DataMissing("breastmnist", root, f"breastmnist.npz is missing{other}")
    try:
        with np.load(path) as stored:
            arrays = {key: stored[key] for key in stored}
    except (BadZipFile, EOFError, OSError, ValueError) as error:
        raise DataMissing("breastmnist", root, f"breastmnist.npz is damaged ({error})") from error
    absent = [key for part in PARTS for key in (f"{part}_images", f"{part}_labels") if key not in arrays]
    if absent:
        raise DataMissing("breastmnist", root, f"breastmnist.npz has no {', '.join(absent)}")
    rows: list[tuple[str, int, str]] = []
    for part in PARTS:
        labels = arrays[f"{part}_labels"].ravel().tolist()
        if arrays[f"{part}_images"].shape != (len(labels), 28, 28):
            raise DataMissing("breastmnist", root, f"breastmnist.npz does not have one 28×28 image per label of {part}")
        rows += [(part, row, CLASS_OF_LABEL[label]) for row, label in enumerate(labels)]
    return np.concatenate([arrays[f"{part}_images"] for part in PARTS]).reshape(len(rows), -1), rows


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
    """BreastMNIST with its official split, without repeats (`splits.without_leaks`). Raises `DataMissing`."""
    pixels, rows = read_npz(root)
    codes = TASKS["breastmnist"].codes
    names = [f"breastmnist/{part}/{row}" for part, row, _ in rows]
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
        for name, (part, row, code) in zip(names, rows, strict=True)
    ]
    return DataSet(*splits.without_leaks(samples))
