"""The Director with an audit log, on a database of its own."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson
import pytest

from compass.access.caller import Caller, Consumer, Flow
from compass.access.scopes import BY_CONSUMER
from compass.api.request import Endpoint
from compass.app import director_surface
from compass.audit.keys import Keys
from compass.audit.record import Log
from compass.audit.seal import record_of, seal
from compass.director import tenant
from compass.outbound.door import Door, DoorSettings
from compass.postgres.pool import Database
from compass.vault import Vault
from tests.director.conftest import PARTS

RECORDS = "SELECT * FROM audit_record ORDER BY happened_at, id"


class Plane:
    """What tests ask of it."""

    def __init__(self, database: Database, parts: Mapping[type, Any], log: Log, vault: Vault, *callers: Caller) -> None:
        self.database = database
        self._parts = parts
        self.log = log
        self.keys = log.keys
        self.vault = vault
        self.caller, self.other, self.nobody = callers

    @cached_property
    def endpoint(self) -> Endpoint:
        """What answers documents."""
        return Endpoint(director_surface(self._parts), self.database)

    async def __call__(self, text: str, /, *, caller: Caller | None = None, **variables: Any) -> dict[str, Any]:
        answer = await self.endpoint.answer(caller or self.caller, text, variables)
        decoded: dict[str, Any] = orjson.loads(answer.body)
        return decoded

    async def data(self, text: str, /, *, caller: Caller | None = None, **variables: Any) -> Any:
        """The answer's data; fails the test when there are errors."""
        answer = await self(text, caller=caller, **variables)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    async def records(self) -> list[dict[str, Any]]:
        """All records, oldest first, their JSON decoded."""
        async with self.database.transaction() as tx:
            return [shown(dict(row)) for row in await tx.rows(RECORDS)]

    async def run(self, sql: str, **parameters: Any) -> int:
        """As somebody who can write to the database."""
        async with self.database.transaction() as tx:
            return await tx.run(sql, **parameters)

    async def seal(self) -> int:
        """Seal everything that waits; how many checkpoints that took."""
        made = 0
        while await self.database.run(lambda tx: seal(tx, self.keys)):
            made += 1
        return made


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """A row of `audit_record` with its JSON decoded."""
    kept = record_of(row)
    return row | {
        "body": orjson.loads(kept.body),
        "before": kept.before and orjson.loads(kept.before),
        "after": kept.after and orjson.loads(kept.after),
    }


@pytest.fixture
async def plane(database: Database, tmp_path: Path) -> AsyncIterator[Plane]:
    """A Director that records, with two tenants."""
    vault = Vault.at(tmp_path / "vault.keys")
    async with Door(DoorSettings()) as door:
        async with database.transaction() as tx:
            log = Log(await Keys.open(tx, vault))
            mine = await tenant.write(tx, tenant.NewTenant("mine", "tenant-mine", "account", "test"))
            other = await tenant.write(tx, tenant.NewTenant("other", "tenant-other", "account", "test"))
        parts: Mapping[type, Any] = {**PARTS, Vault: vault, Door: door, Database: database, Log: log}
        scopes = BY_CONSUMER[Consumer.STATIC_USER]
        caller = Caller(Consumer.STATIC_USER, "admin", Flow.JWT, scopes, mine, "tenant-mine", request_id="request-1")
        yield Plane(
            database,
            parts,
            log,
            vault,
            caller,
            replace(caller, tenant=other, external_tenant="tenant-other"),
            replace(caller, tenant=None, external_tenant=None),
        )
