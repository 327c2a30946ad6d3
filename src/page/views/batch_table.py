"""The table of a batch, as HTML: the highest p(malignant) first, then images of another kind, then failed files.

Knows nothing of Gradio. Each row has the words of both decisions, and src/page/batch.js shows one of them, so that the
table follows the threshold without the server.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

from src.page.render import render
from src.page.translation import translated
from src.pictures.limits import MAX_BYTES
from src.results.thresholds import decide
from src.service.batch import MAX_IMAGES, MAX_SUM, THUMBNAIL, Rows
from src.tasks import Task

_MB = 10**6
BINS: Final = 20
"""The bars of the histogram of p(malignant)."""

Source = tuple[int, int | None]
"""The number of the upload that has an image, from 0, and the image's index in it if the upload is a zip."""


def intro() -> str:
    """The purpose of the tab, and its limits."""
    return render("batch_intro.html", images=MAX_IMAGES, file_mb=MAX_BYTES // _MB, sum_mb=MAX_SUM // _MB)


def empty() -> str:
    """The text in place of the table before a batch is read."""
    return render("batch_empty.html")


def table(task: Task, rows: Rows, sources: Sequence[Source], threshold: float) -> str:
    """The table of all rows. Images with an answer are sorted by p(malignant), the highest first.

    `sources` has a source for each row.
    """
    read = [
        (row.p_malignant, row, source) for row, source in zip(rows, sources, strict=True) if row.p_malignant is not None
    ]
    answered = sorted(((p, row, source) for p, row, source in read if row.unlike is None), key=lambda one: -one[0])
    names = {diagnosis.code: translated(diagnosis.name) for diagnosis in task.classes}
    return render(
        "batch_table.html",
        task=task,
        threshold=threshold,
        referred=sum(decide(p, threshold) == "refer" for p, *_ in answered),
        histogram=_histogram([p for p, *_ in answered]),
        answered=[
            {
                "path": row.line["path"],
                "p": p,
                "decision": decide(p, threshold),
                "prediction": names.get(row.line["prediction"], ""),
                "warnings": _warnings(row.line["quality"]),
                "thumbnail": row.thumbnail,
                "source": source,
            }
            for p, row, source in answered
        ],
        unlike=[(row, source) for _, row, source in read if row.unlike is not None],
        failed=[row for row in rows if row.p_malignant is None],
        side=THUMBNAIL,
    )


def _warnings(joined: str) -> str:
    """The warnings of the CSV file, in which each is a sentence, in the visitor's language."""
    return "; ".join(map(translated, re.split(r"(?<=[.)]); ", joined)))


def _histogram(scores: Sequence[float]) -> list[dict[str, Any]]:
    """A bar for each of BINS equal parts of 0 to 1: its ends, its count and its height as a share of the highest."""
    counts = [0] * BINS
    for p in scores:
        counts[min(int(p * BINS), BINS - 1)] += 1
    highest = max(counts, default=0) or 1
    return [
        {"low": at / BINS, "high": (at + 1) / BINS, "count": count, "height": count / highest}
        for at, count in enumerate(counts)
    ]
