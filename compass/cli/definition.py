"""What `compass api` and `compass event` share: definitions with a specification, of an application."""

import json
import re
from pathlib import Path
from shlex import quote
from typing import Annotated, Any, Final

from cyclopts import Parameter

from compass.cli import find, specification
from compass.cli.confirm import confirm
from compass.cli.failures import CommandFailed, Exit
from compass.cli.output import Column, done, printable, say
from compass.cli.secret_input import read_text
from compass.cli.speaking import PAGE_SIZE, Json, Speaking, Where, given, speaking
from compass.errors import CompassError
from compass.landscape.kinds import API as API  # noqa: PLC0414  # handed on
from compass.landscape.kinds import EVENT as EVENT  # noqa: PLC0414  # handed on
from compass.landscape.kinds import Kind as Kind  # noqa: PLC0414  # handed on

SpecFile = Annotated[Path | None, Parameter(name="--spec", alias="-f", allow_leading_hyphen=True)]
Bundle = Annotated[str | None, Parameter(help="A bundle of the application, by name or id; in no bundle unless given.")]
Description = Annotated[str | None, Parameter(help="What people read.")]
Version = Annotated[str | None, Parameter(help="A semantic version, such as 1.2.3.")]
Group = Annotated[str | None, Parameter(help="What it is sorted by.")]
Named = Annotated[str, Parameter(help="A file, `-` for standard input; with --app, a name or id there.")]
OfApplication = Annotated[str | None, Parameter(help="The application whose definition is meant, by name or id.")]
AsText = Annotated[bool, Parameter(name="--text", help="Line by line, instead of by what it means.")]
OnlyBreaking = Annotated[bool, Parameter(name="--breaking", help="Only what breaks those who use it.")]
Revision = Annotated[int | None, Parameter(help="Compare with this revision, instead of with what is there.")]

_NAMED: Final = 20
"""Runtimes that are named to whoever added a definition."""
_FORMATS: Final = {".json": "JSON", ".yaml": "YAML", ".yml": "YAML", ".xml": "XML", ".edmx": "XML"}

COLUMNS: Final = (
    Column("name", "name"),
    Column("type", "spec.type"),
    Column("version", "version.value"),
    Column("target", "targetURL"),
    Column("fetched", "spec.fetchRequest.status.condition"),
    Column("description", "description", wide=True),
    Column("group", "group", wide=True),
    Column("id", "id"),
)
EVENT_COLUMNS: Final = tuple(column for column in COLUMNS if column.title != "target")
REVISIONS: Final = (
    Column("revision", "number"),
    Column("since", "createdAt"),
    Column("bytes", "size"),
    Column("format", "format"),
    Column("digest", "digest", wide=True),
)
DETAILS: Final = (
    *COLUMNS,
    Column("format", "spec.format"),
    Column("source", "spec.fetchRequest.url"),
    Column("fetch message", "spec.fetchRequest.status.message"),
)


def members(
    *, name: str | None = None, description: str | None, group: str | None, version: str | None, url: str | None = None
) -> Json:
    """What was given of a definition, its specification aside, as an input object."""
    whole = version and {"value": version}
    return given(name=name, description=description, group=group, version=whole, targetURL=url)


def listed(plane: Speaking, kind: Kind, application: str) -> list[Json]:
    """The definitions of an application, in bundles or not. Raises CommandFailed."""
    return plane.all(kind.listing, {"application": find.id_of(plane, find.APPLICATION, application)})


def one(plane: Speaking, kind: Kind, application: str, name: str) -> Json:
    """A definition by name or id, as the list has it. Raises CommandFailed."""
    named = find.Kind(kind.word, kind.listing, f"{kind.command} list --app {application}")
    return find.pick(listed(plane, kind, application), named, name, field="id" if find.is_id(name) else "name")


