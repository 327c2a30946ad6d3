"""A fuzzer that knows the API: hypothesis makes calls from what /config and the API's
description say of every function and its arguments, and shrinks the first one that is answered wrongly."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import httpx
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import FlakyFailure

from tests.attack.arguments import FINE, PICTURE, judged
from tests.attack.bench import Bench, Checks
from tests.attack.row import Row
from tests.attack.visitor import Visitor

CALLS, FEW_CALLS = 20_000, 150
MCP: Final = "/gradio_api/mcp/"
HEADERS: Final = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
SHORT_TEXT: Final = 60

leaf = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(10**40), max_value=10**40),
    st.floats(),
    st.text(max_size=SHORT_TEXT),
    st.sampled_from(["none", "Grad-CAM", "skin", "__proto__", "../../etc/passwd", "=1+1", "<b>", "\0", "\ud800"]),
)
anything = st.recursive(
    leaf,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.one_of(st.text(max_size=8), st.sampled_from(["path", "url", "meta", "value"])), inner, max_size=4
        ),
    ),
    max_leaves=12,
)


@dataclass(frozen=True)
class Function:
    """A function of the page: its number, its name, whether it is queued, and for each argument its component's type,
    its properties and its value on the page just opened."""

    number: int
    name: str
    queued: bool
    arguments: tuple[tuple[str, Mapping[str, Any]], ...]


@dataclass(frozen=True)
class Call:
    """One call: over `route`, with these arguments, by position or, over MCP, by name."""

    function: Function
    route: str
    data: Any


class Api:
    """What the app says of itself, and an uploaded picture."""

    def __init__(self, visitor: Visitor) -> None:
        config = visitor.http.get("/config").json()
        components = {each["id"]: (each["type"], each["props"]) for each in config["components"]}
        self.functions = [
            Function(
                each["id"],
                each["api_name"],
                each["queue"] is not False,
                tuple(components[block] for block in each["inputs"]),
            )
            for each in config["dependencies"]
            if each["backend_fn"]
        ]
        named = visitor.http.get("/gradio_api/info").json()["named_endpoints"]
        self.names = {
            name.removeprefix("/"): [each["parameter_name"] for each in told["parameters"]]
            for name, told in named.items()
        }
        self.file = visitor.upload(PICTURE.read_bytes(), PICTURE.name)
        # What comes back from a browser: of a result, any leaf may have been changed there.
        said = visitor.ask("breastmnist", [self.file, 0.3, "none"])
        self.result = json.loads(said.partition("data: ")[2])[0]

    def calls(self) -> st.SearchStrategy[Call]:
        """Every function, over each of its routes."""
        return st.sampled_from(self.functions).flatmap(self._calls_of)

    def _calls_of(self, function: Function) -> st.SearchStrategy[Call]:
        right = st.tuples(*(self._argument(kind, properties) for kind, properties in function.arguments)).map(list)
        data = st.one_of(right, right, st.tuples(right, anything).map(_shortened_or_longer), anything)
        routes = ["queue/join" if function.queued else "run/predict", "call/"]
        if names := self.names.get(function.name):
            by_name = st.dictionaries(st.sampled_from(names), anything, max_size=len(names))
            tool = right.map(lambda values: dict(zip(names, [self.file["path"], *values[1:]], strict=False)))
            named = st.one_of(tool, by_name, st.tuples(tool, by_name).map(lambda both: {**both[0], **both[1]}))
            return st.one_of(
                st.builds(Call, st.just(function), st.sampled_from(routes), data),
                st.builds(Call, st.just(function), st.sampled_from(["call/v2/", MCP]), named),
            )
        return st.builds(Call, st.just(function), st.sampled_from(routes), data)

    def _argument(self, kind: str, properties: Mapping[str, Any]) -> st.SearchStrategy[Any]:
        """Mostly of the component's type, now and then anything."""
        value = properties.get("value")
        typed: dict[str, st.SearchStrategy[Any]] = {
            "image": st.sampled_from(
                [None, self.file, {**self.file, "orig_name": "=1;.png"}, {**self.file, "path": "x"}]
            ),
            "file": st.sampled_from([None, self.file, [self.file], [self.file, None], [[self.file]]]),
            "slider": st.floats(-1, 2),
            "number": st.one_of(st.floats(), st.integers()),
            "radio": st.sampled_from([each[1] for each in properties.get("choices") or [("", "")]]),
            "json": st.one_of(st.just(self.result), st.tuples(st.just(self.result), st.randoms(), leaf).map(_changed)),
        }
        return st.one_of(st.just(value), typed.get(kind, anything), typed.get(kind, anything), anything)


