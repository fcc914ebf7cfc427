"""`compass webhook`: where applications and runtimes are told of changes, and what became of each notification."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import App, Parameter

from compass.cli import find
from compass.cli.completion import Application, Runtime, Template
from compass.cli.confirm import Yes, confirm
from compass.cli.failures import CommandFailed, Exit
from compass.cli.find import by_id, the_one
from compass.cli.output import Column, Format, Output, detail, done, emit, say, show, show_made
from compass.cli.secret_input import read_text
from compass.cli.speaking import HERE, DryRun, Json, Limit, Speaking, Where, given, speaking
from compass.cli.waiting import Progress, Timeout, Wait, until
from compass.landscape.webhooks import KEPT, owned

if TYPE_CHECKING:
    from compass.client.attempts import Difference

app = App(name="webhook", help="Webhooks: where applications and runtimes are told of changes.")

COLUMNS = (
    Column("id", "id"),
    Column("type", "type"),
    Column("owner", "owner"),
    Column("mode", "mode", wide=True),
    Column("url", lambda row: row.get("url") or "(template)"),
    Column("paused since", "pausedSince"),
    Column("created", "createdAt", wide=True),
)
_DETAILS = (
    *COLUMNS,
    Column("URL template", "urlTemplate"),
    Column("input template", "inputTemplate"),
    Column("header template", "headerTemplate"),
    Column("output template", "outputTemplate"),
    Column("status template", "statusTemplate"),
    Column("timeout", "timeout"),
    Column("retry interval", "retryInterval"),
)
_DELIVERIES = (
    Column("id", "id"),
    Column("state", "state"),
    Column("operation", "operation"),
    Column("attempts", lambda row: len(row["attempts"])),
    Column("last status", lambda row: row["attempts"][-1]["status"] if row["attempts"] else None),
    Column("url", "url"),
    Column("error", "error"),
    Column("created", "createdAt", wide=True),
    Column("next attempt", "nextAttemptAt", wide=True),
    Column("paused since", "pausedSince", wide=True),
    Column("webhook", "webhookID", wide=True),
)
_TESTED = (
    Column("state", "state"),
    Column("status", lambda row: row["attempts"][-1]["status"] if row["attempts"] else None),
    Column("took", lambda row: f"{row['attempts'][-1]['elapsedMilliseconds']} ms" if row["attempts"] else None),
    Column("error", "error"),
    Column("response", lambda row: row["attempts"][-1]["response"] if row["attempts"] else None, wide=True),
    Column("id", "id"),
)
_DIFFERENCES = (Column("what", "what"), Column("before", "before"), Column("after", "after"))
_REQUEST = (
    Column("calls", lambda row: [_attempt(each) for each in row["attempts"]]),
    Column("method", "request.method"),
    Column("headers", lambda row: _headers((row["request"] or {}).get("headers") or ())),
    Column("body", "request.body"),
)
_PREVIEW = (
    Column("method", "method"),
    Column("url", "url"),
    Column("headers", lambda row: _headers(row["headers"])),
    Column("body", "body"),
)
_PREVIEWED: Final = frozenset(
    {"type", "url", "urlTemplate", "inputTemplate", "headerTemplate", "outputTemplate", "statusTemplate"}
)
_LISTED: Final = "compass webhook deliveries shows what there is"


class State(StrEnum):
    """Where a notification stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    CANCELLED = "cancelled"


@app.command(name="list", alias="ls")
def list_webhooks(
    *,
    app: Application | None = None,
    runtime: Runtime | None = None,
    output: Output = Format.TABLE,
    where: Where = HERE,
) -> None:
    """List the webhooks of an application or a runtime, or of all of them.

    For example:

        compass webhook list
        compass webhook list --app billing -o json

    Exit codes: 0 listed, 4 there is no such application or runtime.

    Parameters
    ----------
    app
        The name or id of an application.
    runtime
        The name or id of a runtime.
    """
    with speaking(where) as plane:
        show(_all(plane, application=app, runtime=runtime), output, COLUMNS)


@app.command
def get(webhook: str, *, output: Output = Format.TABLE, where: Where = HERE) -> None:
    """Show one webhook.

    For example:

        compass webhook get 7f0c…

    Exit codes: 0 shown, 4 there is none.

    Parameters
    ----------
    webhook
        The webhook's id, or its beginning or end.
    """
    with speaking(where) as plane:
        detail(_one(plane, webhook), output, _DETAILS)


