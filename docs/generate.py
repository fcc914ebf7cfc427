"""Writes docs/reference from the code, so that no page can say what the code does not do. Run by `make docs`.

Nothing is said here that stands elsewhere: settings, errors, scopes, commands, events and types are described where
they are declared. Only `docs/compatibility.toml` is written by hand, because it compares with somebody else's API.
"""
# ruff: noqa: INP001  # a script beside the pages it writes, not a package

import ast
import importlib
import inspect
import pkgutil
import sys
import tomllib
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib import resources
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, Final, get_args, get_origin, get_type_hints

import graphql

import compass
from compass.access.caller import Consumer
from compass.access.scopes import BY_CONSUMER
from compass.cli.explain import MEANINGS
from compass.cli.failures import Exit, exit_for
from compass.cli.main import app
from compass.commands import Declared, commands_in
from compass.director import change, notifications
from compass.errors import Code, CompassError
from compass.ids import TenantId
from compass.outbox.events import Event
from compass.reads.document import Schema
from compass.reads.plan import Query, Read
from compass.settings import LogFormat, Settings, describe

DOCS: Final = Path(__file__).parent
REFERENCE: Final = DOCS / "reference"
APIS: Final = ("director", "connector", "provisioner")

_GENERATED: Final = "<!-- Written by docs/generate.py; `make docs` writes it again. Change the code, not this page. -->"
_HERE: Final = {"data_folder": "`$XDG_DATA_HOME/compass`; `~/.local/share/compass` when that is not set"}
"""Defaults that depend on the machine, in words."""


def pages() -> dict[str, str]:
    """Every page of the reference by its file name."""
    _import_everything()
    apis = [api(name) for name in APIS]
    made = {
        "settings.md": settings(),
        "errors.md": errors(),
        "scopes.md": scopes(apis),
        "cli.md": command_line(),
        "events.md": events(),
        "schema.md": schema(apis),
        "compatibility.md": compatibility(apis),
    }
    return {"README.md": contents(made)} | made


def write() -> None:
    """Bring docs/reference up to date, and remove what is no longer made."""
    made = pages()
    for name, text in made.items():
        (REFERENCE / name).write_text(text, encoding="utf-8")
    for path in REFERENCE.glob("*.md"):
        if path.name not in made:
            path.unlink()


def contents(made: Mapping[str, str]) -> str:
    """The list of the pages, with their first sentences."""
    rows = []
    for name, text in made.items():
        title, _, first = text.split("\n\n")[:3]
        rows.append(f"| [{title.removeprefix('# ')}]({name}) | {_line(first)} |")
    table = "\n".join(["|||", "|---|---|", *rows])
    return _page("Reference", "Made from the code; it says what this version does.", table)


# --- settings ------------------------------------------------------------------------------------------------------


def settings() -> str:
    """Every setting: key, type, default, and the reason that stands beside it in the code."""
    source = Path(inspect.getfile(Settings)).read_text(encoding="utf-8")
    reasons = _attribute_docstrings(source)
    defaults = {one.key: one.value for one in describe(Settings())}
    parts = [
        _paragraphs("""
        Every setting, its default and its reason. A value comes from the first of: a flag, the environment, the
        file `compass.toml`, the default.

        `listen.token_port` is `COMPASS_LISTEN__TOKEN_PORT` in the environment, `token_port` under `[listen]` in the
        file, and `--set listen.token_port=…` as a flag. Any of them may be read from a file of its own:
        `COMPASS_DATABASE__DSN_FILE=/run/secrets/dsn`, or `dsn_file` under `[database]`. The file is the one that
        `--config` or `COMPASS_CONFIG` names, else the first that exists of `./compass.toml`,
        `$XDG_CONFIG_HOME/compass/compass.toml` and `/etc/compass/compass.toml`.

        A duration is a number with `ms`, `s`, `m`, `h` or `d`. A list is separated by commas in the environment and
        on the command line. Secrets are refused on the command line. Unknown names, wrong types and insecure values
        are refused at the start.
        """),
    ]
    hints = get_type_hints(Settings)
    top = [entry.name for entry in fields(Settings) if entry.name in defaults]
    parts.append(_settings_table("Settings", "", top, hints, defaults, reasons))
    for entry in fields(Settings):
        section = hints[entry.name]
        if isinstance(section, type) and section.__name__.endswith("Settings"):
            parts += [f"## {entry.name}", _text(section)]
            names = [inner.name for inner in fields(section)]
            inner_hints = get_type_hints(section)
            parts.append(_settings_table(section.__name__, f"{entry.name}.", names, inner_hints, defaults, reasons))
    return _page("Settings", *parts)


