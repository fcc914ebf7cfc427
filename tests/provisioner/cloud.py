"""An infrastructure that misbehaves on request, its clusters in the test's own database; and the agents in them."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

from compass.connector import one_time_token
from compass.connector.one_time_token import TokenRefused
from compass.director import runtime as director_runtime
from compass.director import system_auth
from compass.ids import RuntimeId
from compass.postgres.pool import Database, Tx
from compass.provisioner.infrastructure import (
    Absent,
    AgentConfiguration,
    AgentView,
    Broken,
    ClusterAbsent,
    Creating,
    EndpointIdentity,
    Observed,
    Ready,
)

TABLE = """
-- test
CREATE TABLE fake_cluster (
    runtime uuid PRIMARY KEY, tokens text[] NOT NULL DEFAULT '{}', identities integer NOT NULL DEFAULT 0, trouble text,
    told jsonb, seen integer NOT NULL DEFAULT 0, asleep boolean NOT NULL DEFAULT false,
    upgraded text[] NOT NULL DEFAULT '{}'
);
CREATE TABLE fake_creation (runtime uuid NOT NULL)
"""


class CloudError(Exception):
    """What a provider's client library raises."""


@dataclass
class Lies:
    """What the infrastructure does wrong; the numbers are how many times."""

    create_works_and_fails: int = 0
    create_fails: int = 0
    hides: int = 0
    """Says there is no such cluster although there is."""
    slow: int = 0
    """Looks until it is ready."""
    breaks: bool = False
    identify_works_and_fails: int = 0
    connect_works_and_fails: int = 0
    upgrade_works_and_fails: int = 0
    upgrade_fails: bool = False
    """The new release does not run."""
    sleep_works_and_fails: int = 0
    stays_awake: int = 0
    wake_works_and_fails: int = 0
    delete_works_and_fails: int = 0
    delete_does_nothing: int = 0
    kept: list[str] = field(default_factory=list)

    def tells(self, lie: str) -> bool:
        """Once more?"""
        left = getattr(self, lie)
        if left <= 0:
            return False
        setattr(self, lie, left - 1)
        return True


