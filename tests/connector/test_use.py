from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from compass.connector import certificate, use
from compass.connector.authority import Authority
from compass.connector.certificate import Issued
from compass.connector.use import Uses
from compass.ids import SystemAuthId
from compass.postgres.pool import Database
from tests.director.catalogue import counted


@pytest.fixture
async def two(
    database: Database, committed_authority: Authority, committed_system_auth: SystemAuthId, request_for: Any
) -> tuple[Issued, Issued]:
    csr = request_for(committed_system_auth)
    async with database.transaction() as tx:
        return (
            await certificate.issue(tx, committed_authority, committed_system_auth, csr),
            await certificate.issue(tx, committed_authority, committed_system_auth, csr),
        )


async def ages(database: Database) -> dict[str, timedelta | None]:
    async with database.transaction() as tx:
        rows = await tx.rows("SELECT fingerprint, clock_timestamp() - last_used_at AS age FROM certificate")
    return {row["fingerprint"]: row["age"] for row in rows}


async def used_long_ago(database: Database, how_long: timedelta) -> None:
    async with database.transaction() as tx:
        await tx.run("UPDATE certificate SET last_used_at = clock_timestamp() - %(long)s::interval", long=how_long)


async def test_what_was_used_is_written_by_one_statement_and_nothing_else(
    database: Database, two: tuple[Issued, Issued], monkeypatch: pytest.MonkeyPatch
) -> None:
    uses = Uses()
    for _ in range(1000):
        uses.note(two[0].fingerprint)
    uses.note("f" * 64)  # of a certificate that is not on record
    with counted(monkeypatch) as writing:
        await uses.write(database)
    with counted(monkeypatch) as nothing_new:
        uses.note(two[0].fingerprint)
        await uses.write(database)

    assert (writing, nothing_new) == ([use.WRITE], [])
    age = (await ages(database))[two[0].fingerprint]
    assert age is not None
    assert age < timedelta(seconds=10)
    assert (await ages(database))[two[1].fingerprint] is None


async def test_a_use_is_written_again_after_an_hour_and_not_before(
    database: Database, two: tuple[Issued, Issued], monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = Uses()  # one of several: it does not know what others wrote
    for long, written in ((timedelta(minutes=59), False), (timedelta(minutes=61), True)):
        await used_long_ago(database, long)
        replica._written.clear()
        replica.note(two[0].fingerprint)
        await replica.write(database)
        age = (await ages(database))[two[0].fingerprint]
        assert age is not None
        assert (age < timedelta(minutes=1)) is written
    await used_long_ago(database, timedelta(minutes=61))
    monkeypatch.setattr(use, "AGAIN_AFTER_SECONDS", 0.0)
    replica.note(two[0].fingerprint)
    await replica.write(database)
    age = (await ages(database))[two[0].fingerprint]
    assert age is not None
    assert age < timedelta(minutes=1)


async def test_what_could_not_be_written_is_written_later(
    dsn: str, database: Database, two: tuple[Issued, Issued]
) -> None:
    uses = Uses()
    uses.note(two[0].fingerprint)
    async with Database.open(dsn) as closed:
        pass
    with pytest.raises(asyncpg.InterfaceError):
        await uses.write(closed)
    await uses.write(database)
    assert (await ages(database))[two[0].fingerprint] is not None


async def test_a_certificate_that_is_being_revoked_is_not_waited_for(
    database: Database, two: tuple[Issued, Issued]
) -> None:
    uses = Uses()
    for issued in two:
        uses.note(issued.fingerprint)
    async with database.transaction() as tx:
        await tx.run("SELECT FROM certificate WHERE serial = %(serial)s FOR UPDATE", serial=two[0].serial)
        await uses.write(database)
    assert {fingerprint for fingerprint, age in (await ages(database)).items() if age} == {two[1].fingerprint}


async def test_a_process_remembers_a_bounded_number(
    database: Database, two: tuple[Issued, Issued], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(use, "MOST_REMEMBERED", 1)
    uses = Uses()
    for issued in two:
        uses.note(issued.fingerprint)
        await uses.write(database)
        assert len(uses._written) == 1
