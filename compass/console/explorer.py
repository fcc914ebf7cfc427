"""The API explorer: any document, run as whoever is signed in; what the API offers, type by type; and links to share.

A document that changes something is run after it was said so. Nothing runs because a link was opened, and no link has a
secret in it. Everything works as links and forms; nothing comes from elsewhere. What was run is kept as a link, for as
long as the session; what is saved, by the browser alone (`static/explorer.js`).
"""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode

from graphql import GraphQLSyntaxError, parse, print_ast, visit
from graphql.language import (
    ArgumentNode,
    DocumentNode,
    ObjectFieldNode,
    OperationDefinitionNode,
    OperationType,
    StringValueNode,
    Visitor,
)

from compass.client.protocol import Document, Endpoint
from compass.console import commands
from compass.console.page import PREFIX, Page
from compass.console.plane import Gone, SignedOut
from compass.console.session import Ran
from compass.console.visit import View, Visit

MOST_SHOWN_BYTES: Final = 200 * 1024
"""Of an answer, in the page."""
LONGEST_LINK: Final = 8000
"""In characters: longer addresses are refused on the way, so such a document is neither remembered nor saved."""
_DEEPEST: Final = 200
"""Of a document: more nobody writes, and it could not be read by what reads it step by step."""
EXAMPLE: Final = """query ($term: String) {
  searchApplications(term: $term, first: 5) {
    totalCount
    data { id name status { condition } }
  }
}
"""
_APIS: Final = tuple(str(one) for one in Endpoint)
_TYPE: Final = """query ($name: String!) { __type(name: $name) {
  name kind description
  fields(includeDeprecated: true) { name description isDeprecated deprecationReason type { ...T }
    args { name description defaultValue type { ...T } } }
  inputFields { name description defaultValue type { ...T } }
  enumValues(includeDeprecated: true) { name description }
  possibleTypes { name }
} }
fragment T on __Type { kind name ofType { kind name ofType { kind name ofType { kind name } } } }
"""
_TYPES: Final = "{ __schema { queryType { name } mutationType { name } types { name kind description } } }"


@dataclass(frozen=True)
class Asked:
    """What stands in the form."""

    api: str
    query: str
    variables: str


@dataclass(frozen=True)
class Result:
    """What the plane answered."""

    status: int
    text: str
    is_cut: bool
    has_errors: bool
    milliseconds: int
    request_id: str


class _Refused(Exception):
    """It cannot be sent; the text says why."""


async def show(visited: Visit) -> Page:
    """The form, filled as the address says; nothing is run."""
    query = visited.request.query
    asked = Asked(_api(query.get("api", "")), query.get("query", EXAMPLE), query.get("variables", ""))
    return _page(visited, asked)


async def run(visited: Visit) -> Page:
    """Send the document; one that changes something only when that was confirmed."""
    form = visited.request.form
    asked = Asked(_api(form.get("api", "")), form.get("query", ""), form.get("variables", ""))
    try:
        tree, variables = _read(asked)
    except _Refused as refused:
        return _page(visited, asked, problem=str(refused))
    # What was confirmed, and nothing that was typed since.
    if _changes(tree) and form.get("confirmed") != _mark(asked):
        return _page(visited, asked, to_confirm=True)
    result = await _sent(visited, asked, variables)
    shared = _shared(visited, asked)
    if len(shared["link"]) <= LONGEST_LINK:
        when = datetime.now(UTC).isoformat(timespec="seconds")
        visited.session.run(Ran(shared["link"], shared["text"][:120], when, result.has_errors))
    return _page(visited, asked, result=result)


def _mark(asked: Asked) -> str:
    """Of exactly this, as a browser sends it: with its own ends of lines."""
    lines = "\0".join(vars(asked).values()).replace("\r\n", "\n")
    return hashlib.sha256(lines.encode("utf-8", "surrogatepass")).hexdigest()


def _api(name: str) -> str:
    return name if name in _APIS else str(Endpoint.DIRECTOR)


