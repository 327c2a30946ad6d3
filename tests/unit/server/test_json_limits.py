"""Depth and number of values of a JSON body (src/server/json_limits.py), counted before it is parsed."""

import json
import random
import time

import httpx
import pytest

from src.server.bodies import Bodies
from src.server.json_limits import DEPTH, NOT_JSON, TOO_DEEP, TOO_MANY_VALUES, VALUES, JsonLimits
from src.server.refusal import Refusal
from tests.support.asgi import Took, serving


def refused(body: bytes, cut: int = 0) -> Refusal | None:
    """What comes of a body in pieces of `cut` bytes, or in one."""
    limits = JsonLimits()
    pieces = [body[at : at + cut] for at in range(0, len(body), cut)] if cut else [body]
    return next(filter(None, map(limits.feed, pieces)), None)


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


@pytest.mark.parametrize("cut", [0, 1, 2, 3, 7])
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (nested(DEPTH), None),
        (nested(DEPTH + 1), TOO_DEEP),
        (b'{"a":' * (DEPTH + 1), TOO_DEEP),
        (b'[{"a":' * (DEPTH // 2) + b"[", TOO_DEEP),
        (nested(DEPTH)[:-1] + b"," + nested(DEPTH - 1) + b"]", None),
        # Brackets in texts are none, however the texts end
        (json.dumps(["[" * 99, '"' + "[" * 99, '\\"' + "{" * 99, "\\" * 7, "[" * 99]).encode(), None),
        (json.dumps(["\\", [[]]]).encode(), None),
        (b'["a\\\\", ' + nested(DEPTH) + b"]", TOO_DEEP),
        (b'["a\\"' + nested(DEPTH) + b'"]', None),
        (b'["\xc3\xa9", ' + nested(DEPTH) + b"]", TOO_DEEP),
        (b"]" * 9, NOT_JSON),
        (b'["a\\', None),
    ],
)
def test_depth(body: bytes, expected: Refusal | None, cut: int) -> None:
    assert refused(body, cut) is expected


@pytest.mark.parametrize("cut", [0, 4096])
def test_number_of_values(cut: int) -> None:
    for one in (b"0", b"[]", b"{}", b'""', b'{"a":1}', b'[""]'):
        most = VALUES // (1 + (b"[" in one or b"{" in one)) - 1
        assert refused(b"[" + b",".join([one] * most) + b"]", cut) is None, one
        assert refused(b"[" + b",".join([one] * (VALUES + 1)) + b"]", cut) is TOO_MANY_VALUES, one
    assert refused(b'""' * (2 * VALUES + 1), cut) is TOO_MANY_VALUES
    assert refused(json.dumps("," * 10**6 + "[" * 10**6).encode(), cut) is None, "a text is one value"


def test_other_encodings_of_json_are_refused() -> None:
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"):
        body = nested(1000).decode().encode(encoding)
        assert json.detect_encoding(body) != "utf-8"
        assert refused(body) is NOT_JSON


def depth_of(value: object) -> int:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inside is None else 1 + max(map(depth_of, inside), default=0)


def test_it_counts_as_the_parser_does() -> None:
    rng = random.Random(5)

    def made(left: int) -> object:
        kind = rng.randrange(4) if left else 3
        if kind == 0:
            return [made(left - 1) for _ in range(rng.randrange(1, 3))]
        if kind == 1:
            return {rng.choice('[]{},"\\') * rng.randrange(4): made(left - 1) for _ in range(rng.randrange(1, 3))}
        if kind == 2:
            return [made(left - 1)]
        return "".join(rng.choices('[]{}",\\aé\n', k=rng.randrange(9)))

    seen = set()
    for _ in range(3000):
        value = made(rng.randrange(DEPTH - 3, DEPTH + 12))
        deep = depth_of(value) > DEPTH
        seen.add(deep)
        body = json.dumps(value, ensure_ascii=rng.random() < 0.5).encode()
        if len(body) < 100_000:
            found = refused(body, rng.randrange(1, 50))
            assert found is TOO_MANY_VALUES or (found is TOO_DEEP) == deep
    assert seen == {True, False}


def test_what_it_costs_grows_with_the_length_alone() -> None:
    def seconds(body: bytes) -> float:
        began = time.process_time()
        refused(body, 2**16)
        return time.process_time() - began

    for worst in (b'\\"', b"\\\\", b"x", b'"' + b"x" * 999 + b'",', b"[]", b"["):
        # Twelve megabytes, the most that is taken, in pieces as the network brings them
        assert seconds(worst * (12 * 10**6 // len(worst))) < 2, worst


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "", "application/x-www-form-urlencoded"])
def test_whatever_a_body_says_it_is(kind: str) -> None:
    app = Took()
    with serving(Bodies(app)) as (url, _):
        said = httpx.post(url, content=nested(48_000), headers={"Content-Type": kind})
        assert said.status_code == 413
        assert said.json()["detail"] in (TOO_DEEP.sentence, TOO_MANY_VALUES.sentence)
        assert httpx.post(url, content=nested(DEPTH), headers={"Content-Type": kind}).status_code == 200
