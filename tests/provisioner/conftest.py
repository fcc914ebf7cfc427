"""The Provisioner on a real database and an infrastructure that misbehaves on request.

`provisioner` answers GraphQL documents for a caller; `working` runs its operations and the agents while a block runs.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from compass.access.caller import Caller, Consumer, Flow
from compass.api.request import Endpoint
from compass.app import PROVISIONER_OPERATIONS, provisioner_surface
from compass.connector.authority import Authority
from compass.connector.urls import PublicUrls
from compass.director import tenant
from compass.ids import TenantId
from compass.operations.worker import OperationWork, Worker
from compass.postgres.pool import Database
from compass.postgres.queue import WorkSettings
from compass.provisioner.infrastructure import Drivers, Infrastructure
from compass.provisioner.refusals import wire_extensions
from compass.settings import AuthoritySettings, Settings
from compass.vault import Vault
from tests.provisioner.cloud import TABLE, Cloud, Lies, agents

SCOPES = frozenset({"provisioner:read", "provisioner:write"})
QUICK = OperationWork(
    first_retry_after=timedelta(milliseconds=30),
    work=WorkSettings(
        concurrency=8, lease=timedelta(seconds=0.7), poll=timedelta(milliseconds=100), grace=timedelta(seconds=2)
    ),
)
PROVISION = """
mutation ($config: ProvisionRuntimeInput!) { result: provisionRuntime(config: $config) {
  id operation state message runtimeID compassRuntimeID lastError { errMessage reason component } } }
"""
OPERATION = """
query ($id: String!) { result: runtimeOperationStatus(id: $id) {
  id operation state message runtimeID compassRuntimeID lastError { errMessage reason component } } }
"""
DEPROVISION = "mutation ($id: String!) { result: deprovisionRuntime(id: $id) }"
RECONNECT = "mutation ($id: String!) { result: reconnectRuntimeAgent(id: $id) }"
COUNTS = """
-- test
SELECT (SELECT count(*) FROM runtime) AS runtimes, (SELECT count(*) FROM cluster) AS clusters,
    (SELECT count(*) FROM fake_cluster) AS made, (SELECT count(*) FROM system_auth) AS identities,
    (SELECT count(*) FROM one_time_token) AS tokens,
    (SELECT count(*) FROM certificate WHERE kind = 'client' AND revoked_at IS NULL) AS certificates