def _settings_table(
    section: str,
    prefix: str,
    names: Sequence[str],
    hints: Mapping[str, Any],
    defaults: Mapping[str, str],
    reasons: Mapping[tuple[str, str], str],
) -> str:
    rows = []
    for name in names:
        key = prefix + name
        default = _HERE.get(key) or (f"`{defaults[key]}`" if defaults[key] else "none")
        rows.append((f"`{key}`", _type_name(hints[name]), default, reasons[section, name]))
    return _table(("Setting", "Type", "Default", "Meaning and reason"), rows)


def _type_name(hint: Any) -> str:
    options = [one for one in get_args(hint) if one is not types.NoneType]
    if get_origin(hint) is tuple:
        return f"list: {_type_name(options[0])}"
    if IPv4Network in options:
        return "network, as CIDR"
    if options:
        return _type_name(options[0])
    if hint is LogFormat:
        return ", ".join(f"`{one}`" for one in LogFormat)
    return {"str": "text", "int": "number", "bool": "true or false", "timedelta": "duration", "Path": "path"}[
        hint.__name__
    ]


def _attribute_docstrings(source: str) -> dict[tuple[str, str], str]:
    """The texts below the attributes of the classes in a module, by class and attribute."""
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            for attribute, below in zip(node.body, node.body[1:], strict=False):
                match attribute, below:
                    case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                        found[node.name, name] = _line(text)
    return found


# --- errors --------------------------------------------------------------------------------------------------------


def errors() -> str:
    """Every code with its remedy, and every refusal with its sentence, by the part of the plane it comes from."""
    codes = [
        (f"{code.value}", f"`{code.wire_name}`", *MEANINGS[code], f"{exit_for(code).value}") for code in sorted(Code)
    ]
    parts = [
        _paragraphs("""
        Every code and every sentence with which the plane, its agent and its command line refuse.

        A refusal in a GraphQL answer is an entry of `errors` with the sentence as `message`, and `extensions` of
        `{"error": "NotFound", "error_code": 20}`. Facts that are not part of the sentence follow it in brackets:
        `Object not found [object=application]`. `compass explain 20` prints what stands here about a code.
        """),
        "## Codes",
        _table(("Code", "Name", "What it means", "What to do", "Exit code of `compass`"), codes),
    ]
    areas: dict[str, list[type[CompassError]]] = {}
    for error in sorted(_below(CompassError), key=lambda error: (error.__module__, error.__name__)):
        areas.setdefault(_area(error.__module__), []).append(error)
    parts += ["## Sentences", "A name in braces stands for a fact. *again* marks those that may pass by themselves."]
    for area, members in areas.items():
        parts.append(f"### {area}")
        rows = [
            (
                f"`{error.__name__}`",
                f"{error.code.value}{', *again*' if error.retryable else ''}",
                _line(error.message),
                _text(error),
            )
            for error in members
            if hasattr(error, "code")
        ]
        parts.append(_table(("Class", "Code", "Sentence", "When"), rows))
    return _page("Errors", *parts)


def _below(kind: type[CompassError]) -> Iterator[type[CompassError]]:
    for error in kind.__subclasses__():
        if error.__module__.split(".")[0] == compass.__name__:
            yield error
        yield from _below(error)


def _area(module: str) -> str:
    package, _, rest = module.removeprefix("compass.").partition(".")
    return package if rest else {"errors": "everywhere"}.get(package, package)


