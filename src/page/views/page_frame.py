"""The parts of the page around the answers, as HTML: header, notice, and the introductions on a task's tab."""

from src.models.checkpoints import Checkpoint
from src.page.render import render
from src.server.languages import ENGLISH, LANGUAGES, PARAMETER, language
from src.tasks import DISCLAIMER, Task


def header() -> str:
    """The title, the choice of the language, and one line on what Vigil is."""
    return render("header.html", languages=LANGUAGES, parameter=PARAMETER, present=language.get())


def notice() -> str:
    """The disclaimer above all tabs. It says that no clinician has reviewed a translation."""
    return render("notice.html", disclaimer=DISCLAIMER, unreviewed=language.get() != ENGLISH)


def task_intro(task: Task, checkpoint: Checkpoint) -> str:
    """The introduction of a tab: which images it reads, and with which model."""
    return render("task_intro.html", task=task, checkpoint=checkpoint, model=checkpoint.config.vigil.name)


def examples_note() -> str:
    """The origin of the examples."""
    return render("examples_note.html")
