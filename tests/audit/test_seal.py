"""Records are sealed in the order of their commits, once each, by one replica at a time, and retention says so."""

import asyncio
import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from compass.audit.chain import Batch, Checkpoint, digest_of
from compass.audit.log import check
from compass.audit.record import Done
from compass.audit.seal import ANCHOR, Anchor, Sealer, forget, seal
from compass.postgres.pool import Tx


async def record(plane: Any, tx: Tx, name: str = "x", tenant: str | None = None) -> None:
    done = Done("registerApplication", {"consumer": "Static User"}, tenant, "", {"name": name})
    await plane.log.record(tx, done)


async def problems(plane: Any, anchors: dict[int, str] | None = None) -> list[str]:
    async with plane.database.transaction() as tx:
        return [str(problem) for problem in (await check(tx, plane.keys, anchors)).problems]


async def test_a_record_that_commits_late_is_sealed_late_and_nobody_waits_for_it(plane: Any) -> None:
    async with plane.database.transaction() as slow:
        await record(plane, slow, "slow")
        async with plane.database.transaction() as tx:
            await record(plane, tx, "fast")

        assert await plane.seal() == 1

    assert await plane.seal() == 1
    async with plane.database.transaction() as tx:
        rows = await tx.rows("SELECT body FROM audit_batch ORDER BY checkpoint")
        names = [
            await tx.value(
                "SELECT body -> 'arguments' ->> 'name' FROM audit_record WHERE id = %(id)s",
                id=Batch.read(row["body"]).records[0][0],
            )
            for row in rows
        ]
    assert names == ["fast", "slow"]
    assert await problems(plane) == []


async def test_nothing_is_sealed_of_a_transaction_that_was_rolled_back(plane: Any) -> None:
    with pytest.raises(RuntimeError):
        async with plane.database.transaction() as tx:
            await record(plane, tx)
            raise RuntimeError

    assert await plane.seal() == 0


async def test_each_tenant_has_a_chain_of_its_own_that_goes_on(plane: Any) -> None:
    mine, other = plane.caller.tenant, plane.other.tenant
    for _ in range(2):
        async with plane.database.transaction() as tx:
            for tenant in (mine, other, mine, None):
                await record(plane, tx, tenant=tenant)
        assert await plane.seal() == 1

    async with plane.database.transaction() as tx:
        rows = await tx.rows("SELECT body FROM audit_batch WHERE chain = %(mine)s ORDER BY checkpoint", mine=mine)
        one, two = [Batch.read(row["body"]) for row in rows]
        assert (one.first, len(one.records), two.first, len(two.records)) == (1, 2, 3, 2)
        assert two.previous == digest_of(rows[0]["body"])
        assert await tx.value("SELECT count(*) FROM audit_batch") == 6
        assert await tx.value("SELECT count(*) FROM audit_unsealed") == 0


async def test_replicas_that_seal_at_once_seal_everything_once(plane: Any, tmp_path: Path) -> None:
    async def writing() -> None:
        for _ in range(20):
            async with plane.database.transaction() as tx:
                await record(plane, tx)

    async def sealing(number: int) -> None:
        sealer = Sealer(plane.database, plane.keys, tmp_path)
        while number := number - 1:
            await sealer.once()

    await asyncio.gather(writing(), writing(), sealing(40), sealing(40), sealing(40))
    await plane.seal()

    async with plane.database.transaction() as tx:
        checked = await check(tx, plane.keys)
    assert (checked.problems, checked.records, checked.waiting) == ([], 40, 0)


async def test_who_is_killed_while_sealing_has_done_nothing(plane: Any) -> None:
    async with plane.database.transaction() as tx:
        await record(plane, tx)
    with pytest.raises(RuntimeError):
        async with plane.database.transaction() as tx:
            assert await seal(tx, plane.keys) is not None
            raise RuntimeError

    assert await plane.seal() == 1
    assert await problems(plane) == []


async def test_a_sealer_seals_what_is_written_while_it_runs(plane: Any, tmp_path: Path) -> None:
    sealer = Sealer(plane.database, plane.keys, tmp_path)
    task = asyncio.create_task(sealer.run())
    try:
        async with plane.database.transaction() as tx:
            await record(plane, tx)
        async with asyncio.timeout(30):
            while Anchor(tmp_path / ANCHOR).read() is None:
                await asyncio.sleep(0.01)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async with plane.database.transaction() as tx:
        text = await tx.value("SELECT body FROM audit_checkpoint WHERE number = 1")
    assert Anchor(tmp_path / ANCHOR).read() == (1, digest_of(text))


