import orjson
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from compass.connector import anchors, certificate, rotation
from compass.connector.anchors import Anchors
from compass.connector.authority import Authority
from compass.connector.certificate import Issued
from compass.ids import SystemAuthId
from compass.postgres.pool import Database
from compass.settings import AuthoritySettings
from compass.vault import Vault
from tests.connector.conftest import RequestFor
from tests.director.catalogue import counted

KNOWS = "SELECT knows_authorities FROM certificate WHERE kind = 'client'"


@pytest.fixture
def handed_out(database: Database, committed_authority: Authority) -> Anchors:
    return Anchors(database, committed_authority)


@pytest.fixture
async def issued(
    database: Database, committed_authority: Authority, committed_system_auth: SystemAuthId, request_for: RequestFor
) -> Issued:
    async with database.transaction() as tx:
        return await certificate.issue(
            tx, committed_authority, committed_system_auth, request_for(committed_system_auth)
        )


def der(issued: Issued) -> bytes:
    return x509.load_pem_x509_certificate(issued.pem.encode()).public_bytes(Encoding.DER)


async def knows(database: Database) -> str | None:
    async with database.transaction() as tx:
        kept: str | None = await tx.value(KNOWS)
        return kept


async def test_what_is_trusted_is_handed_out_with_what_signs_first(
    database: Database, vault: Vault, committed_authority: Authority, handed_out: Anchors
) -> None:
    alone = orjson.loads(handed_out.document())
    assert alone == {
        "version": committed_authority.version,
        "roots": committed_authority.root_pem,
        "issuing": committed_authority.ca_pem,
    }
    assert handed_out.version == f'"{committed_authority.version}"'
    async with database.transaction() as tx:
        await rotation.prepare(tx, vault, AuthoritySettings())
    assert not await committed_authority.reload(database)
    seen = {alone["version"]}
    for phase in (rotation.distribute, rotation.activate):
        await database.run(phase)
        assert await committed_authority.reload(database)
        told = orjson.loads(handed_out.document())
        assert told["issuing"].startswith(committed_authority.ca_pem)
        assert told["roots"].count("BEGIN") == told["issuing"].count("BEGIN") == 2
        assert set(alone.values()) - {alone["version"]} - {told["roots"], told["issuing"]} != set()
        seen.add(told["version"])
    assert len(seen) == 3


async def test_who_keeps_the_present_version_is_written_down_once(
    database: Database, handed_out: Anchors, issued: Issued, monkeypatch: pytest.MonkeyPatch
) -> None:
    with counted(monkeypatch) as first:
        await handed_out.kept(der(issued), handed_out.version)
    with counted(monkeypatch) as later:
        for _ in range(3):
            await handed_out.kept(der(issued), handed_out.version)
    assert (len(first), later) == (1, [])
    assert await knows(database) == handed_out.version.strip('"')


@pytest.mark.parametrize("said", ["", '"another"', "*", "x" * 10_000])
async def test_what_is_not_the_present_version_is_no_knowledge(
    database: Database, handed_out: Anchors, issued: Issued, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with counted(monkeypatch) as statements:
        await handed_out.kept(der(issued), said)
    assert statements == []
    assert await knows(database) is None


async def test_a_certificate_that_is_not_ours_changes_nothing(
    database: Database, committed_authority: Authority, handed_out: Anchors, issued: Issued
) -> None:
    issuing = x509.load_pem_x509_certificate(committed_authority.ca_pem.encode())
    await handed_out.kept(issuing.public_bytes(Encoding.DER), handed_out.version)
    assert await knows(database) is None


async def test_a_database_that_is_away_stops_nobody(dsn: str, committed_authority: Authority, issued: Issued) -> None:
    async with Database.open(dsn) as closed:
        pass
    handed_out = Anchors(closed, committed_authority)
    await handed_out.kept(der(issued), handed_out.version)


async def test_a_process_remembers_a_bounded_number(
    handed_out: Anchors, issued: Issued, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anchors, "MOST_REMEMBERED", 2)
    handed_out._kept = {"a": "1", "b": "2"}
    await handed_out.kept(der(issued), handed_out.version)
    assert handed_out._kept == {issued.fingerprint: handed_out.version}
