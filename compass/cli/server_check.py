"""`compass server check`: whether the plane would start, known before somebody stops the one that runs."""

import asyncio
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from compass.cli import doctor, plane_database
from compass.cli.doctor import Check, State, report
from compass.cli.failures import CommandFailed
from compass.cli.output import Format, Output
from compass.cli.start import NO_FLAGS, PlaneFlags
from compass.cli.version import VERSION
from compass.errors import CompassError
from compass.settings import Settings

if TYPE_CHECKING:
    from compass.postgres.pool import Tx
    from compass.vault_rotation import Held

_FREE_BYTES: Final = 1024**3
"""PostgreSQL alone writes ahead as much as that before it reuses anything."""
_TIMEOUT_SECONDS: Final = 5


@dataclass
class Found:
    """What the database says."""

    checks: list[Check] = field(default_factory=list)
    roots: list[str] = field(default_factory=list)
    """The plane's authorities, as PEM: who shows a certificate of one of them is this plane."""


def check(*, flags: PlaneFlags = NO_FLAGS, output: Output = Format.TABLE) -> int:
    """Check everything that would keep this release from starting as the plane with these settings. Changes nothing.

    For example:

        compass server check
        compass server check --config compass.toml -o json

    Settings, files and who may read them, disk, database, roles, migrations, row-level security, the vault's keys and
    ports: run it with a new release before the old one is stopped. A plane that is up, and is this one, is no
    problem. `compass config check` looks at the settings alone, `compass doctor` at what clients need too.

    Exit codes: 0 it would start, 2 a setting was refused, 3 it would not (each finding has its fix).
    """
    settings = flags.settings()
    return report(list(_checks(settings)), output)


def _checks(settings: Settings) -> Iterator[Check]:
    yield Check("versions", State.OK, f"compass {VERSION}, Python {sys.version.split()[0]}")
    yield asyncio.run(_settings(settings))
    yield from doctor.safe(settings)
    yield doctor.data_folder(settings.data_folder)
    if settings.database.dsn is None:
        yield disk(settings)
    found = Found()
    if settings.database.dsn is None and not (settings.data_folder / "postgres" / "data").exists():
        yield doctor.database(settings)
        yield from vault_keys(settings, [])
    else:
        asyncio.run(_database(settings, found))
    yield from found.checks
    for what, number in (("token port", settings.listen.token_port), ("mTLS port", settings.listen.mtls_port)):
        yield port(what, settings.listen.host, number, found.roots)


async def _settings(settings: Settings) -> Check:
    """Whether files and addresses that the settings name are what they have to be."""
    from compass.app import outside

    try:
        async with outside(settings):
            changed = len(settings.sources)
    except CompassError as problem:
        return Check("settings", State.DEGRADED, str(problem), "change the setting, or the file that it names")
    return Check("settings", State.OK, f"{changed} {'differs' if changed == 1 else 'differ'} from the defaults")


def disk(settings: Settings) -> Check:
    """Whether a database of the plane's own has room."""
    folder = next(each for each in (settings.data_folder, *settings.data_folder.parents) if each.exists())
    free = shutil.disk_usage(folder).free
    detail = f"{free / 1024**3:.1f} GiB free for {settings.data_folder}"
    if free < _FREE_BYTES:
        fix = f"free at least {_FREE_BYTES // 1024**3} GiB, or choose another place: --data-folder"
        return Check("disk", State.DEGRADED, detail, fix)
    return Check("disk", State.OK, detail)


async def _database(settings: Settings, found: Found) -> None:
    from compass.postgres import row_security
    from compass.postgres.migrate import known, pending
    from compass.postgres.pool import AWAY, Database
    from compass.vault_rotation import held

    try:
        async with plane_database.reached(settings) as dsn:
            missing = await pending(dsn)
            async with Database.open(dsn, connections=1) as database, database.transaction() as tx:
                found.checks += await _server(tx)
                found.checks.append(migrations(settings, missing))
                if len(missing) < len(known()):
                    found.checks += vault_keys(settings, await held(tx))
                    found.roots += await _roots(tx)
                else:
                    found.checks += vault_keys(settings, [])
                if not missing:
                    await row_security.require(tx)
                    detail = "every table that callers reach is kept to their tenants"
                    found.checks.append(Check("row security", State.OK, detail))
    except row_security.Unprotected as problem:
        fix = "have the owner of the tables put it right; docs/guide/operate.md, 'A PostgreSQL of your own'"
        found.checks.append(Check("row security", State.DEGRADED, str(problem), fix))
    except (CompassError, CommandFailed, *AWAY) as problem:
        fix = "the message says what to do; check database.dsn, and that the database is up"
        found.checks.append(Check("database", State.DEGRADED, str(problem) or type(problem).__name__, fix))