def with_specification(plane: Speaking, kind: Kind, application: str, name: str) -> Json:
    """The same with the text of its specification. Raises CommandFailed."""
    found = one(plane, kind, application, name)
    owner = find.id_of(plane, find.APPLICATION, application)
    answer = plane.ask(f"{kind.document}Specification", {"application": owner, "id": found["id"]})
    return {**found, **answer[kind.member]}


def specification_text(plane: Speaking, kind: Kind, application: str, name: str) -> str:
    """The text of its specification alone, without the last end of line. Raises CommandFailed when it has none."""
    found = with_specification(plane, kind, application, name)
    whole: str | None = (found["spec"] or {}).get("data")
    if whole is None:
        hint = f"{kind.command} update {name} --app {application} --spec FILE"
        raise CommandFailed(f"{name} has no specification", exit_code=Exit.NOT_FOUND, hint=hint)
    return whole.removesuffix("\n")


def add(
    plane: Speaking, kind: Kind, application: str, new: Json, *, bundle: str | None, file: Path | None, url: str | None
) -> Json:
    """Add a definition to an application, or to one of its bundles. Raises CommandFailed."""
    spec, said = _specification(kind, file, url)
    owner = find.id_of(plane, find.APPLICATION, application)
    whole = {**new, **given(spec=spec)}
    if bundle is None:
        made: Json = plane.change(f"Add{kind.document}ToApplication", {"application": owner, "in": whole})
    else:
        inside = plane.all("Bundles", {"application": owner}, inside="bundles")
        named = find.Kind("bundle", "Bundles", f"compass bundle list --app {application}")
        chosen = find.pick(inside, named, bundle, field="id" if find.is_id(bundle) else "name")
        made = plane.change(f"Add{kind.document}ToBundle", {"bundle": chosen["id"], "in": whole})
    done(f"{kind.word} {new['name']} added{said}")
    _tell_who_gets_it(plane, kind, owner, application, new["name"], is_inside=bundle is not None)
    say(f"→ {plane.context.url}/console/applications/{owner}/{kind.page}/{made['id']}")
    _fetched(made["spec"])
    return made


def _tell_who_gets_it(plane: Speaking, kind: Kind, owner: str, application: str, name: str, *, is_inside: bool) -> None:
    """Say which runtimes hear of a new definition. They get what is in bundles, with the credentials for them."""
    if not is_inside:
        say(f"  in no bundle, so agents of runtimes do not get it: {kind.command} add {quote(name)} --bundle NAME …")
        say(f"  compass bundle create NAME --app {quote(application)} makes one")
    elif seen_by := _runtimes(plane, owner):
        say(f"  visible to {printable(', '.join(seen_by))}")
    else:
        say(f"  no runtime shares a group with it yet: compass group add GROUP --app {quote(application)}")


def _runtimes(plane: Speaking, application: str) -> list[str]:
    """The runtimes that share a group with an application, as far as the caller may know."""
    try:
        groups = (plane.ask("ApplicationGroups", {"id": application}) or {"labels": {}})["labels"].get(
            "scenarios"
        ) or []
        meant = " || ".join(f'@ == "{name}"' for name in groups)
        shared = {"filter": [{"key": "scenarios", "query": f"$[*] ? ({meant})"}]}
        return [str(one["name"]) for one in plane.all("RuntimeNames", shared, limit=_NAMED)] if groups else []
    except CompassError:
        # The definition is there; whoever may not see runtimes is told of none.
        return []


def require_changes(kind: Kind, changes: Json, *, file: Path | None, url: str | None) -> None:
    """Raises CommandFailed when an update was given nothing to change."""
    if not changes and file is None and url is None:
        raise CommandFailed("nothing to change was given", exit_code=Exit.USAGE, hint=f"{kind.command} update --help")


