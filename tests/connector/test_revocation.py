import asyncio
import time
from typing import Any

import asyncpg
import pytest

from compass.connector import certificate, revocation
from compass.connector.authority import Authority
from compass.connector.certificate import Issued
from compass.connector.revocation import Revocations
from compass.errors import NotFound, Unavailable
from compass.ids import SystemAuthId
from compass.postgres.pool import Database, Tx


async def issue(database: Database, authority: Authority, system_auth: SystemAuthId, request_for: Any) -> Issued:
    async with database.transaction() as tx:
        return await certificate.issue(tx, authority, system_auth, request_for(system_auth))


async def revoked(tx: Tx) -> dict[str, str | None]:
    rows = await tx.rows("SELECT fingerprint, revocation_reason FROM certificate WHERE kind = 'client'")
    return {row["fingerprint"]: row["revocation_reason"] for row in rows}


async def until(condition: Any, *, within: float) -> float:
    """Seconds until `condition()` is true."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < within, f"not within {within} s"
        await asyncio.sleep(0.005)
    return time.monotonic() - began


@pytest.fixture
async def two(
    database: Database, committed_authority: Authority, committed_system_auth: SystemAuthId, request_for: Any
) -> tuple[Issued, Issued]:
    """Two certificates of one system auth."""
    return (
        await issue(database, committed_authority, committed_system_auth, request_for),
        await issue(database, committed_authority, committed_system_auth, request_for),
    )


async def test_a_revoked_certificate_is_refused_on_every_replica_within_a_second(
    dsn: str, database: Database, two: tuple[Issued, Issued]
) -> None:
    async with (
        Database.open(dsn) as elsewhere,
        Revocations.watching(database) as here,
        Revocations.watching(elsewhere) as there,
    ):
        await until(lambda: here.fresh and there.fresh, within=5)
        for issued in two:
            assert not await here.is_revoked(issued.fingerprint)
            assert not await there.is_revoked(issued.fingerprint)

        async with database.transaction() as tx:
            await revocation.revoke(tx, two[0].fingerprint, reason="stolen")

        for replica in (here, there):
            await until(lambda replica=replica: two[0].fingerprint in replica._revoked, within=1)
            assert await replica.is_revoked(two[0].fingerprint)
            assert not await replica.is_revoked(two[1].fingerprint)


async def test_a_revocation_that_was_rolled_back_is_neither_recorded_nor_announced(
    database: Database, two: tuple[Issued, Issued]
) -> None:
    heard: list[str] = []

    class Stopped(Exception):
        pass

    async def revoke_and_stop(tx: Tx) -> None:
        await revocation.revoke(tx, two[0].fingerprint, reason="stolen")
        raise Stopped

    async with database.listening("access", heard.append):
        with pytest.raises(Stopped):
            await database.run(revoke_and_stop)
        async with database.transaction() as tx:
            await revocation.revoke(tx, two[1].fingerprint, reason="stolen")
        await until(lambda: heard, within=2)
        assert heard == [f"revoked {two[1].fingerprint}"]
    async with database.transaction() as tx:
        assert await revoked(tx) == {two[0].fingerprint: None, two[1].fingerprint: "stolen"}


async def test_revoking_twice_changes_and_announces_nothing_more(
    database: Database, two: tuple[Issued, Issued]
) -> None:
    async with database.transaction() as tx:
        await revocation.revoke(tx, two[0].fingerprint, reason="stolen")
        at = await tx.value("SELECT revoked_at FROM certificate WHERE revoked_at IS NOT NULL")
    heard: list[str] = []
    async with database.listening("access", heard.append):
        async with database.transaction() as tx:
            await revocation.revoke(tx, two[0].fingerprint, reason="again")
            assert await tx.value("SELECT revoked_at FROM certificate WHERE revoked_at IS NOT NULL") == at
            await tx.run("SELECT pg_notify('access', 'end')")
        await until(lambda: heard, within=2)
    assert heard == ["end"]


@pytest.mark.parametrize("unknown", ["", "f" * 64, "F" * 64, "x", "'; DROP TABLE certificate; --"])
async def test_a_certificate_the_plane_never_issued_cannot_be_revoked(tx: Tx, unknown: str) -> None:
    with pytest.raises(NotFound, match=r"\[object=certificate\]"):
        await revocation.revoke(tx, unknown, reason="x")


async def test_all_certificates_of_a_system_auth_are_revoked_and_no_others(
    database: Database,
    committed_authority: Authority,
    committed_system_auth: SystemAuthId,
    two: tuple[Issued, Issued],
    request_for: Any,
    new_system_auth: Any,
) -> None:
    async with database.transaction() as tx:
        other = await new_system_auth(tx)
    others = await issue(database, committed_authority, other, request_for)
    async with database.transaction() as tx:
        await revocation.revoke(tx, two[0].fingerprint, reason="stolen")
        assert await revocation.revoke_all_of(tx, committed_system_auth, reason="lost") == 1
        assert await revocation.revoke_all_of(tx, committed_system_auth, reason="lost") == 0
        assert await revoked(tx) == {
            two[0].fingerprint: "stolen",
            two[1].fingerprint: "lost",
            others.fingerprint: None,
        }


@pytest.mark.parametrize("gone", ["system_auth", "application", "tenant"])
async def test_certificates_end_with_whom_they_speak_for_however_it_goes(
    database: Database, two: tuple[Issued, Issued], gone: str
) -> None:
    heard: list[str] = []
    async with database.listening("access", heard.append):
        async with database.transaction() as tx:
            await tx.run(f"DELETE FROM {gone}")
        await until(lambda: len(heard) == 2, within=2)
    assert set(heard) == {f"revoked {issued.fingerprint}" for issued in two}
    async with database.transaction() as tx:
        assert await revoked(tx) == {issued.fingerprint: "system auth deleted" for issued in two}


async def test_a_certificate_signed_while_its_holder_is_deleted_ends_with_it(
    database: Database, committed_authority: Authority, committed_system_auth: SystemAuthId, request_for: Any
) -> None:
    async def delete() -> None:
        async with database.transaction() as tx:
            await tx.run("DELETE FROM system_auth WHERE id = %(id)s", id=committed_system_auth)

    async with database.transaction() as tx:
        issued = await certificate.issue(
            tx, committed_authority, committed_system_auth, request_for(committed_system_auth)
        )
        deleting = asyncio.create_task(delete())
        await asyncio.sleep(0.1)
        assert not deleting.done()
    await deleting
    async with database.transaction() as tx:
        assert await revoked(tx) == {issued.fingerprint: "system auth deleted"}


async def test_a_set_that_is_not_fresh_is_not_believed_and_the_table_is_asked(
    database: Database, two: tuple[Issued, Issued]
) -> None:
    never_watched = Revocations(database)
    assert not never_watched.fresh
    async with database.transaction() as tx:
        await revocation.revoke(tx, two[0].fingerprint, reason="stolen")
    assert await never_watched.is_revoked(two[0].fingerprint)
    assert not await never_watched.is_revoked(two[1].fingerprint)


async def test_when_nothing_can_be_known_the_request_is_refused(dsn: str, two: tuple[Issued, Issued]) -> None:
    async with Database.open(dsn) as database:
        unreachable = Revocations(database)
    with pytest.raises(Unavailable):
        await unreachable.is_revoked(two[0].fingerprint)


async def test_a_set_grows_stale_when_it_can_no_longer_be_counted(
    database: Database, two: tuple[Issued, Issued], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Revocations.watching(database) as revocations:
        await until(lambda: revocations.fresh, within=5)

        async def hangs(*_: object) -> None:
            await asyncio.sleep(60)

        with monkeypatch.context() as partition:
            partition.setattr(database, "read", hangs)
            assert await until(lambda: not revocations.fresh, within=revocation.FRESH_SECONDS + 1) > 0.5
        await until(lambda: revocations.fresh, within=10)


async def test_what_was_revoked_while_nobody_listened_is_known_after_the_connection_is_back(
    database: Database, two: tuple[Issued, Issued]
) -> None:
    async with Revocations.watching(database) as revocations:
        await until(lambda: revocations.fresh, within=5)
        async with database.transaction() as tx:
            killed = await tx.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'compass-listen' AND datname = current_database()"
            )
            assert len(killed) == 1
            await revocation.revoke(tx, two[0].fingerprint, reason="stolen")
        # Nobody heard it. The process may not have noticed yet that its connection is gone, but a second is the limit.
        deadline = time.monotonic() + 1
        while not await revocations.is_revoked(two[0].fingerprint):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.005)
        await until(lambda: revocations.fresh and two[0].fingerprint in revocations._revoked, within=5)


async def test_a_set_is_complete_from_the_moment_it_is_believed(database: Database, two: tuple[Issued, Issued]) -> None:
    async with database.transaction() as tx:
        await revocation.revoke(tx, two[0].fingerprint, reason="stolen")
    async with Revocations.watching(database) as revocations:
        await until(lambda: revocations.fresh, within=5)
        assert revocations._revoked == {two[0].fingerprint}


async def test_a_lost_announcement_is_made_good_by_the_next_count(
    database: Database, two: tuple[Issued, Issued], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Revocations, "_heard", lambda *_: None)
    async with Revocations.watching(database) as revocations:
        await until(lambda: revocations.fresh, within=5)
        async with database.transaction() as tx:
            await revocation.revoke(tx, two[0].fingerprint, reason="stolen")
        await until(lambda: two[0].fingerprint in revocations._revoked, within=1)


async def test_other_announcements_on_the_channel_are_left_alone(database: Database) -> None:
    async with Revocations.watching(database) as revocations:
        await until(lambda: revocations.fresh, within=5)
        async with database.transaction() as tx:
            await tx.run("SELECT pg_notify('access', 'tenant 1'), pg_notify('access', '')")
        await asyncio.sleep(0.1)
        assert revocations._revoked == set()
        assert revocations.fresh


async def test_the_record_of_a_revocation_cannot_be_half(tx: Tx, authority: Authority) -> None:
    await certificate.issue_server(tx, authority, names=["localhost"])
    with pytest.raises(asyncpg.CheckViolationError):
        await tx.run("UPDATE certificate SET revoked_at = now()")
