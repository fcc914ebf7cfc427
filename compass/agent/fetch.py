"""Everything the plane says about one runtime, with every page of every list followed to its end."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from compass.client.graphql import Plane
from compass.errors import Code, CompassError

PAGE: Final = 200
"""Applications, bundles, APIs and events asked for at once; the most the plane gives. Source: director.md §4."""

_READINGS: Final = 3

Page = Mapping[str, Any]


class RuntimeUnknown(CompassError):
    """The plane has no such runtime, or this identity may not see it."""

    code = Code.NOT_FOUND
    message = "the plane does not know runtime {runtime}"


class ChangedWhileReading(CompassError):
    """Applications came or went between two pages, several times in a row. Nothing was taken over."""

    code = Code.CONCURRENT_UPDATE
    message = "the applications changed while they were being read"
    retryable = True


@dataclass(frozen=True)
class Fetched:
    """One reading."""

    labels: Mapping[str, Any]
    """Of the runtime itself."""
    applications: list[dict[str, Any]]
    """Complete `Application` objects."""


async def fetch(plane: Plane, runtime_id: str, *, known: Collection[str] = (), page_size: int = PAGE) -> Fetched:
    """Read the runtime's labels and all its applications.

    Pages are cut by position, so an application that leaves between two of them would push another one out of sight,
    and the runtime would drop it. A reading of several pages whose counts do not agree is therefore repeated, and so
    is one that lacks an application of `known` (ids), until two readings lack the same.

    Raises RuntimeUnknown, ChangedWhileReading, and what `Plane.ask` raises.
    """
    lacked_before: set[str] | None = None
    for _ in range(_READINGS):
        fetched = await _reading(plane, runtime_id, page_size)
        if fetched is None:
            continue
        lacked = set(known) - {application["id"] for application in fetched.applications}
        if not lacked or lacked == lacked_before or len(fetched.applications) <= page_size:
            return fetched
        lacked_before = lacked
    raise ChangedWhileReading


async def _reading(plane: Plane, runtime_id: str, page_size: int) -> Fetched | None:
    variables = {"runtime": runtime_id, "first": page_size, "nested": page_size}
    first: dict[str, Any] = {}

    async def applications(after: str | None) -> Page | None:
        answer = await plane.send("RuntimeConfiguration", variables | {"after": after})
        if answer.get("runtime") is None or answer.get("applicationsForRuntime") is None:
            raise RuntimeUnknown(runtime=runtime_id)
        first.setdefault("labels", answer["runtime"].get("labels") or {})
        page: Page = answer["applicationsForRuntime"]
        return page

    found = await _followed(None, applications)
    if found is None:
        return None
    for application in found:
        if not await _completed(plane, application, page_size):
            return None
    return Fetched(first["labels"], found)


async def _completed(plane: Plane, application: dict[str, Any], page_size: int) -> bool:
    """Follow the nested lists that did not end on their first page. False when they changed meanwhile."""
    asked = {"application": application["id"], "nested": page_size}

    async def bundles(after: str | None) -> Page | None:
        answer = await plane.send("RuntimeConfigurationBundles", asked | {"after": after})
        page: Page | None = (answer.get("application") or {}).get("bundles")
        return page

    if not await _complete(application, "bundles", bundles):
        return False
    for bundle in (application.get("bundles") or {}).get("data") or ():
        for name, document in (
            ("apiDefinitions", "RuntimeConfigurationApis"),
            ("eventDefinitions", "RuntimeConfigurationEvents"),
        ):
            further = _definitions(plane, document, name, asked | {"bundle": bundle["id"]})
            if not await _complete(bundle, name, further):
                return False
    return True


def _definitions(
    plane: Plane, document: str, name: str, asked: Mapping[str, Any]
) -> Callable[[str | None], Awaitable[Page | None]]:
    async def further(after: str | None) -> Page | None:
        answer = await plane.send(document, {**asked, "after": after})
        page: Page | None = ((answer.get("application") or {}).get("bundle") or {}).get(name)
        return page

    return further


async def _complete(holder: dict[str, Any], name: str, further: Callable[[str | None], Awaitable[Page | None]]) -> bool:
    page = holder.get(name)
    if page is None or not page["pageInfo"]["hasNextPage"]:
        return True
    data = await _followed(page, further)
    if data is None:
        return False
    holder[name] = {"data": data}
    return True


async def _followed(
    page: Page | None, further: Callable[[str | None], Awaitable[Page | None]]
) -> list[dict[str, Any]] | None:
    """All entries of a list, from its first page on. None when it changed between two pages."""
    if page is None:
        page = await further(None)
        if page is None:
            return None
    total, found = page["totalCount"], list(page["data"])
    if not page["pageInfo"]["hasNextPage"]:
        return found
    while page["pageInfo"]["hasNextPage"]:
        page = await further(page["pageInfo"]["endCursor"])
        if page is None or not page["data"]:
            return None
        found += page["data"]
    if len({entry["id"] for entry in found}) != total or len(found) != total:
        return None
    return found
