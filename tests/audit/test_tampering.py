"""Whoever can write to the database changes the log at random: every change is found, and what was changed is named.

`COMPASS_PROOF=1` makes 1,000 changes and checks 1,000 logs that nobody touched. `AUDIT_SEED=<as printed>` replays.
"""

import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final

import orjson
import pytest

from compass.audit.chain import NOBODYS, Batch, digest_of
from compass.audit.check import Kind
from compass.audit.keys import Key, Keys
from compass.audit.log import Copy, check, export
from compass.audit.record import Done, Log
from compass.audit.seal import record_of, seal
from compass.postgres.pool import Database, Tx

PROOF: Final = bool(os.environ.get("COMPASS_PROOF"))
CHANGES, LOGS = (1000, 1000) if PROOF else (120, 25)
TENANTS: Final = (
    None,
    "11111111-0000-4000-8000-000000000001",
    "22222222-0000-4000-8000-000000000002",
    "33333333-0000-4000-8000-000000000003",
)
FORGED: Final = "ffffffff-ffff-7fff-8fff-ffffffffffff"
FORGE: Final = """
INSERT INTO audit_record (id, tenant_id, body, mac)
SELECT %(id)s, tenant_id, body, mac FROM audit_record WHERE id = %(of)s
"""
QUEUE: Final = "INSERT INTO audit_unsealed (record_id) VALUES (%(id)s)"


class Rolled(Exception):
    """The end of a change: nothing of it stays."""


@pytest.fixture
def chance() -> random.Random:
    """Where all chance of a test comes from."""
    seed = os.environ.get("AUDIT_SEED") or str(random.SystemRandom().getrandbits(32))
    print(f"AUDIT_SEED={seed}")  # noqa: T201  # shown when the test fails
    return random.Random(seed)  # noqa: S311  # chance, not secrets


async def write(tx: Tx, log: Log, chance: random.Random, number: int) -> None:
    """Some records, of several tenants."""
    for _ in range(number):
        await log.record(
            tx,
            Done(
                operation=chance.choice(["registerApplication", "deleteBundle", "écrire"]),
                who={"consumer": "Static User", "consumerID": "admin", "flow": "JWT"},
                tenant=chance.choice(TENANTS),
                request_id=str(chance.random()),
                arguments={"in": {"name": chance.choice(["shop", "ü" * 3000, "\\u0000"]), "number": chance.random()}},
            ),
        )


async def sealed(tx: Tx, keys: Keys) -> None:
    """Seal all that waits."""
    while await seal(tx, keys):
        pass


