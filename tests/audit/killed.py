"""A process that registers an application, and is killed while it does."""

import tempfile
from pathlib import Path
from typing import Final

from compass.access.caller import Caller, Consumer, Flow
from compass.access.scopes import BY_CONSUMER
from compass.api.request import Endpoint
from compass.app import director_surface
from compass.audit.keys import Key, Keys
from compass.audit.record import Log
from compass.ids import TenantId
from compass.outbound.door import Door, DoorSettings
from compass.postgres.pool import Database
from compass.vault import Vault
from tests.director.conftest import PARTS

TENANT: Final = "-- killed.tenant\nSELECT id FROM tenant WHERE external_id = 'tenant-mine'"


async def register(dsn: str) -> None:
    """Does not come to its end."""
    async with Database.open(dsn, connections=1) as database, Door(DoorSettings()) as door:
        async with database.transaction() as tx:
            tenant = TenantId(await tx.value(TENANT))
        with tempfile.TemporaryDirectory() as folder:
            vault = Vault.at(Path(folder) / "vault.keys")
        log = Log(Keys([Key("k", bytes(32))]))
        parts = {**PARTS, Vault: vault, Door: door, Database: database, Log: log}
        scopes = BY_CONSUMER[Consumer.STATIC_USER]
        caller = Caller(Consumer.STATIC_USER, "admin", Flow.JWT, scopes, tenant, "tenant-mine")
        endpoint = Endpoint(director_surface(parts), database)
        await endpoint.answer(caller, 'mutation { registerApplication(in: {name: "shop"}) { id } }', {})