def _read(asked: Asked) -> tuple[DocumentNode, Mapping[str, Any]]:
    """Raises _Refused."""
    if _depth(asked.query) > _DEEPEST:
        raise _Refused(f"The document is deeper than {_DEEPEST} levels")
    try:
        tree = parse(asked.query, no_location=False)
    except GraphQLSyntaxError as wrong:
        where = wrong.locations[0] if wrong.locations else None
        place = f" (line {where.line}, column {where.column})" if where is not None else ""
        raise _Refused(f"{wrong.message}{place}") from None
    try:
        variables = json.loads(asked.variables) if asked.variables.strip() else {}
    except (ValueError, RecursionError) as wrong:
        raise _Refused(f"The variables are no JSON: {wrong}") from None
    if not isinstance(variables, dict):
        raise _Refused("The variables must be a JSON object")
    return tree, variables


def _depth(text: str) -> int:
    depth = deepest = 0
    for letter in text:
        depth += (letter in "{[(") - (letter in "}])")
        deepest = max(deepest, depth)
    return deepest


def _changes(tree: DocumentNode) -> bool:
    operations = (one for one in tree.definitions if isinstance(one, OperationDefinitionNode))
    return any(one.operation is not OperationType.QUERY for one in operations)


async def _sent(visited: Visit, asked: Asked, variables: Mapping[str, Any]) -> Result:
    """Raises SignedOut."""
    began = time.monotonic()
    document = Document(Endpoint(asked.api), asked.query)
    status, body, request_id = await visited.plane.send(document, variables)
    took = round((time.monotonic() - began) * 1000)
    if status == HTTPStatus.UNAUTHORIZED:
        raise SignedOut()
    try:
        answer = json.loads(body)
        text = json.dumps(answer, indent=2, ensure_ascii=False)
    except ValueError:
        answer, text = None, body.decode("utf-8", "replace")
    has_errors = not isinstance(answer, dict) or bool(answer.get("errors"))
    return Result(status, text[:MOST_SHOWN_BYTES], len(text) > MOST_SHOWN_BYTES, has_errors, took, request_id)


def _page(
    visited: Visit,
    asked: Asked,
    *,
    problem: str | None = None,
    to_confirm: bool = False,
    result: Result | None = None,
) -> Page:
    data = {
        "asked": asked,
        "apis": _APIS,
        "problem": problem,
        "to_confirm": _mark(asked) if to_confirm else "",
        "result": result,
        "ran": visited.session.ran[::-1],
        "longest": LONGEST_LINK,
        **_shared(visited, asked),
    }
    status = HTTPStatus.UNPROCESSABLE_ENTITY if problem else HTTPStatus.OK
    return Page("explorer.html", "API explorer", data, section="explorer", status=status)


def _shared(visited: Visit, asked: Asked) -> dict[str, str]:
    """The same as a link, for a shell, for curl and for Python: without what looks like a secret, and none for no
    document.
    """
    try:
        tree, variables = _read(asked)
    except _Refused:
        return {"link": "", "text": "", "command": "", "curl": "", "python": ""}
    text, given = _without_secrets(asked.query, tree), commands.without_secrets(variables)
    query = {"api": asked.api, "query": text, **({"variables": json.dumps(given)} if given else {})}
    line = " ".join(text.split())
    body = {"query": text, **({"variables": given} if given else {})}
    sent = json.dumps({**body, "query": line}, ensure_ascii=False)
    curl = [
        *("curl", "--cacert", "ca.pem", "-H", "Content-Type: application/json"),
        *("-H", f"Tenant: {visited.session.tenant}", "-H", "@token.header", "--data-raw", sent),
        f"{visited.facts.token_url}/{asked.api}/graphql",
    ]
    tenant = "" if visited.session.tenant == visited.facts.tenant else visited.session.tenant
    document = Document(Endpoint(asked.api), text)
    return {
        "link": f"{PREFIX}/explorer?{urlencode(query)}",
        "text": line,
        "python": _python(f"{visited.facts.token_url}/{asked.api}/graphql", visited.session.tenant, body),
        "command": commands.line(commands.by_graphql(document, given), tenant=tenant),
        "curl": commands.shell(curl),
    }