def _shortened_or_longer(both: tuple[list[Any], Any]) -> list[Any]:
    data, more = both
    return data[: len(data) // 2] if isinstance(more, bool) else [*data, more]


def _changed(drawn: tuple[Any, Any, Any]) -> Any:
    """A result of which one leaf is another."""
    result, random, new = drawn
    result = json.loads(json.dumps(result))
    at = result
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        if not keys:
            return result
        key = random.choice(keys)
        if not isinstance(at[key], dict | list) or not at[key] or random.random() < 0.1:
            at[key] = new
            return result
        at = at[key]


def send(visitor: Visitor, call: Call, number: int) -> str:
    """Everything that the app answers to a call."""
    if call.route == MCP:
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
        body = json.dumps({**message, "params": {"name": call.function.name, "arguments": call.data}})
        answer = visitor.http.post(MCP, content=body, headers=HEADERS)
        visitor.statuses.append(answer.status_code)
        return answer.text
    if call.route == "call/v2/":
        return visitor.post(f"v2/{call.function.name}", json.dumps(call.data))
    if call.route == "call/":
        return visitor.post(call.function.name, json.dumps({"data": call.data}))
    inside = json.dumps(call.data)
    if not isinstance(call.data, list):  # no list of arguments: anything in its place
        whole = {"fn_index": call.function.number, "data": call.data, "session_hash": f"fuzz{number}"}
        answer = visitor.http.post(f"/gradio_api/{call.route}", content=json.dumps(whole), headers=HEADERS)
        visitor.statuses.append(answer.status_code)
        return answer.text
    described = {"id": call.function.number, "queue": call.route == "queue/join"}
    return visitor.call_by_number(described, inside[1:-1], f"fuzz{number}")


def verdict(call: Call, text: str) -> str:
    """FINE, or what is wrong. MCP's answers are a protocol of their own: only what no answer may hold is looked for."""
    if call.route != MCP:
        return judged(text)
    said = judged(f"event: complete\ndata: {json.dumps(text)}")
    return "refused" if said == "answered" and '"isError":true' in text.replace(" ", "") else said


def generated_calls(bench: Bench) -> Iterator[Row]:
    """Calls of every function over every route, made by hypothesis."""
    visitor = Visitor(bench.app.url)
    api, seen, routes = Api(visitor), Counter[str](), Counter[str]()
    visitor.statuses.clear()

    @settings(
        max_examples=FEW_CALLS if bench.short else CALLS,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    @given(api.calls())
    def every_call_is_answered_or_refused(call: Call) -> None:
        text = send(visitor, call, seen.total())
        said = verdict(call, text)
        seen[said] += 1
        routes[call.route] += 1
        worst = max(visitor.statuses, default=0)
        visitor.statuses.clear()
        if said not in FINE or worst >= httpx.codes.INTERNAL_SERVER_ERROR:
            wrong.append(
                f"{said}, {worst}: {call.function.name} over {call.route}: {repr(call.data)[:300]}: {text[:300]}"
            )
            raise AssertionError(wrong[-1])

    wrong = list[str]()
    # The last one is the shortest that hypothesis found, unless it was answered otherwise the second time.
    with suppress(AssertionError, FlakyFailure):
        every_call_is_answered_or_refused()
    yield Row(
        4,
        f"Calls that a fuzzer makes from the types of /config's {len(api.functions)} functions (hypothesis): right, "
        "wrong, and with results of which a leaf was changed; over " + ", ".join(sorted(routes)),
        seen.total(),
        f"{seen['refused']:,} refused with a sentence, {seen['answered']:,} answered; traces, secrets, numbers "
        f"that are not finite, answers without a sentence, statuses from 500 on: {wrong[-1] if wrong else 'none'}.",
        not wrong and bench.app.process.poll() is None,
    )


CHECKS: Checks = {4: (generated_calls,)}
