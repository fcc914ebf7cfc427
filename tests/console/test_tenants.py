"""Tenants and access: the tree, the tenant that a session looks at, who is let see more, and what one may do."""

from typing import Any

from compass.console.tenants import rights, tree
from tests.console.conftest import HOSTILE, Site


def tenant(name: str, *parents: str) -> dict[str, Any]:
    return {"internalID": name, "name": name.upper(), "parents": list(parents)}


def test_each_tenant_stands_once_below_its_first_parent() -> None:
    found = list(tree([tenant("a"), tenant("b", "a"), tenant("c", "b", "x", "e"), tenant("d", "unknown"), tenant("e")]))

    assert [(one.tenant["internalID"], one.depth, list(one.also_below)) for one in found] == [
        ("a", 0, []),
        ("b", 1, []),
        ("c", 2, ["E"]),
        ("d", 0, []),
        ("e", 0, []),
    ]


def test_a_deep_tree_ends_at_the_last_step() -> None:
    chain = [tenant("t0"), *(tenant(f"t{number}", f"t{number - 1}") for number in range(1, 10))]
    assert [one.depth for one in tree(chain)] == [0, 1, 2, 3, 4, 5, 6, 6, 6, 6]


def test_rights_are_told_by_what_they_are_for() -> None:
    assert rights(["runtime:write", "application.webhooks:read", "runtime:read", "audit:read"]) == [
        ("application, webhooks", ["read"]),
        ("audit", ["read"]),
        ("runtime", ["read", "write"]),
    ]


async def test_a_session_looks_at_one_tenant_at_a_time(site: Site) -> None:
    elsewhere = await site.tenant()
    _, here = await site.application()
    async with site.another() as browser:
        assert elsewhere in (await browser.get(f"/tenants?q={elsewhere}")).words

        moved = await browser.post("/tenants", tenant=elsewhere)

        assert f"You are in tenant {elsewhere} now" in (await browser.follow(moved)).words
        assert here not in (await browser.get("/applications")).words
        assert here in (await site.get(f"/applications?q={here}")).words


async def test_from_any_page_a_tenant_that_was_looked_at_before_is_one_press_away(site: Site) -> None:
    first, second = await site.tenant(), await site.tenant()
    async with site.another() as browser:
        application, _ = await site.application()
        assert not (await browser.get("/groups")).tree.xpath("//details[@class='switch']")
        for one in (first, second):
            await browser.post("/tenants", tenant=one)

        page = await browser.get("/groups?q=x")
        (switch,) = page.tree.xpath("//details[@class='switch']")
        assert switch.xpath(".//button/@value") == [first, site.started.tenant]
        assert "/console/tenants" in switch.xpath(".//a/@href")

        # To the same list, which the other tenant has as well; never to an object, which it may not.
        for back, where in (
            ("/console/groups?q=x", "/console/groups"),
            (f"/console/applications/{application}?tab=labels", "/console/applications"),
            ("/console/tenants", "/console/"),
            ("/console/", "/console/"),
            ("https://evil.example/groups", "/console/"),
            ("", "/console/"),
        ):
            moved = await browser.post("/tenants", tenant=first, back=back)
            assert moved.headers["location"] == where, back


async def test_a_tenant_is_called_by_its_name_as_soon_as_that_was_seen(site: Site) -> None:
    identity = await site.tenant()
    text = "mutation ($in: BusinessTenantMappingInput!) { result: writeTenant(in: $in) }"
    named = {"name": HOSTILE, "externalTenant": f"{identity}-named", "type": "account", "provider": "test"}
    await site.ask(text, **{"in": named})
    async with site.another() as browser:
        assert (await browser.get("/groups")).tree.xpath("string(//nav[@aria-label='Breadcrumb']/a)") == "default"
        await browser.post("/tenants", tenant=f"{identity}-named")

        page = await browser.get("/groups")
        assert page.tree.xpath("string(//nav[@aria-label='Breadcrumb']/a)") == HOSTILE
        assert HOSTILE in page.tree.xpath("string(//details[@class='switch']/summary)")
        await browser.get("/tenants")
        page = await browser.get("/groups")
        assert page.tree.xpath("//details[@class='switch']//button/text()") == ["default"]


async def test_a_tenant_that_is_not_there_is_not_chosen(site: Site) -> None:
    async with site.another() as browser:
        assert (await browser.post("/tenants", tenant="nobody's")).status == 404
        assert (await browser.get("/applications")).status == 200


