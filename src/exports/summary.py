"""Has a language model of another provider explain a result in a few plain sentences.

We send summary_prompt.txt and `facts`, which are numbers and our own texts about them. We send no text of the result
itself, so no image, no file name and nothing that a visitor typed can be sent. The answer comes from a stranger: its
length is limited, it is cleaned, and it is rejected if it contains a number that we did not send. The page escapes it.

The operator may set VIGIL_WRITER_TOKEN (else visitors need their own token), VIGIL_WRITER_PROVIDER (one of
huggingface_hub's inference providers, such as groq; the default "auto" needs a token of Hugging Face),
VIGIL_WRITER_MODEL, and VIGIL_WRITER_URL (an OpenAI-compatible server in place of a provider). Visitors cannot choose
where anything is sent. No result, text or token is logged or kept. Knows nothing of Gradio, pixels or models.
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
from src.models.prediction import NOTHING_FOUND
from src.pictures.flaws import FLAWS
from src.results.class_texts import CLASS_TEXTS, URGENCIES, confidence
from src.results.formatting import percent
from src.results.result import OperatingPointResult, Result
from src.results.thresholds import CONFIDENCE, decide
from src.tasks import TASKS, Task

log = logging.getLogger(__name__)

PROMPT = (Path(__file__).parent / "summary_prompt.txt").read_text(encoding="utf-8")

PROVIDER = "auto"
"""Hugging Face chooses among the providers that serve the model."""
MODEL = "openai/gpt-oss-120b"
"""A model with open weights, which Groq and most other providers serve."""

SECONDS = 20
"""The longest time from the call to the last byte of the answer."""
MAX_TOKENS = 1500
"""The most tokens of an answer. A model that reasons first spends most of them on its reasoning."""
MAX_LENGTH = 1600
"""The most characters of an explanation. The prompt asks for 150 words, which need fewer."""
ROUNDING = 1e-3
"""How far sums of probabilities may be off."""
AT_ONCE = 4
"""The number of calls at a time. A call mostly waits for the provider."""
BUDGET = parse("60/hour")
"""The number of calls by all visitors together with the Space's own token."""

NO_TOKEN = "An explanation needs a token; enter your own."
NOT_A_TOKEN = "This does not look like a token; copy it again, without spaces."
NOT_A_RESULT = "There is no result to explain; read the image again."
BUDGET_USED = "This page's budget for explanations is used up for now; try again later, or enter your own token."
BUSY = "Too many explanations are being written just now; try again in a moment."
EMPTY = "The provider sent no text; try again."
TOO_LONG = "The provider sent a text that is too long, so it is not shown; try again."
INVENTED = "The text contains a number that Vigil did not compute, so it is not shown; try again."
NOT_AN_EXPLANATION = "The provider's answer is not an explanation."
LATE = "The provider did not answer in time; try again later."
MISCONFIGURED = "The written explanation is not configured correctly on this server."
UNREACHABLE = "The provider cannot be reached; try again later."

# An AttributeError means that the answer is JSON, but not that of a chat.
ERRORS = (*hub.ERRORS, AttributeError)


class WriterFailed(RuntimeError):  # noqa: N818 - an answer to the person, as ImageRefused
    """There is no explanation; the message is one sentence for the visitor and quotes nothing that was sent."""


@dataclass(frozen=True)
class Text:
    """An explanation: plain text of one or more paragraphs, and the `model` and `provider` that wrote it."""

    text: str
    model: str
    provider: str


def available() -> bool:
    """Whether the Space has its own token."""
    return bool(_setting("TOKEN"))


def provider() -> str:
    """The name of the provider, or the host of the operator's own server."""
    if _setting("URL"):
        return _host() or "nobody"
    named = _setting("PROVIDER", PROVIDER)
    return "Hugging Face" if named == "auto" else named


def model() -> str:
    """The name of the language model."""
    return _setting("MODEL", MODEL)


