"""`compass label-def`: what values a label may have. There is one, that of `scenarios`: the names of the groups."""

import json
from typing import Final

from cyclopts import App

from compass.cli.failures import CommandFailed, Exit
from compass.cli.output import Column, Format, Output, detail, done, show
from compass.cli.speaking import HERE, DryRun, Json, Speaking, Where, speaking

app = App(name="label-def", help="Label definitions: the names of the groups, as older clients know them.")


def _values(row: object) -> list[str]:
    try:
        return list(json.loads(row["schema"])["items"]["enum"])  # type: ignore[index]  # a row of a table is a mapping
    except (TypeError, KeyError, ValueError):
        return []


COLUMNS: Final = (Column("key", "key"), Column("values", _values))


@app.command(name="list", alias="ls")
def list_definitions(*, output: Output = Format.TABLE, where: Where = HERE) -> None:
    """List the label definitions of the tenant.

    For example:

        compass label-def list

    Exit codes: 0 listed, 7 not allowed, 8 plane not reached, 9 not the pinned plane.
    """
    with speaking(where) as plane:
        show(plane.ask("LabelDefinitions"), output, COLUMNS)


@app.command
def get(key: str = "scenarios", *, output: Output = Format.TABLE, where: Where = HERE) -> None:
    """Show one label definition.

    For example:

        compass label-def get scenarios -o jsonpath=.schema

    Exit codes: 0 shown, 4 there is none; a tenant without groups has none.

    Parameters
    ----------
    key
        The label's key.
    """
    with speaking(where) as plane:
        detail(_one(plane, key), output, COLUMNS)


@app.command
def edit(
    key: str = "scenarios",
    *,
    add: tuple[str, ...] = (),
    remove: tuple[str, ...] = (),
    dry_run: DryRun = False,
    where: Where = HERE,
) -> None:
    """Create and remove groups by their names.

    For example:

        compass label-def edit --add retail --remove trial

    Exit codes: 0 changed, 4 there is none, 1 a group that was to be removed is not empty.

    Parameters
    ----------
    key
        The label's key.
    add
        A name to add; may be repeated.
    remove
        A name to remove; may be repeated.
    """
    with speaking(where, dry_run=dry_run) as plane:
        schema = json.loads(_one(plane, key)["schema"])
        names = [name for name in schema["items"]["enum"] if name not in remove]
        schema["items"]["enum"] = [*names, *(name for name in add if name not in names)]
        plane.change("UpdateLabelDefinition", {"in": {"key": key, "schema": json.dumps(schema)}})
    done(f"{key}: {', '.join(schema['items']['enum'])}")


def _one(plane: Speaking, key: str) -> Json:
    for each in plane.ask("LabelDefinitions"):
        if each["key"] == key:
            return dict(each)
    message = f"there is no definition of the label {key!r}"
    raise CommandFailed(message, exit_code=Exit.NOT_FOUND, hint="compass group create makes one")
