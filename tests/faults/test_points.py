"""Pairing, renewal, revocation and the authority's replacement, killed at each point where they could be: nothing is
lost, and nothing is done twice.

The points are not listed here: each step is done once and says which it passes, see `killed_at.py`, so a statement that
is new has its points. The short form kills at one of each flow, `COMPASS_PROOF=1` at all, and each has to be hit.
"""

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from compass.agent.pair import Connection, pair, renew
from compass.audit.keys import Keys
from compass.client.graphql import Endpoint, PlaneRefused
from compass.connector.authority import Authority
from compass.postgres.pool import Database
from compass.settings import AuthoritySettings
from compass.vault import Vault
from tests.e2e.plane import Plane, Tables
from tests.faults.chaos import PROOF, persistently
from tests.faults.killed_at import Orders

STEPS: Final = ["requestOneTimeTokenForApplication", "configuration", "signCertificateSigningRequest"]
CERTIFICATES = """
SELECT serial, fingerprint, key_thumbprint, pem IS NOT NULL AS signed, revoked_at IS NOT NULL AS revoked
FROM certificate WHERE kind = 'client' AND system_auth_id = $1::uuid ORDER BY intended_at
"""
RECORDED = """
SELECT count(*) FROM audit_record WHERE body::jsonb -> 'result' ->> 'serial' = $1
"""
ENDED = "SELECT count(*) FROM outbox_event WHERE name = 'CertificatesRevoked' AND facts::text LIKE '%' || $1 || '%'"
REVOKE = "mutation { result: revokeCertificate }"
UNAUTHORIZED: Final = 401


class MortalPlane(Plane):
    """A plane that has points."""

    program = "tests.faults.killed_at"


@dataclass
class Field:
    """A plane, what it is told, and the tables behind it."""

    plane: MortalPlane
    orders: Orders
    tables: Tables
    folder: Path
    made: int = 0

    async def somebody(self) -> tuple[str, Path]:
        """A new application, and a folder for it to pair into."""
        self.made += 1
        return await self.plane.application(f"application-{self.made}"), self.folder / f"client-{self.made}"

    async def paired(self, application: str, folder: Path) -> Connection:
        """From an application to its certificate, however often that takes."""
        token = await persistently(self.plane.token, application=application)
        connector = f"{self.plane.token_url}/connector/graphql"
        return await persistently(pair, folder, connector_url=connector, token=token, trust=self.plane.trust)

    async def viewer(self, connection: Connection) -> str:
        async with connection.plane(self.plane.trust) as speaking:
            return str((await speaking.ask(Endpoint.DIRECTOR, "{ viewer { type } }"))["viewer"]["type"])

    async def points_of(self, once: Callable[[], Awaitable[Any]]) -> list[str]:
        """Do it once, without any harm, and say which points it passes. Each of its steps has to be one transaction."""
        self.orders.reach()
        await once()
        points = self.orders.reached()
        assert [point for point in points if " of transaction " in point] == []
        return points

    async def killed(self, point: str, meanwhile: Awaitable[Any]) -> Any:
        """What came of something during which the plane was killed at that point, and started again."""
        self.orders.kill(point)
        task = asyncio.ensure_future(meanwhile)
        try:
            async with asyncio.timeout(60):
                while not self.orders.is_carried_out:
                    assert not task.done(), f"{point} was never reached: {task}"
                    await asyncio.sleep(0.01)
            await self.plane.kill()
            await self.plane.start()
            return await task
        finally:
            task.cancel()


@pytest.fixture(scope="module")
async def field(tmp_path_factory: pytest.TempPathFactory, shared_dsn: str) -> AsyncIterator[Field]:
    folder = tmp_path_factory.mktemp("points")
    orders = Orders(folder / "order")
    settings = {"COMPASS_DATABASE__DSN": shared_dsn, **orders.environment}
    async with MortalPlane(folder / "plane", settings=settings) as plane, Tables.of(shared_dsn) as tables:
        yield Field(plane, orders, tables, folder)
        assert "Traceback" not in plane.log, plane.log


def some(points: list[str], moments: random.Random) -> list[str]:
    """All of them as a proof, otherwise one."""
    return points if PROOF else [moments.choice(points)]


def fingerprint(connection: Connection) -> str:
    leaf = x509.load_pem_x509_certificate((connection.folder / "client.crt").read_bytes())
    return leaf.fingerprint(hashes.SHA256()).hex()


async def certificates(field: Field, connection: Connection) -> list[dict[str, Any]]:
    """The client's certificates, each of which must be signed and on record."""
    rows = await field.tables.rows(CERTIFICATES, connection.client_id)
    for row in rows:
        assert row["signed"]
        assert await field.tables.value(RECORDED, row["serial"]) >= 1
    return rows


@pytest.mark.timeout(1200)
async def test_a_pairing_that_is_killed_at_any_point_ends_with_one_certificate_for_one_key(
    field: Field, moments: random.Random, record_property: Any
) -> None:
    somebody = await field.somebody()
    points = await field.points_of(lambda: field.paired(*somebody))
    assert [*dict.fromkeys(point.partition(":")[0] for point in points)] == STEPS
    killed = some(points, moments)
    for point in killed:
        connection = await field.killed(point, field.paired(*await field.somebody()))
        (known,) = await certificates(field, connection)
        assert (known["fingerprint"], known["revoked"]) == (fingerprint(connection), False), point
        assert await field.viewer(connection) == "APPLICATION", point
    record_property("cases", len(killed))
    print(f"{len(killed)} of {len(points)} points of a pairing, each hit")  # noqa: T201  # for make proof


