"""What has to hold around a plane before it starts, beside its settings' own rules: files, environment, interpreter.

A plane that starts although others can read its keys looks as well as one that is safe. So it does not start, anywhere:
neither the demo nor a test needs an exception. `compass doctor` shows the same findings, all at once.
Source: design/guarantees.md G37.
"""

import os
import resource
import stat
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from compass.errors import Code, CompassError
from compass.settings import Settings, is_on_this_machine, secrets_given

NOT_BEFORE: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""A clock that shows an earlier time than this program was written at was never set."""
_DESCRIPTORS: Final = 65_536
"""The connections of both ports by default, and as many again for everything else."""
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_WORLD_READS: Final = stat.S_IROTH
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_WELL_KNOWN: Final = frozenset(
    {"", "admin", "changeme", "compass", "password", "passw0rd", "postgres", "root", "secret", "test", "123456"}
)
"""Passwords that are tried first, and those of examples."""
_TELLTALE: Final = {
    "SSLKEYLOGFILE": "the keys of TLS connections are written to a file, and whoever reads it reads everything",
    "PYTHONASYNCIODEBUG": "slow calls are logged with their arguments, secrets among them",
    "PYTHONDEVMODE": "slow calls are logged with their arguments, secrets among them",
    "PYTHONINSPECT": "the process would end in a prompt that has all keys in memory",
    "PYTHONBREAKPOINT": "a debugger may stop the process and look into it",
}
"""Switches for developers, and what they give away."""


@dataclass(frozen=True)
class Finding:
    """Why a plane would not start."""

    what: str
    """The setting, file or variable."""
    reason: str
    fix: str


class UnsafeStart(CompassError):
    """Something around the plane would give its secrets away. Nothing was started."""

    code = Code.INVALID_DATA
    message = "{what}: {reason}; {fix}"


def prepare_process() -> None:
    """Have this process write no memory image when it crashes, as keys are in it, and open as many files as it may."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    few, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = _DESCRIPTORS if most == resource.RLIM_INFINITY else min(most, _DESCRIPTORS)
    if few != resource.RLIM_INFINITY and few < enough:
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, most))


def refuse_unsafe(settings: Settings) -> None:
    """Raises UnsafeStart with the first of the findings."""
    for finding in findings(settings):
        raise UnsafeStart(what=finding.what, reason=finding.reason, fix=finding.fix)


def findings(settings: Settings, environment: Mapping[str, str] | None = None) -> Iterator[Finding]:
    """Everything that keeps the plane from starting; what does not exist yet is made safe by the start."""
    yield from _of_environment(os.environ if environment is None else environment)
    yield from of_folder(settings.data_folder)
    yield from _of_settings_files(settings)
    yield from _of_named_files(settings)
    yield from _of_database(settings.database.dsn)
    yield from _of_clock(datetime.now(UTC))


def _of_environment(environment: Mapping[str, str]) -> Iterator[Finding]:
    for variable, reason in _TELLTALE.items():
        # Python itself reads an empty variable as none, and a breakpoint of "0" as never.
        if environment.get(variable) and not (variable == "PYTHONBREAKPOINT" and environment[variable] == "0"):
            yield Finding(variable, reason, f"unset {variable}")
    if sys.flags.dev_mode and not environment.get("PYTHONDEVMODE"):
        yield Finding("python -X dev", _TELLTALE["PYTHONDEVMODE"], "start without -X dev")


def of_folder(folder: Path) -> Iterator[Finding]:
    """What is wrong with the data folder, if it exists."""
    what = "data_folder"
    try:
        found = folder.stat()
    except OSError:
        return
    if not stat.S_ISDIR(found.st_mode):
        return  # the start says so in its own words
    if found.st_mode & _OTHERS:
        yield Finding(what, f"{folder} is open to other users", f"chmod 700 {folder}")
    if os.geteuid() not in (found.st_uid, 0):
        reason = f"{folder} belongs to another user, who can change everything in it"
        yield Finding(what, reason, "make its owner the user that runs the plane")
    above = folder.resolve().parent
    mode = above.stat().st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        yield Finding(
            what, f"everybody can write to {above}, and put another folder in its place", f"chmod o-w {above}"
        )
    keys = folder / "vault.keys"
    if _mode(keys) & _OTHERS:
        yield Finding("vault.keys", "others than its owner can read it", f"chmod 600 {keys}")


def _of_settings_files(settings: Settings) -> Iterator[Finding]:
    """The file that settings were read from, and those that single ones were."""
    secret = secrets_given(settings)
    for file in {Path(source.rpartition(":")[0]) for source in settings.sources.values() if _is_line(source)}:
        what = str(file)
        mode = _mode(file)
        if mode & stat.S_IWOTH:
            yield Finding(what, "everybody can write it, and decide what the plane does", f"chmod o-w {file}")
        inside = sorted(key for key in secret if settings.sources[key].rpartition(":")[0] == what)
        if inside and mode & _WORLD_READS:
            fix = f"chmod o-r {file}, or keep the secret in a file of its own with {inside[0]}_file"
            yield Finding(what, f"everybody can read it, and it holds {inside[0]}", fix)
    for key in secret:
        _, names_a_file, file_name = settings.sources[key].partition(" = ")
        if names_a_file:
            yield from _of_secret_file(key, Path(file_name))


def _is_line(source: str) -> bool:
    """Whether a source is `<file>:<line>`, as `settings.load` writes it."""
    return source.rpartition(":")[2].isdigit() and " = " not in source


def _of_named_files(settings: Settings) -> Iterator[Finding]:
    if settings.outbound.client_key_file is not None:
        yield from _of_secret_file("outbound.client_key_file", settings.outbound.client_key_file)
    anchors = {
        "outbound.ca_file": settings.outbound.ca_file,
        "provisioner.applications_ca_file": settings.provisioner.applications_ca_file,
        "external_certificates.ca_file": settings.external_certificates.ca_file,
    }
    for key, file in anchors.items():
        if file is not None and _mode(file) & stat.S_IWOTH:
            yield Finding(key, f"everybody can write {file}, and have any authority trusted", f"chmod o-w {file}")
    for source in settings.external_certificates.list_sources().values():
        if "://" not in source and _mode(Path(source)) & stat.S_IWOTH:
            reason = f"everybody can write {source}, and lock out all clients of an authority"
            yield Finding("external_certificates.revocation_lists", reason, f"chmod o-w {source}")


def _of_secret_file(what: str, file: Path) -> Iterator[Finding]:
    mode = _mode(file)
    if mode & _WORLD_READS:
        yield Finding(what, f"everybody can read {file}", f"chmod o-rwx {file}")
    elif mode & stat.S_IWOTH:
        yield Finding(what, f"everybody can write {file}", f"chmod o-rwx {file}")


def _mode(file: Path) -> int:
    try:
        return file.stat().st_mode
    except OSError:
        return 0  # whoever reads it says that it cannot be read


def _of_database(dsn: str | None) -> Iterator[Finding]:
    if dsn is None:
        return
    password = urlsplit(dsn).password
    if password is not None and unquote(password).lower() in _WELL_KNOWN and not is_on_this_machine(dsn):
        yield Finding(
            "database.dsn",
            "the password of a database on another machine is one that is tried first",
            "give its role a random one",
        )


def _of_clock(now: datetime) -> Iterator[Finding]:
    if now < NOT_BEFORE:
        reason = f"it shows {now:%Y-%m-%d %H:%M} UTC, and whatever is issued now would be over at once"
        yield Finding("clock", reason, "set it, best by NTP")
