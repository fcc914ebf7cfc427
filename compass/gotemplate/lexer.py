"""Cuts a template into tokens. Source: Go 1.26, package text/template, section "Actions" and "Text and spaces"."""

import re
from dataclasses import dataclass
from enum import StrEnum

from compass.gotemplate.errors import TemplateSyntaxError

BLANK = " \t\r\n"


class Kind(StrEnum):
    """What a token is; the value is how messages name it."""

    TEXT = "text"
    OPEN = '"{{"'
    CLOSE = '"}}"'
    NAME = "a name"
    FIELD = "a field"
    VARIABLE = "a variable"
    STRING = "a string"
    CHARACTER = "a character"
    NUMBER = "a number"
    DOT = '"."'
    PIPE = '"|"'
    DECLARE = '":="'
    ASSIGN = '"="'
    COMMA = '","'
    LEFT = '"("'
    RIGHT = '")"'
    END = "the end of the template"


@dataclass(frozen=True, slots=True)
class Token:
    """One piece of a template."""

    kind: Kind
    text: str
    line: int
    spaced: bool
    """Whether a blank stands before it: `.a.b` is one operand, `.a .b` are two."""

    def __str__(self) -> str:
        return self.kind if self.kind in (Kind.OPEN, Kind.CLOSE, Kind.END) else f"{self.text[:40]!r}"


# No alternative can match the same text in two ways, so matching is linear in the length of the token.
_TOKEN = re.compile(
    r"""
    (?P<STRING>"(?:[^"\\\n]|\\[^\n])*")
  | (?P<RAW>`[^`]*`)
  | (?P<CHARACTER>'(?:[^'\\\n]|\\[^\n])*')
  | (?P<NUMBER>[+-]?(?:\d|\.\d)(?:[eEpP][+-]\d|[\w.])*)
  | (?P<FIELD>\.[^\W\d]\w*)
  | (?P<DOT>\.)
  | (?P<VARIABLE>\$\w*)
  | (?P<NAME>[^\W\d]\w*)
  | (?P<DECLARE>:=)
  | (?P<ASSIGN>=)
  | (?P<PIPE>\|)
  | (?P<COMMA>,)
  | (?P<LEFT>\()
  | (?P<RIGHT>\))
    """,
    re.VERBOSE,
)
_WORDS = (Kind.FIELD, Kind.VARIABLE, Kind.NAME, Kind.DOT)
_AFTER_A_WORD = BLANK + ".,|:=()"


def tokens(source: str) -> list[Token]:
    """The tokens of a template, ending with one of kind END. Raises TemplateSyntaxError."""
    return _Lexer(source).tokens()


class _Lexer:
    def __init__(self, source: str) -> None:
        self.source = source
        self.at = 0
        self.line = 1
        self.trim_next = False
        self.found: list[Token] = []

    def tokens(self) -> list[Token]:
        while (opening := self.source.find("{{", self.at)) >= 0:
            self.text_until(opening)
            self.action()
        self.text_until(len(self.source))
        self.add(Kind.END, "", spaced=False)
        return self.found

    def text_until(self, end: int) -> None:
        """Take the text before an action, without the blanks that trim markers on either side remove."""
        text = self.source[self.at : end]
        line_breaks = text.count("\n")
        if self.trim_next:
            kept = text.lstrip(BLANK)
            self.line += text.count("\n", 0, len(text) - len(kept))
            line_breaks = kept.count("\n")
            text = kept
        if self.source.startswith("{{-", end) and self.source[end + 3 : end + 4] in tuple(BLANK):
            text = text.rstrip(BLANK)
        if text:
            self.add(Kind.TEXT, text, spaced=False)
        self.line += line_breaks
        self.at = end

    def action(self) -> None:
        opened_at_line = self.line
        trims = self.source[self.at + 2 : self.at + 3] == "-" and self.source[self.at + 3 : self.at + 4] in tuple(BLANK)
        self.at += 3 if trims else 2
        start = self.at + 1 if trims else self.at
        if self.source.startswith("/*", start):
            self.comment(start, opened_at_line)
            return
        self.add(Kind.OPEN, "{{", spaced=False)
        while True:
            spaced = self.skip_blanks()
            if self.at >= len(self.source):
                raise TemplateSyntaxError('an action is not closed: expected "}}"', line=opened_at_line)
            if self.close(spaced=spaced):
                self.add(Kind.CLOSE, "}}", spaced=spaced)
                return
            self.token(spaced=spaced)

    def comment(self, start: int, line: int) -> None:
        end = self.source.find("*/", start + 2)
        if end < 0:
            raise TemplateSyntaxError('a comment is not closed: expected "*/"', line=line)
        self.line += self.source.count("\n", self.at, end)
        self.at = end + 2
        trimmed_close = self.source[self.at + 1 : self.at + 4] == "-}}" and self.source[self.at] in BLANK
        if trimmed_close:
            self.line += self.source[self.at] == "\n"
            self.at += 1
        if not self.close(spaced=trimmed_close):
            raise TemplateSyntaxError('expected "}}" right after the end of a comment', line=self.line)

    def close(self, *, spaced: bool) -> bool:
        """Pass the end of an action if it is next; a trim marker counts only after a blank."""
        self.trim_next = spaced and self.source.startswith("-}}", self.at)
        if not self.trim_next and not self.source.startswith("}}", self.at):
            return False
        self.at += 3 if self.trim_next else 2
        return True

    def skip_blanks(self) -> bool:
        start = self.at
        while self.at < len(self.source) and self.source[self.at] in BLANK:
            self.line += self.source[self.at] == "\n"
            self.at += 1
        return self.at > start

    def token(self, *, spaced: bool) -> None:
        match = _TOKEN.match(self.source, self.at)
        if match is None:
            raise TemplateSyntaxError(self.no_token(), line=self.line)
        name = match.lastgroup or ""
        kind = Kind.STRING if name == "RAW" else Kind[name]
        self.add(kind, match.group(), spaced=spaced)
        self.line += match.group().count("\n")
        self.at = match.end()
        if kind in _WORDS and not self.ends_a_word():
            raise TemplateSyntaxError(
                f"unexpected {self.source[self.at]!r} after {match.group()[:40]!r}: expected a blank", line=self.line
            )

    def ends_a_word(self) -> bool:
        return self.source[self.at : self.at + 1] in ("", *_AFTER_A_WORD) or self.source.startswith("}}", self.at)

    def no_token(self) -> str:
        character = self.source[self.at]
        what = {'"': "a string", "`": "a raw string", "'": "a character constant"}.get(character)
        if what:
            return f"{what} is not closed: expected {character}"
        return f'unexpected {character!r} in an action: expected a value, a name or "}}}}"'

    def add(self, kind: Kind, text: str, *, spaced: bool) -> None:
        self.found.append(Token(kind, text, self.line, spaced))