class Tampered:
    """A log in a transaction that is rolled back, and somebody who changes it."""

    def __init__(self, tx: Tx, log: Log, chance: random.Random) -> None:
        self.tx = tx
        self.log = log
        self.chance = chance
        self.records: list[str] = []
        self.checkpoints: list[int] = []
        self.anchors: dict[int, str] = {}

    async def look(self) -> None:
        self.records = [row["id"] for row in await self.tx.rows("SELECT id FROM audit_record ORDER BY id")]
        rows = await self.tx.rows("SELECT number, body FROM audit_checkpoint ORDER BY number")
        self.checkpoints = [row["number"] for row in rows]
        self.anchors = {rows[-1]["number"]: digest_of(rows[-1]["body"])}

    async def run(self, sql: str, **parameters: Any) -> None:
        assert await self.tx.run(sql, **parameters) > 0, "nothing was changed"

    async def batch(self) -> tuple[int, Batch, str]:
        """A batch of several records, its checkpoint and its text."""
        rows = await self.tx.rows("SELECT checkpoint, body FROM audit_batch ORDER BY checkpoint, chain")
        several = [row for row in rows if len(Batch.read(row["body"]).records) > 1]
        row = self.chance.choice(several)
        return row["checkpoint"], Batch.read(row["body"]), row["body"]

    # What somebody does; each says what has to be named

    async def edit_body(self) -> Sequence[str]:
        """Another name stands among the arguments."""
        one = self.chance.choice(self.records)
        body = orjson.loads(await self.tx.value("SELECT body FROM audit_record WHERE id = %(id)s", id=one))
        place = self.chance.choice(["who", "requestID", "operation", "arguments", "objectID"])
        body[place] = {"consumer": "Runtime"} if place == "who" else "something else"
        await self.run("UPDATE audit_record SET body = %(body)s WHERE id = %(id)s", id=one, body=orjson.dumps(body))
        return [one]

    async def edit_image(self) -> Sequence[str]:
        """The object was different before, or after."""
        one = self.chance.choice(self.records)
        column = self.chance.choice(["before", "after"])
        await self.run(f'UPDATE audit_record SET {column} = \'{{"name": "other"}}\' WHERE id = %(id)s', id=one)
        return [one]

    async def edit_time(self) -> Sequence[str]:
        """It happened at another time."""
        one = self.chance.choice(self.records)
        sql = "UPDATE audit_record SET happened_at = happened_at + interval '1 microsecond' WHERE id = %(id)s"
        await self.run(sql, id=one)
        return [one]

    async def edit_mac(self) -> Sequence[str]:
        """The mark of the plane is another."""
        one = self.chance.choice(self.records)
        mac = self.chance.randbytes(32)
        await self.run("UPDATE audit_record SET mac = %(mac)s WHERE id = %(id)s", id=one, mac=mac)
        return [one]

    async def give_to_another_tenant(self) -> Sequence[str]:
        """It belongs to another tenant now."""
        one = self.chance.choice(self.records)
        now = await self.tx.value("SELECT tenant_id FROM audit_record WHERE id = %(id)s", id=one)
        tenant = self.chance.choice([other for other in TENANTS if other != now])
        await self.run("UPDATE audit_record SET tenant_id = %(to)s WHERE id = %(id)s", id=one, to=tenant)
        return [one]

    async def swap_records(self) -> Sequence[str]:
        """Two change their places: everything but the id."""
        one, two = self.chance.sample(self.records, 2)
        await self.run(
            "UPDATE audit_record a SET tenant_id = b.tenant_id, happened_at = b.happened_at, body = b.body, "
            "mac = b.mac FROM audit_record b WHERE (a.id, b.id) IN ((%(one)s, %(two)s), (%(two)s, %(one)s))",
            one=one,
            two=two,
        )
        return [one, two]

    async def swap_ids(self) -> Sequence[str]:
        """Two change their ids."""
        one, two = self.chance.sample(self.records, 2)
        for old, new in ((one, FORGED), (two, one), (FORGED, two)):
            await self.run("UPDATE audit_record SET id = %(new)s WHERE id = %(old)s", old=old, new=new)
        return [one, two]

    async def delete_record(self) -> Sequence[str]:
        """One is gone."""
        one = self.chance.choice(self.records)
        await self.run("DELETE FROM audit_record WHERE id = %(id)s", id=one)
        return [one]

    async def delete_several(self) -> Sequence[str]:
        """All of an hour are gone."""
        begin = self.chance.randrange(len(self.records) - 1)
        gone = self.records[begin : begin + self.chance.randint(2, 9)]
        await self.run("DELETE FROM audit_record WHERE id = ANY (%(ids)s::uuid[])", ids=gone)
        return gone

    async def delete_checkpoint(self) -> Sequence[str]:
        """One of the middle is gone, what it sealed stays."""
        one = self.chance.choice(self.checkpoints[:-1])
        await self.run("DELETE FROM audit_checkpoint WHERE number = %(number)s", number=one)
        return [f"checkpoint {one}"]

    async def delete_checkpoint_with_all(self) -> Sequence[str]:
        """One of the middle is gone, with everything that it sealed."""
        one = self.chance.choice(self.checkpoints[1:-1])
        await self.remove("= %(number)s", one)
        return [f"checkpoint {one}"]

    async def remove(self, which: str, number: int) -> None:
        named = "SELECT (record ->> 0)::uuid FROM audit_batch, json_array_elements(body::json -> 'records') AS record"
        for sql in (
            f"DELETE FROM audit_record WHERE id IN ({named} WHERE checkpoint {which})",
            f"DELETE FROM audit_batch WHERE checkpoint {which}",
            f"DELETE FROM audit_checkpoint WHERE number {which}",
        ):
            await self.run(sql, number=number)

    async def cut_the_beginning(self) -> Sequence[str]:
        """The first checkpoints are gone, as if retention had removed them."""
        through = self.chance.choice(self.checkpoints[:-1])
        await self.remove("<= %(number)s", through)
        return ["checkpoint 1" if through == 1 else f"checkpoints 1 to {through}"]

    async def cut_the_end(self) -> Sequence[str]:
        """The last checkpoints are gone, with everything that they sealed."""
        after = self.chance.choice(self.checkpoints[:-1])
        await self.remove("> %(number)s", after)
        return [f"ends at checkpoint {after}, and had reached checkpoint {self.checkpoints[-1]}"]

    async def cut_records_at_the_end(self) -> Sequence[str]:
        """The last records are gone, the checkpoints stay."""
        gone = self.records[-self.chance.randint(1, 5) :]
        await self.run("DELETE FROM audit_record WHERE id = ANY (%(ids)s::uuid[])", ids=gone)
        return gone

    async def go_on_from_an_older_state(self) -> Sequence[str]:
        """The end is cut, and the plane itself goes on from there."""
        after = self.chance.choice(self.checkpoints[:-1])
        await self.remove("> %(number)s", after)
        while (await self.tx.value("SELECT max(number) FROM audit_checkpoint")) < self.checkpoints[-1]:
            await write(self.tx, self.log, self.chance, 1)
            await sealed(self.tx, self.log.keys)
        return [f"checkpoint {self.checkpoints[-1]} is not the one that was there before"]

    async def edit_checkpoint(self) -> Sequence[str]:
        """A checkpoint says something else."""
        one = self.chance.choice(self.checkpoints)
        body = orjson.loads(await self.tx.value("SELECT body FROM audit_checkpoint WHERE number = %(n)s", n=one))
        body[self.chance.choice(["at", "key", "previous"])] = "0"
        text = orjson.dumps(body).decode()
        await self.run("UPDATE audit_checkpoint SET body = %(text)s WHERE number = %(n)s", n=one, text=text)
        return [f"checkpoint {one}"]

    async def sign_anew(self) -> Sequence[str]:
        """A checkpoint is signed with a key of somebody else's, under the name of the plane's."""
        one = self.chance.choice(self.checkpoints)
        text = await self.tx.value("SELECT body FROM audit_checkpoint WHERE number = %(n)s", n=one)
        signature = Key(self.log.keys.current.name, self.chance.randbytes(32)).sign(text)
        await self.run("UPDATE audit_checkpoint SET signature = %(s)s WHERE number = %(n)s", n=one, s=signature)
        return [f"checkpoint {one}"]

    async def swap_checkpoints(self) -> Sequence[str]:
        """Two checkpoints change their places."""
        one, two = self.chance.sample(self.checkpoints, 2)
        await self.run(
            "UPDATE audit_checkpoint a SET body = b.body, signature = b.signature FROM audit_checkpoint b "
            "WHERE (a.number, b.number) IN ((%(one)s, %(two)s), (%(two)s, %(one)s))",
            one=one,
            two=two,
        )
        return [f"checkpoint {one}", f"checkpoint {two}"]

    async def repeat_a_checkpoint(self) -> Sequence[str]:
        """An old checkpoint is put at the end once more."""
        one, last = self.chance.choice(self.checkpoints), self.checkpoints[-1] + 1
        await self.run(
            "INSERT INTO audit_checkpoint (number, body, signature) "
            "SELECT %(last)s, body, signature FROM audit_checkpoint WHERE number = %(one)s",
            one=one,
            last=last,
        )
        return [f"checkpoint {one} is in the place of {last}"]

    async def delete_batch(self) -> Sequence[str]:
        """A tenant's part of a checkpoint is gone, its records stay."""
        checkpoint, batch, _ = await self.batch()
        await self.run(
            "DELETE FROM audit_batch WHERE checkpoint = %(n)s AND chain = %(chain)s", n=checkpoint, chain=batch.chain
        )
        return [f"checkpoint {checkpoint}", *(name for name, _ in batch.records)]

    async def reorder_in_batch(self) -> Sequence[str]:
        """Two records of a tenant change their places in the chain."""
        checkpoint, batch, text = await self.batch()
        records = list(batch.records)
        place = self.chance.randrange(len(records) - 1)
        records[place], records[place + 1] = records[place + 1], records[place]
        await self._rewrite(checkpoint, batch, text, records)
        return [f"records {batch.first} to {batch.next - 1}", f"checkpoint {checkpoint}"]

    async def take_out_of_batch(self) -> Sequence[str]:
        """A record is taken out of the chain, and its row is gone or not."""
        checkpoint, batch, text = await self.batch()
        records = list(batch.records)
        name, _ = records.pop(self.chance.randrange(len(records)))
        if self.chance.random() < 0.5:
            await self.run("DELETE FROM audit_record WHERE id = %(id)s", id=name)
        await self._rewrite(checkpoint, batch, text, records)
        return [f"of {'no tenant' if batch.chain == NOBODYS else f'tenant {batch.chain}'} in checkpoint {checkpoint}"]

    async def edit_with_batch(self) -> Sequence[str]:
        """A record is changed, and its digest in the chain along with it."""
        checkpoint, batch, text = await self.batch()
        name, old = self.chance.choice(list(batch.records))
        sql = "UPDATE audit_record SET body = %(body)s WHERE id = %(id)s"
        await self.run(sql, id=name, body=orjson.dumps({"key": self.log.keys.current.name, "operation": "nothing"}))
        row = await self.tx.row("SELECT * FROM audit_record WHERE id = %(id)s", id=name)
        records = [(one, record_of(row).digest() if one == name else digest) for one, digest in batch.records]
        assert old not in [digest for _, digest in records]
        await self._rewrite(checkpoint, batch, text, records)
        return [name, f"checkpoint {checkpoint}"]

    async def _rewrite(self, checkpoint: int, batch: Batch, text: str, records: Sequence[tuple[str, str]]) -> None:
        changed = Batch(batch.chain, batch.checkpoint, batch.first, batch.previous, records).text()
        assert changed != text
        await self.run(
            "UPDATE audit_batch SET body = %(text)s WHERE checkpoint = %(n)s AND chain = %(chain)s",
            n=checkpoint,
            chain=batch.chain,
            text=changed,
        )

    async def add_batch(self) -> Sequence[str]:
        """A checkpoint gets one more batch."""
        checkpoint, batch, _ = await self.batch()
        chain = "00000000-0000-0000-0000-0000000000ff"
        extra = Batch(chain, checkpoint, 1, "0" * 64, batch.records).text()
        await self.run(
            "INSERT INTO audit_batch (checkpoint, chain, body) VALUES (%(n)s, %(chain)s, %(text)s)",
            n=checkpoint,
            chain=chain,
            text=extra,
        )
        return [f"tenant {chain} in checkpoint {checkpoint}"]

    async def insert(self) -> Sequence[str]:
        """A record is put in, a copy of another one."""
        await self.run(FORGE, id=FORGED, of=self.chance.choice(self.records))
        return [FORGED]

    async def insert_to_be_sealed(self) -> Sequence[str]:
        """The same, into what waits."""
        await self.run(FORGE, id=FORGED, of=self.chance.choice(self.records))
        await self.run(QUEUE, id=FORGED)
        return [FORGED]

    async def insert_and_have_it_sealed(self) -> Sequence[str]:
        """The same, and the plane seals it."""
        await self.insert_to_be_sealed()
        await sealed(self.tx, self.log.keys)
        return [FORGED]

    async def delete_what_waits(self) -> Sequence[str]:
        """A record that waits is gone."""
        await write(self.tx, self.log, self.chance, 3)
        one = await self.tx.value("SELECT record_id FROM audit_unsealed LIMIT 1")
        await self.run("DELETE FROM audit_record WHERE id = %(id)s", id=one)
        return [one]

    async def edit_what_waits(self) -> Sequence[str]:
        """A record that waits is changed."""
        await write(self.tx, self.log, self.chance, 3)
        one = await self.tx.value("SELECT record_id FROM audit_unsealed LIMIT 1")
        body = orjson.dumps({"key": self.log.keys.current.name, "operation": "nothing"})
        await self.run("UPDATE audit_record SET body = %(body)s WHERE id = %(id)s", id=one, body=body)
        return [one]

    async def take_out_of_the_queue(self) -> Sequence[str]:
        """A record that waits will never be sealed."""
        await write(self.tx, self.log, self.chance, 3)
        one = await self.tx.value("SELECT record_id FROM audit_unsealed LIMIT 1")
        await self.run("DELETE FROM audit_unsealed WHERE record_id = %(id)s", id=one)
        return [one]


