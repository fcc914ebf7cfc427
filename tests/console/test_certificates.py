"""The inventory in the console, and ending a certificate from it."""

from pathlib import Path

import pytest

from compass.agent.pair import Connection, pair
from compass.client.graphql import Plane
from compass.client.protocol import ClientCertificate, Endpoint, Trust
from tests.console.conftest import Site


async def paired(site: Site, folder: Path, *, name: str = "") -> tuple[str, Connection]:
    application, _ = await (site.application(name) if name else site.application())
    text = "mutation ($id: ID!) { result: requestOneTimeTokenForApplication(id: $id) { token } }"
    token = (await site.ask(text, id=application))["token"]
    url = f"{site.origin}/connector/graphql"
    return application, await pair(folder, connector_url=url, token=token, trust=Trust.to(site.started.ca_pem))


async def test_a_revoked_certificate_is_refused_and_the_page_says_so(site: Site, tmp_path: Path) -> None:
    application, connection = await paired(site, tmp_path / "peer")
    page = f"/applications/{application}?tab=connection"
    (fingerprint,) = (await site.get(page)).tree.xpath("//input[@name='fingerprint']/@value")
    credentials = ClientCertificate(connection.folder / "chain.crt", connection.folder / "client.key")
    trust = Trust.to(site.started.ca_pem)
    async with Plane(site.started.mtls_url, trust=trust, credentials=credentials) as peer:
        await peer.ask(Endpoint.DIRECTOR, "{ viewer { id } }")

    moved = await site.post("/certificates/revoke", fingerprint=fingerprint, reason="laptop <lost>")

    assert "1 certificate revoked" in (await site.follow(moved)).words
    shown = await site.get(page)
    assert "laptop <lost>" in shown.words
    assert not shown.tree.xpath("//input[@name='fingerprint']")
    async with Plane(site.started.mtls_url, trust=trust, credentials=credentials) as peer:
        with pytest.raises(Exception, match=r"(?i)revoked|unauthorized"):
            await peer.ask(Endpoint.DIRECTOR, "{ viewer { id } }")


async def test_a_certificate_is_downloaded_with_its_chain(site: Site, tmp_path: Path) -> None:
    application, connection = await paired(site, tmp_path / "peer")
    shown = await site.get(f"/applications/{application}?tab=connection")
    [link] = [one for one in shown.links if one.endswith("/chain.pem")]

    chain = await site.get(link.removeprefix("/console"))

    assert chain.headers["content-type"] == "application/x-pem-file"
    assert chain.headers["content-disposition"].startswith("attachment")
    assert chain.text == (connection.folder / "chain.crt").read_text()
    assert "PRIVATE" not in chain.text
    client = link.split("/")[3]
    assert (await site.get(f"/certificates/{client}/00/chain.pem")).status == 404
    assert (await site.get(f"/certificates/{application}/00/chain.pem")).status == 404


async def test_the_inventory_is_filtered_by_state(site: Site, tmp_path: Path) -> None:
    application, _ = await paired(site, tmp_path / "peer")

    valid = await site.get("/certificates?state=VALID")

    assert f"/console/applications/{application}" in valid.links
    assert f"/console/applications/{application}" not in (await site.get("/certificates?state=EXPIRED")).links
    assert (await site.get("/certificates?state=NONSENSE")).status == 200


async def test_what_cannot_be_revoked_says_why(site: Site) -> None:
    refused = await site.post("/certificates/revoke", fingerprint="ab" * 32, back="/console/certificates")

    assert (await site.follow(refused)).tree.xpath("//p[contains(@class, 'bad')]")


async def test_the_inventory_names_owners(site: Site, tmp_path: Path) -> None:
    application, _ = await paired(site, tmp_path / "peer", name="owner-by-name")

    shown = await site.get("/certificates")

    link = f"//section[@id='list']//a[@href='/console/applications/{application}']"
    assert shown.tree.xpath(f"string({link})") == "owner-by-name"