def facts(result: object) -> dict[str, Any]:
    """Everything that is sent about a `result`, as JSON: its rounded numbers, and our own texts about the classes.

    The decision and the confidence are computed again. Raises WriterFailed for anything that is not a valid result.
    """
    try:
        checked = Result.model_validate(result)
    except ValidationError:
        raise WriterFailed(NOT_A_RESULT) from None
    task = checked.about_task
    shares = {one.code: one.probability for one in checked.classes}
    p = checked.p_malignant
    malignant = sum(shares[one.code] for one in task.classes if one.malignant)
    if abs(malignant - p) > ROUNDING or abs(sum(shares.values()) - 1) > ROUNDING:
        raise WriterFailed(NOT_A_RESULT)
    looks_like = TASKS.get(checked.gate.looks_like or "") if checked.gate else None
    return {
        "image": task.modality,
        "learned_from": task.data_set,
        "classes": _classes(task, shares),
        "confidence_in_the_most_probable_class": confidence(max(shares.values())),
        "p_malignant": percent(p),
        "threshold": percent(checked.threshold),
        "decision": decide(p, checked.threshold),
        "on_test_images_at_this_threshold": checked.operating_point and _point(checked.operating_point),
        "accepted_as_such_an_image": checked.gate.accepted if checked.gate else None,
        "looks_more_like": looks_like.modality if looks_like else None,
        "warnings": _warnings(task, checked.quality),
    }


def _classes(task: Task, shares: dict[str, float]) -> list[dict[str, Any]]:
    """The facts about each class, the most probable first."""
    classes = []
    for one in sorted(task.classes, key=lambda diagnosis: -shares[diagnosis.code]):
        text = CLASS_TEXTS[task.name][one.code]
        classes.append(
            {
                "name": one.name,
                "malignant": one.malignant,
                "probability": percent(shares[one.code]),
                "urgency_of_such_a_finding": URGENCIES[one.urgency][0],
                "plain": text.plain,
                "what": text.what,
                "usual_next_step": text.next_step,
            }
        )
    return classes


def _point(point: OperatingPointResult) -> dict[str, Any]:
    facts: dict[str, Any] = {"intervals": percent(CONFIDENCE)}
    for name in ("sensitivity", "specificity"):
        share, ends = getattr(point, name), getattr(point, f"{name}_interval")
        facts[name] = None if share is None else {"value": percent(share), "interval": [percent(end) for end in ends]}
    return facts


def _warnings(task: Task, sentences: Sequence[str]) -> list[str]:
    """Our own warnings that begin one of `sentences`."""
    own_warnings = [*(flaw.sentence(task) for flaw in FLAWS if flaw.applies(task)), NOTHING_FOUND]
    return [own for own in own_warnings if any(sentence.startswith(own) for sentence in sentences)]


def explain(result: object, token: object = None) -> Text:
    """Have the language model explain the API's `result`, with a visitor's `token` or else the Space's own.

    `result` and `token` may be anything that a browser sent. Takes at most SECONDS. Raises WriterFailed.
    """
    message = json.dumps(facts(result), ensure_ascii=False)
    uses_own_token = token is None or token == ""
    key = _setting("TOKEN") if uses_own_token else token
    if uses_own_token and not key:
        raise WriterFailed(NO_TOKEN)
    if not isinstance(key, str) or not re.fullmatch(r"[!-~]{1,500}", key):  # else an error's text would contain it
        raise WriterFailed(NOT_A_TOKEN)
    try:
        _reserve_call(uses_own_token)
        answer = hub.within(SECONDS, lambda: _ask(message, key))
    except ERRORS as error:
        # Only the type is logged, because the text of an error may quote what was sent.
        log.warning("No explanation from %s: %s", provider(), type(error).__name__)
        raise WriterFailed(_why(error)) from None
    return Text(_checked(answer, message), model(), provider())


def _ask(message: str, token: str) -> str:
    """The unchecked text of the provider's answer. Raises ERRORS, such as WriterFailed. Releases `_reserve_call`."""
    try:
        with outgoing.permitted():
            answer = _client(token).chat_completion(
                [{"role": "system", "content": PROMPT}, {"role": "user", "content": message}],
                model=model(),
                max_tokens=MAX_TOKENS,
                temperature=0.2,
            )
        choice = answer.choices[0]
        if choice.finish_reason == "length":
            raise WriterFailed(TOO_LONG)
        content = choice.message.content
        if content is not None and not isinstance(content, str):
            raise WriterFailed(NOT_AN_EXPLANATION)
        return content or ""
    finally:
        concurrent_calls.release()


