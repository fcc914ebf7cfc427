"""The plane as a process that the demo starts, kills and starts again: `compass up`, as a person would run it."""

import asyncio
import os
import signal
import socket
import sys
import time
from datetime import timedelta
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, Self

import aiohttp

from compass.client.graphql import Bearer, Endpoint, Plane, Trust

DEFAULT_TENANT: Final = "3e64ebae-38b5-46a0-b1ed-9ccee153a0ae"
_START_SECONDS: Final = 60
_STOP_SECONDS: Final = 15


class PlaneNotStarted(RuntimeError):
    """`compass up` ended before it was ready; the text is what it printed."""


def free_port() -> int:
    """A port that nobody uses now. Known before the plane starts, so that it can come back at the same address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class PlaneProcess:
    """One plane on one folder; stopping, killing and starting again keeps its data and its addresses."""

    program = "compass"
    """The module that is run as `compass`."""

    def __init__(self, folder: Path, *, applications_ca: Path, runtime_sync_period: timedelta) -> None:
        self._folder = folder
        self._ports = free_port(), free_port()
        self._environment = {
            **os.environ,
            "XDG_CONFIG_HOME": str(folder / "administrator"),
            "COMPASS_DATA_FOLDER": str(folder / "plane"),
            "COMPASS_LISTEN__TOKEN_PORT": str(self._ports[0]),
            "COMPASS_LISTEN__MTLS_PORT": str(self._ports[1]),
            # The sample application runs on this machine, with a certificate of its own company's authority.
            "COMPASS_OUTBOUND__ALLOWED_NETWORKS": f"{ip_address('127.0.0.1')}/32",
            "COMPASS_OUTBOUND__CA_FILE": str(applications_ca),
            "COMPASS_PROVISIONER__APPLICATIONS_CA_FILE": str(applications_ca),
            "COMPASS_PROVISIONER__RUNTIME_SYNC_PERIOD": f"{runtime_sync_period.total_seconds()}s",
        }
        self._process: asyncio.subprocess.Process | None = None
        self._bearer: tuple[float, str] | None = None

    @property
    def token_url(self) -> str:
        """The listener for tokens and people."""
        return f"https://localhost:{self._ports[0]}"

    @property
    def mtls_url(self) -> str:
        """The listener for paired clients."""
        return f"https://localhost:{self._ports[1]}"

    @property
    def anchor(self) -> Path:
        """The plane's root certificate, as `compass up` left it for this person."""
        return self._folder / "administrator/compass/local.ca.pem"

    @property
    def runtimes(self) -> Path:
        """Where the local driver keeps the runtimes it made, a folder each."""
        return self._folder / "plane/runtimes"

    @property
    def log_file(self) -> Path:
        """What `compass up` printed."""
        return self._folder / "plane.log"

    @property
    def pid(self) -> int:
        """Of the running process."""
        if self._process is None:
            raise RuntimeError("the plane is not running")
        return self._process.pid

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None:
            await self.stop()

    async def start(self) -> float:
        """Start, and wait until `readyz` says so. Seconds that took. Raises PlaneNotStarted."""
        began = time.monotonic()
        with self.log_file.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                self.program,
                "up",
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        while not await self._ready():
            if self._process.returncode is not None or time.monotonic() - began > _START_SECONDS:
                raise PlaneNotStarted(self.log_file.read_text()[-2000:])
            await asyncio.sleep(0.02)
        return time.monotonic() - began

    async def _ready(self) -> bool:
        if not self.anchor.exists():
            return False
        try:
            context = Trust.to(self.anchor.read_text()).context()
            async with (
                aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
                session.get(f"{self.token_url}/readyz", timeout=aiohttp.ClientTimeout(total=2)) as answer,
            ):
                return answer.status == HTTPStatus.OK
        except (aiohttp.ClientError, OSError):
            return False

    async def stop(self) -> None:
        """Ask it to stop, and wait."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """End it as a power cut would: SIGKILL."""
        await self._end(signal.SIGKILL)

    async def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        if self._process.returncode is None:
            self._process.send_signal(how)
            try:
                async with asyncio.timeout(_STOP_SECONDS):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        self._process = None

    async def as_administrator(self, endpoint: Endpoint, text: str, **variables: Any) -> Any:
        """The data of a GraphQL answer, asked with the administrator's access token in the default tenant."""
        trust = Trust.to(self.anchor.read_text())
        credentials = Bearer(await self._access_token(trust))
        async with Plane(self.token_url, trust=trust, credentials=credentials, tenant=DEFAULT_TENANT) as plane:
            return await plane.ask(endpoint, text, variables)

    async def _access_token(self, trust: Trust) -> str:
        if self._bearer is not None and self._bearer[0] > time.monotonic():
            return self._bearer[1]
        secret = (self._folder / "administrator/compass/local.secret").read_text().strip()
        form = {"grant_type": "client_credentials", "client_id": "admin", "client_secret": secret}
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust.context())) as session,
            session.post(f"{self.token_url}/oauth2/token", data=form) as answer,
        ):
            answer.raise_for_status()
            granted = await answer.json()
        self._bearer = time.monotonic() + granted["expires_in"] / 2, granted["access_token"]
        return self._bearer[1]
