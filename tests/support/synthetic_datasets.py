"""Tiny made-up copies of every dataset in its official layout, drawn from seeds. No image shows a person.

Each class has its own level (grey) or colour (RGB) under blotches of noise, so that a small network learns it in
seconds, while any two pictures correlate too little to be taken for repeats. Knows nothing of the readers.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
import openpyxl
from PIL import Image

SKIN = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
ULTRASOUND = ("benign", "malignant", "normal")
PCAM_PARTS = ("train", "valid", "test")


def grey(rng: np.random.Generator, label: int, classes: int, width: int, height: int) -> np.ndarray:
    """(height, width) uint8: the grey level of the class, with random blotches and speckle."""
    level = 60 + 140 * label / max(classes - 1, 1)
    blotches = Image.fromarray(rng.normal(0, 1, (8, 8)).astype(np.float32)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    speckle = rng.normal(0, 4, (height, width))
    return np.clip(level + 20 * np.asarray(blotches) + speckle, 0, 255).astype(np.uint8)


def colour(rng: np.random.Generator, label: int, classes: int, width: int, height: int) -> np.ndarray:
    """(height, width, 3) uint8: the hue of the class, with random blotches and speckle."""
    hue = Image.new("HSV", (1, 1), (round(255 * label / classes), 140, 200)).convert("RGB").getpixel((0, 0))
    lightness = grey(rng, 0, 1, width, height).astype(np.float32) - 60
    return np.clip(np.asarray(hue, dtype=np.float32) + lightness[..., None], 0, 255).astype(np.uint8)


def speckle(width: int, height: int) -> Image.Image:
    """Grey speckle, as in an ultrasound field."""
    values = np.random.default_rng(0).gamma(2, 40, (height, width)).clip(0, 255)
    return Image.fromarray(values.astype(np.uint8)).convert("RGB")


def repeat(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same image with a little noise: a near-duplicate."""
    return np.clip(pixels + rng.normal(0, 2, pixels.shape), 0, 255).astype(np.uint8)


