"""The files that browsers get: the reviewed ones, in the wheel, or the plane does not start."""

import hashlib
import re
import shutil
import ssl
import tomllib
from importlib.resources import files
from pathlib import Path

import aiohttp
import pytest

from compass.console.assets import AssetRefused, Assets
from tests.console.conftest import Site

MOST_BYTES = 120_000
"""Of the first page and everything it asks for."""
CONSOLE = Path(str(files("compass.console")))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for folder in ("vendor", "static"):
        shutil.copytree(CONSOLE / folder, tmp_path / folder)
    return tmp_path


def test_every_file_of_others_is_listed_with_name_version_licence_and_digest() -> None:
    listed = tomllib.loads((CONSOLE / "vendor/vendor.toml").read_text())

    for package in listed.values():
        assert package["name"]
        assert package["version"]
        assert package["licence"] in {"0BSD", "MIT"}
        assert any(name.endswith(".LICENSE") for name in package["files"])
        for name, digest in package["files"].items():
            assert hashlib.sha256((CONSOLE / "vendor" / name).read_bytes()).hexdigest() == digest
    names = {name for package in listed.values() for name in package["files"]}
    assert {one.name for one in (CONSOLE / "vendor").iterdir()} - {"vendor.toml"} == names


def test_no_file_names_a_host_to_load_from() -> None:
    for folder in ("vendor", "static", "templates"):
        for file in (CONSOLE / folder).iterdir():
            text = file.read_text()
            for scheme in ("https://", "http://"):
                text = text.replace(f"{scheme}www.w3.org/", "")  # the names of SVG and XHTML
                text = re.sub(rf"{scheme}[a-z]+\.example\b", "", text)  # shown in an empty field; no such host exists
                assert scheme not in text, file.name


def test_a_missing_file_is_told_at_the_start(copy: Path) -> None:
    (copy / "vendor/htmx.min.js").unlink()

    with pytest.raises(AssetRefused, match=r"vendor/htmx\.min\.js of the console is missing: install the package anew"):
        Assets.load(copy)


def test_a_changed_file_is_told_at_the_start(copy: Path) -> None:
    with (copy / "vendor/idiomorph.min.js").open("a") as file:
        file.write(" ")

    with pytest.raises(AssetRefused, match=r"vendor/idiomorph\.min\.js .* is not the one that was reviewed"):
        Assets.load(copy)


def test_a_file_that_nobody_listed_is_told_at_the_start(copy: Path) -> None:
    (copy / "vendor/more.js").write_text("1")

    with pytest.raises(AssetRefused, match=r"vendor/more\.js"):
        Assets.load(copy)


def test_a_list_that_cannot_be_read_is_told_at_the_start(copy: Path) -> None:
    (copy / "vendor/vendor.toml").write_text("[")

    with pytest.raises(AssetRefused, match=r"vendor/vendor\.toml"):
        Assets.load(copy)


def test_an_address_changes_with_its_content(copy: Path) -> None:
    before = Assets.load(copy).address("console.css")
    with (copy / "static/console.css").open("a") as file:
        file.write("\n")

    assert Assets.load(copy).address("console.css") != before
    assert before.startswith("/static/console.css?v=")


def test_nothing_else_of_the_folder_is_served() -> None:
    assets = Assets.load()

    assert assets.get("vendor.toml") is None
    assert assets.get("htmx.LICENSE") is None
    assert assets.get("../app.py") is None


async def test_the_first_page_with_all_it_needs_is_light(site: Site) -> None:
    async def weighed(path: str) -> bytes:
        """What goes over the line, compressed where there is a compressed form."""
        headers = {"cookie": "; ".join(f"{name}={value}" for name, value in site.cookies.items())}
        async with session.get(site.origin + path, headers=headers) as answer:
            assert answer.status == 200, path
            return await answer.read()

    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cadata=site.started.ca_pem))
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
        shown = await site.get("/")
        needs = set(re.findall(r'(?:src|href)="(/console/static/[^"#]+)', shown.text))
        parts = {path: len(await weighed(path)) for path in ("/console/", *needs)}

    assert len(needs) >= 4
    assert sum(parts.values()) < MOST_BYTES, parts
