"""The texts of which the log is made."""

from dataclasses import replace

import pytest

from compass.audit.chain import BEGINNING, NOBODYS, Batch, Checkpoint, Forgotten, Record, digest_of

RECORD = Record("id", None, "2026-11-23T08:00:00.000000+00:00", b'{"a": 1}', None, b'{"b" : 2}', b"mac")


def test_every_part_of_a_record_is_in_its_digest() -> None:
    others = [
        replace(RECORD, id="other"),
        replace(RECORD, tenant=NOBODYS),
        replace(RECORD, happened_at="2026-11-23T08:00:00.000001+00:00"),
        replace(RECORD, body=b'{"a": 2}'),
        replace(RECORD, before=b"{}"),
        replace(RECORD, after=None),
        replace(RECORD, mac=b"other"),
        replace(RECORD, before=RECORD.after, after=None),
        replace(RECORD, body=b"not JSON"),
    ]

    assert len({RECORD.digest(), *(other.digest() for other in others)}) == len(others) + 1


def test_how_json_is_written_does_not_matter() -> None:
    assert replace(RECORD, body=b'{ "a":1 }').digest() == RECORD.digest()


def test_what_was_done_in_no_tenant_has_a_chain_of_its_own() -> None:
    assert RECORD.chain == NOBODYS
    assert replace(RECORD, tenant="t").chain == "t"


def test_what_a_record_says_is_nothing_when_it_is_no_object() -> None:
    assert RECORD.said() == {"a": 1}
    assert replace(RECORD, body=b"[]").said() == {}


@pytest.mark.parametrize(
    "made",
    [
        Batch("chain", 7, 3, BEGINNING, [("id", "digest"), ("id2", "digest2")]),
        Checkpoint(7, BEGINNING, "2026", "key", ["a", "b"]),
        Forgotten(7, BEGINNING, "2026", "key"),
    ],
)
def test_what_is_written_is_read_again(made: Batch | Checkpoint | Forgotten) -> None:
    assert type(made).read(made.text()) == made
    assert len(digest_of(made.text())) == 64


@pytest.mark.parametrize("kind", [Batch, Checkpoint, Forgotten])
@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "1", '{"number": "x"}', '{"chain": 1, "records": 5}'])
def test_what_is_none_is_refused(kind: type[Batch] | type[Checkpoint] | type[Forgotten], text: str) -> None:
    with pytest.raises(ValueError, match="not a"):
        kind.read(text)


def test_the_number_after_a_batch() -> None:
    assert Batch("chain", 7, 3, BEGINNING, [("id", "digest"), ("id2", "digest2")]).next == 5
