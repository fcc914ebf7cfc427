"""The key of the vault is replaced under a database that is full of everything that is sealed."""

import asyncio
import itertools
import shutil
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from compass import vault_rotation
from compass.access.tokens import AccessTokens
from compass.ids import TenantId
from compass.postgres.pool import Confined, Database, Tx
from compass.vault import SealBroken, Vault, add_next, let_next_seal, read
from compass.vault_rotation import (
    SEALED,
    KeysBehind,
    RotationUnfinished,
    State,
    StillSealed,
    WritersUnfinished,
    counted,
    held,
    retire,
    rotate,
    standing,
)
from tests.access.landscape import COMPONENT
from tests.access.populate import landscape
from tests.faults.killed_vault_rotation import at_every_point

BUNDLES = "SELECT id, default_instance_auth_sealed AS sealed FROM bundle WHERE default_instance_auth_sealed IS NOT NULL"
CHANGE = "-- test.change\nUPDATE bundle SET default_instance_auth_sealed = %(sealed)s WHERE id = %(id)s"
RECORDED = """
SELECT body -> 'arguments' ->> 'phase' AS phase, body -> 'arguments' ->> 'key' AS key FROM audit_record
WHERE operation = 'rotateVaultKey' ORDER BY happened_at
"""
TOLD = """
SELECT tenant_id AS tenant, facts ->> 'phase' AS phase, facts ->> 'vault_key' AS key FROM outbox_event
WHERE name = 'VaultRotated' ORDER BY id
"""
REPLICA = """
INSERT INTO authority_replica (replica, place, knows, vault_keys, seen_at)
VALUES (%(replica)s, 'here:1', '', %(keys)s, clock_timestamp())
ON CONFLICT (replica) DO UPDATE SET vault_keys = excluded.vault_keys, seen_at = excluded.seen_at
"""


@pytest.fixture(scope="module")
async def full(
    cluster: "asyncpg.Connection[asyncpg.Record]", cluster_dsn: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Path]:
    """The folder of a vault; all it sealed is in the database `full_of_secrets`, to which nobody is connected."""
    await cluster.execute("CREATE DATABASE full_of_secrets TEMPLATE template")
    folder = tmp_path_factory.mktemp("vault")
    async with landscape(urlunsplit(urlsplit(cluster_dsn)._replace(path="/full_of_secrets")), folder) as made:
        component = replace(made.mine.administrator(), scopes=COMPONENT)
        given = {"credential": {"basic": {"username": "u", "password": "p"}}}
        await made.must(component, "updateSystemAuth", authID=made.mine.known["application_auth"], **{"in": given})
        async with made.database.transaction() as tx:
            await AccessTokens.open(tx, made.parts[Vault])
    yield folder
    await cluster.execute("DROP DATABASE full_of_secrets WITH (FORCE)")


@pytest.fixture
async def database(
    full: Path, cluster: "asyncpg.Connection[asyncpg.Record]", cluster_dsn: str
) -> AsyncIterator[Database]:
    """A copy of it for each test."""
    await cluster.execute("CREATE DATABASE a_copy TEMPLATE full_of_secrets STRATEGY file_copy")
    async with Database.open(urlunsplit(urlsplit(cluster_dsn)._replace(path="/a_copy"))) as database:
        yield database
    await cluster.execute("DROP DATABASE a_copy WITH (FORCE)")


@pytest.fixture
def keys(full: Path, tmp_path: Path) -> Path:
    """A copy of its key file."""
    path = tmp_path / "vault.keys"
    shutil.copy(full / "vault.keys", path)
    return path


