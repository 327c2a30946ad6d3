"""The beginning of docs/HARDENING.md: faults that attackers found after the release, and the day each was mended.

Every kind of fault has its rows in the tables below it. A new fault is added here, with its row.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Fault:
    """`severity` is critical, high, medium or low; `found` and `mended` are days (ISO); `cure` is one sentence."""

    severity: str
    what: str
    found: str
    mended: str
    cure: str


RELEASED: Final = "2026-11-25"
DAY: Final = "2026-11-28"
FAULTS: Final[tuple[Fault, ...]] = (
    Fault(
        "critical",
        "The server downloaded any address that a visitor named as a file in an argument that is no image. Some of the "
        "content could be read back.",
        DAY,
        DAY,
        "Such a body is refused before Gradio receives it, and the process can open no connection to another machine.",
    ),
    Fault(
        "high",
        "A PNG of 13 KB with 160,000 × 28 pixels took 7.2 GB of memory.",
        DAY,
        DAY,
        "The ratio of the sides is limited to 20:1, and the memory of the processes that read images is limited.",
    ),
    Fault(
        "high",
        "One visitor with 58 costly images made the next visitor wait 23 s after thirteen refusals. A crowd on a slow "
        "machine got time-outs.",
        DAY,
        DAY,
        "Visitors are served in turn by their seconds of work. A call that cannot be answered in 20 s is refused, with "
        "the seconds to wait.",
    ),
    Fault(
        "high",
        "Nested lists of 96 KB kept the server from answering anybody for a second. So did the first call of any "
        "function, for 0.3 to 3 s.",
        DAY,
        DAY,
        "Depth and number of values are limited while a body arrives. No library is loaded in a call.",
    ),
    Fault(
        "medium",
        "A visitor's batch deleted an image of the same name and content that another visitor still used.",
        DAY,
        DAY,
        "Only the sweep of old files deletes.",
    ),
    Fault(
        "medium",
        "Every image was refused with status 500 once a cleaner of temporary folders had removed the upload folder; "
        "/healthz still answered ok.",
        DAY,
        DAY,
        "The folder is made again; where that fails, /healthz fails too.",
    ),
    Fault(
        "medium",
        "280 open connections stopped a server that may open 256 files, and wrote 122 MB of log.",
        DAY,
        DAY,
        "Connections and held requests are limited for each visitor and in all, idle ones are closed, and so are the "
        "lines of the log.",
    ),
    Fault(
        "medium",
        "The name of a zip's member became a formula in a spreadsheet that separates cells by semicolons.",
        DAY,
        DAY,
        "Every cell is quoted, and an apostrophe stands wherever a formula could begin after any separator.",
    ),
    Fault(
        "medium",
        "A clinic's table of 100,000 scores kept the server busy for 12 s; `0_1` and fullwidth digits were read as "
        "numbers.",
        DAY,
        DAY,
        "Tables are read by the processes that can be stopped, and only plain decimal numbers are scores.",
    ),
    Fault(
        "low",
        "Settings that cannot be used led to a traceback, to another port or to a server that refused every image.",
        DAY,
        DAY,
        "The start ends with status 2 and one sentence that names the variable.",
    ),
    Fault(
        "low",
        "A page of another site could drive a laptop's server by a name that leads to 127.0.0.1.",
        DAY,
        DAY,
        "Host and Origin are checked against an allow-list, and a request with two lengths is refused.",
    ),
    Fault(
        "low",
        "Moving the threshold's slider used up a visitor's limit on images; gradio_client showed a refusal as "
        "“Queue is full”.",
        DAY,
        DAY,
        "Calls that read no image are limited by the time they take, and a refusal arrives as its sentence.",
    ),
    Fault(
        "low",
        "On a busy machine the start ended with a traceback, since Gradio gives its own page 3 s to answer.",
        DAY,
        DAY,
        "The start waits for no answer of its own page.",
    ),
)


def table() -> list[str]:
    """The lines of the section, as Markdown."""
    lines = [
        "## Found after the release",
        "",
        f"The tables below held on {RELEASED}. An attacker who knew only SECURITY.md and the running app then found "
        "these faults.",
        "",
        "| fault | severity | found | mended | cure |",
        "| --- | --- | --- | --- | --- |",
    ]
    return lines + [
        f"| {fault.what} | {fault.severity} | {fault.found} | {fault.mended} | {fault.cure} |" for fault in FAULTS
    ]
