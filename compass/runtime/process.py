"""The local Runtime as one process: agent, application gateway, event endpoint and health, its folder all its state.

Given in the folder: `configuration.json`, `plane_ca.pem`, `server.crt`, `server.key`, `applications_ca.pem` (optional).
Kept in it: the identity, `applied.json`, `events.jsonl`, `ports.json`, `status.json`, `log.txt`, `lock`.
"""

import argparse
import asyncio
import fcntl
import json
import logging
import logging.handlers
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from compass.agent.loop import CONSOLE_LABEL, EVENTS_LABEL, VERSION, Agent, State, Status
from compass.agent.reconcile import Configuration
from compass.errors import Code, CompassError
from compass.files import replace_private, write_private_json
from compass.runtime.events import EventEndpoint, Ledger, tls
from compass.runtime.gateway import Gateway, GatewaySettings, by_loopback_name

log = logging.getLogger(__name__)

_LOOPBACK: Final = "127.0.0.1"
_LOG_BYTES: Final = 1024 * 1024
_GRACE_SECONDS: Final = 3.0
"""For calls under way when the process is told to stop."""
_TLS_FILES: Final = ("server.crt", "server.key", "ca.crt")


class FolderInUse(CompassError):
    """Another runtime process works in this folder."""

    code = Code.CONCURRENT_OPERATION
    message = "process {pid} already runs in {folder}"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the folder for this process; the lock ends with it, however it ends. Raises FolderInUse, OSError."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            raise FolderInUse(pid=pid or "?", folder=str(folder)) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def remembered_sockets(folder: Path) -> dict[str, socket.socket]:
    """A listening address for `gateway` and `events`: the one of last time, or a new one that is then remembered.

    A remembered port that somebody else took is replaced; the labels at the plane follow. Raises OSError.
    """
    file = folder / "ports.json"
    try:
        ports = json.loads(file.read_bytes())
    except (OSError, ValueError):
        ports = {}
    sockets = {name: _bound(ports.get(name) if isinstance(ports, dict) else None) for name in ("gateway", "events")}
    now = {name: bound.getsockname()[1] for name, bound in sockets.items()}
    if now != ports:
        write_private_json(file, now)
    return sockets


def _bound(port: Any) -> socket.socket:
    for wanted in (port, 0):
        if not isinstance(wanted, int):
            continue
        bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((_LOOPBACK, wanted))
        except (OSError, OverflowError) as error:
            bound.close()
            if wanted == 0:
                raise
            log.warning("port %d cannot be had again: %s", wanted, error)
        else:
            return bound
    raise OSError("no port could be bound")


