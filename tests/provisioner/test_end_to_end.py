"""Over HTTPS, with a plane and a runtime that are processes of their own."""

import asyncio
import json
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from compass.provisioner.drivers import processes
from tests.provisioner.conftest import DEPROVISION, OPERATION, PROVISION, RECONNECT, asked
from tests.provisioner.test_hibernate import HIBERNATE, WAKE
from tests.provisioner.test_upgrade import AGENT, UPGRADE

ROOT = Path(__file__).parents[2]
CONNECTION = """
query ($id: String!) { result: runtimeStatus(id: $id) { runtimeConnectionStatus { status errors { message } } } }
"""
RUNTIME = "query ($id: ID!) { result: runtime(id: $id) { status { condition } auths { id auth { certCommonName } } } }"

BEATING = "query ($id: ID!) { result: runtime(id: $id) { connection { health heartbeat { state reason } } } }"


@dataclass
class Administrator:
    """Somebody with an access token."""

    url: str
    session: aiohttp.ClientSession
    headers: dict[str, str]

    async def ask(self, domain: str, text: str, **variables: Any) -> Any:
        body = {"query": text, "variables": variables}
        url = f"{self.url}/{domain}/graphql"
        async with self.session.post(url, json=body, headers=self.headers) as answer:
            decoded = await answer.json()
        assert "errors" not in decoded, decoded
        return decoded["data"]["result"]

    async def ended(self, operation: str, within: float = 30) -> str:
        async with asyncio.timeout(within):
            while True:
                found = await self.ask("provisioner", OPERATION, id=operation)
                if found["state"] in ("Succeeded", "Failed"):
                    return f"{found['state']}: {found['message']}"
                await asyncio.sleep(0.02)

    async def connected(self, runtime: str) -> None:
        async with asyncio.timeout(20):
            while True:
                found = await self.ask("provisioner", CONNECTION, id=runtime)
                if found["runtimeConnectionStatus"] == {"status": "Connected", "errors": []}:
                    return
                await asyncio.sleep(0.05)


@dataclass
class Place:
    """A plane's folder, database and ports: what stays when the process is killed."""

    folder: Path
    dsn: str
    ports: tuple[int, int]
    secret: str = ""
    ca_pem: str = ""

    def runtime(self, runtime: str) -> Path:
        return self.folder / "runtimes" / runtime

    @asynccontextmanager
    async def plane(self) -> AsyncIterator[tuple[asyncio.subprocess.Process, Administrator]]:
        """The plane until the end of the block, when it is killed."""
        arguments = (str(self.folder), self.dsn, *map(str, self.ports))
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.provisioner.plane_process",
            *arguments,
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert process.stdout is not None
            async with asyncio.timeout(30):
                started = json.loads(await process.stdout.readline())
            self.secret = started["admin_secret"] or self.secret
            self.ca_pem = started["ca_pem"]
            context = ssl.create_default_context(cadata=self.ca_pem)
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
                form = {
                    "grant_type": "client_credentials",
                    "client_id": started["admin_client_id"],
                    "client_secret": self.secret,
                }
                async with session.post(f"{started['token_url']}/oauth2/token", data=form) as answer:
                    token = (await answer.json())["access_token"]
                headers = {"Authorization": f"Bearer {token}", "Tenant": started["tenant"]}
                yield process, Administrator(started["token_url"], session, headers)
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


@pytest.fixture
def place(tmp_path: Path, dsn: str) -> Iterator[Place]:
    made = Place(tmp_path / "plane", dsn, (free_port(), free_port()))
    yield made
    for folder in processes.working():
        if folder.parent == made.folder / "runtimes":
            processes.end(folder, grace=timedelta(seconds=2))


def pids(place: Path) -> list[int]:
    return [process.pid for process in processes.working_in(place)]


