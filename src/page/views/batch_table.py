"""The rows of a batch -> its table, as HTML: most suspicious first, then what is no such picture, then what failed.

Pure: knows wording and markup, nothing of Gradio. Each row has both decisions, of which src/page/batch.js shows one, so
that the table follows the threshold without the server.
"""

from html import escape

from src.page.views.result_card import ARROW, DASH, WARNING, percent
from src.pictures.decode import MAX_BYTES
from src.results.thresholds import decide
from src.service.batch import MAX_PICTURES, MAX_SUM, THUMBNAIL, Row, Rows
from src.tasks import Task


def intro() -> str:
    """What the tab is for, and its limits."""
    return (
        '<div class="v-intro"><h2>Many pictures</h2><p>Give several pictures of one kind, or a zip of them, and have '
        f"them in the order of p(malignant). At most {MAX_PICTURES} pictures of {MAX_BYTES // 10**6} MB each and "
        f"{MAX_SUM // 10**6} MB in all; one upload, a zip too, may have {MAX_BYTES // 10**6} MB. The files are deleted "
        "within an hour, and the results are kept by this page alone.</p></div>"
    )


def empty() -> str:
    """The table's place before there is one."""
    return '<div class="v-empty" role="status"><p>No pictures read yet.</p></div>'


def table(task: Task, rows: Rows, threshold: float) -> str:
    """All rows: those with an answer in the order of p(malignant), highest first."""
    read = [row for row in rows if row.p_malignant is not None]
    answered = sorted((row for row in read if row.unlike is None), key=lambda row: -(row.p_malignant or 0))
    unlike = [row for row in read if row.unlike is not None]
    failed = [row for row in rows if row.p_malignant is None]
    return f'<div class="v-batch">{_answered(task, answered, threshold)}{_unlike(task, unlike)}{_failed(failed)}</div>'


def _answered(task: Task, rows: Rows, threshold: float) -> str:
    if not rows:
        return '<p role="status">No picture has an answer.</p>'
    referred = sum(decide(row.p_malignant or 0, threshold) == "refer" for row in rows)
    names = ("Picture", "Name", "p(malignant)", "Decision", "Prediction", "About this picture")
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    return (
        f'<p role="status"><b data-referred>{referred}</b> of <b>{len(rows)}</b> to refer at a threshold of '
        f"<b data-at>{threshold:g}</b>.</p>"
        f'<table><caption class="v-hidden">Pictures in the order of p(malignant), highest first</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(_line(task, row, threshold) for row in rows)}</tbody></table>"
    )


def _line(task: Task, row: Row, threshold: float) -> str:
    p = row.p_malignant or 0
    names = {one.code: one.name for one in task.classes}
    prediction, warnings = names.get(row.line["prediction"], ""), row.line["quality"]
    return (
        f'<tr data-p="{p!r}" data-decision="{decide(p, threshold)}"><td>{_thumbnail(row)}</td>'
        f'<th scope="row">{escape(row.line["path"])}</th><td class="v-p">{percent(p)}</td>'
        f'<td class="v-decided"><span class="v-refer">{ARROW}Refer</span>'
        f'<span class="v-no-referral">{DASH}No referral</span></td>'
        f"<td>{escape(prediction)}</td><td>{f'{WARNING}{escape(warnings)}' if warnings else ''}</td></tr>"
    )


def _thumbnail(row: Row) -> str:
    # The name stands beside it.
    return f'<img src="data:image/jpeg;base64,{row.thumbnail}" alt="" width="{THUMBNAIL}" height="{THUMBNAIL}">'


def _unlike(task: Task, rows: Rows) -> str:
    if not rows:
        return ""
    items = "".join(
        f"<li>{_thumbnail(row)}<span><b>{escape(row.line['path'])}</b> {escape(row.unlike or '')}</span></li>"
        for row in rows
    )
    return (
        f"<h3>Not what this model reads ({len(rows)})</h3><p>What the model says of these means little. It stands in "
        f"the CSV; the tab {escape(task.title)} shows it for one picture at a time.</p><ul>{items}</ul>"
    )


def _failed(rows: Rows) -> str:
    if not rows:
        return ""
    items = "".join(
        f"<li>{WARNING}<span><b>{escape(row.line['path'])}</b> {escape(row.line['error'])}</span></li>" for row in rows
    )
    return f"<h3>Not read ({len(rows)})</h3><ul>{items}</ul>"
