"""A plane as a process of its own with any settings, spoken to over raw HTTPS, and the tables it writes."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Self

import aiohttp
import asyncpg

from compass.client.graphql import ClientCertificate, Endpoint, Trust
from compass.demo.plane_process import DEFAULT_TENANT as DEFAULT_TENANT  # noqa: PLC0414  # handed on
from compass.demo.plane_process import PlaneProcess

DIRECTOR: Final = "/director/graphql"
CONNECTOR: Final = "/connector/graphql"
PROVISIONER: Final = "/provisioner/graphql"

REGISTER_APPLICATION = "mutation ($name: String!) { result: registerApplication(in: {name: $name}) { id } }"
REGISTER_RUNTIME = "mutation ($name: String!) { result: registerRuntime(in: {name: $name}) { id } }"
CREATE_FORMATION = "mutation ($name: String!) { result: createFormation(formation: {name: $name}) { id } }"
ASSIGN = """mutation ($id: ID!, $type: FormationObjectType!, $name: String!) {
  result: assignFormation(objectID: $id, objectType: $type, formation: {name: $name}) { id } }"""
ADD_WEBHOOK = """mutation ($id: ID!, $in: WebhookInput!) { result: addWebhook(applicationID: $id, in: $in) { id } }"""
TOKEN_FOR_APPLICATION = """mutation ($id: ID!) {
  result: requestOneTimeTokenForApplication(id: $id) { token connectorURL } }"""
TOKEN_FOR_RUNTIME = "mutation ($id: ID!) { result: requestOneTimeTokenForRuntime(id: $id) { token connectorURL } }"

_TIMEOUT: Final = aiohttp.ClientTimeout(total=60)
UNSETTLED = """
SELECT (SELECT count(*) FROM outbox_event WHERE relayed_at IS NULL AND parked_at IS NULL)
    + (SELECT count(*) FROM delivery WHERE state = 'PENDING')
