"""The same done to many applications: exactly those that were chosen, each by itself, and nothing unconfirmed."""

from tests.console.conftest import Shown, Site

LABEL = "query ($id: ID!) { result: application(id: $id) { name labels } }"


async def send(site: Site, path: str, chosen: list[str], **form: str) -> Shown:
    """A form with several boxes ticked."""
    pairs = [("csrf", await site.csrf()), *(("id", one) for one in chosen), *form.items()]
    return await site.bare_post(path, pairs, {"origin": site.origin})


async def some(site: Site, amount: int = 3) -> list[str]:
    return [(await site.application())[0] for _ in range(amount)]


async def test_the_list_has_a_box_for_each_and_says_whom_it_is_for(site: Site) -> None:
    _, name = await site.application()
    shown = await site.get(f"/applications?q={name}")

    assert shown.tree.xpath("//input[@type='checkbox' and @form='bulk']/@aria-label") == [f"Choose {name}"]


async def test_a_label_is_set_on_those_that_were_chosen(site: Site) -> None:
    one, two, three = await some(site)
    asked = await send(site, "/applications/bulk", [one, two], do="label")
    assert "2 applications" in asked.words
    assert asked.tree.xpath("//input[@name='id']/@value") == [one, two]

    done = await send(site, "/applications/bulk/run", [one, two], do="label", key="team", value='["a"]')

    shown = await site.follow(done)
    assert "Done to 2 applications" in shown.words
    assert all(f"compass app label {each} 'team=[\"a\"]'" in shown.words for each in (one, two))
    labels = [(await site.ask(LABEL, id=each))["labels"].get("team") for each in (one, two, three)]
    assert labels == [["a"], ["a"], None]


async def test_what_is_refused_for_one_stops_none_of_the_others(site: Site) -> None:
    one, two, three = await some(site)
    await site.group(("APPLICATION", two))

    shown = await send(site, "/applications/bulk/run", [one, two, three], do="delete", count="3")

    assert (shown.status, "Done to 2; refused for 1" in shown.words) == (409, True)
    assert shown.tree.xpath("//main//table//a/@href") == [f"/console/applications/{two}"]
    assert "COMPASS-" in shown.words
    assert [(await site.ask(LABEL, id=each)) is None for each in (one, two, three)] == [True, False, True]


async def test_they_are_removed_only_when_their_number_was_typed(site: Site) -> None:
    one, two = await some(site, 2)

    for count in ("", "1", "3", "2 ,", "all"):
        shown = await send(site, "/applications/bulk/run", [one, two], do="delete", count=count)
        assert (shown.status, "nothing was changed" in shown.words) == (422, True), count
    assert all([await site.ask(LABEL, id=each) for each in (one, two)])

    gone = await send(site, "/applications/bulk/run", [one, two], do="delete", count="2")
    assert "Done to 2 applications" in (await site.follow(gone)).words
    assert not any([await site.ask(LABEL, id=each) for each in (one, two)])


async def test_one_that_went_meanwhile_is_not_counted(site: Site) -> None:
    one, two = await some(site, 2)
    await site.ask("mutation ($id: ID!) { result: unregisterApplication(id: $id) { id } }", id=two)

    shown = await send(site, "/applications/bulk/run", [one, two], do="delete", count="2")

    assert (shown.status, "Type 1 to remove 1" in shown.words) == (422, True)
    assert await site.ask(LABEL, id=one)


async def test_they_are_put_into_a_group(site: Site) -> None:
    one, two = await some(site, 2)
    _, group = await site.group()
    assert group in (await send(site, "/applications/bulk", [one], do="group")).words

    await send(site, "/applications/bulk/run", [one, two], do="group", group=group)

    assert [(await site.ask(LABEL, id=each))["labels"]["scenarios"] for each in (one, two)] == [[group], [group]]


async def test_nothing_chosen_and_nothing_said_change_nothing(site: Site) -> None:
    (one,) = await some(site, 1)
    assert "Choose at least one" in (await site.follow(await send(site, "/applications/bulk", [], do="delete"))).words
    unknown = "00000000-0000-4000-8000-000000000000"
    for chosen, form in (([unknown], {"do": "delete", "count": "1"}), ([one], {"do": "everything"}), ([one], {})):
        moved = await send(site, "/applications/bulk/run", chosen, **form)
        assert "nothing was changed" in (await site.follow(moved)).words
    assert await site.ask(LABEL, id=one)
