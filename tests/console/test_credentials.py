"""Client secrets in the console: shown once, replaced, cut off."""

import base64

import pytest

from tests.console.conftest import Shown, Site


async def access(site: Site, client: str, secret: str) -> int:
    """What the plane answers to a client that wants an access token."""
    basic = base64.b64encode(f"{client}:{secret}".encode()).decode()
    form = {"grant_type": "client_credentials", "scope": ""}
    answer = await site._session.post(
        f"{site.origin}/oauth2/token", data=form, headers={"authorization": f"Basic {basic}"}
    )
    async with answer:
        return answer.status


async def owner(site: Site, kinds: str) -> str:
    match kinds:
        case "applications":
            return (await site.application())[0]
        case "runtimes":
            return (await site.runtime())[0]
    made = await site.post("/integrations", name=f"owns-secrets-{len(site.origin)}", description="")
    return made.headers["location"].rpartition("/")[2]


def shown_secret(page: Shown) -> tuple[str, str]:
    """Client id and secret of the page that shows a new one."""
    client = page.tree.xpath("string(//div[@id='once']//dd[1])")
    return client, page.tree.xpath("string(//pre[@id='secret'])")


@pytest.mark.parametrize("kinds", ["applications", "runtimes", "integrations"])
async def test_a_secret_is_shown_once_and_works_until_it_is_cut_off(site: Site, kinds: str) -> None:
    path = f"/{kinds}/{await owner(site, kinds)}/credentials"
    made = await site.post(path)

    page = await site.follow(made)

    client, secret = shown_secret(page)
    assert len(secret) >= 32
    assert await access(site, client, secret) == 200
    again = await site.follow(made)
    assert secret not in again.text
    assert "was shown already" in again.words
    assert secret not in (await site.get(path)).text
    cut = await site.post(f"{path}/{client}/void")
    assert "It is refused from now on" in (await site.follow(cut)).words
    assert await access(site, client, secret) == 401
    assert "No client secret" in (await site.get(path)).words


async def test_a_secret_is_replaced_by_one_that_is_shown_once(site: Site) -> None:
    path = f"/applications/{(await site.application())[0]}/credentials"
    first, first_secret = shown_secret(await site.follow(await site.post(path)))

    page = await site.follow(await site.post(f"{path}/{first}/rotate"))

    second, second_secret = shown_secret(page)
    assert first_secret not in page.text
    assert (await access(site, first, first_secret), await access(site, second, second_secret)) == (401, 200)
    assert page.tree.xpath("count(//section[@aria-label='Client secrets']//tbody/tr)") == 1


async def test_a_secret_is_not_shown_to_another_session_nor_to_what_the_page_asks_of_itself(site: Site) -> None:
    path = f"/applications/{(await site.application())[0]}/credentials"
    made = await site.post(path)
    address = made.headers["location"].removeprefix("/console")

    async with site.another() as other:
        assert "was shown already, or is not of this session" in (await other.get(address)).words
    part = await site.get(address, **{"hx-request": "true"})
    assert not part.tree.xpath("//pre[@id='secret']")

    assert shown_secret(await site.get(address))[1]  # and so it is not used up


async def test_secrets_of_what_is_not_there_are_not_found(site: Site) -> None:
    nobody = "3e64ebae-38b5-46a0-b1ed-9ccee153a0ae"
    for kinds in ("applications", "runtimes", "integrations", "users"):
        assert (await site.get(f"/{kinds}/{nobody}/credentials")).status == 404
    application, _ = await site.application()
    other = await site.tenant()
    async with site.another() as browser:
        await browser.post("/tenants", tenant=other)
        assert (await browser.get(f"/applications/{application}/credentials")).status == 404
        refused = await browser.post(f"/applications/{application}/credentials")
        assert "is made" not in (await browser.follow(refused)).words
    text = "query ($id: ID!) { result: application(id: $id) { auths { id } } }"
    assert await site.ask(text, id=application) == {"auths": []}
