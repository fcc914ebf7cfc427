"""A notification for every committed cause, none for a refused one, in order, whenever the plane is killed."""

import asyncio
import json
import random
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from compass.client.graphql import PlaneRefused
from tests.delivery.receiver import Call, Receiver, answer, receiving
from tests.e2e.plane import ADD_WEBHOOK, ASSIGN, CREATE_FORMATION, Plane
from tests.faults.chaos import kills, persistently, strike

SETTINGS = {
    # The time of an attempt is also how long a killed process keeps what it had taken up from the next one.
    "COMPASS_DELIVERY__ATTEMPT_TIMEOUT": "500ms",
    "COMPASS_DELIVERY__FIRST_RETRY_AFTER": "50ms",
    "COMPASS_DELIVERY__RETRY_AT_MOST_EVERY": "300ms",
}
LABEL = """mutation ($id: ID!, $key: String!, $value: Any!) {
  setRuntimeLabel(runtimeID: $id, key: $key, value: $value) { key } }"""
APPLICATIONS, RUNTIMES, FEWEST = 2, 2, 2
Cause = tuple[str, str]
"""What happened, and in which formation when it happened in one."""


class Told:
    """A receiver that is unreliable in its own way, and what it was told."""

    def __init__(self, receiver: Receiver, moments: random.Random) -> None:
        self._receiver = receiver
        self._moments = moments
        self.interrupt: asyncio.Event | None = None
        """Set when the next notification arrived; its answer is held back."""
        receiver.behaviour = self._behave

    async def _behave(self, _call: Call) -> bytes:
        if self.interrupt is not None:
            self.interrupt.set()
            await asyncio.sleep(0.2)
        return answer(500) if self._moments.random() < 0.1 else answer()

    def firsts(self) -> dict[tuple[str, str], list[Cause]]:
        """By application and runtime, every notification once, in the order in which they first arrived."""
        seen: dict[str, bytes] = {}
        told: dict[tuple[str, str], list[Cause]] = {}
        for call in self._receiver.calls:
            if call.id in seen:
                assert seen[call.id] == call.body  # under one id always the same
                continue
            seen[call.id] = call.body
            data: Mapping[str, Any] = json.loads(call.body)["data"]
            cause = data["operation"], data["formation"]["name"] if data["operation"] == "assign" else ""
            told.setdefault((data["applicationID"], data["runtimeID"]), []).append(cause)
        return told


@pytest.mark.timeout(600)
async def test_every_committed_cause_arrives_once_under_one_id_in_order_and_no_refused_one(
    tmp_path: Path, moments: random.Random
) -> None:
    async with receiving() as receiver, Plane(tmp_path / "plane", settings=SETTINGS) as plane:
        told = Told(receiver, moments)
        applications = [await plane.application(f"application-{number}") for number in range(APPLICATIONS)]
        runtimes = [await plane.runtime(f"runtime-{number}") for number in range(RUNTIMES)]
        for application in applications:
            webhook = {"type": "CONFIGURATION_CHANGED", "url": receiver.url()}
            await plane.post(ADD_WEBHOOK, {"id": application, "in": webhook})
        over = asyncio.Event()
        acknowledged = asyncio.Event()
        causes: dict[str, list[Cause]] = {runtime: [] for runtime in runtimes}

        async def change(runtime: str) -> None:
            """Causes one after the other, each repeated until it is acknowledged, with refused ones between them."""
            for number in count():
                if over.is_set():
                    return
                name = f"{runtime[:8]}-{number}"
                await _group(plane, name, applications)
                await persistently(plane.ask, ASSIGN, id=runtime, type="RUNTIME", name=name)
                causes[runtime].append(("assign", name))
                acknowledged.set()
                await _refused(plane, runtime)
                url = f"https://events.example/{number}"
                await persistently(plane.ask, LABEL, id=runtime, key="runtime_eventServiceUrl", value=url)
                causes[runtime].append(("changed", ""))
                acknowledged.set()

        working = [asyncio.create_task(change(runtime)) for runtime in runtimes]
        for number in range(kills(3)):
            match number % 3:
                case 0:
                    await asyncio.sleep(moments.uniform(0.1, 0.8))
                case 1:  # as a cause was acknowledged
                    acknowledged.clear()
                    await acknowledged.wait()
                case _:  # while a receiver works on a notification
                    told.interrupt = asyncio.Event()
                    await told.interrupt.wait()
                    told.interrupt = None
            await strike(plane, moments)
        while min(len(happened) for happened in causes.values()) <= FEWEST:
            await asyncio.sleep(0.05)  # a busy machine gets fewer done between two kills
        over.set()
        await asyncio.gather(*working)
        await _delivered(plane)

    expected = {(application, runtime): causes[runtime] for application in applications for runtime in runtimes}
    assert told.firsts() == expected
    assert "Traceback" not in plane.log, plane.log


async def _group(plane: Plane, name: str, applications: list[str]) -> None:
    try:
        await persistently(plane.ask, CREATE_FORMATION, name=name)
    except PlaneRefused as refusal:
        assert "not unique" in str(refusal)  # the reply to the first try was lost  # noqa: PT017
    for application in applications:
        await persistently(plane.ask, ASSIGN, id=application, type="APPLICATION", name=name)


async def _refused(plane: Plane, runtime: str) -> None:
    for key, value in (("runtimeType", "other"), ("runtime_eventServiceUrl", "")):
        with pytest.raises(PlaneRefused):
            await persistently(plane.ask, LABEL, id=runtime, key=key, value=value)
    with pytest.raises(PlaneRefused):
        await persistently(plane.ask, ASSIGN, id=runtime, type="RUNTIME", name="no such group")


async def _delivered(plane: Plane) -> None:
    """Wait until nothing is owed, and look once more: what the relay has not taken up yet is no delivery so far."""
    quiet = 0
    async with asyncio.timeout(60):
        while quiet < 2:
            owed = await persistently(plane.ask, "{ webhookDeliveries(state: PENDING) { totalCount } }")
            quiet = 0 if owed["webhookDeliveries"]["totalCount"] else quiet + 1
            await asyncio.sleep(0.5 if quiet else 0.05)
