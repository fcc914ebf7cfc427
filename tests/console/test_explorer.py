"""The explorer: documents run with one's own rights, changes only when confirmed, links without secrets or effects."""

import asyncio
import json
import shlex
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from compass.cli.main import app
from compass.console.explorer import LONGEST_LINK, named, spoken
from compass.console.session import MOST_RAN
from tests.console.conftest import HOSTILE, Shown, Site

GROUPS = "{ result: formations(first: 200) { data { name } } }"


def answer(shown: Shown) -> str:
    """What the plane answered, as shown."""
    return "".join(one.text_content() for one in shown.tree.xpath("//pre[@id='result']"))


def fields(shown: Shown) -> dict[str, str]:
    """What a browser would send."""
    (form,) = shown.tree.xpath("//form[@data-run]")
    # The first end of a line in a text area is markup.
    return {name: (value or "").removeprefix("\n") for name, value in form.fields.items() if name}


async def names(site: Site) -> list[str]:
    return [one["name"] for one in (await site.ask(GROUPS))["data"]]


async def test_a_query_is_run_as_whoever_is_signed_in(site: Site) -> None:
    await site.application("explored")
    first = await site.get("/explorer")
    assert answer(first) == ""

    shown = await site.send("/explorer", {**fields(first), "variables": '{"term": "explored"}'})

    assert '"name": "explored"' in answer(shown)
    assert "request " in shown.words
    assert fields(shown)["variables"] == '{"term": "explored"}'


@pytest.mark.parametrize("api", ["director", "connector", "provisioner"])
async def test_every_api_can_be_asked_and_says_what_it_offers(site: Site, api: str) -> None:
    shown = await site.post("/explorer", api=api, query="{ __schema { queryType { name } } }", variables="")
    assert '"queryType"' in answer(shown)

    offered = await site.get(f"/explorer/docs?api={api}")
    assert "Query" in offered.words


async def test_a_change_is_made_only_when_it_was_confirmed(site: Site) -> None:
    text = 'mutation {\n  result: createFormation(formation: {name: "explored-group"}) { id } }'

    asked = await site.post("/explorer", api="director", query=text, variables="")

    assert "Nothing was sent yet" in asked.words
    assert "explored-group" not in await names(site)
    other = {**fields(asked), "query": text.replace("explored-group", "another-group")}
    assert "Nothing was sent yet" in (await site.send("/explorer", other)).words
    assert "another-group" not in await names(site)

    other = {**fields(asked), "variables": '{"a": 1}'}
    assert "Nothing was sent yet" in (await site.send("/explorer", other)).words

    # As browsers end lines.
    done = await site.send("/explorer", {**fields(asked), "query": fields(asked)["query"].replace("\n", "\r\n")})
    assert '"result"' in answer(done)
    assert "explored-group" in await names(site)


async def test_a_mutation_beside_a_query_has_to_be_confirmed_too(site: Site) -> None:
    text = 'query A { viewer { id } } mutation B { createFormation(formation: {name: "hidden-group"}) { id } }'

    assert "Nothing was sent yet" in (await site.post("/explorer", api="director", query=text)).words


async def test_opening_a_link_runs_nothing(site: Site) -> None:
    text = 'mutation { result: createFormation(formation: {name: "linked-group"}) { id } }'

    shown = await site.get(f"/explorer?{urlencode({'query': text, 'confirmed': text})}")

    assert fields(shown)["query"] == text
    assert answer(shown) == ""
    assert "linked-group" not in await names(site)


@pytest.mark.parametrize(
    ("form", "why"),
    [
        ({"query": "{ viewer { id }"}, "line 1, column 16"),
        ({"query": ""}, "Syntax Error"),
        ({"query": "{ viewer { id } }", "variables": "{"}, "The variables are no JSON"),
        ({"query": "{ viewer { id } }", "variables": "[]"}, "must be a JSON object"),
        ({"query": "{" * 5000}, "deeper than 200"),
        ({"query": "{ viewer { id } }", "variables": "[" * 100_000}, "The variables are no JSON"),
    ],
)
async def test_what_cannot_be_sent_is_told_and_stays(site: Site, form: dict[str, str], why: str) -> None:
    shown = await site.post("/explorer", api="director", **form)

    assert (shown.status, why in shown.words) == (422, True)
    assert fields(shown)["query"] == form["query"]
    assert answer(shown) == ""


async def test_errors_of_the_plane_are_shown_as_they_came(site: Site) -> None:
    shown = await site.post("/explorer", api="director", query="{ nothing }", variables="")

    assert '"errors"' in answer(shown)
    assert "with errors" in shown.words


async def test_a_link_and_a_command_hold_no_secret(site: Site) -> None:
    text = (
        "mutation ($in: ApplicationRegisterInput!) { registerApplication(in: $in) { id } "
        'a: addWebhook(in: {type: UNPAIR, auth: {credential: {basic: {username: "u", password: "p4ss"}}}}) { id } }'
    )
    variables = '{"in": {"name": "x", "clientSecret": "s3cret"}}'

    shown = await site.post("/explorer", api="director", query=text, variables=variables)

    share = shown.tree.xpath("//*[@id='share']")[0]
    link = str(share.xpath(".//a/@href")[0])
    told = " ".join([link, *(one.text_content() for one in share.iterfind(".//pre"))])
    assert "p4ss" not in told
    assert "s3cret" not in told
    again = parse_qs(urlsplit(link).query)
    assert (again["api"], "addWebhook" in again["query"][0]) == (["director"], True)
    opened = await site.get(link.removeprefix("/console"))
    assert "addWebhook" in fields(opened)["query"]


