import asyncio
import time
from contextlib import suppress
from typing import Any

import asyncpg
import pytest
from cryptography import x509

from compass.connector import certificate, revocation
from compass.connector.authority import Authority
from compass.connector.certificate import Issued, LineEnded
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


async def let_in(revocations: Revocations, fingerprint: str) -> float:
    """For how many seconds from now on whoever has just been revoked can begin a request and is let in."""
    began = asked = time.monotonic()
    last = began
    async with asyncio.timeout(60):
        while not await revocations.is_revoked(fingerprint):
            last = asked
            await asyncio.sleep(0.005)
            asked = time.monotonic()
    return last - began


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
        await until(lambda: here.fresh and there.fresh, within=30)
        for issued in two:
            assert not await here.is_revoked(issued.fingerprint)
            assert not await there.is_revoked(issued.fingerprint)

        async with database.transaction() as tx:
            await revocation.revoke(tx, two[0].fingerprint, reason="stolen", by="admin")

        for replica in (here, there):
            await until(lambda replica=replica: two[0].fingerprint in replica._revoked, within=30)
            assert await replica.is_revoked(two[0].fingerprint)
            assert not await replica.is_revoked(two[1].fingerprint)


async def test_a_revocation_that_was_rolled_back_is_neither_recorded_nor_announced(
    database: Database, two: tuple[Issued, Issued]
) -> None:
    heard: list[str] = []

    class Stopped(Exception):
        pass

    async def revoke_and_stop(tx: Tx) -> None:
        await revocation.revoke(tx, two[0].fingerprint, reason="stolen", by="admin")
        raise Stopped

    async with database.listening("access", heard.append):
        with pytest.raises(Stopped):
            await database.run(revoke_and_stop)
        async with database.transaction() as tx:
            await revocation.revoke(tx, two[1].fingerprint, reason="stolen", by="admin")
        await until(lambda: heard, within=30)
        assert heard == [f"revoked {two[1].fingerprint}"]
    async with database.transaction() as tx:
        assert await revoked(tx) == {two[0].fingerprint: None, two[1].fingerprint: "stolen"}


async def test_revoking_twice_changes_and_announces_nothing_more(
    database: Database, two: tuple[Issued, Issued]
) -> None:
    async with database.transaction() as tx:
        await revocation.revoke(tx, two[0].fingerprint, reason="stolen", by="admin")
        at = await tx.value("SELECT revoked_at FROM certificate WHERE revoked_at IS NOT NULL")
    heard: list[str] = []
    async with database.listening("access", heard.append):
        async with database.transaction() as tx:
            await revocation.revoke(tx, two[0].fingerprint, reason="again", by="admin")
            assert await tx.value("SELECT revoked_at FROM certificate WHERE revoked_at IS NOT NULL") == at
            await tx.run("SELECT pg_notify('access', 'end')")
        await until(lambda: heard, within=30)
    assert heard == ["end"]


@pytest.mark.parametrize("unknown", ["", "f" * 64, "F" * 64, "x", "'; DROP TABLE certificate; --"])
async def test_a_certificate_the_plane_never_issued_cannot_be_revoked(tx: Tx, unknown: str) -> None:
    with pytest.raises(NotFound, match=r"\[object=certificate\]"):
        await revocation.revoke(tx, unknown, reason="x", by="admin")


async def renewed(database: Database, authority: Authority, held: Issued, request_for: Any) -> Issued:
    """A further certificate, asked for with the one that is held."""
    holder = SystemAuthId(str(x509.load_pem_x509_certificate(held.pem.encode()).subject.rfc4514_string()[3:39]))
    async with database.transaction() as tx:
        return await certificate.issue(tx, authority, holder, request_for(holder), renewal_of=held.fingerprint)