# --- the APIs ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Operation:
    """A query or mutation that is answered."""

    name: str
    kind: str
    scope: str
    in_tenant: bool

    @property
    def shown_scope(self) -> str:
        """The scope, or that there is none."""
        return f"`{self.scope}`" if self.scope else "none"


@dataclass(frozen=True)
class Api:
    """One of the three GraphQL APIs, as its schema and its nouns have it."""

    name: str
    schema: Schema
    operations: Mapping[str, Operation]
    reads: Sequence[Read]


def api(name: str) -> Api:
    """The API of a domain package, from the modules in it."""
    schema = Schema(resources.files(f"compass.{name}").joinpath("schema.graphql").read_text(encoding="utf-8"))
    nouns = [module for key, module in sorted(sys.modules.items()) if key.startswith(f"compass.{name}.")]
    operations = {}
    for query in (query for noun in nouns for query in getattr(noun, "QUERIES", ())):
        operations[query.name] = _of_query(query)
    for function in commands_in(*nouns):
        declared = next(value for value in vars(function).values() if isinstance(value, Declared))
        kind = "mutation" if declared.mutation in _roots(schema, "Mutation") else "query"
        operations[declared.mutation] = Operation(declared.mutation, kind, declared.scope, _works_in_tenant(function))
    reads = [read for noun in nouns for read in getattr(noun, "READS", ()) if isinstance(read, Read)]
    return Api(name, schema, operations, reads)


def _of_query(query: Query) -> Operation:
    return Operation(query.name, "query", query.scope, query.tenant)


def _works_in_tenant(command: Callable[..., Any]) -> bool:
    hints = get_type_hints(command)
    return hints[list(inspect.signature(command).parameters)[1]] is TenantId


def _roots(schema: Schema, root: str) -> Mapping[str, graphql.GraphQLField]:
    return schema.fields(root)


def scopes(apis: Sequence[Api]) -> str:
    """Which scope each operation needs, and which scopes each kind of caller has."""
    parts = [
        _paragraphs("""
        Which scope each query and mutation needs, and which scopes each kind of caller has.

        A paired client has the scopes of its kind. An access token has those of its client, or fewer when it was
        asked for with `scope`. Without the scope the answer is code 23. *Tenant* says whether the operation works
        inside one tenant: paired clients have theirs, others name it in the header `Tenant`; where it is *by case*,
        the operation looks at the caller itself.
        """),
    ]
    for each in apis:
        parts.append(f"## {each.name.title()}")
        rows = [
            (f"`{one.name}`", one.kind, one.shown_scope, "yes" if one.in_tenant else "by case")
            for one in sorted(each.operations.values(), key=lambda one: (one.kind == "mutation", one.name))
        ]
        parts.append(_table(("Operation", "Kind", "Scope", "Tenant"), rows))
    guarded = [
        (f"`{read.type}.{name}`", f"`{scope}`", what)
        for each in apis
        for read in each.reads
        for guards, what in ((read.sanitized, "is null"), (read.scoped, "is an error"))
        for name, scope in guards.items()
    ]
    parts += ["## Fields", _table(("Field", "Scope", "Without it"), sorted(guarded)), "## Callers", _callers()]
    return _page("Scopes", *parts)


def _callers() -> str:
    kinds = list(BY_CONSUMER)
    every = sorted({scope for held in BY_CONSUMER.values() for scope in held})
    names = {Consumer.STATIC_USER: "Administrator"}
    heading = ("Scope", *(names.get(kind, kind.value) for kind in kinds))
    rows = [(f"`{one}`", *("✓" if one in BY_CONSUMER[kind] else "" for kind in kinds)) for one in every]
    return _table(heading, rows)