def common_name(folder: Path) -> str:
    """Whom the client certificate in the folder speaks for, once it is shown to lead to the plane's root."""
    leaf = x509.load_pem_x509_certificate((folder / "client.crt").read_bytes())
    issuing = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
    root = x509.load_pem_x509_certificate((folder / "plane_ca.pem").read_bytes())
    leaf.verify_directly_issued_by(issuing)
    issuing.verify_directly_issued_by(root)
    return str(leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


async def test_a_runtime_is_made_survives_the_plane_is_revived_reconnected_and_removed(place: Place) -> None:
    async with place.plane() as (_, administrator):
        began = time.monotonic()
        begun = await administrator.ask("provisioner", PROVISION, config=asked())
        runtime = begun["runtimeID"]
        assert await administrator.ended(begun["id"]) == "Succeeded: Operation succeeded"
        elapsed = time.monotonic() - began

        folder = place.runtime(runtime)
        [pid] = pids(folder)
        name = common_name(folder)
        registered = await administrator.ask("director", RUNTIME, id=runtime)
        assert registered["status"]["condition"] == "CONNECTED"
        assert [entry["id"] for entry in registered["auths"]] == [name]
        await administrator.connected(runtime)
        assert (folder / "plane_ca.pem").read_text() == place.ca_pem
        # The log is the runtime's own, without secrets; the folder around it is closed to others.
        assert {entry.name for entry in folder.iterdir() if entry.stat().st_mode & 0o077} <= {"log.txt"}
        assert folder.stat().st_mode & 0o077 == 0
        events = json.loads((folder / "status.json").read_bytes())["events_url"]
        await shows_a_certificate_of_the_plane(events, place.ca_pem)

    # The plane was killed: the runtime works on, and the next plane finds the same one.
    assert pids(folder) == [pid]
    async with place.plane() as (_, administrator):
        await administrator.connected(runtime)
        assert pids(folder) == [pid]

        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(10):
            while not pids(folder) or pids(folder) == [pid]:
                await asyncio.sleep(0.02)
        await administrator.connected(runtime)
        assert common_name(folder) == name

    # Killed together, both come back.
    os.kill(pids(folder)[0], signal.SIGKILL)
    async with place.plane() as (_, administrator):
        await administrator.connected(runtime)
        assert len(pids(folder)) == 1

        operation = await administrator.ask("provisioner", RECONNECT, id=runtime)
        assert await administrator.ended(operation) == "Succeeded: Operation succeeded"
        registered = await administrator.ask("director", RUNTIME, id=runtime)
        assert [entry["id"] for entry in registered["auths"]] == [common_name(folder)] != [name]
        assert len(pids(folder)) == 1
        [last] = pids(folder)

        begun = await administrator.ask("provisioner", UPGRADE, id=runtime, components=AGENT)
        assert await administrator.ended(begun["id"]) == "Succeeded: Operation succeeded"
        [upgraded] = pids(folder)
        assert upgraded != last
        said = json.loads((folder / "status.json").read_bytes())
        assert (said["pid"], said["version"]) == (upgraded, version("compass-plane"))

        begun = await administrator.ask("provisioner", HIBERNATE, id=runtime)
        assert await administrator.ended(begun["id"]) == "Succeeded: Operation succeeded"
        assert pids(folder) == []
        beating = await administrator.ask("director", BEATING, id=runtime)
        assert beating["connection"]["heartbeat"]["state"] == "HIBERNATED"
        assert beating["connection"]["health"] == "WAITING"
        begun = await administrator.ask("provisioner", WAKE, id=runtime)
        assert await administrator.ended(begun["id"]) == "Succeeded: Operation succeeded"
        await administrator.connected(runtime)
        async with asyncio.timeout(30):
            while beating["connection"]["heartbeat"]["state"] != "ALIVE":
                await asyncio.sleep(0.05)
                beating = await administrator.ask("director", BEATING, id=runtime)
        [last] = pids(folder)

        operation = await administrator.ask("provisioner", DEPROVISION, id=runtime)
        assert await administrator.ended(operation) == "Succeeded: Operation succeeded"
        assert await administrator.ask("director", RUNTIME, id=runtime) is None
        assert list(folder.parent.iterdir()) == []
        with pytest.raises(ProcessLookupError):
            os.kill(last, 0)
        assert elapsed < 30


async def shows_a_certificate_of_the_plane(url: str, ca_pem: str) -> None:
    """The endpoint asks for a client certificate, so the handshake ends without an answer; its own was checked."""
    host, _, port = url.removeprefix("https://").partition(":")
    context = ssl.create_default_context(cadata=ca_pem)
    context.maximum_version = ssl.TLSVersion.TLSv1_3
    reader, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname="localhost")
    shown = writer.get_extra_info("ssl_object").getpeercert()
    assert ("DNS", "localhost") in shown["subjectAltName"]
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    del reader


async def test_without_an_access_token_nothing_is_answered(place: Place) -> None:
    async with place.plane() as (_, administrator):
        url = f"{administrator.url}/provisioner/graphql"
        body = {"query": PROVISION, "variables": {"config": asked()}}
        for headers in ({}, {"Tenant": administrator.headers["Tenant"]}, {"Authorization": "Bearer x"}):
            async with administrator.session.post(url, json=body, headers=headers) as answer:
                assert (answer.status, (await answer.json())["data"]) in [(400, None), (401, None)]
        async with administrator.session.post(
            url, json=body, headers={"Authorization": administrator.headers["Authorization"]}
        ) as answer:
            error = (await answer.json())["errors"][0]
        assert (error["message"], error["extensions"]["error_code"]) == ("tenant header is empty", 400)
        assert not (place.folder / "runtimes").exists()


async def test_a_plane_killed_while_it_provisions_ends_with_one_runtime(place: Place) -> None:
    for delay in (0.0, 0.1, 0.3):
        async with place.plane() as (process, administrator):
            begun = await administrator.ask("provisioner", PROVISION, config=asked(f"edge-{int(delay * 1000)}"))
            await asyncio.sleep(delay)
            process.kill()
            await process.wait()
        async with place.plane() as (_, administrator):
            assert (await administrator.ended(begun["id"])).startswith("Succeeded")
            assert len(pids(place.runtime(begun["runtimeID"]))) == 1
            registered = await administrator.ask("director", RUNTIME, id=begun["runtimeID"])
            assert len(registered["auths"]) == 1
