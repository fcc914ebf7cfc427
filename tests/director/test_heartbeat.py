"""Heartbeats: whose they are, what of them is kept, and what it costs."""

from typing import Any, Final

import orjson
import pytest

from compass.director import heartbeat
from compass.director.heartbeat import Heartbeats, Report
from compass.errors import InvalidData
from compass.postgres.pool import LOST, Database
from compass.settings import HeartbeatSettings
from tests.director.catalogue import counted
from tests.director.groups import REGISTER_RUNTIME

SAID: Final = {
    "version": "1.2.3",
    "revision": 14,
    "applications": 2,
    "lookedSecondsAgo": 3.5,
    "looksEverySeconds": 20,
    "trouble": None,
    "error": None,
}
PAIRED: Final = """
WITH ca AS (
    INSERT INTO authority (serial, kind, certificate, sealed_key) VALUES ('ca', 'issuing', 'pem', 'key')
    ON CONFLICT DO NOTHING
), known AS (
    INSERT INTO system_auth (tenant_id, runtime_id, cert_common_name) SELECT tenant_id, id, 'client' FROM runtime
    WHERE id = %(runtime)s RETURNING id
)
INSERT INTO certificate (serial, kind, signed_by, system_auth_id, names, key_thumbprint, fingerprint, pem, not_before,
    not_after)
SELECT %(fingerprint)s, 'client', 'ca', id, '{client}', 'k', %(fingerprint)s, 'pem', now(), now() + interval '1 day'
FROM known"""
KEPT: Final = """
SELECT runtime_id, version, revision, applications, trouble, error,
    extract(epoch FROM clock_timestamp() - seen_at) AS seen, extract(epoch FROM missed_from - seen_at) AS missed,
    extract(epoch FROM seen_at - synced_at) AS looked, extract(epoch FROM looks_every) AS every
FROM heartbeat ORDER BY runtime_id"""


def told(**different: Any) -> bytes:
    return orjson.dumps({**SAID, **different})


@pytest.fixture
def beats() -> Heartbeats:
    return Heartbeats(HeartbeatSettings())


async def paired(director: Any, *fingerprints: str) -> str:
    """A runtime that is known by these certificates."""
    made = await director.data(REGISTER_RUNTIME, **{"in": {"name": "edge"}})
    runtime = str(made["result"]["id"])
    async with director.database.transaction() as tx:
        for fingerprint in fingerprints:
            await tx.run(PAIRED, runtime=runtime, fingerprint=fingerprint)
    return runtime


async def kept(director: Any) -> list[dict[str, Any]]:
    async with director.database.transaction() as tx:
        return [dict(row) for row in await tx.rows(KEPT)]


