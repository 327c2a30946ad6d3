"""The parts of the page that stand around the answers, as HTML: header, notice, introductions of a task's tab."""

from src.models.checkpoints import Checkpoint
from src.page.render import render
from src.tasks import DISCLAIMER, Task


def header() -> str:
    """Title and what Vigil is, in one line."""
    return render("header.html")


def notice() -> str:
    """The disclaimer that stands above everything."""
    return render("notice.html", disclaimer=DISCLAIMER)


def task_intro(task: Task, checkpoint: Checkpoint) -> str:
    """Which images belong into this tab, and which model reads them."""
    return render("task_intro.html", task=task, checkpoint=checkpoint, model=checkpoint.config.vigil.name)


def examples_heading() -> str:
    """What the examples are."""
    return render("examples_heading.html")
