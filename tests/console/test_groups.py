"""Groups in the console: made, filled, seen as a matrix, emptied, removed."""

from typing import Any

from compass.console.groups import members_of
from tests.console.conftest import Site


async def test_a_group_is_made_filled_emptied_and_removed(site: Site) -> None:
    application, name = await site.application()
    made = await site.post("/groups", name="by hand")
    page = made.headers["location"].removeprefix("/console")
    assert "Nobody is in it" in (await site.follow(made)).words

    await site.post(f"{page}/join", group="by hand", member=f"APPLICATION {application}")
    assert name in (await site.get(page)).words
    refused = await site.post(f"{page}/delete", group="by hand", back=f"/console{page}")
    assert (await site.follow(refused)).tree.xpath("//p[contains(@class, 'bad')]")
    await site.post(f"{page}/leave", group="by hand", member=f"APPLICATION {application}")
    gone = await site.post(f"{page}/delete", group="by hand")

    assert "by hand is gone" in (await site.follow(gone)).words
    assert (await site.get(page)).status == 404


async def test_the_matrix_shows_every_pair_with_its_state(site: Site) -> None:
    application, _ = await site.application()
    runtime, _ = await site.runtime()
    group, _ = await site.group(("APPLICATION", application), ("RUNTIME", runtime))

    shown = await site.get(f"/groups/{group}")

    cells = shown.tree.xpath("//table[@class='matrix']//td/span[contains(@class, 'cell')]/@title")
    assert len(cells) == 2
    assert all(title.endswith((": ready", "not connected yet")) for title in cells)


async def test_telling_again_is_possible(site: Site) -> None:
    group, _ = await site.group()

    moved = await site.post(f"/groups/{group}/resynchronize")

    assert "Whoever did not know yet is being told" in (await site.follow(moved)).words


def test_members_are_the_pairs_of_a_participant_with_itself() -> None:
    pairs: list[dict[str, Any]] = [
        {"source": "1", "target": "1", "sourceType": "RUNTIME", "state": "READY", "sourceEntity": {"name": "r"}},
        {"source": "2", "target": "1", "sourceType": "APPLICATION", "state": "READY", "sourceEntity": None},
        {"source": "2", "target": "2", "sourceType": "APPLICATION", "state": "READY", "sourceEntity": None},
        {
            "source": "3",
            "target": "3",
            "sourceType": "RUNTIME_CONTEXT",
            "state": "READY",
            "sourceEntity": {"value": "v"},
        },
    ]

    members = members_of(pairs)

    assert [(one.name, one.path) for one in members] == [("2", "/applications/2"), ("r", "/runtimes/1"), ("v", None)]
