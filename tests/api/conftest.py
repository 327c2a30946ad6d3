"""A client of the running app."""

import pytest
from gradio_client import Client

from tests.support.app import Server


@pytest.fixture(scope="module")
def client(server: Server) -> Client:
    return Client(server.url, verbose=False)