@pytest.mark.timeout(1200)
async def test_a_renewal_that_is_killed_at_any_point_loses_no_certificate_and_leaves_none_without_record(
    field: Field, moments: random.Random, record_property: Any
) -> None:
    held = await field.paired(*await field.somebody())
    points = await field.points_of(lambda: renew(held, trust=field.plane.trust))
    killed = some(points, moments)
    for point in killed:
        held = await field.paired(*await field.somebody())
        before = fingerprint(held)
        renewed = await field.killed(point, persistently(renew, held, trust=field.plane.trust))
        known = await certificates(field, renewed)
        assert [row["revoked"] for row in known] == [False] * len(known), point
        # Cut off after its certificate was signed, the client asks once more, for the same key.
        assert (len(known), len({row["key_thumbprint"] for row in known})) in ((2, 2), (3, 2)), point
        assert {before, fingerprint(renewed)} <= {row["fingerprint"] for row in known}
        assert await field.viewer(renewed) == "APPLICATION", point
    record_property("cases", len(killed))
    print(f"{len(killed)} of {len(points)} points of a renewal, each hit")  # noqa: T201


@pytest.mark.timeout(1200)
async def test_a_revocation_that_is_killed_at_any_point_is_made_once_or_not_at_all(
    field: Field, moments: random.Random, record_property: Any
) -> None:
    async def revoke(connection: Connection) -> bool:
        """Until the plane says that it is done, or that it was done before."""
        try:
            async with connection.plane(field.plane.trust) as speaking:
                return bool((await speaking.ask(Endpoint.CONNECTOR, REVOKE))["result"])
        except PlaneRefused as refusal:
            return refusal.unauthorized

    held = await field.paired(*await field.somebody())
    points = await field.points_of(lambda: revoke(held))
    killed = some(points, moments)
    for point in killed:
        held = await field.paired(*await field.somebody())
        assert await field.killed(point, persistently(revoke, held)) is True, point
        (known,) = await certificates(field, held)
        assert known["revoked"], point
        assert await field.tables.value(ENDED, held.client_id) == 1, point
        with pytest.raises(PlaneRefused) as refused:
            await field.viewer(held)
        assert refused.value.unauthorized, point
    record_property("cases", len(killed))
    print(f"{len(killed)} of {len(points)} points of a revocation, each hit")  # noqa: T201


# --- the authority ---

STATES = "SELECT state FROM authority WHERE kind = 'issuing' ORDER BY created_at, state"
TOLD = "SELECT facts ->> 'phase' AS phase FROM outbox_event WHERE name = 'AuthorityRotated' ORDER BY id"
PHASES_ON_RECORD = "SELECT body #>> '{arguments,phase}' AS phase FROM audit_record ORDER BY id"
PHASES: Final = ("prepare", "distribute", "activate", "retire") if PROOF else ("prepare",)
AFTER: Final = {
    "prepare": ["active", "prepared"],
    "distribute": ["active", "distributed"],
    "activate": ["replaced", "active"],
    "retire": ["retired", "active"],
}
TOLD_AS: Final = {"prepare": "prepared", "distribute": "distributed", "activate": "activated", "retire": "retired"}


async def rotate(phase: str, folder: Path, dsn: str, orders: Orders) -> tuple[int, str]:
    """`compass ca rotate …` as a process: its exit code, and what it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", MortalPlane.program, "ca", "rotate", phase, "--data-folder", str(folder)),
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "COMPASS_DATABASE__DSN": dsn, **orders.environment},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    return process.returncode or 0, said.decode()


@pytest.mark.timeout(1200)
async def test_a_rotation_that_is_killed_at_any_point_is_as_before_or_one_phase_further(
    dsn: str, tmp_path: Path, moments: random.Random, record_property: Any
) -> None:
    orders, vault = Orders(tmp_path / "order"), Vault.at(tmp_path / "vault.keys")
    async with Database.open(dsn, connections=1) as database, database.transaction() as tx:
        await Authority.open(tx, vault, AuthoritySettings())
        await Keys.open(tx, vault)
    points: dict[str, list[str]] = {}
    async with Tables.of(dsn) as tables:

        async def now() -> tuple[list[str], list[str], list[str]]:
            states = [row["state"] for row in await tables.rows(STATES)]
            told, recorded = await tables.rows(TOLD), await tables.rows(PHASES_ON_RECORD)
            return states, [row["phase"] for row in told], [row["phase"] for row in recorded]

        for phase in PHASES:
            orders.reach()
            assert (await rotate(phase, tmp_path, dsn, orders))[0] == 0
            points[phase] = orders.reached()
        if not PROOF:
            assert (await rotate("abort", tmp_path, dsn, orders))[0] == 0
        hit = 0
        for phase in PHASES:
            for point in sorted(some(points[phase], moments), key=points[phase].index):
                before = await now()
                orders.kill(point)
                code, error = await rotate(phase, tmp_path, dsn, orders)
                assert (code, orders.is_carried_out) == (-signal.SIGKILL, True), f"{point}: {error}"
                hit += 1
                after = await now()
                # Changed, told and recorded, or none of the three.
                more = [len(new) - len(old) for new, old in zip(after[1:], before[1:], strict=True)]
                assert (after[0] == before[0], more) in ((True, [0, 0]), (False, [1, 1])), point
            code, error = await rotate(phase, tmp_path, dsn, orders)
            assert code == 0, error
            states, told, recorded = await now()
            assert [state for state in states if state != "aborted"][-2:] == AFTER[phase]
            assert (told.count(TOLD_AS[phase]), recorded.count(phase)) == (2, 2)  # once in each of the two rotations
    assert hit >= (60 if PROOF else 1)
    record_property("cases", hit)
    print(f"{hit} kills in {', '.join(PHASES)}")  # noqa: T201  # for make proof
