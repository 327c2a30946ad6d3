"""The written explanation on a task's tab: a token of the visitor's own, a button, and the text."""

from typing import Any

import gradio as gr

from src.exports import summary
from src.page.blocks import html
from src.page.views import written_summary


def written_part(result: gr.JSON) -> None:
    """Explains what `result` holds, on request; a text goes as soon as `result` changes."""

    def write(result: Any, token: Any) -> str:
        try:
            return written_summary.summary(summary.explain(result, token))
        except summary.WriterFailed as failure:
            return written_summary.failure(str(failure))

    receiver, own = summary.provider(), summary.available()
    # The style sheet takes the button away for as long as there is no token to ask with.
    kind = "" if own else "v-needs-token"
    with gr.Accordion("In plain words, written by a machine", open=False, elem_classes=["v-writing", kind]):
        html(written_summary.introduction(receiver))
        token = gr.Textbox(
            label=f"Your own token for {receiver}" + (" (optional)" if own else ""),
            placeholder="paste it here",
            info="The token is used for this request only. It is neither kept nor logged.",
            type="password",
            max_length=500,
            html_attributes=gr.InputHTMLAttributes(autocomplete="off", spellcheck=False),
        )
        button = gr.Button("Explain in plain words", size="sm", elem_classes="v-ask")
        text = html("")
    writing = button.click(
        write,
        [result, token],
        text,
        api_visibility="private",
        concurrency_id="written",
        concurrency_limit=summary.AT_ONCE,
        preprocess=False,
        trigger_mode="once",
        show_progress_on=[text],
    )
    result.change(None, None, text, js="() => ''", cancels=[writing], api_visibility="private")
