import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from compass.connector import certificate, issuer
from compass.connector.authority import Authority
from compass.connector.issuer import AuthorityExpired
from compass.connector.signer import HeldKey
from compass.ids import SystemAuthId
from compass.postgres.pool import Database, Tx
from compass.settings import AuthoritySettings
from compass.vault import SealBroken, Vault

SETTINGS = AuthoritySettings()


def test_the_subject_is_the_text_that_clients_split(authority: Authority) -> None:
    me = SystemAuthId("11111111-1111-4111-8111-111111111111")
    assert authority.subject_for(me) == f"O=Org,OU=OrgUnit,L=locality,ST=province,C=DE,CN={me}"


async def test_a_root_signed_the_issuing_authority_which_may_only_sign_leaves(authority: Authority) -> None:
    root = x509.load_pem_x509_certificate(authority.root_pem.encode())
    issuing = x509.load_pem_x509_certificate(authority.ca_pem.encode())
    root.verify_directly_issued_by(root)
    issuing.verify_directly_issued_by(root)
    for certificate_, path_length in ((root, 2), (issuing, 0)):
        constraints = certificate_.extensions.get_extension_for_class(x509.BasicConstraints)
        usage = certificate_.extensions.get_extension_for_class(x509.KeyUsage)
        assert (constraints.critical, constraints.value) == (
            True,
            x509.BasicConstraints(ca=True, path_length=path_length),
        )
        assert usage.critical
        assert (usage.value.key_cert_sign, usage.value.crl_sign, usage.value.digital_signature) == (True, True, False)
        key = certificate_.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert isinstance(key.curve, ec.SECP256R1)
        assert certificate_.serial_number.bit_length() > 64
    assert root.subject != issuing.subject
    assert issuing.not_valid_after_utc <= root.not_valid_after_utc
    assert authority.chain("leaf\n") == "leaf\n" + authority.ca_pem
    assert authority.not_after == issuing.not_valid_after_utc


async def test_an_authority_is_created_once_and_found_again(tx: Tx, vault: Vault) -> None:
    first = await Authority.open(tx, vault, SETTINGS)
    second = await Authority.open(tx, vault, SETTINGS)
    assert (first.serial, first.ca_pem, first.root_pem) == (second.serial, second.ca_pem, second.root_pem)
    rows = await tx.rows("SELECT kind, serial, signed_by FROM authority ORDER BY kind")
    assert [row["kind"] for row in rows] == ["issuing", "root"]
    assert (rows[0]["serial"], rows[0]["signed_by"]) == (first.serial, rows[1]["serial"])


async def test_many_first_starts_at_once_end_with_one_authority(dsn: str, vault: Vault) -> None:
    async with Database.open(dsn, connections=16) as database:

        async def start() -> Authority:
            async with database.transaction() as tx:
                return await Authority.open(tx, vault, SETTINGS)

        started = await asyncio.gather(*[start() for _ in range(16)])
        assert len({(one.serial, one.ca_pem, one.root_pem) for one in started}) == 1
        async with database.transaction() as tx:
            assert await tx.value("SELECT count(*) FROM authority") == 2


async def test_a_start_that_dies_halfway_leaves_nothing_in_the_way_of_the_next(
    database: Database, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Died(Exception):
        pass

    def dies(*_: object) -> str:
        raise Died

    with monkeypatch.context() as dying:
        dying.setattr(issuer, "_authority_name", dies)
        with pytest.raises(Died):
            async with database.transaction() as tx:
                await Authority.open(tx, vault, SETTINGS)
    async with database.transaction() as tx:
        assert await tx.value("SELECT count(*) FROM authority") == 0
        await Authority.open(tx, vault, SETTINGS)


async def test_no_private_key_stands_in_the_database(tx: Tx, vault: Vault, authority: Authority) -> None:
    assert isinstance(authority.issuer.signer, HeldKey)
    key = authority.issuer.signer.key
    der = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    secret = key.private_numbers().private_value.to_bytes(32, "big")
    assert secret in der
    rows = await tx.rows("SELECT authority::text AS text, sealed_key FROM authority")
    for row in rows:
        assert row["sealed_key"].startswith("v1.")
        assert "PRIVATE KEY" not in row["text"]
        assert secret.hex() not in row["text"]
    assert "key" not in repr(authority)
    assert "key" not in repr(authority.issuer.signer).lower().replace("heldkey", "")


async def test_keys_swapped_between_rows_do_not_open(tx: Tx, vault: Vault, authority: Authority) -> None:
    await tx.run("UPDATE authority SET sealed_key = (SELECT sealed_key FROM authority WHERE kind = 'root')")
    with pytest.raises(SealBroken):
        await Authority.open(tx, vault, SETTINGS)


async def test_another_vaults_keys_are_refused_and_create_no_second_authority(
    tx: Tx, authority: Authority, tmp_path: Path
) -> None:
    with pytest.raises(SealBroken, match="a key that is not in the key file"):
        await Authority.open(tx, Vault.at(tmp_path / "other.key"), SETTINGS)
    assert await tx.value("SELECT count(*) FROM authority") == 2


async def test_no_certificate_outlives_its_authority(tx: Tx, vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issuer, "ISSUING_LIFE", timedelta(days=30))
    authority = await Authority.open(tx, vault, SETTINGS)
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    client = await authority.issuer.sign_client(key, common_name="x", serial=issuer.new_serial())
    server = await authority.issuer.sign_server(key, names=["localhost"], serial=issuer.new_serial())
    assert client.not_valid_after_utc == server.not_valid_after_utc == authority.not_after
    assert authority.not_after < datetime.now(UTC) + timedelta(days=31)


async def test_an_expired_authority_signs_nothing(tx: Tx, vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issuer, "ISSUING_LIFE", timedelta(0))
    authority = await Authority.open(tx, vault, SETTINGS)
    with pytest.raises(AuthorityExpired, match=str(authority.not_after.year)):
        await certificate.issue_server(tx, authority, names=["localhost"])


async def test_every_serial_number_is_another(tx: Tx, authority: Authority) -> None:
    serials = [issuer.new_serial() for _ in range(1000)]
    assert len(set(serials)) == 1000
    assert all(0 < serial.bit_length() <= 159 for serial in serials)
    # 64 bits of chance at least: the top halves differ as well as the bottom ones.
    assert len({serial >> 79 for serial in serials}) == len({serial % 2**79 for serial in serials}) == 1000
