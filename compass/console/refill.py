"""A form that was refused, shown again with what was typed into it.

Done to the page as it is sent, for every form of every page alike: no template has to think of it.
"""

import html
import re
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from typing import Final

NEVER: Final = frozenset({"csrf", "back", "base"})
"""What the page itself puts into a form."""
_FILLED: Final = frozenset({"text", "search", "url", "email", "number", "tel", ""})


def refill(page: str, action: str, typed: Mapping[str, str]) -> str:
    """The page with the form of that action filled; of several, the one with the same hidden fields.

    Passwords are not filled in. What the form stands in is opened.
    """
    parser = _Forms(page, action, typed)
    parser.feed(page)
    parser.close()
    made = page
    for begin, end, text in sorted(parser.edits, reverse=True):
        made = made[:begin] + text + made[end:]
    return made


class _Forms(HTMLParser):
    """Finds what has to be written anew, by its place in the page."""

    def __init__(self, page: str, action: str, typed: Mapping[str, str]) -> None:
        super().__init__(convert_charrefs=True)
        self._page, self._action, self._typed = page, action, typed
        self._lines = [0, *(at.end() for at in re.finditer("\n", page))]
        self._closed: list[tuple[int, int, str]] = []
        """The `<details>` around, that are not open."""
        self._pending: list[tuple[int, int, str]] | None = None
        self._is_other = False
        self._textarea: tuple[str, int] | None = None
        self._select: str | None = None
        self.edits: list[tuple[int, int, str]] = []

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        """As HTMLParser."""
        given = {name: value or "" for name, value in attrs}
        if tag == "details":
            self._closed.append(self._edit("" if "open" in given else " open"))
        elif tag == "form":
            is_it = given.get("action") == self._action and not self.edits
            self._pending = [*self._closed, self._edit(" data-touched")] if is_it else None
            self._is_other = False
        elif self._pending is not None:
            self._field(tag, given, given.get("name", ""))

    def _field(self, tag: str, given: Mapping[str, str], name: str) -> None:
        assert self._pending is not None  # noqa: S101  # where it is called
        kind = given.get("type", "")
        match tag:
            case "input" if kind == "hidden":
                self._is_other |= name not in NEVER and self._typed.get(name) != given.get("value", "")
            case "input" if kind in ("radio", "checkbox"):
                is_chosen = self._typed.get(name) == given.get("value", "on")
                self._pending.append(self._edit(" checked" if is_chosen else "", without="checked"))
            case "input" if kind in _FILLED and name in self._typed:
                self._pending.append(self._edit(f' value="{html.escape(self._typed[name])}"', without="value"))
            case "textarea" if name in self._typed:
                self._textarea = (self._typed[name], self._end())
            case "select" if name in self._typed:
                self._select = self._typed[name]
            case "option" if self._select is not None:
                # An option without a value is called as it reads.
                text = self._page[self._end() :].partition("<")[0]
                is_chosen = html.unescape(given.get("value", text)).strip() == self._select
                self._pending.append(self._edit(" selected" if is_chosen else "", without="selected"))

    def handle_endtag(self, tag: str) -> None:
        """As HTMLParser."""
        if tag == "details" and self._closed:
            self._closed.pop()
        elif tag == "select":
            self._select = None
        elif tag == "textarea" and self._textarea is not None and self._pending is not None:
            text, begin = self._textarea
            self._pending.append((begin, self._offset(), html.escape(text, quote=False)))
            self._textarea = None
        elif tag == "form":
            if self._pending is not None and not self._is_other:
                self.edits = [edit for edit in self._pending if edit[0] != edit[1] or edit[2]]
            self._pending = None

    def _offset(self) -> int:
        line, column = self.getpos()
        return self._lines[line - 1] + column

    def _end(self) -> int:
        return self._offset() + len(self.get_starttag_text() or "")

    def _edit(self, more: str, *, without: str = "") -> tuple[int, int, str]:
        """The tag that was just begun, with more in it, and without an attribute."""
        text = self.get_starttag_text() or ""
        kept = re.sub(rf"""\s{without}(=("[^"]*"|'[^']*'|[^\s>]+))?(?=[\s>/])""", "", text) if without else text
        return (self._offset(), self._offset() + len(text), f"{kept.rstrip('/> ')}{more}>")
