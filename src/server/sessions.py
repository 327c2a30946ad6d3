"""Sessions of visitors that hold nothing at first.

Gradio copies the description of every component into each new session, for links that reopen a page with its values.
This page has no such links. Every call over the API is a new session, and the copy took longer than the answer.
"""

from types import SimpleNamespace
from typing import cast

import gradio as gr
from gradio.state_holder import SessionState, StateHolder


class Sessions(StateHolder):
    """Gradio's sessions by their id, each made at its first use."""

    def __getitem__(self, session_id: str) -> SessionState:
        if session_id not in self.session_data:
            self.session_data[session_id] = Session(self.blocks)
        return super().__getitem__(session_id)


class Session(SessionState):
    """One session. It describes a component only after the component has been changed."""

    def __init__(self, blocks: gr.Blocks) -> None:
        # Gradio copies the descriptions of `blocks`.
        super().__init__(cast(gr.Blocks, SimpleNamespace(default_config=blocks.default_config, blocks=())))
