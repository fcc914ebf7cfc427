import os
import shutil
import stat
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from compass.agent import pair as pairing
from compass.agent.pair import (
    CertificateNotOurs,
    ConfigurationIncomplete,
    Connection,
    KeyAlgorithm,
    NotPaired,
    TokenRefused,
    named,
    pair,
    renew,
    renewal_due,
)
from compass.client.graphql import PlaneAnswerUnreadable, PlaneNotTrusted, PlaneRefused, PlaneUnreachable, Trust
from tests.agent.plane import SUBJECT, Authority, FakePlane, free_port_url

NAMES = {"client.key", "client.crt", "chain.crt", "ca.crt", "connection.json"}


class Killed(BaseException):
    """Stands for the end of the process at this line."""


async def paired(plane: FakePlane, folder: Path, token: str, **options: Any) -> Connection:
    trust = Trust.to(plane.authority.pem)
    return await pair(folder, connector_url=plane.connector_url, token=token, trust=trust, **options)


async def test_a_token_becomes_an_identity_that_the_plane_accepts(plane: FakePlane, tmp_path: Path) -> None:
    folder = tmp_path / "app"
    connection = await paired(plane, folder, plane.new_token("client-1"))

    assert connection.client_id == "client-1"
    assert connection.director_url == f"{plane.mtls_url}/director/graphql"
    assert connection.connector_url == f"{plane.mtls_url}/connector/graphql"
    assert Connection.read(folder) == connection
    chain = x509.load_pem_x509_certificates((folder / "chain.crt").read_bytes())
    assert [certificate.subject for certificate in chain][1] == plane.authority.certificate.subject
    assert (folder / "ca.crt").read_text() == plane.authority.pem
    async with connection.plane(Trust.to(plane.authority.pem)) as spoken:
        await spoken.send("ManagementPlane")
    assert plane.seen[-1]["client_id"] == "client-1"