def schema(apis: Sequence[Api]) -> str:
    """Every query, mutation and type with its description."""
    schemas = ", ".join(f"[{each.name}](../../compass/{each.name}/schema.graphql)" for each in apis)
    parts = [
        "Every query, mutation and type, with the description it has in the schema.",
        f"The schemas themselves: {schemas}. A plane answers introspection, so other tools can read them from it.",
    ]
    for each in apis:
        parts += [f"## {each.name.title()}", f"At `/{each.name}/graphql`."]
        for root, title in (("Query", "Queries"), ("Mutation", "Mutations")):
            rows = [
                (f"`{_signature(name, each.schema.fields(root)[name])}`", _said(each.schema.fields(root)[name]))
                for name in each.schema.fields(root)
            ]
            parts += [f"### {title} of the {each.name.title()}", _table((root, "What it does"), rows)]
        parts.append(f"### Types of the {each.name.title()}")
        for name, kind in each.schema.graphql.type_map.items():
            if name not in {"Query", "Mutation"} and not name.startswith("__") and kind.ast_node is not None:
                parts += _type(name, kind)
    return _page("Schema", *parts)


def _type(name: str, kind: graphql.GraphQLNamedType) -> Iterator[str]:
    match kind:
        case graphql.GraphQLEnumType():
            what, rows = "enum", [(f"`{value}`", _said(entry)) for value, entry in kind.values.items()]
        case graphql.GraphQLUnionType():
            what, rows = "union", [(f"`{member.name}`", "") for member in kind.types]
        case graphql.GraphQLInputObjectType():
            what = "input"
            rows = [(f"`{field}: {_with_default(entry)}`", _said(entry)) for field, entry in kind.fields.items()]
        case graphql.GraphQLObjectType() | graphql.GraphQLInterfaceType():
            what = "interface" if isinstance(kind, graphql.GraphQLInterfaceType) else "type"
            rows = [(f"`{_signature(field, entry)}`", _said(entry)) for field, entry in kind.fields.items()]
        case _:
            what, rows = "scalar", []
    yield f"#### `{what} {name}`"
    if kind.description:
        yield _line(kind.description)
    if any(said for _, said in rows):
        yield _table(("", ""), rows)
    elif rows:
        yield ", ".join(shown for shown, _ in rows)


def _signature(name: str, field: graphql.GraphQLField) -> str:
    arguments = ", ".join(f"{argument}: {_with_default(entry)}" for argument, entry in field.args.items())
    return f"{name}({arguments}): {field.type}" if arguments else f"{name}: {field.type}"


def _with_default(entry: graphql.GraphQLArgument | graphql.GraphQLInputField) -> str:
    node = entry.ast_node.default_value if entry.ast_node is not None else None
    return f"{entry.type} = {graphql.print_ast(node)}" if node is not None else f"{entry.type}"


def _said(entry: Any) -> str:
    said = _line(entry.description or "")
    reason = entry.deprecation_reason
    return f"{said} *Deprecated: {_line(reason)}*".strip() if reason else said


# --- what the original offered -------------------------------------------------------------------------------------


def compatibility(apis: Sequence[Api]) -> str:
    """Every operation of the original as *works*, *differs on purpose* or *not offered*; and what is ours alone."""
    compared = tomllib.loads((DOCS / "compatibility.toml").read_text(encoding="utf-8"))
    differs: Mapping[str, str] = compared["differs"]
    not_offered: Mapping[str, str] = compared["not_offered"]
    parts = [
        _paragraphs("""
        Every operation of the original Compass, and what a client written for it finds here.

        *works*: same arguments, same answer. *differs on purpose*: the same call works, and the reason says what is
        not the same. *not offered*: the schema has it, and it is refused with one clear error; the reason is there.

        Clients that still say *package* where it is *bundle* today, in fields, arguments, types and keys of inputs,
        are understood and answered under the names they used; only `__typename` answers with today's.
        """),
    ]
    known = set()
    for each in apis:
        parts.append(f"## {each.name.title()}")
        rows = []
        for kind in ("queries", "mutations"):
            for name in compared[each.name][kind]:
                key = f"{each.name}.{name}"
                state = "not offered" if key in not_offered else "differs on purpose" if key in differs else "works"
                said = not_offered.get(key) or differs.get(key, "")
                rows.append((f"`{name}`", {"queries": "query", "mutations": "mutation"}[kind], state, said))
                known.add(key)
        states = [row[2] for row in rows]
        counted = (
            f"{len(rows)} operations: {states.count('works')} work, {states.count('differs on purpose')} differ on "
            f"purpose, {states.count('not offered')} are not offered."
        )
        parts += [counted, _table(("Operation", "Kind", "Here", "What differs"), rows)]
        ours = [f"`{name}`" for name in sorted(each.operations) if f"{each.name}.{name}" not in known]
        if ours:
            parts.append(f"Only here: {', '.join(ours)}.")
    paths = [(f"`{one['path']}`", one["here"], one.get("said", "")) for one in compared["paths"]]
    parts += ["## Other paths", _table(("Path", "Here", "What differs"), paths)]
    if unknown := sorted((differs.keys() | not_offered.keys()) - known):
        raise ValueError(f"compatibility.toml explains operations that the original never had: {unknown}")
    return _page("Compatibility", *parts)


