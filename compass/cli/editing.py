"""Changing an object as text, in the person's own editor."""

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from compass.cli import labels
from compass.cli.apply import run_steps
from compass.cli.failures import CommandFailed, Exit
from compass.cli.output import as_yaml, say
from compass.cli.secret_input import read_text
from compass.cli.speaking import Json, Speaking
from compass.errors import CompassError
from compass.landscape import manifest, plan
from compass.landscape.manifest import FIELDS, Kind, Manifest
from compass.landscape.offers import OFFERED
from compass.landscape.plan import Landscape, Step
from compass.landscape.planned import said
from compass.landscape.webhooks import owned

_HEAD: Final = """\
# {kind} {name}. Change what you like, save and close; a line that you take out is emptied or removed.
# A text that is not changed changes nothing.
"""


def edit(plane: Speaking, kind: Kind, identity: str, *, file: Path | None, yes: bool, dry_run: bool) -> None:
    """Have an application or runtime changed as text, and do what differs, after asking for what is removed.

    The text comes from the editor, or from `file`. Raises CommandFailed; with exit code 6 and both values when somebody
    else changed the same meanwhile. The text is kept then.
    """
    row: Json | None = plane.ask(str(kind), {"id": identity})
    if row is None:
        raise CommandFailed(f"there is no {kind.lower()} {identity}", exit_code=Exit.NOT_FOUND)
    row["webhooks"] = owned(row, kind.lower())
    before = {key: value for key, value in said(kind, row) if key not in OFFERED}
    if file is not None:
        text, kept = read_text(file), str(file)
    else:
        text, kept = _edited(_HEAD.format(kind=kind, name=row["name"]) + (f"{as_yaml(before)}\n" if before else ""))
    try:
        wanted = manifest.of_text(kind, row["name"], text, place=kept)
        todo = _steps(plane, kind, row, wanted, before)
        run_steps(plane, todo, yes=yes, dry_run=dry_run)
    except (CommandFailed, CompassError):
        if file is None:
            say(f"your text is kept: compass app edit {row['name']} --file {kept}")
        raise
    if file is None:
        Path(kept).unlink(missing_ok=True)


def _steps(plane: Speaking, kind: Kind, row: Json, wanted: Manifest, before: Json) -> tuple[Landscape, list[Step]]:
    whole = {key: before[key].__class__() for key in before if key in FIELDS[kind]} | wanted.says
    groups = {each["name"]: each for each in plane.all("Groups")}
    now = Landscape({Kind.GROUP: groups, kind: {row["name"]: row}}, {(kind, row["name"]): row["id"]})
    todo = plan.steps([Manifest(kind, row["name"], whole, wanted.place)], now)
    for key in labels.of_people(row).keys() - whole.get("labels", {}).keys():
        todo.append(plan.label_removed(kind, row, key))
    return now, todo


def _edited(text: str) -> tuple[str, str]:
    """The text as the person left it, and the file that it is in. Raises CommandFailed."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        hint = "give what is to be changed, or --file with the whole text"
        raise CommandFailed("there is no terminal to edit in", exit_code=Exit.USAGE, hint=hint)
    descriptor, file = tempfile.mkstemp(prefix="compass-", suffix=".yaml")  # readable by its owner only
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        opened.write(text)
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        ended = subprocess.run([*shlex.split(editor), file], check=False)
    except OSError as problem:
        Path(file).unlink()
        raise CommandFailed(f"the editor {editor!r} cannot be started: {problem}", hint="set EDITOR") from None
    after = read_text(Path(file))
    if ended.returncode != 0:
        raise CommandFailed(f"the editor ended with {ended.returncode}; nothing was changed", hint=f"see {file}")
    return after, file