def update(
    plane: Speaking,
    kind: Kind,
    application: str,
    name: str,
    changes: Json,
    *,
    file: Path | None,
    url: str | None,
    yes: bool,
) -> None:
    """Change what is given of a definition; the rest stays, its specification too. Raises CommandFailed.

    Says how the specification changes, and asks before it breaks those who use it.
    """
    spec, said = _specification(kind, file, url)
    found = one(plane, kind, application, name)
    kept = {key: found[key] for key in ("name", "description", "targetURL", "group") if found.get(key) is not None}
    version = {key: value for key, value in (found["version"] or {}).items() if value is not None}
    whole = {**kept, **given(version=version), **changes, **given(spec=spec)}
    identity = find.id_of(plane, find.APPLICATION, application)
    bundles = plane.ask("Application", {"id": identity})["bundles"]["data"]
    is_inside = any(found["id"] == each["id"] for one in bundles for each in one[f"{kind.member}s"]["data"])
    if spec is not None and "data" in spec:
        _ask_about(plane, kind, application, found, str(spec["data"]), yes=yes)
    document = f"Update{kind.document}" if is_inside else f"Update{kind.document}ForApplication"
    made = plane.change(document, {"id": found["id"], "in": whole})
    done(f"{kind.word} {found['name']} changed{said}")
    _fetched(made["spec"])


def _ask_about(plane: Speaking, kind: Kind, application: str, found: Json, after: str, *, yes: bool) -> None:
    """Say how a specification is about to change; ask before it breaks something. Raises CommandFailed."""
    before = (with_specification(plane, kind, application, found["name"])["spec"] or {}).get("data")
    changes = specification.compared(before, after) if before else []
    if changes is None:
        say("  its text changes; one of the two cannot be taken apart, so nobody knows what that breaks")
        return
    for line in specification.told(changes):
        say(line)
    breaking = sum(change.is_breaking for change in changes)
    if breaking:
        confirm(f"Change {found['name']} of {application}, which breaks {breaking} of what others may use", yes=yes)


def delete(plane: Speaking, kind: Kind, application: str, name: str, *, yes: bool) -> None:
    """Remove a definition, after asking. Raises CommandFailed."""
    found = one(plane, kind, application, name)
    confirm(f"Delete {found['name']} of {application}", ["runtimes see it no more"], yes=yes)
    plane.change(f"Delete{kind.document}", {"id": found["id"]})
    done(f"{kind.word} {found['name']} deleted")


def refetch(plane: Speaking, kind: Kind, application: str, name: str) -> None:
    """Fetch the specification of a definition again. Raises CommandFailed when that fails."""
    found = one(plane, kind, application, name)
    _fetched(plane.change(f"Refetch{kind.document}Specification", {"id": found["id"]}))
    done(f"{kind.word} {found['name']} fetched")


def differences(
    plane: Speaking,
    kind: Kind,
    application: str,
    name: str,
    *,
    file: Path | None,
    revision: int | None,
    as_text: bool,
    only_breaking: bool,
) -> Exit:
    """Print how a file differs from the specification that is there, or either from what it was once.

    Without a file, what is there is compared with what was. Raises CommandFailed.
    """
    if file is None and revision is None:
        raise CommandFailed("there is nothing to compare with", exit_code=Exit.USAGE, hint="--spec FILE, --revision N")
    found = with_specification(plane, kind, application, name)
    now = (found["spec"] or {}).get("data") or ""
    before = (now, name)
    if revision is not None:
        before = (once(plane, kind, application, found, revision), f"{name} {revision}")
    after = (now, name) if file is None else (read_text(file), str(file))
    return specification.differences(before, after, as_text=as_text, only_breaking=only_breaking)


def once(plane: Speaking, kind: Kind, application: str, found: Json, revision: int) -> str:
    """What the specification of a definition said at a revision. Raises CommandFailed."""
    asked = {"application": find.id_of(plane, find.APPLICATION, application), "id": found["id"], "number": revision}
    spec = plane.ask(f"{kind.document}Revision", asked)[kind.member]["spec"]
    if not spec or spec["revision"] is None:
        hint = f"{kind.command} revisions {found['name']} --app {application}"
        raise CommandFailed(f"there is no revision {revision} of {found['name']}", exit_code=Exit.NOT_FOUND, hint=hint)
    return str(spec["revision"]["data"])


