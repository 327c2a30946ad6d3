"""The table of a batch, as HTML: the highest p(malignant) first, then images of another kind, then failed files.

Knows nothing of Gradio. Each row has the words of both decisions, and src/page/batch.js shows one of them, so that the
table follows the threshold without the server.
"""

from src.page.render import render
from src.pictures.limits import MAX_BYTES
from src.results.thresholds import decide
from src.service.batch import MAX_IMAGES, MAX_SUM, THUMBNAIL, Rows
from src.tasks import Task

_MB = 10**6


def intro() -> str:
    """The purpose of the tab, and its limits."""
    return render("batch_intro.html", images=MAX_IMAGES, file_mb=MAX_BYTES // _MB, sum_mb=MAX_SUM // _MB)


def empty() -> str:
    """The text in place of the table before a batch is read."""
    return render("batch_empty.html")


def table(task: Task, rows: Rows, threshold: float) -> str:
    """The table of all rows. Images with an answer are sorted by p(malignant), the highest first."""
    read = [(row.p_malignant, row) for row in rows if row.p_malignant is not None]
    answered = sorted(((p, row) for p, row in read if row.unlike is None), key=lambda scored: -scored[0])
    names = {diagnosis.code: diagnosis.name for diagnosis in task.classes}
    return render(
        "batch_table.html",
        task=task,
        threshold=threshold,
        referred=sum(decide(p, threshold) == "refer" for p, _ in answered),
        answered=[
            {
                "path": row.line["path"],
                "p": p,
                "decision": decide(p, threshold),
                "prediction": names.get(row.line["prediction"], ""),
                "warnings": row.line["quality"],
                "thumbnail": row.thumbnail,
            }
            for p, row in answered
        ],
        unlike=[row for _, row in read if row.unlike is not None],
        failed=[row for row in rows if row.p_malignant is None],
        side=THUMBNAIL,
    )
