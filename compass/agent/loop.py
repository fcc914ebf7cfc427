"""The Runtime Agent: pairs, keeps its certificate young, takes over what the plane says, reports its labels.

It follows the plane's change feed, so that a change reaches it at once; that it also looks by itself, every sync
period, is for what it was not told.

What it is told is `configuration.json` in its folder; what it last took over is `applied.json`, which is in use
before the first word with the plane and for as long as the plane is away. Nothing that the plane, the network or
the disk does ends the loop: every failure is a state with an error, and another try.
"""

import asyncio
import json
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Self

from compass.agent.anchors import Anchors, is_signed_by
from compass.agent.fetch import Fetched, fetch
from compass.agent.heartbeat import Heart
from compass.agent.pair import Connection, ManagementPlane, NotPaired, TokenRefused, digest, pair, renew, renewal_due
from compass.agent.reconcile import NOTHING, Configuration, Reconciled, reconcile
from compass.client.graphql import (
    Endpoint,
    Plane,
    PlaneAnswerUnreadable,
    PlaneNotTrusted,
    PlaneRefused,
    PlaneUnreachable,
    Trust,
)
from compass.errors import Code, CompassError
from compass.files import write_private_json

log = logging.getLogger(__name__)

VERSION: Final = version("compass-plane")
EVENTS_LABEL: Final = "runtime_eventServiceUrl"
CONSOLE_LABEL: Final = "runtime_consoleUrl"

_LONGEST_PAUSE: Final = timedelta(minutes=5)
"""Between two tries while something is wrong. A plane that is back is noticed within it."""
_APART: Final = timedelta(milliseconds=100)
"""Between two passes, however much there is to be told: many changes become one pass."""
_LONGEST_UNTOLD: Final = timedelta(minutes=1)
"""Between two tries to be told of changes; meanwhile every sync period looks for them."""
_UNPAIRED_SECONDS: Final = 1.0
"""Between two looks whether there is somebody to send heartbeats to."""


class State(StrEnum):
    """How far the last pass came. Source: contract §C.2; `Starting` and `Stopped` are ours."""

    STARTING = "Starting"
    CONNECTED = "Connected"
    CONNECTION_FAILED = "ConnectionFailed"
    CONNECTION_MAINTENANCE_FAILED = "ConnectionMaintenanceFailed"
    SYNCHRONIZATION_FAILED = "SynchronizationFailed"
    RESOURCE_APPLICATION_FAILED = "ResourceApplicationFailed"
    METADATA_UPDATE_FAILED = "MetadataUpdateFailed"
    SYNCHRONIZED = "Synchronized"
    STOPPED = "Stopped"


class Trouble(StrEnum):
    """What kind of failure it is, because people do different things about each."""

    UNREACHABLE = "unreachable"
    """Wait, or look at the network."""
    UNAUTHORIZED = "unauthorized"
    """The certificate was revoked or ended: give a new token."""
    TOKEN_REFUSED = "token_refused"
    """Give a new token."""
    NOT_TRUSTED = "not_trusted"
    """Somebody else answers, or the trust anchor is old."""
    UNREADABLE = "unreadable"
    """Something between us and the plane, or a broken plane."""
    REFUSED = "refused"
    """The plane says no for a reason it names."""
    LOCAL = "local"
    """This machine: disk, folder, configuration, an application that cannot be taken over."""


class InjectedUnreadable(CompassError):
    """`configuration.json` is missing or is not what the Provisioner writes."""

    code = Code.INVALID_DATA
    message = "{file} cannot be read: {why}"
    retryable = True


class NoToken(CompassError):
    """Neither an identity nor a token to get one."""

    code = Code.UNAUTHORIZED
    message = "this runtime is not paired and has no one-time token"


class CertificateEnded(CompassError):
    """The certificate is over its time and the plane does not answer it; renewing needs a valid one."""

    code = Code.UNAUTHORIZED
    message = "the certificate ended at {at}; pair again with a new token"


class CertificateRetired(CompassError):
    """The plane does not trust any more what signed the certificate; renewing needs one that it trusts."""

    code = Code.UNAUTHORIZED
    message = "the plane retired the authority that signed this runtime's certificate; pair again with a new token"


