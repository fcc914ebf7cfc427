"""Forty secrets go in through the API, and come out nowhere: not of the database, its files, a log, an error or a page.

Each is looked for in five spellings. A text that is no secret goes the same way and has to be found in each place where
things are kept, so that nothing found means something. The plane writes down all that it and its libraries have to say;
with `COMPASS_PROOF=1` every secret, not one in ten, is shown where it does not belong, in every way.
"""

import asyncio
import base64
import binascii
import json
import re
import secrets
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
import asyncpg
import pytest

from compass.client.graphql import Endpoint
from compass.postgres.embedded import running
from tests.e2e.plane import DEFAULT_TENANT, Plane
from tests.e2e.showing import PROOF, TalkativePlane, commands, followed, hostile, seen_by_anybody

REGISTER = (
    "mutation ($in: ApplicationRegisterInput!) { result: registerApplication(in: $in) { id bundles { data { id } } } }"
)
RUNTIME = "mutation ($in: RuntimeRegisterInput!) { result: registerRuntime(in: $in) { id } }"
SYSTEM = 'mutation { result: registerIntegrationSystem(in: {name: "system"}) { id } }'
BUNDLE = "mutation ($app: ID!, $in: BundleCreateInput!) { result: addBundle(applicationID: $app, in: $in) { id } }"
WEBHOOK = "mutation ($app: ID!, $in: WebhookInput!) { result: addWebhook(applicationID: $app, in: $in) { id } }"
INSTANCE = """
mutation ($bundle: ID!) { result: requestBundleInstanceAuthCreation(bundleID: $bundle, in: {}) { id } }
"""
SET_INSTANCE = """
mutation ($id: ID!, $auth: AuthInput!) { result: setBundleInstanceAuth(authID: $id, in: {auth: $auth}) { id } }
"""
CREDENTIALS = """
mutation ($id: ID!) { result: requestClientCredentialsFor%s(id: $id) {
  auth { credential { ... on OAuthCredentialData { clientSecret } } } } }
"""
TOKEN = "mutation ($id: ID!) { result: requestOneTimeTokenFor%s(id: $id) { token } }"
WRONG = (
    'mutation { addWebhook(applicationID: "x", in: {type: 7, auth: {credential: {basic: {password: "%s"}}}}) { id } }',
    'query { application(id: "x") { id password(is: "%s") } }',
    'mutation ($in: WebhookInput! = "%s") { addWebhook(applicationID: "x", in: $in) { id } }',
)


PAGE = 8192


class Planted:
    """The secrets, by what they were planted as."""

    def __init__(self) -> None:
        self.by_name: dict[str, str] = {}

    def new(self, name: str) -> str:
        """A secret with characters that every encoding spells differently."""
        self.by_name[name] = made = f"{secrets.token_hex(3)}+/=<&{secrets.token_urlsafe(18)}"
        return made

    def known(self, name: str, secret: str) -> None:
        """One that the plane made."""
        self.by_name[name] = secret

    def auth(self, name: str) -> dict[str, Any]:
        """Everything in an `AuthInput` that is secret."""
        return {
            "credential": {"basic": {"username": "u", "password": self.new(f"{name}, password")}},
            "additionalHeadersSerialized": json.dumps({"X-Key": [self.new(f"{name}, header")]}),
            "additionalQueryParamsSerialized": json.dumps({"key": [self.new(f"{name}, parameter")]}),
            "requestAuth": {
                "csrf": {
                    "tokenEndpointURL": "https://csrf.example/",
                    "credential": self.client(f"{name}, CSRF"),
                    "additionalHeadersSerialized": json.dumps({"X-Key": [self.new(f"{name}, CSRF header")]}),
                }
            },
        }

    def client(self, name: str) -> dict[str, Any]:
        """A client of some other token endpoint."""
        secret = self.new(f"{name}, client secret")
        return {"oauth": {"clientId": "c", "clientSecret": secret, "url": "https://tokens.example/"}}


def spellings(secret: str) -> Iterator[bytes]:
    """As it is, in JSON and in a URL, in hexadecimal, in UTF-16, and in base64 wherever in a longer text it stands."""
    raw = secret.encode()
    yield raw
    yield json.dumps(secret).strip('"').encode()
    yield quote(secret, safe="").encode()
    yield secret.replace("&", "&amp;").replace("<", "&lt;").encode()
    yield binascii.hexlify(raw)
    yield binascii.hexlify(raw).upper()
    yield secret.encode("utf-16-le")
    yield secret.encode("utf-16-be")
    for shift in range(3):
        # The characters that depend on nothing but the secret: the first and last may hold bits of their neighbours.
        whole = base64.b64encode(b"\0" * shift + raw)
        inner = whole[4 if shift else 0 : len(whole) - 4]
        yield inner
        yield inner.translate(bytes.maketrans(b"+/", b"-_"))


