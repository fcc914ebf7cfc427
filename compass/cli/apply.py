"""`compass apply`, `compass diff` and `compass export`: the landscape as files."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from compass.cli import labels
from compass.cli.confirm import Yes, confirm
from compass.cli.failures import CommandFailed, Exit
from compass.cli.group import told
from compass.cli.manifest import FIELDS, VERSION, Kind, read
from compass.cli.offers import OFFERED, said_of
from compass.cli.output import as_yaml, emit, printable, say
from compass.cli.plan import Landscape, Step, look, pruned, steps
from compass.cli.speaking import HERE, Json, Speaking, Where, speaking
from compass.cli.waiting import FIVE_MINUTES, Timeout, Wait
from compass.cli.webhook import KEPT
from compass.errors import CompassError

Files = Annotated[
    tuple[Path, ...],
    Parameter(
        name="--file",
        alias="-f",
        allow_leading_hyphen=True,
        help="A file, a folder of files, or - for standard input; may be repeated.",
    ),
]
Prune = Annotated[
    bool,
    Parameter(name="--prune", help="Remove applications and runtimes with the --label that are in no document."),
]
Mine = Annotated[
    tuple[str, ...], Parameter(name="--label", alias="-l", help="What --prune may remove: key=value. All must hold.")
]


def apply(
    *,
    file: Files,
    prune: Prune = False,
    label: Mine = (),
    dry_run: bool = False,
    wait: Wait = False,
    timeout: Timeout = FIVE_MINUTES,
    yes: Yes = False,
    where: Where = HERE,
) -> None:
    """Make the landscape as files say, and print what was changed. Twice does nothing the second time.

    For example:

        compass apply -f landscape.yaml
        compass apply -f landscape/ --prune -l team=retail --wait

    A document is about an Application, a Runtime, a Group or an IntegrationSystem:

        kind: Application
        name: shop-crm
        description: Customers of the shop
        labels: {team: retail}
        groups: [retail]
        webhooks: [{type: CONFIGURATION_CHANGED, url: "https://shop.example/compass"}]
        bundles:
          - name: orders
            apis: [{name: orders-v1, targetURL: "https://shop.example/orders", spec: openapi.yaml}]
            events: [{name: order-events, spec: asyncapi.yaml}]

    What a document does not mention stays as it is. Lists, where they are given, are the whole lists; labels are set
    one by one. `apis` and `events` beside the bundles are those in none. A `spec` is a file beside the document, or an
    object with `url`, from where the plane fetches it, or with `data`. Groups that are named are created. Whatever is
    removed is asked about first. When a step is refused, those before it stay; repeat the command once it is put right.

    A value that somebody else changed since the files were compared is not written over: the command ends with 6 and
    says both values. A rehearsal (--dry-run) is made here: what the plane would refuse, it does not know.

    Exit codes: 0 it is as the files say, 2 a file is wrong (the message names its line) or there is no terminal to ask
    at, 6 somebody else changed it meanwhile, or a name is taken, 1 a step was refused otherwise, 124 not everybody was
    told in time.

    Parameters
    ----------
    dry_run
        Only print what would be changed, as `compass diff` does, and end with 0.
    """
    with speaking(where) as plane:
        now, todo = _planned(plane, file, prune=prune, label=label)
        run_steps(plane, (now, todo), yes=yes, dry_run=dry_run)
        if dry_run:
            return
        if wait:
            for group in dict.fromkeys(step.group for step in todo if step.group is not None):
                told(plane, group, timeout)


def run_steps(plane: Speaking, planned: tuple[Landscape, list[Step]], *, yes: bool, dry_run: bool) -> None:
    """Do the steps one by one, after asking for what is removed, and print each; as a rehearsal, only print them.

    Raises CommandFailed, CompassError after saying how far it came.
    """
    now, todo = planned
    if dry_run:
        _printed(todo)
        return
    removed = [step.text for step in todo if step.sign == "-"]
    if removed:
        confirm(f"Remove {len(removed)}", removed, yes=yes)
    for number, step in enumerate(todo):
        try:
            step.act(plane, now)
        except (CommandFailed, CompassError):
            say(f"! at {printable(step.line)}: {number} of {len(todo)} changes are done")
            raise
        emit(printable(step.line))
    say(f"{len(todo)} changes" if todo else "nothing to change")


def diff(*, file: Files, prune: Prune = False, label: Mine = (), where: Where = HERE) -> int:
    """Print what `compass apply` would change: + adds, ~ changes, - removes.

    For example:

        compass diff -f landscape.yaml
        compass export | compass diff -f -

    Exit codes: 0 nothing, 2 a file is wrong (the message names its line), 5 there are differences.
    """
    with speaking(where) as plane:
        _, todo = _planned(plane, file, prune=prune, label=label)
    _printed(todo)
    return Exit.DIFFERENCES if todo else Exit.OK


def export(*kind: Kind, where: Where = HERE) -> None:
    """Print the landscape as a file that `compass apply` takes. It holds no secrets, and so no credentials of webhooks.

    For example:

        compass export > landscape.yaml
        compass export group application

    Exit codes: 0 printed, 7 not allowed, 8 plane not reached, 9 not the pinned plane.

    Parameters
    ----------
    kind
        Only these kinds: application, runtime, group, integration-system.
    """
    with speaking(where) as plane:
        now = look(plane, kind or Kind, offering=lambda _: True)
    emit(f"# {VERSION}")
    for one in kind or Kind:
        for name, row in sorted(now.found.get(one, {}).items()):
            document = {"kind": str(one), "name": name, **dict(said(one, row))}
            emit(f"---\n{as_yaml(document)}")


def _planned(
    plane: Speaking, file: Sequence[Path], *, prune: bool, label: Sequence[str]
) -> tuple[Landscape, list[Step]]:
    if label and not prune:
        message = "--label says what --prune may remove"
        raise CommandFailed(message, exit_code=Exit.USAGE, hint="labels that are to be set stand in the files")
    wanted = read(file)
    offering = {one.name for one in wanted if one.kind is Kind.APPLICATION and OFFERED & one.says.keys()}
    now = look(plane, Kind if prune else {one.kind for one in wanted}, offering=offering.__contains__)
    return now, [*steps(wanted, now), *(pruned(wanted, now, label) if prune else ())]


def _printed(todo: Sequence[Step]) -> None:
    for step in todo:
        emit(printable(step.line))
    say(f"{len(todo)} changes" if todo else "nothing to change")


def said(kind: Kind, row: Json) -> Iterator[tuple[str, Any]]:
    """What a document says of something that is there."""
    for key in FIELDS[kind]:
        match key:
            case "labels":
                value: Any = labels.of_people(row)
            case "groups":
                value = labels.groups(row)
            case "webhooks":
                value = [{key: each[key] for key in KEPT if each[key] is not None} for each in row["webhooks"]]
            case "bundles" | "apis" | "events":
                value = said_of(row["offers"]).get(key) if "offers" in row else None
            case "template":
                value = None  # a group keeps the template that it was created with
            case _:
                value = row.get(key)
        if value:
            yield key, value
