"""The sections of a task's tab that open on a click. The page's address keeps which of them are open."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import gradio as gr

from src.page.translation import gettext as _
from src.page.translation import marked

TITLES: Final[Mapping[str, str]] = {
    "costs": marked("What this threshold costs"),
    "classes": marked("What the classes mean"),
    "where": marked("Where it looked"),
    "sure": marked("How sure is it?"),
    "curves": marked("Curves"),
    "report": marked("Report"),
    "api": marked("API"),
}
"""The sections in their order: the name in the page's address -> the title."""

OPEN_AT_FIRST: Final = "costs"


@dataclass(frozen=True)
class Sections:
    """The sections of the tab `task` that were drawn so far, by their names in the page's address.

    The page's script finds them by their ids and writes into the address which are open (link.js).
    """

    task: str
    by_name: dict[str, gr.Accordion] = field(default_factory=dict)

    @contextmanager
    def section(self, name: str, *classes: str) -> Iterator[None]:
        """Draw the components of the block into the section `name`."""
        title, is_open = _(TITLES[name]), name == OPEN_AT_FIRST
        with gr.Accordion(
            title, open=is_open, elem_id=f"section-{self.task}-{name}", elem_classes=["v-section", *classes]
        ) as self.by_name[name]:
            yield
