"""Routes of the installed Gradio that the app does not serve."""

from starlette.routing import compile_path

CLOSED = {
    # The app has no login
    ("GET", "/gradio_api/login_check"),
    ("GET", "/gradio_api/token"),
    ("GET", "/gradio_api/user"),
    ("GET", "/logout"),
    ("POST", "/login"),
    # Routes that open addresses on the web, and routes from before the queue
    ("GET", "/gradio_api/proxy={url_path:path}"),
    ("HEAD", "/gradio_api/proxy={url_path:path}"),
    ("GET", "/gradio_api/file/{path:path}"),
    ("POST", "/gradio_api/api/{api_name}"),
    # Routes that leave files or states behind
    ("GET", "/gradio_api/deep_link"),
    ("POST", "/gradio_api/process_recording"),
    ("GET", "/gradio_api/runs"),
    # Routes of components that the page does not have
    ("POST", "/gradio_api/component_server"),
    ("GET", "/gradio_api/custom_component/{id}/{environment}/{type}/{file_name}"),
    ("GET", "/svelte/{path:path}"),
    ("POST", "/gradio_api/stream/{event_id}"),
    ("POST", "/gradio_api/stream/{event_id}/close"),
    ("GET", "/gradio_api/stream/{session_hash}/{run}/{component_id}/playlist-file"),
    ("GET", "/gradio_api/stream/{session_hash}/{run}/{component_id}/playlist.m3u8"),
    ("GET", "/gradio_api/stream/{session_hash}/{run}/{component_id}/{segment_id}.{ext}"),
    ("GET", "/pwa_icon"),
    ("GET", "/pwa_icon/{size}"),
    ("GET", "/gradio_api/theme.css"),  # the page has it from /theme.css
    # Routes for development and monitoring
    ("GET", "/gradio_api/dev/reload"),
    ("GET", "/gradio_api/queue/status"),
    ("GET", "/gradio_api/vibe-code"),
    ("POST", "/gradio_api/vibe-code"),
    ("POST", "/gradio_api/vibe-edit"),
    ("POST", "/gradio_api/undo-vibe-edit"),
    ("POST", "/gradio_api/vibe-starter-queries"),
    ("GET", "/monitoring"),
    ("GET", "/monitoring/summary"),
    ("GET", "/monitoring/{key}"),
    ("GET", "/openapi.json"),
    ("HEAD", "/openapi.json"),
}


def example(path: str) -> str:
    """A path that matches this template."""
    form = compile_path(path)[1]
    return form.format_map(Anything())


class Anything(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return "/x" if name == "path_or_url" else "skin"