"""
NOTHING = {"runtimes": 0, "clusters": 0, "made": 0, "identities": 0, "tokens": 0, "certificates": 0}
TABLES = """
SELECT relname AS name FROM pg_class
-- The infrastructure's own counts its looks.
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname NOT LIKE 'fake%'
"""


def asked(name: str = "edge-01", cluster: str | None = None, **gardener: Any) -> dict[str, Any]:
    """A `ProvisionRuntimeInput` with what is required and no more."""
    return {
        "runtimeInput": {"name": name},
        "clusterConfig": {
            "gardenerConfig": {
                "name": cluster or name,
                "kubernetesVersion": "-",
                "provider": "local",
                "targetSecret": "-",
                "region": "-",
                "machineType": "-",
                "workerCidr": "10.250.0.0/19",
                "autoScalerMin": 1,
                "autoScalerMax": 1,
                "maxSurge": 1,
                "maxUnavailable": 0,
                "providerSpecificConfig": {},
                **gardener,
            }
        },
    }


@dataclass
class Provisioner:
    """Answers a document; `data` and `refusal` also check that it is one or the other."""

    database: Database
    endpoint: Endpoint
    cloud: Cloud
    caller: Caller
    other: Caller
    parts: dict[type, Any]

    @property
    def lies(self) -> Lies:
        """What the infrastructure does wrong."""
        return self.cloud.lies

    async def __call__(self, text: str, /, *, caller: Caller | None = None, **variables: Any) -> dict[str, Any]:
        answer = await self.endpoint.answer(caller or self.caller, text, variables)
        decoded: dict[str, Any] = orjson.loads(answer.body)
        return decoded

    async def result(self, text: str, /, *, caller: Caller | None = None, **variables: Any) -> Any:
        """What the document's `result` is."""
        answer = await self(text, caller=caller, **variables)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]["result"]

    async def refusal(self, text: str, /, *, caller: Caller | None = None, **variables: Any) -> dict[str, Any]:
        """The error, after which nothing is different from before."""
        before = await self.state()
        answer = await self(text, caller=caller, **variables)
        assert "errors" in answer, answer
        assert await self.state() == before, "a refused request changed something"
        error: dict[str, Any] = answer["errors"][0]
        return error

    async def state(self) -> dict[str, str]:
        """A digest of every table."""
        async with self.database.transaction() as tx:
            return {
                entry["name"]: await tx.value(
                    f"SELECT coalesce(md5(string_agg(t::text, '|' ORDER BY t::text)), '') FROM {entry['name']} t"
                )
                for entry in await tx.rows(TABLES)
            }

    async def row(self, sql: str, **parameters: Any) -> dict[str, Any]:
        """One row of whatever the test wants to know."""
        async with self.database.transaction() as tx:
            found = await tx.row(f"-- test\n{sql}", **parameters)
        assert found is not None
        return dict(found)

    async def counts(self) -> dict[str, int]:
        """How much there is of everything that must not be left behind."""
        return await self.row(COUNTS)

    async def begun(self, name: str = "edge-01", **gardener: Any) -> dict[str, Any]:
        """An accepted provisioning."""
        begun: dict[str, Any] = await self.result(PROVISION, config=asked(name, **gardener))
        return begun

    async def ended(self, operation: str, within: float = 20) -> dict[str, Any]:
        """The operation's status once it is over."""
        async with asyncio.timeout(within):
            while True:
                found: dict[str, Any] = await self.result(OPERATION, id=operation)
                if found["state"] in ("Succeeded", "Failed"):
                    return found
                await asyncio.sleep(0.02)

    async def provisioned(self, name: str = "edge-01") -> str:
        """A runtime that is ready; its id."""
        begun = await self.begun(name)
        ended = await self.ended(begun["id"])
        assert ended["state"] == "Succeeded", ended
        return str(begun["runtimeID"])

    async def journal(self, operation: str) -> list[str]:
        """The steps the operation went through."""
        async with self.database.transaction() as tx:
            rows = await tx.rows(
                "-- test\nSELECT step FROM operation_step WHERE operation_id = %(id)s ORDER BY number", id=operation
            )
        return [row["step"] for row in rows]

    @asynccontextmanager
    async def working(self, *, pairing: bool = True, settings: OperationWork = QUICK) -> AsyncIterator[None]:
        """Operations go on, and agents pair, while the block runs."""
        stopping = asyncio.Event()
        worker = Worker(self.database, kinds=PROVISIONER_OPERATIONS, parts=self.parts, settings=settings)
        tasks = [asyncio.create_task(worker.run(stopping))]
        paired = asyncio.create_task(agents(self.database)) if pairing else None
        try:
            yield
        finally:
            if paired is not None:
                assert not paired.done(), paired.exception()
                paired.cancel()
                await asyncio.gather(paired, return_exceptions=True)
            stopping.set()
            await asyncio.gather(*tasks)


async def made_parts(database: Database, driver: Infrastructure, folder: Path) -> dict[type, Any]:
    """What steps and commands are given, as the composition root does."""
    vault = Vault.at(folder / "vault.keys")
    async with database.transaction() as tx:
        authority = await Authority.open(tx, vault, AuthoritySettings())
    return {
        Database: database,
        Drivers: Drivers({"local": driver}),
        Authority: authority,
        PublicUrls: PublicUrls("https://plane.test:8443", "https://plane.test:8444"),
        Settings: Settings(data_folder=folder),
    }


def user(tenant_id: TenantId, external: str) -> Caller:
    """A person with the Provisioner's scopes and no others."""
    return Caller(Consumer.STATIC_USER, "admin", Flow.JWT, SCOPES, tenant_id, external)


@pytest.fixture
async def provisioner(database: Database, tmp_path: Path) -> Provisioner:
    """The Provisioner with two tenants, `caller` in one, `other` in the other."""
    async with database.transaction() as tx:
        for statement in TABLE.split(";"):
            await tx.run(statement)
        mine = await tenant.write(tx, tenant.NewTenant("mine", "tenant-mine", "account", "test"))
        other = await tenant.write(tx, tenant.NewTenant("other", "tenant-other", "account", "test"))
    cloud = Cloud(database)
    parts = await made_parts(database, cloud, tmp_path)
    endpoint = Endpoint(provisioner_surface(parts), database, extend=wire_extensions)
    return Provisioner(database, endpoint, cloud, user(mine, "tenant-mine"), user(other, "tenant-other"), parts)


@pytest.fixture
def without_scopes(provisioner: Provisioner) -> Caller:
    """The caller, who may do nothing."""
    return replace(provisioner.caller, scopes=frozenset())
