"""Host and Origin on a running app."""

import httpx

from src.server.hosts import FOREIGN_HOST, FOREIGN_ORIGIN
from src.server.refusal import UPLOAD
from src.server.routes import HEALTH, JOIN, MOUNTED
from tests.support.app import Server


def test_the_app_refuses_both_on_every_route(server: Server) -> None:
    with httpx.Client(base_url=server.url, timeout=60) as visitor:
        for path in ("/", "/config", HEALTH, "/gradio_api/info", "/gradio_api/heartbeat/x", f"{MOUNTED}/schema"):
            said = visitor.get(path, headers={"Host": "evil.example"})
            assert said.status_code == FOREIGN_HOST.status, path
            assert said.headers["content-security-policy"]
        for path in (
            UPLOAD,
            JOIN,
            "/gradio_api/call/skin",
            "/gradio_api/call/v2/skin",
            "/gradio_api/run/predict",
            MOUNTED,
        ):
            for origin in ("https://evil.example", "null"):
                said = visitor.post(path, json={}, headers={"Origin": origin})
                assert said.status_code == FOREIGN_ORIGIN.status, path
            said = visitor.post(path, json={}, headers={"Origin": server.url})
            assert said.status_code != FOREIGN_ORIGIN.status, path
        assert visitor.get(HEALTH, headers={"Host": "localhost"}).text == "ok"
