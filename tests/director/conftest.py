"""The Director on a real database, without the network in front of it.

`director` answers GraphQL documents for a caller; `announced` says what the outbox holds.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from importlib import resources
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Protocol

import orjson
import pytest

from compass.access.caller import Caller, Consumer, Flow
from compass.api.request import Endpoint
from compass.api.schema import surface
from compass.app import DIRECTOR_NOUNS
from compass.connector.urls import PublicUrls
from compass.director import tenant
from compass.ids import TenantId
from compass.outbound.door import Door, DoorSettings
from compass.postgres.pool import Database
from compass.settings import ApplicationSettings, LandscapeSettings, TokenSettings
from compass.vault import Vault

SCOPES = frozenset(
    scope
    for area in (
        "application",
        "application_template",
        "runtime",
        "tenant",
        "formation",
        "formation_template",
        "formation_constraint",
        "integration_system",
        "label_definition",
    )
    for scope in (f"{area}:read", f"{area}:write")
) | {
    "webhook:write",
    "application_global:read",
    "application.application_template:read",
    "application_template.labels:write",
    "application_template.webhooks:read",
    "eventing:manage",
    "bundle_instance_auth:write",
    "application.auths:read",
    "application.webhooks:read",
    "runtime.auths:read",
    "runtime.webhooks:read",
    "integration_system.auths:read",
    "formation_template.webhooks:read",
    "bundle.instance_auths:read",
    "document.fetch_request:read",
    "event_spec.fetch_request:read",
    "api_spec.fetch_request:read",
    "fetch-request.auth:read",
    "webhooks.auth:read",
    "application.local_tenant_id:write",
    "health_checks:read",
    "formation:global_read",
    "formation.state:write",
    "certificate_subject_mapping:read",
    "certificate_subject_mapping:write",
    "tenant_access:write",
    "automatic_scenario_assignment:read",
    "operation:read",
}


class Director(Protocol):
    """Answers a document: `await director("{ viewer { id } }", caller=…, name=value)` is the decoded answer."""

    caller: Caller
    other: Caller
    database: Database
    vault: Vault

    async def __call__(self, text: str, /, *, caller: Caller | None = None, **variables: Any) -> dict[str, Any]: ...

    async def data(self, text: str, /, *, caller: Caller | None = None, **variables: Any) -> Any: ...

    async def refusal(self, text: str, /, *, caller: Caller | None = None, **variables: Any) -> dict[str, Any]: ...


class _Director:
    def __init__(
        self, database: Database, endpoint: Endpoint, parts: dict[type, Any], caller: Caller, other: Caller
    ) -> None:
        self.database = database
        self.endpoint = endpoint
        self.parts = parts
        self.vault: Vault = parts[Vault]
        self.caller = caller
        self.other = other

    async def __call__(self, text: str, /, *, caller: Caller | None = None, **variables: Any) -> dict[str, Any]:
        answer = await self.endpoint.answer(caller or self.caller, text, variables)
        decoded: dict[str, Any] = orjson.loads(answer.body)
        return decoded

    async def data(self, text: str, /, *, caller: Caller | None = None, **variables: Any) -> Any:
        """The answer's data; fails the test when there are errors."""
        answer = await self(text, caller=caller, **variables)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    async def refusal(self, text: str, /, *, caller: Caller | None = None, **variables: Any) -> dict[str, Any]:
        """The first error; fails the test when there is none, or when something was announced or changed."""
        before = await self.state()
        answer = await self(text, caller=caller, **variables)
        assert "errors" in answer, answer
        assert await self.state() == before, "a refused request changed something"
        error: dict[str, Any] = answer["errors"][0]
        return error

    async def state(self) -> dict[str, str]:
        """A digest of every table, so that a test can say that nothing changed."""
        async with self.database.transaction() as tx:
            tables = await tx.rows(TABLES)
            digests = {}
            for entry in tables:
                name = entry["name"]
                digests[name] = await tx.value(
                    f"SELECT coalesce(md5(string_agg(t::text, '|' ORDER BY t::text)), '') FROM {name} t"
                )
            return digests

    def lent(self, parts: dict[type, Any]) -> "_Director":
        """The same Director, with these parts instead of those it was made with."""
        sdl = resources.files("compass.director").joinpath("schema.graphql").read_text()
        whole = self.parts | parts
        endpoint = Endpoint(surface(sdl, DIRECTOR_NOUNS, whole), self.database)
        return _Director(self.database, endpoint, whole, self.caller, self.other)

    def application(self, application: str, caller: Caller | None = None) -> Caller:
        """A paired application of the tenant, calling with its certificate."""
        return replace(
            caller or self.caller, consumer=Consumer.APPLICATION, consumer_id=application, flow=Flow.CERTIFICATE
        )

    def runtime(self, runtime: str, caller: Caller | None = None) -> Caller:
        """A paired runtime of the tenant, calling with its certificate."""
        return replace(caller or self.caller, consumer=Consumer.RUNTIME, consumer_id=runtime, flow=Flow.CERTIFICATE)


PARTS: dict[type, Any] = {
    PublicUrls: PublicUrls("https://plane.test:8443", "https://plane.test:8444"),
    TokenSettings: TokenSettings(),
    ApplicationSettings: ApplicationSettings(),
    LandscapeSettings: LandscapeSettings(),
}
TABLES = "SELECT relname AS name FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    """The outbound door, open to this machine."""
    async with Door(DoorSettings(allowed_networks=(ip_network("127.0.0.1/32"),))) as opened:
        yield opened


@pytest.fixture
async def director(database: Database, tmp_path: Path, door: Door) -> _Director:
    """The Director with two tenants, `caller` in one with every scope, `other` in the other."""
    vault = Vault.at(tmp_path / "vault.keys")
    schema = resources.files("compass.director").joinpath("schema.graphql").read_text()
    parts = PARTS | {Vault: vault, Door: door, Database: database}
    endpoint = Endpoint(surface(schema, DIRECTOR_NOUNS, parts), database)
    async with database.transaction() as tx:
        mine = await tenant.write(tx, tenant.NewTenant("mine", "tenant-mine", "account", "test"))
        other = await tenant.write(tx, tenant.NewTenant("other", "tenant-other", "account", "test"))
    return _Director(database, endpoint, parts, _user(mine, "tenant-mine"), _user(other, "tenant-other"))


def _user(tenant_id: TenantId, external: str) -> Caller:
    return Caller(Consumer.STATIC_USER, "admin", Flow.JWT, SCOPES, tenant_id, external)


@pytest.fixture
def announced(director: _Director) -> Callable[[], Awaitable[Sequence[str]]]:
    """The names of the events in the outbox, oldest first."""

    async def names() -> Sequence[str]:
        async with director.database.transaction() as tx:
            return [row["name"] for row in await tx.rows("SELECT name FROM outbox_event ORDER BY id")]

    return names
