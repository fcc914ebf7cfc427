"""What the check calls what it finds; that it finds everything: tests/audit/test_tampering.py."""

from dataclasses import replace

import pytest

from compass.audit.chain import BEGINNING, NOBODYS, Batch, Checkpoint, Record, digest_of
from compass.audit.check import Checker, Sealed, named
from compass.audit.keys import Key, PublicKey

KEY = Key("k", bytes(32))
KEYS = {"k": KEY}
PUBLIC = {"k": PublicKey.read("k", KEY.text)}


def record(number: int) -> Record:
    body = b'{"key":"k","operation":"op"}'
    name = f"00000000-0000-7000-8000-{number:012}"
    return Record(name, None, f"2026-11-23T08:00:{number:02}", body, None, None, KEY.mac(name, body))


def sealed(number: int, previous: str, batch: Batch, *records: Record) -> Sealed:
    text = Checkpoint(number, previous, "2026", "k", [digest_of(batch.text())]).text()
    return Sealed(number, text, KEY.sign(text), [batch.text()], {one.id: one for one in records})


ONE, TWO = record(1), record(2)
FIRST_BATCH = Batch(NOBODYS, 1, 1, BEGINNING, [(ONE.id, ONE.digest())])
FIRST = sealed(1, BEGINNING, FIRST_BATCH, ONE)
SECOND_BATCH = Batch(NOBODYS, 2, 2, digest_of(FIRST_BATCH.text()), [(TWO.id, TWO.digest())])
SECOND = sealed(2, digest_of(FIRST.text), SECOND_BATCH, TWO)
ALTERED = replace(TWO, happened_at="2026-11-23T09:00:00")
FORGED_BATCH = replace(SECOND_BATCH, records=[(ALTERED.id, ALTERED.digest())])


@pytest.mark.parametrize("keys", [KEYS, PUBLIC])
@pytest.mark.parametrize(
    ("log", "wanted"),
    [
        ([FIRST, SECOND], []),
        ([SECOND], ["missing: checkpoint 1, with the records in it"]),
        ([FIRST, FIRST], ["forked: checkpoint 1 comes again, after checkpoint 1"]),
        ([FIRST, replace(SECOND, records={})], [f"missing: record 2 of no tenant, {TWO.id}, in checkpoint 2"]),
        (
            [FIRST, replace(SECOND, records={TWO.id: ALTERED})],
            [f"altered: record 2 of no tenant, {named(ALTERED)}, in checkpoint 2"],
        ),
        (
            [FIRST, replace(SECOND, batches=[FORGED_BATCH.text()], records={TWO.id: ALTERED})],
            ["altered: record 2 of no tenant in checkpoint 2"],
        ),
        ([FIRST, replace(SECOND, batches=[])], ["missing: 1 of 1 batches of checkpoint 2"]),
        ([FIRST, replace(SECOND, batches=["x"])], ["altered: a batch of checkpoint 2, with the records in it"]),
        ([FIRST, replace(SECOND, signature=FIRST.signature)], ["altered: checkpoint 2"]),
        ([FIRST, replace(SECOND, text="x")], ["altered: checkpoint 2"]),
        (
            [FIRST, replace(SECOND, text=FIRST.text, signature=FIRST.signature)],
            ["moved: checkpoint 1 is in the place of 2"],
        ),
        (
            [FIRST, sealed(2, BEGINNING, SECOND_BATCH, TWO)],
            ["forked: checkpoint 2 does not follow checkpoint 1"],
        ),
        (
            [FIRST, sealed(2, digest_of(FIRST.text), replace(SECOND_BATCH, first=4), TWO)],
            ["missing: records 2 to 3 of no tenant"],
        ),
        (
            [FIRST, sealed(2, digest_of(FIRST.text), replace(SECOND_BATCH, previous=BEGINNING), TWO)],
            ["forked: record 2 of no tenant"],
        ),
        (
            [FIRST, sealed(2, digest_of(FIRST.text), replace(SECOND_BATCH, checkpoint=5), TWO)],
            ["moved: record 2 of no tenant is in checkpoint 2, not in 5"],
        ),
    ],
)
def test_what_is_found_first_is_told_by_name(keys: dict[str, PublicKey], log: list[Sealed], wanted: list[str]) -> None:
    checker = Checker(keys)

    found = [str(problem) for one in log for problem in checker.check(one)]

    assert found[:1] == wanted


def test_a_record_that_no_plane_wrote_is_seen_with_the_planes_keys_alone() -> None:
    forged = replace(ONE, mac=bytes(32))
    batch = replace(FIRST_BATCH, records=[(forged.id, forged.digest())])
    log = sealed(1, BEGINNING, batch, forged)

    assert list(Checker(PUBLIC).check(log)) == []
    assert [str(problem) for problem in Checker(KEYS).check(log)] == [
        f"inserted: {named(forged)}, record 1 of no tenant: no plane wrote it so"
    ]


def test_the_end_is_known_from_outside() -> None:
    checker = Checker(KEYS, {2: digest_of(SECOND.text)})
    assert list(checker.check(FIRST)) == []

    assert [str(problem) for problem in checker.end()] == [
        "cut: the log ends at checkpoint 1, and had reached checkpoint 2 before"
    ]
    assert list(checker.check(SECOND)) == []
    assert list(checker.end()) == []


def test_a_checkpoint_that_was_kept_elsewhere_is_compared() -> None:
    checker = Checker(KEYS, {1: "0" * 64})

    assert [str(problem) for problem in checker.check(FIRST)] == [
        "forked: checkpoint 1 is not the one that was there before"
    ]


def test_what_a_terminal_would_obey_is_not_printed() -> None:
    assert "\x1b" not in named(replace(ONE, body=b'{"operation": "\\u001b[2J"}'))