WAYS: Final[Sequence[Callable[[Tampered], Awaitable[Sequence[str]]]]] = [
    way
    for name, way in vars(Tampered).items()
    if callable(way) and name not in {"__init__", "look", "run", "batch", "remove", "_rewrite"}
]


@pytest.fixture
async def log(database: Database, plane: Any, chance: random.Random) -> Log:
    """A log of some sixty records in a dozen checkpoints."""
    log: Log = plane.log
    for _ in range(12):
        async with database.transaction() as tx:
            await write(tx, log, chance, chance.randint(4, 7))
            await sealed(tx, log.keys)
    return log


async def test_every_change_is_found_and_what_was_changed_is_named(
    database: Database, log: Log, chance: random.Random, record_property: Callable[[str, object], None]
) -> None:
    for number in range(CHANGES):
        way = WAYS[number % len(WAYS)]
        with pytest.raises(Rolled):
            async with database.transaction() as tx:
                tampered = Tampered(tx, log, chance)
                await tampered.look()
                wanted = await way(tampered)
                found = (await check(tx, log.keys, tampered.anchors)).problems
                told = "\n".join(map(str, found))
                missed = [name for name in wanted if name not in told]
                assert found, f"{way.__name__}: not found"
                assert not missed, f"{way.__name__}: {missed} not named in {told}"
                raise Rolled
    record_property("cases", CHANGES)


