"""`compass cert`: the client certificates that the plane's authority has signed."""

from enum import StrEnum

from cyclopts import App

from compass.cli import find
from compass.cli.completion import Application, Runtime
from compass.cli.confirm import Yes, confirm
from compass.cli.failures import CommandFailed, Exit
from compass.cli.output import Column, Format, Output, detail, done, emit, show
from compass.cli.speaking import HERE, DryRun, Json, Limit, Speaking, Where, speaking

app = App(name="cert", help="Certificates of applications and runtimes.")
app.command("compass.cli.certificate_folder:renew", name="renew")
app.command("compass.cli.certificate_folder:export", name="export")

COLUMNS = (
    Column("serial", "serial"),
    Column("state", "state"),
    Column("of", lambda row: (row["objectType"] or "").lower()),
    Column("object", "objectID"),
    Column("expires", "expiresAt"),
    Column("last used", "lastUsedAt"),
    Column("client", "clientID", wide=True),
    Column("issued", "issuedAt", wide=True),
    Column("revoked", "revokedAt", wide=True),
    Column("revoked by", "revokedBy", wide=True),
    Column("reason", "revocationReason", wide=True),
)
_DETAILS = (*COLUMNS, Column("subject", "subject"), Column("fingerprint", "fingerprint"), Column("lineage", "lineage"))


class State(StrEnum):
    """What became of a certificate."""

    VALID = "valid"
    EXPIRING = "expiring"
    REVOKED = "revoked"
    EXPIRED = "expired"


@app.command(name="list", alias=("ls", "status"))
def list_certificates(
    *,
    app: Application | None = None,
    runtime: Runtime | None = None,
    state: tuple[State, ...] = (),
    limit: Limit = None,
    output: Output = Format.TABLE,
    where: Where = HERE,
) -> None:
    """List the certificates of the tenant, those that end last first.

    For example:

        compass cert list --state expiring
        compass cert list --app shop-crm -o wide

    `expiring` are those with less than two weeks and less than a fifth of their life left. Clients renew before that.

    Exit codes: 0 listed, 4 there is no such application or runtime, 7 not allowed.

    Parameters
    ----------
    app
        Only those of this application, by name or id.
    runtime
        Only those of this runtime, by name or id.
    state
        Only those in this state; may be repeated.
    """
    with speaking(where) as plane:
        wanted = {"object": _holder(plane, app, runtime), "state": [one.name for one in state] or None}
        show(plane.all("Certificates", wanted, limit=limit), output, COLUMNS)


@app.command
def get(serial: str, *, output: Output = Format.TABLE, where: Where = HERE) -> None:
    """Show one certificate.

    For example:

        compass cert get 4a31

    Exit codes: 0 shown, 4 there is none, 6 there are several.

    Parameters
    ----------
    serial
        Its serial number or fingerprint in hexadecimal, or the beginning of either.
    """
    with speaking(where) as plane:
        detail(_one(plane, serial), output, _DETAILS)


@app.command
def revoke(
    serial: str | None = None,
    *,
    app: Application | None = None,
    runtime: Runtime | None = None,
    reason: str | None = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    where: Where = HERE,
) -> None:
    """Revoke a certificate with all that were renewed from one another with it, or all of an application or runtime.

    For example:

        compass cert revoke 4a31… --reason "laptop stolen"
        compass cert revoke --app shop-crm --yes

    Prints how many certificates were still in force. The registration stays: `connect` hands out a new token.

    Exit codes: 0 revoked, 2 not exactly one of them was named, or there is no terminal to ask at, 4 there is none.

    Parameters
    ----------
    serial
        Its serial number or fingerprint in hexadecimal, or the beginning of either.
    app
        All of this application, by name or id.
    runtime
        All of this runtime, by name or id.
    reason
        Kept with the certificates.
    """
    if sum(one is not None for one in (serial, app, runtime)) != 1:
        raise CommandFailed("name one", exit_code=Exit.USAGE, hint="a serial number, --app or --runtime")
    with speaking(where, dry_run=dry_run) as plane:
        if serial is not None:
            which = {"serial": _one(plane, serial)["serial"]}
        else:
            which = {"object": str(_holder(plane, app, runtime))}
        if not dry_run:
            effects = ["calls with them are refused from now on", "what was renewed from them ends too"]
            confirm(f"Revoke {serial or app or runtime}", effects, yes=yes)
        count = plane.change("RevokeCertificates", {**which, "reason": reason})
    done(f"{count} certificates revoked")
    emit(str(count))


def _holder(plane: Speaking, application: str | None, runtime: str | None) -> str | None:
    if application is not None and runtime is not None:
        raise CommandFailed("--app and --runtime exclude each other", exit_code=Exit.USAGE)
    if application is not None:
        return find.id_of(plane, find.APPLICATION, application)
    return find.id_of(plane, find.RUNTIME, runtime) if runtime is not None else None


def _one(plane: Speaking, beginning: str) -> Json:
    wanted = beginning.lower().replace(":", "").rstrip("…")
    found = [
        each
        for each in plane.all("Certificates")
        if each["serial"].startswith(wanted) or each["fingerprint"].startswith(wanted)
    ]
    if len(found) == 1:
        return found[0]
    problem = f"{len(found)} certificates begin with" if found else "there is no certificate"
    code = Exit.CONFLICT if found else Exit.NOT_FOUND
    raise CommandFailed(f"{problem} {beginning!r}", exit_code=code, hint="compass cert list shows what there is")
