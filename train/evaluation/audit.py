"""One HTML page with a model's test images, sorted into missed cancers, false alarms and correct decisions.

Each image has its p(malignant) and its heat map. The page shows images of patients, so it is never written where git
would track it.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from src.exports import heat_map
from src.models.checkpoint_info import EMBEDDED
from src.models.prediction import Prediction
from src.models.predictor import Predictor
from src.results.thresholds import decide
from train.data import Sample

ROOT = EMBEDDED.parent
IGNORED = ROOT / "runs"
"""The folder of the repository that training writes to and git ignores."""

SIDE = 192  # pixels: enough to recognise an image
CORRECT_SHOWN = 200

STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 1.5rem; color-scheme: light dark; }
section { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; width: 24.5rem; }
figure img { width: 12rem; height: 12rem; object-fit: contain; background: #8883; }
figcaption { font-size: 0.85rem; overflow-wrap: anywhere; }
"""


class AuditError(ValueError):
    """The audit must not be written to this folder; the message says why in one sentence."""


def sort_decisions(
    samples: Sequence[Sample], answers: Sequence[Prediction], threshold: float
) -> dict[str, list[tuple[Sample, Prediction]]]:
    """Heading -> its samples with their predictions: worst mistakes first, closest correct decisions first."""
    sorted_: dict[str, list[tuple[Sample, Prediction]]] = {"Missed cancer": [], "False alarm": [], "Correct": []}
    for sample, answer in zip(samples, answers, strict=True):
        malignant = answer.task.malignant[sample.label]
        referred = decide(answer.p_malignant, threshold) == "refer"
        kind = "Correct" if malignant == referred else "Missed cancer" if malignant else "False alarm"
        sorted_[kind].append((sample, answer))
    for kind, found in sorted_.items():
        found.sort(key=lambda one: abs(one[1].p_malignant - threshold), reverse=kind != "Correct")
    return sorted_


def write_page(folder: Path, predictor: Predictor, samples: Sequence[Sample], threshold: float) -> dict[str, int]:
    """Write `folder`/index.html; returns the number of images under each heading.

    The page shows only the CORRECT_SHOWN closest of the correct decisions. Raises AuditError for a folder inside the
    repository, and ImageRefused for an image that cannot be read.
    """
    target = folder.resolve()
    if target.is_relative_to(ROOT) and not target.is_relative_to(IGNORED):
        raise AuditError(f"An audit shows images of patients. Choose a folder outside the repository or in {IGNORED}.")
    answers = []
    pictures = (sample.picture() for sample in samples)
    for answer in tqdm(predictor.predict_many(pictures), total=len(samples), desc="reading", unit="image"):
        if not isinstance(answer, Prediction):
            raise answer
        answers.append(answer)
    found = sort_decisions(samples, answers, threshold)
    counts = {kind: len(cases) for kind, cases in found.items()}
    found["Correct"] = found["Correct"][:CORRECT_SHOWN]
    target.mkdir(parents=True, exist_ok=True)
    with (target / "index.html").open("w", encoding="utf-8") as page:
        page.write(_head(predictor, counts, threshold))
        with tqdm(total=sum(map(len, found.values())), desc="heat maps", unit="image") as bar:
            for kind, cases in found.items():
                shown = f", {len(cases):,} of them shown: the closest decisions" if len(cases) < counts[kind] else ""
                page.write(f"<h2>{kind}: {counts[kind]:,}{shown}</h2><section>\n")
                for sample, _ in cases:
                    page.write(_figure(predictor, sample))
                    bar.update()
                page.write("</section>\n")
    return counts


def _head(predictor: Predictor, counts: Mapping[str, int], threshold: float) -> str:
    vigil = predictor.checkpoint.config.vigil
    title = escape(f"Vigil, {predictor.task.title}: {vigil.name}, revision {predictor.checkpoint.revision}")
    listed = ", ".join(f"{kind.lower()} {n:,}" for kind, n in counts.items())
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>\n'
        f"<h1>{title}</h1><p>Test images at threshold {threshold:g}: {listed}. These are images of patients: do not "
        "pass them on.</p>\n"
    )


def _figure(predictor: Predictor, sample: Sample) -> str:
    picture = sample.picture()
    answer = predictor.predict(picture, "Grad-CAM")
    heat = answer.heat_map
    images = [picture.image, *([heat_map.draw(picture.image, heat, answer.box, answer.label_box)] if heat else [])]
    shown = "".join(f'<img alt="" src="{_inline(image)}">' for image in images)
    codes = predictor.task.codes
    return (
        f"<figure>{shown}<figcaption>{escape(sample.name)}<br>p(malignant) <b>{answer.p_malignant:.3f}</b>, truth "
        f"{escape(codes[sample.label])}, most probable class {escape(codes[answer.top])} (heat map)"
        "</figcaption></figure>\n"
    )


def _inline(image: Image.Image) -> str:
    small = image.copy()
    small.thumbnail((SIDE, SIDE))
    stored = io.BytesIO()
    small.save(stored, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(stored.getvalue()).decode()}"