def found(planted: Mapping[str, str], places: Mapping[str, bytes]) -> list[str]:
    """Each secret that can be read somewhere, and where."""
    return [
        f"{name} in {place}"
        for name, secret in planted.items()
        for spelling in set(spellings(secret))
        for place, content in places.items()
        if spelling in content
    ]


async def dumped(dsn: str) -> dict[str, bytes]:
    """All that is in the database, by SQL, and by `pg_dump` where there is one."""
    connection = await asyncpg.connect(dsn)
    try:
        tables = await connection.fetch(
            "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables "
            "WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
        rows = [
            row[0] or ""
            for table in tables
            for row in await connection.fetch(f"SELECT kept::text FROM {table['name']} AS kept")
        ]
    finally:
        await connection.close()
    places = {"the tables": "\n".join(rows).encode()}
    try:
        dump = await asyncio.to_thread(
            subprocess.run, ["pg_dump", "--dbname", dsn, "--inserts"], capture_output=True, check=True, timeout=60
        )
        places["pg_dump"] = dump.stdout
    except (OSError, subprocess.CalledProcessError):
        pass  # another version of PostgreSQL's, or none: the tables were read
    return places


def files(folder: Path) -> dict[str, bytes]:
    """What PostgreSQL left on the disk: it writes everything there when it stops."""
    seen = set[bytes]()  # PostgreSQL keeps its catalogues several times, and pages without anything many times
    kept = {"the files of base": bytearray(), "the files of pg_wal": bytearray()}
    for path in sorted(folder.rglob("*")):
        for part in {"base", "pg_wal"} & set(path.parts):
            content = path.read_bytes() if path.is_file() else b""
            for begin in range(0, len(content), PAGE):
                page = content[begin : begin + PAGE]
                if page not in seen:
                    seen.add(page)
                    kept[f"the files of {part}"] += page
    return {name: re.sub(rb"\0{16,}", b"\0", content) for name, content in kept.items()}


@pytest.mark.parametrize("at", [0, 1, 2, 3, 7])
def test_a_secret_is_found_in_every_spelling(at: int) -> None:
    secret = Planted().new("x")
    text = b"a" * at + secret.encode() + b"the end"
    for content in (
        text,
        base64.b64encode(text),
        base64.urlsafe_b64encode(text),
        binascii.hexlify(text),
        text.decode().encode("utf-16"),
        quote(text).replace("/", "%2F").encode(),
        json.dumps(text.decode()).encode(),
    ):
        assert found({"it": secret}, {"there": content}), content
    assert not found({"it": secret}, {"there": Planted().new("another").encode()})


async def test_no_planted_secret_can_be_read_anywhere(tmp_path: Path, record_property: Any) -> None:
    planted, shown, errors = Planted(), secrets.token_hex(16), []
    folder = tmp_path / "postgres"
    async with running(folder) as dsn:
        password = urlencode({"password": planted.new("the database's password")})
        settings = {"COMPASS_DATABASE__DSN": f"{dsn}&{password}"}
        async with TalkativePlane(tmp_path / "plane", settings=settings) as plane, followed(plane) as feed:
            await _plant(plane, planted, shown)
            everyone = list(planted.by_name.values())
            for number, secret in enumerate(everyone if PROOF else everyone[::10]):
                errors += [answer async for answer in hostile(plane, secret, f"hostile {number}")]
                errors += [(await plane.post(wrong % secret)).text for wrong in WRONG]
                wrong_type = {"in": {"type": "REGISTER_APPLICATION", "auth": {"credential": secret}}, "app": "x"}
                errors.append((await plane.post(WEBHOOK, wrong_type)).text)
                shows = {"Connector-Token": secret, "Authorization": f"Bearer {secret}"}
                body = json.dumps({"query": "{ configuration { token { token } } }"})
                errors += [
                    (await plane.send(f"/{where}/graphql", body, shows)).text for where in ("connector", "director")
                ]
            pages = [
                (await plane.send(path, b"")).text for path in ("/", "/console", "/v1/info", "/metrics", "/readyz")
            ]
            pages += [page async for page in seen_by_anybody(plane, everyone[-1])]
            records = "{ result: auditRecords(first: 200) { data { operation arguments before after } } }"
            places = {
                "commands": "\n".join([said async for said in commands(plane)]).encode(),
                "the audit log": json.dumps(await plane.ask(records)).encode(),
            }
            consoles = await console_pages(plane)
            assert any(shown in page for page in consoles)
            await plane.kill()
            log = plane.log_file.read_bytes()
        places |= {"the feed": b"".join(feed), **await dumped(dsn)}
    places |= files(folder)
    places["the log of PostgreSQL"] = b"\n".join(path.read_bytes() for path in folder.rglob("*.log"))
    places |= {"errors": "\n".join(errors).encode(), "the log": log}
    places |= {"pages": "\n".join([*pages, *consoles]).encode()}
    kept = [path for path in (tmp_path / "plane/plane").rglob("*") if path.is_file() and path.name != "vault.keys"]
    places["the data folder"] = b"\0".join(path.read_bytes() for path in kept)

    assert len(planted.by_name) >= 40
    record_property("cases", len(planted.by_name))
    assert found(planted.by_name, places) == []
    assert [
        place
        for place in ("the tables", "the files of base", "the files of pg_wal", "the audit log", "commands")
        if shown.encode() not in places[place]
    ] == []
    assert [place for place, content in places.items() if not content] == []
    assert b'"logger":"uvicorn.error"' in log  # which is not heard otherwise
    assert b"event: ApplicationRegistered" in places["the feed"]


async def console_pages(plane: Plane) -> list[str]:
    """Every page of the console that links lead to, as the administrator sees it."""
    same = {"origin": plane.token_url, "sec-fetch-site": "same-origin"}
    tried, left, pages = {"/console/sign-out"}, ["/console/"], []
    connector = aiohttp.TCPConnector(ssl=plane.trust.context())
    async with aiohttp.ClientSession(plane.token_url, connector=connector) as session:
        asking = {**await plane.bearer(), "Tenant": DEFAULT_TENANT}
        async with session.post("/console/links", headers=asking) as answer:
            code = (await answer.json(content_type=None))["path"].partition("code=")[2]
        async with session.post("/console/sign-in", data={"code": code}, headers=same) as answer:
            assert answer.status == 200
        while left:
            path = left.pop()
            tried.add(path)
            async with session.get(path) as answer:
                pages.append(await answer.text())
            found = re.findall(r'href="(/console/(?!static/)[^"#?]*)', pages[-1])
            left += [one for one in dict.fromkeys(found) if one not in tried and one not in left]
    return pages


def into(given: Mapping[str, Any]) -> Any:
    """The variable `in`, which is no name of an argument in Python."""
    return {"in": given}


async def _plant(plane: Plane, planted: Planted, shown: str) -> None:
    source = {"url": "https://specifications.invalid/", "auth": planted.auth("a fetch request of an API")}
    api = {
        "name": "api",
        "targetURL": "https://api.example/",
        "spec": {"type": "OPEN_API", "format": "JSON", "fetchRequest": source},
    }
    elsewhere = {
        "url": "https://specifications.invalid/",
        "auth": {"credential": planted.client("a fetch request of an event")},
    }
    event = {"name": "event", "spec": {"type": "ASYNC_API", "format": "JSON", "fetchRequest": elsewhere}}
    document = {
        "title": "t",
        "displayName": "d",
        "description": "d",
        "format": "MARKDOWN",
        "fetchRequest": {"url": "https://a.invalid/", "auth": planted.auth("a fetch request of a document")},
    }
    bundle = {
        "name": "bundle",
        "defaultInstanceAuth": planted.auth("a bundle"),
        "apiDefinitions": [api],
        "eventDefinitions": [event],
        "documents": [document],
    }
    hook = {"type": "CONFIGURATION_CHANGED", "url": "https://hook.invalid/", "auth": planted.auth("a webhook")}
    application = await plane.ask(
        REGISTER, **into({"name": "planted", "description": shown, "bundles": [bundle], "webhooks": [hook]})
    )
    other: Any = {
        "type": "APPLICATION_TENANT_MAPPING",
        "urlTemplate": '{"path": "https://hook.invalid/", "method": "POST"}',
        "inputTemplate": "{}",
        "outputTemplate": '{"location": "", "success_status_code": 202, "error": ""}',
        "auth": {"credential": planted.client("another webhook")},
    }
    await plane.as_administrator(Endpoint.DIRECTOR, WEBHOOK, app=application["id"], **into(other))
    another = {"name": "another", "defaultInstanceAuth": {"credential": planted.client("another bundle")}}
    await plane.ask(BUNDLE, app=application["id"], **into(another))
    bare = await plane.ask(BUNDLE, app=application["id"], **into({"name": "without credentials"}))
    for number in range(2):
        asked = await plane.ask(INSTANCE, bundle=bare["id"])
        await plane.ask(SET_INSTANCE, id=asked["id"], auth=planted.auth(f"instance {number}"))
    runtime = await plane.ask(RUNTIME, **into({"name": "planted"}))
    system = await plane.ask(SYSTEM)
    for kind, id_ in (
        ("Application", application["id"]),
        ("Runtime", runtime["id"]),
        ("IntegrationSystem", system["id"]),
    ):
        answered = await plane.ask(CREDENTIALS % kind, id=id_)
        planted.known(f"client credentials of {kind}", answered["auth"]["credential"]["clientSecret"])
    for kind, id_ in (("Application", application["id"]), ("Runtime", runtime["id"])):
        for number in range(3):
            planted.known(f"token {number} of {kind}", (await plane.ask(TOKEN % kind, id=id_))["token"])
    planted.known("the administrator's secret", (plane.anchor.parent / "local.secret").read_text().strip())
    planted.known("the administrator's token", (await plane.bearer())["Authorization"].removeprefix("Bearer "))