"""


@dataclass(frozen=True)
class Answer:
    """What came back, whatever it is."""

    status: int
    headers: Mapping[str, str]
    """By lower-case name."""
    text: str

    @property
    def body(self) -> Any:
        """The answer read as JSON."""
        return json.loads(self.text)

    @property
    def data(self) -> Any:
        """The data of an answer without errors."""
        body = self.body
        assert "errors" not in body, body
        return body["data"]

    @property
    def error(self) -> dict[str, Any]:
        """The one error of an answer that has nothing else to say."""
        (error,) = self.body["errors"]
        assert isinstance(error, dict)
        return error


UNCOUNTED: Final = {
    f"COMPASS_LIMITS__{name}": "1000000"
    for name in (
        *("CALLER_REQUESTS_PER_SECOND", "CALLER_BURST", "CALLER_REQUESTS_AT_ONCE", "CALLER_STREAMS"),
        *("TENANT_REQUESTS_PER_SECOND", "TENANT_BURST", "TENANT_REQUESTS_AT_ONCE"),
        *("ADDRESS_FAILURES_PER_MINUTE", "ADDRESS_FAILURES_BURST", "ADDRESS_CONNECTIONS"),
    )
}
"""Quotas are none for planes that one machine asks as if it were a thousand; they have tests/api/test_quota.py."""


class Plane(PlaneProcess):
    """One plane on one folder. `settings` are environment variables: `COMPASS_TOKENS__CSR_VALIDITY="1s"`."""

    def __init__(self, folder: Path, *, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(folder, applications_ca=folder, runtime_sync_period=timedelta(milliseconds=500))
        for name in ("COMPASS_OUTBOUND__CA_FILE", "COMPASS_PROVISIONER__APPLICATIONS_CA_FILE"):
            del self._environment[name]
        self._environment |= {**UNCOUNTED, **(settings or {})}
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def data_folder(self) -> Path:
        """Where the plane keeps its data."""
        return self._folder / "plane"

    @property
    def dsn(self) -> str:
        """Its database, when that is an external one."""
        return self._environment["COMPASS_DATABASE__DSN"]

    @property
    def trust(self) -> Trust:
        """Which servers are this plane."""
        return Trust.to(self.anchor.read_text())

    @property
    def log(self) -> str:
        """All it has printed so far."""
        return self.log_file.read_text()

    @property
    def resident_kilobytes(self) -> int:
        """Memory of the process, as the kernel counts it."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))

    def is_running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.returncode is None

    async def bearer(self) -> dict[str, str]:
        """The header of an administrator's call."""
        return {"Authorization": f"Bearer {await self._access_token(self.trust)}"}

    async def ask(self, text: str, *, endpoint: Endpoint = Endpoint.DIRECTOR, **variables: Any) -> Any:
        """What the administrator is answered under `result`, or all of the data."""
        data = await self.as_administrator(endpoint, text, **variables)
        return data.get("result", data)

    async def post(
        self,
        document: str,
        variables: Mapping[str, Any] | None = None,
        *,
        path: str = DIRECTOR,
        tenant: str | None = DEFAULT_TENANT,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """The administrator's call, answered as it went over the wire."""
        sent = {**await self.bearer(), **({} if tenant is None else {"Tenant": tenant}), **(headers or {})}
        return await self.send(path, json.dumps({"query": document, "variables": dict(variables or {})}), sent)

    async def send(
        self,
        path: str,
        body: Any,
        headers: Mapping[str, str] | None = None,
        *,
        certificate: ClientCertificate | None = None,
    ) -> Answer:
        """Any bytes to a path, a text as JSON; with a certificate to the port that demands one."""
        sent = {**({"Content-Type": "application/json"} if isinstance(body, str) else {}), **(headers or {})}
        base = self.token_url if certificate is None else self.mtls_url
        context: ssl.SSLContext = self.trust.context(certificate)
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
            session.post(f"{base}{path}", data=body, headers=sent, timeout=_TIMEOUT) as answer,
        ):
            received = {name.lower(): value for name, value in answer.headers.items()}
            return Answer(answer.status, received, await answer.text())

    async def application(self, name: str) -> str:
        """Register an application and return its id."""
        return str((await self.ask(REGISTER_APPLICATION, name=name))["id"])

    async def runtime(self, name: str) -> str:
        """Register a runtime and return its id."""
        return str((await self.ask(REGISTER_RUNTIME, name=name))["id"])

    async def token(self, *, application: str | None = None, runtime: str | None = None) -> str:
        """A one-time token for one of the two."""
        document = TOKEN_FOR_APPLICATION if application else TOKEN_FOR_RUNTIME
        return str((await self.ask(document, id=application or runtime))["token"])

    async def group(self, name: str, *, applications: list[str], runtimes: list[str]) -> str:
        """Make a formation of these and return its id."""
        formation = await self.ask(CREATE_FORMATION, name=name)
        for kind, members in (("APPLICATION", applications), ("RUNTIME", runtimes)):
            for member in members:
                await self.ask(ASSIGN, id=member, type=kind, name=name)
        return str(formation["id"])


BY_ITSELF: Final = frozenset({"audit_batch", "audit_checkpoint", "audit_unsealed", "authority_replica", "heartbeat"})
"""Tables that change at a pace of their own: records are sealed after a second, replicas and agents say they live."""


class Tables:
    """All tables of a plane's database, looked at from outside: what is committed, and whether anything changed."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection

    @classmethod
    @asynccontextmanager
    async def of(cls, dsn: str) -> AsyncIterator[Self]:
        """Connected while the block runs."""
        connection = await asyncpg.connect(dsn)
        try:
            yield cls(connection)
        finally:
            await connection.close()

    async def contents(self) -> dict[str, list[str]]:
        """Every row of every table, as text, but what the plane writes without being asked."""
        names = await self._connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
        return {
            name: [row[0] for row in await self._connection.fetch(f'SELECT t::text FROM "{name}" t ORDER BY 1')]
            for (name,) in names
            if name not in BY_ITSELF
        }

    async def settled(self) -> None:
        """Wait until every event was handed on and every notification is delivered, dead or cancelled."""
        async with asyncio.timeout(20):
            while await self.value(UNSETTLED):
                await asyncio.sleep(0.02)

    async def rows(self, sql: str, *parameters: Any) -> list[dict[str, Any]]:
        """The answer to any query."""
        return [dict(row) for row in await self._connection.fetch(sql, *parameters)]

    async def value(self, sql: str, *parameters: Any) -> Any:
        """The first column of the first row."""
        return await self._connection.fetchval(sql, *parameters)


def processes_of(folder: Path) -> list[int]:
    """Processes that mention the folder on their command line or work in it."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            line = (place / "cmdline").read_bytes()
            where = str((place / "cwd").readlink())
        except OSError:
            continue
        if str(folder).encode() in line or where.startswith(str(folder)):
            found.append(int(place.name))
    return found
