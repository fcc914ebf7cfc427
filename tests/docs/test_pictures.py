"""Every picture that a page of the documentation shows was taken by a test, and says in words what is seen on it.

Whether it is still what its page looks like takes a browser: tests/console/test_pictures.py.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.console.pictures import (
    EXAMPLE_HEX,
    EXAMPLE_ID,
    EXAMPLE_TOKEN,
    FOLDER,
    MOST_BYTES,
    MOST_BYTES_IN_ALL,
    PICTURES,
    private,
    seen,
)

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
IMAGE = re.compile(r"!\[(?P<alt>[^\]]*)\]\((?P<target>[^)]+)\)|<img\b[^>]*>")
LONG_WORD = re.compile(r"[a-z]{5,}")
FEWEST_WORDS = 8


@dataclass(frozen=True)
class Shown:
    """A picture where a page shows it."""

    page: Path
    alt: str
    target: str

    @property
    def file(self) -> Path:
        return (self.page.parent / self.target).resolve()


SHOWN = [
    Shown(page, " ".join((match["alt"] or "").split()), match["target"] or match[0])
    for page in PAGES
    for match in IMAGE.finditer(page.read_text(encoding="utf-8"))
]


def test_every_picture_that_is_shown_is_one_that_a_test_takes() -> None:
    assert SHOWN
    assert [
        (one.page.name, one.target) for one in SHOWN if one.file.parent != FOLDER or one.file.suffix != ".webp"
    ] == []
    assert {one.file.stem for one in SHOWN} == PICTURES.keys()
    assert {file.name for file in FOLDER.iterdir()} == {"seen.json", *(f"{name}.webp" for name in PICTURES)}
    assert seen().keys() == PICTURES.keys()


@pytest.mark.parametrize("shown", SHOWN, ids=lambda one: f"{one.page.name} {one.file.stem}")
def test_words_say_what_is_seen_on_it(shown: Shown) -> None:
    assert len(shown.alt.split()) >= FEWEST_WORDS, "a sentence for who cannot see it"
    page = {word for line in seen()[shown.file.stem]["words"] for word in LONG_WORD.findall(line.lower())}
    assert len(page.intersection(LONG_WORD.findall(shown.alt.lower()))) >= 2, "it speaks of something else"


def test_no_two_pictures_of_a_page_are_said_to_show_the_same() -> None:
    said = [(one.page, one.alt) for one in SHOWN]
    assert len(said) == len(set(said))


def size(image: bytes) -> tuple[int, int]:
    """Width and height of a WebP of the extended form, which is what Chromium makes. Source: RFC 9649 §2.7."""
    assert (image[:4], image[8:16]) == (b"RIFF", b"WEBPVP8X")
    width, height = (int.from_bytes(image[at : at + 3], "little") + 1 for at in (24, 27))
    return width, height


@pytest.mark.parametrize("name", sorted(PICTURES))
def test_a_picture_is_small_and_of_the_size_that_was_asked_for(name: str) -> None:
    image = (FOLDER / f"{name}.webp").read_bytes()
    assert len(image) <= MOST_BYTES
    assert size(image) == (PICTURES[name].width, PICTURES[name].height)
    assert b"EXIF" not in image
    assert b"XMP " not in image


def test_all_pictures_together_are_small() -> None:
    assert len(PICTURES) <= 15
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= MOST_BYTES_IN_ALL


@pytest.mark.parametrize("name", sorted(PICTURES))
def test_nothing_of_the_machine_that_took_it_stands_on_a_picture(name: str) -> None:
    words = "\n".join(seen()[name]["words"])
    assert words
    assert list(private(words)) == []


@pytest.mark.parametrize(
    "leaked",
    [
        "--token - <<< 'kZ8aVq3xW0pLr7TnB2yQ5sUd1EfGhJ9m'",
        "/home/somebody/.local/share/compass",
        "https://localhost:41235",
        "127.0.0.1:80",
        "0d7d2b7e-1111-4222-8333-444455556666",
        "sha256:" + "0d7d" * 16,
        "2026-01-31",
    ],
)
def test_the_check_sees_what_belongs_on_no_picture(leaked: str) -> None:
    assert list(private(f"what is said {leaked} goes on"))


def test_the_check_lets_the_examples_through() -> None:
    said = f"compass pair --server https://localhost:8443 --ca-pin sha256:{EXAMPLE_HEX[:64]} <<< '{EXAMPLE_TOKEN}'"
    assert list(private(f"{said} {EXAMPLE_ID} 2026-11-23T10:31:07Z")) == []