def _client(token: str) -> InferenceClient:
    url = _setting("URL")
    if not url:
        # Any name is passed on, because the library raises an error for a provider that it does not know.
        return InferenceClient(provider=cast(Any, _setting("PROVIDER", PROVIDER)), token=token, timeout=SECONDS)
    if not _host():
        raise WriterFailed(MISCONFIGURED)  # the library would read it as a model's name and call Hugging Face
    return InferenceClient(base_url=url, token=token, timeout=SECONDS)


def _checked(answer: str, message: str) -> str:
    """The cleaned answer. Raises WriterFailed if it is empty, too long, or has a number that `message` has not."""
    if len(answer) > 4 * MAX_LENGTH:  # it is not worth cleaning
        raise WriterFailed(TOO_LONG)
    text = plain(answer)
    if not text:
        raise WriterFailed(EMPTY)
    if len(text) > MAX_LENGTH:
        raise WriterFailed(TOO_LONG)
    known = set(_numbers(message))
    # The text may round 12.3% to 12%. It may not round to 0% or 100%, because nothing is certain.
    known |= {each.to_integral_value(ROUND_HALF_UP) for each in known if Decimal("0.5") <= each < Decimal("99.5")}
    if not known.issuperset(_numbers(text)):
        raise WriterFailed(INVENTED)
    return text


def plain(text: str) -> str:
    """`text` as paragraphs of visible characters, with single spaces and without control or private characters."""
    lines = ("".join(" " if unicodedata.category(c)[0] == "C" else c for c in line) for line in text.splitlines())
    return "\n\n".join(line for line in (" ".join(line.split()) for line in lines) if line)


def _numbers(text: str) -> Iterator[Decimal]:
    without_separators = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    return map(Decimal, re.findall(r"\d+(?:\.\d+)?", without_separators))


def _why(error: BaseException) -> str:
    """One sentence for the visitor about one of ERRORS."""
    match error:
        case WriterFailed():
            return str(error)
        case HfHubHTTPError() if error.response.status_code in (401, 403):
            return "The provider rejects this token."
        case HfHubHTTPError() if error.response.status_code == httpx2.codes.TOO_MANY_REQUESTS:
            return "The provider had too many requests with this token; try again later."
        case HfHubHTTPError() if error.response.status_code == httpx2.codes.PAYMENT_REQUIRED:
            return "The provider demands a payment for further requests with this token."
        case HfHubHTTPError() if error.response.status_code >= httpx2.codes.INTERNAL_SERVER_ERROR:
            return f"The provider has a fault ({error.response.status_code}); try again later."
        case HfHubHTTPError():
            return f"The provider rejects the request ({error.response.status_code})."
        case TimeoutError() | httpx2.TimeoutException():
            return LATE
        case httpx2.TransportError() | ConnectionError():
            return UNREACHABLE
        case httpx2.InvalidURL():
            return MISCONFIGURED
        case json.JSONDecodeError() | UnicodeDecodeError():
            return NOT_AN_EXPLANATION
        case ValueError() if not _setting("URL"):
            return f"{provider()} does not serve {model()} with this token."
    return NOT_AN_EXPLANATION


concurrent_calls = threading.BoundedSemaphore(AT_ONCE)
budget_limiter = MovingWindowRateLimiter(MemoryStorage())


def _reserve_call(uses_own_token: bool) -> None:
    """Reserve one of AT_ONCE calls, and take one from the budget if it uses the Space's own token.

    `_ask` releases the reservation when it ends, which may be after its time limit. Raises WriterFailed if there is no
    free call or no budget.
    """
    if not concurrent_calls.acquire(blocking=False):
        raise WriterFailed(BUSY)
    if uses_own_token and not budget_limiter.hit(BUDGET):
        concurrent_calls.release()
        raise WriterFailed(BUDGET_USED)


def _host() -> str:
    """The host of VIGIL_WRITER_URL; empty if that is not an address."""
    address = re.match(r"https?://([^/\s@]+)(/|$)", _setting("URL"))
    return address[1] if address else ""


def _setting(name: str, default: str = "") -> str:
    return os.environ.get(f"VIGIL_WRITER_{name}", "").strip() or default