@app.command
def create(
    url: str | None = None,
    *,
    app: Application | None = None,
    runtime: Runtime | None = None,
    template: Template | None = None,
    type_: Annotated[str, Parameter(name="--type")] = "CONFIGURATION_CHANGED",
    mode: str | None = None,
    file: Annotated[Path | None, Parameter(alias="-f", allow_leading_hyphen=True)] = None,
    dry_run: DryRun = False,
    output: Output = Format.TABLE,
    where: Where = HERE,
) -> None:
    """Add a webhook to an application, a runtime or an application template, and print its id.

    For example:

        compass webhook create https://billing.example/compass --app billing
        compass webhook create --app billing -f webhook.yaml

    The secret of its signatures is in the answer: -o jsonpath=.signingSecret.

    Exit codes: 0 added, 2 not exactly one owner, 4 there is no such owner, 1 refused otherwise.

    Parameters
    ----------
    url
        Where it is told; http or https.
    app
        The name or id of the application that it belongs to.
    runtime
        The name or id of the runtime that it belongs to.
    template
        The name or id of the application template that it belongs to.
    type_
        What it is told of: CONFIGURATION_CHANGED, APPLICATION_TENANT_MAPPING and others.
    mode
        SYNC, ASYNC or ASYNC_CALLBACK.
    file
        YAML or JSON with the members of the API's `WebhookInput`, templates and credentials among them.
    """
    if sum(owner is not None for owner in (app, runtime, template)) != 1:
        raise CommandFailed("name one owner", exit_code=Exit.USAGE, hint="--app, --runtime or --template")
    new = {"type": type_, **_read(file), **given(url=url, mode=mode)}
    with speaking(where, dry_run=dry_run) as plane:
        owner = {
            "application": app and find.id_of(plane, find.APPLICATION, app),
            "runtime": runtime and find.id_of(plane, find.RUNTIME, runtime),
            "template": template and find.id_of(plane, find.TEMPLATE, template),
        }
        made = plane.change("AddWebhook", {**owner, "in": new})
    done(f"webhook for {made['url'] or 'a template'} added")
    show_made(made, output, COLUMNS)


@app.command
def edit(
    webhook: str,
    *,
    url: str | None = None,
    mode: str | None = None,
    file: Annotated[Path | None, Parameter(alias="-f", allow_leading_hyphen=True)] = None,
    dry_run: DryRun = False,
    where: Where = HERE,
) -> None:
    """Change a webhook; what is not given stays, except for credentials, which have to be in the file again.

    For example:

        compass webhook edit 7f0c… --url https://billing.example/v2

    What waits for a plain URL is sent to the new one at once.

    Exit codes: 0 changed, 2 nothing was given, 4 there is none, 1 refused otherwise.

    Parameters
    ----------
    webhook
        The webhook's id, or its beginning or end.
    url
        Where it is told.
    mode
        SYNC, ASYNC or ASYNC_CALLBACK.
    file
        YAML or JSON with members of the API's `WebhookInput`.
    """
    changes = {**_read(file), **given(url=url, mode=mode)}
    if not changes:
        raise CommandFailed("nothing to change was given", exit_code=Exit.USAGE, hint="compass webhook edit --help")
    with speaking(where, dry_run=dry_run) as plane:
        found = _one(plane, webhook)
        kept = {member: found[member] for member in KEPT if found[member] is not None}
        plane.change("UpdateWebhook", {"id": found["id"], "in": {**kept, **changes}})
    done(f"webhook {found['id']} changed")


@app.command
def delete(webhook: str, *, yes: Yes = False, dry_run: DryRun = False, where: Where = HERE) -> None:
    """Remove a webhook. What it was still to be told is cancelled.

    For example:

        compass webhook delete 7f0c… --yes

    Exit codes: 0 removed, 2 there is no terminal to ask at, 4 there is none.

    Parameters
    ----------
    webhook
        The webhook's id, or its beginning or end.
    """
    with speaking(where, dry_run=dry_run) as plane:
        found = _one(plane, webhook)
        if not dry_run:
            waiting = plane.all("WebhookDeliveries", {"webhook": found["id"], "state": "PENDING"})
            effects = [f"{len(waiting)} notifications that wait are cancelled"] if waiting else []
            confirm(f"Delete webhook {found['url'] or found['id']} of {found['owner']}", effects, yes=yes)
        plane.change("DeleteWebhook", {"id": found["id"]})
    done(f"webhook {found['id']} deleted")


