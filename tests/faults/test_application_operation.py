"""Operations on applications, their worker killed at every step: they end as if nothing had happened."""

import asyncio
import json
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from compass.access.caller import Caller, Consumer, Flow
from compass.commands import Accepted
from compass.connector.urls import PublicUrls
from compass.director import application, tenant
from compass.director.application import NewApplication
from compass.director.catalogue import Draft
from compass.director.webhook import NewWebhook
from compass.ids import ApplicationId, TenantId
from compass.postgres.pool import Database
from compass.vault import Vault
from tests.delivery.receiver import Call, answer, receiving
from tests.faults.killed_operation import SETTINGS, work
from tests.operations.death import Death

ROOT = Path(__file__).parents[2]
URLS = PublicUrls("https://plane.test:8443", "https://plane.test:8444")
OUTPUT = '{"success_status_code": 202, "location": "{{index .Headers "Location"}}", "error": ""}'
STATUS = (
    '{"status": "{{.Body.status}}", "success_status_code": 200, "success_status_identifier": "done", '
    '"in_progress_status_identifier": "working", "failed_status_identifier": "failed", "error": ""}'
)
MOMENTS = [
    ("after the claim", "call_receiver"),
    *[(f"{when} the call", at) for at in ("POST", "GET") for when in ("before", "after")],
    *[(f"{when} entering is committed", "ask_receiver") for when in ("before", "after")],
    ("after the commit", "wait"),
    ("before the end is committed", "finish"),
    ("after the commit", "finish"),
]
ENDS = [(moment, at) for moment, at in MOMENTS if at in ("GET", "finish")]


class Job:
    """A receiver that is done the third time it is asked."""

    def __init__(self, end: str) -> None:
        self.end = end
        self.asked = 0

    async def __call__(self, call: Call) -> bytes:
        if call.path == "/hook":
            return answer(202, location="/job")
        self.asked += 1
        return answer(200, json.dumps({"status": "working" if self.asked < 3 else self.end}).encode())


async def one(database: Database, sql: str) -> Any:
    async with database.transaction() as tx:
        return await tx.value(f"-- test\n{sql}")


async def begin(database: Database, folder: Path, url: str, *, registering: bool) -> None:
    """An application whose registration, or whose end, is asked for in the background."""
    vault = Vault.at(folder / "vault.keys")
    async with database.transaction() as tx:
        home: TenantId = await tenant.write(tx, tenant.NewTenant("mine", "tenant-mine", "account", "test"))
        caller = Caller(Consumer.STATIC_USER, "admin", Flow.JWT, frozenset({"application:write"}), home)
        hooks = tuple(
            NewWebhook(type=type_, url=url, mode="ASYNC", output_template=OUTPUT, status_template=STATUS)
            for type_ in ("REGISTER_APPLICATION", "UNREGISTER_APPLICATION")
        )
        new = NewApplication(name="app", webhooks=hooks)
        parts: dict[str, Any] = {"settings": SETTINGS, "urls": URLS}
        mode = "ASYNC" if registering else "SYNC"
        given = await application.register(tx, caller, new, mode, prepared=Draft(vault), vault=vault, **parts)
        if not registering:
            assert not isinstance(given, Accepted)
            await application.unregister(tx, caller, ApplicationId(given), "ASYNC", **parts)


async def killed(dsn: str, folder: Path, moment: str, at: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.killed_operation", dsn, str(folder), moment, at, cwd=ROOT
    )
    try:
        async with asyncio.timeout(30):
            assert await process.wait() == -signal.SIGKILL
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@pytest.mark.parametrize(
    ("registering", "end", "moment", "at"),
    [
        *[(False, "done", *where) for where in MOMENTS],
        *[(True, "done", *where) for where in ENDS],
        *[(True, "failed", *where) for where in ENDS],
    ],
)
async def test_an_operation_whose_worker_is_killed_ends_as_its_receiver_says(
    database: Database, dsn: str, tmp_path: Path, registering: bool, end: str, moment: str, at: str
) -> None:
    async with receiving(Job(end)) as receiver:
        await begin(database, tmp_path, receiver.url(), registering=registering)
        await killed(dsn, tmp_path, moment, at)
        stopping = asyncio.Event()
        task = asyncio.create_task(work(database, tmp_path, stopping, Death()))
        async with asyncio.timeout(20):
            while await one(database, "SELECT count(*) FROM operation WHERE finished_at IS NULL"):
                await asyncio.sleep(0.02)
        stopping.set()
        await task

    state = await one(database, "SELECT min(state) FROM operation HAVING count(*) = 1")
    condition = await one(database, "SELECT status_condition || coalesce(under_way, '') FROM application")
    ended = [call for call in receiver.calls if call.path == "/job"]
    changes = await one(database, "SELECT count(*) FROM outbox_event WHERE name = 'ApplicationStatusChanged'")
    gone = await one(database, "SELECT count(*) FROM outbox_event WHERE name = 'ApplicationUnregistered'")
    if registering:
        succeeded = end == "done"
        assert state == ("SUCCEEDED" if succeeded else "FAILED")
        assert condition == ("CREATE_SUCCEEDED" if succeeded else "CREATE_FAILED")
        assert (changes, gone) == (2, 0)
    else:
        assert (state, condition) == ("SUCCEEDED", None)
        assert (changes, gone) == (1, 1)  # told once, however often its end was tried
    assert 3 <= len(ended) <= 4
    # Whoever is told twice can tell by the id.
    assert len({call.id for call in receiver.calls}) == 1
    assert 1 <= len(receiver.calls) - len(ended) <= 2