async def test_a_log_that_was_cut_is_said_and_its_anchor_stays(
    plane: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sealer = Sealer(plane.database, plane.keys, tmp_path)
    for _ in range(3):
        async with plane.database.transaction() as tx:
            await record(plane, tx)
        assert await sealer.once()
    kept = Anchor(tmp_path / ANCHOR).read()
    assert kept is not None
    await plane.run("DELETE FROM audit_checkpoint WHERE number = 3")
    await plane.run("DELETE FROM audit_batch WHERE checkpoint = 3")
    await plane.run("DELETE FROM audit_record WHERE id = (SELECT max(id::text)::uuid FROM audit_record)")
    assert await problems(plane) == []  # inside the database nothing shows it

    with caplog.at_level(logging.ERROR):
        async with plane.database.transaction() as tx:
            await record(plane, tx)
        assert await sealer.once()

    assert "does not hold checkpoint 3 any more" in caplog.text
    assert Anchor(tmp_path / ANCHOR).read() == kept
    assert await problems(plane, {kept[0]: kept[1]}) == ["forked: checkpoint 3 is not the one that was there before"]


async def test_another_replicas_checkpoints_move_the_anchor_on(plane: Any, tmp_path: Path) -> None:
    one = Sealer(plane.database, plane.keys, tmp_path)
    for sealing in (one.once, plane.seal, one.once):
        async with plane.database.transaction() as tx:
            await record(plane, tx)
        assert await sealing()

    kept = Anchor(tmp_path / ANCHOR).read()
    assert kept is not None
    assert kept[0] == 3


async def test_an_anchor_that_cannot_be_written_stops_nothing(plane: Any, tmp_path: Path) -> None:
    async with plane.database.transaction() as tx:
        await record(plane, tx)

    assert await Sealer(plane.database, plane.keys, tmp_path / "missing").once()

    assert not (tmp_path / "missing").exists()


async def test_retention_removes_what_is_older_and_says_so(plane: Any) -> None:
    for _ in range(4):
        async with plane.database.transaction() as tx:
            await record(plane, tx)
            await record(plane, tx, tenant=plane.caller.tenant)
        await plane.seal()
    async with plane.database.transaction() as tx:
        texts = [row["body"] for row in await tx.rows("SELECT body FROM audit_checkpoint ORDER BY number")]
        assert not await forget(tx, plane.keys, timedelta(days=1))
        assert await tx.value("SELECT count(*) FROM audit_record") == 8
        await tx.run("UPDATE audit_checkpoint SET body = body WHERE number < 3")
        assert await forget(tx, plane.keys, timedelta(0))
        assert await tx.value("SELECT count(*) FROM audit_record") == 0
        assert await tx.value("SELECT through FROM audit_forgotten") == 4
        assert not await forget(tx, plane.keys, timedelta(0))
    assert await problems(plane, {4: digest_of(texts[3])}) == []
    async with plane.database.transaction() as tx:
        await record(plane, tx)
    await plane.seal()

    async with plane.database.transaction() as tx:
        checkpoint = Checkpoint.read(await tx.value("SELECT body FROM audit_checkpoint"))
    assert (checkpoint.number, checkpoint.previous) == (5, digest_of(texts[3]))
    assert await problems(plane) == []


async def test_who_makes_a_checkpoint_look_old_does_not_have_it_removed(plane: Any) -> None:
    async with plane.database.transaction() as tx:
        await record(plane, tx)
    await plane.seal()
    await plane.run('UPDATE audit_checkpoint SET body = replace(body, \'"at":"2\', \'"at":"1\')')

    async with plane.database.transaction() as tx:
        assert not await forget(tx, plane.keys, timedelta(days=1))
        assert await tx.value("SELECT count(*) FROM audit_record") == 1


async def test_a_note_of_what_was_removed_cannot_be_made_by_others(plane: Any) -> None:
    for _ in range(3):
        async with plane.database.transaction() as tx:
            await record(plane, tx)
        await plane.seal()
    async with plane.database.transaction() as tx:
        await tx.run("DELETE FROM audit_record WHERE id IN (SELECT id FROM audit_record ORDER BY id LIMIT 1)")
        await tx.run("DELETE FROM audit_checkpoint WHERE number = 1")
        await tx.run("DELETE FROM audit_batch WHERE checkpoint = 1")
        text = f'{{"through":1,"digest":"{"0" * 64}","at":"2026","key":"{plane.keys.current.name}"}}'
        await tx.run(
            "INSERT INTO audit_forgotten (through, body, signature) VALUES (1, %(text)s, %(signature)s)",
            text=text,
            signature=bytes(64),
        )

    assert (await problems(plane))[0] == "altered: the note that retention removed everything up to checkpoint 1"


async def test_sealing_costs_the_same_statements_whatever_the_number_of_records(
    plane: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    for name in ("run", "row", "rows", "value"):
        kept = getattr(Tx, name)

        async def counted(self: Tx, sql: str, /, _kept: Any = kept, **parameters: Any) -> Any:
            sent[-1] += "-- audit" in sql
            return await _kept(self, sql, **parameters)

        monkeypatch.setattr(Tx, name, counted)

    for amount in (1, 40):
        async with plane.database.transaction() as tx:
            sent.append(0)
            for number in range(amount):
                await record(plane, tx, tenant=[plane.caller.tenant, plane.other.tenant, None][number % 3])
            sent[-1] = 0
            assert await seal(tx, plane.keys) is not None

    assert sent == [5, 5]