@pytest.mark.parametrize("which", [0, 1, 2, 3])
async def test_a_certificate_ends_with_all_that_were_renewed_from_one_another_and_no_others(
    database: Database,
    committed_authority: Authority,
    two: tuple[Issued, Issued],
    request_for: Any,
    new_system_auth: Any,
    which: int,
) -> None:
    async with database.transaction() as tx:
        other = await new_system_auth(tx)
    others = await issue(database, committed_authority, other, request_for)
    first = two[0]
    second = await renewed(database, committed_authority, first, request_for)
    third = await renewed(database, committed_authority, second, request_for)
    beside = await renewed(database, committed_authority, first, request_for)
    line = (first, second, third, beside)
    heard: list[str] = []
    async with database.listening("access", heard.append):
        async with database.transaction() as tx:
            assert await revocation.revoke(tx, line[which].fingerprint, reason="stolen", by="admin") == 4
            assert await revocation.revoke(tx, line[which - 1].fingerprint, reason="again", by="admin") == 0
        await until(lambda: len(heard) == 4, within=30)
    assert set(heard) == {f"revoked {one.fingerprint}" for one in line}
    async with database.transaction() as tx:
        assert await revoked(tx) == dict.fromkeys([one.fingerprint for one in line], "stolen") | {
            two[1].fingerprint: None,
            others.fingerprint: None,
        }
        [event] = await tx.rows("SELECT tenant_id, name, facts FROM outbox_event")
        holder = await tx.row("SELECT system_auth_id, tenant_id FROM certificate WHERE revoked_at IS NOT NULL")
    assert holder is not None
    assert tuple(event) == (
        holder["tenant_id"],
        "CertificatesRevoked",
        {"system_auths": [holder["system_auth_id"]], "count": 4, "by": "admin"},
    )


async def test_a_renewal_that_is_under_way_ends_with_the_line(
    database: Database, committed_authority: Authority, two: tuple[Issued, Issued], request_for: Any
) -> None:
    async def revoke() -> None:
        async with database.transaction() as tx:
            await revocation.revoke(tx, two[0].fingerprint, reason="stolen", by="admin")

    second = await renewed(database, committed_authority, two[0], request_for)
    async with database.transaction() as tx:
        holder = SystemAuthId(await tx.value("SELECT system_auth_id FROM certificate WHERE kind = 'client' LIMIT 1"))
        third = await certificate.issue(
            tx, committed_authority, holder, request_for(holder), renewal_of=second.fingerprint
        )
        revoking = asyncio.create_task(revoke())
        await asyncio.sleep(0.1)
        assert not revoking.done()
    await revoking
    async with database.transaction() as tx:
        assert (await revoked(tx))[third.fingerprint] == "stolen"


async def test_a_renewal_that_waited_for_the_revocation_is_refused(
    database: Database, committed_authority: Authority, two: tuple[Issued, Issued], request_for: Any
) -> None:
    async with database.transaction() as tx:
        await revocation.revoke(tx, two[0].fingerprint, reason="stolen", by="admin")
        renewing = asyncio.create_task(renewed(database, committed_authority, two[0], request_for))
        await asyncio.sleep(0.1)
        assert not renewing.done()
    with pytest.raises(LineEnded):
        await renewing
    async with database.transaction() as tx:
        assert len(await revoked(tx)) == 2


async def test_of_many_thieves_renewals_none_survives(
    database: Database, committed_authority: Authority, two: tuple[Issued, Issued], request_for: Any
) -> None:
    """Renewals of renewals, all the time, while the line is revoked at some moment."""

    async def thief() -> None:
        held = two[0]
        with suppress(LineEnded):
            while True:
                held = await renewed(database, committed_authority, held, request_for)

    thieves = [asyncio.create_task(thief()) for _ in range(4)]
    await asyncio.sleep(0.5)

    async def revoke(tx: Tx) -> None:
        await revocation.revoke(tx, two[0].fingerprint, reason="stolen", by="admin")

    await database.run(revoke)
    async with asyncio.timeout(10):
        await asyncio.gather(*thieves)
    async with database.transaction() as tx:
        assert await tx.value("SELECT count(*) FROM certificate WHERE renewal_of IS NOT NULL") > 20
        left = await tx.rows("SELECT fingerprint FROM certificate WHERE revoked_at IS NULL AND kind = 'client'")
    assert [row["fingerprint"] for row in left] == [two[1].fingerprint]


@pytest.mark.parametrize("gone", ["system_auth", "application", "tenant"])
async def test_certificates_end_with_whom_they_speak_for_however_it_goes(
    database: Database, two: tuple[Issued, Issued], gone: str
) -> None:
    heard: list[str] = []
    async with database.listening("access", heard.append):
        async with database.transaction() as tx:
            await tx.run(f"DELETE FROM {gone}")
        await until(lambda: len(heard) == 2, within=30)
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
        await revocation.revoke(tx, two[0].fingerprint, reason="stolen", by="admin")
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
        await until(lambda: revocations.fresh, within=30)

        async def hangs(*_: object) -> None:
            await asyncio.sleep(60)

        with monkeypatch.context() as partition:
            partition.setattr(database, "read", hangs)
            await until(lambda: not revocations.fresh, within=30)
        await until(lambda: revocations.fresh, within=30)


