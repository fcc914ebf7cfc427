"""Every door of a plane beside its schemas, which `test_probe.py` goes through: no foreigner finds a trace of what
another tenant has, neither in an answer nor in the difference between two.

The doors are those that a plane opens, told by itself when it starts: a path, a page of the console or a field of a
form that is new and not probed here fails. Each is asked by foreigners with what the first tenant has and with its like
that nobody has. `COMPASS_PROOF=1` puts everything that tenant has into each place; `DOORS_SEED` repeats a run.
"""

import ast
import asyncio
import json
import os
import random
import re
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, quote_plus

import aiohttp
import asyncpg
import pytest

from compass.agent.pair import Connection, pair
from compass.api.http import App
from compass.app import Started, plane
from compass.client.graphql import ClientCertificate, Trust
from compass.console import app as console_app
from compass.director import tenant
from compass.postgres.pool import Database
from compass.settings import LimitSettings
from tests.access.test_probe import unlike
from tests.test_app import Client, access_token, administrator, settings

PROOF: Final = bool(os.environ.get("COMPASS_PROOF"))
SEED: Final = os.environ.get("DOORS_SEED") or str(secrets.randbits(32) if PROOF else 7)
MINE, OTHER = "alice", "boris"
"""Tenants. Their names are no secret to whoever may look at the tree of tenants; what is in them is."""
UNCOUNTED: Final = LimitSettings(
    address_failures_per_minute=10**6, address_failures_burst=10**6, caller_burst=10**6, tenant_burst=10**6
)
"""As if everybody came from elsewhere."""
JSON: Final = {"Content-Type": "application/json"}
CONSOLE: Final = "/console"
COOKIE: Final = "__Host-compass"

REGISTER = """
mutation ($name: String!, $label: Any!, $data: CLOB!, $url: String!) { result: registerApplication(in: {
  name: $name, labels: {label: $label}, webhooks: [{type: CONFIGURATION_CHANGED, url: "https://127.0.0.1:1/"}],
  bundles: [{name: $name, apiDefinitions: [{name: $name, targetURL: $url,
    spec: {type: OPEN_API, format: JSON, data: $data}}]}]
}) { id bundles { data { id apiDefinitions { data { id } } } } } }
"""
RUNTIME = "mutation ($name: String!) { result: registerRuntime(in: {name: $name}) { id } }"
LATER = "mutation ($name: String!) { registerApplication(in: {name: $name}, mode: ASYNC) { id } }"
FORMATION = "mutation ($name: String!) { result: createFormation(formation: {name: $name}) { id } }"
ASSIGN = """
mutation ($id: ID!, $type: FormationObjectType!, $name: String!) {
  result: assignFormation(objectID: $id, objectType: $type, formation: {name: $name}) {
    id formationAssignments { data { id } } } }
"""
TOKEN_FOR = "mutation ($id: ID!) { result: requestOneTimeTokenFor%s(id: $id) { token connectorURL } }"
SYSTEM = 'mutation { result: registerIntegrationSystem(in: {name: "system"}) { id } }'
RELABEL = """
mutation ($id: ID!, $value: Any!) { setApplicationLabel(applicationID: $id, key: "changed", value: $value) { key } }
"""
SECRET = """
mutation ($id: ID!) { result: requestClientCredentialsFor%s(id: $id) {
  auth { credential { ... on OAuthCredentialData { clientId clientSecret } } } } }
"""
KEPT = "SELECT t::text FROM %s t WHERE t::text ~ $1 AND t::text !~ ',changed,|canaryLater'"
"""Without what the first tenant changes itself meanwhile."""
TABLES: Final = (
    *("application", "application_label", "runtime", "runtime_label", "bundle", "api_definition", "webhook"),
    *("formation", "formation_assignment", "one_time_token"),
)
"""Where what a tenant has stands, as far as only its own people change it."""


@dataclass
class Doors:
    """What a plane opened."""

    opened: list[dict[str, Any]] = field(default_factory=list)
    """The paths of its two ports."""
    mounted: dict[str, Any] = field(default_factory=dict)


