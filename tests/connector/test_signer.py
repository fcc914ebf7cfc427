"""An external signer that is a process: good, hanging, lying, dying."""

import sys
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from compass.connector import certificate, rotation
from compass.connector.authority import Authority
from compass.connector.issuer import AuthorityKeyMissing
from compass.connector.signer import HeldKey, Program, SignerFailed
from compass.errors import CompassError
from compass.ids import SystemAuthId
from compass.postgres.pool import Tx
from compass.settings import AuthoritySettings
from compass.vault import Vault
from tests.e2e.plane import processes_of

SIGNER = Path(__file__).with_name("external_signer.py")
PATIENCE = timedelta(seconds=20)
"""For a signer that answers: a busy machine starts a process in seconds."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "signer").mkdir()
    return tmp_path / "signer"


def command(folder: Path) -> tuple[str, ...]:
    return (sys.executable, str(SIGNER), str(folder))


def program(folder: Path, timeout: timedelta = PATIENCE) -> Program:
    return Program(command(folder), "issuing", timeout=timeout)


@pytest.fixture
def external(folder: Path) -> AuthoritySettings:
    return AuthoritySettings(signer_command=command(folder), signer_timeout=PATIENCE)


async def test_a_program_signs_digests_with_the_key_that_it_names(folder: Path) -> None:
    signer = program(folder)
    key = await signer.public_key()
    key.verify(await signer.sign(b"to be signed"), b"to be signed", ec.ECDSA(hashes.SHA256()))
    # It saw the digest, and nothing of what was signed.
    assert (folder / "asked").read_text() == "public-key issuing 0\nsign issuing 32\n"


async def test_a_key_in_memory_signs_and_does_not_show_itself() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    held = HeldKey(key)
    key.public_key().verify(await held.sign(b"x"), b"x", ec.ECDSA(hashes.SHA256()))
    assert str(key.private_numbers().private_value) not in repr(held)


MOODS = {
    "dies": "it ended with -9",
    "fails": "it ended with 3",
    "babbles": "it wrote more than 16384 bytes",
}


@pytest.mark.parametrize("mood", MOODS)
async def test_a_program_in_trouble_is_a_typed_refusal_that_may_be_tried_again(folder: Path, mood: str) -> None:
    (folder / "mood").write_text(mood)
    for call in (program(folder).public_key(), program(folder).sign(b"x")):
        with pytest.raises(SignerFailed) as failed:
            await call
        assert failed.value.facts == {"reason": MOODS[mood]}
        assert failed.value.retryable


@pytest.mark.parametrize("mood", ["hangs", "trickles"])
async def test_a_program_that_does_not_end_is_killed_in_time(folder: Path, mood: str) -> None:
    (folder / "mood").write_text(mood)
    began = time.monotonic()
    with pytest.raises(SignerFailed, match=r"no answer within 0\.5 s"):
        await program(folder, timedelta(seconds=0.5)).sign(b"x")
    assert time.monotonic() - began < 20
    assert processes_of(folder) == []


async def test_a_program_that_is_not_there_is_named_as_such() -> None:
    with pytest.raises(SignerFailed, match="it cannot be started"):
        await Program(("/nonexistent/signer",), "k", timeout=PATIENCE).sign(b"x")


async def test_what_is_no_key_of_the_curve_is_refused(folder: Path) -> None:
    (folder / "mood").write_text("garbles")
    with pytest.raises(SignerFailed, match="no public key in PEM"):
        await program(folder).public_key()


# --- an authority whose key is elsewhere ---


async def test_an_authority_of_an_external_key_signs_and_never_has_the_key(
    tx: Tx, vault: Vault, external: AuthoritySettings, folder: Path, system_auth: SystemAuthId, request_for: Any
) -> None:
    authority = await Authority.open(tx, vault, external)
    row = await tx.row("SELECT sealed_key, signer_key FROM authority WHERE kind = 'issuing'")
    assert row is not None
    assert tuple(row) == (None, "issuing")
    issued = await certificate.issue(tx, authority, system_auth, request_for(system_auth))
    leaf = x509.load_pem_x509_certificate(issued.pem.encode())
    issuing = x509.load_pem_x509_certificate(authority.ca_pem.encode())
    leaf.verify_directly_issued_by(issuing)
    issuing.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.root_pem.encode()))
    again = await Authority.open(tx, vault, external)
    assert again.serial == authority.serial
    assert (await rotation.standing(tx)).authorities[0].key == "external signer: issuing"


@pytest.mark.parametrize("mood", ["lies", "garbles", "silent", "other digest", "dies"])
async def test_a_signature_that_is_not_the_authoritys_never_leaves(
    tx: Tx,
    vault: Vault,
    external: AuthoritySettings,
    folder: Path,
    system_auth: SystemAuthId,
    request_for: Any,
    mood: str,
) -> None:
    authority = await Authority.open(tx, vault, external)
    before = await tx.rows("SELECT * FROM certificate WHERE fingerprint IS NOT NULL")
    (folder / "mood").write_text(mood)
    with pytest.raises(SignerFailed):
        await certificate.issue(tx, authority, system_auth, request_for(system_auth))
    with pytest.raises(SignerFailed):
        await authority.issuer.sign_revocations(
            [], number=1, at=authority.not_after - timedelta(days=9), life=timedelta(days=1)
        )
    assert await tx.rows("SELECT * FROM certificate WHERE fingerprint IS NOT NULL") == before
    (folder / "mood").write_text("good")
    await certificate.issue(tx, authority, system_auth, request_for(system_auth))


async def test_a_program_that_does_not_read_the_digest_signs_nothing_of_use(
    tx: Tx, vault: Vault, external: AuthoritySettings, folder: Path
) -> None:
    authority = await Authority.open(tx, vault, external)
    (folder / "mood").write_text("deaf")
    with pytest.raises(SignerFailed):
        await certificate.issue_server(tx, authority, names=["localhost"])


async def test_without_the_program_nothing_is_signed_and_everything_else_works(
    tx: Tx, vault: Vault, external: AuthoritySettings, system_auth: SystemAuthId, request_for: Any
) -> None:
    await Authority.open(tx, vault, external)
    without = await Authority.open(tx, vault, replace(external, signer_command=()))
    assert without.subject_for(system_auth).endswith(system_auth)
    with pytest.raises(AuthorityKeyMissing, match=r"'issuing'.*authority\.signer_command") as missing:
        await certificate.issue(tx, without, system_auth, request_for(system_auth))
    assert isinstance(missing.value, CompassError)


async def test_a_plane_whose_program_fails_at_the_first_start_makes_no_authority(
    tx: Tx, vault: Vault, external: AuthoritySettings, folder: Path
) -> None:
    (folder / "mood").write_text("fails")
    with pytest.raises(SignerFailed):
        await Authority.open(tx, vault, external)
    assert await tx.value("SELECT count(*) FROM authority") == 0


async def test_a_rotation_moves_the_key_to_an_external_signer(
    tx: Tx,
    vault: Vault,
    authority: Authority,
    external: AuthoritySettings,
    folder: Path,
    system_auth: SystemAuthId,
    request_for: Any,
) -> None:
    (folder / "mood").write_text("fails")
    with pytest.raises(SignerFailed):
        await rotation.prepare(tx, vault, external)
    assert await tx.value("SELECT count(*) FROM authority WHERE state = 'prepared'") == 0
    (folder / "mood").unlink()
    await rotation.prepare(tx, vault, external)
    await rotation.distribute(tx)
    await rotation.activate(tx)
    now = await Authority.open(tx, vault, external)
    assert now.serial != authority.serial
    assert (folder / "asked").read_text().split().count("issuing") == len((folder / "asked").read_text().splitlines())
    issued = await certificate.issue(tx, now, system_auth, request_for(system_auth))
    assert issued.ca_pem == now.ca_pem
