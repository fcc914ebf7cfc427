"""The `local` driver: a runtime is a process of this machine with a folder of its own below the plane's data folder.

The process outlives the plane. It is found again by what the operating system says of it (`processes.py`), and started
again when it died. All planes that share a data folder may run this driver: a folder is worked on under its lock.

A folder holds `provisioner.json`, which says whose it is: what this plane did not make, it neither uses nor removes.
Folders appear and disappear at once, under another name beforehand and afterwards, so none is ever seen half made.
Source of the folder's other files: `compass/runtime/process.py`.
"""

import asyncio
import fcntl
import json
import logging
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from compass.files import sync_folder
from compass.ids import RuntimeId
from compass.provisioner.drivers import processes
from compass.provisioner.infrastructure import (
    Absent,
    AgentConfiguration,
    AgentView,
    ClusterAbsent,
    ClusterForeign,
    EndpointIdentity,
    Observed,
    Ready,
)

log = logging.getLogger(__name__)

RUNTIME: Final = (sys.executable, "-m", "compass.runtime")
REACHED_AS: Final = ("localhost", "127.0.0.1")
"""The event endpoint listens on loopback only."""

_OWNER: Final = "provisioner.json"
_CONFIGURATION: Final = "configuration.json"
_ASLEEP: Final = "asleep"
"""There while no process is to run."""
_UPGRADED: Final = "upgraded"
"""Which request the process was replaced for last."""
_RUNTIME_ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_LONGEST_REST: Final = 60.0
"""Seconds between two starts of a runtime that dies at once."""


