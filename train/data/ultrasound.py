"""Breast ultrasound: BUSI (Al-Dhabyani et al. 2020), BUS-BRA (Gómez-Flores et al. 2024), Multi-REZ, and BrEaST
(Pawłowska et al. 2024), which is external.

BUSI names no patients and has many scans several times: frames of one sweep, with and without callipers or text, some
of them in two classes. `NEAR_DUPLICATE` finds them. There are no near-duplicates between BUSI and BUS-BRA or between
cases of BUS-BRA: the highest correlations are 0.90 and 0.88.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.optimize import linear_sum_assignment

from src.pictures import decode
from src.tasks import TASKS
from train.data import files, mnist, splits
from train.data.samples import DataMissing, DataSet, Sample, Source, Split, reader_of

# Above this correlation of their 64×64 grey thumbnails, two images of BUSI count as the same scan. The limit was chosen
# by eye: nearly all pairs above 0.93 are the same scan, most between 0.91 and 0.93, and hardly any below 0.90. The
# usual limit of 0.99 finds only 84 of these 239 pairs and leaves lesions in two splits. A wrong pair costs one training
# image.
NEAR_DUPLICATE = 0.91

_CODES = TASKS["ultrasound"].codes
_PICTURE = re.compile(r"busi/(?P<code>\w+) \((?P<number>\d+)\)")
_MASK = re.compile(r"(?P<picture>.+)_mask(_\d+)?")


@reader_of(
    Source(
        "busi",
        "BUSI",
        "https://scholar.cu.edu.eg/?q=afahmy/pages/dataset (Dataset_BUSI_with_GT)",
        "not settled; research use",
        "Al-Dhabyani et al. 2020, doi:10.1016/j.dib.2019.104863",
        near_duplicate=NEAR_DUPLICATE,
    )
)
def busi(root: Path) -> DataSet:
    """BUSI with the split of BreastMNIST, so that both tasks are evaluated on the same images, and without repeats.

    If there is a `breastmnist_split.csv` (columns `breastmnist_split`, `busi_file`), it gives the split. Else the
    images are matched with `../breastmnist/breastmnist.npz`. If that fails, the split is 70/10/20 by groups of
    near-duplicates. The notes say if the split does not come from the file. Raises `DataMissing`.
    """
    folder = root / "Dataset_BUSI_with_GT"
    found: dict[str, Path] = {}
    masks: dict[str, list[Path]] = {}
    for code in _CODES:
        if not (folder / code).is_dir():
            raise DataMissing("busi", root, f"the folder Dataset_BUSI_with_GT/{code} is missing")
        for stem, path in sorted(files.pictures(folder / code).items()):
            if mask := _MASK.fullmatch(stem):
                masks.setdefault(f"busi/{mask['picture']}", []).append(path)
            else:
                found[f"busi/{stem}"] = path
        numbered = [match for name in found if (match := _PICTURE.fullmatch(name)) and match["code"] == code]
        numbers = [int(match["number"]) for match in numbered]
        # BUSI numbers the images of a class from 1 without gaps. A gap is a file that was not copied.
        wanted = [f"busi/{code} ({number})" for number in range(1, max(numbers, default=1) + 1)]
        files.require("busi", root, wanted, found, f"in Dataset_BUSI_with_GT/{code}")

    names = sorted(found)
    labels = {name: _CODES.index(found[name].parent.name) for name in names}
    groups = splits.merged(names, splits.near_duplicates(names, _thumbnails(found, names, 64), NEAR_DUPLICATE))
    split, notes = _busi_split(root, names, found, labels, groups)
    samples = [
        Sample(
            name=name,
            label=labels[name],
            group=groups[name],
            split=split[name],
            source="busi",
            path=found[name],
            masks=tuple(masks.get(name, ())),
            has_lesion=_CODES[labels[name]] != "normal",
        )
        for name in names
    ]
    kept, dropped = splits.without_leaks(samples)
    return DataSet(kept, dropped, notes)


def _thumbnails(found: Mapping[str, Path], names: Sequence[str], side: int) -> np.ndarray:
    background = TASKS["ultrasound"].background
    return np.stack([splits.thumbnail(decode.read(found[name], background).image, side) for name in names])


def _busi_split(
    root: Path,
    names: Sequence[str],
    found: Mapping[str, Path],
    labels: Mapping[str, int],
    groups: Mapping[str, str],
) -> tuple[dict[str, Split], tuple[str, ...]]:
    listed = root / "breastmnist_split.csv"
    if listed.is_file():
        rows = files.table("busi", root, listed, ("breastmnist_split", "busi_file"))
        split = {f"busi/{Path(row['busi_file']).stem}": mnist.PARTS[row["breastmnist_split"]] for row in rows}
        files.require("busi", root, split, names, f"listed in {listed.name}")
        files.require("busi", root, names, split, f"that {listed.name} should list")
        return split, ()
    other = root.parent / "breastmnist"
    if (other / "breastmnist.npz").is_file():
        matched = _matched_split(other, names, found, labels)
        if matched:
            return matched, (
                f"BUSI has no {listed.name}. Its images were matched with breastmnist.npz, which gave the split.",
            )
    sizes = Counter(groups.values())
    by_group = splits.stratified(sizes, {group: str(labels[group]) for group in sizes}, validation=0.1, test=0.2)
    return {name: by_group[groups[name]] for name in names}, (
        f"BUSI has no {listed.name}, and no breastmnist.npz matches it. So it was split 70/10/20 by groups of "
        "near-duplicates, which is not the split of the published figures.",
    )


def _matched_split(
    breastmnist: Path, names: Sequence[str], found: Mapping[str, Path], labels: Mapping[str, int]
) -> dict[str, Split] | None:
    """BreastMNIST's split for the images of BUSI, from the best one-to-one match at 28×28; None if they do not match.

    On JPEG copies that were reduced to 384 px, 99.5 % of the images get the same split as by the published mapping.
    """
    pixels, rows = mnist.read_npz(breastmnist)
    theirs = np.array([code == "malignant" for _, _, code in rows])
    ours = np.array([_CODES[labels[name]] == "malignant" for name in names])
    if len(theirs) != len(ours) or theirs.sum() != ours.sum():
        return None
    correlations = splits.correlations(pixels, _thumbnails(found, names, 28))
    likeness = np.where(theirs[:, None] == ours[None, :], correlations, -2.0)
    item, picture = linear_sum_assignment(likeness, maximize=True)
    if np.median(likeness[item, picture]) < 0.9:
        return None
    return {names[p]: mnist.PARTS[rows[i][0]] for i, p in zip(item, picture, strict=True)}


@reader_of(
    Source(
        "busbra",
        "BUS-BRA",
        "https://zenodo.org/records/8231412",
        "free use with citation",
        "Gómez-Flores et al. 2024, doi:10.1002/mp.16812",
        near_duplicate=NEAR_DUPLICATE,
    )
)
def busbra(root: Path) -> DataSet:
    """BUS-BRA with a 70/10/20 split by case, stratified by pathology. It has no normal images. Raises `DataMissing`.

    `meta`: BIRADS, Device, Histology, lesion_share (from BBOX).
    """
    columns = ("ID", "Case", "Histology", "Pathology", "BIRADS", "Device", "Width", "Height", "BBOX")
    rows = files.table("busbra", root, root / "bus_data.csv", columns)
    found = files.pictures(root / "Images")
    files.require("busbra", root, (row["ID"] for row in rows), found, "listed in bus_data.csv (folder Images)")
    masks = files.pictures(root / "Masks")
    pathology = {row["Case"]: row["Pathology"] for row in rows}
    split = splits.stratified(Counter(row["Case"] for row in rows), pathology, validation=0.1, test=0.2)
    samples = []
    for row in sorted(rows, key=lambda row: row["ID"]):
        _, _, width, height = json.loads(row["BBOX"])  # left, upper, width, height in pixels of the original
        mask = masks.get(row["ID"].replace("bus_", "mask_"))
        samples.append(
            Sample(
                name=row["ID"],
                label=_CODES.index(row["Pathology"]),
                group=f"case {row['Case']}",
                split=split[row["Case"]],
                source="busbra",
                path=found[row["ID"]],
                masks=(mask,) if mask else (),
                meta={
                    "BIRADS": row["BIRADS"] or None,
                    "Device": row["Device"] or None,
                    "Histology": row["Histology"] or None,
                    "lesion_share": width * height / (int(row["Width"]) * int(row["Height"])),
                },
            )
        )
    return DataSet(samples)


@reader_of(
    Source(
        "multirez",
        "Multi-REZ",
        "https://github.com/JoeTao-097/Multi-REZ-Evalution-for-Breast-Ultrasound-Images",
        "Apache 2.0 for its repository; hospital and consent not stated: research use",
        "JoeTao-097, Multi-REZ evaluation for breast ultrasound images",
        near_duplicate=NEAR_DUPLICATE,
    )
)
def multirez(root: Path) -> DataSet:
    """Multi-REZ: benign and malignant lesions, many with callipers; 60/15/25 by patient, stratified by class.

    `labels.csv` (columns `file`, `label`, `patient`, `birads`) lists the images in `images/`. Patients whose images are
    near-duplicates form one group. The dataset has no lesion outlines and no image without a lesion. `meta`: BIRADS.
    Raises `DataMissing`.
    """
    rows = files.table("multirez", root, root / "labels.csv", ("file", "label", "patient", "birads"))
    rows = sorted(rows, key=lambda row: row["file"])
    found = files.pictures(root / "images")
    names = [Path(row["file"]).stem for row in rows]
    files.require("multirez", root, names, found, "listed in labels.csv (folder images)")
    unknown = sorted({row["label"] for row in rows} - set(_CODES))
    if unknown:
        raise DataMissing("multirez", root, f"labels.csv has other classes: {', '.join(unknown)}")
    patients = {name: row["patient"] for name, row in zip(names, rows, strict=True)}
    repeats = splits.near_duplicates(names, _thumbnails(found, names, 64), NEAR_DUPLICATE)
    groups = splits.merged(patients.values(), [(patients[a], patients[b]) for a, b in repeats])
    strata: dict[str, str] = {}
    for row in rows:
        group = groups[row["patient"]]
        strata[group] = max(strata.get(group, ""), row["label"])
    split = splits.stratified(Counter(groups[p] for p in patients.values()), strata, validation=0.15, test=0.25)
    return DataSet(
        [
            Sample(
                name=f"multirez/{name}",
                label=_CODES.index(row["label"]),
                group=groups[row["patient"]],
                split=split[groups[row["patient"]]],
                source="multirez",
                path=found[name],
                meta={"BIRADS": row["birads"] or None},
            )
            for name, row in zip(names, rows, strict=True)
        ]
    )


@reader_of(
    Source(
        "breast_usg",
        "BrEaST",
        "https://doi.org/10.7937/9WKK-Q141 (BrEaST-Lesions-USG, The Cancer Imaging Archive)",
        "CC BY 4.0",
        "Pawłowska et al. 2024, doi:10.7937/9WKK-Q141",
        near_duplicate=NEAR_DUPLICATE,
    )
)
def breast_usg(root: Path) -> DataSet:
    """BrEaST-Lesions-USG, one image per case, all of them "external". Raises `DataMissing`.

    `meta`: BIRADS (4 is given as 4a, 4b or 4c), age, lesion_share (from `..._tumor.png`; None without a lesion).
    """
    tables = sorted(root.glob("BrEaST-Lesions-USG-clinical-data*.xlsx"))
    listed = tables[-1] if tables else root / "BrEaST-Lesions-USG-clinical-data-Dec-15-2023.xlsx"
    columns = ("CaseID", "Image_filename", "Mask_tumor_filename", "Age", "BIRADS", "Classification")
    rows = files.spreadsheet("breast_usg", root, listed, columns)
    found = files.pictures(root / "BrEaST-Lesions_USG-images_and_masks")
    names = {row["CaseID"]: Path(row["Image_filename"]).stem for row in rows}
    files.require("breast_usg", root, names.values(), found, f"listed in {listed.name}")
    unknown = sorted({row["Classification"] for row in rows} - set(_CODES))
    if unknown:
        raise DataMissing("breast_usg", root, f"{listed.name} has other classes: {', '.join(unknown)}")
    samples = []
    for row in sorted(rows, key=lambda row: names[row["CaseID"]]):
        mask = found.get(Path(row["Mask_tumor_filename"]).stem)
        samples.append(
            Sample(
                name=f"breast_usg/{names[row['CaseID']]}",
                label=_CODES.index(row["Classification"]),
                group=f"case {row['CaseID']}",
                split="external",
                source="breast_usg",
                path=found[names[row["CaseID"]]],
                masks=(mask,) if mask else (),
                has_lesion=row["Classification"] != "normal",
                meta={
                    "BIRADS": row["BIRADS"] or None,
                    "age": float(row["Age"]) if row["Age"].replace(".", "", 1).isdigit() else None,
                    "lesion_share": _box_share(mask) if mask else None,
                },
            )
        )
    return DataSet(samples)


def _box_share(mask: Path) -> float | None:
    with Image.open(mask) as outline:
        box = outline.convert("L").getbbox()
        size = outline.width * outline.height
    return (box[2] - box[0]) * (box[3] - box[1]) / size if box else None
