"""The parts of the page around the answers, as HTML: header, notice, and the introductions on a task's tab."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from markupsafe import Markup

from src.models.checkpoint_info import CheckpointInfo
from src.page.render import render
from src.page.translation import lookup, marked, translated
from src.server.bodies import TOO_LARGE
from src.server.errors import FAILED
from src.server.languages import ENGLISH, LANGUAGES, PARAMETER, language
from src.server.rate_limit import BUSY
from src.tasks import DISCLAIMER, Task

FILE_TYPES: Final = "image/*,.dcm,.dicom,application/dicom,.heic,.heif,.avif,.jp2,.tif,.tiff"
"""What a visitor's system offers when it asks for an image, as the attribute `accept` of a file input."""
GRADIO_NAMES: Final = (
    marked("Error"),
    marked("Close"),
    marked("Upload file"),
    marked("Capture from camera"),
    marked("Click to upload or drop files"),
    marked("Paste from clipboard"),
    marked("Remove Image"),
    marked("Fullscreen"),
    marked("Exit fullscreen mode"),
    marked("Reset to default value"),
    marked("number input for "),
    marked("range slider for "),
)
"""Names of parts of the page that Gradio writes in English for all visitors. A longer name may begin with them."""
ANY_ANSWER: Final = ".v-empty, .v-decision"
NOT_SENT: Final = marked("The image could not be sent. Check your connection and choose the image again.")
GRADIO_MESSAGES: Final = (
    ("HTTP ", NOT_SENT, ANY_ANSWER),
    ("Connection errored out.", NOT_SENT, ANY_ANSWER),
    ("File(s) exceed the maximum allowed size", TOO_LARGE.sentence, ANY_ANSWER),
    (
        "Connection to the server was lost.",
        marked("The connection to the server is lost. The page loads again once it is back."),
        ".v-reading",
    ),
    ("This application is currently busy.", BUSY, ""),
    ("Invalid file type", marked("Files of this type are not read here."), ""),
    ("An error occurred.", FAILED.sentence, ""),
)
"""The start of a message of Gradio, the sentence in its place, and the part of the card that the sentence replaces as
well (a CSS selector, or "")."""
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
        "header.html",
        languages=LANGUAGES,
        parameter=PARAMETER,
        present=language.get(),
        file_types=FILE_TYPES,
        texts={
            "names": [(name, lookup(name)) for name in GRADIO_NAMES],
            "messages": [
                {"start": start, "sentence": translated(sentence), "place": place}
                for start, sentence, place in GRADIO_MESSAGES
            ],
        },
    )


def notice() -> str:
    """The disclaimer above all tabs. It says that no clinician has reviewed a translation."""
    return render("notice.html", disclaimer=DISCLAIMER, unreviewed=language.get() != ENGLISH)


def task_intro(task: Task, checkpoint: CheckpointInfo) -> str:
    """The introduction of a tab: which images it reads, and with which model."""
    return render("task_intro.html", task=task, checkpoint=checkpoint, model=checkpoint.config.vigil.name)


def examples_note() -> str:
    """The origin of the examples."""
    return render("examples_note.html")