async def test_a_log_that_nobody_touched_raises_no_alarm(
    database: Database, plane: Any, chance: random.Random, record_property: Callable[[str, object], None]
) -> None:
    for _ in range(LOGS):
        with pytest.raises(Rolled):
            async with database.transaction() as tx:
                anchors: dict[int, str] = {}
                for _ in range(chance.randint(0, 6)):
                    await write(tx, plane.log, chance, chance.randint(0, 5))
                    checkpoint = await seal(tx, plane.keys) if chance.random() < 0.8 else None
                    if checkpoint:
                        anchors[checkpoint.number] = digest_of(checkpoint.text())
                checked = await check(tx, plane.keys, anchors)
                assert checked.problems == []
                assert checked.records + checked.waiting == await tx.value("SELECT count(*) FROM audit_record")
                lines = [line async for line in export(tx, plane.keys)]
                again = Copy.read(lines).check(plane.keys, anchors)
                assert (again.problems, again.records) == ([], checked.records)
                assert Copy.read(lines).anchors() == anchors
                raise Rolled
    record_property("cases", LOGS)


@pytest.fixture
async def lines(database: Database, log: Log) -> AsyncIterator[list[bytes]]:
    """The same log, exported."""
    async with database.transaction() as tx:
        yield [line async for line in export(tx, log.keys)]


