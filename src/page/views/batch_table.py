"""The rows of a batch -> its table, as HTML: most suspicious first, then what is no such picture, then what failed.

Pure: knows wording and markup, nothing of Gradio. Each row has both decisions, of which src/page/batch.js shows one, so
that the table follows the threshold without the server.
"""

from src.page.render import render
from src.pictures.limits import MAX_BYTES
from src.results.thresholds import decide
from src.service.batch import MAX_PICTURES, MAX_SUM, THUMBNAIL, Rows
from src.tasks import Task

_MB = 10**6


def intro() -> str:
    """What the tab is for, and its limits."""
    return render("batch_intro.html", images=MAX_PICTURES, file_mb=MAX_BYTES // _MB, sum_mb=MAX_SUM // _MB)


def empty() -> str:
    """The table's place before there is one."""
    return render("batch_empty.html")


def table(task: Task, rows: Rows, threshold: float) -> str:
    """All rows: those with an answer in the order of p(malignant), highest first."""
    read = [(row.p_malignant, row) for row in rows if row.p_malignant is not None]
    answered = sorted(((p, row) for p, row in read if row.unlike is None), key=lambda one: -one[0])
    names = {one.code: one.name for one in task.classes}
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
