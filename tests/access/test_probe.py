"""Whatever one tenant has, another finds no trace of it: not in answers, not by trying ids, names, labels or cursors.

Every operation is called by foreigners, with each argument that is like an id replaced, once by what the first tenant
has and once by something that nobody has. The two answers must be the same, but for what the request itself said; no
answer holds a byte of the first tenant, and nothing of it is changed. `COMPASS_PROOF=1` puts every thing the first
tenant has into every such place, asks for everything two levels deep, and goes through it again without the policies of
the database; `PROBE_SEED` repeats a run.

What operators do across tenants by the contract, see `ACROSS`, is asked by callers without their scopes only.
"""

import json
import os
import random
import re
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, Final

import graphql
import pytest

from compass.access.caller import Caller, Consumer, Flow
from compass.access.scopes import BY_CONSUMER
from compass.reads.document import Schema
from tests.access.landscape import Answer, Landscape, Offered
from tests.access.operations import RECIPES, cursor, filled, is_word, leaves, own
from tests.access.populate import landscape

PROOF: Final = bool(os.environ.get("COMPASS_PROOF"))
SEED: Final = os.environ.get("PROBE_SEED")
LOCKS: Final = ("both", "statements alone") if PROOF else ("both",)
"""Which of the two are in force: what the plane's statements say of tenants, and the database's policies."""
AT_LEAST: Final = 2_000 if PROOF else 600
ONE_IN: Final = 1 if PROOF else 4
"""Of the replacements by what suits the argument, how many are tried."""
ODD_ONE_IN: Final = 10
"""Of those by something else, in the long form."""

ACROSS: Final[Mapping[str, str]] = {
    "applicationsGlobal": "application_global:read is about all tenants",
    "tenants": "tenant:read is about the tree of tenants",
    "tenantByExternalID": "as tenants",
    "rootTenants": "as tenants",
    "writeTenants": "tenant:write is about the tree of tenants",
    "writeTenant": "as writeTenants",
    "updateTenant": "as writeTenants",
    "deleteTenants": "as writeTenants",
    "setTenantLabel": "as writeTenants",
    "formationsForObject": "formation:global_read is about all tenants",
    "unassignFormationGlobal": "formation:global_write is about all tenants",
    "addTenantAccess": "tenant_access:write is about who sees what, in all tenants",
    "removeTenantAccess": "as addTenantAccess",
}
"""What works across tenants for whoever has its scope, and why."""
ONE_NAME_FOR_ALL: Final[Mapping[tuple[str, str], str]] = {
    ("requestBundleInstanceAuthCreation", "in.id"): "the caller chooses the id, and nothing may have it yet",
}
"""Where it cannot but be told that something exists, and why. What exists is 122 random bits, which nobody guesses."""
FROM_ABOVE: Final = frozenset({"own_template", "own_template_name", "own_template_webhook"})
"""What a tenant has for those below it, too: templates of formations. Source: contract/director.md §15."""
NOT_LIKE_IDS: Final[Mapping[str, str]] = {
    "AuthInput": "credentials for elsewhere",
    "WebhookInput": "an address elsewhere",
    "ApplicationJSONInput": "a template",
    "BundleCreateInput": "names within what is being made",
    "APISpecInput": "a document",
    "EventSpecInput": "a document",
    "VersionInput": "numbers",
    "AppliedFieldInput": "names that a client gives to fields",
    "AspectInput": "names within what is being made",
    "PlaceholderDefinitionInput": "names within what is being made",
    "TemplateValueInput": "values",
    "ConfigEntryInput": "a setting of the cluster",
    "KymaConfigInput": "settings of the cluster",
    "GardenerUpgradeInput": "settings of the cluster",
    "OIDCConfigInput": "settings of the cluster",
    "DNSConfigInput": "settings of the cluster",
    "ProviderSpecificInput": "settings of the cluster",
    "providerName": "a text for people",
    "displayName": "a text for people",
    "runtimeTypeDisplayName": "a text for people",
    "ordID": "a name in a catalogue elsewhere",
    "controlPlaneFailureTolerance": "a setting of the cluster",
    "customerId": "a label",
    "costObjectId": "a label",
    "targetSecret": "a setting of the cluster",
    "exposureClassName": "a setting of the cluster",
    "templateName of registerApplicationFromTemplate": "templates of applications belong to no tenant",
    "name of registerRuntime": "need not be unique",
    "name of updateRuntime": "need not be unique",
    "name of registerIntegrationSystem": "integration systems belong to no tenant",
    "name of updateIntegrationSystem": "as registerIntegrationSystem",
    "name of updateApplicationTemplate": "as templateName",
    "name of writeTenants": "a text for people",
    "name of writeTenant": "a text for people",
    "name of updateTenant": "a text for people",
    "RuntimeInput": "names need not be unique",
}
"""Input types and arguments that hold nothing by which anything is found, and why."""
_ERROR_ID: Final = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_RANDOM: Final = re.compile(r"[A-Za-z0-9_=-]{40,}")
_LIKE_AN_ID: Final = re.compile(r"(?i)(id|ids|tenant|token|fingerprint|serial|number|name|parents)$")


