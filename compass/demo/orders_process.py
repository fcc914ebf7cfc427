"""The sample Application as a process that the demo script and the end-to-end tests start, ask and kill."""

import asyncio
import json
import signal
import sys
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self

import aiohttp

START_TIMEOUT = timedelta(seconds=20)
STOP_TIMEOUT = timedelta(seconds=10)
COMMAND_TIMEOUT = timedelta(seconds=60)


class OrdersNotStarted(RuntimeError):
    """The process ended before it served; the text holds the end of its log."""


class OrdersRefused(RuntimeError):
    """A command was refused, by the plane or by the service."""

    def __init__(self, error: str, *, code: int | None, kind: str) -> None:
        super().__init__(error)
        self.code = code
        """The plane's number for the error, when there is one."""
        self.kind = kind
        """The class of the refusal, for example `TokenRefused`, `PlaneRefused`, `PlaneUnreachable`, `NotPaired`."""


class OrdersProcess:
    """One order service in a folder. Stopping, killing and starting again keeps everything it knew.

    It ends by itself when the process that started it is gone.
    """

    def __init__(self, folder: Path, *, poll_every: timedelta = timedelta(seconds=5)) -> None:
        self._folder = folder
        self._poll_every = poll_every
        self._process: asyncio.subprocess.Process | None = None
        self._control: dict[str, Any] = {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def service_url(self) -> str:
        """`https://127.0.0.1:<port>`; the same after every start."""
        return str(self._control["service"])

    @property
    def company_ca(self) -> Path:
        """The certificate that callers of the service have to trust."""
        return self._folder / "company_ca.pem"

    @property
    def log_file(self) -> Path:
        """What the process wrote."""
        return self._folder / "orders.log"

    @property
    def pid(self) -> int:
        """Of the running process. Raises RuntimeError when there is none."""
        return self._running().pid

    async def start(self) -> None:
        """Start the process and wait until it serves. Raises OrdersNotStarted."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        command = [sys.executable, "-m", "compass.demo.orders", "--folder", str(self._folder), "--end-with-stdin"]
        command += ["--poll-seconds", str(self._poll_every.total_seconds())]
        with self.log_file.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.PIPE, stdout=log, stderr=log
            )
        try:
            async with asyncio.timeout(START_TIMEOUT.total_seconds()):
                await self._ready()
        except TimeoutError:
            await self.kill()
            raise OrdersNotStarted(self._end_of_log()) from None
        headers = {"Authorization": f"Bearer {self._control['token']}"}
        timeout = aiohttp.ClientTimeout(total=COMMAND_TIMEOUT.total_seconds())
        self._session = aiohttp.ClientSession(headers=headers, timeout=timeout)

    async def stop(self) -> None:
        """Ask the process to end, and wait; one that does not is killed. Nothing happens when it is not running."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """End the process as a power cut would (SIGKILL)."""
        await self._end(signal.SIGKILL)

    async def pair(self, *, connector_url: str, token: str, trust_anchor: Path) -> dict[str, Any]:
        """Pair with the plane; returns `state()["connection"]`. Raises OrdersRefused."""
        anchor = str(trust_anchor)
        return await self.command("pair", connectorURL=connector_url, token=token, trustAnchor=anchor)

    async def register(self, *, webhook_secret: str | None = None) -> dict[str, Any]:
        """Register bundle, API, events, document, default credentials and webhook; returns their ids and details."""
        return await self.command("register", webhookSecret=webhook_secret)

    async def register_wrong(self) -> dict[str, Any]:
        """Try registrations that must be refused; per try `accepted`, `error`, `code`."""
        return await self.command("register-wrong")

    async def trust_webhooks(self, secret: str) -> None:
        """Hand over the secret the plane signs notifications with."""
        await self.command("trust-webhooks", secret=secret)

    async def change_target_url(self, target_url: str | None = None) -> dict[str, Any]:
        """Move the registered API, by default to `<service_url>/v2`, where it is served too."""
        return await self.command("change-target-url", **({} if target_url is None else {"targetURL": target_url}))

    async def publish(self, **order: Any) -> dict[str, Any]:
        """Store an order and send its event; returns `order` and `event` with the receiver's answer."""
        return await self.command("publish", **order)

    async def poll(self) -> str:
        """Ask the Director now where events go, send those that waited, and return the address."""
        return str((await self.command("poll"))["defaultURL"])

    async def issue_credential(self, name: str) -> tuple[str, str]:
        """A name and secret that work at the API."""
        pair = await self.command("issue-credential", name=name)
        return str(pair["name"]), str(pair["secret"])

    async def misbehave(self, kind: str, *, requests: int, status: int = 500) -> None:
        """Spoil the next notifications: `fail` answers `status`, `hang` answers nothing for a minute."""
        await self.command("misbehave", kind=kind, requests=requests, status=status)

    async def revoke_certificate(self) -> None:
        """Have the service end its own certificate at the Connector."""
        await self.command("revoke-certificate")

    async def state(self) -> dict[str, Any]:
        """Everything the service knows; see `compass/demo/orders/control.py`."""
        return await self.command("state")

    async def command(self, name: str, /, **given: Any) -> dict[str, Any]:
        """Send one command of the control interface. Raises OrdersRefused."""
        self._running()
        if self._session is None:
            raise RuntimeError("the order service is not running")
        async with self._session.post(f"{self._control['url']}/{name}", json=given) as answer:
            told: dict[str, Any] = await answer.json()
            if answer.status != HTTPStatus.OK:
                raise OrdersRefused(told["error"], code=told.get("code"), kind=told.get("kind", ""))
            return told

    async def _ready(self) -> None:
        process = self._running()
        while True:
            if process.returncode is not None:
                self._process = None
                raise OrdersNotStarted(self._end_of_log())
            control = self._read_control()
            # a killed predecessor leaves its file behind: only the one of our own process counts
            if control.get("pid") == process.pid:
                self._control = control
                return
            await asyncio.sleep(0.02)

    def _read_control(self) -> dict[str, Any]:
        try:
            return dict(json.loads((self._folder / "control.json").read_bytes()))
        except FileNotFoundError:
            return {}

    def _running(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise RuntimeError("the order service is not running")
        return self._process

    def _end_of_log(self) -> str:
        return self.log_file.read_text(errors="replace")[-2000:]

    async def _end(self, number: signal.Signals) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            process.send_signal(number)
            try:
                async with asyncio.timeout(STOP_TIMEOUT.total_seconds()):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        if process.stdin is not None:
            process.stdin.close()
