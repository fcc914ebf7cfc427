"""Choosing the tenant that a session looks at."""

from tests.console.conftest import Site


async def test_a_session_looks_at_one_tenant_at_a_time(site: Site) -> None:
    text = "mutation ($in: BusinessTenantMappingInput!) { result: writeTenant(in: $in) }"
    await site.ask(
        text, **{"in": {"name": "Elsewhere", "externalTenant": "else-1", "type": "account", "provider": "t"}}
    )
    _, here = await site.application()
    async with site.another() as browser:
        assert "Elsewhere" in (await browser.get("/tenants?q=Elsew")).words

        moved = await browser.post("/tenants", tenant="else-1")

        assert "You are in tenant else-1 now" in (await browser.follow(moved)).words
        assert here not in (await browser.get("/applications")).words
        assert here in (await site.get(f"/applications?q={here}")).words


async def test_a_tenant_that_is_not_there_is_not_chosen(site: Site) -> None:
    async with site.another() as browser:
        assert (await browser.post("/tenants", tenant="nobody's")).status == 404
        assert (await browser.get("/applications")).status == 200
