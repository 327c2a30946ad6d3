"""A result in a few plain sentences, written by a language model elsewhere: optional, and marked as machine-written.

What goes out is written_prompt.txt and `facts`: numbers, and our own texts that they choose. No text of the result
itself does, so neither a picture, a file name nor anything a visitor typed can, and a made-up result buys no other
answer. What comes back is a stranger's text: bounded, cleaned, held to the numbers that were given, and escaped.

The operator may set VIGIL_WRITER_TOKEN (without it a visitor's own token serves), VIGIL_WRITER_PROVIDER (of
huggingface_hub's inference providers; groq is one; default auto, which needs a token of Hugging Face's),
VIGIL_WRITER_MODEL, and VIGIL_WRITER_URL, an OpenAI-compatible server in place of a provider. No visitor chooses where
anything is sent. Nothing of a result, a text or a token is logged or kept. Knows nothing of Gradio, pictures or models.
"""

import json
import logging
import os
import re
import threading
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any, cast

import httpx2
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from limits import parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from pydantic import ValidationError

from src import outgoing
from src.models import hub
from src.models.lesion_finder import NOTHING_FOUND
from src.pictures.quality import FLAWS
from src.results.class_texts import CLASS_TEXTS, URGENCIES, confidence
from src.results.formatting import percent
from src.results.result import OperatingPointResult, Result
from src.results.thresholds import CONFIDENCE, decide
from src.tasks import TASKS, Task

log = logging.getLogger(__name__)

PROMPT = (Path(__file__).parent / "summary_prompt.txt").read_text(encoding="utf-8")

PROVIDER = "auto"  # Hugging Face's own choice among those that serve the model
MODEL = "openai/gpt-oss-120b"  # open weights; Groq and most others of the providers serve it

SECONDS = 20  # for everything, from the call to the last byte
MAX_TOKENS = 1500  # a model that reasons first spends most of them on that
LONGEST = 1600  # characters: 150 words with room to spare
ROUNDING = 1e-3  # of probabilities that are to add up
AT_ONCE = 4  # calls; each mostly waits
BUDGET = parse("60/hour")  # calls on the Space's own token, by all visitors together

NO_TOKEN = "There is no token to ask with; type one of your own."
NOT_A_TOKEN = "This does not look like a token; copy it again, without spaces."
NOT_A_RESULT = "There is no result to explain; read the picture again."
SPENT = "This page's budget for written explanations is used up for now; try again later, or with a token of your own."
BUSY = "Too many explanations are being written just now; try again in a moment."
EMPTY = "The provider sent no text; try again."
OVERLONG = "The provider sent more text than was asked for, so it is not shown; try again."
INVENTED = "The text held a number that Vigil did not give, so it is not shown; try again."
ODD = "The provider answered with something that is no explanation."
LATE = "The provider did not answer in time; try again later."
MISSET = "This page's writer is not set up as it should be."
UNREACHABLE = "The provider cannot be reached; try again later."

# AttributeError: JSON of something other than a chat's answer.
ERRORS = (*hub.ERRORS, AttributeError)


class WriterFailed(RuntimeError):  # noqa: N818 - an answer to the person, as ImageRefused
    """There is no explanation; the message is one sentence for the person and repeats nothing that was sent."""


@dataclass(frozen=True)
class Text:
    """An explanation: plain text of one or more paragraphs, and the `model` and `provider` it is from."""

    text: str
    model: str
    provider: str


def available() -> bool:
    """Whether there is a token of the Space's own to ask with."""
    return bool(_setting("TOKEN"))


def provider() -> str:
    """Who is asked, in a word: the provider's name, or the host of the operator's own server."""
    if _setting("URL"):
        return _host() or "nobody"
    named = _setting("PROVIDER", PROVIDER)
    return "Hugging Face" if named == "auto" else named


def model() -> str:
    """The name of the model that is asked."""
    return _setting("MODEL", MODEL)


