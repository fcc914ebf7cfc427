"""The Director's schema holds everything of the original's, as a client of the original sees it by introspection.

`surface.json` has the facts of the original's last schema: names, types, arguments, defaults. Ours may have more,
never less: more fields, values and members, further arguments that may be left out.
"""

import json
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import graphql

from compass.reads.document import Schema

SURFACE = json.loads((Path(__file__).parent / "surface.json").read_text(encoding="utf-8"))


def introspected(sdl: str) -> dict[str, Any]:
    """What a client is told of a schema."""
    told = graphql.introspection_from_schema(Schema(sdl).graphql)["__schema"]
    return dict(told)


def written(kind: Mapping[str, Any]) -> str:
    """A type as introspection nests it, in the notation of schemas."""
    match kind["kind"]:
        case "NON_NULL":
            return f"{written(kind['ofType'])}!"
        case "LIST":
            return f"[{written(kind['ofType'])}]"
        case _:
            return str(kind["name"])


def value(given: Mapping[str, Any]) -> str:
    """An argument or input field: its type, and its default where it has one."""
    default = given["defaultValue"]
    return written(given["type"]) + ("" if default is None else f" = {default}")


def field(given: Mapping[str, Any]) -> Any:
    """A field: its type, and its arguments where it has some."""
    arguments = {argument["name"]: value(argument) for argument in given["args"]}
    return [written(given["type"]), arguments] if arguments else written(given["type"])


def missing(wanted: Mapping[str, Any], told: Mapping[str, Any]) -> Iterator[str]:
    """What of the wanted surface is not there at all: types, and members of types that are there."""
    kinds = {kind["name"]: kind for kind in told["types"]}
    yield from (f"@{name}" for name in wanted["directives"] if name not in {one["name"] for one in told["directives"]})
    yield from (f"scalar {name}" for name in wanted["scalars"] if name not in kinds)
    for section, members in _members(wanted):
        for name, names in members.items():
            if name not in kinds:
                yield f"{section} {name}"
            else:
                yield from (f"{name}.{one}" for one in names if one not in _names_in(kinds[name]))


