"""The tab "Whole slide": a viewer of the offered slides with their scores, hot spots, and the tile under a click.

Where the operator allows it, a visitor adds a slide, which is scored and then shown like the others.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import gradio as gr

from src.page.blocks import html, refused
from src.page.endpoints import MODEL_EVENT, as_json
from src.page.translation import gettext as _
from src.page.translation import marked
from src.page.views import slide_report
from src.pictures.picture import ImageRefused
from src.service import read_slide, score_slide
from src.service.worker_pool import WorkerPool, WorkFailed
from src.slides.library import Offered

NO_SLIDE: Final = marked("There is no such slide; open the page again.")
NO_POINT: Final = marked("Click on the slide first.")


def slide_tab(pool: WorkerPool, slides: Mapping[str, Offered], tab: gr.Tab, limit: int) -> None:
    """Draw the tab inside the current gr.Blocks.

    `slides`: the offered slides by their ids, to which uploads are added. `limit`: bytes of a slide that a visitor may
    upload; 0 if none may.
    """

    def offered(chosen: Any) -> Offered:
        if not isinstance(chosen, str) or chosen not in slides:
            raise refused(NO_SLIDE)
        return slides[chosen]

    async def read(chosen: Any) -> tuple[dict[str, Any] | None, str, str]:
        slide = offered(chosen)
        try:
            viewed = await pool.call(read_slide.view, str(slide.file), str(slide.scores))
        except (ImageRefused, WorkFailed) as refusal:
            return None, slide_report.problem(str(refusal)), ""
        return as_json(viewed), slide_report.report(viewed), ""

    async def read_tile(chosen: Any, point: Any) -> str:
        slide = offered(chosen)
        x, y = _numbers(point)
        try:
            found = await pool.call(read_slide.tile_at, str(slide.file), x, y)
        except (ImageRefused, WorkFailed) as refusal:
            return slide_report.problem(str(refusal))
        return slide_report.tile(found)

    async def score(sent: Any, mine: Any) -> AsyncIterator[tuple[Any, str, str]]:
        slide = offered(sent)
        if not slide.uploaded:
            raise refused(NO_SLIDE)
        try:
            # A slide that cannot be shown is refused before it is scored.
            await pool.call(read_slide.view, str(slide.file), str(slide.scores))
            async for percent in score_slide.score(slide.file, slide.scores):
                yield gr.skip(), slide_report.progress(percent), gr.skip()
        except (ImageRefused, WorkFailed) as refusal:
            yield gr.skip(), slide_report.problem(str(refusal)), gr.skip()
            return
        own = [key for key in (*str(mine or "").split(","), sent) if key in slides and slides[key].uploaded]
        shared = [(one.name, key) for key, one in slides.items() if not one.uploaded]
        choices = [*shared, *((slides[key].name, key) for key in own)]
        yield gr.update(choices=choices, value=sent), "", ",".join(own)

    html(slide_report.intro())
    if limit:
        html(slide_report.upload(limit))
        progress, mine = html(""), gr.Textbox("", visible="hidden")
        sent = gr.Textbox("", visible="hidden")
        ask_score = gr.Button(_("Read this slide"), visible="hidden", elem_id="slide-score")
    chosen = gr.Dropdown(
        [(one.name, key) for key, one in slides.items() if not one.uploaded],
        value=next(iter(slides)),
        label=_("Slide"),
        filterable=False,
    )
    with gr.Row():
        with gr.Column(scale=3):
            html(slide_report.viewer())
            with gr.Row():
                opacity = gr.Slider(0, 1, 0.6, step=0.05, label=_("Opacity of the scores"))
                threshold = gr.Slider(0, 1, 0.3, step=0.01, label=_("Show scores from"))
        with gr.Column(scale=2):
            tile = html("")
            shown = html("")
    viewed = gr.JSON(visible="hidden")
    point = gr.Textbox("", visible="hidden", elem_id="slide-point")
    ask = gr.Button(_("Read this tile"), visible="hidden", elem_id="slide-ask")
    shown_by = [tab.select, chosen.input]
    if limit:
        scored = ask_score.click(
            score,
            [sent, mine],
            [chosen, progress, mine],
            js="(_, mine) => [vigil.slide.sent(), mine]",
            api_visibility="private",
            show_progress="hidden",
            **MODEL_EVENT,
        )
        shown_by.append(scored.then)
    for event in shown_by:
        event(
            read, chosen, [viewed, shown, tile], api_visibility="private", show_progress_on=shown, **MODEL_EVENT
        ).then(
            None,
            [viewed, chosen, opacity],
            threshold,
            js="(viewed, id, opacity) => vigil.slide.open(viewed, id, opacity)",
            api_visibility="private",
        )
    opacity.change(None, opacity, None, js="(value) => vigil.slide.fade(value)", api_visibility="private")
    threshold.change(None, threshold, None, js="(value) => vigil.slide.cut(value)", api_visibility="private")
    ask.click(
        read_tile,
        [chosen, point],
        tile,
        js="(id) => [id, vigil.slide.point()]",
        api_visibility="private",
        show_progress_on=tile,
        **MODEL_EVENT,
    )


def _numbers(point: Any) -> tuple[float, float]:
    """A point "x,y" in pixels of level 0. Raises gr.Error for anything else."""
    try:
        x, y = (float(number) for number in point.split(","))
    except (ValueError, AttributeError) as error:
        raise refused(NO_POINT) from error
    return x, y