@dataclass
class World:
    """A plane, what the first tenant has in it, and the foreigners."""

    started: Started
    doors: Doors
    known: dict[str, str]
    own: dict[str, str]
    """The same of the foreigners."""
    first: Client
    """The first tenant's administrator."""
    callers: Mapping[str, Client]
    """By name; `… at mtls` with a certificate, the others at the port for people."""
    chance: random.Random
    found: list[str] = field(default_factory=list)
    asked: int = 0
    _unlike: dict[str, str] = field(default_factory=dict)

    def seen(self, at: str, asked: Sequence[str], unknown: Sequence[str], one: "Told", other: "Told") -> None:
        """Compare two answers: `asked` names something of the first tenant, and `unknown` is its like."""
        self.asked += 2
        two = one.plain(asked), other.plain(unknown)
        if two[0] != two[1]:
            begin = max(0, next((at for at, pair in enumerate(zip(*two, strict=False)) if len({*pair}) > 1), 0) - 80)
            self.found.append(f"{at} tells what exists:\n    … {two[0][begin:][:280]}\n    … {two[1][begin:][:280]}")
        self.traceless(at, one, asked)
        self.traceless(at, other, unknown)

    def traceless(self, at: str, told: "Told", asked: Sequence[str] = ()) -> None:
        """Look for the first tenant in an answer."""
        shown = told.without(asked)
        traces = ["canary", *(one for one in self.known.values() if len(one) > 20)]
        for trace in traces:
            place = shown.lower().find(trace.lower())
            if place >= 0:
                self.found.append(f"{at} shows: … {shown[max(0, place - 200) : place + 100]} …")
                return

    def likes(self, words: tuple[str, ...]) -> list[tuple[str, str, str]]:
        """What is put into a place: word, what the first tenant has, and its like."""
        chosen = list(self.known) if PROOF else [one for one in words if one in self.known]
        return [(word, self.known[word], self.unlike(word)) for word in chosen]

    def unlike(self, word: str) -> str:
        """The same every time, as what the first tenant has: what a foreigner makes of one it makes of the other."""
        return self._unlike.setdefault(word, unlike(self.known[word], self.chance))