def _python(url: str, tenant: str, body: Mapping[str, Any]) -> str:
    """A program of Python's own library."""
    return f"""import json, ssl, urllib.request

with open("token.header") as file:
    name, _, value = file.read().strip().partition(": ")
headers = {{name: value, "Content-Type": "application/json", "Tenant": {tenant!r}}}
body = {body!r}
request = urllib.request.Request({url!r}, json.dumps(body).encode(), headers)
with urllib.request.urlopen(request, context=ssl.create_default_context(cafile="ca.pem")) as answer:
    print(json.dumps(json.load(answer), indent=2))
"""


def _without_secrets(text: str, tree: DocumentNode) -> str:
    """The document; one with a text where a secret is asked for is written anew without it."""
    is_changed = False

    class Hide(Visitor):
        def enter(self, node: Any, *_: Any) -> Any:
            nonlocal is_changed
            if isinstance(node, ArgumentNode | ObjectFieldNode) and commands.is_secret(node.name.value):
                is_changed = True
                return type(node)(name=node.name, value=StringValueNode(value=commands.LEFT_OUT))
            return None

    shown = print_ast(visit(tree, Hide()))
    return shown if is_changed else text


async def docs(visited: Visit) -> Page:
    """One type of an API, or all of them. Raises Gone."""
    api = _api(visited.query("api"))
    wanted = visited.query("type")
    typed = visited.query("q").casefold()
    if not wanted:
        schema = (await _introspected(visited, api, _TYPES, {}))["__schema"]
        roots = [one["name"] for one in (schema["queryType"], schema["mutationType"]) if one]
        types = [
            one
            for one in sorted(schema["types"], key=lambda one: (one["name"] not in roots, one["name"].casefold()))
            if not one["name"].startswith("__") and typed in one["name"].casefold()
        ]
        data = {"types": types, "one": None, **_common(visited, api)}
        return Page("explorer_docs.html", "What the API offers", data, section="explorer")
    one = (await _introspected(visited, api, _TYPE, {"name": wanted}))["__type"]
    if one is None:
        raise Gone(what="type")
    fields = [each for each in one["fields"] or one["inputFields"] or () if typed in each["name"].casefold()]
    data = {"types": [], "one": one, "fields": fields, **_common(visited, api)}
    return Page("explorer_docs.html", one["name"], data, section="explorer")


def _common(visited: Visit, api: str) -> dict[str, Any]:
    return {"api": api, "apis": _APIS, "typed": visited.query("q"), "spoken": spoken, "named": named}


async def _introspected(visited: Visit, api: str, text: str, variables: Mapping[str, Any]) -> Mapping[str, Any]:
    """Raises Gone where the API does not say what it offers, SignedOut."""
    status, body, _ = await visited.plane.send(Document(Endpoint(api), text), variables)
    if status == HTTPStatus.UNAUTHORIZED:
        raise SignedOut()
    answer = json.loads(body)
    if answer.get("errors") or not answer.get("data"):
        raise Gone(what="description of the API")
    data: Mapping[str, Any] = answer["data"]
    return data


def spoken(kind: Mapping[str, Any]) -> str:
    """A type as documents write it: `[Application!]!`."""
    match kind["kind"]:
        case "NON_NULL":
            return f"{spoken(kind['ofType'])}!"
        case "LIST":
            return f"[{spoken(kind['ofType'])}]"
        case _:
            return str(kind["name"])


def named(kind: Mapping[str, Any]) -> str:
    """What a type is of, without lists."""
    return str(kind["name"]) if kind.get("ofType") is None else named(kind["ofType"])


ROUTES: Final[Mapping[tuple[str, str], View]] = {
    ("GET", "/explorer"): show,
    ("POST", "/explorer"): run,
    ("GET", "/explorer/docs"): docs,
}