def save(path: Path, pixels: np.ndarray) -> None:
    """Write an image in the format of the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_table(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """A CSV file with a header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def ham10000(
    folder: Path, lesions: int = 6, views: int = 2, side: int = 64, suffix: str = ".jpg", pairs: int = 1, seed: int = 0
) -> Path:
    """HAM10000 with that many lesions per class, every other one with `views` images, and so many known pairs."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, object]] = []
    for label, code in enumerate(SKIN):
        for lesion in range(lesions):
            for view in range(views if lesion % 2 == 0 else 1):
                image = f"ISIC_{seed:02}{len(rows):05}"
                part = 1 + len(rows) % 2
                pixels = colour(rng, label, len(SKIN), side * 4 // 3, side)
                save(folder / f"HAM10000_images_part_{part}" / f"{image}{suffix}", pixels)
                person = {"age": "" if view else 40.0 + 5 * lesion, "sex": "male" if lesion % 2 else "female"}
                place = {"dx": code, "dx_type": "histo", **person, "localization": "back"}
                rows.append({"lesion_id": f"HAM_{label}{lesion:06}", "image_id": image, **place})
    write_table(folder / "HAM10000_metadata.csv", rows)
    if pairs:
        first = {row["lesion_id"]: row["image_id"] for row in reversed(rows)}
        listed = [(first[f"HAM_5{2 * n:06}"], first[f"HAM_5{2 * n + 1:06}"]) for n in range(pairs)]
        known = [{"similarity": 0.98, "from_img": a, "to_img": b} for a, b in listed]
        write_table(folder / "known_cross_lesion_duplicates.csv", known)
    return folder


def isic2017(folder: Path, per_class: int = 10, side: int = 64, squashed: bool = True, seed: int = 6) -> Path:
    """ISIC 2017 with that many images per class, squares or 4:3. The first two naevi are one lesion."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, object]] = []
    for code in ("mel", "bkl", "nv"):
        for number in range(per_class):
            name = f"ISIC_3{len(rows):06}"
            pixels = colour(rng, SKIN.index(code), len(SKIN), side if squashed else side * 4 // 3, side)
            save(folder / "images" / f"{name}.webp", pixels)
            lesion = "MSK_1" if code == "nv" and number < 2 else ""
            rows.append({"image_id": name, "dx": code, "diagnosis": code, "lesion": lesion})
    write_table(folder / "labels.csv", rows)
    return folder


def acral(folder: Path, lesions: int = 10, side: int = 64, seed: int = 7) -> Path:
    """Palms and soles with that many lesions a class and contributor; one contributor's have two images each, in
    squares, and one patient has two lesions."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, object]] = []
    for code in ("mel", "nv"):
        for lesion in range(2 * lesions):
            square = lesion % 2 == 0
            for _ in range(2 if square else 1):
                name = f"ISIC_4{len(rows):06}"
                pixels = colour(rng, SKIN.index(code), len(SKIN), side if square else side * 4 // 3, side)
                save(folder / "images" / f"{name}.webp", pixels)
                place = {"confirm": "", "attribution": "Ward, Clinic" if square else "Society", "licence": "CC-BY"}
                person = {"patient": "IP_1" if lesion in (0, 2) and code == "mel" else ""}
                rows.append(
                    {"image_id": name, "dx": code, **person, "lesion": f"IL_{code}{lesion}" if square else "", **place}
                )
    write_table(folder / "labels.csv", rows)
    return folder


def multirez(folder: Path, patients: int = 12, size: tuple[int, int] = (80, 64), seed: int = 8) -> Path:
    """Multi-REZ with that many patients per class, every other one with two images."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, object]] = []
    for label, code in enumerate(("benign", "malignant")):
        for patient in range(patients):
            for _ in range(1 + patient % 2):
                name = f"images/{len(rows)}.jpg"
                save(folder / name, grey(rng, label, 3, *size))
                rows.append({"file": name, "label": code, "patient": f"rez_{label}{patient}", "birads": "4a"})
    write_table(folder / "labels.csv", rows)
    return folder


def busi(
    folder: Path,
    per_class: int = 10,
    size: tuple[int, int] = (80, 64),
    suffix: str = ".png",
    split: Mapping[str, str] | None = None,
    repeats: Iterable[tuple[str, str]] = (),
    listed: bool = True,
    seed: int = 1,
) -> Path:
    """BUSI; `split` sets the part ("train", "val", "test") of "benign (1)" and so on, `repeats` are (original, repeat).

    Without `split` every class goes 70/10/20. `listed=False` leaves breastmnist_split.csv out, as in the official set.
    """
    rng = np.random.default_rng(seed)
    names = [f"{code} ({number})" for code in ULTRASOUND for number in range(1, per_class + 1)]
    pixels = {name: grey(rng, ULTRASOUND.index(name.split()[0]), 3, *size) for name in names}
    pixels |= {copy: repeat(pixels[original], rng) for original, copy in repeats}
    rows: list[dict[str, object]] = []
    for position, name in enumerate(names):
        code = name.split()[0]
        place = folder / "Dataset_BUSI_with_GT" / code
        save(place / f"{name}{suffix}", pixels[name])
        masks = 0 if code == "normal" else 1 + (position % per_class == 0)
        for number in range(max(masks, 1)):
            mask = np.zeros((size[1], size[0]), dtype=np.uint8)
            mask[20:40, 20:40] = 255 if masks else 0
            save(place / f"{name}_mask{f'_{number}' if number else ''}.png", mask)
        share = (position % per_class) / per_class
        part = (split or {}).get(name, "train" if share < 0.7 else "val" if share < 0.8 else "test")
        index = sum(row["breastmnist_split"] == part for row in rows)
        item = {"breastmnist_split": part, "breastmnist_index": index, "breastmnist_label": int(code != "malignant")}
        rows.append({**item, "busi_file": f"{code}/{name}.png"})
    if listed:
        write_table(folder / "breastmnist_split.csv", rows)
    return folder


def busbra(
    folder: Path, cases: int = 20, size: tuple[int, int] = (80, 64), suffix: str = ".png", seed: int = 2
) -> Path:
    """BUS-BRA; every third case is malignant, every fourth has one view, the rest two."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, object]] = []
    for case in range(1, cases + 1):
        label = int(case % 3 == 0)
        for side in ("s",) if case % 4 == 0 else ("l", "r"):
            name = f"{case:04}-{side}"
            save(folder / "Images" / f"bus_{name}{suffix}", grey(rng, label, 3, *size))
            mask = np.zeros((size[1], size[0]), dtype=np.uint8)
            mask[16:32, 20:40] = 255
            save(folder / "Masks" / f"mask_{name}.png", mask)
            finding = {"Histology": "unknown", "Pathology": ULTRASOUND[label], "BIRADS": 2 + case % 4}
            frame = {"Device": f"scanner {case % 2}", "Width": size[0], "Height": size[1], "BBOX": "[20,16,20,16]"}
            rows.append({"ID": f"bus_{name}", "Case": case, **finding, **frame, "Side": side, "kFold": 1 + case % 5})
    write_table(folder / "bus_data.csv", rows)
    return folder


def breast_usg(folder: Path, cases: int = 24, size: tuple[int, int] = (80, 64), seed: int = 5) -> Path:
    """BrEaST-Lesions-USG; every third case is malignant, the last has no lesion and so an empty mask."""
    rng = np.random.default_rng(seed)
    pictures = folder / "BrEaST-Lesions_USG-images_and_masks"
    book = openpyxl.Workbook()
    rows: list[list[object]] = [
        ["CaseID", "Image_filename", "Mask_tumor_filename", "Pixel_size", "Age", "BIRADS", "Classification"]
    ]
    for case in range(1, cases + 1):
        label = 2 if case == cases else int(case % 3 == 0)
        name = f"case{case:03}"
        save(pictures / f"{name}.png", grey(rng, label, 3, *size))
        mask = np.zeros((size[1], size[0]), dtype=np.uint8)
        mask[16:32, 20:40] = 0 if label == 2 else 255
        save(pictures / f"{name}_tumor.png", mask)
        # numbers and text in one column, as published
        age, birads = ("not available" if case % 4 == 0 else 30 + case), (1 if label == 2 else ["4a", 3, 5][case % 3])
        rows.append([case, f"{name}.png", f"{name}_tumor.png", 0.007, age, birads, ULTRASOUND[label]])
    for row in rows:
        book.worksheets[0].append(row)
    book.save(folder / "BrEaST-Lesions-USG-clinical-data-Dec-15-2023.xlsx")
    return folder


def breastmnist(
    folder: Path, parts: tuple[int, int, int] = (60, 12, 24), busi: Path | None = None, seed: int = 3
) -> Path:
    """breastmnist.npz, in the file's own polarity (0 is malignant); a made-up BUSI's pictures where one is given."""
    rng = np.random.default_rng(seed)
    held: dict[str, list[tuple[np.ndarray, int]]] = {"train": [], "val": [], "test": []}
    if busi is not None:
        with (busi / "breastmnist_split.csv").open(newline="", encoding="utf-8") as lines:
            for row in csv.DictReader(lines):
                picture = Image.open(busi / "Dataset_BUSI_with_GT" / row["busi_file"]).convert("L")
                small = np.asarray(picture.resize((28, 28), Image.Resampling.BICUBIC))
                held[row["breastmnist_split"]].append((small, int(row["breastmnist_label"])))
    else:
        for part, count in zip(held, parts, strict=True):
            held[part] = [(grey(rng, int(n % 3 == 0), 2, 28, 28), int(n % 3 != 0)) for n in range(count)]
    arrays: dict[str, np.ndarray] = {}
    for part, content in held.items():
        arrays[f"{part}_images"] = np.stack([pixels for pixels, _ in content])
        arrays[f"{part}_labels"] = np.array([[label] for _, label in content], dtype=np.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "breastmnist.npz", **arrays)  # type: ignore[arg-type]  # its stub takes one array only
    return folder


def _tiles(counts: tuple[int, int, int], seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    labels = {part: rng.permutation(count) % 2 for part, count in zip(PCAM_PARTS, counts, strict=True)}
    return {part: (np.stack([colour(rng, n, 2, 96, 96) for n in row]), row) for part, row in labels.items()}


def pcam_h5(folder: Path, counts: tuple[int, int, int] = (40, 12, 16), slides: int = 0, seed: int = 4) -> Path:
    """PatchCamelyon as published; with `slides`, also the meta files that name that many slides a part."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, (pixels, labels) in _tiles(counts, seed).items():
        stem = f"camelyonpatch_level_2_split_{part}"
        with h5py.File(folder / f"{stem}_x.h5", "w") as x, h5py.File(folder / f"{stem}_y.h5", "w") as y:
            x["x"] = pixels
            y["y"] = labels.reshape(-1, 1, 1, 1).astype(np.uint8)
        if slides:
            rows = [{"coord_x": n, "coord_y": n, "wsi": f"{part}_{n % slides}"} for n in range(len(labels))]
            write_table(folder / f"{stem}_meta.csv", rows)
    return folder


def pcam_folders(folder: Path, counts: tuple[int, int, int] = (40, 12, 16), listed: bool = True, seed: int = 4) -> Path:
    """The same tiles as `pcam_h5` with the same seed, by class in folders, as PNG; `listed` adds labels.csv."""
    rows: list[dict[str, object]] = []
    for part, (pixels, labels) in _tiles(counts, seed).items():
        for row, label in enumerate(labels.tolist()):
            path = f"{part}/{label}/patch{row:07}.png"
            save(folder / path, pixels[row])
            rows.append({"path": path, "split": part, "label": label, "h5_row": row})
    if listed:
        write_table(folder / "labels.csv", rows)
    return folder


def everything(root: Path) -> Path:
    """The `--data` folder with all sets."""
    ham10000(root / "ham10000")
    isic2017(root / "isic2017")
    acral(root / "acral")
    busi(root / "busi")
    busbra(root / "busbra")
    multirez(root / "multirez")
    breast_usg(root / "breast_usg")
    breastmnist(root / "breastmnist")
    pcam_folders(root / "pcam")
    return root
