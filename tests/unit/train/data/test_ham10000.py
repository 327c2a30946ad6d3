"""HAM10000 (train/data/skin.py) on made-up copies."""

from pathlib import Path

import pytest

from tests.support import synthetic_datasets
from train import data


def test_ham10000_reads_what_the_table_says(root: Path) -> None:
    samples = {sample.name: sample for sample in data.ham10000(root / "ham10000").samples}
    assert len(samples) == 7 * 9
    first = samples["ISIC_0000000"]
    assert (first.label, first.meta["sex"], first.meta["age"], first.meta["dx_type"]) == (0, "female", 40.0, "histo")
    assert samples["ISIC_0000001"].meta["age"] is None
    assert samples["ISIC_0000001"].group == first.group


def test_ham10000_layouts_suffixes_and_row_order_do_not_matter(tmp_path: Path) -> None:
    parts = synthetic_datasets.ham10000(tmp_path / "parts")
    flat = synthetic_datasets.ham10000(tmp_path / "flat", suffix=".webp")
    for picture in list(flat.glob("HAM10000_images_part_*/*")):
        picture.rename(flat / picture.name)
    metadata = flat / "HAM10000_metadata.csv"
    header, *lines = metadata.read_text().splitlines()
    metadata.write_text("\n".join([header, *reversed(lines)]))
    metadata.rename(flat / "HAM10000_metadata")  # as Harvard Dataverse names it
    one, other = data.ham10000(parts).samples, data.ham10000(flat).samples
    assert [(a.name, a.label, a.group, a.split) for a in one] == [(b.name, b.label, b.group, b.split) for b in other]


def test_ham10000_known_pairs_share_a_side(tmp_path: Path) -> None:
    folder = synthetic_datasets.ham10000(tmp_path, lesions=12, pairs=6)
    joined = {sample.name: sample for sample in data.ham10000(folder).samples}
    rows = (folder / "known_cross_lesion_duplicates.csv").read_text().splitlines()[1:]
    pairs = [row.split(",")[1:] for row in rows]
    assert all(joined[a].group == joined[b].group and joined[a].split == joined[b].split for a, b in pairs)
    (folder / "known_cross_lesion_duplicates.csv").unlink()
    without = data.ham10000(folder)
    alone = {sample.name: sample for sample in without.samples}
    assert any(alone[a].split != alone[b].split for a, b in pairs), "the pairs have to matter for this test"
    # Nothing becomes less held out by joining, and only the pairs move.
    moved = {name for name in alone if alone[name].split != joined[name].split}
    in_pairs = {joined[name].group for pair in pairs for name in pair}
    assert {joined[name].group for name in moved} <= in_pairs
    assert not any(alone[name].split == "test" for name in moved)
    assert "not merged" in without.notes[0]


def test_ham10000_says_what_is_missing(tmp_path: Path) -> None:
    folder = synthetic_datasets.ham10000(tmp_path / "ham10000")
    gone = sorted((folder / "HAM10000_images_part_2").iterdir())
    gone[0].write_bytes(b"")
    for path in gone[1:]:
        path.unlink()
    message = rf"{len(gone)} of 63 images listed in HAM10000_metadata.csv .* first {gone[0].stem}.*ham10000.*DVN/DBW86T"
    with pytest.raises(data.DataMissing, match=message):
        data.ham10000(folder)
    with pytest.raises(FileNotFoundError, match=r"HAM10000_metadata.csv is missing"):
        data.load("skin", tmp_path / "nowhere")