async def test_a_tenant_is_made_below_another_which_sees_what_it_has(site: Site) -> None:
    above = await site.tenant()
    form = await site.get(f"/tenants/new?parent={above}")
    assert form.tree.xpath("//input[@name='parent']/@value") == [above]

    made = await site.post(
        "/tenants/new", name="Below", externalTenant=f"{above}-below", type="subaccount", parent=above
    )

    assert "Below is there" in (await site.follow(made)).words
    listed = await site.get("/tenants")
    (row,) = listed.tree.xpath("//tr[td//a[text()='Below']]")
    assert row.xpath("td[1]/@class") == ["depth-1"]
    async with site.another() as browser:
        await browser.post("/tenants", tenant=f"{above}-below")
        await browser.register_application()
    facts = (await site.get(f"/tenants/{above}")).tree.xpath("//dl//dd/text()")
    assert "1" in facts


async def test_a_tenant_that_is_there_is_not_written_over(site: Site) -> None:
    there = await site.tenant()
    unknown = {"name": "New", "externalTenant": f"{there}-new", "type": "account", "parent": "nobody"}

    refused = await site.post("/tenants/new", name=HOSTILE, externalTenant=there, type="account", parent="")
    lost = await site.send("/tenants/new", unknown)

    assert (refused.status, lost.status) == (422, 422)
    assert f"A tenant with the id {there} is there already" in refused.words
    assert "There is no tenant nobody to put it below" in lost.words
    assert "<script>alert" not in refused.text
    assert refused.tree.xpath("//input[@name='name']/@value") == [HOSTILE]
    assert (await site.get(f"/tenants/{there}")).tree.xpath("string(//h1)") == there
    assert (await site.get(f"/tenants/{there}-new")).status == 404


async def test_a_tenant_is_let_see_an_object_until_that_is_taken_back(site: Site) -> None:
    friend = await site.tenant()
    application, name = await site.application()
    path = f"/tenants/{friend}"
    async with site.another() as browser:
        await browser.post("/tenants", tenant=friend)
        assert (await browser.get(f"/applications/{application}")).status == 404

        granted = await site.post(f"{path}/grant", object=f"APPLICATION {application}")

        assert f"{friend} sees it now" in (await site.follow(granted)).words
        assert name in (await browser.get(f"/applications/{application}")).words
        changed = await browser.post(f"/applications/{application}/label", key="theirs", value="1")
        assert (await browser.follow(changed)).tree.xpath("//p[contains(@class, 'bad')]")
        taken = await site.post(f"{path}/take-back", object=f"APPLICATION {application}")
        assert "does not see it any more" in (await site.follow(taken)).words
        assert (await browser.get(f"/applications/{application}")).status == 404
        owned = await site.post(f"{path}/grant", object=f"APPLICATION {application}", owner="yes")
        assert f"{friend} sees and may change it now" in (await site.follow(owned)).words
        changed = await browser.post(f"/applications/{application}/label", key="theirs", value="1")
        assert "Label theirs is set" in (await browser.follow(changed)).words
        await site.post(f"{path}/take-back", object=f"APPLICATION {application}")
    again = await site.post(f"{path}/take-back", object=f"APPLICATION {application}", back=f"/console{path}")
    assert (await site.follow(again)).tree.xpath("//p[contains(@class, 'bad')]")


async def test_what_a_tenant_sees_of_another_is_listed_and_offered_no_more(site: Site) -> None:
    friend = await site.tenant()
    application, name = await site.application()
    _, other = await site.runtime()
    path = f"/tenants/{friend}"
    before = await site.get(path)
    assert name in before.tree.xpath("//select[@name='object']/optgroup[@label='Applications']/option/text()")
    assert other in before.tree.xpath("//select[@name='object']/optgroup[@label='Runtimes']/option/text()")
    assert name not in before.tree.xpath("//*[@id='shared']//a/text()")

    await site.post(f"{path}/grant", object=f"APPLICATION {application}")

    page = await site.get(path)
    assert page.tree.xpath("//*[@id='shared']//a/text()") == [name]
    assert page.tree.xpath("//*[@id='shared']//input[@name='object']/@value") == [f"APPLICATION {application}"]
    assert name not in page.tree.xpath("//select[@name='object']//option/text()")
    # A tenant shares nothing with itself.
    assert not (await site.get(f"/tenants/{site.started.tenant}")).tree.xpath("//*[@id='shared'] | //select")


async def test_whoever_is_signed_in_learns_what_one_may_do(site: Site) -> None:
    async with site.another() as browser:
        await browser.limit("application:read", "tenant:read")

        page = await browser.get("/tenants")

        assert [one.text_content() for one in page.tree.xpath("//dl[contains(@class, 'columns')]//dt")] == [
            "application",
            "tenant",
        ]
        await browser.limit("application:read")
        assert "You may not see the tenants" in (await browser.get("/tenants")).words


async def test_the_form_says_what_it_sends_as_a_command(site: Site) -> None:
    shown = await site.get("/tenants/new?parent=above")

    told = " ".join(shown.tree.xpath("//details[@id='commands-sends']//pre/text()"))
    assert "writeTenant" in told
    assert '"above"' in told
