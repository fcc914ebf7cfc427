"""Where a secret could show: answers to who shows it in the wrong place, pages, commands, the change feed."""

import asyncio
import base64
import json
import os
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp

from tests.e2e.plane import ADD_WEBHOOK, DEFAULT_TENANT, Plane

PROOF = bool(os.environ.get("COMPASS_PROOF"))
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
REGISTER = "mutation ($in: ApplicationRegisterInput!) { result: registerApplication(in: $in) { id } }"


COMMANDS = (
    *("config show", "audit export", "app get planted -o yaml", "doctor", "status", "topology", "whoami"),
    *("vault status", "ca status", "export", "app list -o json", "runtime list -o json", "group list", "cert list"),
    *("webhook list --app planted -o yaml", "bundle list planted -o json"),
)


class TalkativePlane(Plane):
    """One that logs at the level DEBUG."""

    program = "tests.e2e.talkative"


@asynccontextmanager
async def followed(plane: Plane) -> AsyncIterator[list[bytes]]:
    """What the change feed tells the administrator while the block runs."""
    told = list[bytes]()

    async def listen() -> None:
        headers = {**await plane.bearer(), "Tenant": DEFAULT_TENANT}
        async with connected(plane) as session, session.get(f"{plane.token_url}/v1/events", headers=headers) as answer:
            async for part in answer.content.iter_any():
                told.append(part)

    listening = asyncio.create_task(listen())
    try:
        async with asyncio.timeout(30):
            while not told:  # it begins with a word about where it is
                await asyncio.sleep(0.02)
        yield told
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


def connected(plane: Plane) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=plane.trust.context()))


async def hostile(plane: Plane, secret: str, name: str) -> AsyncIterator[str]:
    """The answers to whoever shows a secret where it does not belong."""
    for given in (
        {"type": "REGISTER_APPLICATION", "auth": {"credential": secret}},
        {"type": secret, "url": secret},
        {"type": "CONFIGURATION_CHANGED", "url": f"https://{secret}/", "auth": {"accessStrategy": secret}},
        {"type": "CONFIGURATION_CHANGED", "url": "https://a.invalid/", "headerTemplate": f"{{{{{secret}}}}}"},
        {"type": "CONFIGURATION_CHANGED", "auth": {"additionalHeadersSerialized": f"{{{secret}"}},
        # What PostgreSQL itself refuses
        {"type": "CONFIGURATION_CHANGED", "url": "https://a.invalid/", "correlationIdKey": f"{secret}\0"},
    ):
        yield (await plane.post(ADD_WEBHOOK, {"in": given, "id": str(uuid.uuid4())})).text
    application: Any = {"name": name, "bundles": [{"name": "b", "defaultInstanceAuth": {"accessStrategy": secret}}]}
    yield (await plane.post(REGISTER, {"in": {**application, "labels": {"key!": secret}}})).text
    yield (await plane.post(REGISTER, {"in": {"name": f"{secret}\0"}})).text
    shows = {"Connector-Token": quote(secret), "Authorization": f"Bearer {quote(secret)}"}
    body = json.dumps({"query": "{ configuration { token { token } } }"})
    for where in ("connector", "director", "provisioner"):
        yield (await plane.send(f"/{where}/graphql", body, shows)).text
        yield (await plane.send(f"/{where}/graphql", f'{{"query": {secret}', await plane.bearer())).text
        yield (await plane.send(f"/{where}/graphql", secret.encode(), {"Content-Type": quote(secret, safe="/")})).text
    basic = base64.b64encode(f"admin:{secret}".encode()).decode()
    form = {"grant_type": "client_credentials", "client_id": secret, "client_secret": secret, "scope": secret}
    token = (
        base64.urlsafe_b64encode(b'{"alg":"none"}').decode() + "." + base64.urlsafe_b64encode(secret.encode()).decode()
    )
    yield (
        await plane.send(
            "/oauth2/token", urlencode({"grant_type": secret}).encode(), FORM | {"Authorization": f"Basic {basic}"}
        )
    ).text
    yield (await plane.send("/oauth2/token", urlencode(form).encode(), FORM)).text
    yield (
        await plane.send("/director/graphql", body, {"Authorization": f"Bearer {token}.x", "Tenant": quote(secret)})
    ).text


async def seen_by_anybody(plane: Plane, secret: str) -> AsyncIterator[str]:
    """What somebody reads who is not signed in, on the token port."""
    async with connected(plane) as session:
        given = quote(secret, safe="")
        for path in (
            *("/", "/ca.pem", "/issuing.pem", "/v1/info", "/v1/trust", "/v1/events", "/crl.pem", "/metrics", "/readyz"),
            *("/console", "/console/", "/console/sign-in", f"/console/{given}"),
            *(f"/console/applications?search={given}", f"/director/graphql?query={given}"),
        ):
            async with session.get(f"{plane.token_url}{path}") as answer:
                yield str(answer.headers) + await answer.text()


async def commands(plane: Plane) -> AsyncIterator[str]:
    """What the administrator's command line prints about the plane, in none of which a secret belongs."""
    for command in COMMANDS if PROOF else COMMANDS[:3]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "compass", *command.split()),
            env=plane._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        assert process.returncode in (0, 3), (command, said)
        yield said.decode()