async def test_the_command_is_one_of_the_command_line(site: Site) -> None:
    text = "query ($term: String) { searchApplications(term: $term) { totalCount } }"
    shown = await site.post("/explorer", api="director", query=text, variables='{"term": "it\'s; rm -rf"}')

    words = shlex.split(shown.tree.xpath("//pre[@id='as-command']")[0].text_content())
    _, bound, _ = app.parse_args(words[1:], print_error=False, exit_on_error=False)
    assert (words[0], bound.arguments["var"]) == ("compass", ('term="it\'s; rm -rf"',))
    curl = shlex.split(shown.tree.xpath("//pre[@id='as-curl']")[0].text_content())
    assert curl[-1] == f"{site.origin}/director/graphql"
    assert not [word for word in curl if "Bearer" in word]


async def test_the_program_in_python_asks_the_same(site: Site, tmp_path: Path) -> None:
    await site.application("asked-by-python")
    text = "query ($term: String) {\n  searchApplications(term: $term) { data { name } }\n}"
    variables = json.dumps({"term": "asked-by-python", "unused": "'\"\\ü{x}"})
    shown = await site.post("/explorer", api="director", query=text, variables=variables)
    program = shown.tree.xpath("//pre[@id='as-python']")[0].text_content()
    assert "eyJ" not in program
    (tmp_path / "ca.pem").write_text(site.started.ca_pem)
    form = {"grant_type": "client_credentials", "client_id": "admin", "client_secret": site.started.admin_secret}
    async with site._session.post(f"{site.origin}/oauth2/token", data=form) as answered:
        token = (await answered.json())["access_token"]
    (tmp_path / "token.header").write_text(f"Authorization: Bearer {token}\n")

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-", cwd=tmp_path, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate(program.encode())

    assert process.returncode == 0
    assert json.loads(said) == {"data": {"searchApplications": {"data": [{"name": "asked-by-python"}]}}}


async def test_what_was_run_is_offered_again_once_without_secrets_and_in_this_session_only(site: Site) -> None:
    async with site.another() as browser:
        assert not (await browser.get("/explorer")).tree.xpath("//section[@id='ran']")
        hides = 'query { viewer { id } a: __type(name: "A") { name } }'
        for query, variables in (
            ("{ nothing }", ""),
            ("{ viewer { id } }", '{"password": "s3cret"}'),
            ("{ nothing }", ""),
            (hides, ""),
        ):
            await browser.post("/explorer", api="director", query=query, variables=variables)
        await browser.post("/explorer", api="director", query="mutation { createFormation }", variables="")
        await browser.post("/explorer", api="director", query=f"{{ {'a' * LONGEST_LINK} }}", variables="")

        page = await browser.get("/explorer")

        (ran,) = page.tree.xpath("//section[@id='ran']")
        assert [one.text_content() for one in ran.iterfind(".//a")] == [hides, "{ nothing }", "{ viewer { id } }"]
        assert ["bad" in one.get("class") for one in ran.xpath(".//span[contains(@class, 'mark')]")] == [
            False,
            True,
            False,
        ]
        assert "s3cret" not in page.text
        opened = await browser.get(str(ran.find(".//a").get("href")).removeprefix("/console"))
        assert fields(opened)["query"] == hides
        for number in range(MOST_RAN + 1):
            await browser.post("/explorer", api="director", query=f"{{ n{number} }}", variables="")
        page = await browser.get("/explorer")
        assert len(page.tree.xpath("//section[@id='ran']//li")) == MOST_RAN
        assert "{ n0 }" not in page.words
    assert "{ viewer { id } }" not in (await site.get("/explorer")).words


async def test_types_lead_to_types(site: Site) -> None:
    shown = await site.get("/explorer/docs?api=director&type=Application")
    assert "/console/explorer/docs?api=director&type=ApplicationStatus" in shown.links

    narrowed = await site.get("/explorer/docs?api=director&type=Application&q=healthCheck")
    assert "healthCheckURL" in narrowed.words
    assert "providerName" not in narrowed.words
    assert "INITIAL" in (await site.get("/explorer/docs?api=director&type=ApplicationStatusCondition")).words
    assert (await site.get("/explorer/docs?api=director&type=Nothing")).status == 404


async def test_hostile_text_is_text(site: Site) -> None:
    shown = await site.post("/explorer", api=HOSTILE, query=HOSTILE, variables=HOSTILE)
    assert shown.status == 422
    assert "<script>alert" not in shown.text
    shown = await site.get(f"/explorer?{urlencode({'query': HOSTILE, 'variables': HOSTILE, 'api': HOSTILE})}")
    assert fields(shown)["query"] == HOSTILE
    assert "<script>alert" not in shown.text


def test_a_type_is_written_as_documents_write_it() -> None:
    inner = {"kind": "OBJECT", "name": "Application", "ofType": None}
    kind = {"kind": "NON_NULL", "name": None, "ofType": {"kind": "LIST", "name": None, "ofType": inner}}

    assert (spoken(kind), named(kind)) == ("[Application]!", "Application")
