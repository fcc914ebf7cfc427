"""A command's conversation with the plane: as whom, by documents, lists read to their end, and rehearsals."""

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Self

from cyclopts import Parameter

from compass.cli.context import Context, chosen
from compass.cli.failures import Rehearsed
from compass.cli.output import is_living, printable, say
from compass.client.order import Sort
from compass.landscape.conversation import PAGE_SIZE as PAGE_SIZE  # noqa: PLC0414  # handed on
from compass.landscape.conversation import Json as Json  # noqa: PLC0414  # handed on

if TYPE_CHECKING:
    from compass.client.blocking import BlockingPlane

DryRun = Annotated[bool, Parameter(name="--dry-run", help="Only say what would be sent; change nothing.")]
Limit = Annotated[int | None, Parameter(help="At most this many; all unless given.")]
Sorted = Annotated[
    Sort | None, Parameter(name="--sort", help="By name or age, which the plane does before `--limit` cuts the list.")
]


@Parameter(name="*")
@dataclass(frozen=True)
class Where:
    """Which plane is spoken to, and in which tenant."""

    context: str | None = None
    """The context to use, instead of the current one."""
    tenant: str | None = None
    """The external id of a tenant, instead of the context's."""
    verbose: Annotated[bool, Parameter(alias="-v", negative="")] = False
    """Say every call on stderr: its document, its variables without secrets, how it ended and how long it took."""


HERE: Final = Where()


class Speaking:
    """One plane, spoken to as one caller. Use it as a context manager."""

    def __init__(
        self, plane: "BlockingPlane", context: Context, *, dry_run: bool = False, verbose: bool = False
    ) -> None:
        self.context = context
        self._plane = plane
        self._dry_run = dry_run
        self._send = self._told if verbose else plane.send

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._plane.close()

    def ask(self, name: str, variables: Mapping[str, Any] | None = None) -> Any:
        """The answer to the document of that name, without the name of its one operation."""
        (answer,) = self._send(name, variables).values()
        return answer

    def _told(self, name: str, variables: Mapping[str, Any] | None) -> Json:
        began, ended = time.monotonic(), "failed"
        try:
            answer = self._plane.send(name, variables)
            ended = "answered"
        finally:
            say(f"{name} {_shown(variables or {})} {ended} in {(time.monotonic() - began) * 1000:.0f} ms")
        return answer

    def change(self, name: str, variables: Mapping[str, Any]) -> Any:
        """As `ask`, for a mutation. Raises Rehearsed when nothing is to be changed, after saying what would be sent."""
        if self._dry_run:
            say(f"would send {name} {_shown(variables)}")
            raise Rehearsed
        return self.ask(name, variables)

    def all(
        self,
        name: str,
        variables: Mapping[str, Any] | None = None,
        *,
        inside: str | None = None,
        limit: int | None = None,
    ) -> list[Json]:
        """The objects of a list, read page by page: as the plane sorts them for `orderBy`, otherwise by their names.

        `inside` is the member of the answer that is the list. Empty when the answer is null: the object that would
        have the list is not there.
        """
        found: list[Json] = []
        after: str | None = None
        counted = is_living(sys.stderr)
        while True:
            first = PAGE_SIZE if limit is None else min(PAGE_SIZE, limit - len(found))
            page = self.ask(name, {**(variables or {}), "first": first, "after": after})
            if inside is not None and page is not None:
                page = page[inside]
            if page is None:
                return []
            found += page["data"]
            more = page["pageInfo"]["hasNextPage"] and (limit is None or len(found) < limit)
            if counted and (more or after):
                end = "\r" if more else "\r\x1b[K"
                sys.stderr.write(f"read {len(found):,} of {page['totalCount']:,}{end}" if more else end)
                sys.stderr.flush()
            if not more:
                has_order = bool(variables and variables.get("orderBy")) or not (found and "name" in found[0])
                return found if has_order else sorted(found, key=lambda one: str(one["name"]))
            after = page["pageInfo"]["endCursor"]

    @property
    def plane(self) -> "BlockingPlane":
        """The connection itself."""
        return self._plane


def speaking(where: Where, *, dry_run: bool = False) -> Speaking:
    """A conversation with the plane of the context. Raises CommandFailed, PlaneUnreachable, PlaneNotTrusted."""
    from compass.cli.sign_in import plane_of

    context = chosen(where.context)
    return Speaking(plane_of(context, tenant=where.tenant), context, dry_run=dry_run, verbose=where.verbose)


def given(**members: Any) -> Json:
    """The members that were given, as an input object: what is None or empty is left to the plane."""
    return {name: value for name, value in members.items() if value is not None and value not in ((), {}, [])}


def _shown(variables: Mapping[str, Any]) -> str:
    """What may be shown of variables: terminals and the logs of jobs have a memory."""
    from compass.console.commands import without_secrets

    shown = without_secrets({name: value for name, value in variables.items() if value is not None})
    return printable(json.dumps(shown, ensure_ascii=False))