def _members(wanted: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for section in ("enum", "union", "interface", "input"):
        yield section, wanted[f"{section}s"]
    yield "type", {name: kind["fields"] for name, kind in wanted["types"].items()}
    yield "type", {"Query": wanted["queries"], "Mutation": wanted["mutations"]}


def _names_in(kind: Mapping[str, Any]) -> set[str]:
    return {
        one["name"]
        for part in ("fields", "inputFields", "enumValues", "possibleTypes")
        for one in (kind[part] or () if part != "possibleTypes" or kind["kind"] == "UNION" else ())
    }


def different(wanted: Mapping[str, Any], told: Mapping[str, Any]) -> Iterator[str]:
    """What is there and not as a client of the original expects it."""
    kinds = {kind["name"]: kind for kind in told["types"]}
    for directive in told["directives"]:
        if directive["name"] in wanted["directives"]:
            arguments = {one["name"]: value(one) for one in directive["args"]}
            yield from _arguments(f"@{directive['name']}", wanted["directives"][directive["name"]], arguments)
    for name, values in wanted["inputs"].items():
        if name in kinds:
            given = {one["name"]: value(one) for one in kinds[name]["inputFields"]}
            there = {one: kind for one, kind in values.items() if one in given}
            yield from _arguments(name, there, given)
    for name, kind in wanted["types"].items():
        for interface in kind["implements"]:
            if name in kinds and interface not in {one["name"] for one in kinds[name]["interfaces"]}:
                yield f"{name} does not implement {interface}"
    holders = wanted["interfaces"] | {name: kind["fields"] for name, kind in wanted["types"].items()}
    for name, fields in (holders | {"Query": wanted["queries"], "Mutation": wanted["mutations"]}).items():
        for one in kinds[name]["fields"] if name in kinds else ():
            if one["name"] in fields:
                yield from _field(f"{name}.{one['name']}", fields[one["name"]], field(one))


def _field(place: str, wanted: Any, given: Any) -> Iterator[str]:
    wanted_type, wanted_arguments = wanted if isinstance(wanted, list) else (wanted, {})
    given_type, given_arguments = given if isinstance(given, list) else (given, {})
    if given_type != wanted_type:
        yield f"{place}: {given_type} instead of {wanted_type}"
    yield from _arguments(place, wanted_arguments, given_arguments)


def _arguments(place: str, wanted: Mapping[str, str], given: Mapping[str, str]) -> Iterator[str]:
    for name, kind in wanted.items():
        if given.get(name) != kind:
            yield f"{place}({name}): {given.get(name)} instead of {kind}"
    for name in given.keys() - wanted.keys():
        if given[name].endswith("!"):
            yield f"{place}({name}): clients of the original do not send it"


TOLD = introspected(resources.files("compass.director").joinpath("schema.graphql").read_text(encoding="utf-8"))


def test_whatever_the_original_had_is_there() -> None:
    assert list(missing(SURFACE, TOLD)) == []


def test_it_has_the_originals_types_arguments_and_defaults() -> None:
    assert list(different(SURFACE, TOLD)) == []


def test_the_surface_is_the_originals_whole_one() -> None:
    assert {section: len(content) for section, content in SURFACE.items()} == {
        "directives": 6,
        "scalars": 11,
        "enums": 35,
        "unions": 2,
        "interfaces": 3,
        "inputs": 54,
        "types": 78,
        "queries": 44,
        "mutations": 94,
    }


# --- that the comparison sees what it is for -------------------------------------------------------------------------

ORIGINAL: dict[str, Any] = {
    "directives": {"d": {"path": "String!"}},
    "scalars": ["S"],
    "enums": {"E": ["A", "B"]},
    "unions": {"U": ["T"]},
    "interfaces": {"I": {"id": "ID!"}},
    "inputs": {"In": {"a": "Int = 1", "b": "[String!]"}},
    "types": {"T": {"implements": ["I"], "fields": {"id": "ID!", "f": ["S", {"x": "In!", "n": "Int = 7"}]}}},
    "queries": {"q": "U"},
    "mutations": {"m": ["T!", {"in": "In"}]},
}
OURS = """
directive @d(path: String!) on FIELD_DEFINITION
scalar S
enum E { A B C }
union U = T | More
interface I { id: ID! }
input In { a: Int = 1  b: [String!]  c: Int! = 3 }
type T implements I { id: ID!  f(x: In!, n: Int = 7, more: Int): S  g: E }
type More { id: ID! }
type Query { q: U  p: Int }
type Mutation { m(in: In): T! }
"""


def compared(*changes: tuple[str, str]) -> tuple[list[str], list[str]]:
    sdl = OURS
    for old, new in changes:
        assert old in sdl
        sdl = sdl.replace(old, new)
    told = introspected(sdl)
    return sorted(missing(ORIGINAL, told)), sorted(different(ORIGINAL, told))


def test_having_more_is_no_difference() -> None:
    assert compared() == ([], [])


def test_whatever_is_missing_is_seen() -> None:
    assert compared(("A B C", "A C"))[0] == ["E.B"]
    assert compared(("U = T | More", "U = More"))[0] == ["U.T"]
    assert compared(("b: [String!]", ""))[0] == ["In.b"]
    assert compared(("m(in: In): T!", "other: Int"))[0] == ["Mutation.m"]
    assert compared(("q: U", ""), ("union U = T | More", ""))[0] == ["Query.q", "union U"]
    assert compared(("directive @d(path: String!) on FIELD_DEFINITION", ""))[0] == ["@d"]
    assert compared(("scalar S", ""), ("): S ", "): Int "))[0] == ["scalar S"]


def test_whatever_is_different_is_seen() -> None:
    assert compared(("n: Int = 7", "n: Int = 8"))[1] == ["T.f(n): Int = 8 instead of Int = 7"]
    assert compared(("n: Int = 7,", ""))[1] == ["T.f(n): None instead of Int = 7"]
    assert compared(("x: In!", "x: In"))[1] == ["T.f(x): In instead of In!"]
    assert compared(("m(in: In): T!", "m(in: In): T"))[1] == ["Mutation.m: T instead of T!"]
    assert compared(("more: Int", "more: Int!"))[1] == ["T.f(more): clients of the original do not send it"]
    assert compared(("b: [String!]", "b: [String]"))[1] == ["In(b): [String] instead of [String!]"]
    assert compared(("c: Int! = 3", "c: Int!"))[1] == ["In(c): clients of the original do not send it"]
    assert compared(("T implements I", "T"))[1] == ["T does not implement I"]
    assert compared(("@d(path: String!)", "@d(path: String)"))[1] == ["@d(path): String instead of String!"]