@app.command
def pause(webhook: str, *, dry_run: DryRun = False, where: Where = HERE) -> None:
    """Call a webhook no more until it is resumed. What it is to be told waits, and so do groups that need its answer.

    For example:

        compass webhook pause 7f0c…

    Exit codes: 0 it is not called, 4 there is none.

    Parameters
    ----------
    webhook
        The webhook's id, its type, or the beginning of either, or the end of the id.
    """
    with speaking(where, dry_run=dry_run) as plane:
        found = plane.change("PauseWebhook", {"webhook": _one(plane, webhook)["id"]})
    done(f"webhook {found['id']} is paused; to go on: compass webhook resume {found['id']}")


@app.command
def resume(webhook: str, *, dry_run: DryRun = False, where: Where = HERE) -> None:
    """Call a webhook again that was paused, at once with what waits for it.

    For example:

        compass webhook resume 7f0c…

    Exit codes: 0 it is called, 4 there is none.

    Parameters
    ----------
    webhook
        The webhook's id, its type, or the beginning of either, or the end of the id.
    """
    with speaking(where, dry_run=dry_run) as plane:
        found = plane.change("ResumeWebhook", {"webhook": _one(plane, webhook)["id"]})
    done(f"webhook {found['id']} is called again")


@app.command
def deliveries(
    webhook: str | None = None,
    *,
    state: State | None = None,
    type_: Annotated[str | None, Parameter(name="--type")] = None,
    since: str | None = None,
    until: str | None = None,
    limit: Limit = 100,
    output: Output = Format.TABLE,
    where: Where = HERE,
) -> None:
    """List what webhooks were or are to be told, newest first, with every attempt.

    For example:

        compass webhook deliveries --state dead --since 6h
        compass webhook deliveries 7f0c… -o json

    Exit codes: 0 listed, 2 a time is none, 4 there is no such webhook.

    Parameters
    ----------
    webhook
        The id of a webhook, or its beginning or end; all webhooks unless given.
    state
        Only those that stand there.
    type_
        Only what webhooks of this type are told: CONFIGURATION_CHANGED and others. Tests are of none.
    since
        Only those of then or later: a time in RFC 3339, or how long ago: 30m, 6h, 2d.
    until
        Only those of before; likewise.
    """
    wanted = given(
        state=state and state.name,
        type=type_,
        since=since and _time(since, "--since"),
        until=until and _time(until, "--until"),
    )
    with speaking(where) as plane:
        if webhook is not None:
            wanted["webhook"] = _one(plane, webhook)["id"]
        show(plane.all("WebhookDeliveries", wanted, limit=limit), output, _DELIVERIES)


@app.command(name="test")
def try_webhook(
    webhook: str,
    *,
    wait: Wait = False,
    timeout: Timeout = timedelta(minutes=1),
    dry_run: DryRun = False,
    output: Output = Format.TABLE,
    where: Where = HERE,
) -> None:
    """Call a webhook once with example data, to see whether it answers. No group changes with the answer.

    For example:

        compass webhook test 7f0c… --wait
        compass webhook test config-changed --wait

    Exit codes: 0 on its way, and with --wait taken, 1 the receiver did not take it, 4 there is no such webhook,
    6 several fit, 124 it was not called in time.

    Parameters
    ----------
    webhook
        The webhook's id, its type, or the beginning of either, or the end of the id.
    """
    with speaking(where, dry_run=dry_run) as plane:
        found = _one(plane, webhook)
        made = plane.change("TestWebhook", {"webhook": found["id"]})
        if not wait:
            done(f"a test of {found['url'] or found['type']} is on its way: compass webhook delivery {made['id']}")
            emit(made["id"])
            return
        tested = _called(plane, made["id"], timeout)
    show([tested], output, _TESTED)
    if tested["state"] != State.DELIVERED.name:
        hint = (
            f"compass webhook delivery {tested['id']} shows what was sent and answered; when it is put right, compass"
            f" webhook resend {tested['id']} tries it, compass webhook recover {found['id']} all that were given up"
        )
        raise CommandFailed(f"the webhook did not take it: {tested['error']}", hint=hint)


