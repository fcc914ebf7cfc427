"""Who may do what: every operation called by every kind of caller, with objects of its own and of others.

The table is `matrix.txt`, one line for each operation. Whatever it says is what the plane did: the calls are real, and
after each everything is put back. When a change is meant, `MATRIX=accept` writes the table anew; read the difference.
"""

import difflib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from compass.access.caller import Caller, Consumer, Flow
from compass.access.scopes import BY_CONSUMER
from tests.access.landscape import COMPONENT, Answer, Landscape, Offered, Side, user
from tests.access.operations import RECIPES, filled, leaves, own
from tests.access.populate import landscape

TABLE: Final = Path(__file__).parent / "matrix.txt"
ACCEPT: Final = "MATRIX=accept .venv/bin/python -m pytest tests/access/test_matrix.py"

COLUMNS: Final = {
    "admin": "an administrator, in the tenant of the objects",
    "no scope": "a person without any scope, in the tenant of the objects",
    "system": "an integration system, in the tenant of the objects",
    "app self": "an application about itself and what is its own; about a runtime, one that shares a group with it",
    "app other": "another application of the same tenant",
    "rt self": "a runtime about itself and what is its own; about an application, one that shares a group with it",
    "rt other": "another runtime of the same tenant",
    "below": "an administrator of a subaccount of the objects' tenant",
    "f. admin": "an administrator of another tenant",
    "f. system": "an integration system, in another tenant",
    "f. app": "an application of another tenant",
    "f. rt": "a runtime of another tenant",
    "no tenant": "an administrator who names no tenant",
    "component": "a component of the plane: scope ory_internal, no tenant",
    "nobody": "neither scope nor tenant nor certificate; who has no valid token at all comes to no operation",
}
WORDS: Final = {
    "yes": "done; of a query: shows the object",
    "yes+": "the same of a query, and a password that is kept for it",
    "-": "answered, and shows nothing of the object",
    "scope": "refused: the caller lacks the scope (23, 403)",
    "tenant": "refused: a tenant is needed (24, 25)",
    "unknown": "refused: for this caller there is no such object (20, 2)",
    "owner": "refused: not the caller's to change, or not the caller's to ask (26)",
    "invalid": "refused: what is asked for contradicts something (21, 22, 400)",
    "refused": "refused: not at this time, or never (27, 501)",
    "error": "refused with another sentence (10)",
}
_CODES: Final = {
    2: "unknown",
    400: "invalid",
    403: "scope",
    501: "refused",
    10: "error",
    20: "unknown",
    21: "invalid",
    22: "invalid",
    23: "scope",
    24: "tenant",
    25: "tenant",
    26: "owner",
    27: "refused",
}

_DEEPER: Final = {"applicationsGlobal": 2, "bundleByInstanceAuth": 2, "bundleInstanceAuth": 2}
"""Where what is to be seen lies further down."""


def callers(made: Landscape, recipe: Mapping[str, Any]) -> dict[str, tuple[Caller, Side]]:
    """Who asks about whose objects, by column."""
    mine, also, other = made.mine, made.also_mine, made.other
    words = {value for _, value in leaves(recipe)}
    # An operation that needs an application in no group is about another one, which then calls for itself.
    self_ = next((word for word in ("spare_application", "application") if f"@{word}" in words), "application")
    admin = mine.administrator()
    system = Caller(
        Consumer.INTEGRATION_SYSTEM,
        made.system,
        Flow.OAUTH2,
        BY_CONSUMER[Consumer.INTEGRATION_SYSTEM],
        mine.tenant,
        mine.external,
    )
    nobody = Caller(Consumer.STATIC_USER, "", Flow.ONE_TIME_TOKEN, frozenset(), None)
    found = {
        "admin": admin,
        "no scope": replace(admin, scopes=frozenset()),
        "system": system,
        "app self": mine.application(self_),
        "app other": also.application(),
        "rt self": mine.runtime(),
        "rt other": also.runtime(),
        "below": made.below,
        "f. admin": other.administrator(),
        "f. system": replace(system, tenant=other.tenant, external_tenant=other.external),
        "f. app": other.application(),
        "f. rt": other.runtime(),
        "no tenant": user(None, None),
        "component": replace(user(None, None), scopes=COMPONENT, consumer_id="component"),
        "nobody": nobody,
    }
    return {column: (found[column], mine) for column in COLUMNS}


def cell(made: Landscape, operation: Offered, recipe: Mapping[str, Any], side: Side, answer: Answer) -> str:
    """The word for an answer."""
    if answer.code is not None:
        return _CODES.get(answer.code, f"?{answer.code}")
    if operation.kind == "Mutation":
        return "yes"
    if f"{side.marker}Password" in answer.text:
        return "yes+"
    named = [side.known[value[1:]] for _, value in leaves(recipe) if str(value)[0] == "@" and value != "@cursor"]
    known = {*side.known.values()} - {*made.shared.values(), *made.also_mine.known.values()}
    wanted = {*known, *(named or made.shared.values())}
    if operation.name == "tenantByLowestOwnerForResource":  # the answer is the tenant's id, which both sides have
        wanted.add(side.tenant)
    return "yes" if any(one in answer.text for one in wanted) else "-"


async def table(made: Landscape) -> str:
    """The whole table, as it is written."""
    lines = ["Who may do what. Written by tests/access/test_matrix.py, which says how.", ""]
    lines += [f"{word:10} {meaning}" for word, meaning in COLUMNS.items()]
    lines += ["", *(f"{word:10} {meaning}" for word, meaning in WORDS.items())]
    for surface, recipes in RECIPES.items():
        head = "".join(f"{column:11}" for column in COLUMNS)
        lines += ["", f"{surface.upper():54}{head}".rstrip()]
        for called, recipe in recipes.items():
            operation = next(
                one for one in made.operations() if (one.surface, one.name) == (surface, called.partition(" ")[0])
            )
            cells = []
            for caller, side in callers(made, recipe).values():
                chosen = made.selection(operation, caller.scopes, _DEEPER.get(called, int(operation.kind == "Query")))
                answer = await made.ask(caller, operation, filled(recipe, own(side, "new")), chosen)
                cells.append(cell(made, operation, recipe, side, answer))
                await made.restore(await made.changed())
            lines.append(f"{called:54}{''.join(f'{word:11}' for word in cells)}".rstrip())
    return "\n".join(lines) + "\n"


@pytest.fixture
async def made(dsn: str, tmp_path: Path) -> Any:
    """Two tenants full of everything."""
    async with landscape(dsn, tmp_path) as ready:
        yield ready


@pytest.mark.timeout(600)
async def test_every_kind_of_caller_may_do_exactly_what_the_table_says(made: Landscape, record_property: Any) -> None:
    written = TABLE.read_text(encoding="utf-8") if TABLE.exists() else ""

    found = await table(made)

    record_property("cases", sum(len(recipes) for recipes in RECIPES.values()) * len(COLUMNS))
    if os.environ.get("MATRIX") == "accept":
        TABLE.write_text(found, encoding="utf-8")
    elif found != written:
        difference = difflib.unified_diff(
            written.splitlines(), found.splitlines(), "matrix.txt", "the plane", n=0, lineterm=""
        )
        pytest.fail("\n".join([f"who may do what has changed; if that is meant: {ACCEPT}", *difference]), pytrace=False)
