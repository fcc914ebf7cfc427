"""What `compass api` and `compass event` share: definitions with a specification, of an application."""

import difflib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import Parameter

from compass.cli import find
from compass.cli.confirm import confirm
from compass.cli.failures import CommandFailed, Exit
from compass.cli.output import Column, done, emit
from compass.cli.secret_input import read_text
from compass.cli.speaking import Json, Speaking, given

SpecFile = Annotated[Path | None, Parameter(name="--spec", alias="-f", allow_leading_hyphen=True)]
Bundle = Annotated[str | None, Parameter(help="A bundle of the application, by name or id; in no bundle unless given.")]
Description = Annotated[str | None, Parameter(help="What people read.")]
Version = Annotated[str | None, Parameter(help="A semantic version, such as 1.2.3.")]
Group = Annotated[str | None, Parameter(help="What it is sorted by.")]

_FORMATS: Final = {".json": "JSON", ".yaml": "YAML", ".yml": "YAML", ".xml": "XML", ".edmx": "XML"}
_METHODS: Final = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}

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
DETAILS: Final = (
    *COLUMNS,
    Column("format", "spec.format"),
    Column("source", "spec.fetchRequest.url"),
    Column("fetch message", "spec.fetchRequest.status.message"),
)


def _operations(document: Json) -> int:
    """Of an OpenAPI document."""
    paths = document.get("paths")
    items = paths.values() if isinstance(paths, dict) else ()
    return sum(method in _METHODS for item in items if isinstance(item, dict) for method in item)


def _channels(document: Json) -> int:
    """Of an AsyncAPI document."""
    channels = document.get("channels")
    return len(channels) if isinstance(channels, dict) else 0


@dataclass(frozen=True)
class Kind:
    """One of the two kinds of definitions: what it is called, and where."""

    word: str
    command: str
    member: str
    """Of `Application` and of `Bundle`."""
    listing: str
    """The document that lists them."""
    document: str
    """What the names of its other documents end with."""
    columns: Sequence[Column]
    """Of its list."""
    type: str
    """Of its specifications, unless they are XML."""
    xml_type: str
    unit: str
    """What is counted in a specification."""
    count: Callable[[Json], int]

    def type_of(self, form: str) -> str:
        """The type of a specification in that format."""
        return self.xml_type if form == "XML" else self.type


API: Final = Kind(
    word="API",
    command="compass api",
    member="apiDefinition",
    listing="Apis",
    document="Api",
    columns=COLUMNS,
    type="OPEN_API",
    xml_type="ODATA",
    unit="operations",
    count=_operations,
)
EVENT: Final = Kind(
    word="event definition",
    command="compass event",
    member="eventDefinition",
    listing="EventDefinitions",
    document="EventDefinition",
    columns=tuple(column for column in COLUMNS if column.title != "target"),
    type="ASYNC_API",
    xml_type="ASYNC_API",
    unit="channels",
    count=_channels,
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
    _fetched(made["spec"])
    return made


def require_changes(kind: Kind, changes: Json, *, file: Path | None, url: str | None) -> None:
    """Raises CommandFailed when an update was given nothing to change."""
    if not changes and file is None and url is None:
        raise CommandFailed("nothing to change was given", exit_code=Exit.USAGE, hint=f"{kind.command} update --help")


def update(
    plane: Speaking, kind: Kind, application: str, name: str, changes: Json, *, file: Path | None, url: str | None
) -> None:
    """Change what is given of a definition; the rest stays, its specification too. Raises CommandFailed."""
    spec, said = _specification(kind, file, url)
    found = one(plane, kind, application, name)
    kept = {key: found[key] for key in ("name", "description", "targetURL", "group") if found.get(key) is not None}
    version = {key: value for key, value in (found["version"] or {}).items() if value is not None}
    whole = {**kept, **given(version=version), **changes, **given(spec=spec)}
    identity = find.id_of(plane, find.APPLICATION, application)
    bundles = plane.ask("Application", {"id": identity})["bundles"]["data"]
    is_inside = any(found["id"] == each["id"] for one in bundles for each in one[f"{kind.member}s"]["data"])
    document = f"Update{kind.document}" if is_inside else f"Update{kind.document}ForApplication"
    made = plane.change(document, {"id": found["id"], "in": whole})
    done(f"{kind.word} {found['name']} changed{said}")
    _fetched(made["spec"])


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


def required(file: Path | None) -> Path:
    """The file to compare with. Raises CommandFailed when there is none."""
    if file is None:
        raise CommandFailed("there is no file to compare with", exit_code=Exit.USAGE, hint="--spec FILE")
    return file


def differences(plane: Speaking, kind: Kind, application: str, name: str, file: Path) -> Exit:
    """Print how a file differs from the specification that is there: the exit code says whether it does."""
    found = with_specification(plane, kind, application, name)
    now = ((found["spec"] or {}).get("data") or "").splitlines()
    lines = list(difflib.unified_diff(now, read_text(file).splitlines(), found["name"], str(file), lineterm=""))
    for line in lines:
        emit(line)
    return Exit.DIFFERENCES if lines else Exit.OK


def _specification(kind: Kind, file: Path | None, url: str | None) -> tuple[Json | None, str]:
    """The input for a specification, and what can be said of it. Raises CommandFailed."""
    if file is not None and url is not None:
        raise CommandFailed("--spec and --spec-url exclude each other", exit_code=Exit.USAGE)
    if url is not None:
        form = _FORMATS.get(Path(url.partition("?")[0]).suffix.lower(), "JSON")
        return {"type": kind.type_of(form), "format": form, "fetchRequest": {"url": url}}, ""
    if file is None:
        return None, ""
    text = read_text(file)
    form = _FORMATS.get(file.suffix.lower()) or _form_of(text)
    document = checked(text, form, str(file))
    count = kind.count(document) if isinstance(document, dict) else 0
    return {"type": kind.type_of(form), "format": form, "data": text}, f" ({count} {kind.unit})" if count else ""


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