async def _server(tx: "Tx") -> list[Check]:
    from compass.postgres import row_security
    from compass.postgres.roles import TenantRoleMissing, server

    known = await server(tx)
    checks = [Check("database", State.OK, f"PostgreSQL {known.version} answers {known.owner}")]
    if known.passes_policies:
        fix = f"ALTER ROLE {known.owner} NOSUPERUSER NOBYPASSRLS, or another role in database.dsn"
        checks.append(Check("roles", State.DEGRADED, row_security.SUPERUSER, fix))
    elif known.is_taken:
        checks.append(Check("roles", State.OK, f"{known.owner}, and {known.tenant} for what callers change"))
    elif known.makes_roles:
        checks.append(Check("roles", State.OK, f"{known.owner}; the migrations will make {known.tenant}"))
    else:
        missing = TenantRoleMissing(owner=known.owner, tenant=known.tenant)
        fix = f"as an administrator: CREATE ROLE {known.tenant} NOLOGIN; GRANT {known.tenant} TO {known.owner}"
        checks.append(Check("roles", State.DEGRADED, str(missing), fix))
    return checks


def migrations(settings: Settings, missing: Sequence[str]) -> Check:
    """Whether the start finds the tables that it needs, or makes them."""
    if not missing:
        return Check("migrations", State.OK, "up to date")
    names = f"{len(missing)}: {', '.join(missing)}"
    if settings.database.dsn is None:
        return Check("migrations", State.OK, f"the start applies {names}")
    fix = "back up, then compass server migrate"
    if any("_post_" in name[:10] for name in missing):
        fix += "; stop the old release before, for those named post"
    return Check("migrations", State.DEGRADED, f"the database misses {names}", fix)


def vault_keys(settings: Settings, secrets: "Sequence[Held]") -> Iterator[Check]:
    """Whether the key file opens what is sealed in the database."""
    from compass.vault import KeyFileUnusable, SealBroken, Vault, read

    path = settings.data_folder / "vault.keys"
    if not path.exists():
        if not secrets:
            yield Check("vault keys", State.OK, f"the first start makes {path}")
            return
        count = sum(each.count for each in secrets)
        detail = f"there is no {path}, and {count} secrets are sealed: the start would make one that opens none of them"
        yield Check("vault keys", State.DEGRADED, detail, "put the plane's own there, from where it is backed up")
        return
    try:
        keys = read(path)
    except KeyFileUnusable as problem:
        yield Check("vault keys", State.DEGRADED, str(problem), "the message says what to do")
        return
    vault, opened = Vault(keys), dict.fromkeys([keys.seals], 0)
    for each in secrets:
        try:
            vault.open(each.place, each.sealed)
        except SealBroken as problem:
            fix = "put the plane's own vault.keys there, from where it is backed up: compass vault status"
            yield Check("vault keys", State.DEGRADED, f"{each.count} under {each.key}: {problem}", fix)
        else:
            opened[each.key] = opened.get(each.key, 0) + each.count
    for key, count in opened.items():
        detail = f"{key} ({keys.fingerprint(key)}) opens {count} secrets"
        yield Check("vault keys", State.OK, detail + (", and seals" if key == keys.seals else ""))


async def _roots(tx: "Tx") -> list[str]:
    from compass.connector import authority

    return [row["root"] for row in await tx.rows(authority.TRUSTED)]


def port(what: str, host: str, number: int, roots: Sequence[str]) -> Check:
    """Whether the plane could listen there, or already does."""
    found = doctor.port(what, host, number, f"listen.{'token' if what.startswith('token') else 'mtls'}_port")
    if found.state is State.OK or not doctor.is_plane(host, number, roots):
        return found
    return Check(what, State.OK, f"{host}:{number} is used by this plane, which is up and has to stop first")
