"""Documents that are written to hurt: each is refused before it costs much, and no document of a client is.

The short form plays every seventh one; `COMPASS_PROOF=1` plays all, and holds them to a tenth of a second of CPU.
"""

import ast
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import graphql
import pytest

from bench.reads import _Lent
from compass.access.caller import Caller, Consumer, Flow
from compass.access.scopes import BY_CONSUMER
from compass.api.request import Answer, Endpoint
from compass.app import connector_surface, director_surface, provisioner_surface
from compass.client.protocol import document
from compass.ids import TenantId
from compass.reads.limits import LIMITS, DocumentTooCostly, check, check_text

PROOF = bool(os.environ.get("COMPASS_PROOF"))
ROOT = Path(__file__).parent.parent.parent
MEGABYTE = 1024 * 1024
CALLER = Caller(
    Consumer.STATIC_USER,
    "admin",
    Flow.JWT,
    BY_CONSUMER[Consumer.STATIC_USER],
    TenantId("3e64ebae-38b5-46a0-b1ed-9ccee153a0ae"),
)
LONGEST_CPU_SECONDS = 0.1 if PROOF else 1.5
"""A machine that does other things too gives a process the CPU's caches back cold."""


class Untouched:
    """A database that must not be asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def read(self, *_: Any, **__: Any) -> Any:
        self.asked += 1
        raise AssertionError("a document that has to be refused reached the database")

    run = read


Family = Callable[[int], str | tuple[str, dict[str, Any]]]


def _nested(number: int) -> str:
    depth = 31 + number * 60
    return "{ a " * depth + "}" * depth


def _doubling(number: int) -> str:
    """Each fragment puts the next one twice: `2 ** count` fields."""
    count = 12 + number * 3
    parts = [f"fragment F{n} on Viewer {{ ...F{n + 1} ...F{n + 1} }}" for n in range(count)]
    return "{ viewer { ...F0 } } " + " ".join(parts) + f" fragment F{count} on Viewer {{ id }}"


def _ring(number: int) -> str:
    count = 2 + number * 40
    return "{ viewer { ...F0 } } " + " ".join(
        f"fragment F{n} on Viewer {{ id ...F{(n + 1) % count} }}" for n in range(count)
    )


def _chain(number: int) -> str:
    count = 201 + number * 30
    parts = [f"fragment F{n} on Viewer {{ ...F{n + 1} }}" for n in range(count)]
    return "{ viewer { ...F0 } } " + " ".join(parts) + f" fragment F{count} on Viewer {{ id }}"


def _introspection(number: int) -> str:
    """Types have fields have types …"""
    levels = 3 + number % 11
    return "{ __schema { types { name " + "fields { type { " * levels + "name" + " } }" * levels + " } } }"


def _filters(number: int) -> tuple[str, dict[str, Any]]:
    """Variables nested deeper than anything that reads them likes."""
    value: Any = "x"
    for _ in range(50 + number * 10):
        value = [value]
    return "query ($f: [LabelFilter!]) { applications(filter: $f) { totalCount } }", {"f": value}


def each(text: str, count: int) -> str:
    """The text so many times, with a number of its own for each `#`."""
    return " ".join(text.replace("#", str(number)) for number in range(count))


def viewer(fields: str) -> str:
    return "{ viewer { " + fields + " } }"


def applications(arguments: str) -> str:
    return "{ applications(" + arguments + ") { totalCount } }"


def application(text: str) -> str:
    return "{ application(id: " + text + ") { id } }"


FRAGMENT = " fragment F# on Viewer { id }"
NOT_ALL_OF_A_DOCUMENT = (
    *("", "{", "}", "{a}}", "query", "fragment", "#", '"', '"""', "{ a", "{ viewer }", "...", "subscription { a }"),
    *("@", "$a"),
)
FAMILIES: dict[str, Family] = {
    "nested selections": _nested,
    "nested inline fragments": lambda n: (
        "{ viewer " + "{ ... on Viewer " * (501 + n * 30) + "{ id }" + "}" * (502 + n * 30)
    ),
    "aliases of one field": lambda n: viewer(each("a#: id", 501 + n * 120)),
    "one field many times": lambda n: viewer("id " * (2_001 + n * 300)),
    "one alias many times": lambda n: viewer("a: id " * (501 + n * 120)),
    "roots": lambda n: "{ " + each("a#: viewer { id }", 101 + n * 60) + " }",
    "one root many times": lambda n: "{ " + "viewer { id } " * (101 + n * 100) + "}",
    "names of the type": lambda n: "{ " + each("a#: __typename", 101 + n * 120) + " }",
    "mutations": lambda n: "mutation { " + each('m#: unregisterApplication(id: "x") { id }', 21 + n * 30) + " }",
    "doubling fragments": _doubling,
    "rings of fragments": _ring,
    "chains of fragments": _chain,
    "fragments nobody uses": lambda n: viewer("id") + each(FRAGMENT, 1 + n * 50),
    "fragments side by side": lambda n: viewer(each("...F#", 201 + n * 20)) + each(FRAGMENT, 201 + n * 20),
    "inline fragments side by side": lambda n: viewer("... on Viewer { id type } " * (501 + n * 40)),
    "directives on one field": lambda n: viewer("id " + "@include(if: true) " * (2 + n * 60)),
    "directives on many fields": lambda n: viewer(each("a#: id @skip(if: false)", 201 + n * 30)),
    "unknown directives": lambda n: viewer("id " + each("@d#", 1 + n * 80)),
    "operations": lambda n: each("query Q# { viewer { id } }", 51 + n * 60),
    "operations times fragments": lambda n: (
        each("query Q# { viewer { ...F0 } }", 51 + n * 10) + each(" fragment F# on Viewer { id }", 90)
    ),
    "declared variables": lambda n: "query (" + each("$a#: ID", 501 + n * 90) + ") { viewer { id } }",
    "unknown fields": lambda n: "{ " + each("nothing#", 1 + n * 100) + " }",
    "unknown arguments": lambda n: "{ viewer(" + each("a#: 1", 1 + n * 120) + ") { id } }",
    "lists in lists": lambda n: applications("filter: " + "[" * (60 + n * 200) + "]" * (60 + n * 200)),
    "objects in objects": lambda n: (
        "mutation { registerApplication(in: " + "{name: " * (60 + n * 150) + "1" + "}" * (60 + n * 150) + ") { id } }"
    ),
    "long lists": lambda n: applications("filter: [" + "1 " * (100 + n * 400) + "]"),
    "introspection": _introspection,
    "long numbers": lambda n: applications("first: " + "9" * (20 + n * 6_000)),
    "long fractions": lambda n: applications("first: 1e" + "9" * (3 + n * 5_000)),
    "long names": lambda n: "{ " + "a" * (1 + n * 8_000) + " }",
    "long texts": lambda n: application('"' + "a" * (2 * MEGABYTE + n * MEGABYTE // 3) + '"'),
    "block texts": lambda n: application('"""' + "a\n" * (MEGABYTE + n * MEGABYTE // 4) + '"""'),
    "escapes": lambda n: application('"' + "\\n" * (MEGABYTE + n * MEGABYTE // 4) + '"'),
    "spaces": lambda n: viewer("id " + " " * (132_000 + n * 300_000)),
    "commas": lambda n: viewer("id " + "," * (132_000 + n * 120_000)),
    "comments": lambda n: viewer("id") + "#\n" * (70_000 + n * 60_000),
    "texts without an end": lambda n: application('"' + "a" * (n * 10_000)),
    "many small texts": lambda n: applications("filter: [" + '"" ' * (50_000 + n * 4_000) + "]"),
    "noise": lambda n: "".join(chr(33 + (m * 7919 + n * 104729) % 90) for m in range(100 + n * 4_000)),
    "what is no text": lambda n: viewer("id") + "\x00\ufeff\u202e\ud800"[n % 4] * (1 + n * 500) + "{",
    "pages of all": lambda n: applications(f"first: {201 + n * 149_000_000}"),
    "deep variables": _filters,
    "half a document": lambda n: NOT_ALL_OF_A_DOCUMENT[n],
}
PER_FAMILY = 15
CORPUS = [(f"{family} {number}", make, number) for family, make in FAMILIES.items() for number in range(PER_FAMILY)]


@pytest.fixture(scope="module")
def director() -> Endpoint:
    return Endpoint(director_surface(_Lent()), Untouched())  # type: ignore[arg-type]  # nobody asks it


async def test_what_is_written_to_hurt_is_refused_before_it_costs_much(
    director: Endpoint, record_property: Callable[[str, object], None]
) -> None:
    await director.answer(CALLER, "{ nothing }")  # what is made once is made
    slow: list[str] = []
    let_through: list[str] = []
    costs: list[float] = []
    for name, make, number in CORPUS if PROOF else CORPUS[::7]:
        made = make(number)
        text, variables = (made, {}) if isinstance(made, str) else made
        cost, answer = 10.0, Answer(b"")
        for _ in range(3):  # the least of three: what else the machine does is not the document's cost
            began = time.process_time()
            answer = await director.answer(CALLER, text, variables)
            cost = min(cost, time.process_time() - began)
            if cost < LONGEST_CPU_SECONDS:
                break
        costs.append(cost)
        if cost > LONGEST_CPU_SECONDS:
            slow.append(f"{name}: {cost * 1000:.0f} ms")
        if not answer.body.startswith(b'{"errors":[') or b'"data":null}' not in answer.body:
            let_through.append(name)
        assert b"errorID" not in answer.body or b"reason:" in answer.body, f"{name} is answered with a defect of ours"
        assert len(answer.body) < 3_000, name
    database = director._database
    assert isinstance(database, Untouched)
    assert (let_through, slow, database.asked) == ([], [], 0)
    record_property("cases", len(costs))
    print(f"{len(costs)} documents refused, at most {max(costs) * 1000:.0f} ms of CPU")  # noqa: T201  # for make proof


SENDERS = (
    ("tests", "bench", "compass") if PROOF else ("tests/e2e", "tests/connector", "tests/plans", "bench", "compass")
)


def documents() -> Iterator[tuple[str, str]]:
    """Every GraphQL text that our clients send, and that the tests send in the names of clients."""
    for file in sorted((ROOT / "compass/client/documents").glob("*.graphql")):
        yield file.name, document(file.stem).text
    for folder in SENDERS:
        for file in sorted((ROOT / folder).rglob("*.py")):
            source = file.read_text()
            if "{" not in source or file.stem in ("test_abuse", "test_limits", "test_bad_input"):
                continue
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and "{" in node.value:
                    yield f"{file.name}:{node.lineno}", node.value


def test_no_document_of_a_client_is_refused_as_too_costly(record_property: Callable[[str, object], None]) -> None:
    schemas = [made(_Lent()).schema.graphql for made in (director_surface, connector_surface, provisioner_surface)]
    legitimate = 0
    refused = []
    for name, text in documents():
        try:
            document = graphql.parse(text, max_tokens=100_000)
        except graphql.GraphQLError:
            continue
        if not isinstance(document.definitions[0], graphql.ExecutableDefinitionNode):
            continue
        legitimate += 1
        try:
            check_text(text)
            check(document, LIMITS)
        except DocumentTooCostly as refusal:
            if not all(graphql.validate(schema, document, max_errors=1) for schema in schemas):
                refused.append(f"{name}: {refusal}")
    assert refused == []
    assert legitimate >= 150
    record_property("cases", legitimate)
    print(f"{legitimate} documents of clients, none refused")  # noqa: T201  # for make proof
