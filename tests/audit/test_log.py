"""Reading the log and its copies; what is found in one that was changed: tests/audit/test_tampering.py."""

from typing import Any

import orjson
import pytest

from compass.audit.log import Copy, NotAnExport, check, export, one_snapshot
from compass.audit.record import Done


async def written(plane: Any, checkpoints: int) -> None:
    for number in range(checkpoints):
        async with plane.database.transaction() as tx:
            done = Done("registerApplication", {"consumer": "Static User"}, None, "", {"number": number})
            await plane.log.record(tx, done)
        await plane.seal()


async def exported(plane: Any, after: int = 0) -> list[bytes]:
    async with plane.database.transaction() as tx:
        await one_snapshot(tx)
        return [line async for line in export(tx, plane.keys, after)]


async def test_an_export_is_json_lines_of_checkpoints_and_their_records(plane: Any) -> None:
    await written(plane, 2)

    lines = [orjson.loads(line) for line in await exported(plane)]

    assert [next(iter(line)) for line in lines] == ["log", "checkpoint", "record", "checkpoint", "record"]
    assert lines[0] == {
        "log": "compass audit log 1",
        "keys": {plane.keys.current.name: plane.keys.current.text},
        "after": 0,
    }
    assert lines[2]["record"]["body"]["arguments"] == {"number": 0}


async def test_the_later_part_of_a_log_is_exported_and_checked_by_itself(plane: Any) -> None:
    await written(plane, 4)

    lines = await exported(plane, 2)

    checked = Copy.read(lines).check(plane.keys)
    assert (checked.problems, checked.records, checked.checkpoints) == ([], 2, 2)
    assert [problem.kind for problem in Copy.read(lines[:1] + lines[3:]).check(plane.keys).problems] == ["missing"]


async def test_a_check_sees_one_moment_while_others_write_and_seal(plane: Any) -> None:
    await written(plane, 2)
    async with plane.database.transaction() as tx:
        await one_snapshot(tx)
        before = await check(tx, plane.keys)
        await written(plane, 2)
        after = await check(tx, plane.keys)

    assert before == after
    assert (before.problems, before.records) == ([], 2)


async def test_an_empty_log_is_whole(plane: Any) -> None:
    async with plane.database.transaction() as tx:
        checked = await check(tx, plane.keys)

    assert (checked.problems, checked.records, checked.checkpoints) == ([], 0, 0)
    assert Copy.read(await exported(plane)).check(plane.keys).problems == []


async def test_a_copy_of_somebody_elses_is_not_believed(plane: Any) -> None:
    await written(plane, 1)

    checked = Copy.read(await exported(plane)).check({})

    assert str(checked.problems[0]) == "altered: checkpoint 1"


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [b"{}\n"],
        [b"x\n"],
        [b'{"log": "another", "keys": {}, "after": 0}\n'],
        [b'{"log": "compass audit log 1", "keys": {"a": "00"}, "after": 0}\n'],
        [b'{"log": "compass audit log 1", "keys": [], "after": 0}\n'],
    ],
)
def test_a_file_that_is_no_export_is_refused(lines: list[bytes]) -> None:
    with pytest.raises(NotAnExport, match="first line"):
        Copy.read(lines)


@pytest.mark.parametrize("line", [b"x", b"{}", b"[]", b'{"record": {}}', b'{"checkpoint": {}}', b'{"forgotten": {}}'])
def test_a_line_that_cannot_be_read_is_named(line: bytes) -> None:
    head = b'{"log": "compass audit log 1", "keys": {}, "after": 0}\n'

    with pytest.raises(NotAnExport, match="line 2 cannot be read"):
        Copy.read([head, line]).check({})
