"""The functions of the API: one per task, and `robustness`.

Gradio takes the names and descriptions of its endpoints and MCP tools from them.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import gradio as gr
from gradio.processing_utils import save_bytes_to_cache
from gradio.route_utils import API_PREFIX
from gradio.utils import get_upload_folder
from pydantic import BaseModel

from src.models.prediction import EXPLANATIONS
from src.page.blocks import refused
from src.page.translation import marked
from src.pictures.limits import MAX_BYTES
from src.pictures.picture import ImageRefused
from src.pictures.resolution import LEAST, MOST
from src.service import read_picture
from src.service.arguments import ArgumentRefused
from src.service.read_picture import AnswerWithheld
from src.service.worker_pool import WorkerPool, WorkFailed
from src.tasks import TASKS, Task

MODEL_EVENT: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": None, "preprocess": False}
"""The settings of events that read an upload. Gradio starts all of them at once, and they wait in src/fair_queue.py."""

NO_IMAGE = marked("Choose an image first.")

Answer = tuple[dict[str, Any], str | None]
"""A Result as JSON, and the file of its heat map."""

IMAGE_ARGUMENT = (
    "An image file (JPEG, PNG, WebP, TIFF, BMP, HEIC, AVIF, JPEG 2000 or DICOM, at most "
    f"{MAX_BYTES // 10**6} MB) that the client uploaded. Over MCP, the path or address of a file uploaded "
    f"earlier (POST to {API_PREFIX}/upload, as `gradio upload-mcp` does)."
)


MPP = f"""
        mpp: Micrometres per pixel of the file, {LEAST:g} to {MOST:g}, for a task with a physical scale. The image is \
read in tiles of the size from which the model learned. Default: the scale that the file states; without one, the \
image is one tile."""


async def call_service(pool: WorkerPool, function: Callable[..., Any], task: str, image: Any, *arguments: Any) -> Any:
    """Call a function of src/service/read_picture.py on an uploaded image. Raises gr.Error with one sentence."""
    if image is None:
        raise refused(NO_IMAGE)
    try:
        return await pool.call(function, task, image["path"], *arguments)
    except (ArgumentRefused, ImageRefused, AnswerWithheld, WorkFailed) as refusal:
        raise refused(str(refusal)) from refusal


def endpoint(task: Task, models: Sequence[str], pool: WorkerPool) -> Callable[..., Awaitable[Answer]]:
    """The function of a task's endpoint and MCP tool, with their name and description."""

    async def answered(image: Any, *arguments: Any) -> Answer:
        result, heatmap = await call_service(pool, read_picture.answer, task.name, image, *arguments)
        # The heat map is returned as a file. Gradio would compress an image in this process, which takes longer than
        # the prediction.
        return as_json(result), heatmap and save_bytes_to_cache(heatmap, "image.png", get_upload_folder())

    async def read(image: Any, threshold: Any, explain: Any, code: Any = "", model: Any = "") -> Answer:
        return await answered(image, threshold, explain, code, model)

    async def read_at_scale(
        image: Any, threshold: Any, explain: Any, code: Any = "", model: Any = "", mpp: Any = None
    ) -> Answer:
        return await answered(image, threshold, explain, code, model, mpp)

    function = read if task.mpp is None else read_at_scale
    function.__name__, function.__doc__ = task.name, describe(task, models)
    return function


def as_json(result: BaseModel) -> dict[str, Any]:
    """The JSON of a result for the page, API clients and MCP."""
    return result.model_dump(mode="json")


def describe(task: Task, models: Sequence[str]) -> str:
    """The endpoint's docstring. The API page and MCP show every line of it."""
    scale = MPP if task.mpp is not None else ""
    return f"""Reads {task.modality}. Research and education only, not a diagnosis.

    Args:
        image: {IMAGE_ARGUMENT}
        threshold: 0 to 1. The decision is `refer` if p_malignant reaches it, else `no referral`. Default: the \
model's own.
        explain: The kind of heat map: {", ".join(EXPLANATIONS)}.
        code: The class that the heat map explains: {", ".join(task.codes)}; empty for the most probable class.
        model: The checkpoint: {", ".join(models)}; empty for {models[0]}.{scale}
    Returns:
        result: task, model, revision, p_malignant, threshold, decision, classes, quality (warnings), operating_point \
(on the test split, with 95% intervals; or null), disclaimer, explanation, explained_class, heatmap_empty, size, \
region, region_kind, screening (the operating point on each held-out set, and the thresholds that promise a \
sensitivity), confidence in the most probable class (high, medium or low), the meaning of every class, gate (whether \
the image looks like one of this task; if accepted is false, the answer means little; or null), parts (of an image \
that was read in parts: their kind, count and mean_p_malignant; or null), cine (of a DICOM cine: its frames and \
p_malignant of each; or null), spacing (millimetres per pixel; or null) and members (the p_malignant of each network \
of a model that averages several; empty for a model of one network).
        heatmap: The image with the heat map over it; null for none.
    """


def robustness_endpoint(pool: WorkerPool) -> None:
    """Add `/robustness`: does the decision hold if the image changes a little?"""

    async def robustness(
        task: Any, image: Any, threshold: Any = None, model: Any = "", mpp: Any = None
    ) -> dict[str, Any]:
        if not isinstance(task, str) or task not in TASKS:
            raise refused(f"The task must be one of {', '.join(TASKS)}.")
        return as_json(await call_service(pool, read_picture.robustness, task, image, threshold, model, True, mpp))

    robustness.__doc__ = f"""Reads an image and altered versions of it. Research and education only, not a diagnosis.

    Args:
        task: {", ".join(TASKS)}.
        image: {IMAGE_ARGUMENT}
        threshold: 0 to 1, as for the task's own endpoint. Default: the model's own.
        model: The checkpoint, as for the task's own endpoint; empty for the task's default.{MPP}
    Returns:
        result: views (name, p_malignant and decision of each altered version), p_malignant of the unchanged image, \
lowest and highest p_malignant of all, flipped (the number of altered versions with the other decision), and \
borderline (whether there is any).
    """
    with gr.Column(visible=False):
        task = gr.Radio(list(TASKS), label="task")
        image = gr.Image(type="filepath", label="image")
        threshold = gr.Number(label="threshold")
        model = gr.Textbox("", label="model")
        mpp = gr.Number(None, label="mpp")
        result = gr.JSON(label="result")
    gr.on([], robustness, [task, image, threshold, model, mpp], result, api_name="robustness", **MODEL_EVENT)
