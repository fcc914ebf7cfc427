"""Groups that somebody has a say in begin and end, whenever the plane is killed and whatever the receiver does."""

import asyncio
import json
import random
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from compass.client.graphql import PlaneRefused
from compass.errors import Code
from tests.delivery.receiver import Call, Receiver, answer, receiving
from tests.e2e.plane import ASSIGN, Plane
from tests.faults.chaos import kills, persistently, struck
from tests.faults.test_notifications import SETTINGS

TEMPLATE = """mutation ($in: FormationTemplateRegisterInput!) { result: createFormationTemplate(in: $in) { id } }"""
CREATE = 'mutation ($name: String!) { result: createFormation(formation: {name: $name, templateName: "told"}) { id } }'
UNASSIGN = """mutation ($id: ID!, $name: String!) {
  result: unassignFormation(objectID: $id, objectType: APPLICATION, formation: {name: $name}) { id } }"""
DELETE = "mutation ($name: String!) { result: deleteFormation(formation: {name: $name}) { state } }"
SHOWN = "query ($name: String!) { result: formationByName(name: $name) { state } }"
AT_ONCE, FEWEST = 3, 2


def unreliable(receiver: Receiver, moments: random.Random) -> None:
    """One that fails, breaks off or takes its time now and then."""

    async def behave(_call: Call) -> bytes:
        match moments.randrange(10):
            case 0:
                return answer(500)
            case 1:
                return b""
            case 2:
                await asyncio.sleep(0.2)
        return answer()

    receiver.behaviour = behave


@pytest.mark.timeout(600)
async def test_every_group_begins_and_ends_and_its_receiver_knows_of_both_in_order(
    tmp_path: Path, moments: random.Random
) -> None:
    async with receiving() as receiver, Plane(tmp_path / "plane", settings=SETTINGS) as plane:
        unreliable(receiver, moments)
        application = await plane.application("orders")
        hooks = [{"type": "FORMATION_LIFECYCLE", "url": receiver.url(f"/{number}")} for number in range(2)]
        await plane.post(TEMPLATE, {"in": {"name": "told", "applicationTypes": ["ANY"], "webhooks": hooks}})
        over = asyncio.Event()
        ended: list[str] = []

        async def live(own: int) -> None:
            """Groups one after the other, from their beginning to their end."""
            for number in count():
                if over.is_set():
                    return
                name = f"group {own}-{number}"
                await _create(plane, name)
                await persistently(plane.ask, ASSIGN, id=application, type="APPLICATION", name=name)
                await _reach(plane, name, "READY")
                await persistently(plane.ask, UNASSIGN, id=application, name=name)
                await _delete(plane, name)
                await _reach(plane, name, None)
                ended.append(name)

        working = [asyncio.create_task(live(own)) for own in range(AT_ONCE)]
        async with struck(plane, moments, times=kills(4)):
            pass
        async with asyncio.timeout(120):
            while len(ended) < AT_ONCE * FEWEST:
                await asyncio.sleep(0.05)
        over.set()
        await asyncio.gather(*working)

    told = _told(receiver)
    assert {name for name, _ in told} == set(ended)
    for name in ended:
        for path in ("/0", "/1"):
            operations = told[name, path]
            # A deletion may be asked for anew while it is in error; each time it is told, after the beginning.
            assert operations[:1] == ["createFormation"]
            assert set(operations[1:]) == {"deleteFormation"}
    assert "Traceback" not in plane.log, plane.log


def _told(receiver: Receiver) -> Mapping[tuple[str, str], list[str]]:
    """By group and webhook, every notification once, in the order in which they first arrived."""
    seen: dict[str, bytes] = {}
    told: dict[tuple[str, str], list[str]] = {}
    for call in receiver.calls:
        if call.id in seen:
            assert seen[call.id] == call.body  # under one id always the same
            continue
        seen[call.id] = call.body
        data: Mapping[str, Any] = json.loads(call.body)["data"]
        told.setdefault((data["formation"]["name"], call.path), []).append(data["operation"])
    return told


async def _create(plane: Plane, name: str) -> None:
    try:
        await persistently(plane.ask, CREATE, name=name)
    except PlaneRefused as refusal:
        assert refusal.error_code == Code.NOT_UNIQUE  # the reply to the first try was lost  # noqa: PT017


async def _delete(plane: Plane, name: str) -> None:
    try:
        await persistently(plane.ask, DELETE, name=name)
    except PlaneRefused as refusal:
        assert refusal.error_code == Code.NOT_FOUND  # gone already, and that reply was lost  # noqa: PT017


async def _reach(plane: Plane, name: str, state: str | None) -> None:
    """Wait until the group is in that state; None: until it is gone."""
    async with asyncio.timeout(60):
        while await _state(plane, name) != state:
            await asyncio.sleep(0.05)


async def _state(plane: Plane, name: str) -> str | None:
    try:
        return str((await persistently(plane.ask, SHOWN, name=name))["state"])
    except PlaneRefused as refusal:
        assert refusal.error_code == Code.NOT_FOUND  # noqa: PT017
        return None
