"""HAM10000: dermatoscopic pictures of pigmented lesions (Tschandl et al. 2018).

Groups are lesions; several pictures show many of them. Eighteen pairs of different lesion ids are known to show the
same lesion. Their pixels do not give them away (other angle, other light: correlations from 0.05), so they are merged
where `known_cross_lesion_duplicates.csv` (columns `from_img`, `to_img`) lies beside the metadata; the official download
has no such file. Patients are not given, so two lesions of one patient may be on different sides.
"""

from collections import Counter
from pathlib import Path

from src.tasks import TASKS
from train.data import files, splits
from train.data.samples import DataMissing, DataSet, Sample

_METADATA = ("HAM10000_metadata.csv", "HAM10000_metadata", "HAM10000_metadata.tab")
_PAIRS = "known_cross_lesion_duplicates.csv"


def ham10000(root: Path) -> DataSet:
    """HAM10000 with a 70/15/15 split by lesion, stratified by class.

    The pictures may lie in `HAM10000_images_part_1` and `_part_2`, in one folder, or beside the metadata. A lesion's
    split comes from its id; the two lesions of a known pair both take the more held-out of their splits, so that a copy
    without the file of pairs differs by those lesions alone. Raises `DataMissing`.
    """
    metadata = next((root / name for name in _METADATA if (root / name).is_file()), root / _METADATA[0])
    columns = ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization")
    rows = files.table("ham10000", root, metadata, columns)
    found: dict[str, Path] = {}
    for folder in (root, *sorted(path for path in root.iterdir() if path.is_dir())):
        found = files.pictures(folder) | found
    files.require("ham10000", root, (row["image_id"] for row in rows), found, f"listed in {metadata.name}")
    codes = TASKS["skin"].codes
    strange = sorted({row["dx"] for row in rows} - set(codes))
    if strange:
        raise DataMissing("ham10000", root, f"{metadata.name} has classes of another set: {', '.join(strange)}")

    lesions = {row["image_id"]: row["lesion_id"] for row in rows}
    diagnosis = {row["lesion_id"]: row["dx"] for row in rows}
    notes: tuple[str, ...] = ()
    pairs: list[tuple[str, str]] = []
    if (root / _PAIRS).is_file():
        listed = files.table("ham10000", root, root / _PAIRS, ("from_img", "to_img"))
        both = [(row["from_img"], row["to_img"]) for row in listed]
        pairs = [(lesions[a], lesions[b]) for a, b in both if a in lesions and b in lesions]
    else:
        notes = (f"HAM10000: no {_PAIRS}: the 18 known pairs of ids that show the same lesion are not merged.",)
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
            },
        )
        for row in sorted(rows, key=lambda row: row["image_id"])
    ]
    return DataSet(samples, notes=notes)
