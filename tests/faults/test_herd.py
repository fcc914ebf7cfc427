"""A fleet of one age renews, and the plane is away for a while in the middle: no herd comes, and nobody is left behind.

`COMPASS_PROOF=1` has 2,000 clients. Their days are seconds here; when each begins and how long it waits after a failure
is decided by the agent's own rules.
"""

import asyncio
import math
import random
import time
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography import x509

from compass.agent.loop import Agent
from compass.agent.pair import Connection, pair, renew, renewal_due
from compass.client.graphql import PlaneAnswerUnreadable, PlaneUnreachable
from tests.e2e.plane import Plane, Tables
from tests.faults.chaos import PROOF

FLEET: Final = 2_000 if PROOF else 12
WINDOW_SECONDS: Final = 40.0 if PROOF else 0.6
"""What the days are here over which a fleet renews that was paired in one minute."""
AWAY_SECONDS: Final = 5.0
AT_ONCE: Final = 16
OUTAGES: Final = 1 if PROOF else 0
CERTIFICATES = """
SELECT serial, system_auth_id::text AS owner, pem IS NOT NULL AS signed, revoked_at IS NOT NULL AS revoked, (
    SELECT count(*) FROM audit_record WHERE body::jsonb -> 'result' ->> 'serial' = serial
) AS recorded
FROM certificate WHERE kind = 'client'
"""


def due(connection: Connection, jitter: float) -> datetime:
    """The moment from which on the agent finds that it has to renew."""
    early, late = connection.not_before, connection.not_after
    while late - early > timedelta(seconds=1):
        middle = early + (late - early) / 2
        early, late = (early, middle) if renewal_due(connection, now=middle, jitter=jitter) else (middle, late)
    return late


@pytest.mark.timeout(1200)
async def test_a_fleet_of_one_age_renews_spread_out_and_whole_though_the_plane_is_away_for_a_while(
    tmp_path: Path, cluster_folder: Path, shared_dsn: str, moments: random.Random, record_property: Any
) -> None:
    fleet: list[Connection] = []
    folder = cluster_folder / "fleet"  # thousands of files, each of which an agent has on the disk before it goes on
    settings = {"COMPASS_DATABASE__DSN": shared_dsn}
    async with Plane(tmp_path / "plane", settings=settings) as plane, Tables.of(shared_dsn) as tables:
        runtime, numbers = await plane.runtime("fleet"), iter(range(FLEET))

        async def pairing() -> None:
            for number in numbers:
                token = await plane.token(runtime=runtime)
                connector = f"{plane.token_url}/connector/graphql"
                place = folder / str(number)
                fleet.append(await pair(place, connector_url=connector, token=token, trust=plane.trust))

        await asyncio.gather(*(pairing() for _ in range(AT_ONCE)))

        jitters = [moments.random() for _ in fleet]
        dues = [due(connection, jitter) for connection, jitter in zip(fleet, jitters, strict=True)]
        span = (max(dues) - min(dues)).total_seconds() or 1.0
        life = (fleet[0].not_after - fleet[0].not_before).total_seconds()
        # Three hundredths of a life, nearly, for a fleet of one minute; so few do not fill it.
        assert span > (0.028 if PROOF else 0.005) * life
        places = [(at - min(dues)).total_seconds() / span * WINDOW_SECONDS for at in dues]
        begun, retried = Counter(map(int, places)), Counter[int]()
        lost: list[str] = []
        began = time.monotonic()

        async def one(connection: Connection, place: float) -> Connection:
            agent = Agent(connection.folder, labels=_none, apply=lambda _: None, randomness=moments.random)
            await asyncio.sleep(place)
            failures = 0
            while True:
                retried[int(time.monotonic() - began)] += failures > 0
                try:
                    return await renew(connection, trust=plane.trust)
                except (PlaneUnreachable, PlaneAnswerUnreadable):
                    failures += 1
                except Exception as error:
                    lost.append(f"{type(error).__name__}: {error}")
                    raise
                await asyncio.sleep(agent.pause(failures).total_seconds())

        async def outage() -> None:
            await asyncio.sleep(WINDOW_SECONDS / 3)
            await plane.kill()
            await asyncio.sleep(AWAY_SECONDS)
            await plane.start()

        working = [asyncio.create_task(one(*each)) for each in zip(fleet, places, strict=True)]
        for _ in range(OUTAGES):
            await outage()
        renewed = await asyncio.gather(*working)
        took = time.monotonic() - began

        assert lost == []
        known = await tables.rows(CERTIFICATES)
        assert all(row["signed"] and not row["revoked"] and row["recorded"] == 1 for row in known)
        assert len({row["serial"] for row in known}) == len(known)
        held = {serial(connection) for connection in renewed}
        assert len(held) == FLEET
        assert held <= {row["serial"] for row in known}
        # Each has two, and a third one where the answer to a renewal was cut off.
        counts = Counter(row["owner"] for row in known)
        assert {connection.client_id for connection in renewed} == counts.keys()
        assert set(counts.values()) <= ({2, 3} if OUTAGES else {2})
        # No herd: the busiest second has few more than there would be if all were told when to come.
        evenly = FLEET / WINDOW_SECONDS
        assert max(begun.values()) < evenly + 6 * math.sqrt(evenly) + 1
        waited = sum(retried.values())
        assert not OUTAGES or 0 < max(retried.values()) < max(waited / 3, 10)
        assert "Traceback" not in plane.log, plane.log
    record_property("cases", FLEET)
    print(  # noqa: T201  # for make proof
        f"{FLEET} clients renewed in {took:.0f} s, at most {max(begun.values())} began in one second; {waited} tries "
        f"more, at most {max(retried.values())} in one second; {len(known)} certificates, each recorded once"
    )


def serial(connection: Connection) -> str:
    leaf = x509.load_pem_x509_certificate((connection.folder / "client.crt").read_bytes())
    return f"{leaf.serial_number:x}"


async def _none() -> dict[str, str]:
    return {}