class Cloud:
    """Makes a cluster at most once per runtime: to make it again is a conflict, as at a real provider."""

    pace = timedelta(milliseconds=20)

    def __init__(self, database: Database, lies: Lies | None = None) -> None:
        self.database = database
        self.lies = lies or Lies()

    async def _run(self, sql: str, **parameters: Any) -> Any:
        async with self.database.transaction() as tx:
            return await tx.value(f"-- test\n{sql}", **parameters)

    async def create(self, runtime: RuntimeId, wanted: Mapping[str, object]) -> None:
        """Refuses with a conflict what exists."""
        assert wanted["provider"] == "local"
        if self.lies.tells("create_fails"):
            raise CloudError("503")
        made = await self._run(
            "INSERT INTO fake_cluster (runtime) VALUES (%(runtime)s) ON CONFLICT DO NOTHING RETURNING runtime",
            runtime=runtime,
        )
        if made is None:
            raise CloudError("409 already exists")
        await self._run("INSERT INTO fake_creation VALUES (%(runtime)s)", runtime=runtime)
        if self.lies.tells("create_works_and_fails"):
            raise CloudError("500, but it is there")

    async def observe(self, runtime: RuntimeId) -> Observed:
        """Counts its looks."""
        row = await self._run(
            "UPDATE fake_cluster SET seen = seen + 1 WHERE runtime = %(runtime)s"
            " RETURNING jsonb_build_object('seen', seen, 'trouble', trouble, 'told', told IS NOT NULL,"
            " 'asleep', asleep)",
            runtime=runtime,
        )
        if row is None or self.lies.tells("hides"):
            return Absent()
        if self.lies.breaks:
            return Broken("Last state: Failed")
        if row["seen"] <= self.lies.slow:
            return Creating()
        agent = AgentView("ConnectionFailed" if row["trouble"] else "Synchronized", row["trouble"], None)
        if row["asleep"] and not self.lies.tells("stays_awake"):
            return Ready(("localhost",), None, asleep=True)
        return Ready(("localhost",), agent if row["told"] else None)

    async def identify(self, runtime: RuntimeId, identity: EndpointIdentity) -> None:
        """Counts the identities."""
        assert "PRIVATE KEY" in identity.key_pem
        known = await self._run(
            "UPDATE fake_cluster SET identities = identities + 1 WHERE runtime = %(runtime)s RETURNING 1",
            runtime=runtime,
        )
        if known is None:
            raise ClusterAbsent(runtime=runtime)
        if self.lies.tells("identify_works_and_fails"):
            raise CloudError("connection reset")

    async def connect(self, runtime: RuntimeId, configuration: AgentConfiguration) -> None:
        """Keeps every token it was given."""
        told = {
            "connector_url": configuration.connector_url,
            "tenant": configuration.tenant,
            "name": configuration.name,
        }
        known = await self._run(
            "UPDATE fake_cluster SET tokens = tokens || %(token)s::text, trouble = NULL, told = %(told)s,"
            " asleep = false"
            " WHERE runtime = %(runtime)s RETURNING 1",
            runtime=runtime,
            token=configuration.token,
            told=told,
        )
        if known is None:
            raise ClusterAbsent(runtime=runtime)
        if self.lies.tells("connect_works_and_fails"):
            raise CloudError("timeout")

    async def upgrade(self, runtime: RuntimeId, *, once: str) -> None:
        """Keeps for what it was asked."""
        await self._run(
            "UPDATE fake_cluster SET upgraded = upgraded || %(once)s::text, trouble = %(trouble)s"
            " WHERE runtime = %(runtime)s AND NOT %(once)s::text = ANY(upgraded)",
            runtime=runtime,
            once=once,
            trouble="it does not start" if self.lies.upgrade_fails else None,
        )
        if self.lies.tells("upgrade_works_and_fails"):
            raise CloudError("timeout")

    async def sleep(self, runtime: RuntimeId) -> None:
        """Keeps all it has."""
        await self._run("UPDATE fake_cluster SET asleep = true WHERE runtime = %(runtime)s", runtime=runtime)
        if self.lies.tells("sleep_works_and_fails"):
            raise CloudError("timeout")

    async def wake(self, runtime: RuntimeId) -> None:
        """Also one that is awake."""
        await self._run("UPDATE fake_cluster SET asleep = false WHERE runtime = %(runtime)s", runtime=runtime)
        if self.lies.tells("wake_works_and_fails"):
            raise CloudError("timeout")

    async def delete(self, runtime: RuntimeId) -> None:
        """Of what never existed too."""
        if self.lies.tells("delete_does_nothing"):
            return
        await self._run("DELETE FROM fake_cluster WHERE runtime = %(runtime)s", runtime=runtime)
        if self.lies.tells("delete_works_and_fails"):
            raise CloudError("500, but it is gone")

    async def existing(self) -> set[RuntimeId]:
        """All clusters."""
        rows = await self._run("SELECT coalesce(array_agg(runtime), '{}') FROM fake_cluster")
        return {RuntimeId(row) for row in rows}

    async def keep(self, runtime: RuntimeId) -> None:
        """Notes that it was asked to."""
        self.lies.kept.append(runtime)


async def agents(database: Database) -> None:
    """In every cluster an agent that pairs with the last token it was given. Until cancelled."""
    while True:
        async with database.transaction() as tx:
            rows = await tx.rows(
                "-- test\nSELECT runtime, tokens[cardinality(tokens)] AS token FROM fake_cluster"
                " WHERE cardinality(tokens) > 0 AND trouble IS NULL"
            )
        for row in rows:
            await database.run(partial(_pair, runtime=row["runtime"], token=row["token"]))
        await asyncio.sleep(0.02)


async def _pair(tx: Tx, *, runtime: str, token: str) -> None:
    try:
        name = await one_time_token.redeem(tx, token, key_thumbprint="the agent's key")
    except TokenRefused:
        await tx.run(
            "-- test\nUPDATE fake_cluster SET trouble = 'token_refused'"
            " WHERE runtime = %(runtime)s AND tokens[cardinality(tokens)] = %(token)s",
            runtime=runtime,
            token=token,
        )
    else:
        await system_auth.note_paired(tx, name)
        await director_runtime.connect(tx, RuntimeId(runtime))
