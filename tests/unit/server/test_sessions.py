"""src/server/sessions.py: a session is empty until a component changes."""

from pathlib import Path

import gradio as gr
import pytest
from gradio.blocks import BlocksConfig
from gradio.routes import App

from src.fair_queue import Turns
from src.page import blocks
from src.page.blocks import Page
from src.server import middleware
from src.server.disk import claim
from src.server.sessions import Session
from tests.support.event_loop import run
from tests.support.personal_data import CANARY, NAME, TOKEN


def test_for_a_new_session_no_component_is_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Page() as page:
        asked, answered = gr.Textbox("as it stands"), gr.Textbox()
        asked.submit(lambda text: gr.update(value=text, label="New"), asked, answered)
    app = App.create_app(page)
    app.middleware_stack = app.build_middleware_stack()
    claimed = claim(tmp_path)
    described = []
    plain = BlocksConfig.config_for_block

    def describe(block_id: int, *further: object) -> object:
        described.append(block_id)
        return plain(block_id, *further)  # type: ignore[arg-type]

    monkeypatch.setattr(BlocksConfig, "config_for_block", staticmethod(describe))

    async def visit() -> Session:
        async with middleware.app_kwargs(claimed, Turns(1, patience=20))["lifespan"](app):
            session = app.state_holder["a visitor"]
            assert isinstance(session, Session)
            assert app.state_holder["a visitor"] is session
            assert described == []
            (function,) = page.fns.values()
            sent = await page.postprocess_data(function, gr.update(value="Yes", label="New"), session)
            assert sent[0]["label"] == "New"
            return session

    session = run(visit())
    assert set(described) <= {answered._id}, "what is changed alone"
    assert session[answered._id].label == "New"
    assert session[asked._id].value == "as it stands"
    claimed.lock.release()


def test_a_session_holds_no_value() -> None:
    with blocks.Page() as page:
        said, token, answer = gr.JSON(), gr.Textbox(), gr.JSON()
        update = gr.Textbox()
        token.submit(lambda *_: ({"name": NAME}, gr.update(value=NAME)), [said, token], [answer, update])
    (function,) = page.fns.values()
    state = Session(page)

    async def call() -> None:
        await page.preprocess_data(function, [{"name": NAME}, TOKEN], state)
        assert await page.postprocess_data(function, [{"name": NAME}, gr.update(value=NAME)], state)

    run(call())
    assert not CANARY.search(repr(list(state.components)).encode())