@dataclass(frozen=True)
class Told:
    """All that a foreigner sees of an answer."""

    status: int
    headers: str
    text: str

    def without(self, asked: Sequence[str]) -> str:
        """The answer without what the request itself said."""
        text = f"{self.status}\n{self.headers}\n{self.text}"
        for value in asked:
            for spelled in {value, escape(value), quote(value), quote(value, safe=""), quote_plus(value)}:
                text = text.replace(spelled, "<asked>")
        return text

    def plain(self, asked: Sequence[str]) -> str:
        """The same without what is different every time."""
        text = re.sub(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", "<id>", self.without(asked))
        text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[.\d]*(Z|\+00:00)|\d\d:\d\d:\d\d", "<time>", text)
        text = re.sub(r" Did you mean [^?]*\?", "", re.sub(r"\b\d+ (second|minute)s?\b", "<ago>", text))
        return re.sub(r"[A-Za-z0-9_=-]{30,}", "<random>", text)


async def told(answer: aiohttp.ClientResponse) -> Told:
    kept = [
        f"{name}: {value}" for name, value in answer.headers.items() if name.lower() not in ("date", "x-request-id")
    ]
    headers = "\n".join(line for line in sorted(kept) if not line.lower().startswith("content-length"))
    return Told(answer.status, headers, (await answer.read()).decode("utf-8", "replace"))


async def ask(caller: Client, method: str, path: str, **more: Any) -> Told:
    async with caller.session.request(method, f"{caller.base}{path}", allow_redirects=False, **more) as answer:
        return await told(answer)


# --- the first tenant, and those who have no business with it ---


async def filled(started: Started, admin: Client, folder: Path, name: str) -> tuple[dict[str, str], list[Connection]]:
    """What a tenant has, by the words of this file, and its paired application and runtime."""
    more = {"label": f"{name}Value", "data": f'{{"{name}": 1}}', "url": f"https://{name}.test"}
    made = (await admin.data(REGISTER, name=f"{name}Application", **more))["result"]
    application = made["id"]
    runtime = (await admin.data(RUNTIME, name=f"{name}Runtime"))["result"]["id"]
    formation = (await admin.data(FORMATION, name=f"{name}Group"))["result"]["id"]
    await admin.data(ASSIGN, id=runtime, type="RUNTIME", name=f"{name}Group")
    assigned = (await admin.data(ASSIGN, id=application, type="APPLICATION", name=f"{name}Group"))["result"]
    later = (await admin.ask(LATER, name=f"{name}Later")).json["extensions"]["locations"][0]
    connections = []
    tokens = []
    for kind, holder in (("Application", application), ("Runtime", runtime)):
        given = (await admin.data(TOKEN_FOR % kind, id=holder))["result"]
        tokens.append(given["token"])
        connections.append(
            await pair(
                folder / f"{name}-{kind}",
                connector_url=given["connectorURL"],
                token=given["token"],
                trust=Trust.to(started.ca_pem),
            )
        )
    credential = (await admin.data(SECRET % "Application", id=application))["result"]["auth"]["credential"]
    unspent = (await admin.data(TOKEN_FOR % "Application", id=application))["result"]["token"]
    bundle = made["bundles"]["data"][0]
    known = {
        "tenant": MINE if name == "canary" else OTHER,
        "application": application,
        "application name": f"{name}Application",
        "runtime": runtime,
        "formation": formation,
        "formation name": f"{name}Group",
        "assignment": assigned["formationAssignments"]["data"][0]["id"],
        "later": later.rpartition("/")[2],
        "bundle": bundle["id"],
        "definition": bundle["apiDefinitions"]["data"][0]["id"],
        "client": connections[0].client_id,
        "client id": credential["clientId"],
        "spent token": tokens[0],
    }
    known |= {"unspent token": unspent} if name == "canary" else {}
    return known, connections


@pytest.fixture
async def world(dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """A plane with two tenants, told apart by whoever looks."""
    doors = Doors()
    open_, mount = App.open, App.mount

    def opened(self: App, routes: Any) -> None:
        doors.opened.append(dict(routes))
        open_(self, routes)

    def mounted(self: App, prefix: str, app: Any) -> None:
        doors.mounted[prefix] = app
        mount(self, prefix, app)

    monkeypatch.setattr(App, "open", opened)
    monkeypatch.setattr(App, "mount", mounted)
    async with Database.open(dsn, connections=1) as database, database.transaction() as tx:
        for name in (MINE, OTHER):
            await tenant.write(tx, tenant.NewTenant(name, name, "account", "test"))
    async with AsyncExitStack() as stack:
        started = await stack.enter_async_context(plane(replace(settings(tmp_path, dsn), limits=UNCOUNTED)))
        mine, other = [
            await stack.enter_async_context(administrator(started, tenant=external)) for external in (MINE, OTHER)
        ]
        known, _ = await filled(started, mine, tmp_path, "canary")
        own, [application, runtime] = await filled(started, other, tmp_path, "boris")
        token = await access_token(started, started.admin_secret)
        system = (await other.data(SYSTEM))["result"]["id"]
        credential = (await other.data(SECRET % "IntegrationSystem", id=system))["result"]["auth"]["credential"]
        systems_token = await access_token(started, credential["clientSecret"], credential["clientId"])
        callers = {
            "nobody": await stack.enter_async_context(asking(started.token_url, started)),
            "administrator": await stack.enter_async_context(
                asking(started.token_url, started, Authorization=f"Bearer {token}", Tenant=OTHER)
            ),
            "integration system": await stack.enter_async_context(
                asking(started.token_url, started, Authorization=f"Bearer {systems_token}", Tenant=OTHER)
            ),
            "application at mtls": await stack.enter_async_context(asking(started.mtls_url, started, application)),
            "runtime at mtls": await stack.enter_async_context(asking(started.mtls_url, started, runtime)),
        }
        print(f"DOORS_SEED={SEED}")  # noqa: T201  # shown when the test fails
        yield World(started, doors, known, own, mine, callers, random.Random(SEED))  # noqa: S311  # no secret


@asynccontextmanager
async def asking(
    base: str, started: Started, connection: Connection | None = None, **headers: str
) -> AsyncIterator[Client]:
    shown = None
    if connection is not None:
        shown = ClientCertificate(connection.folder / "chain.crt", connection.folder / "client.key")
    connector = aiohttp.TCPConnector(ssl=Trust.to(started.ca_pem).context(shown))
    async with aiohttp.ClientSession(
        connector=connector, headers=headers, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        yield Client(base, session)


# --- the paths of the two ports ---

Probe = Callable[[World, str, str, Client], Any]
"""Asks at a path, by a caller of that name."""


async def shows_nothing(world: World, path: str, who: str, caller: Client) -> None:
    """What is the same for everybody."""
    for method in ("GET", "POST"):
        answer = await ask(caller, method, path, headers={"If-None-Match": world.known["client"]})
        world.traceless(f"{method} {path} by the {who}", answer)
        world.asked += 1


async def in_the_path(world: World, path: str, who: str, caller: Client) -> None:
    """Ids of the path, all of them at once and each among the foreigner's own."""
    suited = {"ucl-formation-id": "formation", "ucl-assignment-id": "assignment", "resource_id": "later"}
    free = [name for name in re.findall(r"\{([^}]+)\}", path) if name in suited]
    method = "PATCH" if "businessIntegrations" in path else "GET"
    state = {"json": {"state": "CREATE_ERROR", "error": "x"}} if method == "PATCH" else {}
    for foreign in sorted({(free[0],), (free[-1],), tuple(free)}):
        for word in world.known if PROOF else [""]:
            words = [word or suited[name] for name in foreign]
            asked, unknown = [world.known[one] for one in words], [world.unlike(one) for one in words]
            answers = []
            for values in (asked, unknown):
                parts = {"resource_type": "application"} | {name: world.own[suited[name]] for name in free}
                parts |= dict(zip(foreign, values, strict=True))
                place = "/".join(
                    quote(parts[part[1:-1]], safe="") if part.startswith("{") else part for part in path.split("/")
                )
                answers.append(await ask(caller, method, place, **state))
            at = f"{method} {path} ({', '.join(foreign)}: {word or 'what belongs there'}) by the {who}"
            world.seen(at, asked, unknown, *answers)


async def in_the_head(world: World, path: str, who: str, caller: Client) -> None:
    """Tenants and one-time tokens that a GraphQL request names beside its document."""
    text = (
        "{ configuration { certificateSigningRequestInfo { subject } } }"
        if "connector" in path
        else "{ viewer { id } }"
    )
    places = {"Connector-Token": ("spent token",), "X-Request-Id": ("application",)}
    if who not in ("administrator", "integration system"):  # whose business all tenants are
        places["Tenant"] = ("tenant",)
    for name, words in places.items():
        for word, value, unknown in world.likes(words):
            if name == "Connector-Token" and word == "unspent token":
                continue  # whoever has that is who it speaks for
            answers = [
                await ask(caller, "POST", path, data=json.dumps({"query": text}), headers={**JSON, name: each})
                for each in (value, unknown)
            ]
            world.seen(f"{path} with {name} ({word}) by the {who}", [value], [unknown], *answers)


async def as_a_client(world: World, path: str, who: str, caller: Client) -> None:
    """Clients whose secret one does not have, by form and by Basic authorization."""
    for word, value, unknown in world.likes(("client id", "client", "application")):
        for form in ({"client_id": "%s", "client_secret": "wrong"}, {"client_id": "%s"}, {"scope": "%s"}):
            answers = []
            for each in (value, unknown):
                sent = {name: text.replace("%s", each) for name, text in form.items()}
                data = {"grant_type": "client_credentials", **sent}
                answers.append(await ask(caller, "POST", path, data=data, headers={"Authorization": ""}))
            world.seen(f"{path} {form} ({word}) by the {who}", [value], [unknown], *answers)


async def following(world: World, path: str, who: str, caller: Client) -> None:
    """The change feed, while both tenants change something: only the follower's own is told."""
    world.asked += 1
    async with asyncio.timeout(60), caller.session.get(f"{caller.base}{path}") as answer:
        if answer.status != 200:
            world.traceless(f"{path} by the {who}", await told(answer))
            return
        await world.first.data(RELABEL, id=world.known["application"], value=f"canary-{who}")
        await world.callers["administrator"].data(RELABEL, id=world.own["application"], value=who)
        heard = b""
        while world.own["application"].encode() not in heard:
            heard += await answer.content.readany()
        world.traceless(f"{path} by the {who}", Told(200, "", heard.decode()))


PATHS: Final[Mapping[str, Probe]] = {
    **dict.fromkeys(("/director/graphql", "/connector/graphql", "/provisioner/graphql"), in_the_head),
    "/oauth2/token": as_a_client,
    **dict.fromkeys(
        (
            *("/ca.pem", "/issuing.pem", "/v1/trust", "/crl.der", "/crl.pem", "/healthz", "/livez", "/readyz"),
            *("/v1/info", "/director/v1/info", "/v1/heartbeat"),
        ),
        shows_nothing,
    ),
    **{
        f"{prefix}{path}": in_the_path
        for prefix in ("", "/director")
        for path in (
            "/v1/businessIntegrations/{ucl-formation-id}/assignments/{ucl-assignment-id}/status",
            "/v1/businessIntegrations/{ucl-formation-id}/assignments/{ucl-assignment-id}/status/reset",
            "/v1/businessIntegrations/{ucl-formation-id}/status",
            "/last_operation/{resource_type}/{resource_id}",
        )
    },
    "/v1/events": following,
}
"""Every path of a plane, and how a foreigner tries it."""


@pytest.mark.timeout(1200)
async def test_no_path_of_a_plane_tells_a_foreigner_of_what_a_tenant_has(
    world: World, dsn: str, record_property: Any
) -> None:
    before = await kept(dsn, world)
    token_port, mtls_port = world.doors.opened
    for who, caller in world.callers.items():
        for path in mtls_port if who.endswith("at mtls") else token_port:
            assert path in PATHS, f"{path} is opened, and nobody tries it as a foreigner"
            await PATHS[path](world, path, who, caller)
    assert {*token_port, *mtls_port} == PATHS.keys()
    assert [*world.doors.mounted] == [CONSOLE]
    assert not world.found, f"{len(world.found)} leaks in {world.asked} requests:\n" + "\n".join(world.found[:20])
    assert gone(before, await kept(dsn, world)) == []
    assert world.asked > (1_000 if PROOF else 100)
    record_property("cases", world.asked)
    print(f"{world.asked} requests at {len(PATHS)} paths of two ports")  # noqa: T201  # for make proof


async def kept(dsn: str, world: World) -> dict[str, list[str]]:
    """What the first tenant has, as it stands in the tables."""
    named = "|".join(["canary", *(one for one in world.known.values() if re.fullmatch("[0-9a-f-]{36}", one))])
    connection = await asyncpg.connect(dsn)
    try:
        rows = {name: [row[0] for row in await connection.fetch(KEPT % name, named)] for name in TABLES}
    finally:
        await connection.close()
    assert all(rows.values()), rows
    return rows


def gone(before: Mapping[str, list[str]], now: Mapping[str, list[str]]) -> list[str]:
    """What is not any more as it was. A foreigner may have things of its own that are named alike."""
    return [row for table, rows in before.items() for row in rows if row not in now[table]]


# --- the console ---


def typed() -> set[str]:
    """Every name by which the console looks for something that was typed or stands in an address."""
    found = set()
    for file in Path(console_app.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            match node:
                case (
                    ast.Call(func=ast.Attribute(attr="form" | "query"), args=[ast.Constant(value=str(name))])
                    | ast.Call(
                        func=ast.Attribute(value=ast.Attribute(attr="form" | "query"), attr="get"),
                        args=[ast.Constant(value=str(name)), *_],
                    )
                ):
                    found.add(name)
    return found - {"csrf", "code", "theme", "back"}


def arranged(page: str) -> str:
    """A page without the order of its parts: what it asks at once is answered in any order, and told in that."""
    return "\n".join(sorted(re.split(r"(?=<)|\n", re.sub(r"\b(shown|did)(-\w+)?-\d+", "told", page))))


@pytest.mark.timeout(1200)
async def test_no_page_of_the_console_tells_a_foreigner_of_what_a_tenant_has(
    world: World, dsn: str, record_property: Any
) -> None:
    before = await kept(dsn, world)
    browser, sessions = world.callers["nobody"], world.doors.mounted[CONSOLE].sessions
    token = world.callers["administrator"].session.headers["Authorization"].removeprefix("Bearer ")
    same = {"origin": browser.base, "sec-fetch-site": "same-origin"}
    fields = typed()
    assert len(fields) > 10
    words = ("application", "runtime", "formation", "formation name", "client", "definition")
    routes = sorted(console_app.ROUTES)  # first what only looks
    for method, path in routes:
        # Which tenants there are an administrator may know, and choose any.
        likes = [one for one in world.likes(words) if one[0] != "tenant"]
        for word, value, unknown in likes if PROOF else [world.chance.choice(likes)]:
            for kind in ("applications", "runtimes") if "{kind}" in path else ("",):
                answers = []
                for each in (value, unknown):
                    place = re.sub(r"\{[^}]+\}", quote(each, safe=""), path.replace("{kind}", kind))
                    asked = dict.fromkeys(fields, each)
                    cookie = sessions.redeem(sessions.link(token, OTHER))  # a session that remembers nothing yet
                    session = sessions.find(cookie)
                    sent = {"data": {**asked, "csrf": session.csrf}} if method == "POST" else {"params": asked}
                    headers = {"cookie": f"{COOKIE}={cookie}", **same}
                    answer = await ask(browser, method, f"{CONSOLE}{place}", headers=headers, **sent)
                    assert answer.status < 500, f"{method} {place}: {answer}"
                    answers.append(Told(answer.status, answer.headers, arranged(f"{answer.text}\n{session.said}")))
                # What was typed into a form may be the name of something by now, and stand on every page.
                names = [text for one in likes for text in one[1:]] if method == "POST" else []
                at = f"{method} {CONSOLE}{path} {kind} ({word})"
                world.seen(at, [value, *names], [unknown, *names], *answers)
    assert not world.found, f"{len(world.found)} leaks in {world.asked} requests:\n" + "\n".join(world.found[:20])
    assert gone(before, await kept(dsn, world)) == []
    record_property("cases", world.asked)
    print(f"{world.asked} requests at {len(routes)} pages and forms of the console")  # noqa: T201  # for make proof