def _called(plane: Speaking, delivery: str, timeout: timedelta) -> Json:
    seen: list[Json] = []

    def look(_: Progress) -> bool:
        [one] = plane.ask("WebhookDelivery", {"id": delivery})["data"]
        seen[:] = [one]
        return bool(one["state"] != State.PENDING.name)

    until("the call", look, timeout=timeout, hint=f"compass webhook delivery {delivery}")
    return seen[0]


@app.command
def preview(
    url: str | None = None,
    *,
    type_: Annotated[str | None, Parameter(name="--type")] = None,
    file: Annotated[Path | None, Parameter(alias="-f", allow_leading_hyphen=True)] = None,
    output: Output = Format.TABLE,
    where: Where = HERE,
) -> None:
    """Show what the templates of a webhook would send, filled in with example data. Nothing is stored or sent.

    For example:

        compass webhook preview -f webhook.yaml
        compass webhook preview -f webhook.yaml -o jsonpath=.body

    Exit codes: 0 all of them can be used, 1 one of them cannot; which, and in which line, is said.

    Parameters
    ----------
    url
        Where it is told, unless a template says so.
    type_
        What it is told of; CONFIGURATION_CHANGED unless the file says otherwise.
    file
        YAML or JSON with members of the API's `WebhookInput`.
    """
    given_members = {"type": "CONFIGURATION_CHANGED", **_read(file), **given(url=url, type=type_)}
    wanted = {name: value for name, value in given_members.items() if name in _PREVIEWED}
    with speaking(where) as plane:
        made = plane.ask("PreviewWebhook", wanted)
    detail(made, output, _PREVIEW)
    for each in made["problems"]:
        place = f"{each['template']}, line {each['line']}" if each["line"] else each["template"]
        say(f"{place}: {each['message']}")
    if made["problems"]:
        raise CommandFailed("templates cannot be used", hint="docs/guide/notifications.md says what they are given")


@app.command
def delivery(
    delivery: str, *, curl: bool = False, diff: bool = False, output: Output = Format.TABLE, where: Where = HERE
) -> None:
    """Show one notification: what was sent, without secrets, and each attempt with its answer.

    For example:

        compass webhook delivery 41cd…
        compass webhook delivery 41cd… -o json
        compass webhook delivery 41cd… --diff
        compass webhook delivery 41cd… --curl

    With -o json each attempt has its headers, those of the call and of the answer.

    Exit codes: 0 shown, 4 there is none, or with --diff fewer than two attempts, 7 with --curl: you may not see what
    was sent.

    Parameters
    ----------
    delivery
        The notification's id.
    curl
        Print it as a command for `curl`, with asterisks in place of secrets and without the plane's signature.
    diff
        Print what the last attempt had otherwise than the one before.
    """
    if not find.is_id(delivery):
        raise CommandFailed(f"{delivery!r} is no id of a notification", exit_code=Exit.NOT_FOUND, hint=_LISTED)
    with speaking(where) as plane:
        found = plane.ask("WebhookDelivery", {"id": delivery})["data"]
    if not found:
        raise CommandFailed(f"there is no notification {delivery}", exit_code=Exit.NOT_FOUND, hint=_LISTED)
    sent = found[0]["request"]
    if diff:
        show([vars(each) for each in _last_differences(found[0]["attempts"])], output, _DIFFERENCES)
    elif not curl:
        detail(found[0], output, (*_DELIVERIES, *_REQUEST))
    elif sent is None:
        raise CommandFailed("you may not see what was sent", exit_code=Exit.NOT_ALLOWED, hint="scope webhook:write")
    else:
        from compass.client.curl import curl as as_curl

        headers = [(each["name"], each["value"]) for each in sent["headers"]]
        emit(as_curl(sent["method"], found[0]["url"], headers, sent["body"]))


def _last_differences(attempts: Sequence[Json]) -> Sequence["Difference"]:
    from compass.client.attempts import differences

    if len(attempts) < 2:  # noqa: PLR2004  # it takes two to differ
        raise CommandFailed("there are no two attempts to compare", exit_code=Exit.NOT_FOUND)
    return differences(*attempts[-2:])