@pytest.fixture
def in_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not there is waited for no longer."""
    monkeypatch.setattr(vault_rotation, "FOLLOW_SECONDS", 0.01)


async def opened(database: Database, path: Path) -> Mapping[str, bytes]:
    """Every secret, by its place, with the keys in the file. Raises SealBroken."""
    vault, found = Vault(read(path)), {}
    for each in SEALED:
        query = f"-- test.all\nSELECT {each.key} AS id, {each.column} AS sealed FROM {each.table}"
        for row in await database.run(lambda tx, query=query: tx.rows(query)):  # type: ignore[misc]
            if row["sealed"] is not None:
                place = each.place.format(row["id"])
                found[f"{each} {place}"] = vault.open(place, row["sealed"])
    return found


async def sealed(database: Database) -> Mapping[str, Mapping[str, int]]:
    return await database.run(counted)


async def rows(database: Database, query: str, **given: Any) -> list[asyncpg.Record]:
    return await database.run(lambda tx: tx.rows(query, **given))


# --- what is sealed ---


async def test_whatever_holds_something_sealed_is_registered_and_opens_at_its_place(
    database: Database, keys: Path
) -> None:
    columns = await rows(
        database,
        "SELECT relname, attname FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid"
        " WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped",
    )
    key = read(keys).seals
    found = set()
    for table, column in columns:
        # Bytes are written in hexadecimal.
        looked_for = f"('v1.{key}.|' || encode('v1.{key}.', 'hex'))"
        if await rows(database, f"SELECT FROM {table} WHERE {column}::text ~ {looked_for} LIMIT 1"):
            found.add((table, column))

    assert found == {(each.table, each.column) for each in SEALED}
    assert len(await opened(database, keys)) > 30


async def test_what_is_named_sealed_is_registered(database: Database) -> None:
    named = await rows(
        database,
        "SELECT relname, attname FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid"
        " WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attname ~ 'sealed' AND NOT attisdropped",
    )
    assert {tuple(row) for row in named} == {(each.table, each.column) for each in SEALED}


async def test_every_sealed_column_refuses_what_is_sealed_under_a_retired_key(database: Database) -> None:
    guarded = await rows(
        database,
        "SELECT relname, attname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid"
        " JOIN pg_attribute ON attrelid = tgrelid AND attnum = ANY (tgattr::int2[])"
        " WHERE tgfoid = 'refuse_retired_key_v1'::regproc AND tgenabled = 'O'"
        " AND pg_get_triggerdef(pg_trigger.oid) LIKE"
        " '%BEFORE INSERT OR UPDATE OF%is_under_retired_key_v1(new.' || attname || ')%'",
    )
    assert {tuple(row) for row in guarded} == {(each.table, each.column) for each in SEALED}


# --- a rotation ---


async def test_everything_is_sealed_anew_and_opens_as_before_and_the_old_key_can_go(
    database: Database, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vault_rotation, "BATCH", 3)  # so that tables have several
    shutil.copy(keys, tmp_path / "old.keys")
    before, old = await opened(database, keys), read(keys).seals
    assert set((await sealed(database))[old]) == {str(each) for each in SEALED}

    assert await rotate(database, keys) == len(before)

    now = read(keys)
    assert (now.former, now.next) == ([old], None)
    assert {key: sum(counts.values()) for key, counts in (await sealed(database)).items()} == {now.seals: len(before)}
    assert await opened(database, keys) == before
    with pytest.raises(SealBroken, match="a key that is not in the key file"):
        await opened(database, tmp_path / "old.keys")
    assert await retire(database, keys) == [old]
    assert list(read(keys).by_id) == [now.seals]
    assert await opened(database, keys) == before
    assert [row["phase"] for row in await rows(database, RECORDED)] == ["seal", "retire"]
    told = [tuple(row) for row in await rows(database, TOLD)]
    assert told == [(None, "sealing", now.seals), (None, "retired", old)]


async def test_what_is_done_already_is_not_done_again(database: Database, keys: Path) -> None:
    await rotate(database, keys)
    first = (read(keys), await rows(database, BUNDLES))
    assert await rotate(database, keys) == 0
    assert (read(keys), await rows(database, BUNDLES)) == first
    assert len(await retire(database, keys)) == 1
    last = read(keys)
    assert await retire(database, keys) == ()
    assert read(keys) == last
    assert [row["phase"] for row in await rows(database, RECORDED)] == ["seal", "retire"]
    assert [row["phase"] for row in await rows(database, TOLD)] == ["sealing", "retired"]


async def test_what_somebody_changes_meanwhile_stays(
    database: Database, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = (await rows(database, BUNDLES))[0]["id"]
    place = f"bundle/{first}"
    read_rows = Tx.rows
    changed = False

    async def and_then_it_changes(tx: Tx, sql: str, /, **given: Any) -> Any:
        nonlocal changed
        found = await read_rows(tx, sql, **given)
        if "vault.others bundle.default" in sql and not changed:
            changed = True
            later = Vault.at(keys).seal(place, b"changed")
            await database.run(lambda tx: tx.run(CHANGE, id=first, sealed=later))
        return found

    monkeypatch.setattr(Tx, "rows", and_then_it_changes)
    await rotate(database, keys)
    assert (await opened(database, keys))[f"bundle.default_instance_auth_sealed {place}"] == b"changed"


async def test_a_secret_that_does_not_open_stays_and_holds_up_nothing_but_the_retirement(
    database: Database, keys: Path
) -> None:
    broken = (await rows(database, BUNDLES))[0]
    altered = broken["sealed"][:-8] + "AAAAAAA="
    await database.run(lambda tx: tx.run(CHANGE, id=broken["id"], sealed=altered))
    old, count = read(keys).seals, sum((await sealed(database))[read(keys).seals].values())
    with pytest.raises(SealBroken, match=f"bundle/{broken['id']}"):
        await rotate(database, keys)
    found = await sealed(database)
    assert found[old] == {"bundle.default_instance_auth_sealed": 1}
    assert sum(found[read(keys).seals].values()) == count - 1
    before = read(keys)
    with pytest.raises(StillSealed, match=rf"1 in bundle\.default_instance_auth_sealed \({old}\); first"):
        await retire(database, keys)
    assert read(keys) == before
    assert (await rows(database, "SELECT id FROM vault_key WHERE retired_at IS NOT NULL")) == []
    assert [row["phase"] for row in await rows(database, TOLD)] == ["sealing"]


class KilledError(BaseException):
    """The end of a process, as far as what it leaves behind goes."""


async def test_a_rotation_that_was_interrupted_anywhere_is_finished_by_the_next_run(
    database: Database, keys: Path, record_property: Any
) -> None:
    async def whole() -> None:
        await rotate(database, keys)
        await retire(database, keys)

    before, interrupted = await opened(database, keys), 0
    for point in itertools.count(1):
        reached = itertools.count(1)

        def killed(point: int = point, reached: Iterator[int] = reached) -> None:
            if next(reached) == point:
                raise KilledError

        with pytest.MonkeyPatch.context() as patch:
            at_every_point(killed, patch.setattr)
            try:
                await whole()
            except KilledError:
                interrupted += 1
            else:
                break  # it has fewer points
        assert await opened(database, keys) == before
        await whole()
        assert await opened(database, keys) == before
        assert len(read(keys).by_id) == 1
    phases = [row["phase"] for row in await rows(database, RECORDED)]
    # One that was interrupted when all was done is followed by another.
    assert phases == ["seal", "retire"] * (len(phases) // 2)
    told = [row["phase"] for row in await rows(database, TOLD)]
    assert told == ["sealing", "retired"] * (len(phases) // 2)
    assert interrupted < len(phases) // 2 <= 2 * interrupted + 1
    record_property("cases", interrupted)
    assert interrupted > 30


# --- what is late ---


async def test_what_is_sealed_under_a_retired_key_is_refused_and_sealed_again(database: Database, keys: Path) -> None:
    late, bundle = Vault(read(keys)), (await rows(database, BUNDLES))[0]
    place = f"bundle/{bundle['id']}"
    await rotate(database, keys)
    await database.run(lambda tx: tx.run(CHANGE, id=bundle["id"], sealed=late.seal(place, b"slow")))
    with pytest.raises(StillSealed, match="1 in bundle"):
        await retire(database, keys)
    assert await rotate(database, keys) == 1
    await retire(database, keys)
    before = await rows(database, BUNDLES)

    async def too_late(tx: Tx) -> None:
        await tx.run(CHANGE, id=bundle["id"], sealed=late.seal(place, b"late"))

    with pytest.raises(asyncpg.SerializationError, match="sealed under a key that was retired"):
        await database.run(too_late)
    assert await rows(database, BUNDLES) == before
    attempts = iter((late, Vault.at(keys)))
    await database.run(lambda tx: tx.run(CHANGE, id=bundle["id"], sealed=next(attempts).seal(place, b"again")))
    assert (await opened(database, keys))[f"bundle.default_instance_auth_sealed {place}"] == b"again"


async def test_it_is_refused_also_of_callers_who_see_nothing_of_the_keys(database: Database, keys: Path) -> None:
    late = Vault(read(keys))
    (bundle,) = await rows(
        database,
        "SELECT bundle.id, tenant_id FROM bundle JOIN application ON application.id = application_id"
        " WHERE default_instance_auth_sealed IS NOT NULL LIMIT 1",
    )
    caller = Confined(TenantId(bundle["tenant_id"]))
    text = late.seal(f"bundle/{bundle['id']}", b"x")
    await database.run(lambda tx: tx.run(CHANGE, id=bundle["id"], sealed=text), confined=caller)
    await rotate(database, keys)
    await retire(database, keys)
    with pytest.raises(asyncpg.SerializationError):
        await database.run(lambda tx: tx.run(CHANGE, id=bundle["id"], sealed=text), confined=caller)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await database.run(lambda tx: tx.rows("SELECT * FROM vault_key"), confined=caller)


async def test_no_key_is_retired_past_a_transaction_that_may_have_used_it(
    database: Database, keys: Path, in_no_time: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    late, bundle = Vault(read(keys)), (await rows(database, BUNDLES))[0]
    await rotate(database, keys)
    async with database.transaction() as open_for_long:
        await open_for_long.run(CHANGE, id=bundle["id"], sealed=late.seal(f"bundle/{bundle['id']}", b"slow"))
        with pytest.raises(WritersUnfinished):
            await retire(database, keys)
        monkeypatch.setattr(vault_rotation, "FOLLOW_SECONDS", 60)
        waiting = asyncio.create_task(retire(database, keys))
        await asyncio.sleep(0.1)
    with pytest.raises(StillSealed, match="1 in bundle"):
        await waiting
    assert len(read(keys).former) == 1
    await rotate(database, keys)
    await retire(database, keys)
    assert (await opened(database, keys))[f"bundle.default_instance_auth_sealed bundle/{bundle['id']}"] == b"slow"


# --- replicas ---


async def test_no_key_seals_before_every_replica_has_it(database: Database, keys: Path, in_no_time: None) -> None:
    old, replica = read(keys).seals, str(uuid.uuid4())

    async def says(*held: str) -> None:
        given = {"replica": replica, "keys": " ".join(held) or None}
        await database.run(lambda tx: tx.run(f"-- test.says{REPLICA}", **given))

    for unsuspecting in ((), (old,)):  # of an older release, or with a copy of the file
        await says(*unsuspecting)
        with pytest.raises(KeysBehind, match=r"1 of the replicas.*here:1.*copy .*vault.keys"):
            await rotate(database, keys)
    (added,) = set(read(keys).by_id) - {old}
    assert (read(keys).seals, read(keys).next) == (old, added)
    assert set(await sealed(database)) == {old}
    with pytest.raises(RotationUnfinished, match=added):
        await retire(database, keys)
    await says(old, added)
    with pytest.raises(KeysBehind):  # it may seal now, and this replica does not do so yet
        await rotate(database, keys)
    assert (read(keys).seals, read(keys).next) == (added, None)
    assert set(await sealed(database)) == {old}
    assert await rows(database, RECORDED) == []
    await says(added, old)
    assert await rotate(database, keys) > 30
    assert list(read(keys).by_id) == [added, old]
    await says(old, added)  # one with a stale copy came back
    with pytest.raises(KeysBehind):
        await retire(database, keys)
    await says(added, old)
    await retire(database, keys)
    assert list(read(keys).by_id) == [added]


# --- how far it is ---


async def test_the_standing_says_what_each_key_does_and_what_to_do_next(
    database: Database, keys: Path, tmp_path: Path
) -> None:
    first = shutil.copy(keys, tmp_path / "first")

    async def now() -> tuple[list[tuple[str, State, bool]], str]:
        found = await database.run(lambda tx: standing(tx, read(keys)))
        return [(each.key, each.state, bool(each.secrets)) for each in found.keys], found.next_step

    old = read(keys).seals
    assert await now() == ([(old, State.SEALS, True)], "")
    add_next(keys)
    (new,) = set(read(keys).by_id) - {old}
    assert await now() == ([(old, State.SEALS, True), (new, State.NEXT, False)], "compass vault rotate")
    let_next_seal(keys)
    assert await now() == ([(new, State.SEALS, False), (old, State.FORMER, True)], "compass vault rotate")
    await rotate(database, keys)
    assert await now() == ([(new, State.SEALS, True), (old, State.FORMER, False)], "compass vault retire")
    kept = shutil.copy(keys, tmp_path / "kept")
    await retire(database, keys)
    assert await now() == ([(new, State.SEALS, True)], "")
    shutil.copy(kept, keys)
    assert await now() == ([(new, State.SEALS, True), (old, State.RETIRED, False)], "compass vault retire")
    shutil.copy(first, keys)
    assert (await now())[0][1] == (new, State.MISSING, True)
    assert (await now())[1].startswith("put the missing keys back")


async def test_what_each_key_holds_is_told_with_an_example_that_opens(database: Database, keys: Path) -> None:
    vault = Vault(read(keys))
    found = await database.run(held)

    assert {(each.key, each.place.partition("/")[0]) for each in found} >= {(read(keys).seals, "webhook")}
    assert sum(each.count for each in found) == len(await opened(database, keys)) > 10
    assert all(vault.open(each.place, each.sealed) for each in found)
    await database.run(lambda tx: tx.run("-- test.drop\nDROP TABLE audit_key CASCADE"))
    assert len(await database.run(held)) == len(found) - 1  # a database that misses a table is looked at, too
