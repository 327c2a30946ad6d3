"""Dermatoscopy: HAM10000 (Tschandl et al. 2018), ISIC 2017 (Codella et al. 2018), palms and soles (ISIC Archive).

HAM10000's groups are lesions, and many lesions have several images. Eighteen pairs of different lesion ids are known to
show the same lesion. Their pixels do not reveal it: with another angle and other light, they correlate from 0.05 up. So
a file `known_cross_lesion_duplicates.csv` (columns `from_img`, `to_img`) beside the metadata names the pairs; the
official download does not have it. HAM10000 names no patients, so two lesions of one patient may be in different
splits.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from src.pictures import decode
from src.tasks import TASKS
from train.data import files, splits
from train.data.samples import DataMissing, DataSet, Sample, Source, reader_of

_METADATA = ("HAM10000_metadata.csv", "HAM10000_metadata", "HAM10000_metadata.tab")
_PAIRS = "known_cross_lesion_duplicates.csv"
_COLLECTION = "dataset"  # the clinic's own collection: a column that some copies of HAM10000's metadata have

# Above this correlation of their 64×64 grey thumbnails, two images of ISIC 2017 show the same lesion. The limit was
# chosen by eye: all five pairs above it show one lesion each, and the next pairs below it show different lesions.
NEAR_DUPLICATE = 0.968

ORIGINAL_ASPECT = 4 / 3
"""Width divided by height of nearly all images of ISIC 2017. Many copies are squashed to a square."""


# The limit was chosen by eye on the most similar pairs of a train and a test image. Dark spots on light skin correlate
# up to 0.976, although they are different lesions.
@reader_of(
    Source(
        "ham10000",
        "HAM10000",
        "https://doi.org/10.7910/DVN/DBW86T (Harvard Dataverse)",
        "CC BY-NC 4.0",
        "Tschandl et al. 2018, doi:10.1038/sdata.2018.161",
        near_duplicate=0.98,
    )
)
def ham10000(root: Path) -> DataSet:
    """HAM10000 with a 70/15/15 split by lesion, stratified by class.

    The images may be in `HAM10000_images_part_1` and `_part_2`, in one folder, or beside the metadata. The id of a
    lesion decides its split. Both lesions of a known pair get the more held-out of their two splits, so that a copy
    without the file of pairs differs in these lesions only. Raises `DataMissing`.
    """
    metadata = next((root / name for name in _METADATA if (root / name).is_file()), root / _METADATA[0])
    columns = ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization")
    rows = files.table("ham10000", root, metadata, columns)
    found: dict[str, Path] = {}
    for folder in (root, *sorted(path for path in root.iterdir() if path.is_dir())):
        found = files.pictures(folder) | found
    files.require("ham10000", root, (row["image_id"] for row in rows), found, f"listed in {metadata.name}")
    codes = TASKS["skin"].codes
    unknown = sorted({row["dx"] for row in rows} - set(codes))
    if unknown:
        raise DataMissing("ham10000", root, f"{metadata.name} has classes of another dataset: {', '.join(unknown)}")

    lesions = {row["image_id"]: row["lesion_id"] for row in rows}
    diagnosis = {row["lesion_id"]: row["dx"] for row in rows}
    notes: tuple[str, ...] = ()
    pairs: list[tuple[str, str]] = []
    if (root / _PAIRS).is_file():
        listed = files.table("ham10000", root, root / _PAIRS, ("from_img", "to_img"))
        both = [(row["from_img"], row["to_img"]) for row in listed]
        pairs = [(lesions[a], lesions[b]) for a, b in both if a in lesions and b in lesions]
    else:
        notes = (f"HAM10000 has no {_PAIRS}, so the 18 known pairs of ids of one lesion are not merged.",)
    groups = splits.merged(diagnosis, pairs)
    split = splits.most_held_out(
        groups, splits.stratified(Counter(lesions.values()), diagnosis, validation=0.15, test=0.15)
    )
    samples = [
        Sample(
            name=row["image_id"],
            label=codes.index(row["dx"]),
            group=groups[row["lesion_id"]],
            split=split[row["lesion_id"]],
            source="ham10000",
            path=found[row["image_id"]],
            meta={
                "sex": row["sex"] or None,
                "age": float(row["age"]) if row["age"] else None,
                "localization": row["localization"] or None,
                "dx_type": row["dx_type"] or None,
                **({_COLLECTION: row[_COLLECTION] or None} if _COLLECTION in row else {}),
            },
        )
        for row in sorted(rows, key=lambda row: row["image_id"])
    ]
    return DataSet(samples, notes=notes)


@reader_of(
    Source(
        "isic2017",
        "ISIC 2017",
        "https://challenge.isic-archive.com/data/#2017 (training data of part 3)",
        "CC0",
        "Codella et al. 2018, arXiv:1710.05006",
        near_duplicate=0.98,
    )
)
def isic2017(root: Path) -> DataSet:
    """ISIC 2017's training images: melanoma, seborrhoeic keratosis (`bkl`) and naevus; 60/15/25, stratified by class.

    `labels.csv` (columns `image_id`, `dx`, `lesion`) lists the images in `images/`. The dataset names no patients. A
    group is a lesion, if the list names it, or a set of near-duplicates, or a single image. The cameras made no square
    images, so a square file is a squashed 4:3 image and is stretched back to 4:3. Raises `DataMissing`.
    """
    rows, found = _listed("isic2017", root, ("image_id", "dx", "lesion"))
    names = [row["image_id"] for row in rows]
    with ThreadPoolExecutor() as pool:
        shapes, thumbnails = zip(*pool.map(_shape_and_thumbnail, (found[name] for name in names)), strict=True)
    of_lesion: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row["lesion"]:
            of_lesion[row["lesion"]].append(row["image_id"])
    pairs = [
        *splits.near_duplicates(names, np.stack(thumbnails), NEAR_DUPLICATE),
        *((first, other) for first, *others in of_lesion.values() for other in others),
    ]
    groups = splits.merged(names, pairs)
    squashed = {name for name, (width, height) in zip(names, shapes, strict=True) if width == height}
    return DataSet(_samples("isic2017", rows, found, groups, {row["image_id"]: "" for row in rows}, squashed))


# Different lesions correlate up to 0.992 because of similar thick round frames.
@reader_of(
    Source(
        "acral",
        "ISIC Archive, palms and soles",
        "https://gallery.isic-archive.com (dermoscopic images of palms and soles, melanoma or nevus)",
        "CC BY-NC 4.0, some CC BY 4.0",
        "International Skin Imaging Collaboration, isic-archive.com",
        near_duplicate=0.995,
    )
)
def acral(root: Path) -> DataSet:
    """Palms and soles from the ISIC Archive: melanoma and naevus; 60/15/25, stratified by class and contributor.

    `labels.csv` (columns `image_id`, `dx`, `patient`, `lesion`, `attribution`, `licence`) lists the images in
    `images/`. A group is a patient; if the patient is not named, it is a lesion, or else a single image. Square files
    are not squashed, as their round frames are circles. `meta`: attribution, licence. Raises `DataMissing`.
    """
    columns = ("image_id", "dx", "patient", "lesion", "attribution", "licence")
    rows, found = _listed("acral", root, columns)
    groups = {row["image_id"]: row["patient"] or row["lesion"] or row["image_id"] for row in rows}
    # One hospital has two names; the last part of both is the same.
    contributors = {row["image_id"]: row["attribution"].split(", ")[-1] for row in rows}
    return DataSet(_samples("acral", rows, found, groups, contributors))


def _listed(source: str, root: Path, columns: Sequence[str]) -> tuple[list[dict[str, str]], dict[str, Path]]:
    """The rows of labels.csv, sorted by image id, and the image files by stem. Raises `DataMissing`."""
    rows = sorted(files.table(source, root, root / "labels.csv", columns), key=lambda row: row["image_id"])
    found = files.pictures(root / "images")
    files.require(source, root, (row["image_id"] for row in rows), found, "listed in labels.csv (folder images)")
    unknown = sorted({row["dx"] for row in rows} - set(TASKS["skin"].codes))
    if unknown:
        raise DataMissing(source, root, f"labels.csv has other classes: {', '.join(unknown)}")
    return rows, found


def _samples(
    source: str,
    rows: Sequence[Mapping[str, str]],
    found: Mapping[str, Path],
    groups: Mapping[str, str],
    contributors: Mapping[str, str],
    squashed: Collection[str] = (),
) -> list[Sample]:
    # A group of two classes counts as melanoma if it has one, so that all splits get their share of melanomas.
    strata: dict[str, str] = {}
    for row in rows:
        stratum = f"{row['dx']} {contributors[row['image_id']]}"
        group = groups[row["image_id"]]
        strata[group] = min(strata.get(group, stratum), stratum, key=lambda one: (not one.startswith("mel"), one))
    split = splits.stratified(Counter(groups.values()), strata, validation=0.15, test=0.25)
    return [
        Sample(
            name=row["image_id"],
            label=TASKS["skin"].codes.index(row["dx"]),
            group=groups[row["image_id"]],
            split=split[groups[row["image_id"]]],
            source=source,
            path=found[row["image_id"]],
            meta={key: row[key] or None for key in ("attribution", "licence") if key in row},
            aspect=ORIGINAL_ASPECT if row["image_id"] in squashed else None,
        )
        for row in rows
    ]


def _shape_and_thumbnail(path: Path) -> tuple[tuple[int, int], np.ndarray]:
    image = decode.read(path, TASKS["skin"].background).image
    return image.size, splits.thumbnail(image, 64)
