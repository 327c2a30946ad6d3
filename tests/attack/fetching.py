"""Addresses in all arguments: the app must look up none of them (section 4)."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any, Final, NamedTuple

from tests.attack.arguments import AT_ONCE, FINE, judged
from tests.attack.bench import Bench, Checks
from tests.attack.row import Row
from tests.attack.visitor import Visitor

FILE: Final = {"meta": {"_type": "gradio.FileData"}}
SHAPES: Final[dict[str, Callable[[str], Any]]] = {
    "a file": lambda address: {"path": address, **FILE},
    "a file with an address": lambda address: {"path": "x.png", "url": address, "is_stream": False, **FILE},
    "a file deep inside": lambda address: [{"value": {"__type__": "update", "value": [{"path": address, **FILE}]}}],
    "a file in a text": lambda address: json.dumps({"path": address, "url": address, **FILE}),
}
TEXTS: Final = ("a file in a text",)
"""Shapes that may be answered, since a text is looked at as a text."""
ADDRESSES: Final = ("http://n{}.vigil.invalid/x.png", "https://n{}.vigil.invalid:8443/", "http://168.63.129.{}/latest")
ROUTES: Final = ("queue/join", "call/", "run/")
IN_SHORT = 7
"""Of how many one is tried in the short form; no divisor of the number of shapes and routes."""


class Argument(NamedTuple):
    """One argument of one function of /config."""

    function: Mapping[str, Any]
    place: int
    component: str


def arguments(config: Mapping[str, Any]) -> list[Argument]:
    """Every argument of every function that the server has."""
    kinds = {each["id"]: each["type"] for each in config["components"]}
    return [
        Argument(function, place, kinds[block])
        for function in config["dependencies"]
        if function["backend_fn"]
        for place, block in enumerate(function["inputs"])
    ]


def _values(config: Mapping[str, Any], function: Mapping[str, Any]) -> list[Any]:
    """What the page would send before anything was chosen."""
    values = {each["id"]: each["props"].get("value") for each in config["components"]}
    return [values[block] for block in function["inputs"]]


def ask(visitor: Visitor, route: str, function: Mapping[str, Any], data: list[Any], session: str) -> str:
    """Everything that is answered to a call over one of ROUTES."""
    if route == "call/":
        return visitor.ask(function["api_name"], data)
    inside = json.dumps(data)[1:-1]
    return visitor.call_by_number({**function, "queue": route == "queue/join"}, inside, session)


def fetching(bench: Bench) -> Iterator[Row]:
    """Every argument of every function, in every shape, over every route."""
    config = Visitor(bench.app.url).http.get("/config").json()
    tried = list(product(arguments(config), SHAPES, ROUTES))[:: IN_SHORT if bench.short else 1]
    before = len(bench.app.violations)
    own = threading.local()

    def call(number: int) -> tuple[str, bool, int]:
        argument, shape, route = tried[number]
        own.visitor = getattr(own, "visitor", None) or Visitor(bench.app.url)
        data = _values(config, argument.function)
        data[argument.place] = SHAPES[shape](ADDRESSES[number % len(ADDRESSES)].format(number % 250))
        verdict = judged(ask(own.visitor, route, argument.function, data, f"fetching{number}"))
        return verdict, shape in TEXTS, max(own.visitor.statuses)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        said = list(pool.map(call, range(len(tried))))
    asked = bench.app.violations[before:]
    seen = Counter(verdict for verdict, _, _ in said)
    wrong = [
        f"{tried[i][1]} over {tried[i][2]} as {tried[i][0].component}: {verdict}"
        for i, (verdict, text, _) in enumerate(said)
        if verdict not in FINE or (verdict == "answered" and not text)
    ]
    worst = max(status for _, _, status in said)
    yield Row(
        4,
        f"Addresses named as Gradio's files are, in each argument of the {len({t[0].function['id'] for t in tried})} "
        f"functions of /config: {', '.join(SHAPES)}; over {', '.join(ROUTES)}",
        len(tried),
        f"{len(asked)} look-ups and connections to elsewhere ({'; '.join(asked[:3]) or 'none'}); {seen['refused']:,} "
        f"refused with a sentence, {seen['answered']:,} texts answered as texts; {len(wrong)} otherwise "
        f"({'; '.join(wrong[:3]) or 'none'}); highest status {worst}.",
        not asked and not wrong and worst < 500 and bench.app.process.poll() is None,
    )


CHECKS: Checks = {4: (fetching,)}
