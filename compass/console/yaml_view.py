"""One application or runtime as a document of the files that `compass apply` takes, as `compass export` writes it."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Final

import yaml

from compass.client.yaml_blocks import block_dumper
from compass.console.http import Answer, attachment
from compass.console.page import groups_of
from compass.console.plane import Gone
from compass.console.visit import View, Visit

MOST_SHOWN: Final = 200 * 1024
"""Characters in the page; the file has all of them."""
FIELDS: Final = ("description", "providerName", "baseUrl", "healthCheckURL")
OF_THE_PLANE: Final = frozenset({"scenarios", "name", "managed", "isNormalized"})
"""Labels that nobody gave by hand."""
_WEBHOOK: Final = (
    *("type", "url", "mode", "correlationIdKey", "retryInterval", "timeout"),
    *("urlTemplate", "inputTemplate", "headerTemplate", "outputTemplate", "statusTemplate"),
)
_DEFINITION: Final = ("name", "description", "targetURL", "group")
Said = dict[str, Any]


async def application(visit: Visit) -> tuple[Said, bool]:
    """The document of an application, and whether it is the whole of it. Raises Gone."""
    found = await visit.ask("ApplicationFile", id=visit["id"])
    one = found["application"]
    if one is None:
        raise Gone(what="application")
    inside = [page["data"] for bundle in one["bundles"]["data"] for page in _pages(bundle)]
    taken = {each["id"] for data in inside for each in data}
    by_id = {each["id"]: each for name in ("apis", "events") for each in found[name]["data"]}
    bundles = [
        {
            **_kept(bundle, ("name", "description")),
            **_lists([by_id[each["id"]] for each in page["data"] if each["id"] in by_id] for page in _pages(bundle)),
        }
        for bundle in one["bundles"]["data"]
    ]
    loose = _lists([each for each in found[name]["data"] if each["id"] not in taken] for name in ("apis", "events"))
    said = {**_begin("Application", one), **_tail(one, "application")}
    pages = [one["bundles"], found["apis"], found["events"], *chain.from_iterable(map(_pages, one["bundles"]["data"]))]
    is_whole = all(page["totalCount"] <= len(page["data"]) for page in pages)
    return {**said, **({"bundles": bundles} if bundles else {}), **loose}, is_whole


async def runtime(visit: Visit) -> tuple[Said, bool]:
    """The document of a runtime, which is always whole. Raises Gone."""
    one = (await visit.ask("RuntimeFile", id=visit["id"]))["runtime"]
    if one is None:
        raise Gone(what="runtime")
    return {**_begin("Runtime", one), **_tail(one, "runtime")}, True


def of_people(labels: Mapping[str, Any] | None) -> Said:
    """The labels that somebody gave."""
    return {key: value for key, value in sorted((labels or {}).items()) if key not in OF_THE_PLANE}


def shown(made: tuple[Said, bool]) -> dict[str, Any]:
    """What the page shows of a document."""
    said, is_whole = made
    text = as_text(said)
    return {"text": text[:MOST_SHOWN], "is_cut": len(text) > MOST_SHOWN, "is_whole": is_whole}


def as_text(said: Said) -> str:
    """The document as YAML."""
    return str(yaml.dump(said, Dumper=block_dumper(), sort_keys=False, allow_unicode=True))


def _pages(bundle: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return bundle["apiDefinitions"], bundle["eventDefinitions"]


def _begin(kind: str, one: Mapping[str, Any]) -> Said:
    return {"kind": kind, "name": one["name"], **_kept(one, FIELDS)}


def _kept(one: Mapping[str, Any], names: Iterable[str]) -> Said:
    return {name: one[name] for name in names if one.get(name)}


def _tail(one: Mapping[str, Any], word: str) -> Said:
    """Labels, groups, and the webhooks that are its own and not its template's."""
    own = [hook for hook in one["webhooks"] or () if hook[f"{word}ID"] == one["id"]]
    webhooks = [{name: hook[name] for name in _WEBHOOK if hook[name] is not None} for hook in own]
    said = {"labels": of_people(one["labels"]), "groups": list(groups_of(one["labels"])), "webhooks": webhooks}
    return {name: value for name, value in said.items() if value}


def _lists(both: Iterable[Iterable[Mapping[str, Any]]]) -> Said:
    """APIs and events, as far as there are some."""
    made = {name: [_definition(each) for each in data] for name, data in zip(("apis", "events"), both, strict=True)}
    return {name: data for name, data in made.items() if data}


def _definition(one: Mapping[str, Any]) -> Said:
    said = _kept(one, _DEFINITION)
    if one["version"]:
        said["version"] = one["version"]["value"]
    if one["spec"] is not None:
        spec = one["spec"]
        where = {"url": spec["fetchRequest"]["url"]} if spec["fetchRequest"] else {"data": spec["data"] or ""}
        said["spec"] = {"type": spec["type"], "format": spec["format"], **where}
    return said


def _file(kinds: str) -> View:
    made = {"applications": application, "runtimes": runtime}[kinds]

    async def download(visit: Visit) -> Answer:
        """The document as a file. Raises Gone."""
        said, _ = await made(visit)
        return attachment(as_text(said), "application/yaml", "compass.yaml")

    return download


ROUTES: Final[Mapping[tuple[str, str], View]] = {
    ("GET", "/applications/{id}/compass.yaml"): _file("applications"),
    ("GET", "/runtimes/{id}/compass.yaml"): _file("runtimes"),
}
