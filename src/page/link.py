"""Keeps the tab, its model, its threshold and its open sections in the page's address, so that a link opens the same.

Only the browser reads and writes the address. It reads the address once, when the page opens, and checks it
(src/page/link.js).
"""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import gradio as gr

from src.page.translation import gettext as _


class Controls(NamedTuple):
    """The controls of a tab whose values a link keeps.

    `names` are the values that `model` can have, and `sections` the sections that can be open, by their names.
    """

    threshold: gr.Slider
    model: gr.Radio
    names: list[str]
    sections: Mapping[str, gr.Accordion] = MappingProxyType({})


def copy_button() -> None:
    """Draw the button that copies the page's present address."""
    text = _("Copy link")
    outcomes = json.dumps([_("Link copied"), _("The link is in the address bar")])
    button = gr.Button(text, size="sm", elem_classes="v-copy")
    button.click(None, None, button, js=f"() => vigil.copyLink(...{outcomes})", api_visibility="private").then(
        None, None, button, js=f"() => vigil.afterTwoSeconds({json.dumps(text)})", api_visibility="private"
    )


def keep(page: gr.Blocks, tabs: gr.Tabs, tab_by_id: Mapping[str, gr.Tab], controls: Mapping[str, Controls]) -> None:
    """Open the state that the address names, and write every later state into the address.

    `tab_by_id` has all tabs; `controls` has those of the tabs with a model and a threshold.
    """
    models_by_tab = {name: controls[name].names if name in controls else [] for name in tab_by_id}
    thresholds = [one.threshold for one in controls.values()]
    models = [one.model for one in controls.values()]
    sections = [section for one in controls.values() for section in one.sections.values()]
    sections_by_tab = {
        name: {key: section.open for key, section in one.sections.items()} for name, one in controls.items()
    }
    page.load(
        None,
        None,
        [tabs, *models, *thresholds, *sections],
        js=f"() => vigil.openLink({json.dumps(models_by_tab)}, {json.dumps(sections_by_tab)})",
        api_visibility="private",
    )
    for name, tab in tab_by_id.items():
        tab.select(None, None, None, js=f"() => vigil.recordState({json.dumps(name)})", api_visibility="private")
    for name, one in controls.items():
        for key, control in (("model", one.model), ("threshold", one.threshold)):
            control.change(
                None,
                control,
                None,
                js=f"(value) => vigil.recordState({json.dumps(name)}, {json.dumps(key)}, value)",
                api_visibility="private",
            )