def facts(result: object) -> dict[str, Any]:
    """All that is sent of a `result`, JSON-able: its numbers, rounded, and our own texts about what they are of.

    The decision and the confidence are derived anew. Raises WriterFailed for what is no whole result.
    """
    try:
        given = Result.model_validate(result)
    except ValidationError:
        raise WriterFailed(NOT_A_RESULT) from None
    task = given.about_task
    shares = {one.code: one.probability for one in given.classes}
    p = given.p_malignant
    malignant = sum(shares[one.code] for one in task.classes if one.malignant)
    if abs(malignant - p) > ROUNDING or abs(sum(shares.values()) - 1) > ROUNDING:
        raise WriterFailed(NOT_A_RESULT)
    looks_like = TASKS.get(given.gate.looks_like or "") if given.gate else None
    return {
        "picture": task.modality,
        "learned_from": task.data_set,
        "classes": _classes(task, shares),
        "confidence_in_the_first": confidence(max(shares.values())),
        "p_malignant": percent(p),
        "threshold": percent(given.threshold),
        "decision": decide(p, given.threshold),
        "on_test_pictures_at_this_threshold": given.operating_point and _point(given.operating_point),
        "accepted_as_such_a_picture": given.gate.accepted if given.gate else None,
        "looks_more_like": looks_like.modality if looks_like else None,
        "warnings": _warnings(task, given.quality),
    }


def _classes(task: Task, shares: dict[str, float]) -> list[dict[str, Any]]:
    """Most probable first."""
    told = []
    for one in sorted(task.classes, key=lambda diagnosis: -shares[diagnosis.code]):
        text = CLASS_TEXTS[task.name][one.code]
        told.append(
            {
                "name": one.name,
                "malignant": one.malignant,
                "probability": percent(shares[one.code]),
                "urgency_if_it_is_that": URGENCIES[one.urgency][0],
                "plain": text.plain,
                "what": text.what,
                "usual_next_step": text.next_step,
            }
        )
    return told


def _point(point: OperatingPointResult) -> dict[str, Any]:
    told: dict[str, Any] = {"intervals": percent(CONFIDENCE)}
    for name in ("sensitivity", "specificity"):
        share, ends = getattr(point, name), getattr(point, f"{name}_interval")
        told[name] = None if share is None else {"value": percent(share), "interval": [percent(end) for end in ends]}
    return told


def _warnings(task: Task, sentences: Sequence[str]) -> list[str]:
    """Those that `sentences` begin with, of our own."""
    ours = [*(flaw.sentence(task) for flaw in FLAWS if flaw.applies(task)), NOTHING_FOUND]
    return [one for one in ours if any(sentence.startswith(one) for sentence in sentences)]


def explain(result: object, token: object = None) -> Text:
    """Have the model explain the API's `result`, with a visitor's `token` or else the Space's own.

    `result` and `token` may be whatever a browser sent. Takes at most SECONDS. Raises WriterFailed.
    """
    told = json.dumps(facts(result), ensure_ascii=False)
    own = token is None or token == ""
    key = _setting("TOKEN") if own else token
    if own and not key:
        raise WriterFailed(NO_TOKEN)
    if not isinstance(key, str) or not re.fullmatch(r"[!-~]{1,500}", key):  # else it ends up in an error's text
        raise WriterFailed(NOT_A_TOKEN)
    try:
        _start(own)
        said = hub.within(SECONDS, lambda: _ask(told, key))
    except ERRORS as error:
        # Its kind alone: the text of an error may hold what was sent.
        log.warning("No explanation from %s: %s", provider(), type(error).__name__)
        raise WriterFailed(_why(error)) from None
    return Text(_held_to(told, said), model(), provider())


def _ask(told: str, token: str) -> str:
    """The provider's answer as it came; raises ERRORS, WriterFailed among them. Ends what `_start` began."""
    try:
        with outgoing.permitted():
            answer = _client(token).chat_completion(
                [{"role": "system", "content": PROMPT}, {"role": "user", "content": told}],
                model=model(),
                max_tokens=MAX_TOKENS,
                temperature=0.2,
            )
        choice = answer.choices[0]
        if choice.finish_reason == "length":
            raise WriterFailed(OVERLONG)
        content = choice.message.content
        if content is not None and not isinstance(content, str):
            raise WriterFailed(ODD)
        return content or ""
    finally:
        concurrent_calls.release()