async def test_what_agents_say_is_written_by_one_statement_and_nothing_by_none(
    director: Any, beats: Heartbeats, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtimes = [await paired(director, f"f{number}") for number in range(20)]

    with counted(monkeypatch) as noted:
        for _ in range(3):
            for number in range(20):
                assert beats.note(f"f{number}", told()) == {"nextSeconds": 5.0}
    with counted(monkeypatch) as written:
        await beats.write(director.database)
    with counted(monkeypatch) as nothing_new:
        await beats.write(director.database)

    assert (noted, written, nothing_new) == ([], [heartbeat.WRITE], [])
    rows = await kept(director)
    assert [row["runtime_id"] for row in rows] == sorted(runtimes)
    for row in rows:
        assert (row["version"], row["revision"], row["applications"]) == ("1.2.3", 14, 2)
        assert (row["trouble"], row["error"]) == (None, None)
        assert (float(row["missed"]), float(row["every"])) == (12.0, 20.0)
        assert 0 <= row["seen"] < 60
        assert float(row["looked"]) == pytest.approx(3.5, abs=0.1)


async def test_the_last_word_counts_also_when_it_is_written_first(director: Any, beats: Heartbeats) -> None:
    await paired(director, "old", "new")
    late = Heartbeats(HeartbeatSettings())
    late.note("old", told(revision=1))
    # A minute before: which of two moments was first is known as exactly only as the database takes to answer.
    late._waiting = {who: (heard - 60, said) for who, (heard, said) in late._waiting.items()}
    beats.note("old", told(revision=2))
    beats.note("new", told(revision=3, lookedSecondsAgo=None, trouble="local", error="the disk\nis full\x00"))

    await beats.write(director.database)
    await late.write(director.database)

    (row,) = await kept(director)
    assert (row["revision"], row["trouble"], row["error"], row["looked"]) == (3, "local", "the disk is full", None)
    beats.note("new", told(revision=4))
    await beats.write(director.database)
    assert [row["revision"] for row in await kept(director)] == [4]


async def test_an_agent_in_trouble_keeps_when_it_last_took_something_over(director: Any, beats: Heartbeats) -> None:
    await paired(director, "f")
    beats.note("f", told())
    await beats.write(director.database)

    beats.note("f", told(lookedSecondsAgo=None, trouble="local"))
    await beats.write(director.database)

    (row,) = await kept(director)
    assert (row["trouble"], row["error"]) == ("local", "local")
    assert row["looked"] >= 3.5


async def test_nobody_else_beats(director: Any, beats: Heartbeats) -> None:
    revoked, gone, unpaired = await paired(director, "r"), await paired(director, "g"), await paired(director, "u")
    application = await director.data('mutation { result: registerApplication(in: {name: "a"}) { id } }')
    async with director.database.transaction() as tx:
        await tx.run("UPDATE certificate SET revoked_at = now(), revocation_reason = 'lost' WHERE fingerprint = 'r'")
        await tx.run("DELETE FROM runtime WHERE id = %(id)s", id=gone)
        await tx.run("DELETE FROM system_auth WHERE runtime_id = %(id)s", id=unpaired)
        await tx.run(
            PAIRED.replace("runtime_id", "application_id").replace("FROM runtime\n", "FROM application\n"),
            runtime=application["result"]["id"],
            fingerprint="a",
        )
    before = await director.state()
    for fingerprint in ("r", "g", "u", "a", "of nobody"):
        beats.note(fingerprint, told())

    await beats.write(director.database)

    assert await director.state() == before
    assert revoked


async def test_a_runtime_that_is_being_unregistered_holds_up_no_other(director: Any, beats: Heartbeats) -> None:
    leaving, staying = await paired(director, "leaving"), await paired(director, "staying")
    async with director.database.transaction() as tx:
        await tx.run("SELECT FROM runtime WHERE id = %(id)s FOR UPDATE", id=leaving)
        for fingerprint in ("leaving", "staying"):
            beats.note(fingerprint, told())

        await beats.write(director.database)

    assert [row["runtime_id"] for row in await kept(director)] == [staying]


async def test_what_could_not_be_written_is_written_later_and_what_is_newer_stays(
    director: Any, beats: Heartbeats
) -> None:
    class Away(Database):
        async def run(self, *_: Any, **__: Any) -> Any:
            beats.note("b", told(revision=2))
            raise LOST[0]

    await paired(director, "a")
    await paired(director, "b")
    for fingerprint in ("a", "b"):
        beats.note(fingerprint, told(revision=1))
    with pytest.raises(LOST[0]):
        await beats.write(Away.__new__(Away))

    await beats.write(director.database)

    assert sorted(row["revision"] for row in await kept(director)) == [1, 2]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "a JSON object"),
        (b"[]", "a JSON object"),
        (b'{"version": NaN}', "a JSON object"),
        (told(version=""), "version"),
        (told(version="1 <script>"), "version"),
        (told(version="1" * 65), "version"),
        (told(revision=-1), "revision"),
        (told(revision=2**31), "revision"),
        (told(revision=True), "revision"),
        (told(applications="2"), "applications"),
        (told(lookedSecondsAgo=-1), "lookedSecondsAgo"),
        (told(looksEverySeconds=None), "looksEverySeconds"),
        (told(trouble="Big Trouble"), "trouble"),
        (told(trouble=7), "trouble"),
    ],
)
def test_what_is_no_report_is_refused_and_not_noted(beats: Heartbeats, body: bytes, reason: str) -> None:
    with pytest.raises(InvalidData) as refused:
        beats.note("f", body)

    assert reason in refused.value.facts["reason"]
    assert beats._waiting == {}


def test_what_is_large_is_cut_and_what_is_unknown_passed_over() -> None:
    report = Report.read(told(trouble="local", error="x" * 1000, lookedSecondsAgo=1e300, more=[1]))

    assert (report.error, report.looked_seconds_ago) == ("x" * heartbeat.MOST_ERROR, 86_400.0)
    assert Report.read(told(error="is not said without trouble")).error is None