@dataclass(frozen=True)
class Probe:
    """One replaced word of one recipe."""

    operation: Offered
    called: str
    path: str
    """Where the word stands; empty for the ids that fields below the operation want."""
    word: str
    """What of the first tenant goes there."""
    is_odd: bool = False
    """Whether something else belongs there."""


def probes(made: Landscape, *, odd: bool) -> Iterator[Probe]:
    """Every word of every recipe replaced by its like; if they may be `odd`, also by everything else there is."""
    offered = {(one.surface, one.name): one for one in made.operations()}
    words = sorted(made.mine.known.keys() - made.shared.keys() - {"csr", "label_query"}) if odd else []
    for surface, recipes in RECIPES.items():
        for called, recipe in recipes.items():
            operation = offered[surface, called.partition(" ")[0]]
            places = [(path, value[1:]) for path, value in leaves(recipe) if is_word(value) and value != "@csr"]
            if "$nested" in made.selection(operation, frozenset(), 2):
                places.append(("", "bundle"))
            for path, suited in places:
                if suited not in made.shared:
                    yield Probe(operation, called, path, suited)
                if suited not in ("cursor", "label_query"):
                    yield from (Probe(operation, called, path, word, is_odd=True) for word in words if word != suited)


def foreigners(made: Landscape) -> dict[str, Caller]:
    """Who asks: everybody who might, and has no business with the first tenant."""
    other = made.other
    system = Caller(
        Consumer.INTEGRATION_SYSTEM,
        made.system,
        Flow.OAUTH2,
        BY_CONSUMER[Consumer.INTEGRATION_SYSTEM],
        other.tenant,
        other.external,
    )
    return {
        "administrator": other.administrator(),
        "administrator below": made.below,
        "administrator without a tenant": replace(other.administrator(), tenant=None, external_tenant=None),
        "integration system": system,
        "application": other.application(),
        "runtime": other.runtime(),
    }


async def asked(made: Landscape, caller: Caller, probe: Probe, value: str) -> Answer:
    """The recipe with the one word replaced, and everything else the foreigner's own."""
    usual = own(made.other, "fresh")

    def fill(word: str, path: str) -> Any:
        return value if path == probe.path else usual(word, path)

    recipe = RECIPES[probe.operation.surface][probe.called]
    chosen = made.selection(probe.operation, caller.scopes, 2 if PROOF else 1)
    return await made.ask(caller, probe.operation, filled(recipe, fill), chosen, nested=None if probe.path else value)


def plain(text: str, value: str) -> str:
    """An answer without what the request said, and without what is different every time."""
    for shown in sorted({value, value.replace('"', '\\"'), normalized(value)}, key=len, reverse=True):
        text = text.replace(shown, "<asked>")
    text = _RANDOM.sub("<random>", _TIME.sub("<time>", _ERROR_ID.sub("<id>", text)))
    return json.dumps(json.loads(text), sort_keys=True)  # labels come in any order


def normalized(name: str) -> str:
    """What a runtime calls an application of that name."""
    return f"mp-{re.sub('-+', '-', re.sub('[^-a-z0-9]', '-', name.lower()))}".removesuffix("-")


def unlike(known: str, chance: random.Random) -> str:
    """Something of the same shape that nobody has."""
    letters = "abcdef" if re.fullmatch("[0-9a-f-]+", known) else "bcdfghjklmnpqrstvwxz"
    kinds = {one: "0123456789" if one.isdigit() else letters.upper() if one.isupper() else letters for one in known}
    return "".join(
        chance.choice(kinds[one]) if one.isalnum() and not (one == "4" and number == 14) else one
        for number, one in enumerate(known)
    )


