"""A refused form keeps what was typed, whatever was typed."""

import random
import string
from typing import Any

import pytest
from lxml import html

from compass.console.refill import refill
from tests.console.conftest import Site

PAGE = """<main><details><summary>x</summary>
<form method="post" action="/a"><input type="hidden" name="csrf" value="1"><input type="hidden" name="key" value="one">
<input name="name" required value="old"><textarea name="text" maxlength="5">old &amp; gone</textarea></form>
<form method="post" action="/a"><input type="hidden" name="csrf" value="1"><input type="hidden" name="key" value="two">
<input id="n2" name="name" required><input name="pass" type="password"><textarea name="text"></textarea>
<select name="group"><option value="">none</option><option selected>a &lt;b</option><option>c</option></select>
<input type="radio" name="how" value="x" checked><input type="radio" name="how" value="y">
<input name="other" value="kept"><button>Go</button></form></details><svg viewBox="0 0 1 1"></svg></main>"""


def filled(typed: dict[str, str]) -> tuple[str, list[Any]]:
    text = refill(PAGE, "/a", typed)
    return text, list(html.fromstring(text).iter("form"))


def test_the_form_that_was_sent_is_filled_and_no_other() -> None:
    text, (one, two) = filled(
        {"csrf": "9", "key": "two", "name": "new", "text": "more", "group": "c", "how": "y", "pass": "p"}
    )

    assert dict(two.fields) == {
        "csrf": "1",
        "key": "two",
        "name": "new",
        "pass": None,
        "text": "more",
        "group": "c",
        "how": "y",
        "other": "kept",
    }
    assert (one.fields["name"], one.fields["text"]) == ("old", "old & gone")
    assert "<details open>" in text
    assert text.count("data-touched") == 1
    assert 'viewBox="0 0 1 1"' in text


def test_a_page_without_the_form_stays_as_it_is() -> None:
    assert refill(PAGE, "/b", {"name": "x"}) == PAGE
    assert refill(PAGE, "/a", {"key": "three", "name": "x"}) == PAGE


@pytest.mark.parametrize(
    "typed",
    ['"><script>alert(1)</script>', "</textarea><script>", "&amp;", "a\nb", "'\"", "\\1 \\g<0>", "{{ x }}", "<b"],
)
def test_what_was_typed_is_text(typed: str) -> None:
    _, (_, two) = filled({"key": "two", "name": typed, "text": typed, "group": "a <b"})

    assert (two.fields["name"], two.fields["text"], two.fields["group"]) == (typed, typed, "a <b")
    assert not two.xpath("//script")


def test_any_text_survives() -> None:
    chance = random.Random(20)  # noqa: S311  # a test that can be repeated
    for _ in range(200):
        typed = "".join(chance.choice(string.printable[:95] + "é\u2028") for _ in range(chance.randrange(30)))
        _, (_, two) = filled({"key": "two", "name": typed, "text": typed.lstrip("\n")})
        assert two.fields["name"] == typed
        assert two.fields["text"] == typed


async def test_a_refused_label_is_still_in_its_form_with_number_and_request(site: Site) -> None:
    application, _ = await site.application()
    page = f"/console/applications/{application}?tab=labels"
    refused = await site.post(f"/applications/{application}/label", key="scenarios", value='<b> "x"', back=page)

    shown = await site.follow(refused)

    assert shown.tree.xpath("//input[@name='value']/@value") == ['<b> "x"']
    assert shown.tree.xpath("//input[@name='key' and @required]/@value") == ["scenarios"]
    (notice,) = shown.tree.xpath("//p[contains(@class, 'bad')]")
    assert "COMPASS-" in notice.text_content()
    assert "request " in notice.text_content()
    assert shown.tree.xpath("//input[@name='csrf']/@value")[0] == await site.csrf()
    assert not (await site.get(f"/applications/{application}?tab=labels")).tree.xpath("//input[@name='value']/@value")


async def test_a_secret_that_was_refused_is_not_shown_again(site: Site) -> None:
    application, _ = await site.application()
    page = f"/console/applications/{application}?tab=labels"
    form = {"key": "scenarios", "value": "x", "password": "p4ss", "back": page}

    await site.send(f"/applications/{application}/label", form)

    shown = await site.get(f"/applications/{application}?tab=labels")
    assert shown.tree.xpath("//input[@name='value']/@value") == ["x"]
    assert "p4ss" not in shown.text
