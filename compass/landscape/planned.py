"""What documents mean for a landscape: the steps that make it so, what is left to others, and the way back.

Both the command line and the console plan and apply with this: what one shows, the other does.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from compass.client.yaml_blocks import as_yaml
from compass.landscape import labels
from compass.landscape.conversation import Conversation, Json
from compass.landscape.manifest import FIELDS, VERSION, Kind, Manifest
from compass.landscape.offers import OFFERED, said_of
from compass.landscape.owned import Owned
from compass.landscape.ownership import Conflict, Judged
from compass.landscape.plan import Landscape, Progress, Step, label_removed, look, pruned, quietly, steps
from compass.landscape.webhooks import KEPT


@dataclass(frozen=True)
class Left:
    """An object that is left as it is."""

    one: Manifest
    row: Json
    conflicts: Sequence[Conflict]


@dataclass(frozen=True)
class Planned:
    """What is to be done, from one reading of what is there."""

    now: Landscape
    todo: Sequence[Step]
    left: Sequence[Left]


def planned(
    plane: Conversation,
    wanted: Sequence[Manifest],
    manager: str,
    *,
    force: bool = False,
    prune: Json | None = None,
    tell: Callable[[str], None],
    progress: Progress = quietly,
) -> Planned:
    """What has to be done for documents to be so, as this field manager. Changes nothing.

    `force` takes over what somebody else changed or owns; `prune` are the labels of what is removed unless a document
    names it. Raises CommandFailed, CompassError.
    """
    owned = Owned.read(plane, {one.kind for one in wanted}, manager, tell=tell)
    offering = {one.name for one in wanted if OFFERED & one.says.keys()} | owned.offering
    offering &= {one.name for one in wanted if one.kind is Kind.APPLICATION}
    kinds: Iterable[Kind] = {one.kind for one in wanted} if prune is None else Kind
    now = look(plane, kinds, offering=offering.__contains__, progress=progress)
    known = {(one.kind, one.name): judged for one in wanted if (judged := owned.judged(one, now)) is not None}
    left = [
        Left(one, now.found[one.kind][one.name], judged.conflicts)
        for one in wanted
        if (judged := known.get((one.kind, one.name))) and judged.conflicts and not force
    ]
    names = {(each.one.kind, each.one.name) for each in left}
    to_do = [one for one in wanted if (one.kind, one.name) not in names]

    def around(one: Manifest, own: list[Step]) -> Iterable[Step]:
        judged = known.get((one.kind, one.name))
        gone = judged.labels_gone if judged else ()
        own += [label_removed(one.kind, now.found[one.kind][one.name], key) for key in gone]
        return owned.around(one, own, judged)

    todo = steps([_with_what_is_given_back(one, known) for one in to_do], now, around)
    return Planned(now, [*todo, *(() if prune is None else pruned(wanted, now, prune))], left)


def _with_what_is_given_back(one: Manifest, known: Mapping[tuple[Kind, str], Judged]) -> Manifest:
    judged = known.get((one.kind, one.name))
    return one if judged is None else replace(one, says=judged.says)


def written(plane: Conversation, kinds: Sequence[Kind], *, progress: Progress = quietly) -> Iterator[str]:
    """What is there of these kinds, as a text that documents are read from, in parts. It holds no secrets.

    Raises CommandFailed, CompassError.
    """
    now = look(plane, kinds, offering=lambda _: True, progress=progress)
    yield f"# {VERSION}"
    for kind in kinds:
        for name, row in sorted(now.found.get(kind, {}).items()):
            yield f"---\n{as_yaml({'kind': str(kind), 'name': name, **dict(said(kind, row))})}"


def said(kind: Kind, row: Json) -> Iterator[tuple[str, Any]]:
    """What a document says of something that is there."""
    for key in FIELDS[kind]:
        match key:
            case "labels":
                value: Any = labels.of_people(row)
            case "groups":
                value = labels.groups(row)
            case "webhooks":
                value = [{key: each[key] for key in KEPT if each[key] is not None} for each in row["webhooks"]]
            case "bundles" | "apis" | "events":
                value = said_of(row["offers"]).get(key) if "offers" in row else None
            case "template":
                value = None  # a group keeps the template that it was created with
            case _:
                value = row.get(key)
        if value:
            yield key, value
