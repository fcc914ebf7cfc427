"""`compass apply`, `compass diff` and `compass export`: the landscape as files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from compass.cli import labels
from compass.cli.confirm import Yes, confirm
from compass.cli.failures import CommandFailed, Exit
from compass.cli.files import read
from compass.cli.group import told
from compass.cli.output import emit, printable, say
from compass.cli.speaking import HERE, Speaking, Where, speaking
from compass.cli.waiting import FIVE_MINUTES, Timeout, Wait, counted
from compass.errors import CompassError
from compass.landscape.conflicts import HINT, Changes, brief, shown
from compass.landscape.manifest import Kind
from compass.landscape.plan import Landscape, Step
from compass.landscape.planned import Left, Planned, planned, written

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
FieldManager = Annotated[
    str | None,
    Parameter(name="--field-manager", help="As whom the files own their fields; the name of the context unless given."),
]
Force = Annotated[
    bool, Parameter(name="--force-conflicts", help="Take over the fields that somebody else changed or owns.")
]


def apply(
    *,
    file: Files,
    prune: Prune = False,
    label: Mine = (),
    field_manager: FieldManager = None,
    force_conflicts: Force = False,
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

    What a document does not mention stays as it is; what it said before and says no more is removed, as far as the API
    can, if nobody else changed or says it. Lists, where they are given, are the whole lists; labels are set one by one.
    `apis` and `events` beside the bundles are those in none. A `spec` is a file beside the document, or an object with
    `url`, from where the plane fetches it, or with `data`. Groups that are named are created. Whatever is removed is
    asked about first. When a step is refused, those before it stay; repeat the command once it is put right.

    The plane remembers who applied which field. An object with a field that somebody else changed since, or that
    another field manager owns, is left as it is: the command says both values and whose they are, does the others, and
    ends with 6. The same value may have several owners. What nobody ever applied, whoever applies it first takes over.
    A rehearsal (--dry-run) is made here: what the plane would refuse, it does not know.

    Exit codes: 0 it is as the files say, 2 a file is wrong (the message names its line) or there is no terminal to ask
    at, 6 somebody else changed or owns it, or a name is taken, 1 a step was refused otherwise, 124 not everybody was
    told in time.

    Parameters
    ----------
    dry_run
        Only print what would be changed, as `compass diff` does, and end as it would.
    """
    with speaking(where) as plane:
        plans = _planned(plane, file, _Asked(prune, label, field_manager, force_conflicts))
        for left in plans.left:
            _explained(plane, left, dry_run=dry_run)
        run_steps(plane, (plans.now, plans.todo), yes=yes, dry_run=dry_run)
        if wait and not dry_run:
            for group in dict.fromkeys(step.group for step in plans.todo if step.group is not None):
                told(plane, group, timeout)
    if plans.left:
        objects = "1 object is" if len(plans.left) == 1 else f"{len(plans.left)} objects are"
        message = f"{objects} left as before: somebody else changed or owns what the files say"
        raise CommandFailed(message, exit_code=Exit.CONFLICT, hint=HINT)


def run_steps(plane: Speaking, planned: tuple[Landscape, Sequence[Step]], *, yes: bool, dry_run: bool) -> None:
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
    spoken_of = sum(not step.is_quiet for step in todo)
    done = 0
    for step in todo:
        try:
            step.act(plane, now)
        except (CommandFailed, CompassError):
            say(f"! at {printable(step.line)}: {done} of {spoken_of} changes are done")
            raise
        if not step.is_quiet:
            emit(printable(step.line))
            done += 1
    say(f"{done} changes" if done else "nothing to change")


def diff(
    *,
    file: Files,
    prune: Prune = False,
    label: Mine = (),
    field_manager: FieldManager = None,
    where: Where = HERE,
) -> int:
    """Print what `compass apply` would change: + adds, ~ changes, - removes, ! is left to whoever changed or owns it.

    For example:

        compass diff -f landscape.yaml
        compass export | compass diff -f -

    Exit codes: 0 nothing, 2 a file is wrong (the message names its line), 5 there are differences.
    """
    with speaking(where) as plane:
        plans = _planned(plane, file, _Asked(prune, label, field_manager))
    for left in plans.left:
        for conflict in left.conflicts:
            emit(printable(f"! {left.one.kind.lower()} {left.one.name}: {brief(conflict)}"))
    _printed(plans.todo)
    return Exit.DIFFERENCES if plans.left or any(not step.is_quiet for step in plans.todo) else Exit.OK


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
        parts = list(written(plane, kind or tuple(Kind), progress=counted))
    for part in parts:
        emit(part)


@dataclass(frozen=True)
class _Asked:
    """What was asked for, besides the files."""

    prune: bool
    label: Sequence[str]
    field_manager: str | None
    force: bool = False


def _planned(plane: Speaking, file: Sequence[Path], asked: _Asked) -> Planned:
    if asked.label and not asked.prune:
        message = "--label says what --prune may remove"
        raise CommandFailed(message, exit_code=Exit.USAGE, hint="labels that are to be set stand in the files")
    return planned(
        plane,
        read(file),
        asked.field_manager or plane.context.name,
        force=asked.force,
        prune=labels.new(asked.label) if asked.prune else None,
        tell=say,
        progress=counted,
    )


def _explained(plane: Speaking, left: Left, *, dry_run: bool) -> None:
    what = f"{left.one.kind.lower()} {left.one.name}"
    if dry_run:
        for conflict in left.conflicts:
            emit(printable(f"! {what}: {brief(conflict)}"))
        return
    changes = Changes(plane)
    say(printable(f"! {what} is left as it is ({left.one.place})"))
    for conflict in left.conflicts:
        by = changes.last(left.one, left.row, conflict.name)
        changed = f"; changed by {by}" if by else ""
        both = f"the file says {shown(conflict.wanted)}, the plane has {shown(conflict.present)}"
        say(printable(f"!   {conflict.name}: {both}; {conflict.reason}{changed}"))


def _printed(todo: Sequence[Step]) -> None:
    spoken_of = [step for step in todo if not step.is_quiet]
    for step in spoken_of:
        emit(printable(step.line))
    say(f"{len(spoken_of)} changes" if spoken_of else "nothing to change")
