"""The written explanation on a task's tab: a field for the visitor's own token, a button, and the text."""

from typing import Any

import gradio as gr

from src.exports import summary
from src.page.blocks import html
from src.page.translation import gettext as _
from src.page.views import written_summary


def written_part(result: gr.JSON, elem_id: str) -> gr.Accordion:
    """Draw the section `elem_id` that explains `result` on request. The text disappears when `result` changes."""

    def write(result: Any, token: Any) -> str:
        try:
            return written_summary.summary(summary.explain(result, token))
        except summary.WriterFailed as failure:
            return written_summary.failure(str(failure))

    receiver, has_own_token = summary.provider(), summary.available()
    # The style sheet hides the button while there is no token.
    css_class = "" if has_own_token else "v-needs-token"
    with gr.Accordion(
        _("In plain words, written by a machine"), open=False, elem_id=elem_id, elem_classes=["v-section", css_class]
    ) as section:
        html(written_summary.introduction(receiver))
        token = gr.Textbox(
            label=_("Your own token for %(receiver)s (optional)", receiver=receiver)
            if has_own_token
            else _("Your own token for %(receiver)s", receiver=receiver),
            placeholder=_("paste it here"),
            info=_("The token is used for this request only. It is neither kept nor logged."),
            type="password",
            max_length=500,
            html_attributes=gr.InputHTMLAttributes(autocomplete="off", spellcheck=False),
        )
        button = gr.Button(_("Explain in plain words"), size="sm", elem_classes="v-explain-button")
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
    return section
