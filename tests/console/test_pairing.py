"""The pair wizard: from a fresh token to the first call, seen from the page."""

import asyncio
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import segno

from compass.agent.pair import pair
from compass.client.graphql import Plane
from compass.client.protocol import ClientCertificate, Endpoint, Trust
from compass.console.pairing import steps
from compass.console.visit import Visit
from compass.settings import OutboundSettings, TokenSettings
from tests.console.conftest import Shown, Site, a_plane, signed_in
from tests.delivery.receiver import Call, answer, receiving


def at(minutes: int) -> str:
    return (datetime.now(UTC) + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")


def pairing(*, expires: int = 5, used: bool = False, signed: bool = False, connected: bool = False) -> dict[str, Any]:
    return {
        "tokenIssuedAt": at(-1),
        "tokenExpiresAt": at(expires),
        "tokenUsedAt": at(0) if used else None,
        "signedAt": at(0) if signed else None,
        "connected": connected,
    }


@pytest.mark.parametrize(
    ("given", "states"),
    [
        ({}, ["done", "now", "next", "next"]),
        ({"expires": -1}, ["done", "failed", "next", "next"]),
        ({"used": True}, ["done", "done", "now", "next"]),
        ({"used": True, "expires": -1}, ["done", "done", "now", "next"]),
        ({"used": True, "signed": True}, ["done", "done", "done", "now"]),
        ({"used": True, "signed": True, "connected": True}, ["done"] * 4),
        # Its token was forgotten or replaced; what came later says that it was used.
        ({"connected": True, "expires": -1}, ["done"] * 4),
    ],
)
def test_the_steps_follow_each_other(given: dict[str, Any], states: list[str]) -> None:
    # Made now: what was made when the tests were collected is minutes old when this one runs.
    assert [step.state for step in steps(pairing(**given))] == states


@dataclass(frozen=True)
class File:
    """A file as it came."""

    headers: Mapping[str, str]
    body: bytes


async def download(site: Site, path: str) -> File:
    async with site._session.get(f"{site.origin}/console{path}") as came:
        assert came.status == 200
        return File(came.headers, await came.read())


def token_on(page: Shown) -> str | None:
    commands = page.tree.xpath("//pre[@id='pair-command']")
    return str(commands[0].text).split("'")[1] if commands else None


async def begun(site: Site, kind: str) -> tuple[str, str]:
    """A pairing that was begun: its page, and the token on it."""
    identity, _ = await (site.application() if kind == "applications" else site.runtime())
    moved = await site.post(f"/{kind}/{identity}/pair")
    path = moved.headers["location"].removeprefix("/console")
    token = token_on(await site.get(path))
    assert token
    return path, token


@pytest.mark.parametrize("kind", ["applications", "runtimes"])
async def test_every_way_to_spend_the_token_is_offered_with_the_authority_in_it(kind: str, site: Site) -> None:
    path, token = await begun(site, kind)
    ways = {
        one.get("id"): one.text_content()
        for one in (await site.get(path)).tree.xpath("//pre[starts-with(@id, 'pair-')]")
    }

    named = {"pair-command", "pair-curl", "pair-python", "pair-docker", "pair-kubernetes"}
    assert ways.keys() == named | ({"pair-agent"} if kind == "runtimes" else set())
    assert {way for way, command in ways.items() if token in command} == ways.keys()
    pinned = {way for way, command in ways.items() if site.started.ca_fingerprint in command}
    assert pinned == ways.keys() & {"pair-command", "pair-agent"}
    body = site.started.ca_pem.split("-----")[2].split()[0]
    assert {way for way, command in ways.items() if body in command} == ways.keys() - pinned


@pytest.mark.parametrize("kind", ["applications", "runtimes"])
async def test_the_page_follows_a_real_peer_to_its_first_call(kind: str, site: Site, tmp_path: Path) -> None:
    path, token = await begun(site, kind)
    shown = await site.get(path)
    assert f"--ca-pin {site.started.ca_fingerprint}" in shown.words
    assert f"compass pair --server {site.started.token_url}" in shown.words
    trust = Trust.to(site.started.ca_pem)

    connection = await pair(
        tmp_path / "peer", connector_url=f"{site.origin}/connector/graphql", token=token, trust=trust
    )
    shown = await site.get(path)
    assert (token_on(shown), "Certificate signed" in shown.words) == (None, True)
    assert shown.tree.xpath("//ol/li/@class") == ["done", "done", "done", "now"]
    credentials = ClientCertificate(connection.folder / "chain.crt", connection.folder / "client.key")
    async with Plane(site.started.mtls_url, trust=trust, credentials=credentials) as peer:
        await peer.ask(Endpoint.DIRECTOR, "{ viewer { id } }")

    shown = await site.get(path)
    assert shown.tree.xpath("//ol/li/@class") == ["done"] * 4
    assert "is connected." in shown.words
    assert "every" not in shown.tree.xpath("//main/@hx-trigger")[0]


async def test_the_token_is_shown_to_the_session_that_made_it_only(site: Site) -> None:
    path, token = await begun(site, "applications")

    async with site.another() as colleague:
        shown = await colleague.get(path)

    assert token not in shown.text
    assert "The token is shown only to the session that made it" in shown.words
    assert token_on(await site.get(path)) == token


async def test_a_token_that_was_taken_back_is_worth_nothing(site: Site, tmp_path: Path) -> None:
    path, token = await begun(site, "applications")

    moved = await site.post(f"{path}/void")

    assert "The token is void" in (await site.follow(moved)).words
    assert (await site.get(path)).status == 404
    url = f"{site.origin}/connector/graphql"
    with pytest.raises(Exception, match="token"):
        await pair(tmp_path / "peer", connector_url=url, token=token, trust=Trust.to(site.started.ca_pem))


async def test_what_was_begun_before_is_listed(site: Site) -> None:
    path, token = await begun(site, "runtimes")

    shown = await site.get(path.rpartition("/")[0])

    assert f"/console{path}" in shown.links
    assert token not in shown.text


@pytest.mark.parametrize("kind", ["applications", "runtimes"])
async def test_another_token_takes_the_place_of_the_former_one(kind: str, site: Site, tmp_path: Path) -> None:
    path, former = await begun(site, kind)

    moved = await site.post(f"{path}/again")

    assert moved.headers["location"] == f"/console{path}"
    token = token_on(await site.follow(moved))
    assert token not in (None, former)
    trust, url = Trust.to(site.started.ca_pem), f"{site.origin}/connector/graphql"
    with pytest.raises(Exception, match="token"):
        await pair(tmp_path / "former", connector_url=url, token=former, trust=trust)
    await pair(tmp_path / "peer", connector_url=url, token=str(token), trust=trust)
    assert "Certificate signed" in (await site.get(path)).words


async def test_all_that_the_other_side_needs_is_one_file(site: Site, tmp_path: Path) -> None:
    path, token = await begun(site, "runtimes")

    packed = await download(site, f"{path}/pairing.zip")

    assert packed.headers["content-disposition"] == 'attachment; filename="compass-pairing.zip"'
    assert packed.headers["cache-control"] == "no-store"
    with zipfile.ZipFile(io.BytesIO(packed.body)) as archive:
        files = {one.filename.removeprefix("compass-pairing/"): archive.read(one).decode() for one in archive.filelist}
        modes = {one.filename.removeprefix("compass-pairing/"): one.external_attr >> 16 for one in archive.filelist}
    ways = {f"pair-{how}.sh" for how in ("compass", "agent", "curl", "python", "docker", "kubernetes")}
    assert files.keys() == {"README.txt", "token.txt", "plane_ca.pem", *ways}
    assert (files["token.txt"], modes["token.txt"]) == (f"{token}\n", 0o100600)
    assert files["plane_ca.pem"] == site.started.ca_pem.strip() + "\n"
    assert {name for name, text in files.items() if token in text} == {"token.txt", *ways}
    assert all(name in files["README.txt"] for name in ways)
    shown = await site.get(path)
    assert f"/console{path}/pairing.zip" in shown.links


async def test_nobody_else_gets_that_file(site: Site) -> None:
    path, token = await begun(site, "applications")

    async with site.another() as colleague:
        moved = await colleague.get(f"{path}/pairing.zip")
        assert token not in (await colleague.follow(moved)).text
    await site.post(f"{path}/void")
    assert token not in (await site.get(f"{path}/pairing.zip")).text


@pytest.mark.parametrize(("kind", "longest"), [("applications", 300), ("runtimes", 3600)])
async def test_a_token_lives_as_long_as_was_chosen_and_so_does_the_next(kind: str, longest: int, site: Site) -> None:
    path, _ = await begun(site, kind)
    wizard = path.rpartition("/")[0]
    chosen = (await site.get(wizard)).tree.xpath("//select[@name='seconds']/option/@value")
    assert chosen[0] == "60"
    assert chosen[-1] == ""  # as long as may be, whatever that is then
    assert all(int(each) < longest for each in chosen[:-1])

    moved = await site.post(wizard, seconds="60")

    path = moved.headers["location"].removeprefix("/console")
    assert await life_on(site, path) == 60
    await site.follow(await site.post(f"{path}/again"))
    assert await life_on(site, path) == 60
    moved = await site.post(wizard, seconds="")
    path = moved.headers["location"].removeprefix("/console")
    assert await life_on(site, path) == longest
    await site.follow(await site.post(f"{path}/again"))
    assert await life_on(site, path) == longest


async def life_on(site: Site, path: str) -> int:
    """For how many seconds the token of the page is good, from the beginning."""
    query = "query($client: ID!) { result: pairings(clientID: $client) { data { tokenIssuedAt tokenExpiresAt } } }"
    [told] = (await site.ask(query, client=path.rpartition("/")[2]))["data"]
    begun_at, ends_at = (datetime.fromisoformat(told[name]) for name in ("tokenIssuedAt", "tokenExpiresAt"))
    return round((ends_at - begun_at).total_seconds())


async def test_a_life_that_is_not_allowed_makes_no_token(site: Site) -> None:
    path, _ = await begun(site, "applications")
    wizard = path.rpartition("/")[0]
    before = (await site.get(wizard)).links

    moved = await site.post(wizard, seconds="301")

    shown = moved if moved.status != 303 else await site.follow(moved)
    assert "validForSeconds must be between 30 and 300" in shown.words
    assert (await site.get(wizard)).links == before


async def test_the_command_is_a_qr_code_too_until_the_token_is_used(site: Site, tmp_path: Path) -> None:
    path, token = await begun(site, "applications")
    shown = await site.get(path)
    command = shown.tree.xpath("//pre[@id='pair-command']")[0].text_content()
    [drawn] = shown.tree.xpath("//div[@role='img']//*[local-name()='path' and @stroke]/@d")
    code = segno.make_qr(command, error="l")
    assert f'd="{drawn}"' in code.svg_inline(scale=4, border=4, dark="#000", light="#fff")
    assert not shown.tree.xpath("//div[@role='img']//@style")

    async with site.another() as colleague:
        assert not (await colleague.get(path)).tree.xpath("//div[@role='img']")
    trust, url = Trust.to(site.started.ca_pem), f"{site.origin}/connector/graphql"
    await pair(tmp_path / "peer", connector_url=url, token=token, trust=trust)
    assert not (await site.get(path)).tree.xpath("//div[@role='img']")


TOKEN = "mutation ($id: ID!) { result: requestOneTimeTokenForApplication(id: $id) { token } }"


@pytest.mark.parametrize("pause", [0, 1.1])
async def test_a_token_is_never_shown_as_that_of_what_somebody_else_began_meanwhile(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pause: float
) -> None:
    application, _ = await site.application()
    ask = Visit.ask

    async def overtaken(self: Visit, name: str, /, **variables: Any) -> dict[str, Any]:
        answered = await ask(self, name, **variables)
        if name == "TokenForApplication":
            await asyncio.sleep(pause)
            await site.ask(TOKEN, id=application)
        return answered

    monkeypatch.setattr(Visit, "ask", overtaken)
    moved = await site.post(f"/applications/{application}/pair")

    monkeypatch.undo()
    query = "query ($id: ID!) { result: pairings(objectID: $id) { data { clientID tokenIssuedAt } } }"
    theirs, ours = (await site.ask(query, id=application))["data"]
    path = moved.headers["location"].removeprefix("/console")
    if theirs["tokenIssuedAt"] == ours["tokenIssuedAt"]:
        assert "the two cannot be told apart: make another token" in (await site.follow(moved)).words
        return
    assert path.rpartition("/")[2] == ours["clientID"]
    token = token_on(await site.get(path))
    url = f"{site.origin}/connector/graphql"
    await pair(tmp_path / "peer", connector_url=url, token=str(token), trust=Trust.to(site.started.ca_pem))
    assert "Certificate signed" in (await site.get(path)).words


async def test_the_token_of_a_pairing_adapter_is_shown_once_and_as_what_it_is(
    cluster: "asyncpg.Connection[asyncpg.Record]", cluster_dsn: str, tmp_path: Path
) -> None:
    tokens = TokenSettings()
    outbound = OutboundSettings(allowed_networks=(ip_network("127.0.0.1/32"),))

    async def makes_a_token(_: Call) -> bytes:
        return answer(200, b'{"token": "of-the-adapter"}')

    async with (
        receiving(makes_a_token) as adapter,
        a_plane(cluster, cluster_dsn, tmp_path, outbound=outbound, tokens=tokens) as started,
        signed_in(started) as there,
    ):
        register = 'mutation { result: registerIntegrationSystem(in: {name: "broker"}) { id } }'
        system = (await there.ask(register))["id"]
        application, _ = await there.application("theirs")
        older = (await there.post(f"/applications/{application}/pair")).headers["location"].removeprefix("/console")
        token = token_on(await there.get(older))
        # Which system it is of is known only when the plane runs.
        object.__setattr__(tokens, "pairing_adapters", (f"{system}={adapter.url('/adapter')}",))
        managed, _ = await there.application("managed", integrationSystemID=system)
        wizard = f"/applications/{managed}/pair"

        moved = await there.post(wizard)

        assert moved.headers["location"] == f"/console{wizard}"
        shown = await there.follow(moved)
        assert shown.tree.xpath("string(//div[@id='once']//pre)") == "of-the-adapter"
        assert "good there and not at this plane" in shown.words
        assert not shown.tree.xpath("//pre[@id='pair-command']")
        assert "of-the-adapter" not in (await there.get(wizard)).text
        # What has nothing to do with the adapter stays as it was.
        assert token_on(await there.get(older)) == token


async def test_what_was_taken_back_elsewhere_says_so_and_how_to_go_on(site: Site) -> None:
    path, token = await begun(site, "applications")
    async with site.another() as colleague:
        await colleague.post(f"{path}/void")

    shown = await site.get(path)

    assert shown.status == 404
    assert "This token was taken back" in shown.words
    assert f"/console{path.rpartition('/')[0]}" in shown.links
    assert token not in shown.text
    assert "hx-get" not in shown.tree.xpath("//main")[0].attrib
