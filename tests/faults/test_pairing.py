"""Pairing through power cuts: one key and one certificate per client or a clean refusal, and none without record."""

import asyncio
import random
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from compass.agent import pair
from compass.agent.pair import Connection, TokenRefused
from compass.client.graphql import Endpoint
from tests.e2e.plane import Plane, Tables
from tests.faults.chaos import kills, persistently, struck

CLIENTS = 8
AUTHS = "query ($id: ID!) { application(id: $id) { auths { id } } }"
RENEW_TOKEN = """mutation ($id: ID!, $auth: ID!) {
  result: requestOneTimeTokenForApplication(id: $id, systemAuthID: $auth) { token } }"""
CERTIFICATES = """
SELECT system_auth_id::text AS owner, fingerprint, key_thumbprint, pem IS NOT NULL AS signed
FROM certificate WHERE kind = 'client' ORDER BY intended_at
"""


@pytest.mark.timeout(600)
async def test_whenever_the_plane_is_killed_every_client_ends_with_one_key_or_a_clean_refusal(
    tmp_path: Path, shared_dsn: str, moments: random.Random
) -> None:
    settings = {"COMPASS_DATABASE__DSN": shared_dsn}
    async with Plane(tmp_path / "plane", settings=settings) as plane, Tables.of(shared_dsn) as tables:
        refusals = 0
        connector = f"{plane.token_url}/connector/graphql"
        paired: list[Connection] = []

        async def client(application: str, token: str, folder: Path) -> None:
            """Pair as a person would have it done: again after an interruption, with a new token after a refusal."""
            nonlocal refusals
            while True:
                # Apart, so that a kill finds clients at every step.
                await asyncio.sleep(moments.uniform(0, 0.5))
                try:
                    connection = await persistently(
                        pair.pair, folder, connector_url=connector, token=token, trust=plane.trust
                    )
                except TokenRefused:
                    refusals += 1
                    (auth,) = (await persistently(plane.ask, AUTHS, id=application))["application"]["auths"]
                    answer = await persistently(plane.ask, RENEW_TOKEN, id=application, auth=auth["id"])
                    token = answer["token"]
                else:
                    paired.append(connection)
                    return

        rounds = kills(1)
        for round_ in range(rounds):
            applications = [await plane.application(f"application-{round_}-{number}") for number in range(CLIENTS)]
            prepared = [
                (application, await plane.token(application=application), tmp_path / f"client-{round_}-{number}")
                for number, application in enumerate(applications)
            ]
            async with struck(plane, moments, times=3, after=(0.02, 0.3)):
                await asyncio.gather(*(client(*each) for each in prepared))
        assert len(paired) == rounds * CLIENTS
        assert refusals == 0, "every lost answer can be asked for again: nobody needed a new token"

        known = await tables.rows(CERTIFICATES)
        assert all(row["signed"] for row in known)
        recorded = {row["fingerprint"]: row for row in known}
        owners = set()
        for connection in paired:
            leaf = x509.load_pem_x509_certificate((connection.folder / "client.crt").read_bytes())
            row = recorded[leaf.fingerprint(hashes.SHA256()).hex()]
            assert row["owner"] == connection.client_id
            owners.add(connection.client_id)
            async with connection.plane(plane.trust) as speaking:
                assert (await speaking.ask(Endpoint.DIRECTOR, "{ viewer { type } }"))["viewer"]["type"] == "APPLICATION"
        assert len(owners) == len(paired)
        # Every token certified one key at most, and every key is one that a client has or was cut off from.
        assert len({row["key_thumbprint"] for row in known}) == len(known) <= len(paired) + refusals
        assert "Traceback" not in plane.log, plane.log
