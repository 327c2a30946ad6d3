"""Gradio's server as the app has it: a busy machine may take longer than Gradio's 5 s to start it."""

from collections.abc import Iterator

import pytest
from gradio import http_server

from src.server.environment import PatientServer


@pytest.fixture(autouse=True, scope="session")
def _patient_server() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(http_server, "Server", PatientServer)
        yield