async def test_the_key_is_readable_by_its_owner_only(plane: FakePlane, tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        await paired(plane, tmp_path / "app", plane.new_token("client-1"))
    finally:
        os.umask(old)
    for file in (tmp_path / "app").rglob("*"):
        mode = stat.S_IMODE(file.stat().st_mode)
        assert mode & 0o077 == 0, file


@pytest.mark.parametrize(
    ("algorithm", "kind"),
    [(KeyAlgorithm.P256, ec.EllipticCurvePrivateKey), (KeyAlgorithm.RSA2048, rsa.RSAPrivateKey)],
)
async def test_the_key_is_of_the_kind_asked_for(
    plane: FakePlane, tmp_path: Path, algorithm: KeyAlgorithm, kind: type
) -> None:
    await paired(plane, tmp_path / "app", plane.new_token("client-1"), algorithm=algorithm)
    key = load_pem_private_key((tmp_path / "app" / "client.key").read_bytes(), None)
    assert isinstance(key, kind)


async def test_a_spent_token_cannot_be_spent_again(plane: FakePlane, tmp_path: Path) -> None:
    token = plane.new_token("client-1")
    await paired(plane, tmp_path / "first", token)
    with pytest.raises(TokenRefused, match="already used"):
        await paired(plane, tmp_path / "second", token)
    assert len(plane.keys_signed) == 1
    with pytest.raises(NotPaired):
        Connection.read(tmp_path / "second")


async def test_a_folder_paired_with_this_token_is_left_as_it_is(plane: FakePlane, tmp_path: Path) -> None:
    token = plane.new_token("client-1")
    first = await paired(plane, tmp_path / "app", token)
    calls = list(plane.calls)
    assert await paired(plane, tmp_path / "app", token) == first
    assert plane.calls == calls


async def test_another_token_replaces_the_identity(plane: FakePlane, tmp_path: Path) -> None:
    await paired(plane, tmp_path / "app", plane.new_token("client-1"))
    again = await paired(plane, tmp_path / "app", plane.new_token("client-2"))
    assert Connection.read(tmp_path / "app").client_id == again.client_id == "client-2"


async def test_a_refused_token_leaves_the_present_identity_alone(plane: FakePlane, tmp_path: Path) -> None:
    present = await paired(plane, tmp_path / "app", plane.new_token("client-1"))
    with pytest.raises(TokenRefused):
        await paired(plane, tmp_path / "app", "unknown")
    assert Connection.read(tmp_path / "app") == present


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What got no answer is asked again without a pause."""
    monkeypatch.setattr(pairing, "_ASK_AGAIN_AFTER", (0.0, 0.0))


@pytest.mark.usefixtures("soon")
async def test_a_lost_certificate_is_fetched_again_with_the_same_key(plane: FakePlane, tmp_path: Path) -> None:
    plane.lose_answer_of = "SignCertificateSigningRequest"
    connection = await paired(plane, tmp_path / "app", plane.new_token("client-1"))
    assert connection.client_id == "client-1"
    assert plane.keys_signed[0] == plane.keys_signed[1]
    assert plane.calls == ["Configuration", *["SignCertificateSigningRequest"] * 2]


@pytest.mark.usefixtures("soon")
async def test_a_lost_configuration_is_asked_for_again_and_names_the_key_each_time(
    plane: FakePlane, tmp_path: Path
) -> None:
    plane.burns_at_configuration = False
    plane.lose_answer_of = "Configuration"
    connection = await paired(plane, tmp_path / "app", plane.new_token("client-1"))
    assert plane.calls == [*["Configuration"] * 2, "SignCertificateSigningRequest"]
    leaf = x509.load_pem_x509_certificate((connection.folder / "client.crt").read_bytes())
    der = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert {call["headers"]["Connector-Key-Digest"] for call in plane.seen} == {sha256(der).hexdigest()}


@pytest.mark.usefixtures("soon")
async def test_a_lost_configuration_of_the_original_ends_with_a_clear_refusal_of_the_token(
    plane: FakePlane, tmp_path: Path
) -> None:
    plane.lose_answer_of = "Configuration"
    with pytest.raises(TokenRefused):
        await paired(plane, tmp_path / "app", plane.new_token("client-1"))
    assert plane.keys_signed == []
    with pytest.raises(NotPaired):
        Connection.read(tmp_path / "app")


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("fault", ["500", "garbage"])
async def test_a_plane_that_does_not_come_back_is_named_after_a_few_attempts(
    plane: FakePlane, tmp_path: Path, fault: str
) -> None:
    plane.fault = fault
    with pytest.raises(PlaneAnswerUnreadable):
        await paired(plane, tmp_path / "app", plane.new_token("client-1"))
    assert plane.calls == ["Configuration"] * 3


def kill_at(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Every step that leaves a trace on the disk or at the plane ends the process when its turn is `number`."""
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1
        if steps == number:
            raise Killed

    def before(name: str) -> None:
        original = getattr(pairing, name)

        def stepped(*arguments: Any, **options: Any) -> Any:
            step()
            return original(*arguments, **options)

        monkeypatch.setattr(pairing, name, stepped)

    for name in ("write_private", "write_private_json", "_link", "sync_folder", "_configuration", "_signed", "new_key"):
        before(name)
    remove = shutil.rmtree

    def removed(*arguments: Any, **options: Any) -> None:
        step()
        remove(*arguments, **options)

    monkeypatch.setattr("compass.agent.pair.shutil.rmtree", removed)


@pytest.mark.parametrize(("burns", "tokens_lost"), [(False, 0), (True, 1)])
async def test_pairing_killed_before_any_step_continues_to_one_certificate(
    plane: FakePlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, burns: bool, tokens_lost: int
) -> None:
    """A plane that burns the token with the first call has one moment to lose it: before we wrote the answer down."""
    plane.burns_at_configuration = burns
    lived = refused = 0
    for number in range(1, 60):
        folder, token = tmp_path / f"app-{number}", plane.new_token(f"client-{number}")
        plane.keys_signed.clear()
        with monkeypatch.context() as patched:
            kill_at(patched, number)
            try:
                await paired(plane, folder, token)
                lived += 1
            except Killed:
                pass
        try:
            connection = await paired(plane, folder, token)
        except TokenRefused:
            refused += 1
            continue
        assert connection.client_id == f"client-{number}"
        assert len(set(plane.keys_signed)) == 1, f"step {number} brought a second key"
        assert {file.name for file in folder.iterdir() if file.is_symlink()} == NAMES | {"current"}
        async with connection.plane(Trust.to(plane.authority.pem)) as spoken:
            await spoken.send("ManagementPlane")
        if lived:
            assert number >= 20
            assert refused == tokens_lost
            return
    pytest.fail("no run ended without being killed")


@pytest.mark.parametrize(
    ("override", "missing"),
    [
        ({"token": None}, "token"),
        ({"certificateSigningRequestInfo": None}, "subject"),
        ({"managementPlaneInfo": None}, "directorURL"),
        ({"managementPlaneInfo": {"directorURL": "https://x/"}}, "certificateSecuredConnectorURL"),
        ({"certificateSigningRequestInfo": {"subject": "nonsense", "keyAlgorithm": "rsa2048"}}, "subject"),
        ({"certificateSigningRequestInfo": {"subject": SUBJECT, "keyAlgorithm": "rsa2048"}}, "subject"),
    ],
)
async def test_an_incomplete_configuration_is_named(
    plane: FakePlane, tmp_path: Path, override: dict[str, Any], missing: str
) -> None:
    plane.override = override
    with pytest.raises(ConfigurationIncomplete, match=missing):
        await paired(plane, tmp_path / "app", plane.new_token("client-1"))
    assert plane.keys_signed == []


async def test_a_certificate_signed_by_another_authority_is_not_stored(plane: FakePlane, tmp_path: Path) -> None:
    plane.sign_with = Authority("Another")
    with pytest.raises(CertificateNotOurs, match="authority"):
        await paired(plane, tmp_path / "app", plane.new_token("client-1"))
    with pytest.raises(NotPaired):
        Connection.read(tmp_path / "app")


async def test_a_certificate_for_another_key_is_not_stored(
    plane: FakePlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    client = plane.authority.client

    def swapped(_: Any, subject: x509.Name, life: timedelta) -> x509.Certificate:
        return client(other.public_key(), subject, life)

    monkeypatch.setattr(plane.authority, "client", swapped)
    with pytest.raises(CertificateNotOurs, match="another key"):
        await paired(plane, tmp_path / "app", plane.new_token("client-1"))
    with pytest.raises(NotPaired):
        Connection.read(tmp_path / "app")


async def test_a_certificate_that_has_ended_is_not_stored(plane: FakePlane, tmp_path: Path) -> None:
    with pytest.raises(CertificateNotOurs, match="compare the clocks"):
        await paired(
            plane,
            tmp_path / "app",
            plane.new_token("client-1"),
            clock=lambda: datetime.now(UTC) + timedelta(days=91),
        )


async def test_a_server_of_another_authority_gets_no_token(plane: FakePlane, tmp_path: Path) -> None:
    other = Trust.to(Authority("Another").pem)
    with pytest.raises(PlaneNotTrusted):
        await pair(tmp_path / "app", connector_url=plane.connector_url, token=plane.new_token("client-1"), trust=other)
    assert plane.calls == []


@pytest.mark.usefixtures("soon")
async def test_an_unreachable_plane_costs_neither_token_nor_key(plane: FakePlane, tmp_path: Path) -> None:
    token, trust = plane.new_token("client-1"), Trust.to(plane.authority.pem)
    with pytest.raises(PlaneUnreachable):
        await pair(tmp_path / "app", connector_url=await free_port_url(), token=token, trust=trust)
    key = (tmp_path / "app" / "pairing" / "client.key").read_bytes()
    await paired(plane, tmp_path / "app", token)
    assert (tmp_path / "app" / "client.key").read_bytes() == key


def test_the_subject_keeps_its_order_and_escapes() -> None:
    assert named("O=A\\, Inc,OU=U,L=L,ST=S,C=DE,CN=x") == x509.Name(
        [
            x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "A, Inc"),
            x509.NameAttribute(x509.NameOID.ORGANIZATIONAL_UNIT_NAME, "U"),
            x509.NameAttribute(x509.NameOID.LOCALITY_NAME, "L"),
            x509.NameAttribute(x509.NameOID.STATE_OR_PROVINCE_NAME, "S"),
            x509.NameAttribute(x509.NameOID.COUNTRY_NAME, "DE"),
            x509.NameAttribute(x509.NameOID.COMMON_NAME, "x"),
        ]
    )


async def test_a_certificate_is_renewed_with_a_new_key_and_the_previous_one_is_kept(
    plane: FakePlane, tmp_path: Path
) -> None:
    folder = tmp_path / "app"
    connection = await paired(plane, folder, plane.new_token("client-1"))
    before = (folder / "client.key").read_bytes()
    first = (folder / "current").readlink().name

    second = await renew(connection, trust=Trust.to(plane.authority.pem))
    middle = (folder / "current").readlink().name
    await renew(second, trust=Trust.to(plane.authority.pem))

    assert (folder / "client.key").read_bytes() != before
    assert len({*plane.keys_signed}) == 3
    kept = {home.name for home in (folder / "identities").iterdir()}
    assert kept == {middle, (folder / "current").readlink().name}
    assert first not in kept
    assert not (folder / "renewal").exists()


async def test_a_renewal_that_the_plane_does_not_accept_leaves_the_old_certificate_in_use(
    plane: FakePlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "app"
    connection = await paired(plane, folder, plane.new_token("client-1"))
    key = (folder / "client.key").read_bytes()
    client = plane.authority.client

    def revoked_as_soon_as_signed(*arguments: Any) -> x509.Certificate:
        plane.revoked.add("client-1")
        return client(*arguments)

    monkeypatch.setattr(plane.authority, "client", revoked_as_soon_as_signed)
    with pytest.raises(PlaneRefused, match="revoked"):
        await renew(connection, trust=Trust.to(plane.authority.pem))
    assert len(plane.keys_signed) == 2
    assert Connection.read(folder) == connection
    assert (folder / "client.key").read_bytes() == key


async def test_a_lost_renewal_is_repeated_with_the_same_key(plane: FakePlane, tmp_path: Path) -> None:
    connection = await paired(plane, tmp_path / "app", plane.new_token("client-1"))
    plane.lose_answer_of = "SignCertificateSigningRequest"
    with pytest.raises(PlaneUnreachable):
        await renew(connection, trust=Trust.to(plane.authority.pem))
    await renew(connection, trust=Trust.to(plane.authority.pem))
    assert plane.keys_signed[1] == plane.keys_signed[2]
    assert plane.keys_signed[0] != plane.keys_signed[1]


async def test_renewal_is_due_when_less_than_three_tenths_of_the_life_are_left(
    plane: FakePlane, tmp_path: Path
) -> None:
    plane.life = timedelta(days=100)
    connection = await paired(plane, tmp_path / "app", plane.new_token("client-1"))
    end = connection.not_after
    assert not renewal_due(connection, now=end - timedelta(days=30, minutes=1))
    assert renewal_due(connection, now=end - timedelta(days=30) + timedelta(minutes=1))
    assert renewal_due(connection, now=end - timedelta(days=32), jitter=1.0)
    assert not renewal_due(connection, now=end - timedelta(days=32), jitter=0.5)
    assert renewal_due(connection, now=end + timedelta(days=1))
