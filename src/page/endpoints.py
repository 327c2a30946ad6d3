"""The API's functions: one a task, and `robustness`. Gradio names and describes its endpoints and MCP tools by them."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import gradio as gr
from gradio.processing_utils import save_bytes_to_cache
from gradio.route_utils import API_PREFIX
from gradio.utils import get_upload_folder
from pydantic import BaseModel

from src.models.prediction import EXPLANATIONS
from src.page.blocks import refused
from src.pictures.limits import MAX_BYTES
from src.pictures.picture import ImageRefused
from src.pictures.resolution import LEAST, MOST
from src.service import read_picture
from src.service.arguments import ArgumentRefused
from src.service.read_picture import AnswerWithheld
from src.service.worker_pool import Work, WorkFailed
from src.tasks import TASKS, Task

MODEL_WORK: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": None, "preprocess": False}
"""Of every event that reads an upload. Gradio lets all begin; they wait in src/fair_queue.py."""

NO_PICTURE = "Choose an image first."

Answered = tuple[dict[str, Any], str | None]
"""A Result as JSON, and the file of its heat map."""

PICTURE = (
    f"A picture file (JPEG, PNG, WebP, TIFF or BMP, at most {MAX_BYTES // 10**6} MB), uploaded by the client; over MCP "
    f"the path or address of a file uploaded before (POST to {API_PREFIX}/upload, as `gradio upload-mcp` does)."
)


MPP = f"""
        mpp: Micrometres per pixel of the file, {LEAST:g} to {MOST:g}, for a task with a physical scale: the \
picture is read in tiles of what the model learned from. Default: as the file says, else the picture is one tile."""


async def asked(work: Work, function: Callable[..., Any], task: str, image: Any, *arguments: Any) -> Any:
    """`function` of src/service/read_picture.py on an uploaded picture. Raises gr.Error with one sentence."""
    if image is None:
        raise refused(NO_PICTURE)
    try:
        return await work.call(function, task, image["path"], *arguments)
    except (ArgumentRefused, ImageRefused, AnswerWithheld, WorkFailed) as refusal:
        raise refused(str(refusal)) from refusal


def endpoint(task: Task, models: Sequence[str], work: Work) -> Callable[..., Awaitable[Answered]]:
    """The function of one task's endpoint and MCP tool, named and described for both."""

    async def answered(image: Any, *arguments: Any) -> Answered:
        result, heatmap = await asked(work, read_picture.answer, task.name, image, *arguments)
        # As a file, not a picture: Gradio would compress it in this process, which takes longer than all the reading.
        return as_json(result), heatmap and save_bytes_to_cache(heatmap, "image.png", get_upload_folder())

    async def read(image: Any, threshold: Any, explain: Any, code: Any = "", model: Any = "") -> Answered:
        return await answered(image, threshold, explain, code, model)

    async def read_at_scale(
        image: Any, threshold: Any, explain: Any, code: Any = "", model: Any = "", mpp: Any = None
    ) -> Answered:
        return await answered(image, threshold, explain, code, model, mpp)

    function = read if task.mpp is None else read_at_scale
    function.__name__, function.__doc__ = task.name, describe(task, models)
    return function


def as_json(result: BaseModel) -> dict[str, Any]:
    """What Gradio's JSON components, clients and MCP get of a result."""
    return result.model_dump(mode="json")


def describe(task: Task, models: Sequence[str]) -> str:
    """The endpoint's docstring, of which the API page and MCP show every line."""
    scale = MPP if task.mpp is not None else ""
    return f"""Reads {task.modality}. Research and education only, not a diagnosis.

    Args:
        image: {PICTURE}
        threshold: 0 to 1; the decision is `refer` where p_malignant reaches it, else `no referral`. Default: the \
model's own.
        explain: What is drawn over the picture: {", ".join(EXPLANATIONS)}.
        code: The class that the heat map argues for: {", ".join(task.codes)}; empty for the most probable one.
        model: The checkpoint that reads: {", ".join(models)}; empty for {models[0]}.{scale}
    Returns:
        result: task, model, revision, p_malignant, threshold, decision, classes, quality, operating_point with 95% \
intervals on the test split or null, disclaimer, explanation, explained_class, heatmap_empty, size, region, \
region_kind, screening (this threshold's costs at home and away, and the thresholds that promise a sensitivity), \
confidence in the most probable class (high, medium or low), the meaning of every class, and gate: whether the picture \
looks like one of this task at all (where accepted is false the answer means little), null where that is not known; \
and parts: of a picture that was read in parts the kind, their count and mean_p_malignant, else null.
        heatmap: The heat map over the picture; null for none.
    """


def robustness_endpoint(work: Work) -> None:
    """`/robustness`: does the decision survive small changes of the picture?"""

    async def robustness(
        task: Any, image: Any, threshold: Any = None, model: Any = "", mpp: Any = None
    ) -> dict[str, Any]:
        if not isinstance(task, str) or task not in TASKS:
            raise refused(f"The task must be one of {', '.join(TASKS)}.")
        return as_json(await asked(work, read_picture.robustness, task, image, threshold, model, True, mpp))

    robustness.__doc__ = f"""Reads a picture and small changes of it. Research and education only, not a diagnosis.

    Args:
        task: {", ".join(TASKS)}.
        image: {PICTURE}
        threshold: 0 to 1, as the task's own endpoint has it. Default: the model's own.
        model: The checkpoint that reads, as the task's own endpoint has it; empty for the task's default.{MPP}
    Returns:
        result: views (name, p_malignant and decision of each), p_malignant of the picture as it is, lowest and \
highest over the views, flipped (how many views are decided otherwise), and borderline: whether they straddle the \
threshold.
    """
    with gr.Column(visible=False):
        task = gr.Radio(list(TASKS), label="task")
        image = gr.Image(type="filepath", label="image")
        threshold = gr.Number(label="threshold")
        model = gr.Textbox("", label="model")
        mpp = gr.Number(None, label="mpp")
        found = gr.JSON(label="result")
    gr.on([], robustness, [task, image, threshold, model, mpp], found, api_name="robustness", **MODEL_WORK)
