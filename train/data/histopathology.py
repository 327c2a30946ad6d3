"""PatchCamelyon: H&E tiles of lymph nodes, 96×96 (Veeling et al. 2018). The central 32×32 pixels decide the label.

Its train, valid and test tiles come from different slides, and its split is used as published.
"""

from collections.abc import Sequence
from pathlib import Path

import h5py

from src.tasks import TASKS
from train.data import files
from train.data.samples import DataMissing, DataSet, Sample, Source, Split, reader_of

PARTS: dict[str, Split] = {"train": "train", "valid": "validation", "test": "test"}
CLASS_OF_LABEL = {0: "normal", 1: "metastatic"}

_CODES = TASKS["histopathology"].codes


# The limit was chosen by eye on the most similar pairs of a train and a test tile. Edges of tissue from different
# slides correlate up to 0.88.
@reader_of(
    Source(
        "pcam",
        "PatchCamelyon",
        "https://zenodo.org/records/2546921 (see https://github.com/basveeling/pcam)",
        "CC0",
        "Veeling et al. 2018, arXiv:1806.03962",
        near_duplicate=0.91,
    )
)
def pcam(root: Path) -> DataSet:
    """PatchCamelyon as published (six HDF5 files) or as images in `{train,valid,test}/{0,1}/`.

    A tile has the name of its row in the HDF5 file. In the layout with folders, `labels.csv` (columns `path`, `split`,
    `label`, `h5_row`) gives the rows; without it a tile has the name of its file. The group of a tile is its slide if
    PCam's `..._meta.csv` (column `wsi`) is in the folder, and the tile itself otherwise. Raises `DataMissing`.
    """
    if any(root.glob("camelyonpatch_level_2_split_*_[xy].h5*")):
        return DataSet(_from_h5(root))
    if any((root / part).is_dir() for part in PARTS):
        return DataSet(_from_folders(root))
    if (root / "train_labels.csv").is_file():
        raise DataMissing(
            "pcam",
            root,
            "train_labels.csv belongs to Kaggle's Histopathologic Cancer Detection, which has no labels for its test "
            "tiles and no split by slide; the six HDF5 files of PatchCamelyon are needed",
        )
    raise DataMissing("pcam", root, "it has neither its HDF5 files nor the folders train, valid, test")


def _stem(part: str) -> str:
    return f"camelyonpatch_level_2_split_{part}"


def _slides(root: Path, part: str) -> list[str] | None:
    path = root / f"{_stem(part)}_meta.csv"
    return [row["wsi"] for row in files.table("pcam", root, path, ("wsi",))] if path.is_file() else None


def _group(name: str, slides: Sequence[str] | None, row: int | None) -> str:
    return slides[row] if slides is not None and row is not None else name


def _from_h5(root: Path) -> list[Sample]:
    wanted = [f"{_stem(part)}_{kind}.h5" for part in PARTS for kind in "xy"]
    absent = [name for name in wanted if not (root / name).is_file()]
    if absent:
        packed = any((root / f"{name}.gz").is_file() for name in absent)
        hint = " (unpack the .gz files first: gunzip *.gz)" if packed else ""
        raise DataMissing("pcam", root, f"{', '.join(absent)} missing{hint}")
    samples: list[Sample] = []
    for part, split in PARTS.items():
        path = root / f"{_stem(part)}_x.h5"
        try:
            with h5py.File(path, "r") as x, h5py.File(root / f"{_stem(part)}_y.h5", "r") as y:
                shape, labels = x["x"].shape, y["y"][:].ravel()
        except (OSError, KeyError) as error:
            raise DataMissing("pcam", root, f"{_stem(part)}_x.h5 or _y.h5 is damaged ({error})") from error
        slides = _slides(root, part)
        if len(labels) != shape[0] or shape[1:] != (96, 96, 3) or (slides is not None and len(slides) != len(labels)):
            raise DataMissing(
                "pcam", root, f"{part} has tiles of shape {shape} and {len(labels)} labels: not one label per tile"
            )
        for row, label in enumerate(labels):
            name, group = f"pcam/{part}/{row}", _group(f"pcam/{part}/{row}", slides, row)
            code = _CODES.index(CLASS_OF_LABEL[int(label)])
            samples.append(Sample(name, code, group, split, "pcam", path, key="x", row=row))
    return samples


def _from_folders(root: Path) -> list[Sample]:
    rows: dict[str, int] = {}
    if (root / "labels.csv").is_file():
        listed = files.table("pcam", root, root / "labels.csv", ("path", "h5_row"))
        rows = {str(Path(line["path"]).with_suffix("")): int(line["h5_row"]) for line in listed}
    found: dict[str, Sample] = {}
    for part, split in PARTS.items():
        slides = _slides(root, part)
        for label, code in CLASS_OF_LABEL.items():
            tiles = files.pictures(root / part / str(label))
            if not tiles:
                raise DataMissing("pcam", root, f"the folder {part}/{label} is missing or has no images")
            for stem, path in sorted(tiles.items()):
                key = f"{part}/{label}/{stem}"
                row = rows.get(key)
                name = f"pcam/{part}/{stem if row is None else row}"
                found[key] = Sample(name, _CODES.index(code), _group(name, slides, row), split, "pcam", path)
    files.require("pcam", root, rows, found, "listed in labels.csv")
    return list(found.values())
