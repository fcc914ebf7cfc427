"""The second role of a plane: seen as it is, made where that is allowed, and asked for where it is not."""

from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest

from compass.postgres.pool import Database, Tx
from compass.postgres.roles import TenantRoleMissing, make_tenant_role, server


@pytest.fixture
async def newcomer(cluster: "asyncpg.Connection[asyncpg.Record]", empty_dsn: str) -> AsyncIterator[str]:
    """The database, by the address of a role that may make roles and has made none."""
    await cluster.execute("CREATE ROLE newcomer LOGIN CREATEROLE")
    superuser = await asyncpg.connect(empty_dsn.replace("compass@", "postgres@", 1))
    yield empty_dsn
    await superuser.execute("DROP ROLE IF EXISTS newcomer_tenant")
    await superuser.execute("DROP ROLE newcomer")
    await superuser.close()


async def test_the_role_is_made_once_and_may_be_taken(newcomer: str) -> None:
    async with Database.open(newcomer.replace("compass@", "postgres@", 1), connections=1) as database:

        async def made(tx: Tx) -> list[bool]:
            await tx.run("-- test.become\nSET LOCAL SESSION AUTHORIZATION newcomer")
            before = await server(tx)
            await make_tenant_role(tx, before)
            after = await server(tx)
            await make_tenant_role(tx, after)
            await tx.run("-- test.take\nSET LOCAL ROLE newcomer_tenant")
            assert (before.owner, before.tenant, before.makes_roles) == ("newcomer", "newcomer_tenant", True)
            return [before.is_taken, after.is_taken]

        assert await database.run(made) == [False, True]


async def test_a_role_that_may_not_make_it_is_told_what_an_administrator_does(dsn: str) -> None:
    async with Database.open(dsn, connections=1) as database, database.transaction() as tx:
        known = await server(tx)
        assert (known.owner, known.tenant, known.is_taken) == ("compass", "compass_tenant", True)
        assert (known.passes_policies, known.major >= 15) == (False, True)
        with pytest.raises(TenantRoleMissing, match="CREATE ROLE compass_tenant NOLOGIN; GRANT compass_tenant TO comp"):
            await make_tenant_role(tx, replace(known, is_taken=False, makes_roles=False))


async def test_a_superuser_is_seen_as_one(empty_dsn: str) -> None:
    async with (
        Database.open(empty_dsn.replace("compass@", "postgres@", 1), connections=1) as database,
        database.transaction() as tx,
    ):
        assert (await server(tx)).passes_policies
