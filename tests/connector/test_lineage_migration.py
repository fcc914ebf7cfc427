"""0040 on a database with certificates of the release before it, and what that release goes on to write."""

import shutil
from pathlib import Path

import asyncpg
import pytest

from compass.postgres.migrate import MIGRATIONS, migrate

BEFORE = """
INSERT INTO tenant (id, external_id, name, type, provider)
VALUES ('00000000-0000-4000-8000-000000000001', 't', 't', 'account', 'x');
INSERT INTO application (id, tenant_id, name)
VALUES ('00000000-0000-4000-8000-0000000000a1', '00000000-0000-4000-8000-000000000001', 'orders');
INSERT INTO runtime (id, tenant_id, name)
VALUES ('00000000-0000-4000-8000-0000000000b1', '00000000-0000-4000-8000-000000000001', 'kyma');
INSERT INTO system_auth (id, tenant_id, application_id)
SELECT '00000000-0000-4000-8000-0000000000c1', tenant_id, id FROM application;
INSERT INTO system_auth (id, tenant_id, runtime_id)
SELECT '00000000-0000-4000-8000-0000000000c2', tenant_id, id FROM runtime;
INSERT INTO authority (serial, kind, certificate, sealed_key) VALUES ('ca', 'issuing', 'pem', 'key');
"""
CERTIFICATE = """
INSERT INTO certificate (serial, kind, signed_by, system_auth_id, names, key_thumbprint, fingerprint, pem, not_before,
    not_after, renewal_of)
VALUES ($1, $2, 'ca', $3, '{}', 'k', 'print of ' || $1, 'pem', now(), now(), 'print of ' || $4::text)
"""
APPLICATION, RUNTIME = "00000000-0000-4000-8000-0000000000c1", "00000000-0000-4000-8000-0000000000c2"
DELETED = "00000000-0000-4000-8000-0000000000c3"


@pytest.fixture
async def older(empty_dsn: str, tmp_path: Path) -> str:
    for file in MIGRATIONS.glob("*.sql"):
        if file.name < "0040":
            shutil.copy(file, tmp_path)
    await migrate(empty_dsn, folder=tmp_path)
    connection = await asyncpg.connect(empty_dsn)
    await connection.execute(BEFORE)
    for row in (
        ("1", "client", APPLICATION, None),
        ("2", "client", APPLICATION, "1"),
        ("3", "client", APPLICATION, "2"),
        ("4", "client", APPLICATION, "1"),
        ("5", "client", APPLICATION, None),
        ("6", "client", RUNTIME, "1"),  # another client's, whatever it says of itself
        ("7", "client", RUNTIME, "6"),
        ("8", "client", DELETED, "unknown"),
        ("9", "client", DELETED, "8"),
        ("10", "server", None, None),
    ):
        await connection.execute(CERTIFICATE, *row)
    await connection.close()
    return empty_dsn


async def test_every_certificate_gets_its_line_and_those_with_a_holder_their_owner(older: str) -> None:
    await migrate(older)
    connection = await asyncpg.connect(older)
    rows = await connection.fetch(
        "SELECT serial, lineage, owner_kind, owner_id::text, tenant_id::text FROM certificate"
    )
    await connection.close()

    lines = {"1": "1", "2": "1", "3": "1", "4": "1", "5": "5", "6": "6", "7": "6", "8": "8", "9": "8", "10": "10"}
    assert {row["serial"]: row["lineage"] for row in rows} == lines
    tenant = "00000000-0000-4000-8000-000000000001"
    owners: dict[str, tuple[str | None, ...]] = {
        **dict.fromkeys("12345", ("application", "00000000-0000-4000-8000-0000000000a1", tenant)),
        **dict.fromkeys("67", ("runtime", "00000000-0000-4000-8000-0000000000b1", tenant)),
        **dict.fromkeys(("8", "9", "10"), (None, None, None)),
    }
    assert {row["serial"]: tuple(row)[2:] for row in rows} == owners


async def test_what_the_release_before_writes_afterwards_is_of_its_line_too(older: str) -> None:
    await migrate(older)
    connection = await asyncpg.connect(older)
    for row in (("11", "client", APPLICATION, "3"), ("12", "client", RUNTIME, "3"), ("13", "server", None, None)):
        await connection.execute(CERTIFICATE, *row)
    rows = await connection.fetch("SELECT serial, lineage, owner_kind FROM certificate WHERE length(serial) = 2")
    await connection.close()

    assert {tuple(row) for row in rows} == {
        ("10", "10", None),
        ("11", "1", "application"),
        ("12", "12", "runtime"),
        ("13", "13", None),
    }