async def test_what_was_revoked_while_nobody_listened_is_known_after_the_connection_is_back(
    database: Database, two: tuple[Issued, Issued]
) -> None:
    async with Revocations.watching(database) as revocations:
        await until(lambda: revocations.fresh, within=30)
        async with database.transaction() as tx:
            killed = await tx.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'compass-listen' AND datname = current_database()"
            )
            assert len(killed) == 1
            await revocation.revoke(tx, two[0].fingerprint, reason="stolen", by="admin")
        # Nobody heard it. The process may not have noticed yet that its connection is gone, but a second is the limit.
        assert await let_in(revocations, two[0].fingerprint) < 1
        await until(lambda: revocations.fresh and two[0].fingerprint in revocations._revoked, within=30)


async def test_a_set_is_complete_from_the_moment_it_is_believed(database: Database, two: tuple[Issued, Issued]) -> None:
    async with database.transaction() as tx:
        await revocation.revoke(tx, two[0].fingerprint, reason="stolen", by="admin")
    async with Revocations.watching(database) as revocations:
        await until(lambda: revocations.fresh, within=30)
        assert revocations._revoked == {two[0].fingerprint}


async def test_a_lost_announcement_is_made_good_by_the_next_count(
    database: Database, two: tuple[Issued, Issued], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Revocations, "_heard", lambda *_: None)
    async with Revocations.watching(database) as revocations:
        await until(lambda: revocations.fresh, within=30)
        async with database.transaction() as tx:
            await revocation.revoke(tx, two[0].fingerprint, reason="stolen", by="admin")
        await until(lambda: two[0].fingerprint in revocations._revoked, within=30)


async def test_what_nobody_heard_of_and_nobody_can_count_is_let_in_for_less_than_a_second(
    database: Database, two: tuple[Issued, Issued], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Source: design/guarantees.md I3. Held against the clock that decides: a slow machine changes nothing."""
    monkeypatch.setattr(Revocations, "_heard", lambda *_: None)
    read = database.read

    async def but_counts_hang(sql: str, parameters: Any) -> Any:
        if sql != revocation.IS_REVOKED:
            await asyncio.sleep(60)
        return await read(sql, parameters)

    async with Revocations.watching(database) as revocations:
        await until(lambda: revocations.fresh, within=30)
        monkeypatch.setattr(database, "read", but_counts_hang)
        async with database.transaction() as tx:
            await revocation.revoke(tx, two[0].fingerprint, reason="stolen", by="admin")
        assert await let_in(revocations, two[0].fingerprint) < 1


async def test_what_is_revoked_is_counted_also_when_callers_have_all_connections(
    dsn: str, database: Database, two: tuple[Issued, Issued], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hangs(*_: object) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(Revocations, "_heard", lambda *_: None)
    async with Database.open(dsn) as kept, Revocations.watching(database, counted_by=kept) as revocations:
        monkeypatch.setattr(database, "read", hangs)
        await until(lambda: revocations.fresh, within=30)
        async with kept.transaction() as tx:
            await revocation.revoke(tx, two[0].fingerprint, reason="stolen", by="admin")
        await until(lambda: two[0].fingerprint in revocations._revoked, within=30)
        await until(lambda: revocations.fresh, within=30)


async def test_other_announcements_on_the_channel_are_left_alone(database: Database) -> None:
    async with Revocations.watching(database) as revocations:
        await until(lambda: revocations.fresh, within=30)
        async with database.transaction() as tx:
            await tx.run("SELECT pg_notify('access', 'tenant 1'), pg_notify('access', '')")
        await asyncio.sleep(0.1)
        assert revocations._revoked == set()
        assert revocations.fresh


async def test_the_record_of_a_revocation_cannot_be_half(tx: Tx, authority: Authority) -> None:
    await certificate.issue_server(tx, authority, names=["localhost"])
    with pytest.raises(asyncpg.CheckViolationError):
        await tx.run("UPDATE certificate SET revoked_at = now()")
