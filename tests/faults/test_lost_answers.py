"""Pairing while answers are lost, at each place where they can be: every client ends with one certificate for its key.

`COMPASS_PROOF=1` makes 1,800 cuts.
"""

import asyncio
import random
import time
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from compass.agent import pair
from compass.agent.pair import Connection
from compass.client.graphql import Endpoint, Trust
from tests.agent.plane import Authority
from tests.e2e.plane import Plane, Tables
from tests.faults.chaos import PROOF, persistently
from tests.faults.cutting import Cut, CuttingProxy, identity_of

STEPS = ("Configuration", "SignCertificateSigningRequest")
CUTS = 1_800 if PROOF else 30
AT_ONCE = 4
CERTIFICATES = """
SELECT system_auth_id::text AS owner, fingerprint, key_thumbprint FROM certificate WHERE kind = 'client'
"""
MISUSES = "SELECT count(*) FROM outbox_event WHERE name = 'OneTimeTokenMisused'"

Table = dict[str, list[Cut]]


def table_of_cuts(moments: random.Random) -> list[Table]:
    """Each place of each step once, then any number of losses at any places: more than a client bears by itself too."""
    tables: list[Table] = [{step: [cut]} for step in STEPS for cut in Cut]
    while (missing := CUTS - sum(len(cuts) for table in tables for cuts in table.values())) > 0:
        drawn = {step: moments.choices(list(Cut), k=moments.choice((0, 1, 1, 2, 3, 6))) for step in STEPS}
        drawn[STEPS[1]] = drawn[STEPS[1]][: max(0, missing - len(drawn[STEPS[0]]))]
        drawn[STEPS[0]] = drawn[STEPS[0]][:missing]
        tables.append(drawn)
    return tables


@pytest.mark.timeout(1800)
async def test_whatever_answer_is_lost_every_client_ends_with_one_certificate(
    tmp_path: Path, shared_dsn: str, moments: random.Random, monkeypatch: pytest.MonkeyPatch, record_property: Any
) -> None:
    monkeypatch.setattr(pair, "_ASK_AGAIN_AFTER", (0.0, 0.01, 0.05))
    began, cuts = time.monotonic(), table_of_cuts(moments)
    authority = Authority("Proxy")
    identity = identity_of(authority, tmp_path)
    settings = {"COMPASS_DATABASE__DSN": shared_dsn}
    async with Plane(tmp_path / "plane", settings=settings) as plane, Tables.of(shared_dsn) as tables:
        plane_trust = plane.trust.context()
        trust = Trust.to(authority.pem + (plane.trust.anchors or ""))
        numbers, waiting, made = count(), list(cuts), 0
        paired: list[Connection] = []

        async def clients() -> None:
            nonlocal made
            while waiting:
                table, number = waiting.pop(), next(numbers)
                token = await plane.token(application=await plane.application(f"application-{number}"))
                async with CuttingProxy.before(plane.token_url, plane_trust, identity, table) as proxy:
                    paired.append(
                        await persistently(
                            pair.pair, tmp_path / f"client-{number}", connector_url=proxy.url, token=token, trust=trust
                        )
                    )
                assert proxy.left == 0
                made += proxy.made

        await asyncio.gather(*(clients() for _ in range(AT_ONCE)))

        assert made == CUTS
        assert len(paired) == len(cuts)
        known = {row["fingerprint"]: row for row in await tables.rows(CERTIFICATES)}
        held = {}
        for connection in paired:
            leaf = x509.load_pem_x509_certificate((connection.folder / "client.crt").read_bytes())
            held[leaf.fingerprint(hashes.SHA256()).hex()] = connection.client_id
        assert {fingerprint: row["owner"] for fingerprint, row in known.items()} == held
        assert len({row["owner"] for row in known.values()}) == len(paired)
        assert len({row["key_thumbprint"] for row in known.values()}) == len(paired)
        assert await tables.value(MISUSES) == 0
        async with paired[-1].plane(plane.trust) as speaking:
            assert (await speaking.ask(Endpoint.DIRECTOR, "{ viewer { type } }"))["viewer"]["type"] == "APPLICATION"
        assert "Traceback" not in plane.log, plane.log
    record_property("cases", made)
    took = time.monotonic() - began
    print(f"{made} cuts, {len(paired)} clients, {len(known)} certificates, 0 failures, {took:.0f} s")  # noqa: T201
