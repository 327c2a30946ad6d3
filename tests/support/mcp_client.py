"""The app's tools over MCP, called with the real client."""

from typing import Any

from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, Tool

from tests.support.app import Server
from tests.support.event_loop import run


def asked(server: Server, *calls: dict[str, Any], tool: str = "breastmnist") -> tuple[list[Tool], list[CallToolResult]]:
    """The tools that the app offers, and their calls."""

    async def ask() -> tuple[list[Tool], list[CallToolResult]]:
        async with (
            streamable_http_client(f"{server.url}/gradio_api/mcp/") as (receive, send, _),
            ClientSession(receive, send) as session,
        ):
            await session.initialize()
            tools = (await session.list_tools()).tools
            return tools, [await session.call_tool(tool, call, progress_callback=listen) for call in calls]

    async def listen(progress: float, total: float | None, message: str | None) -> None:
        """Gradio returns the heat map as an image only to a client that asks for progress."""

    return run(ask())
