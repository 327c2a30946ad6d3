"""Visitors' sessions, which hold nothing until something is put into them.

Gradio would describe every component of the page in each new one, for links that reopen a page with its values, of
which there are none here. Every call over the API is a new session, and describing the page took longer than answering.
"""

from types import SimpleNamespace
from typing import cast

import gradio as gr
from gradio.state_holder import SessionState, StateHolder


class Sessions(StateHolder):
    """Gradio's sessions by their name, each made when it is first asked for."""

    def __getitem__(self, session_id: str) -> SessionState:
        if session_id not in self.session_data:
            self.session_data[session_id] = Session(self.blocks)
        return super().__getitem__(session_id)


class Session(SessionState):
    """One of them; what a component is set to comes to be known of it then."""

    def __init__(self, blocks: gr.Blocks) -> None:
        # It describes those blocks that are among the second.
        super().__init__(cast(gr.Blocks, SimpleNamespace(default_config=blocks.default_config, blocks=())))
