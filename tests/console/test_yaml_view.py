"""An application or runtime as a file: what `compass export` writes, for which `compass apply` finds nothing to do."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import yaml

from compass.console import yaml_view
from tests.console.conftest import HOSTILE, Site

API = {
    "name": "orders-v1",
    "description": "one\ntwo",
    "targetURL": "https://shop.example/orders",
    "group": "v1",
    "version": {"value": "1.2.0"},
    "spec": {
        "type": "OPEN_API",
        "format": "YAML",
        "data": "openapi: 3.0.0\ninfo: {title: a, version: '1'}\npaths: {}\n",
    },
}
BUNDLE = {
    "name": "orders",
    "description": HOSTILE[:60],
    "apiDefinitions": [API],
    "eventDefinitions": [{"name": "order-events"}],
}


async def whole(site: Site) -> tuple[str, str]:
    """An application with something of everything that a file says."""
    application, name = await site.application(
        description=HOSTILE,
        providerName="A & B",
        baseUrl="https://shop.example",
        labels={"team": ["a", "b"], "tier": "1"},
        bundles=[BUNDLE],
        webhooks=[{"type": "CONFIGURATION_CHANGED", "url": "https://shop.example/hook", "timeout": 60}],
    )
    text = """mutation ($id: ID!, $in: APIDefinitionInput!) {
      result: addAPIDefinitionToApplication(appID: $id, in: $in) { id } }"""
    await site.ask(text, id=application, **{"in": {"name": "loose", "targetURL": "https://shop.example/l"}})
    await site.group(("APPLICATION", application))
    return application, name


async def test_the_file_says_all_there_is(site: Site) -> None:
    application, name = await whole(site)

    answer = await site.get(f"/applications/{application}/compass.yaml")

    assert answer.headers["content-disposition"] == 'attachment; filename="compass.yaml"'
    said = yaml.safe_load(answer.text)
    (group,) = said.pop("groups")
    assert group.startswith("group-")
    spec = API["spec"]
    assert said == {
        "kind": "Application",
        "name": name,
        "description": HOSTILE,
        "providerName": "A & B",
        "baseUrl": "https://shop.example",
        "labels": {"team": ["a", "b"], "tier": "1"},
        "webhooks": [{"type": "CONFIGURATION_CHANGED", "url": "https://shop.example/hook", "timeout": 60}],
        "bundles": [
            {
                "name": "orders",
                "description": HOSTILE[:60],
                "apis": [{**API, "version": "1.2.0", "spec": spec}],
                "events": [{"name": "order-events"}],
            }
        ],
        "apis": [{"name": "loose", "targetURL": "https://shop.example/l"}],
    }
    shown = await site.get(f"/applications/{application}?tab=yaml")
    assert shown.tree.xpath("//pre[@id='yaml']")[0].text_content() == answer.text


async def test_a_runtime_has_one_too(site: Site) -> None:
    runtime, name = await site.runtime()
    await site.post(f"/runtimes/{runtime}/label", key="region", value='["eu"]')

    said = yaml.safe_load((await site.get(f"/runtimes/{runtime}/compass.yaml")).text)

    assert (said["kind"], said["name"], said["labels"]["region"]) == ("Runtime", name, ["eu"])
    assert (await site.get(f"/runtimes/{runtime}?tab=yaml")).tree.xpath("//pre[@id='yaml']")


async def compass(site: Site, home: Path, *words: str, typed: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "compass", *words),
        env={"PATH": os.environ["PATH"], "HOME": str(home), "NO_COLOR": "1"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate(typed.encode())
    return process.returncode, said.decode()


async def test_apply_finds_nothing_to_do_for_what_the_page_shows(site: Site, tmp_path: Path) -> None:
    application, name = await whole(site)
    text = (await site.get(f"/applications/{application}/compass.yaml")).text
    login = ("login", site.origin, "--ca-pin", site.started.ca_fingerprint, "--client-id", "admin", "--secret", "-")
    assert (
        await compass(site, tmp_path, *login, "--tenant", site.started.tenant, typed=site.started.admin_secret or "")
    )[0] == 0

    told = await compass(site, tmp_path, "diff", "-f", "-", typed=text)
    assert told == (0, "nothing to change\n"), told[1]
    other = text.replace("A & B", "A & C")
    code, said = await compass(site, tmp_path, "diff", "-f", "-", typed=other)

    assert (code, sorted(said.splitlines())) == (
        5,
        ["1 changes", f'~ application {name}: providerName "A & B" → "A & C"'],
    )


def page(amount: int, total: int | None = None) -> dict[str, Any]:
    return {"totalCount": amount if total is None else total, "data": [{"id": str(one)} for one in range(amount)]}


async def test_what_is_more_than_was_asked_for_is_not_passed_off_as_the_whole(site: Site) -> None:
    application, _ = await site.application()

    class Answering:
        """A visit whose plane has more bundles than it tells."""

        def __getitem__(self, _: str) -> str:
            return application

        async def ask(self, _name: str, **_given: Any) -> dict[str, Any]:
            one = {
                "id": application,
                "name": "a",
                "labels": {},
                "webhooks": None,
                "bundles": {**page(0), "totalCount": 201},
            }
            return {"application": one, "apis": page(0), "events": page(0)}

    said, is_whole = await yaml_view.application(Answering())  # type: ignore[arg-type]  # all that it is asked

    assert (said, is_whole) == ({"kind": "Application", "name": "a"}, False)