# --- command line and events ---------------------------------------------------------------------------------------


def command_line() -> str:
    """Every command with its flags, as its own help has it."""
    started_as = sys.argv
    # Cyclopts shows the program that it runs in, unless that is called like the documented one.
    sys.argv = ["compass"]
    for name in app:
        # What all commands inherit, as their help shows it; the pages are made without looking that far up.
        app[name].default_parameter = app.default_parameter
    try:
        text = app.generate_docs(output_format="markdown", heading_level=2)
    finally:
        sys.argv = started_as
    codes = [(f"{one.value}", one.name.lower().replace("_", " ")) for one in Exit]
    return _page(
        "Command line",
        "Every command of `compass`, its flags and its exit codes.",
        "Data goes to stdout and everything else to stderr. Secrets are read from standard input, a file or the "
        "environment, never from the command line.",
        "## Exit codes",
        _table(("Code", "Name"), codes),
        "\n".join(line.rstrip() for line in text.splitlines()).strip(),
    )


def events() -> str:
    """Every event of the outbox with its facts and its meaning, and what applications are told because of some."""
    told = {kind for kind, _ in notifications.Notifications("").reactions()}
    rows = []
    for name, kind in sorted(Event.known.items()):
        if kind.__module__.split(".")[0] == compass.__name__:
            facts = ", ".join(f"`{entry.name}`" for entry in fields(kind) if entry.name != "tenant")
            shown = change.SHOWN[kind]
            fed = f"{', '.join(f'`{one}`' for one in shown.subjects) or 'none'}; `{shown.scope}`"
            rows.append((f"`{name}`", facts or "none", _text(kind), "✓" if kind in told else "", fed))
    return _page(
        "Events",
        _paragraphs("""
        What the plane records about itself, in the transaction of the change.

        An event is a row of the table `outbox_event` with its name, its tenant and the facts below. The relay hands
        each one, once, to the parts of the plane that react to it. *Told* marks those of which
        applications and runtimes may be notified; who hears of what follows below, and how it arrives is in
        [the guide](../guide/notifications.md). *Feed* has the facts that [the change feed](../guide/change-feed.md)
        tells, and the scope that people need to be told.
        """),
        _table(("Event", "Facts", "Meaning", "Told", "Feed"), rows),
        "## Notifications",
        f"```text\n{_indented(notifications)}\n```",
    )


def _indented(module: types.ModuleType) -> str:
    """The table in a module's docstring."""
    lines = inspect.cleandoc(module.__doc__ or "").splitlines()
    return "\n".join(line.strip() for line in lines if line.startswith("    "))


# --- forms ---------------------------------------------------------------------------------------------------------


def _import_everything() -> None:
    for module in pkgutil.walk_packages(compass.__path__, "compass."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def _page(title: str, *parts: str) -> str:
    return "\n\n".join([f"# {title}", _GENERATED, *parts]) + "\n"


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _text(kind: type) -> str:
    """The docstring of a class without its sources, which are for those who change the code."""
    return _line(inspect.cleandoc(kind.__doc__ or "")).partition(" Source: ")[0]


def _paragraphs(text: str) -> str:
    return "\n\n".join(map(_line, text.strip().split("\n\n")))


def _line(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    write()