def _client(token: str) -> InferenceClient:
    url = _setting("URL")
    if not url:
        # Any name: the library knows its providers, and says so where it has none of that name.
        return InferenceClient(provider=cast(Any, _setting("PROVIDER", PROVIDER)), token=token, timeout=SECONDS)
    if not _host():
        raise WriterFailed(MISSET)  # the library would take it for a model's name and ask Hugging Face
    return InferenceClient(base_url=url, token=token, timeout=SECONDS)


def _held_to(told: str, said: str) -> str:
    """What was `said`, cleaned, where it is an explanation of what was `told`; raises WriterFailed where it is not."""
    if len(said) > 4 * LONGEST:  # before any work on it
        raise WriterFailed(OVERLONG)
    text = plain(said)
    if not text:
        raise WriterFailed(EMPTY)
    if len(text) > LONGEST:
        raise WriterFailed(OVERLONG)
    given = set(_numbers(told))
    # 12.3% may be called 12%, but what is not certain neither 0% nor 100%.
    given |= {number.to_integral_value(ROUND_HALF_UP) for number in given if Decimal("0.5") <= number < Decimal("99.5")}
    if not given.issuperset(_numbers(text)):
        raise WriterFailed(INVENTED)
    return text


def plain(text: str) -> str:
    """`text` as paragraphs of visible characters: no control, direction or private ones, and one space at a time."""
    lines = ("".join(" " if unicodedata.category(c)[0] == "C" else c for c in line) for line in text.splitlines())
    return "\n\n".join(line for line in (" ".join(line.split()) for line in lines) if line)


def _numbers(text: str) -> Iterator[Decimal]:
    without_separators = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    return map(Decimal, re.findall(r"\d+(?:\.\d+)?", without_separators))


def _why(error: BaseException) -> str:
    """One sentence for the person about one of ERRORS."""
    match error:
        case WriterFailed():
            return str(error)
        case HfHubHTTPError() if error.response.status_code in (401, 403):
            return "The provider refuses this token."
        case HfHubHTTPError() if error.response.status_code == httpx2.codes.TOO_MANY_REQUESTS:
            return "The provider is asked too often with this token; try again later."
        case HfHubHTTPError() if error.response.status_code == httpx2.codes.PAYMENT_REQUIRED:
            return "The provider wants to be paid before it writes more with this token."
        case HfHubHTTPError() if error.response.status_code >= httpx2.codes.INTERNAL_SERVER_ERROR:
            return f"The provider is out of order ({error.response.status_code}); try again later."
        case HfHubHTTPError():
            return f"The provider does not take the question ({error.response.status_code})."
        case TimeoutError() | httpx2.TimeoutException():
            return LATE
        case httpx2.TransportError() | ConnectionError():
            return UNREACHABLE
        case httpx2.InvalidURL():
            return MISSET
        case json.JSONDecodeError() | UnicodeDecodeError():
            return ODD
        case ValueError() if not _setting("URL"):
            return f"{provider()} cannot be asked for {model()} with this token."
    return ODD


concurrent_calls = threading.BoundedSemaphore(AT_ONCE)
budget_limiter = MovingWindowRateLimiter(MemoryStorage())


def _start(own: bool) -> None:
    """Take one of AT_ONCE places, and one off the Space's budget where it is its `own` token; raises WriterFailed where
    there is none. `_ask` gives the place back once it is through, which may be after it was given up on.
    """
    if not concurrent_calls.acquire(blocking=False):
        raise WriterFailed(BUSY)
    if own and not budget_limiter.hit(BUDGET):
        concurrent_calls.release()
        raise WriterFailed(SPENT)


def _host() -> str:
    """Of VIGIL_WRITER_URL; empty where it is no address."""
    address = re.match(r"https?://([^/\s@]+)(/|$)", _setting("URL"))
    return address[1] if address else ""


def _setting(name: str, default: str = "") -> str:
    return os.environ.get(f"VIGIL_WRITER_{name}", "").strip() or default
