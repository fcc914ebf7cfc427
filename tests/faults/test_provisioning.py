"""Runtimes through power cuts: exactly one of each that was asked for, none after its end, nothing orphaned."""

import asyncio
import json
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from compass.client.graphql import Endpoint, PlaneRefused
from tests.e2e.plane import Plane, Tables, processes_of
from tests.faults.chaos import kills, persistently, struck

RUNTIMES = 2
PROVISION = """
mutation ($name: String!) { result: provisionRuntime(config: {
  runtimeInput: {name: $name}
  clusterConfig: {gardenerConfig: {
    name: $name, kubernetesVersion: "-", provider: "local", targetSecret: "-", region: "-", machineType: "-",
    workerCidr: "10.250.0.0/19", autoScalerMin: 1, autoScalerMax: 1, maxSurge: 1, maxUnavailable: 0,
    providerSpecificConfig: {}
  }}
}) { id runtimeID } }"""
STATUS = "query ($id: String!) { result: runtimeOperationStatus(id: $id) { state lastError { errMessage } } }"
DEPROVISION = "mutation ($id: String!) { result: deprovisionRuntime(id: $id) }"
RUNTIME_STATUS = "query ($id: String!) { result: runtimeStatus(id: $id) { lastOperationStatus { id operation } } }"
LIVING_CERTIFICATES = "SELECT count(*) FROM certificate WHERE kind = 'client' AND revoked_at IS NULL"
DIRECTOR_RUNTIMES = "{ runtimes { data { id name status { condition } } } }"


@asynccontextmanager
async def ended(plane: Plane) -> AsyncIterator[None]:
    """Runtimes outlive their plane by design; those of a test must not outlive the test."""
    try:
        yield
    finally:
        for pid in processes_of(plane.runtimes):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


async def _provisioner(plane: Plane, document: str, **variables: Any) -> Any:
    return await persistently(plane.ask, document, endpoint=Endpoint.PROVISIONER, **variables)


async def _finished(plane: Plane, operation: str) -> str:
    async with asyncio.timeout(120):
        while True:
            status = await _provisioner(plane, STATUS, id=operation)
            if status["state"] in ("Succeeded", "Failed"):
                return f"{status['state']} {status['lastError']['errMessage']}".strip()
            await asyncio.sleep(0.05)


async def _deprovisioned(plane: Plane, runtime: str) -> None:
    """Ask until it is certain that it was heard, and then until it is over."""
    try:
        operation = await _provisioner(plane, DEPROVISION, id=runtime)
    except PlaneRefused as refusal:
        # The reply to the first try was lost: it is under way, or over already.
        if "cannot find the cluster" in str(refusal):
            return
        assert "while previous one is in progress" in str(refusal)  # noqa: PT017
        operation = (await _provisioner(plane, RUNTIME_STATUS, id=runtime))["lastOperationStatus"]["id"]
    assert await _finished(plane, operation) == "Succeeded"


@pytest.mark.timeout(900)
async def test_whenever_the_plane_is_killed_there_is_one_of_each_runtime_and_afterwards_none(
    tmp_path: Path, shared_dsn: str, moments: random.Random
) -> None:
    plane = Plane(tmp_path / "plane", settings={"COMPASS_DATABASE__DSN": shared_dsn})
    async with ended(plane), plane, Tables.of(shared_dsn) as tables:
        for round_ in range(kills(1)):
            names = [f"edge-{round_}-{number}" for number in range(RUNTIMES)]

            async def provisioned(name: str) -> str:
                await asyncio.sleep(moments.uniform(0, 0.3))
                started = await _provisioner(plane, PROVISION, name=name)
                assert await _finished(plane, started["id"]) == "Succeeded"
                return str(started["runtimeID"])

            async with struck(plane, moments, times=2, after=(0.1, 1.5)):
                runtimes = await asyncio.gather(*map(provisioned, names))

            await _exactly(plane, dict(zip(runtimes, names, strict=True)))
            assert await tables.value("SELECT count(*) FROM operation WHERE finished_at IS NULL") == 0

            async with struck(plane, moments, times=1, after=(0.05, 0.5)):
                await asyncio.gather(*(_deprovisioned(plane, runtime) for runtime in runtimes))

            await _exactly(plane, {})
            for table in ("cluster", "runtime", "system_auth", "one_time_token"):
                assert await tables.value(f"SELECT count(*) FROM {table}") == 0, table
            assert await tables.value(LIVING_CERTIFICATES) == 0
            assert await tables.value("SELECT count(*) FROM operation WHERE finished_at IS NULL") == 0
        assert "Traceback" not in plane.log, plane.log


async def _exactly(plane: Plane, expected: dict[str, str]) -> None:
    """These runtimes, by id and name, are registered, have a folder and one process each, and there are no others."""
    registered = (await persistently(plane.ask, DIRECTOR_RUNTIMES))["runtimes"]["data"]
    assert {entry["id"]: entry["name"] for entry in registered} == expected
    assert all(entry["status"]["condition"] == "CONNECTED" for entry in registered)
    folders = list(plane.runtimes.glob("*")) if plane.runtimes.exists() else []
    assert {place.name for place in folders} == set(expected)
    said = {place.name: json.loads((place / "status.json").read_text())["pid"] for place in folders}
    # A process that was just asked to end may take a moment.
    async with asyncio.timeout(20):
        while sorted(processes_of(plane.runtimes)) != sorted(said.values()):
            await asyncio.sleep(0.1)