@app.command
def resend(delivery: str, *, dry_run: DryRun = False, where: Where = HERE) -> None:
    """Try a notification again that was given up.

    For example:

        compass webhook resend 41cd…

    Exit codes: 0 it is tried again, 4 there is none, 1 a later one about the same object arrived.

    Parameters
    ----------
    delivery
        The notification's id.
    """
    with speaking(where, dry_run=dry_run) as plane:
        plane.change("ResendWebhookDelivery", {"id": delivery})
    done(f"notification {delivery} is tried again")


@app.command
def recover(webhook: str, *, since: str = "2d", dry_run: DryRun = False, where: Where = HERE) -> None:
    """Try again what was given up for a webhook, but what is outdated, and print how many that are.

    For example:

        compass webhook recover 7f0c… --since 6h
        compass webhook recover 7f0c… --since 2026-11-23T08:00:00Z

    Exit codes: 0 they are tried again, 2 `since` is no time, 4 there is no such webhook.

    Parameters
    ----------
    webhook
        The webhook's id, or its beginning or end.
    since
        A time in RFC 3339, or how long ago: 30m, 6h, 2d.
    """
    with speaking(where, dry_run=dry_run) as plane:
        found = _one(plane, webhook)
        count = plane.change("RecoverWebhookDeliveries", {"webhook": found["id"], "since": _time(since, "--since")})
    emit(str(count))
    say(f"{count} notifications are tried again")


def _all(plane: Speaking, *, application: str | None = None, runtime: str | None = None) -> list[Json]:
    found: list[Json] = []
    if application is not None:
        found += owned(_got(plane, "Application", find.APPLICATION, application), "application")
    if runtime is not None:
        found += owned(_got(plane, "Runtime", find.RUNTIME, runtime), "runtime")
    if application is None and runtime is None:
        for row in plane.all("ApplicationWebhooks"):
            found += owned(row, "application")
        for row in plane.all("RuntimeWebhooks"):
            found += owned(row, "runtime")
    return found


def _got(plane: Speaking, document: str, kind: find.Kind, name: str) -> Json:
    found: Json | None = plane.ask(document, {"id": find.id_of(plane, kind, name)})
    if found is None:
        raise CommandFailed(f"there is no {kind.word} {name!r}", exit_code=Exit.NOT_FOUND, hint=kind.listing)
    return found


def _one(plane: Speaking, part: str) -> Json:
    every = _all(plane)
    found = by_id(every, part) or [each for each in every if _is_called(each["type"], part)]
    return the_one(found, part, "webhook", listing="compass webhook list")


def _is_called(type_: str, text: str) -> bool:
    """Whether a type is meant: `config-changed` is CONFIGURATION_CHANGED."""
    words, said = type_.split("_"), text.upper().replace("_", "-").split("-")
    return len(words) == len(said) and all(word.startswith(part) for word, part in zip(words, said, strict=True))


def _attempt(attempt: Json) -> str:
    said = " ".join(str(part) for part in (attempt["status"], attempt["error"] or "taken") if part is not None)
    return f"{attempt['number']}: {said}, {attempt['elapsedMilliseconds']} ms"


def _headers(headers: Iterable[Json]) -> list[str]:
    return [f"{each['name']}: {each['value']}" for each in headers]


def _read(file: Path | None) -> Json:
    if file is None:
        return {}
    import yaml

    try:
        read = yaml.safe_load(read_text(file))
    except yaml.YAMLError as problem:
        raise CommandFailed(f"{file} is no YAML: {problem}", exit_code=Exit.USAGE) from None
    if not isinstance(read, dict):
        raise CommandFailed(f"{file} is no object", exit_code=Exit.USAGE)
    return read


def _time(text: str, flag: str) -> str:
    units = {"m": "minutes", "h": "hours", "d": "days"}
    if text[:-1].isdigit() and text[-1:] in units:
        return (datetime.now(UTC) - timedelta(**{units[text[-1]]: int(text[:-1])})).strftime("%Y-%m-%dT%H:%M:%SZ")
    try:
        return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        message = f"{flag} {text!r} is no time"
        raise CommandFailed(message, exit_code=Exit.USAGE, hint="2026-11-23T08:00:00Z, 30m, 6h or 2d") from None
