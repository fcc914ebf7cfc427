"""What an application offers, as files: the lists `bundles`, `apis` and `events` of its document.

A list that is mentioned is the whole list. `apis` and `events` of the document itself are those in no bundle.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from compass.client.failed import CommandFailed
from compass.landscape.conversation import Conversation, Json
from compass.landscape.kinds import API, EVENT, Kind
from compass.landscape.meant import meant

LISTS: Final[Mapping[str, Kind]] = {"apis": API, "events": EVENT}
"""The lists of definitions, in a bundle and beside the bundles."""
OFFERED: Final = frozenset({"bundles", *LISTS})
"""What a document says of offers."""
_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "bundles": ("name", "description", *LISTS),
    "apis": ("name", "description", "targetURL", "group", "version", "spec"),
    "events": ("name", "description", "group", "version", "spec"),
}
_OWN: Final = ("description", "targetURL", "group")
_MOST: Final = 200
"""Of what one call reads of an application's bundles, and of one bundle. What has more is not guessed at."""


def checked(says: Json, specification: Callable[[Kind, str], Json]) -> Json:
    """What a document says of offers, with its specifications read; `specification` reads those in files.

    Raises ValueError with what is wrong, CommandFailed for a file.
    """
    read = {name: [_definition(name, each, specification) for each in says[name]] for name in LISTS if name in says}
    if "bundles" in says:
        read["bundles"] = [_bundle(each, specification) for each in says["bundles"]]
    for name, entries in read.items():
        _once(name, entries)
    return read


def _bundle(entry: Any, specification: Callable[[Kind, str], Json]) -> Json:
    known = _known("bundles", entry)
    lists = [name for name in LISTS if name in known]
    return known | {name: [_definition(name, each, specification) for each in known[name]] for name in lists}


def _definition(list_name: str, entry: Any, specification: Callable[[Kind, str], Json]) -> Json:
    known = _known(list_name, entry)
    if "version" in known:
        known["version"] = {"value": str(known["version"])}
    if "spec" in known:
        known["spec"] = _specification(LISTS[list_name], known["spec"], specification)
    if list_name == "apis" and not known.get("targetURL"):
        raise ValueError(f"API {known['name']!r} has no `targetURL`, where it is called")
    return known


def _known(list_name: str, entry: Any) -> Json:
    match entry:
        case {"name": str()}:
            fields = _FIELDS[list_name]
        case _:
            raise ValueError(f"an entry of `{list_name}` is an object with a `name`")
    for key in entry:
        if key not in fields:
            hint = meant(str(key), fields) or f"there are: {', '.join(fields)}"
            raise ValueError(f"{entry['name']!r} in `{list_name}` has no {key!r}; {hint}")
    for key in LISTS:
        if key in entry and not isinstance(entry[key], list):
            raise ValueError(f"`{key}` of {entry['name']!r} is no list")
    return dict(entry)


def _once(list_name: str, entries: Iterable[Json]) -> None:
    seen: set[str] = set()
    for entry in entries:
        if entry["name"] in seen:
            raise ValueError(f"{entry['name']!r} is twice in `{list_name}`")
        seen.add(entry["name"])
        for name in LISTS:
            _once(name, entry.get(name, ()))


def _specification(kind: Kind, said: Any, in_file: Callable[[Kind, str], Json]) -> Json:
    match said:
        case str():
            return in_file(kind, said)
        case {"url": str(url)}:
            form = said.get("format", "JSON")
            return {"type": said.get("type", kind.type_of(form)), "format": form, "fetchRequest": {"url": url}}
        case {"data": str(data)}:
            form = said.get("format", "YAML")
            return {"type": said.get("type", kind.type_of(form)), "format": form, "data": data}
        case _:
            raise ValueError("`spec` is the name of a file, or an object with `url` or `data`")


# --- what is there -------------------------------------------------------------------------------------------------


