"""Who says what of an object: its fields by name, what files own of them, and what somebody else changed meanwhile.

A field has one name in a document and in the plane: `description`, `labels.team`, `groups.retail`,
`bundles.orders.apis.orders-v1.targetURL`. A list is a field, `groups`, and so is each of its entries: whoever says the
list owns also that there are no others. The plane keeps digests of what each manager applied last; what is there now is
compared with them. See docs/adr/0024-files-know-what-they-own.md.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from compass.landscape import labels
from compass.landscape.conversation import Json
from compass.landscape.manifest import Manifest
from compass.landscape.offers import LISTS, OFFERED, named
from compass.landscape.webhooks import KEPT

_EMPTIED: Final = {"description", "providerName", "group"}
"""What can be emptied. A URL, a version or a specification can only be replaced: it stays when no file says it."""
_PLACE: Final = {"type", "url", "urlTemplate"}


@dataclass(frozen=True)
class Field:
    """A field of an object, and where it is in it."""

    value: Any
    """True for a list, and for an entry of one."""
    inside: str | None = None
    """The entry of a list that has it; None for the object itself."""
    list_: str | None = None
    """For an entry: its list."""


Fields = Mapping[str, Field]


def fields(says: Json) -> dict[str, Field]:
    """The fields that a document says; or those of what is there, given as a document would say all of it."""
    found: dict[str, Field] = {}
    for key, value in says.items():
        match key:
            case "labels":
                found |= {named("labels", each): Field(one) for each, one in value.items()}
            case "groups":
                found |= _listed(("groups",), [(name, {}) for name in value])
            case "webhooks":
                told = [(place_of(each), {name: each[name] for name in KEPT if name in each}) for each in value]
                found |= _listed(
                    ("webhooks",), [(place, {n: v for n, v in one.items() if n not in _PLACE}) for place, one in told]
                )
            case "bundles" | "apis" | "events":
                found |= _offered((key,), value, None)
            case "template":
                pass  # a group keeps the one that it was created with
            case _:
                found[key] = Field(value)
    return found


def there(row: Json) -> Json:
    """An application or runtime as a document would say all of it."""
    own = {key: row.get(key) for key in ("description", "providerName", "baseUrl", "healthCheckURL")}
    every = {key: value for key, value in (row["labels"] or {}).items() if key != "scenarios"}
    lists = {"labels": every, "groups": labels.groups(row), "webhooks": row["webhooks"]}
    return own | lists | (row.get("offers") or {})


def place_of(webhook: Json) -> str:
    """What tells one webhook of an object from the others. Its address may hold secrets, and many see names."""
    address = webhook.get("url") or webhook.get("urlTemplate") or ""
    return f"{webhook['type']} {sha256(address.encode()).hexdigest()[:12]}"


def _listed(
    place: tuple[str, ...], entries: Iterable[tuple[str, Json]], inside: str | None = None
) -> Iterator[tuple[str, Field]]:
    whole = named(*place)
    yield whole, Field(value=True, inside=inside)
    for entry, members in entries:
        name = named(*place, entry)
        yield name, Field(value=True, inside=inside, list_=whole)
        yield from ((named(*place, entry, member), Field(value, inside=name)) for member, value in members.items())


def _offered(place: tuple[str, ...], entries: Sequence[Json], inside: str | None) -> Iterator[tuple[str, Field]]:
    own = [(each["name"], _members(each)) for each in entries]
    yield from _listed(place, own, inside)
    for each in entries:
        for key in LISTS:
            if key in each:
                yield from _offered((*place, each["name"], key), each[key], named(*place, each["name"]))


def _members(entry: Json) -> Json:
    found: Json = {key: entry[key] for key in ("description", "targetURL", "group") if key in entry}
    if entry.get("version"):
        found["version"] = entry["version"]["value"]
    if entry.get("spec"):
        spec = entry["spec"]
        source = {"url": spec["fetchRequest"]["url"]} if spec.get("fetchRequest") else {"data": spec.get("data")}
        found["spec"] = {"type": spec["type"], "format": spec["format"], **source}
    return found


def digest(identity: str, name: str, value: Any) -> str:
    """Of the value of a field: of no use for another object, or another field. Nothing, null and "" are the same."""
    text = json.dumps([identity, name, _plain(value)], sort_keys=True, separators=(",", ":"))
    return f"sha256:{sha256(text.encode()).hexdigest()}"


def _plain(value: Any) -> Any:
    match value:
        case None:
            return ""
        case float() if value.is_integer():
            return int(value)  # the plane may spell a number otherwise
        case Mapping():
            return {str(name): _plain(inner) for name, inner in value.items()}
        case list():
            return [_plain(inner) for inner in value]
        case _:
            return value


# --- what is the case ----------------------------------------------------------------------------------------------


class Owners:
    """Who applied which fields of one object."""

    def __init__(self, identity: str, rows: Iterable[Json]) -> None:
        self.identity = identity
        self._by_field: dict[str, dict[str, set[str]]] = {}
        self._plain: dict[str, dict[str, Json]] = {}
        for row in rows:
            said = {row["digest"], row["replaces"]} - {None}
            self._by_field.setdefault(row["name"], {})[row["manager"]] = said
            self._plain.setdefault(row["manager"], {})[row["name"]] = row

    def of(self, name: str, list_: str | None = None) -> Mapping[str, set[str]]:
        """The managers of a field, with the digests that are theirs. Whoever owns the list of an entry is one."""
        found = dict(self._by_field.get(name, {}))
        for manager in self._by_field.get(list_ or "", {}):
            found.setdefault(manager, {digest(self.identity, name, None)})
        return found

    def said_by(self, manager: str) -> Mapping[str, Json]:
        """The fields that a manager applied, as recorded."""
        return self._plain.get(manager, {})

    def all(self) -> Mapping[str, Sequence[str]]:
        """The managers of each field that has some."""
        return {name: sorted(whose) for name, whose in self._by_field.items()}

    def lost_by_others(self, manager: str, said: Mapping[str, str]) -> bool:
        """Whether another manager is recorded with another value of one of these."""
        return any(
            other != manager and said[name] not in digests
            for name in said.keys() & self._by_field.keys()
            for other, digests in self._by_field[name].items()
        )


@dataclass(frozen=True)
class Conflict:
    """A field that a file would change and somebody else changed or owns."""

    name: str
    wanted: Any
    """None for an entry that the file does not have."""
    present: Any
    """None for what is not there."""
    owners: tuple[str, ...]
    """Who applied what is there, other than us; empty when it is what nobody applied."""
    applied_by: tuple[str, ...]
    """Who applied another value before that."""

    @property
    def reason(self) -> str:
        """Whose it is, for people."""
        if self.owners:
            return f"owned by {', '.join(self.owners)}"
        return f"changed since {', '.join(self.applied_by)} applied it"


@dataclass(frozen=True)
class Judged:
    """What a document means for an object that is there."""

    says: Json
    """What the document says, and what is emptied because it says it no more."""
    labels_gone: tuple[str, ...]
    conflicts: tuple[Conflict, ...]
    under_way: tuple[Json, ...]
    """What to record before anything is changed: the new values, and those that they replace."""
    done: tuple[Json, ...]
    """What to record when it is done."""
    is_recorded: bool
    """Whether that is recorded already."""


def judge(one: Manifest, row: Json, owners: Owners, manager: str) -> Judged:
    """Compare a document with what is there and with who applied what. Nothing is sent."""
    wanted, present = fields(one.says), fields(there(row))
    mine = owners.said_by(manager)
    changing: dict[str, tuple[Any, Any]] = {name: (field.value, _at(present, name)) for name, field in wanted.items()}
    changing |= {
        name: (None, field.value)
        for name, field in present.items()
        if field.list_ in wanted and name not in wanted  # a list that is mentioned is the whole list
    }
    conflicts = [
        conflict
        for name, (new, old) in changing.items()
        if (conflict := _conflict(name, new, old, wanted.get(name) or present[name], present, owners, manager))
    ]
    gone = {name for name in mine if _is_given_back(name, wanted, present, owners, manager)}
    changing |= {name: (None, present[name].value) for name in gone}
    done = {name: digest(owners.identity, name, field.value) for name, field in wanted.items()}
    return Judged(
        says=_without(one.says, there(row), gone),
        labels_gone=tuple(key for key in sorted(row["labels"] or {}) if named("labels", key) in gone),
        conflicts=tuple(conflicts),
        under_way=tuple(_under_way(owners.identity, changing)),
        done=tuple({"name": name, "digest": each} for name, each in sorted(done.items())),
        is_recorded={name: (said["digest"], said["replaces"]) for name, said in mine.items()}
        == {name: (each, None) for name, each in done.items()}
        and not owners.lost_by_others(manager, done),
    )


def first_said(one: Manifest, identity: str) -> tuple[Json, ...]:
    """What to record of an object that was just made as a document says."""
    return tuple(
        {"name": name, "digest": digest(identity, name, field.value)}
        for name, field in sorted(fields(one.says).items())
    )


def _at(present: Fields, name: str) -> Any:
    return present[name].value if name in present else None


def _is_same(one: Any, other: Any) -> bool:
    return bool((None if one == "" else one) == (None if other == "" else other))


def _conflict(
    name: str, new: Any, old: Any, field: Field, present: Fields, owners: Owners, manager: str
) -> Conflict | None:
    if _is_same(new, old) or (field.inside is not None and field.inside not in present):
        return None  # what is inside something that is not there comes with it
    known = owners.of(name, field.list_)
    now = digest(owners.identity, name, old)
    holders = tuple(sorted(one for one, digests in known.items() if one != manager and now in digests))
    if not holders and (not known or now in known.get(manager, ())):
        return None
    return Conflict(name, new, old, holders, tuple(sorted(known)))


def _is_given_back(name: str, wanted: Fields, present: Fields, owners: Owners, manager: str) -> bool:
    """Whether we applied what is there, nobody else did, and the document says nothing of it any more."""
    field = present.get(name)
    if field is None or name in wanted or field.list_ in wanted:
        return False
    if (field.inside is not None and field.inside not in wanted) or not _can_go(name, field):
        return False
    now = digest(owners.identity, name, field.value)
    known = owners.of(name)
    return not _is_same(field.value, None) and [one for one, digests in known.items() if now in digests] == [manager]


def _can_go(name: str, field: Field) -> bool:
    return field.list_ is not None or name.startswith("labels") or name.rpartition(".")[2] in _EMPTIED


def _under_way(identity: str, changing: Mapping[str, tuple[Any, Any]]) -> Iterator[Json]:
    for name, (new, old) in sorted(changing.items()):
        entry = {"name": name, "digest": digest(identity, name, new)}
        yield entry if _is_same(new, old) else entry | {"replaces": digest(identity, name, old)}


# --- what is given back --------------------------------------------------------------------------------------------


def _without(says: Json, now: Json, gone: set[str]) -> Json:
    """What a document says, and besides that what it owned and says no more is empty. Labels are not part of it."""
    if not gone:
        return says
    emptied: Json = {key: "" for key in ("description", "providerName") if key in gone}
    lists: Json = {}
    for key, name_of, bare in _BARE:
        kept = [bare(each) for each in now.get(key, ()) if named(key, name_of(each)) not in gone]
        if key not in says and len(kept) < len(now.get(key, ())):
            lists[key] = kept
    return {**says, **emptied, **lists, **_offers_without(says, now, gone)}


def _bare_webhook(webhook: Json) -> Json:
    return {key: webhook[key] for key in _PLACE if webhook.get(key)}


def _bare_offer(offer: Json) -> Json:
    return {"name": offer["name"]}


_BARE: Final[Sequence[tuple[str, Callable[[Any], str], Callable[[Any], Any]]]] = (
    ("groups", str, str),
    ("webhooks", place_of, _bare_webhook),
    *((key, lambda offer: offer["name"], _bare_offer) for key in sorted(OFFERED)),
)
"""Each list, how its entries are named, and an entry of which nothing is said but that it is there."""


def _offers_without(says: Json, now: Json, gone: set[str]) -> Json:
    return {
        key: [_offer_without((key,), each, {one["name"]: one for one in now.get(key, ())}, gone) for each in says[key]]
        for key in sorted(OFFERED & says.keys())
    }


def _offer_without(place: tuple[str, ...], said: Json, now: Mapping[str, Json], gone: set[str]) -> Json:
    name = said["name"]
    made = said | {key: "" for key in ("description", "group") if named(*place, name, key) in gone}
    for key in LISTS:
        before = {one["name"]: one for one in now.get(name, {}).get(key, ())}
        inner = (*place, name, key)
        if key in said:
            made[key] = [_offer_without(inner, each, before, gone) for each in said[key]]
        elif any(named(*inner, each) in gone for each in before):
            made[key] = [_bare_offer(one) for each, one in before.items() if named(*inner, each) not in gone]
    return made
