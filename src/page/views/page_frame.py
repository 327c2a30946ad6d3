"""The parts of the page around the answers, as HTML: header, notice, and the introductions on a task's tab."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from markupsafe import Markup

from src.models.checkpoints import Checkpoint
from src.page.render import render
from src.page.translation import translated
from src.server.languages import ENGLISH, LANGUAGES, PARAMETER, language
from src.tasks import DISCLAIMER, Task

FILE_TYPES: Final = "image/*,.dcm,.dicom,application/dicom,.heic,.heif,.avif,.jp2,.tif,.tiff"
"""What a visitor's system offers when it asks for an image, as the attribute `accept` of a file input."""
_PAGE: Final = Path(__file__).parents[1]


def early(tasks: Iterable[Task]) -> str:
    """A drop zone that takes an image before Gradio has drawn the page, for the tabs of these tasks."""
    style, script = (Markup((_PAGE / f"early.{kind}").read_text(encoding="utf-8")) for kind in ("css", "js"))
    return render(
        "early.html",
        style=style,
        script=script,
        titles={task.name: translated(task.title) for task in tasks},
        present=language.get(),
        disclaimer=DISCLAIMER,
        file_types=FILE_TYPES,
    )


def header() -> str:
    """The title, the choice of the language, and one line on what Vigil is."""
    return render(
        "header.html", languages=LANGUAGES, parameter=PARAMETER, present=language.get(), file_types=FILE_TYPES
    )


def notice() -> str:
    """The disclaimer above all tabs. It says that no clinician has reviewed a translation."""
    return render("notice.html", disclaimer=DISCLAIMER, unreviewed=language.get() != ENGLISH)


def task_intro(task: Task, checkpoint: Checkpoint) -> str:
    """The introduction of a tab: which images it reads, and with which model."""
    return render("task_intro.html", task=task, checkpoint=checkpoint, model=checkpoint.config.vigil.name)


def examples_note() -> str:
    """The origin of the examples."""
    return render("examples_note.html")