class Local:
    """Runtimes below one folder."""

    pace = timedelta(milliseconds=200)

    def __init__(
        self,
        folder: Path,
        *,
        plane: str,
        command: Sequence[str] = RUNTIME,
        grace: timedelta = timedelta(seconds=8),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`plane` is the name written on what is made here; `grace` is how long a process may take to stop."""
        self._folder = folder.resolve()
        self._plane = plane
        self._command = command
        self._grace = grace
        self._clock = clock
        self._children: set[int] = set()
        self._starts: dict[RuntimeId, tuple[float, int]] = {}
        """By runtime: when it was last started here, and how often in a row it then died early."""

    async def create(self, runtime: RuntimeId, wanted: Mapping[str, object]) -> None:  # noqa: ARG002  # all runtimes here are alike
        """Make the folder. Raises ClusterForeign, OSError."""
        await asyncio.to_thread(self._create, runtime)

    async def observe(self, runtime: RuntimeId) -> Observed:
        """Ready as soon as there is a folder; its agent is seen once the process says something."""
        return await asyncio.to_thread(self._observe, runtime)

    async def identify(self, runtime: RuntimeId, identity: EndpointIdentity) -> None:
        """A running process notices the new files by itself."""
        await asyncio.to_thread(self._identify, runtime, identity)

    async def connect(self, runtime: RuntimeId, configuration: AgentConfiguration) -> None:
        """Write the configuration and start the process, anew if it runs: it may be resting from earlier trouble."""
        await asyncio.to_thread(self._connect, runtime, configuration)

    async def upgrade(self, runtime: RuntimeId, *, once: str) -> None:
        """Replace the process: until then it runs the code that it was started with. Raises ClusterAbsent, OSError."""
        await asyncio.to_thread(self._upgrade, runtime, once)

    async def sleep(self, runtime: RuntimeId) -> None:
        """End the process, and start none any more. When this returns, it is gone. Raises ClusterAbsent, OSError."""
        await asyncio.to_thread(self._sleep, runtime)

    async def wake(self, runtime: RuntimeId) -> None:
        """Start the process again. Raises ClusterAbsent, OSError."""
        await asyncio.to_thread(self._wake, runtime)

    async def delete(self, runtime: RuntimeId) -> None:
        """End the process and remove the folder. When this returns, both are gone."""
        await asyncio.to_thread(self._delete, runtime)

    async def existing(self) -> set[RuntimeId]:
        """The runtimes of this plane that have a folder, or what a broken-off call left of one, or a process."""
        return await asyncio.to_thread(self._existing)

    async def keep(self, runtime: RuntimeId) -> None:
        """Start the process of a configured runtime that is not asleep and has none.

        Ever more rarely when it keeps dying.
        """
        await asyncio.to_thread(self._keep, runtime)

    def _create(self, runtime: RuntimeId) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside = self._folder / f".new-{self._plane}-{runtime}-{secrets.token_hex(4)}"
        beside.mkdir(mode=0o700)
        try:
            _write(beside / _OWNER, json.dumps({"plane": self._plane, "runtime": runtime}).encode())
            beside.rename(self._folder / runtime)
        except OSError:  # also where another call was faster and has removed this one's beginnings
            shutil.rmtree(beside, ignore_errors=True)
            place = self._folder / runtime
            if not place.exists():
                raise
            if not self._owns(place):
                raise ClusterForeign(place=str(place)) from None
        for left in self._left_of(runtime):  # by a plane that was killed while it made the folder
            shutil.rmtree(left, ignore_errors=True)
        sync_folder(self._folder)

    def _observe(self, runtime: RuntimeId) -> Observed:
        place = self._folder / runtime
        if not self._owns(place):
            return Absent()
        is_asleep = (place / _ASLEEP).exists() and not processes.working_in(place)
        return Ready(REACHED_AS, _agent(place), is_asleep)

    def _identify(self, runtime: RuntimeId, identity: EndpointIdentity) -> None:
        with self._opened(runtime) as place:
            _write(place / "server.key", identity.key_pem.encode())
            _write(place / "server.crt", identity.chain_pem.encode())

    def _connect(self, runtime: RuntimeId, configuration: AgentConfiguration) -> None:
        told: dict[str, Any] = {
            "connector_url": configuration.connector_url,
            "runtime_id": configuration.runtime,
            "tenant": configuration.tenant,
            "name": configuration.name,
            "token": configuration.token,
            "sync_period_seconds": configuration.sync_period.total_seconds(),
        }
        with self._opened(runtime) as place:
            processes.end(place, grace=self._grace)
            _write(place / "plane_ca.pem", configuration.plane_ca_pem.encode())
            if configuration.applications_ca_pem is not None:
                _write(place / "applications_ca.pem", configuration.applications_ca_pem.encode())
            _write(place / _CONFIGURATION, json.dumps(told, indent=2).encode())
            _remove(place / _ASLEEP)
            self._start(place)

    def _upgrade(self, runtime: RuntimeId, once: str) -> None:
        with self._opened(runtime) as place:
            done = place / _UPGRADED
            if done.exists() and done.read_text(encoding="utf-8") == once:
                return
            processes.end(place, grace=self._grace)
            self._start(place)
            _write(done, once.encode())

    def _sleep(self, runtime: RuntimeId) -> None:
        with self._opened(runtime) as place:
            _write(place / _ASLEEP, b"")  # first: what is killed between the two must not start it again
            processes.end(place, grace=self._grace)

    def _wake(self, runtime: RuntimeId) -> None:
        with self._opened(runtime) as place:
            _remove(place / _ASLEEP)
            if (place / _CONFIGURATION).exists() and not processes.working_in(place):
                self._start(place)

    def _delete(self, runtime: RuntimeId) -> None:
        self._starts.pop(runtime, None)
        place = self._folder / runtime
        try:
            with self._opened(runtime):
                processes.end(place, grace=self._grace)
                place.rename(self._folder / f".gone-{self._plane}-{runtime}-{secrets.token_hex(4)}")
        except ClusterAbsent:
            if not place.exists():
                # Removed by somebody else; its process may still be there.
                processes.end(place, grace=self._grace)
        for left in self._left_of(runtime):
            with suppress(FileNotFoundError):  # another plane is removing it too
                shutil.rmtree(left)
        if self._folder.is_dir():
            sync_folder(self._folder)

    def _existing(self) -> set[RuntimeId]:
        self._reap()
        found = set()
        ours = re.compile(rf"\.(?:new|gone)-{re.escape(self._plane)}-({_RUNTIME_ID.pattern})-[0-9a-f]+")
        for entry in self._folder.iterdir() if self._folder.is_dir() else ():
            if _RUNTIME_ID.fullmatch(entry.name):
                if self._owns(entry):
                    found.add(RuntimeId(entry.name))
            elif left := ours.fullmatch(entry.name):
                found.add(RuntimeId(left[1]))
        # A process whose folder is gone can only have been started by a plane with this data folder.
        orphans = (place for place in processes.working() if place.parent == self._folder and not place.exists())
        return found | {RuntimeId(place.name) for place in orphans if _RUNTIME_ID.fullmatch(place.name)}

    def _keep(self, runtime: RuntimeId) -> None:
        try:
            with self._opened(runtime) as place:
                if not (place / _CONFIGURATION).exists() or (place / _ASLEEP).exists():
                    return
                if processes.working_in(place) or not self._rested(runtime):
                    return
                log.warning("the process of runtime %s is gone and is started again", runtime)
                self._start(place)
        except ClusterAbsent:
            return

    def _rested(self, runtime: RuntimeId) -> bool:
        now = self._clock()
        last, deaths = self._starts.get(runtime, (float("-inf"), 0))
        if now - last > _LONGEST_REST:
            deaths = 0
        if now - last < min(_LONGEST_REST, 2.0**deaths - 1):
            return False
        self._starts[runtime] = (now, deaths + 1)
        return True

    def _start(self, place: Path) -> None:
        self._children.add(processes.start(self._command, place, output=place / "output.txt"))

    def _reap(self) -> None:
        for pid in list(self._children):
            if processes.reap(pid):
                self._children.discard(pid)

    def _left_of(self, runtime: RuntimeId) -> list[Path]:
        kinds = [f".{kind}-{self._plane}-{runtime}-*" for kind in ("new", "gone")]
        return [left for kind in kinds for left in self._folder.glob(kind)]

    def _owns(self, place: Path) -> bool:
        """Whether there is such a folder and this plane made it."""
        try:
            owner = json.loads((place / _OWNER).read_bytes())
        except (OSError, ValueError):
            return False
        return bool(owner == {"plane": self._plane, "runtime": place.name})

    @contextmanager
    def _opened(self, runtime: RuntimeId) -> Iterator[Path]:
        """The runtime's folder, nobody else's to work on while the block runs. Raises ClusterAbsent."""
        place = self._folder / runtime
        try:
            descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            raise ClusterAbsent(runtime=runtime) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            locked = os.fstat(descriptor)
            # Removed while we waited, perhaps even made again: then what is locked is no longer the runtime's folder.
            present = place.exists() and os.path.samestat(locked, place.stat())
            if not present or not self._owns(place):
                raise ClusterAbsent(runtime=runtime)
            yield place
        finally:
            os.close(descriptor)


def _agent(place: Path) -> AgentView | None:
    """What the running process says of itself; what an earlier one said counts for nothing."""
    running = {process.pid for process in processes.working_in(place)}
    try:
        status = json.loads((place / "status.json").read_bytes())
        if not running or status["pid"] not in running:
            return None
        trouble, error, version = (_text(status.get(name)) for name in ("trouble", "error", "version"))
        return AgentView(str(status["state"]), trouble, error, version)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _remove(path: Path) -> None:
    """Remove a file, if it is there. Removed on the disk, too, when this returns."""
    path.unlink(missing_ok=True)
    sync_folder(path.parent)


def _write(path: Path, content: bytes) -> None:
    """Replace a file at once, readable by its owner only, on the disk when this returns."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
