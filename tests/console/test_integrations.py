"""Integration systems in the console: registered, changed, what they manage, removed."""

import pytest

from tests.console.conftest import Site


async def registered(site: Site, name: str) -> str:
    made = await site.post("/integrations", name=name, description="tests")
    assert made.status == 303, made.text
    return made.headers["location"].removeprefix("/console")


async def test_one_is_registered_changed_and_removed(site: Site) -> None:
    path = await registered(site, "bridge-1")
    assert "It cannot sign in yet" in (await site.get(path)).words

    await site.post(path, name="bridge-2", description="another purpose")

    page = await site.get(path)
    assert "bridge-2" in page.words
    assert page.tree.xpath("string(//textarea[@name='description'])") == "another purpose"
    kept = await site.follow(await site.post(f"{path}/unregister", name="bridge-1"))
    assert "nothing was changed" in kept.words
    gone = await site.follow(await site.post(f"{path}/unregister", name="bridge-2"))
    assert "bridge-2 is gone" in gone.words
    assert (await site.get(path)).status == 404


async def test_the_applications_that_it_manages_are_listed(site: Site) -> None:
    path = await registered(site, "owner-1")
    _, name = await site.application(integrationSystemID=path.rpartition("/")[2])
    _, other = await site.application()

    page = await site.get(path)

    assert name in page.words
    assert "1 in this tenant" in page.words
    assert other not in page.tree.xpath("string(//section)")
    refused = await site.post(f"{path}/unregister", name="owner-1", back=f"/console{path}")
    assert "another record refers to it" in (await site.follow(refused)).words


@pytest.mark.parametrize("name", ["", "Upper", "1first", "a" * 37])
async def test_a_name_that_cannot_be_is_refused_and_stays(site: Site, name: str) -> None:
    refused = await site.post("/integrations", name=name, description="kept")

    assert refused.status == 422
    assert refused.tree.xpath("string(//p[@role='alert'])").strip()
    assert refused.tree.xpath("//input[@name='description']/@value") == ["kept"]
