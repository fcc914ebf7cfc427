"""A vault, an authority and system auths in the test's own transaction or database, and signing requests."""

import base64
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from compass.connector.authority import Authority
from compass.ids import SystemAuthId
from compass.settings import AuthoritySettings
from compass.vault import Vault

if TYPE_CHECKING:
    from compass.postgres.pool import Database, Tx

SHARED_SUBJECT = (
    (NameOID.ORGANIZATION_NAME, "Org"),
    (NameOID.ORGANIZATIONAL_UNIT_NAME, "OrgUnit"),
    (NameOID.LOCALITY_NAME, "locality"),
    (NameOID.STATE_OR_PROVINCE_NAME, "province"),
    (NameOID.COUNTRY_NAME, "DE"),
)


class RequestFor(Protocol):
    """Builds a signing request as a client would send it."""

    def __call__(
        self,
        common_name: str | None,
        *,
        key: Any = None,
        parts: Iterable[tuple[x509.ObjectIdentifier, str]] = SHARED_SUBJECT,
        extensions: Iterable[tuple[x509.ExtensionType, bool]] = (),
        digest: Any = None,
    ) -> str: ...


@pytest.fixture(scope="session")
def client_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(scope="session")
def request_for(client_key: ec.EllipticCurvePrivateKey) -> RequestFor:
    def build(
        common_name: str | None,
        *,
        key: Any = None,
        parts: Iterable[tuple[x509.ObjectIdentifier, str]] = SHARED_SUBJECT,
        extensions: Iterable[tuple[x509.ExtensionType, bool]] = (),
        digest: Any = None,
    ) -> str:
        attributes = [x509.NameAttribute(oid, value, _validate=False) for oid, value in parts]
        if common_name is not None:
            attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name, _validate=False))
        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(attributes))
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        request = builder.sign(client_key if key is None else key, hashes.SHA256() if digest is None else digest)
        return base64.b64encode(request.public_bytes(serialization.Encoding.PEM)).decode()

    return build


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault.at(tmp_path / "vault.key")


async def _add_system_auth(tx: "Tx") -> SystemAuthId:
    return SystemAuthId(
        await tx.value(
            """
            WITH account AS (
                INSERT INTO tenant (external_id, name, type, provider)
                VALUES (gen_random_uuid()::text, 'tests', 'account', 'tests') RETURNING id
            ), orders AS (
                INSERT INTO application (tenant_id, name) SELECT id, 'orders' FROM account RETURNING id, tenant_id
            )
            INSERT INTO system_auth (tenant_id, application_id) SELECT tenant_id, id FROM orders RETURNING id
            """
        )
    )


@pytest.fixture
def new_system_auth() -> "Callable[[Tx], Awaitable[SystemAuthId]]":
    """Adds an application of a tenant of its own, and one way it is known."""
    return _add_system_auth


@pytest.fixture
async def authority(tx: "Tx", vault: Vault) -> Authority:
    """The authority of `tx`'s database, visible in that transaction only."""
    return await Authority.open(tx, vault, AuthoritySettings())


@pytest.fixture
async def system_auth(tx: "Tx") -> SystemAuthId:
    """An application's system auth, visible in `tx` only."""
    return await _add_system_auth(tx)


@pytest.fixture
async def committed_authority(database: "Database", vault: Vault) -> Authority:
    """The authority of the test's own database."""
    async with database.transaction() as tx:
        return await Authority.open(tx, vault, AuthoritySettings())


@pytest.fixture
async def committed_system_auth(database: "Database") -> SystemAuthId:
    """An application's system auth in the test's own database."""
    async with database.transaction() as tx:
        return await _add_system_auth(tx)