@dataclass
class LocalRuntime:
    """The parts of one runtime, wired."""

    folder: Path
    settings: GatewaySettings = field(default_factory=GatewaySettings)
    agent: Agent = field(init=False)
    gateway: Gateway = field(init=False)
    _started_at: datetime = field(default_factory=lambda: datetime.now(UTC), init=False)
    _urls: dict[str, str] = field(default_factory=dict, init=False)
    _stopped: bool = field(default=False, init=False)
    _events: EventEndpoint = field(init=False)
    _events_socket: socket.socket | None = field(default=None, init=False)
    _events_runner: web.AppRunner | None = field(default=None, init=False)
    _events_site: web.SockSite | None = field(default=None, init=False)
    _tls_files: str | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.gateway = Gateway(self.folder, self.settings)
        self.agent = Agent(self.folder, labels=self._labels, apply=self._apply, report=self._report)

    async def serve(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set; the last good configuration is in use before the plane is asked.

        Raises OSError.
        """
        ledger = Ledger(self.folder / "events.jsonl")
        self._events = EventEndpoint(ledger)
        sockets = remembered_sockets(self.folder)
        self._events_socket = sockets["events"]
        self._urls = {
            "gateway_url": _url("http", sockets["gateway"]),
            "events_url": _url("https", sockets["events"]),
            "health_url": _url("http", sockets["gateway"]) + "/healthz",
        }
        await self.gateway.start()
        # Compressed bodies are passed on as they come.
        gateway_runner = web.AppRunner(
            self._gateway_application(), access_log=None, shutdown_timeout=_GRACE_SECONDS, auto_decompress=False
        )
        self._events_runner = web.AppRunner(
            self._events.application(), access_log=None, shutdown_timeout=_GRACE_SECONDS
        )
        try:
            self.agent.restore()
            await gateway_runner.setup()
            await self._events_runner.setup()
            await web.SockSite(gateway_runner, sockets["gateway"]).start()
            try:
                await self._refresh_events()
            except OSError as error:
                # The agent's passes try again and report it; everything else serves meanwhile.
                log.warning("the event endpoint cannot be opened: %s", error)
            log.info("serving, gateway %s, events %s", self._urls["gateway_url"], self._urls["events_url"])
            self._report(self.agent.status)
            await self.agent.run(stop)
        finally:
            await gateway_runner.cleanup()
            await self._events_runner.cleanup()
            await self.gateway.stop()
            for bound in sockets.values():
                bound.close()
            ledger.close()
            self._stopped = True
            with suppress(OSError):
                self._report(self.agent.status)

    def _gateway_application(self) -> web.Application:
        # The gateway bounds bodies itself while it passes them on.
        served = web.Application(client_max_size=0, middlewares=[by_loopback_name])
        served.router.add_get("/healthz", self._healthz)
        served.router.add_get("/readyz", self._readyz)
        served.router.add_route("*", "/{path:.*}", self.gateway.handle)
        return served

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.json_response(self.facts())

    async def _readyz(self, _: web.Request) -> web.Response:
        """Paired, and a configuration is in use, be it from before an outage."""
        ready = self.agent.status.certificate_not_after is not None and (self.folder / "applied.json").exists()
        return web.json_response(
            {"ready": ready, **self.facts()}, status=HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
        )

    def facts(self) -> dict[str, Any]:
        """What `status.json` and the health endpoints say. No secrets."""
        status = self.agent.status
        return {
            "pid": os.getpid(),
            "version": VERSION,
            "started_at": self._started_at.isoformat(),
            "state": State.STOPPED if self._stopped else status.state,
            **self._urls,
            "last_sync": _iso(status.last_sync),
            "last_success": _iso(status.last_success),
            "revision": status.revision,
            "applications": status.applications,
            "error": status.error,
            "trouble": status.trouble,
            "certificate_not_after": _iso(status.certificate_not_after),
            "last_heartbeat": _iso(status.last_heartbeat),
        }

    async def _labels(self) -> dict[str, str]:
        """The event address only once the endpoint listens: nobody is sent to a closed door. Raises OSError."""
        await self._refresh_events()
        labels = {CONSOLE_LABEL: self._urls["health_url"]}
        if self._events_site is not None:
            labels[EVENTS_LABEL] = self._urls["events_url"]
        return labels

    def _apply(self, configuration: Configuration) -> None:
        self.gateway.apply(configuration)
        self._events.apply(configuration)

    def _report(self, _: Status) -> None:
        replace_private(self.folder / "status.json", json.dumps(self.facts(), indent=2).encode() + b"\n")

    async def _refresh_events(self) -> None:
        """Open the endpoint once there is an authority to check against; reopen it when its files were replaced."""
        try:
            contents = [(self.folder / name).read_bytes() for name in _TLS_FILES]
        except FileNotFoundError:
            return
        seen = sha256(b"\x00".join(contents)).hexdigest()
        if seen == self._tls_files or self._events_runner is None or self._events_socket is None:
            return
        context = tls(
            certificate=self.folder / "server.crt", key=self.folder / "server.key", authority=self.folder / "ca.crt"
        )
        if self._events_site is not None:
            await self._events_site.stop()
        site = web.SockSite(self._events_runner, self._events_socket.dup(), ssl_context=context)
        await site.start()
        self._events_site, self._tls_files = site, seen


def _url(scheme: str, bound: socket.socket) -> str:
    return f"{scheme}://{_LOOPBACK}:{bound.getsockname()[1]}"


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment is not None else None


def run(folder: Path, settings: GatewaySettings | None = None) -> None:
    """Run the runtime of this folder until SIGTERM or SIGINT. Raises FolderInUse, OSError."""
    os.umask(0o077)  # whatever this process writes is its user's alone
    with alone(folder):
        handler = logging.handlers.RotatingFileHandler(
            folder / "log.txt", maxBytes=_LOG_BYTES, backupCount=1, encoding="utf-8"
        )
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
        logging.basicConfig(level=logging.INFO, handlers=[handler])
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_until_told(folder, settings or GatewaySettings()))


def _loop_factory() -> Any:
    try:
        import uvloop  # noqa: PLC0415 - faster when it is there, not needed
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _until_told(folder: Path, settings: GatewaySettings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    # The terminal or the Provisioner that started us may go; the runtime stays.
    loop.add_signal_handler(signal.SIGHUP, lambda: None)
    await LocalRuntime(folder, settings).serve(stop)
    log.info("stopped")


def main(arguments: list[str] | None = None) -> int:
    """`python -m compass.runtime --folder DIR`. 0 stopped when told to, 1 could not run, 2 usage."""
    parser = argparse.ArgumentParser(prog="python -m compass.runtime", description="Run the local Runtime of a folder.")
    parser.add_argument("--folder", type=Path, required=True, help="the runtime's state folder")
    folder: Path = parser.parse_args(arguments).folder
    try:
        run(folder)
    except (CompassError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0
