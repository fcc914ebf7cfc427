"""`compass access`: requests of runtimes for credentials, and the answers to them."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from compass.cli import find
from compass.cli.completion import Application
from compass.cli.confirm import Yes, confirm
from compass.cli.definition import checked
from compass.cli.failures import CommandFailed, Exit
from compass.cli.find import by_id, the_one
from compass.cli.output import Column, Format, Output, done, show
from compass.cli.secret_input import read_text
from compass.cli.speaking import HERE, DryRun, Json, Speaking, Where, given, speaking

app = App(name="access", help="Credential requests: who asked for which bundle, and the answer.")

COLUMNS = (
    Column("application", "application"),
    Column("bundle", "bundle"),
    Column("state", "status.condition"),
    Column("runtime", lambda row: row["runtime"] or row["runtimeID"]),
    Column("message", "status.message", wide=True),
    Column("since", "status.timestamp", wide=True),
    Column("context", "context", wide=True),
    Column("input", "inputParams", wide=True),
    Column(
        "misfits", lambda row: [f"{each['path']} {each['message']}".strip() for each in row["inputProblems"]], wide=True
    ),
    Column("id", "id"),
)


@app.command(name="list", alias="ls")
def list_requests(
    *, app: Application | None = None, pending: bool = False, output: Output = Format.TABLE, where: Where = HERE
) -> None:
    """List who asked for credentials, and what the answer was.

    For example:

        compass access list --pending
        compass access list --app shop-crm -o wide

    Exit codes: 0 listed, 4 there is no such application.

    Parameters
    ----------
    app
        Only those for this application, by name or id.
    pending
        Only those that wait for an answer.
    """
    with speaking(where) as plane:
        found = _all(plane, application=app, condition="PENDING" if pending else None)
    show(found, output, COLUMNS)


@app.command
def approve(
    request: str,
    *,
    file: Annotated[Path, Parameter(alias="-f", allow_leading_hyphen=True)],
    dry_run: DryRun = False,
    where: Where = HERE,
) -> None:
    """Give the credentials that were asked for, as a file or standard input has them.

    For example:

        compass access approve 7f0c -f credentials.yaml
        vault read shop | compass access approve 7f0c -f -

    Exit codes: 0 given, 2 the file cannot be read, 4 there is no such request, 1 it was answered already.

    Parameters
    ----------
    request
        The id of the request, or its beginning or end.
    file
        YAML or JSON with the members of the API's `AuthInput`: `credential: {basic: {username: …, password: …}}`.
    """
    auth = _read(file)
    with speaking(where, dry_run=dry_run) as plane:
        found = _one(plane, request)
        if dry_run:
            done(f"would give credentials for {found['bundle']} of {found['application']}")
            return
        plane.change("AnswerCredentialRequest", {"id": found["id"], "in": {"auth": auth}})
    done(f"credentials for {found['bundle']} of {found['application']} given")


@app.command
def reject(
    request: str, *, reason: str, message: str = "refused", dry_run: DryRun = False, where: Where = HERE
) -> None:
    """Refuse the credentials that were asked for.

    For example:

        compass access reject 7f0c --reason NotContracted --message "ask your account team"

    Exit codes: 0 refused, 4 there is no such request, 1 it was answered already.

    Parameters
    ----------
    request
        The id of the request, or its beginning or end.
    reason
        A word for programs.
    message
        A sentence for people.
    """
    status = {"condition": "FAILED", "reason": reason, "message": message}
    with speaking(where, dry_run=dry_run) as plane:
        found = _one(plane, request)
        plane.change("AnswerCredentialRequest", {"id": found["id"], "in": {"status": status}})
    done(f"the request for {found['bundle']} of {found['application']} is refused")


@app.command
def rotate(
    request: str,
    *,
    file: Annotated[Path, Parameter(alias="-f", allow_leading_hyphen=True)],
    dry_run: DryRun = False,
    where: Where = HERE,
) -> None:
    """Replace credentials that were given before. The runtime gets the new ones when it asks next.

    For example:

        compass access rotate 7f0c -f credentials.yaml
        vault read shop | compass access rotate 7f0c -f -

    Exit codes: 0 replaced, 2 the file cannot be read, 4 there is no such request, 1 it has no credentials yet.

    Parameters
    ----------
    request
        The id of the request, or its beginning or end.
    file
        YAML or JSON with the members of the API's `AuthInput`: `credential: {basic: {username: …, password: …}}`.
    """
    auth = _read(file)
    with speaking(where, dry_run=dry_run) as plane:
        found = _one(plane, request)
        if found["status"]["condition"] != "SUCCEEDED":
            stands = found["status"]["condition"].lower()
            raise CommandFailed(f"there is nothing to replace: the request is {stands}", hint="compass access approve")
        if dry_run:
            done(f"would replace the credentials for {found['bundle']} of {found['application']}")
            return
        plane.change("RotateCredentials", {"id": found["id"], "bundle": found["bundleID"], "in": {"auth": auth}})
    done(f"credentials for {found['bundle']} of {found['application']} replaced")


@app.command
def revoke(request: str, *, yes: Yes = False, dry_run: DryRun = False, where: Where = HERE) -> None:
    """Take a runtime's credentials away.

    For example:

        compass access revoke 7f0c --yes

    Exit codes: 0 taken away, 2 there is no terminal to ask at, 4 there is no such request.

    Parameters
    ----------
    request
        The id of the request, or its beginning or end.
    """
    with speaking(where, dry_run=dry_run) as plane:
        found = _one(plane, request)
        if not dry_run:
            effects = ["the runtime can ask anew"]
            confirm(f"Take away credentials for {found['bundle']} of {found['application']}", effects, yes=yes)
        plane.change("DeleteCredentials", {"id": found["id"]})
    done(f"credentials for {found['bundle']} of {found['application']} are gone")


def _all(plane: Speaking, *, application: str | None = None, condition: str | None = None) -> list[Json]:
    wanted = given(application=application and find.id_of(plane, find.APPLICATION, application), condition=condition)
    return [
        {
            "id": each["id"],
            "application": each["applicationName"],
            "bundle": each["bundleName"],
            "bundleID": each["bundleID"],
            "runtime": each["runtimeName"],
            "inputProblems": each["inputProblems"],
            **each["instanceAuth"],
        }
        for each in plane.all("CredentialRequests", wanted)
    ]


def _read(file: Path) -> Json:
    auth = checked(read_text(file), "YAML", str(file))
    if not isinstance(auth, dict):
        raise CommandFailed(f"{file} is no object", exit_code=Exit.USAGE, hint="compass access approve --help")
    return auth


def _one(plane: Speaking, part: str) -> Json:
    return the_one(by_id(_all(plane), part), part, "request", listing="compass access list")
