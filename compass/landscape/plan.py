"""What has to change for the landscape to be as files say, step by step; see `manifest.py` for what they mean.

Computed from one reading of the landscape. An apply that was cut off is simply repeated: it does the rest.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from compass.client.failed import CommandFailed, Exit
from compass.landscape import labels, offers
from compass.landscape.conversation import Conversation, Json
from compass.landscape.manifest import Kind, Manifest
from compass.landscape.offers import named, shown
from compass.landscape.ownership import place_of
from compass.landscape.webhooks import KEPT, owned

_TYPES: Final = {Kind.APPLICATION: "APPLICATION", Kind.RUNTIME: "RUNTIME"}
_REGISTER: Final = {Kind.APPLICATION: "RegisterApplication", Kind.RUNTIME: "RegisterRuntime"}
_UNREGISTER: Final = {Kind.APPLICATION: "UnregisterApplication", Kind.RUNTIME: "UnregisterRuntime"}
_APART: Final = {"groups", "bundles", "apis", "events"}
"""What a document says that is made after the object itself."""
_APPLICATION_FIELDS: Final = ("description", "providerName", "baseUrl", "healthCheckURL")


_LOOK_AGAIN: Final = "compass diff shows how it differs now"


@dataclass
class Landscape:
    """What is there, by kind and name. Steps add the ids of what they make."""

    found: dict[Kind, dict[str, Json]]
    ids: dict[tuple[Kind, str], str] = field(default_factory=dict)

    def id_of(self, kind: Kind, name: str) -> str:
        """The id of something that is there, or was made by a step before."""
        return self.ids[kind, name]


Act = Callable[[Conversation, Landscape], object]


@dataclass(frozen=True)
class Step:
    """One change: `+` adds, `~` changes, `-` removes."""

    sign: str
    text: str
    act: Act
    group: str | None = None
    """The group that it is about, whose members may have to be told."""
    is_quiet: bool = False
    """It changes nothing that anybody sees, and is not spoken of."""

    @property
    def line(self) -> str:
        """What `diff` prints."""
        return f"{self.sign} {self.text}"


def quietly(items: Sequence[Json], _what: str) -> Iterable[Json]:
    """Goes through them and tells nobody."""
    return items


Progress = Callable[[Sequence[Json], str], Iterable[Json]]
"""Goes through items that take long, and may tell how far it is."""


def look(
    plane: Conversation, kinds: Iterable[Kind], *, offering: Callable[[str], bool], progress: Progress = quietly
) -> Landscape:
    """Read what is there of these kinds, and of the groups. As many calls as there are pages.

    Of applications whose names are `offering`, what they offer too: a few calls for each of them. Raises CommandFailed.
    """
    wanted = set(kinds)
    found: dict[Kind, dict[str, Json]] = {Kind.GROUP: _by_name(Kind.GROUP, plane.all("Groups"))}
    if Kind.INTEGRATION_SYSTEM in wanted:
        found[Kind.INTEGRATION_SYSTEM] = _by_name(Kind.INTEGRATION_SYSTEM, plane.all("IntegrationSystems"))
    for kind, word in ((Kind.APPLICATION, "application"), (Kind.RUNTIME, "runtime")):
        if kind in wanted:
            told = {row["id"]: owned(row, word) for row in plane.all(f"{kind}Webhooks")}
            rows = [{**row, "webhooks": told.get(row["id"], [])} for row in plane.all(f"{kind}s")]
            found[kind] = _by_name(kind, rows)
    wanting = [row for name, row in found.get(Kind.APPLICATION, {}).items() if offering(name)]
    for row in progress(wanting, "what applications offer"):
        row["offers"] = offers.offered(plane, row["id"], specifications=True)
    ids = {(kind, name): row["id"] for kind, rows in found.items() for name, row in rows.items()}
    return Landscape(found, ids)


Around = Callable[[Manifest, list[Step]], Iterable[Step]]
"""What is done before and after the steps of a document: gets them, and gives all."""


def steps(wanted: Sequence[Manifest], now: Landscape, around: Around = lambda _, own: own) -> list[Step]:
    """What has to be done, in an order that works.

    In the rows of `now`, `owners` may hold what to add to the text of a field that differs, by its name.
    """
    made = [step for one in wanted for step in around(one, list(_steps_of(one, now)))]
    asked = {one.name for one in wanted if one.kind is Kind.GROUP} | now.found[Kind.GROUP].keys()
    groups = sorted({name for one in wanted for name in one.says.get("groups", ())} - asked)
    return [*(_new_group(Manifest(Kind.GROUP, name, {}, "")) for name in groups), *made]


def pruned(wanted: Sequence[Manifest], now: Landscape, needed: Json) -> list[Step]:
    """Applications and runtimes that have all these labels and are in no document: what removes them."""
    if not needed:
        raise CommandFailed("--prune needs a label that says what is yours", exit_code=Exit.USAGE, hint="-l key=value")
    named = {(one.kind, one.name) for one in wanted}
    found = []
    for kind in (Kind.APPLICATION, Kind.RUNTIME):
        for name, row in now.found.get(kind, {}).items():
            has = row["labels"] or {}
            if (kind, name) not in named and all(has.get(key) == value for key, value in needed.items()):
                found += [_left(kind, name, group) for group in labels.groups(row)]
                found.append(Step("-", f"{_word(kind)} {name}", _unregistered(kind, name)))
    return found


def _by_name(kind: Kind, rows: Iterable[Json]) -> dict[str, Json]:
    named: dict[str, Json] = {}
    twice: set[str] = set()
    for row in rows:
        if row["name"] in named:
            twice.add(row["name"])
        named[row["name"]] = row
    if twice and kind is not Kind.RUNTIME:
        raise CommandFailed(f"several of kind {kind} are called {', '.join(sorted(twice))}", exit_code=Exit.CONFLICT)
    # Names of runtimes may be given twice; files can only speak of those that were given once.
    return {name: row for name, row in named.items() if name not in twice}


def _steps_of(one: Manifest, now: Landscape) -> Iterator[Step]:
    there = now.found.get(one.kind, {}).get(one.name)
    match one.kind:
        case Kind.INTEGRATION_SYSTEM:
            yield from _integration_system(one, there)
        case Kind.GROUP:
            if there is None:
                yield _new_group(one)
        case Kind.APPLICATION | Kind.RUNTIME:
            yield from _new(one) if there is None else _changes(one, there)


def _integration_system(one: Manifest, there: Json | None) -> Iterator[Step]:
    new = {"name": one.name, **one.says}
    if there is None:
        yield Step("+", f"integration system {one.name}", _sent("RegisterIntegrationSystem", {"in": new}))
    elif "description" in one.says and (there["description"] or "") != one.says["description"]:
        text = f"integration system {one.name}: description {shown(there['description'], one.says['description'])}"
        yield Step("~", text, _sent("UpdateIntegrationSystem", {"id": there["id"], "in": new}))


def _new_group(one: Manifest) -> Step:
    new = {"name": one.name, **({"templateName": one.says["template"]} if "template" in one.says else {})}
    return Step("+", f"group {one.name}", _sent("CreateGroup", {"in": new}))


def _new(one: Manifest) -> Iterator[Step]:
    new = {"name": one.name, **{key: value for key, value in one.says.items() if key not in _APART}}

    def act(plane: Conversation, landscape: Landscape) -> None:
        landscape.ids[one.kind, one.name] = plane.ask(_REGISTER[one.kind], {"in": new})["id"]

    yield Step("+", f"{_word(one.kind)} {one.name}", act)
    yield from _offers(one, None)
    yield from (_joined(one.kind, one.name, group) for group in one.says.get("groups", ()))


def _changes(one: Manifest, there: Json) -> Iterator[Step]:
    fields = _APPLICATION_FIELDS if one.kind is Kind.APPLICATION else ("description",)
    changed = {key: one.says[key] for key in fields if key in one.says and (there.get(key) or "") != one.says[key]}
    owners = there.get("owners", {})
    if changed:
        said = ", ".join(f"{key} {shown(there.get(key), value)}{owners.get(key, '')}" for key, value in changed.items())
        yield Step("~", f"{_word(one.kind)} {one.name}: {said}", _updated(one, there, changed))
    for key, value in one.says.get("labels", {}).items():
        before = (there["labels"] or {}).get(key)
        if before != value:
            text = f"{_word(one.kind)} {one.name}: label {key} {shown(before, value)}"
            text += owners.get(named("labels", key), "")
            yield Step("~", text, _labelled(one, there, key, value))
    if "groups" in one.says:
        inside, asked = set(labels.groups(there)), one.says["groups"]
        yield from (_joined(one.kind, one.name, group) for group in asked if group not in inside)
        yield from (_left(one.kind, one.name, group) for group in sorted(inside - set(asked)))
    if "webhooks" in one.says:
        yield from _webhooks(one, there)
    if "offers" in there:
        yield from _offers(one, there)


def _offers(one: Manifest, there: Json | None) -> Iterator[Step]:
    has: Json | None = there and there["offers"]
    ids = {bundle["name"]: bundle["id"] for bundle in (has or {}).get("bundles", ())}
    owners = there.get("owners", {}) if there else {}
    for sign, text, act in offers.changes(one.says, has, owners):

        def begin(plane: Conversation, landscape: Landscape, act: offers.Act = act) -> None:
            ids[""] = landscape.id_of(one.kind, one.name)
            act(plane, ids)

        yield Step(sign, f"{_word(one.kind)} {one.name}: {text}", begin)


def _updated(one: Manifest, there: Json, changed: Json) -> Act:
    def act(plane: Conversation, _: Landscape) -> object:
        now = _unchanged(plane, one, there, changed, lambda row: row)
        # Without its condition the plane would set the status back.
        new = {**changed, "statusCondition": now["status"]["condition"]}
        if one.kind is Kind.APPLICATION:
            return plane.ask("UpdateApplication", {"id": there["id"], "in": new})
        # An update of a runtime replaces its labels, so it says those again that it has just now.
        has = {key: value for key, value in (now["labels"] or {}).items() if key != "scenarios"}
        return plane.ask("UpdateRuntime", {"id": there["id"], "in": {"name": one.name, "labels": has, **new}})

    return act


def _labelled(one: Manifest, there: Json, key: str, value: Any) -> Act:
    def act(plane: Conversation, _: Landscape) -> object:
        _unchanged(plane, one, there, {key: value}, lambda row: row["labels"] or {})
        return plane.ask(f"Set{one.kind}Label", {_word(one.kind): there["id"], "key": key, "value": value})

    return act


def _unchanged(plane: Conversation, one: Manifest, there: Json, changed: Json, where: Callable[[Json], Json]) -> Json:
    """The object just now, if what is to be changed is still as it was when that was planned.

    Raises CommandFailed with both values, exit code 6.
    """
    now: Json | None = plane.ask(str(one.kind), {"id": there["id"]})
    if now is None:
        raise CommandFailed(f"{_word(one.kind)} {one.name} is gone", exit_code=Exit.CONFLICT, hint=_LOOK_AGAIN)
    for key, value in changed.items():
        before, present = where(there).get(key), where(now).get(key)
        if present not in (before, value):
            message = f"{_word(one.kind)} {one.name}: somebody changed {key} meanwhile, {shown(before, present)}; "
            message += f"{one.place} says {shown(None, value).partition('→ ')[2]}"
            raise CommandFailed(message, exit_code=Exit.CONFLICT, hint=_LOOK_AGAIN)
    return now


def _joined(kind: Kind, name: str, group: str) -> Step:
    def act(plane: Conversation, landscape: Landscape) -> None:
        member = {"object": landscape.id_of(kind, name), "type": _TYPES[kind], "name": group}
        plane.ask("AssignToGroup", member)

    return Step("+", f"{_word(kind)} {name} in group {group}", act, group)


def label_removed(kind: Kind, row: Json, key: str) -> Step:
    """A label of an application or runtime is taken away."""
    variables = {_word(kind): row["id"], "key": key}
    return Step("-", f"{_word(kind)} {row['name']}: label {key}", _sent(f"Delete{kind}Label", variables))


def _left(kind: Kind, name: str, group: str) -> Step:
    def act(plane: Conversation, landscape: Landscape) -> None:
        member = {"object": landscape.id_of(kind, name), "type": _TYPES[kind], "name": group}
        plane.ask("UnassignFromGroup", member)

    return Step("-", f"{_word(kind)} {name} in group {group}", act, group)


def _unregistered(kind: Kind, name: str) -> Act:
    return lambda plane, landscape: plane.ask(_UNREGISTER[kind], {"id": landscape.id_of(kind, name)})


def _webhooks(one: Manifest, there: Json) -> Iterator[Step]:
    """Webhooks are told apart by their type and where they lead."""
    now = {_place_of(webhook): webhook for webhook in there["webhooks"]}
    asked = {_place_of(webhook): webhook for webhook in one.says["webhooks"]}
    whose = f"{_word(one.kind)} {one.name}: webhook"
    for place, webhook in asked.items():
        which = f"{whose} {' '.join(place)}"
        if place not in now:
            yield Step("+", which, _sent("AddWebhook", {_word(one.kind): there["id"], "in": webhook}))
            continue
        before = now[place]
        differ = [key for key, value in webhook.items() if key in KEPT and before.get(key) != value]
        if differ:
            kept = {key: before[key] for key in KEPT if before[key] is not None}
            by = {key: there.get("owners", {}).get(named("webhooks", place_of(webhook), key), "") for key in differ}
            said = ", ".join(f"{key} {shown(before.get(key), webhook[key])}{by[key]}" for key in differ)
            yield Step("~", f"{which}: {said}", _sent("UpdateWebhook", {"id": before["id"], "in": kept | webhook}))
    for place in sorted(now.keys() - asked.keys()):
        yield Step("-", f"{whose} {' '.join(place)}", _sent("DeleteWebhook", {"id": now[place]["id"]}))


def _sent(document: str, variables: Json) -> Act:
    return lambda plane, _: plane.ask(document, variables)


def _place_of(webhook: Json) -> tuple[str, str]:
    return webhook["type"], webhook.get("url") or webhook.get("urlTemplate") or ""


def _word(kind: Kind) -> str:
    return kind.lower()