class Leaks:
    """What was found, each with how to see it again."""

    def __init__(self, made: Landscape) -> None:
        self.made = made
        ids = {value for side in (made.mine, made.also_mine) for word, value in side.known.items()}
        ids -= {*made.shared.values(), *made.other.known.values(), ""}
        self.ids = sorted(value for value in ids if len(value) > len("canaryOne") - 1)
        self.found: list[str] = []

    async def look(self, who: str, probe: Probe, value: str, answer: Answer, other: Answer, unknown: str) -> None:
        """Compare the two answers, and look for the first tenant in the first of them."""
        at = f"{probe.called}({probe.path or 'fields below'}: @{probe.word}) by the {who}"
        is_told = probe.word == "cursor" or (probe.called, probe.path) in ONE_NAME_FOR_ALL
        if not is_told and plain(answer.text, value) != plain(other.text, unknown):
            one, two = plain(answer.text, value), plain(other.text, unknown)
            begin = max(
                0, next((at for at, pair in enumerate(zip(one, two, strict=False)) if len({*pair}) > 1), 0) - 80
            )
            self.found.append(f"{at} tells what exists:\n    … {one[begin:][:280]}\n    … {two[begin:][:280]}")
        shown = answer.text.replace(value, "").replace(value.replace('"', '\\"'), "").replace(normalized(value), "")
        if "canary" in shown.lower() or any(one in shown for one in self.ids if one not in value):
            self.found.append(f"{at} shows:\n    {answer.text[:600]}")

    async def changed(self, who: str, probe: Probe, value: str) -> None:
        """Look for rows of the first tenant that are not as they were, and put everything back."""
        tables = await self.made.changed()
        if not tables:
            return
        # Names may be the same in every tenant; ids may not stand in a row of another.
        named = [one for one in self.ids if re.fullmatch("[0-9a-f-]{36}", one)]
        if (probe.called, probe.path) in ONE_NAME_FOR_ALL:
            named = [one for one in named if one != value]
        if who == "administrator below":  # what it registers is its parent's, too
            named = [one for one in named if one != self.made.mine.tenant]
            ours = [table for table in tables if table != "tenant_count"]
        else:
            ours = tables
        touched = await self.made.touched(ours, "|".join(["canary", *named]), "|".join(named))
        if touched:
            at = f"{probe.called}({probe.path}: {value}) by the {who}"
            self.found.append(f"{at} changes:\n    " + "\n    ".join(row[:300] for row in touched[:4]))
        await self.made.restore(tables)


@pytest.fixture
async def made(dsn: str, tmp_path: Path) -> AsyncIterator[Landscape]:
    """Two tenants full of everything."""
    async with landscape(dsn, tmp_path) as ready:
        yield ready


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("locks", LOCKS)
async def test_a_foreigner_finds_no_trace_of_what_a_tenant_has(
    made: Landscape, record_property: Any, locks: str
) -> None:
    if locks == "statements alone":
        await made.without_policies()
    seed = SEED or str(secrets.randbits(32) if PROOF else 4)
    print(f"PROBE_SEED={seed}")  # noqa: T201  # shown when the test fails
    chance = random.Random(seed)  # noqa: S311  # which probes, not secrets
    leaks = Leaks(made)
    requests = 0
    for probe in probes(made, odd=PROOF and locks == "both"):
        for who, caller in foreigners(made).items():
            if probe.called.partition(" ")[0] in ACROSS and not who.startswith(("integration", "application", "run")):
                continue
            if chance.randrange(ODD_ONE_IN if probe.is_odd else ONE_IN):
                continue
            if who == "administrator below" and probe.word in FROM_ABOVE:
                continue
            value = cursor(1) if probe.word == "cursor" else made.mine.known[probe.word]
            unknown = cursor(2) if probe.word == "cursor" else unlike(value, chance)
            answer = await asked(made, caller, probe, value)
            await leaks.changed(who, probe, value)
            other = await asked(made, caller, probe, unknown)
            await leaks.changed(who, probe, unknown)
            await leaks.look(who, probe, value, answer, other, unknown)
            requests += 2

    record_property("cases", requests)
    assert requests >= AT_LEAST
    assert not leaks.found, f"{len(leaks.found)} leaks in {requests} requests:\n" + "\n".join(leaks.found[:40])


def like_ids(arguments: Mapping[str, Any], operation: str, path: str = "") -> Iterator[str]:
    """Where in the arguments of an operation something can stand by which things are found."""
    for name, argument in arguments.items():
        kind = graphql.get_named_type(argument.type)
        at = f"{path}.{name}" if path else name
        if {kind.name, name, f"{name} of {operation}"} & NOT_LIKE_IDS.keys():
            continue
        if isinstance(kind, graphql.GraphQLInputObjectType):
            yield from like_ids(kind.fields, operation, at)
        elif kind.name in ("ID", "PageCursor") or (kind.name == "String" and _LIKE_AN_ID.search(name)):
            yield at


@pytest.mark.parametrize("surface", RECIPES)
def test_everything_like_an_id_is_probed(surface: str) -> None:
    schema = Schema(resources.files(f"compass.{surface}").joinpath("schema.graphql").read_text(encoding="utf-8"))
    missing = []
    for kind in ("Query", "Mutation"):
        for name, operation in schema.fields(kind).items():
            probed = {
                path
                for called, recipe in RECIPES[surface].items()
                if called.partition(" ")[0] == name
                for path, value in leaves(recipe)
                if is_word(value)
            }
            missing += [f"{name}({path})" for path in like_ids(operation.args, name) if path not in probed]

    assert missing == [], "\n".join(missing)


@pytest.mark.parametrize("surface", RECIPES)
def test_every_operation_is_probed_and_nothing_else(surface: str) -> None:
    schema = Schema(resources.files(f"compass.{surface}").joinpath("schema.graphql").read_text(encoding="utf-8"))
    offered = {*schema.fields("Query"), *schema.fields("Mutation")}

    assert {called.partition(" ")[0] for called in RECIPES[surface]} ^ offered == set()
    if surface == "director":
        assert {*ACROSS, *(called for called, _ in ONE_NAME_FOR_ALL)} - offered == set()