def revisions(plane: Speaking, kind: Kind, application: str, name: str) -> list[Json]:
    """The revisions of a specification, newest first. Raises CommandFailed."""
    found = one(plane, kind, application, name)
    asked = {"application": find.id_of(plane, find.APPLICATION, application), "id": found["id"]}
    answer = plane.ask(f"{kind.document}Revisions", {**asked, "first": PAGE_SIZE})
    spec = answer[kind.member]["spec"]
    listed: list[Json] = spec["revisions"]["data"] if spec else []
    return listed


def text_of(where: Where, kind: Kind, name: str, application: str | None) -> tuple[str, str]:
    """The text of a file, or of a definition of the application; and what to call it. Raises CommandFailed."""
    if application is None:
        return read_text(Path(name)), name
    with speaking(where) as plane:
        return specification_text(plane, kind, application, name), name


def _specification(kind: Kind, file: Path | None, url: str | None) -> tuple[Json | None, str]:
    """The input for a specification, and what can be said of it. Raises CommandFailed."""
    if file is not None and url is not None:
        raise CommandFailed("--spec and --spec-url exclude each other", exit_code=Exit.USAGE)
    if url is not None:
        form = _FORMATS.get(Path(url.partition("?")[0]).suffix.lower(), "JSON")
        return {"type": kind.type_of(form), "format": form, "fetchRequest": {"url": url}}, ""
    return (None, "") if file is None else specification_of(kind, file)


def specification_of(kind: Kind, file: Path) -> tuple[Json, str]:
    """The input for the specification in a file, and what can be said of it. Raises CommandFailed."""
    text = read_text(file)
    form = _FORMATS.get(file.suffix.lower()) or _form_of(text)
    checked(text, form, str(file))
    standard = specification.standard_of(text)
    if standard is not None and standard.startswith("AsyncAPI") is not (kind is EVENT):
        other = API if kind is EVENT else EVENT
        message = f"{file} is {standard}, which describes no {kind.word}"
        raise CommandFailed(message, exit_code=Exit.USAGE, hint=f"{other.command} takes it")
    said = specification.summary(text, f"{kind.command} validate {file}")
    return {"type": kind.type_of(form), "format": form, "data": text}, f" ({said})" if said else ""


def _form_of(text: str) -> str:
    start = text.lstrip()[:1]
    return {"{": "JSON", "[": "JSON", "<": "XML"}.get(start, "YAML")


def checked(text: str, form: str, where: str) -> Any:
    """The document that the text holds; None for XML, which the plane looks at. Raises CommandFailed with the line."""
    try:
        if form == "JSON":
            return json.loads(text)
    except json.JSONDecodeError as problem:
        message = f"{where}:{problem.lineno}:{problem.colno}: {problem.msg}"
        raise CommandFailed(message, exit_code=Exit.USAGE) from None
    if form == "YAML":
        import yaml

        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as problem:
            mark = getattr(problem, "problem_mark", None)
            place = f"{where}:{mark.line + 1}:{mark.column + 1}" if mark is not None else where
            said = re.sub(r"\s+", " ", str(getattr(problem, "problem", problem)))
            raise CommandFailed(f"{place}: {said}", exit_code=Exit.USAGE) from None
    return None


def _fetched(spec: Json | None) -> None:
    """Raises CommandFailed when the plane has tried to fetch the specification in vain."""
    request = (spec or {}).get("fetchRequest")
    if request is not None and request["status"]["condition"] == "FAILED":
        why = request["status"]["message"] or "without a reason"
        message = f"{request['url']} could not be fetched: {why}"
        raise CommandFailed(message, hint="the definition is there, without it; refetch tries again")