async def test_every_line_of_an_export_that_is_changed_dropped_or_moved_is_found(
    lines: list[bytes], log: Log, chance: random.Random
) -> None:
    public = Copy.read(lines).keys
    anchors = Copy.read(lines).anchors()
    assert list(public) == [log.keys.current.name]
    assert Copy.read(lines).check(public).problems == []
    for place in range(1, len(lines)):
        dropped = lines[:place] + lines[place + 1 :]
        assert Copy.read(dropped).check(public, anchors).problems != []
        entry = orjson.loads(lines[place])
        if "record" in entry:
            name = entry["record"]["id"]
            assert name in str(Copy.read(dropped).check(public).problems[0])
            entry["record"]["body"]["operation"] = "nothing"
            altered = [*lines[:place], orjson.dumps(entry) + b"\n", *lines[place + 1 :]]
            problem = Copy.read(altered).check(public).problems[0]
            assert problem.kind is Kind.ALTERED
            assert name in problem.what
    assert chance.random() < 1
    cut = lines[: max(number for number, line in enumerate(lines) if line.startswith(b'{"checkpoint"'))]
    assert Copy.read(cut).check(public).problems == []  # an earlier export is no forged one …
    assert [problem.kind for problem in Copy.read(cut).check(public, anchors).problems] == [Kind.CUT]  # … but is seen