def offered(plane: Conversation, application: str, *, specifications: bool) -> Json:
    """What an application offers, in the form of `checked`, with the ids. Raises CommandFailed when it is too much.

    Four calls, and with `specifications` one for each that there is.
    """
    contents = plane.ask("Application", {"id": application})["bundles"]
    _all_of(contents, "bundles of the application")
    bundles = {row["id"]: {**row, "apis": [], "events": []} for row in _bundles(plane, application)}
    found: Json = {"bundles": list(bundles.values()), "apis": [], "events": []}
    for name, kind in LISTS.items():
        inside: dict[str, str] = {}
        for bundle in contents["data"]:
            page = bundle[f"{kind.member}s"]
            _all_of(page, f"{name} of bundle {bundle['name']}")
            inside |= {each["id"]: bundle["id"] for each in page["data"]}
        for row in plane.all(kind.listing, {"application": application}):
            whole = {**row, "version": row["version"] and {"value": row["version"]["value"]}}
            if specifications and row["spec"] is not None:
                answer = plane.ask(f"{kind.document}Specification", {"application": application, "id": row["id"]})
                whole["spec"] = answer[kind.member]["spec"]
            place = bundles[inside[row["id"]]] if row["id"] in inside else found
            place[name].append(whole)
    return found


def _bundles(plane: Conversation, application: str) -> list[Json]:
    return plane.all("Bundles", {"application": application}, inside="bundles")


def _all_of(page: Json, what: str) -> None:
    if page["totalCount"] > len(page["data"]):
        message = f"there are {page['totalCount']} {what}, and files can speak of {_MOST}"
        raise CommandFailed(message, hint="compass api and compass bundle change them one by one")


def said_of(found: Json) -> Json:
    """What is there as a document says it."""
    said = {name: [_said(each) for each in found[name]] for name in LISTS if found[name]}
    bundles = []
    for bundle in found["bundles"]:
        one = {key: bundle[key] for key in ("name", "description") if bundle[key]}
        bundles.append(one | {name: [_said(each) for each in bundle[name]] for name in LISTS if bundle[name]})
    return ({"bundles": bundles} if bundles else {}) | said


def _said(row: Json) -> Json:
    said = {key: row[key] for key in ("name", *_OWN) if row.get(key)}
    if row["version"]:
        said["version"] = row["version"]["value"]
    if row["spec"] is not None:
        spec = row["spec"]
        kept = {"type": spec["type"], "format": spec["format"]}
        request = spec["fetchRequest"]
        said["spec"] = kept | ({"url": request["url"]} if request else {"data": spec["data"] or ""})
    return said


def named(*parts: str) -> str:
    """The name of a field, from the names that lead to it: `bundles.orders.apis["my api"].targetURL`."""
    spelled = [
        f".{part}" if part.replace("-", "_").isidentifier() else f"[{json.dumps(part, ensure_ascii=False)}]"
        for part in parts
    ]
    return "".join(spelled).removeprefix(".")


# --- what has to change --------------------------------------------------------------------------------------------

Ids = dict[str, str]
"""Of the bundles by their names, and of the application by ""."""
Act = Callable[[Conversation, Ids], object]
"""Does one step, and adds the id of the bundle that it makes."""


def changes(says: Json, now: Json | None, owners: Mapping[str, str]) -> Iterator[tuple[str, str, Act]]:
    """Sign, text and action of each step from what is there, or from nothing, to what a document says.

    `owners`: what to add to the text of a field, by its name. Raises CommandFailed.
    """
    have: Json = now or {"bundles": [], "apis": [], "events": []}
    for name, kind in LISTS.items():
        if name in says:
            yield from _definitions(kind, says[name], have[name], place=(name,), owners=owners)
    if "bundles" not in says:
        return
    there = {each["name"]: each for each in have["bundles"]}
    for wanted in says["bundles"]:
        before = there.pop(wanted["name"], None)
        yield from _bundle_changes(wanted, before, owners)
        for name, kind in LISTS.items():
            if name in wanted:
                place = ("bundles", wanted["name"], name)
                yield from _definitions(kind, wanted[name], before[name] if before else [], place=place, owners=owners)
    for gone in there.values():
        yield "-", f"bundle {gone['name']}, with what is in it", _sent("DeleteBundle", {"id": gone["id"]})


def _bundle_changes(wanted: Json, before: Json | None, owners: Mapping[str, str]) -> Iterator[tuple[str, str, Act]]:
    own: Json = {key: wanted[key] for key in ("name", "description") if key in wanted}
    if before is None:

        def add(plane: Conversation, ids: Ids) -> None:
            ids[wanted["name"]] = plane.ask("AddBundle", {"application": ids[""], "in": own})["id"]

        yield "+", f"bundle {wanted['name']}", add
    elif "description" in wanted and (before["description"] or "") != wanted["description"]:
        text = f"bundle {wanted['name']}: description {shown(before['description'], wanted['description'])}"
        text += owners.get(named("bundles", wanted["name"], "description"), "")
        yield "~", text, _sent("UpdateBundle", {"id": before["id"], "in": bundle_changes(before, own)})


