"""A link that opens the page where it was left: tab, model and threshold, kept in the address by the browser alone.

The address is read once, when the page opens, and what it says is checked there (src/page/link.js).
"""

import json
from collections.abc import Mapping
from typing import NamedTuple

import gradio as gr


class Controls(NamedTuple):
    """What of a tab a link keeps: its threshold, and its model of `names`."""

    threshold: gr.Slider
    model: gr.Radio
    names: list[str]


def copy_button() -> None:
    """Copies the page's address as it stands."""
    button = gr.Button("Copy link", size="sm", elem_classes="v-copy")
    button.click(None, None, button, js="() => vigil.copyLink()", api_visibility="private").then(
        None, None, button, js="() => vigil.later('Copy link')", api_visibility="private"
    )


def keep(page: gr.Blocks, tabs: gr.Tabs, each: Mapping[str, gr.Tab], controls: Mapping[str, Controls]) -> None:
    """Open what the address asks for, and write into it where the visitor goes. `each` has all tabs by their ids."""
    known = {name: controls[name].names if name in controls else [] for name in each}
    thresholds = [one.threshold for one in controls.values()]
    models = [one.model for one in controls.values()]
    page.load(
        None,
        None,
        [tabs, *models, *thresholds],
        js=f"() => vigil.opened({json.dumps(known)}, {json.dumps(list(controls))})",
        api_visibility="private",
    )
    for name, tab in each.items():
        tab.select(None, None, None, js=f"() => vigil.moved({json.dumps(name)})", api_visibility="private")
    for name, one in controls.items():
        for key, control in (("model", one.model), ("threshold", one.threshold)):
            control.change(
                None,
                control,
                control,
                js=f"(value) => vigil.moved({json.dumps(name)}, {json.dumps(key)}, value)",
                api_visibility="private",
            )
