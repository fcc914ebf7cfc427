import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from compass.connector import certificate, revocation, revocation_list
from compass.connector.authority import Authority
from compass.connector.certificate import Issued
from compass.connector.issuer import AuthorityExpired, Issuer
from compass.connector.revocation import Revocations
from compass.connector.revocation_list import LIFE, RevocationList
from compass.errors import Unavailable
from compass.ids import SystemAuthId
from compass.postgres.pool import Database

OPENSSL = shutil.which("openssl")


@pytest.fixture
async def revocations(database: Database) -> AsyncIterator[Revocations]:
    async with Revocations.watching(database) as revocations:
        async with asyncio.timeout(5):
            while not revocations.fresh:
                await asyncio.sleep(0.005)
        yield revocations


@pytest.fixture
def published(database: Database, committed_authority: Authority, revocations: Revocations) -> RevocationList:
    return RevocationList(database, committed_authority, revocations)


@pytest.fixture
async def three(
    database: Database, committed_authority: Authority, committed_system_auth: SystemAuthId, request_for: Any
) -> list[Issued]:
    csr = request_for(committed_system_auth)
    async with database.transaction() as tx:
        return [await certificate.issue(tx, committed_authority, committed_system_auth, csr) for _ in range(3)]


async def revoke(database: Database, revocations: Revocations, issued: Issued) -> None:
    """Revoked, and this process has heard of it."""
    known = revocations.known
    async with database.transaction() as tx:
        await revocation.revoke(tx, issued.fingerprint, reason="stolen", by="admin")
    async with asyncio.timeout(2):
        while revocations.known == known:
            await asyncio.sleep(0.005)


async def listed(published: RevocationList) -> set[str]:
    return {f"{entry.serial_number:x}" for entry in x509.load_der_x509_crl(await published.der())}


async def test_a_list_without_revocations_is_signed_by_the_issuing_authority(
    published: RevocationList, committed_authority: Authority
) -> None:
    made = x509.load_der_x509_crl(await published.der())

    issuing = x509.load_pem_x509_certificate(committed_authority.ca_pem.encode())
    assert made.issuer == issuing.subject
    key: Any = issuing.public_key()
    assert made.is_signature_valid(key)
    assert list(made) == []
    assert made.next_update_utc is not None
    assert timedelta() <= datetime.now(UTC) + LIFE - made.next_update_utc < timedelta(seconds=10)
    assert made.last_update_utc <= datetime.now(UTC)
    identifier = made.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    assert identifier == issuing.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert x509.load_pem_x509_crl(await published.pem()) == made


async def test_a_revoked_certificate_is_on_the_next_list_and_an_ended_one_is_not(
    database: Database, published: RevocationList, revocations: Revocations, three: list[Issued]
) -> None:
    assert await listed(published) == set()
    await revoke(database, revocations, three[0])
    async with database.transaction() as tx:
        await tx.run("UPDATE certificate SET not_after = now() WHERE serial = %(serial)s", serial=three[1].serial)
    await revoke(database, revocations, three[1])
    published._made = None

    assert await listed(published) == {three[0].serial}
    [entry] = x509.load_der_x509_crl(await published.der())
    async with database.transaction() as tx:
        at = await tx.value("SELECT revoked_at FROM certificate WHERE serial = %(s)s", s=three[0].serial)
    assert entry.revocation_date_utc == at.replace(microsecond=0)


async def test_a_list_is_made_anew_after_a_revocation_or_an_hour_and_not_more_often_than_it_may(
    database: Database,
    committed_authority: Authority,
    revocations: Revocations,
    three: list[Issued],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    published = RevocationList(database, committed_authority, revocations, clock=lambda: now)
    monkeypatch.setattr(Revocations, "fresh", True)
    first = await published.der()
    now += revocation_list.RENEW_AFTER_SECONDS - 1
    assert await published.der() == first
    now += 2
    second = await published.der()
    assert number(second) > number(first)
    await revoke(database, revocations, three[0])
    now += revocation_list.AT_MOST_EVERY_SECONDS - 1
    assert await published.der() == second
    now += 2
    third = await published.der()
    assert number(third) > number(second)
    assert await listed(published) == {three[0].serial}
    # A process that cannot know whether something was revoked looks as often as it may.
    monkeypatch.setattr(Revocations, "fresh", False)
    now += revocation_list.AT_MOST_EVERY_SECONDS + 1
    assert number(await published.der()) > number(third)


def number(der: bytes) -> int:
    return x509.load_der_x509_crl(der).extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


async def test_however_many_ask_at_once_one_list_is_made(
    database: Database, published: RevocationList, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = 0
    sign = Issuer.sign_revocations

    def counting(*arguments: Any, **options: Any) -> Any:
        nonlocal made
        made += 1
        return sign(*arguments, **options)

    monkeypatch.setattr(Issuer, "sign_revocations", counting)
    answers = await asyncio.gather(*(published.der() for _ in range(50)), *(published.pem() for _ in range(50)))
    assert made == 1
    assert len(set(answers)) == 2


async def test_without_a_database_there_is_no_list(
    dsn: str, committed_authority: Authority, revocations: Revocations
) -> None:
    async with Database.open(dsn) as closed:
        pass
    with pytest.raises(Unavailable):
        await RevocationList(closed, committed_authority, revocations).der()


async def test_a_list_does_not_outlive_the_authority(committed_authority: Authority) -> None:
    end = committed_authority.not_after
    made = await committed_authority.issuer.sign_revocations([], number=1, at=end - timedelta(hours=1), life=LIFE)
    assert made.next_update_utc == end
    with pytest.raises(AuthorityExpired):
        await committed_authority.issuer.sign_revocations([], number=1, at=end, life=LIFE)


@pytest.mark.parametrize("which", [0, 1])
async def test_openssl_refuses_what_is_on_the_list_and_accepts_the_rest(
    database: Database,
    published: RevocationList,
    revocations: Revocations,
    committed_authority: Authority,
    three: list[Issued],
    tmp_path: Path,
    which: int,
) -> None:
    assert OPENSSL is not None, "openssl is a prerequisite of the guides, too"
    await revoke(database, revocations, three[0])
    files = {
        "root.pem": committed_authority.root_pem.encode(),
        "issuing.pem": committed_authority.ca_pem.encode(),
        "leaf.pem": three[which].pem.encode(),
        "crl.pem": await published.pem(),
        "crl.der": await published.der(),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)

    def openssl(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([OPENSSL or "", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)

    shown = openssl("crl", "-inform", "DER", "-in", "crl.der", "-CAfile", "issuing.pem", "-noout", "-text")
    assert "verify OK" in shown.stderr
    assert three[0].serial.upper() in shown.stdout
    checked = openssl(
        "verify", "-crl_check", "-CAfile", "root.pem", "-untrusted", "issuing.pem", "-CRLfile", "crl.pem", "leaf.pem"
    )
    assert (checked.returncode == 0) is (which == 1), checked.stderr
    assert ("certificate revoked" in checked.stderr) is (which == 0)