class AuthorityUnknown(PlaneNotTrusted):
    """As PlaneNotTrusted, for an agent that was paired with it: it may have missed that the authority changed."""

    message = (
        "the server at {url} is not the plane that was expected: {why}; nothing was sent. If the plane replaced its "
        "authority while this runtime was away: put its /ca.pem into plane_ca.pem, after comparing the pin, and pair "
        "again with a new token"
    )


class ApplicationsFailed(CompassError):
    """Some applications could not be taken over; the others were."""

    code = Code.INCONSISTENT_DATA
    message = "not taken over: {which}"


@dataclass(frozen=True)
class Injected:
    """What a runtime is told from outside: `configuration.json`."""

    connector_url: str
    runtime_id: str
    tenant: str
    name: str
    token: str | None = field(repr=False)
    """Removed from the file once it was spent."""
    sync_period: timedelta
    """From the end of one pass to the start of the next."""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Raises InjectedUnreadable."""
        file = folder / "configuration.json"
        try:
            told = json.loads(file.read_bytes())
            return cls(
                connector_url=str(told["connector_url"]),
                runtime_id=str(told["runtime_id"]),
                tenant=str(told["tenant"]),
                name=str(told.get("name") or ""),
                token=told.get("token") or None,
                sync_period=timedelta(seconds=max(0.05, float(told.get("sync_period_seconds", 20)))),
            )
        except OSError as error:
            raise InjectedUnreadable(file=str(file), why=error.strerror or "unreadable") from None
        except KeyError as error:
            raise InjectedUnreadable(file=str(file), why=f"{error.args[0]} is missing") from None
        except (ValueError, TypeError, AttributeError):
            raise InjectedUnreadable(file=str(file), why="it is not the expected JSON object") from None


def forget_token(folder: Path, token: str) -> None:
    """Take a spent token out of `configuration.json`; a newer one, written meanwhile, stays. Raises OSError."""
    file = folder / "configuration.json"
    told = json.loads(file.read_bytes())
    if told.get("token") == token:
        del told["token"]
        write_private_json(file, told)


@dataclass(frozen=True)
class Status:
    """What is known about the agent, without secrets."""

    state: State = State.STARTING
    last_sync: datetime | None = None
    """Start of the last pass that ended, however it did."""
    last_success: datetime | None = None
    """Start of the last pass that ended `Synchronized`."""
    revision: int = 0
    """Of the applied configuration; 0 before there is one."""
    applications: int = 0
    error: str | None = None
    trouble: Trouble | None = None
    certificate_not_after: datetime | None = None
    last_heartbeat: datetime | None = None
    """When the plane last took one."""


class Agent:
    """One agent of one folder. `once` is a pass; `run` is passes until told to stop."""

    def __init__(
        self,
        folder: Path,
        *,
        labels: Callable[[], Awaitable[Mapping[str, str]]],
        apply: Callable[[Configuration], None],
        report: Callable[[Status], None] = lambda _: None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        randomness: Callable[[], float] = random.random,
    ) -> None:
        """`labels` are what this runtime's labels at the plane should be.

        `apply` puts a configuration to use, all at once; `report` hears of every change of the status.
        """
        self.folder = folder
        self.status = Status()
        self.configuration = NOTHING
        self._saved: Configuration | None = None
        self._labels = labels
        self._apply = apply
        self._report = report
        self._clock = clock
        self._randomness = randomness
        self._jitter = randomness()
        self._plane: Plane | None = None
        self._refused_token: str | None = None
        self._told = asyncio.Event()
        self._stream: asyncio.Future[None] | None = None
        self._position: str | None = None
        self._heard = 0
        self._follows: bool | None = None
        self._heart = Heart(self._beat, randomness=randomness)
        self._period = timedelta(seconds=1)

    def restore(self) -> None:
        """Put the last good configuration to use. Needs no plane. A file that cannot be read is set aside."""
        file = self.folder / "applied.json"
        try:
            self.configuration = Configuration.restored(json.loads(file.read_bytes()))
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("the last good configuration cannot be read (%s); it is set aside", type(error).__name__)
            with suppress(OSError):
                file.replace(file.with_name("applied.json.unreadable"))
            return
        self._saved = self.configuration
        self._apply(self.configuration)
        self._changed(revision=self.configuration.revision, applications=len(self.configuration.applications))

    async def run(self, stop: asyncio.Event) -> None:
        """Pass after pass until `stop` is set; a pass that is under way is then broken off.

        Between good passes the sync period, or until the plane tells of a change; after bad ones a random part of a
        pause that doubles ("full jitter"), so that a thousand agents do not greet a plane that comes back all at once.
        """
        stopped = asyncio.ensure_future(stop.wait())
        beside = [asyncio.ensure_future(each) for each in (self._follow(), self._heart.run())]
        failures = 0
        try:
            while not stop.is_set():
                self._told.clear()  # before the pass: a change that it may have been too early for asks for another
                once = asyncio.ensure_future(self.once())
                await asyncio.wait((once, stopped), return_when=asyncio.FIRST_COMPLETED)
                if not once.done():
                    once.cancel()
                    await asyncio.wait((once,))
                    break
                failures = 0 if once.result().trouble is None else failures + 1
                await self._wait(stopped, self.pause(failures))
        finally:
            stopped.cancel()
            for each in beside:
                each.cancel()
            await asyncio.wait(beside)
            await self.close()

    async def _wait(self, stopped: asyncio.Future[Any], pause: timedelta) -> None:
        """Until there is something to do again, but not so short that many changes become as many passes."""
        told = asyncio.ensure_future(self._told.wait())
        begin = min(_APART, pause)
        try:
            await asyncio.wait((stopped,), timeout=begin.total_seconds())
            await asyncio.wait(
                (stopped, told), timeout=(pause - begin).total_seconds(), return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            told.cancel()

    async def _beat(self) -> float | None:
        """Say that the agent lives, and how it is doing. Seconds until the next is due; see `Plane.beat`."""
        plane = self._plane
        if plane is None:
            return _UNPAIRED_SECONDS  # a pass opens it
        now, status = self._clock(), self.status
        looked = status.last_success
        report = {
            "version": VERSION,
            "revision": status.revision,
            "applications": status.applications,
            "lookedSecondsAgo": None if looked is None else max(0.0, (now - looked).total_seconds()),
            "looksEverySeconds": self._period.total_seconds(),
            "trouble": status.trouble,
            "error": status.error,
        }
        due = await plane.beat(report)
        if due is not None:
            self._changed(last_heartbeat=now)
        return due

    async def _follow(self) -> None:
        """Hear what changes at the plane for as long as it tells, again and again."""
        failures = 0
        while True:
            plane = self._plane  # a pass opens it, and another one when it renewed the certificate
            if plane is not None:
                heard = self._heard
                self._stream = asyncio.ensure_future(self._hear(plane))
                try:
                    await asyncio.wait((self._stream,))
                finally:
                    self._stream.cancel()
                error = None if self._stream.cancelled() else self._stream.exception()
                failures = 0 if self._heard != heard else failures + 1
                if isinstance(error, CompassError):
                    self._note_following(error)
                elif error is not None:  # the edge, as of a pass: looking by itself goes on
                    log.error("unexpected %s while following changes", type(error).__name__, exc_info=error)
            longest = min(_LONGEST_UNTOLD, _APART * float(2 ** min(failures, 16)))
            await asyncio.sleep((longest * (0.5 + self._randomness() / 2)).total_seconds())

    async def _hear(self, plane: Plane) -> None:
        """One stream, to its end. Says when a pass is due."""
        async with aclosing(plane.events(self._position)) as events:
            async for event in events:
                self._heard += 1
                self._note_following(None)
                self._position = event.id or self._position
                if event.name or self.status.trouble is not None:
                    self._told.set()

    def _note_following(self, error: CompassError | None) -> None:
        follows = error is None
        if follows is not self._follows:
            self._follows = follows
            if error is None:
                log.info("changes are told by the plane")
            else:
                log.info("changes are looked for once per period only: %s", error)

    def pause(self, failures: int) -> timedelta:
        """How long to wait after that many bad passes in a row."""
        try:
            period = Injected.read(self.folder).sync_period
        except InjectedUnreadable:
            period = timedelta(seconds=1)
        if failures == 0 or self.status.trouble in (Trouble.LOCAL, Trouble.TOKEN_REFUSED):
            return period
        longest = max(period, _LONGEST_PAUSE)
        return min(longest, period * float(2 ** min(failures, 16))) * self._randomness()

    async def close(self) -> None:
        """Close the connection to the plane."""
        if self._stream is not None:
            self._stream.cancel()  # closing the connection below it would leave it waiting
        plane, self._plane = self._plane, None
        if plane is not None:
            await plane.close()

    async def once(self) -> Status:
        """One pass. Raises nothing; the status tells how far it came."""
        begun = self._clock()
        stage = State.CONNECTION_FAILED
        try:
            told = Injected.read(self.folder)
            self._period = told.sync_period
            connection = await self._paired(told)
            stage = State.CONNECTION_MAINTENANCE_FAILED
            plane = await self._maintained(told, connection)
            stage = State.SYNCHRONIZATION_FAILED
            known = {application.id for application in self.configuration.applications}
            fetched = await fetch(plane, told.runtime_id, known=known)
            stage = State.RESOURCE_APPLICATION_FAILED
            reconciled = await self._taken_over(fetched)
            stage = State.METADATA_UPDATE_FAILED
            await self._labelled(plane, told.runtime_id, fetched.labels)
            stage = State.RESOURCE_APPLICATION_FAILED
            if reconciled.failed:
                raise ApplicationsFailed(which="; ".join(f"{name}: {why}" for name, why in reconciled.failed.items()))
        except Exception as error:  # noqa: BLE001 - the edge of the process: whatever it is, the loop goes on
            self._failed(stage, error, begun)
        else:
            if self.status.state is not State.SYNCHRONIZED:
                log.info("synchronized, revision %d", self.configuration.revision)
            self._changed(state=State.SYNCHRONIZED, last_sync=begun, last_success=begun, error=None, trouble=None)
        return self.status

    async def _paired(self, told: Injected) -> Connection:
        """The identity; a token that was not spent yet replaces it."""
        try:
            connection = Connection.read(self.folder)
        except NotPaired:
            connection = None
        if told.token is not None and (connection is None or connection.token_digest != digest(told.token)):
            connection = await self._paired_anew(told, told.token, connection)
        if connection is None:
            raise NoToken
        if told.token is not None:
            await asyncio.to_thread(forget_token, self.folder, told.token)
        self._changed(certificate_not_after=connection.not_after)
        return connection

    async def _paired_anew(self, told: Injected, token: str, present: Connection | None) -> Connection | None:
        if self._refused_token == digest(token):
            # It stays refused whoever asks how often; only another token helps. An identity that works is not given up.
            if present is None:
                raise TokenRefused
            return present
        try:
            connection = await pair(
                self.folder, connector_url=told.connector_url, token=token, trust=self._trust(), clock=self._clock
            )
        except TokenRefused:
            self._refused_token = digest(token)
            if present is None:
                raise
            log.warning("the new one-time token was refused; the present identity stays")
            return present
        await self.close()
        log.info("paired as %s until %s", connection.client_id, connection.not_after.isoformat())
        self._changed(state=State.CONNECTED, error=None, trouble=None)
        return connection

    async def _maintained(self, told: Injected, connection: Connection) -> Plane:
        """The plane over mTLS, at its present addresses, with a certificate that is young enough."""
        if self._plane is None:
            self._plane = connection.plane(self._trust(), tenant=told.tenant)
        try:
            answer = ManagementPlane.of(await self._plane.send("ManagementPlane"))
        except PlaneNotTrusted as error:
            raise AuthorityUnknown(url=error.facts["url"], why=error.facts["why"]) from error
        except PlaneUnreachable as error:
            # As below for one whose authority was retired; the other port takes everybody, and tells.
            if await self._retired(told):
                raise CertificateRetired from error
            # A plane breaks the handshake off when the certificate has ended, which looks like a broken network.
            if connection.not_after <= self._clock():
                raise CertificateEnded(at=connection.not_after.isoformat()) from error
            raise
        if (answer.director_url, answer.connector_url) != (connection.director_url, connection.connector_url):
            log.info("the plane moved to %s and %s", answer.director_url, answer.connector_url)
            connection = connection.moved(director_url=answer.director_url, connector_url=answer.connector_url)
            await self._reopened(told, connection)
        anchors = await self._anchored(told, connection)
        if renewal_due(connection, now=self._clock(), jitter=self._jitter) or (
            anchors is not None
            and anchors.renewal_due(self.folder, now=self._clock(), jitter=self._jitter, period=told.sync_period)
        ):
            authorities = "" if anchors is None else anchors.issuing
            connection = await renew(connection, trust=self._trust(), authorities=authorities, clock=self._clock)
            log.info("certificate renewed until %s", connection.not_after.isoformat())
            self._changed(certificate_not_after=connection.not_after)
            await self._reopened(told, connection)
        return self._plane

    async def _retired(self, told: Injected) -> bool:
        """Whether the plane says that it trusts others than the authority that signed our certificate."""
        director = told.connector_url.removesuffix("/connector/graphql") + "/director/graphql"
        try:
            async with Plane({Endpoint.DIRECTOR: director}, trust=self._trust()) as plane:
                trusted = await plane.trusted()
        except CompassError:
            return False
        return trusted is not None and not await asyncio.to_thread(is_signed_by, self.folder, trusted.issuing)

    async def _anchored(self, told: Injected, connection: Connection) -> Anchors | None:
        """What the plane wants trusted, taken over when it changed; None when it does not say."""
        if self._plane is None:
            raise AssertionError("a pass opens the plane first")
        kept = await asyncio.to_thread(Anchors.read, self.folder)
        trusted = await self._plane.trusted("" if kept is None else kept.version)
        if trusted is None:
            return kept
        taken = await asyncio.to_thread(Anchors.take_over, self.folder, trusted, now=self._clock())
        if kept is not None:
            log.info("the plane changed its authorities; they are trusted as it says")
        await self._reopened(told, connection)
        return taken

    async def _reopened(self, told: Injected, connection: Connection) -> None:
        await self.close()
        self._plane = connection.plane(self._trust(), tenant=told.tenant)

    async def _taken_over(self, fetched: Fetched) -> Reconciled:
        """Put what was fetched to use, and keep it on the disk as the last good configuration."""
        reconciled = reconcile(fetched.applications, self.configuration)
        configuration = reconciled.configuration
        if reconciled.differs:
            self._apply(configuration)
            self.configuration = configuration
            log.info("revision %d: %s", configuration.revision, reconciled.told())
            self._changed(revision=configuration.revision, applications=len(configuration.applications))
        if configuration != self._saved:
            # Apart from the difference: after a full disk the next pass saves what this one could not.
            await asyncio.to_thread(write_private_json, self.folder / "applied.json", configuration.stored())
            self._saved = configuration
        return reconciled

    async def _labelled(self, plane: Plane, runtime_id: str, present: Mapping[str, Any]) -> None:
        for key, value in (await self._labels()).items():
            if present.get(key) != value:
                await plane.send("SetRuntimeLabel", {"runtime": runtime_id, "key": key, "value": value})
                log.info("label %s set to %s", key, value)

    def _trust(self) -> Trust:
        file = self.folder / "plane_ca.pem"
        return Trust.to(file.read_text(encoding="ascii")) if file.exists() else Trust()

    def _failed(self, stage: State, error: Exception, begun: datetime) -> None:
        trouble = _trouble(error)
        if trouble is Trouble.LOCAL and not isinstance(error, CompassError | OSError):
            log.error("unexpected %s while %s", type(error).__name__, stage, exc_info=error)
        elif (stage, str(error)) != (self.status.state, self.status.error):
            log.warning("%s: %s", stage, error)
        self._changed(state=stage, last_sync=begun, error=str(error) or type(error).__name__, trouble=trouble)

    def _changed(self, **facts: Any) -> None:
        changed = replace(self.status, **facts)
        if changed != self.status:
            self.status = changed
            if "last_heartbeat" not in facts:
                self._heart.hurry()
            try:
                self._report(changed)
            except OSError as error:
                log.warning("the status cannot be reported: %s", error)


def _trouble(error: Exception) -> Trouble:
    match error:
        case PlaneUnreachable():
            return Trouble.UNREACHABLE
        case TokenRefused() | NoToken():
            return Trouble.TOKEN_REFUSED
        case CertificateEnded() | CertificateRetired():
            return Trouble.UNAUTHORIZED
        case PlaneNotTrusted():
            return Trouble.NOT_TRUSTED
        case PlaneAnswerUnreadable():
            return Trouble.UNREADABLE
        case PlaneRefused():
            return Trouble.UNAUTHORIZED if error.unauthorized else Trouble.REFUSED
        case CompassError() if error.retryable:
            return Trouble.REFUSED
    return Trouble.LOCAL
