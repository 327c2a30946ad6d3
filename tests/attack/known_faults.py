"""The first section of docs/HARDENING.md: faults that attackers found after the release, with the day of each repair.

Each kind of fault also has attacks in the tables below. A new fault is added here, together with its attack.
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
        "If a visitor named an address as a file, in an argument that is not an image, the server downloaded it. The "
        "visitor could read some of the content.",
        DAY,
        DAY,
        "Such a body is refused before Gradio receives it. The process cannot connect to other machines.",
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
        "Visitors are served in turn by their seconds of work. A call that cannot start in 20 s is refused, with "
        "the seconds to wait.",
    ),
    Fault(
        "high",
        "Nested lists of 96 KB blocked the server for all visitors for a second. So did the first call of any "
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
        "The folder is created again. If that fails, /healthz fails, too.",
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
        "The name of a file in a zip became a formula in a spreadsheet that separates cells by semicolons.",
        DAY,
        DAY,
        "Every cell is quoted, and an apostrophe comes before each place where a formula could begin.",
    ),
    Fault(
        "medium",
        "A clinic's table of 100,000 scores kept the server busy for 12 s; `0_1` and fullwidth digits were read as "
        "numbers.",
        DAY,
        DAY,
        "Tables are parsed in processes that can be stopped, and only plain decimal numbers count as scores.",
    ),
    Fault(
        "low",
        "Invalid settings led to a traceback, to another port, or to a server that refused every image.",
        DAY,
        DAY,
        "The app does not start: it exits with status 2 and one sentence that names the variable.",
    ),
    Fault(
        "low",
        "A page of another site could control a server on a laptop through a name that resolves to 127.0.0.1.",
        DAY,
        DAY,
        "Host and Origin are checked against a list of allowed names. A request with two lengths is refused.",
    ),
    Fault(
        "low",
        "Moving the threshold's slider used up a visitor's limit on images; gradio_client showed a refusal as "
        "“Queue is full”.",
        DAY,
        DAY,
        "Calls that read no image are limited by their time, and the client gets the sentence of a refusal.",
    ),
    Fault(
        "low",
        "On a busy machine the start ended with a traceback, since Gradio gives its own page 3 s to answer.",
        DAY,
        DAY,
        "The start no longer waits for an answer of its own page.",
    ),
    Fault(
        "medium",
        "A HEIC, JPEG or other file without a checksum, damaged in its middle, got a score (third attack).",
        DAY,
        DAY,
        "No decoder reports it. SECURITY.md no longer promises that all damage is noticed.",
    ),
    Fault(
        "low",
        "A report on an image that the gate rejects failed without a reason; numbers past JSON's limit failed so, too.",
        DAY,
        DAY,
        "Every refusal reaches the visitor, and numbers that a browser sends back are limited.",
    ),
    Fault(
        "low",
        "In a table that is separated by spaces or colons, the name of a file could begin a formula.",
        DAY,
        DAY,
        "An apostrophe stands before it.",
    ),
    Fault(
        "low",
        "The log quoted malformed requests over MCP.",
        DAY,
        DAY,
        "The log says only where such a request was refused.",
    ),
    Fault(
        "low",
        "A cache in front of the page could keep a visitor's image beyond the hour.",
        DAY,
        DAY,
        "Files and the page are sent with Cache-Control: no-store.",
    ),
    Fault(
        "low",
        "On a busy machine the start said that the port is in use, since Gradio gives its server 5 s.",
        DAY,
        DAY,
        "The start waits until the server serves or ends.",
    ),
    Fault(
        "medium",
        "A strip or tile of a TIFF could state 65,535 × 65,535 pixels of its own, and the decoder allocated them. On "
        "the page the memory limit stopped it; the commands had no such limit. A guided fuzzer found it.",
        "2026-11-29",
        "2026-11-29",
        "The size that a strip or tile states is compared with the page's before it is decoded.",
    ),
    Fault(
        "medium",
        "Bodies of calls had no common limit: 160 of 12 MB, sent without their last byte, took 1.9 GB of memory.",
        "2026-11-29",
        "2026-11-29",
        "The bodies of all open calls share a limit, and a visitor's share is a quarter.",
    ),
    Fault(
        "low",
        "Twenty requests for the page at once delayed another visitor's answers by seconds on a busy machine.",
        "2026-11-29",
        "2026-11-29",
        "The page is written for one request at a time, and visitors take turns.",
    ),
    Fault(
        "low",
        "A call of a function that does not exist got status 500. Half a surrogate pair in an MCP request got an empty "
        "answer.",
        "2026-11-29",
        "2026-11-29",
        "Both are refused with status 400 and a sentence.",
    ),
    Fault(
        "high",
        "A PNG whose last rows or passes were missing, a TIFF whose JPEG strips or tiles were cut off, and a JPEG 2000 "
        "file without one of its tiles got a score (fifth attack).",
        "2026-11-29",
        "2026-11-29",
        "The rows, passes, strips and tiles are counted, and JPEG strips are checked as JPEG files are.",
    ),
    Fault(
        "low",
        "A BMP whose run-length encoded rows end early, and pixels with a colour that the palette lacks, got a score.",
        "2026-11-29",
        "2026-11-29",
        "Both are refused.",
    ),
    Fault(
        "low",
        "A visitor who uploads much shortened the time that other visitors' images were kept.",
        "2026-11-29",
        "2026-11-29",
        "A full folder loses the files of the visitor who has uploaded the most.",
    ),
    Fault(
        "low",
        "Warnings of the decoders reached the log.",
        "2026-11-29",
        "2026-11-29",
        "They are dropped, because they may quote a file.",
    ),
    Fault(
        "low",
        "A clinic's table that is empty or no text was refused for a missing column.",
        "2026-11-29",
        "2026-11-29",
        "The refusal gives the true reason.",
    ),
)


def table() -> list[str]:
    """The lines of the section, as Markdown."""
    lines = [
        "## Found after the release",
        "",
        f"The tables below held on {RELEASED}. Attackers who knew only SECURITY.md and the running app then found "
        "these faults.",
        "",
        "| fault | severity | found | mended | cure |",
        "| --- | --- | --- | --- | --- |",
    ]
    return lines + [
        f"| {fault.what} | {fault.severity} | {fault.found} | {fault.mended} | {fault.cure} |" for fault in FAULTS
    ]
