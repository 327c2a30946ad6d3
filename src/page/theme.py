"""The page's theme, style sheets and scripts. The style sheets have what a Gradio theme cannot express."""

from pathlib import Path
from typing import Any

import gradio as gr

HERE = Path(__file__).resolve().parent
STYLE_SHEETS = ("tokens.css", "page.css", "task.css", "sections.css", "evidence.css", "batch.css", "slide.css")
SCRIPTS = ("page.js", "batch.js", "slide.js", "link.js")


def launch_options() -> dict[str, Any]:
    """The arguments of `gr.Blocks.launch` for theme, style sheets and scripts."""
    return {
        "theme": theme(),
        "css_paths": [HERE / name for name in STYLE_SHEETS],
        "js": "\n".join((HERE / name).read_text(encoding="utf-8") for name in SCRIPTS),
    }


def theme() -> gr.themes.Base:
    """A calm, clinical theme. It uses fonts of the visitor's own system, so that the page loads none."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.teal,
        secondary_hue=gr.themes.colors.slate,
        neutral_hue=gr.themes.colors.slate,
        radius_size=gr.themes.sizes.radius_md,
        font=["Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif"],
        font_mono=["SFMono-Regular", "Consolas", "Liberation Mono", "monospace"],
    ).set(
        # Darker than Gradio's own colours, for a contrast of at least 4.5.
        body_background_fill="*neutral_50",
        body_text_color_subdued="*neutral_600",
        block_title_text_color="*neutral_700",
        block_label_text_color="*neutral_700",
        block_background_fill="white",
        block_radius="*radius_md",
        color_accent="*primary_700",
        button_secondary_background_fill="white",
        button_secondary_background_fill_hover="*neutral_100",
        button_secondary_background_fill_dark="*neutral_800",
        button_secondary_background_fill_hover_dark="*neutral_700",
        button_secondary_border_color="*neutral_300",
        button_secondary_border_color_dark="*neutral_600",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_800",
        button_primary_text_color="white",
        button_border_width="1px",
    )