def bundle_changes(before: Json, changed: Json) -> Json:
    """The input that changes that of a bundle and keeps the rest. Raises CommandFailed when the rest cannot be kept."""
    if before["defaultInstanceAuth"] is not None:
        message = f"bundle {before['name']} has credentials of its own, which a change would take away"
        raise CommandFailed(message, hint="updateBundle of the API takes both: compass graphql")
    kept = {key: before[key] for key in ("name", "description", "instanceAuthRequestInputSchema") if before[key]}
    return kept | changed


def _definitions(
    kind: Kind, wanted: Iterable[Json], there: Iterable[Json], *, place: tuple[str, ...], owners: Mapping[str, str]
) -> Iterator[tuple[str, str, Act]]:
    bundle = place[1] if len(place) > 1 else ""
    inside = f" in bundle {bundle}" if bundle else ""
    now = {each["name"]: each for each in there}
    for one in wanted:
        what = f"{kind.word} {one['name']}{inside}"
        before = now.pop(one["name"], None)
        if before is None:
            yield "+", what, _added(kind, one, bundle)
            continue
        differ = {key: shown(before.get(key), one[key]) for key in _OWN if _differs(before.get(key), one.get(key))}
        if "version" in one and (before["version"] or {}) != one["version"]:
            differ["version"] = shown((before["version"] or {}).get("value"), one["version"]["value"])
        spec = _new_specification(before["spec"], one.get("spec"))
        if spec is not None:
            differ["specification"] = "changed" if before["spec"] else "added"
        if differ:
            keys = {**{key: key for key in differ}, "specification": "spec"}
            whose = {key: owners.get(named(*place, one["name"], keys[key]), "") for key in differ}
            text = f"{what}: {', '.join(f'{key} {said}{whose[key]}' for key, said in differ.items())}"
            yield "~", text, _updated(kind, before, one, spec, is_inside=bool(bundle))
    for gone in now.values():
        yield "-", f"{kind.word} {gone['name']}{inside}", _sent(f"Delete{kind.document}", {"id": gone["id"]})


def _differs(before: Any, wanted: Any) -> bool:
    return wanted is not None and (before or "") != wanted


def _new_specification(before: Json | None, wanted: Json | None) -> Json | None:
    """What is to be sent; None when it is there already, or nothing is said of it."""
    if wanted is None:
        return None
    has = before or {}
    url = (has.get("fetchRequest") or {}).get("url")
    if "fetchRequest" in wanted:
        is_same = url == wanted["fetchRequest"]["url"]
    else:
        is_same = url is None and has.get("data") == wanted["data"]
    is_same = is_same and (has.get("type"), has.get("format")) == (wanted["type"], wanted["format"])
    return None if is_same else wanted


def _added(kind: Kind, one: Json, bundle: str) -> Act:
    def act(plane: Conversation, ids: Ids) -> object:
        if bundle:
            return plane.ask(f"Add{kind.document}ToBundle", {"bundle": ids[bundle], "in": one})
        return plane.ask(f"Add{kind.document}ToApplication", {"application": ids[""], "in": one})

    return act


def _updated(kind: Kind, before: Json, one: Json, spec: Json | None, *, is_inside: bool) -> Act:
    kept = {key: before[key] for key in ("name", *_OWN, "version") if before.get(key)}
    new = {**kept, **{key: value for key, value in one.items() if key != "spec"}, **({"spec": spec} if spec else {})}
    document = f"Update{kind.document}" if is_inside else f"Update{kind.document}ForApplication"
    return _sent(document, {"id": before["id"], "in": new})


def _sent(document: str, variables: Json) -> Act:
    return lambda plane, _: plane.ask(document, variables)


def shown(before: Any, after: Any) -> str:
    """A change, in a line of a difference."""
    short = [json.dumps(one, ensure_ascii=False) for one in (before, after)]
    return f"{'(none)' if before is None else short[0]} → {short[1]}"
