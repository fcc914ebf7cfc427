"""What the plane acknowledged is there after any number of power cuts; what it refused is not."""

import asyncio
import random
from pathlib import Path

import pytest

from compass.client.graphql import PlaneAnswerUnreadable, PlaneRefused, PlaneUnreachable
from tests.e2e.plane import Plane
from tests.faults.chaos import kills, persistently, struck

NAMES = (
    "query ($after: PageCursor) { applications(after: $after) { data { name } pageInfo { endCursor hasNextPage } } }"
)
WRITERS = 4


@pytest.mark.timeout(600)
async def test_every_acknowledged_registration_survives(tmp_path: Path, moments: random.Random) -> None:
    """On the embedded database, with the durability it has for everybody."""
    acknowledged: set[str] = set()
    unanswered: set[str] = set()
    over = asyncio.Event()

    async def write(plane: Plane, writer: int) -> None:
        number = 0
        while not over.is_set():
            number += 1
            name = f"application-{writer}-{number}"
            try:
                await plane.application(name)
            except (PlaneUnreachable, PlaneAnswerUnreadable, OSError):
                unanswered.add(name)
                await asyncio.sleep(0.02)
            else:
                acknowledged.add(name)

    async with Plane(tmp_path / "plane") as plane:
        await plane.bearer()  # kept by the writers, and good for every start
        writers = [asyncio.create_task(write(plane, number)) for number in range(WRITERS)]
        async with struck(plane, moments, times=kills(2)):
            pass
        over.set()
        await asyncio.gather(*writers)
        found = await _names(plane)
        refused = await _is_refused(plane, min(acknowledged))

    assert refused
    assert len(acknowledged) > WRITERS
    assert unanswered  # it was killed while it had work
    assert len(found) == len(set(found))
    assert acknowledged <= set(found)
    assert set(found) <= acknowledged | unanswered
    assert "Traceback" not in plane.log, plane.log


async def _names(plane: Plane) -> list[str]:
    found: list[str] = []
    after = ""
    while True:
        page = (await persistently(plane.ask, NAMES, after=after))["applications"]
        found += [entry["name"] for entry in page["data"]]
        if not page["pageInfo"]["hasNextPage"]:
            return found
        after = page["pageInfo"]["endCursor"]


async def _is_refused(plane: Plane, name: str) -> bool:
    try:
        await plane.application(name)
    except PlaneRefused:
        return True
    return False
