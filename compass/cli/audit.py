"""`compass audit`: check and export the record of who changed what, on a machine that has the plane's data folder."""

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import App, Parameter

from compass.cli.failures import CommandFailed, Exit
from compass.cli.output import emit, say
from compass.cli.start import NO_FLAGS, PlaneFlags
from compass.settings import Settings

if TYPE_CHECKING:
    from compass.audit.keys import PublicKey
    from compass.audit.log import Checked

app = App(name="audit", help="Check and export the record of who changed what.")

_SHOWN: Final = 20
"""Problems that are printed; the first ones say where to look."""


@app.command
def verify(
    copy: Path | None = None,
    *,
    anchor: Path | None = None,
    key: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    flags: PlaneFlags = NO_FLAGS,
) -> int:
    """Check that no record was altered, taken away, put in, moved or cut off, and print what was, first things first.

    For example:

        compass audit verify
        compass audit verify --anchor audit.jsonl

    Without a copy the database of the plane is checked, with the keys in its `vault.keys` and against `audit.anchor` in
    its data folder; the plane may be up. The end of a log can be cut together with all that says so in the database:
    only an anchor outside of it shows that. After an older backup was restored the check says so; remove `audit.anchor`
    then.

    Exit codes: 0 all is as it was written, 1 the database or a file cannot be read, 2 a setting was refused, 9 it is
    not.

    Parameters
    ----------
    copy
        A file of `compass audit export`, to check in place of the database.
    anchor
        An earlier export: what it holds must still be there.
    key
        With a copy: a public key to believe, as this command prints it. Without, those in the copy are used.
    """
    if copy is not None:
        checked, keys = _copy(copy, key, _anchors(anchor))
    elif key:
        raise CommandFailed("--key is for a copy alone; the plane has its own keys", exit_code=Exit.USAGE)
    else:
        checked, keys = asyncio.run(_database(flags.settings(), _anchors(anchor)))
    for problem in checked.problems[:_SHOWN]:
        emit(str(problem))
    if len(checked.problems) > _SHOWN:
        say(f"and {len(checked.problems) - _SHOWN} more")
    waiting = f", {checked.waiting} wait to be sealed" if checked.waiting else ""
    say(f"checked {checked.records} records in {checked.checkpoints} checkpoints{waiting}")
    for name, public in keys.items():
        say(f"with the key {name}: {public.text}")
    if copy is not None and not key:
        say("which is the copy's own word: compare it with what compass audit verify prints on the plane")
    return Exit.NOT_TRUSTED if checked.problems else Exit.OK


@app.command
def export(*, after: int = 0, flags: PlaneFlags = NO_FLAGS) -> None:
    """Print all records that are sealed, with the checkpoints that seal them, as JSON lines.

    For example:

        compass audit export > audit.jsonl

    Kept elsewhere, the copy shows what is changed here later: `compass audit verify --anchor <copy>`. The plane may be
    up.

    Exit codes: 0 the records are on stdout, 1 the database cannot be used, 2 a setting was refused.

    Parameters
    ----------
    after
        Only what was sealed after the checkpoint of that number.
    """
    asyncio.run(_export(flags.settings(), after))


def _anchors(file: Path | None) -> Mapping[int, str]:
    from compass.audit.log import Copy, NotAnExport

    if file is None:
        return {}
    try:
        with file.open("rb") as lines:
            return Copy.read(lines).anchors()
    except (OSError, NotAnExport) as error:
        raise CommandFailed(f"{file} is no export that could be an anchor: {error}") from error


def _copy(
    file: Path, believed: tuple[str, ...], anchors: Mapping[int, str]
) -> "tuple[Checked, Mapping[str, PublicKey]]":
    from compass.audit.log import Copy, NotAnExport

    try:
        with file.open("rb") as lines:
            copy = Copy.read(lines)
            keys = {name: key for name, key in copy.keys.items() if not believed or key.text in believed}
            return copy.check(keys, anchors), keys
    except (OSError, NotAnExport) as error:
        raise CommandFailed(f"{file} cannot be checked: {error}") from error


async def _database(settings: Settings, anchors: Mapping[int, str]) -> "tuple[Checked, Mapping[str, PublicKey]]":
    from compass.audit.keys import Keys
    from compass.audit.log import check, one_snapshot
    from compass.audit.seal import ANCHOR, Anchor
    from compass.cli.plane_database import opened, vault

    own = Anchor(settings.data_folder / ANCHOR).read()
    if own is not None:
        anchors = {own[0]: own[1], **anchors}
    async with opened(settings) as database, database.transaction() as tx:
        await one_snapshot(tx)
        keys: Mapping[str, PublicKey] = await Keys.known(tx, vault(settings)) or {}
        return await check(tx, keys, anchors), keys


async def _export(settings: Settings, after: int) -> None:
    from compass.audit.keys import Keys
    from compass.audit.log import export as lines
    from compass.audit.log import one_snapshot
    from compass.cli.plane_database import opened, vault

    async with opened(settings) as database, database.transaction() as tx:
        await one_snapshot(tx)
        async for line in lines(tx, await Keys.known(tx, vault(settings)), after):
            sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()
