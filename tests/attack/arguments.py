"""Arguments of the wrong type, over HTTP (section 4)."""

import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from tests.attack.bench import CANARIES, Bench, Checks
from tests.attack.row import Row
from tests.attack.visitor import Visitor, content, is_complete
from tests.support.app import ROOT

CALLS, FEW_CALLS = 10_000, 120
AT_ONCE = 4
LONG = 5_000_000
FINE = ("answered", "refused")
PICTURE = ROOT / "examples" / "breastmnist" / "oval.png"
TRACES = ("Traceback", 'File \\"', 'File "', "site-packages", "/src/", ".py")

# JSON as it stands in the body: what is no number by the standard too, since Python's reader takes it.
WRONG: Final = (
    *("NaN", "Infinity", "-Infinity", "1e999", "-1", "2", "-1e-9", "1e308", "9" * 400, "0.3e-400"),
    *("true", "false", "null", "[]", "{}", "[NaN]", "[0.3]", '{"a": Infinity}', "[[[[[[]]]]]]", "[" * 400 + "]" * 400),
    *('""', '"0.3"', '"NaN"', '"none "', '"Grad-cam"', r'"\u0000"', r'"\ud800"', '"../../etc/passwd"', '"__proto__"'),
    *('"<script>alert(1)</script>"', '{"__type__": "update", "value": 1}', '{"path": "/etc/passwd"}'),
    '{"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}',
    '{"path": null, "url": "http://127.0.0.1:9/a.png", "meta": {"_type": "gradio.FileData"}}',
)
BODIES: Final = ("", "x", "null", "[]", "7", "{}", '{"data": 7}', '{"data": {}}', '{"data": "skin"}', '{"data": null}')


def _right(parameter: Mapping[str, Any], file: str) -> str:
    """A valid argument by the app's own description, as JSON."""
    if parameter["component"] in ("Image", "File"):
        return file
    if parameter["parameter_has_default"]:
        return json.dumps(parameter["parameter_default"])
    return json.dumps(parameter["type"].get("enum", [parameter["example_input"]])[0])


def wrong(parameters: Sequence[Mapping[str, Any]], file: str, rng: random.Random) -> tuple[str, str]:
    """A change of valid arguments, and the body with the changed arguments."""
    data = [_right(parameter, file) for parameter in parameters]
    kind = rng.choices(("wrong", "several", "missing", "extra", "long", "body"), (60, 15, 6, 6, 1, 12))[0]
    if kind == "wrong":
        data[rng.randrange(len(data))] = rng.choice(WRONG)
    elif kind == "several":
        data = [rng.choice(WRONG) for _ in data]
    elif kind == "missing":
        del data[rng.randrange(len(data)) :]
    elif kind == "extra":
        data += rng.choices(WRONG, k=rng.randint(1, 20))
    elif kind == "long":
        data[rng.randrange(len(data))] = json.dumps("a" * LONG)
    else:
        return kind, rng.choice(BODIES)
    return kind, f'{{"data": [{", ".join(data)}]}}'


def judged(text: str, secrets: Sequence[str] = tuple(CANARIES.values())) -> str:
    """The verdict on an answer of the app: "answered", "refused", or the fault."""
    if any(trace in text for trace in TRACES):
        return "a trace"
    if any(secret in text for secret in secrets):
        return "a secret"
    try:
        told = content(text)
    except json.JSONDecodeError:
        return "no JSON"
    except ArithmeticError as error:
        return str(error)
    if is_complete(text):
        return "answered"
    sentence = (told or {}).get("error") or (told or {}).get("detail")
    return "refused" if isinstance(sentence, str) and sentence.endswith(".") else "no sentence"


def calls(bench: Bench) -> Iterator[Row]:
    """Attack every endpoint that the app lists."""
    visitor = Visitor(bench.app.url)
    endpoints = visitor.http.get("/gradio_api/info").json()["named_endpoints"]
    file = json.dumps(visitor.upload(PICTURE.read_bytes(), PICTURE.name))
    wanted = FEW_CALLS if bench.short else CALLS

    def call(number: int) -> tuple[str, str]:
        name = list(endpoints)[number % len(endpoints)]
        kind, body = wrong(endpoints[name]["parameters"], file, random.Random(number))
        return kind, judged(visitor.post(name.removeprefix("/"), body))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        verdicts = list(pool.map(call, range(wanted)))
    seen = Counter(verdict for _, verdict in verdicts)
    answered = Counter(kind for kind, verdict in verdicts if verdict == "answered")
    found = [f"number {i}: {verdict}" for i, (_, verdict) in enumerate(verdicts) if verdict not in FINE]
    worst = max(visitor.statuses)
    yield Row(
        4,
        f"Wrong-typed calls of {', '.join(endpoints)}: NaN, infinity, too large, bool, list, None, objects, "
        f"{LONG / 1e6:.0f} MB of text, missing, extra, no JSON",
        wanted,
        f"{seen['refused']:,} refused with a sentence, {seen['answered']:,} answered (what was changed was optional, "
        f"superfluous or right: {dict(answered)}); {len(found)} traces, secrets, numbers that are not finite or "
        f"answers without a sentence ({'; '.join(found[:5]) or 'none'}); highest status {worst}.",
        not found and worst < 500 and bench.app.process.poll() is None,
    )


def functions(bench: Bench) -> Iterator[Row]:
    """Attack the functions that the page calls by number, without a name."""
    visitor = Visitor(bench.app.url)
    config = visitor.http.get("/config").json()
    private = [each for each in config["dependencies"] if each["backend_fn"] and each["inputs"]]
    wanted = len(private) if bench.short else 10 * len(private)
    seen: Counter[str] = Counter()
    found: list[str] = []
    for number in range(wanted):
        rng = random.Random(number)
        function = private[number % len(private)]
        data = ", ".join(rng.choice(WRONG) for _ in function["inputs"])
        verdict = judged(visitor.call_by_number(function, data, f"session{number}"))
        seen[verdict] += 1
        if verdict not in FINE:
            found.append(f"number {number}, function {function['api_name']}: {verdict}")
    worst = max(visitor.statuses)
    yield Row(
        4,
        f"Wrong-typed calls of the {len(private)} functions that the page calls by number",
        wanted,
        f"{seen['refused']:,} refused with a sentence, {seen['answered']:,} answered on the page; {len(found)} traces, "
        f"secrets, numbers that are not finite or answers without a sentence ({'; '.join(found[:5]) or 'none'}); "
        f"highest status {worst}.",
        not found and worst < 500 and bench.app.process.poll() is None,
    )


CHECKS: Checks = {4: (calls, functions)}
