"""sprig's functions on texts. Source: github.com/Masterminds/sprig v3.3, its docs."""

import re

from compass.gotemplate.formatting import printed, quoted, utf8
from compass.gotemplate.functions import text, whole
from compass.gotemplate.run import Run
from compass.gotemplate.values import TextMap

_WORD_START = re.compile(r"(?<!\w)\w")


def trim(run: Run, value: object) -> str:
    """Without the blanks at both ends."""
    return text(run, value).strip()


def trim_all(run: Run, cut: object, value: object) -> str:
    """Without any of the cut characters at both ends."""
    characters = text(run, cut)
    return text(run, value).strip(characters) if characters else text(run, value)


def trim_suffix(run: Run, suffix: object, value: object) -> str:
    """Without the suffix, if it is there."""
    return text(run, value).removesuffix(text(run, suffix))


def trim_prefix(run: Run, prefix: object, value: object) -> str:
    """Without the prefix, if it is there."""
    return text(run, value).removeprefix(text(run, prefix))


def upper(run: Run, value: object) -> str:
    """In capitals, character by character: Go never makes two of one."""
    return "".join(big if len(big := character.upper()) == 1 else character for character in text(run, value))


def lower(run: Run, value: object) -> str:
    """In small letters, character by character."""
    return "".join(small if len(small := character.lower()) == 1 else character for character in text(run, value))


def title(run: Run, value: object) -> str:
    """Every word with a capital first letter."""
    return _WORD_START.sub(lambda start: upper(run, start.group()), text(run, value))


def untitle(run: Run, value: object) -> str:
    """Every word with a small first letter."""
    return _WORD_START.sub(lambda start: lower(run, start.group()), text(run, value))


def replace(run: Run, old: object, new: object, value: object) -> str:
    """With every occurrence of old replaced by new."""
    subject, piece, other = text(run, value), text(run, old), text(run, new)
    occurrences = subject.count(piece)
    run.check_size(len(subject) + occurrences * (len(other) - len(piece)))
    return subject.replace(piece, other)


def has_prefix(run: Run, prefix: object, value: object) -> bool:
    """Whether the text begins with the prefix."""
    return text(run, value).startswith(text(run, prefix))


def has_suffix(run: Run, suffix: object, value: object) -> bool:
    """Whether the text ends with the suffix."""
    return text(run, value).endswith(text(run, suffix))


def quote(run: Run, *values: object) -> str:
    """The values in double quotes, with a space between; nil is left out."""
    return " ".join(quoted(printed(run, value)) for value in values if value is not None)


def single_quote(run: Run, *values: object) -> str:
    """The values in single quotes, with a space between; nil is left out."""
    return " ".join(f"'{printed(run, value)}'" for value in values if value is not None)


def concatenated(run: Run, *values: object) -> str:
    """The values that are not nil, with a space between."""
    return " ".join(printed(run, value) for value in values if value is not None)


def texts_of(run: Run, value: object) -> list[object]:
    """The elements of a list as texts, without nil; any other value as a list of its text."""
    if isinstance(value, list):
        run.spend(len(value))
        return [printed(run, item) for item in value if item is not None]
    return [] if value is None else [printed(run, value)]


def join(run: Run, separator: object, values: object) -> str:
    """The elements as one text."""
    between, pieces = text(run, separator), [str(piece) for piece in texts_of(run, values)]
    run.check_size(sum(map(len, pieces)) + len(between) * len(pieces))
    return between.join(pieces)


def _split(run: Run, separator: object, value: object, at_most: int = -1) -> list[str]:
    between, subject = text(run, separator), text(run, value)
    run.spend(1 + len(subject) // 16)
    if between:
        return subject.split(between, at_most)
    characters = list(subject)
    return characters if at_most < 0 else [*characters[:at_most], "".join(characters[at_most:])]


def split_list(run: Run, separator: object, value: object) -> list[object]:
    """The pieces between the separators."""
    return [*_split(run, separator, value)]


def split_map(run: Run, separator: object, value: object) -> TextMap:
    """The pieces between the separators as a map `_0`, `_1`, …"""
    return TextMap({f"_{position}": piece for position, piece in enumerate(_split(run, separator, value))})


def truncated(run: Run, count: object, value: object) -> str:
    """The first `count` characters; with a negative count, the last ones."""
    subject, size = text(run, value), whole(run, count)
    if size < 0:
        return subject[size:] if len(subject) + size > 0 else subject
    return subject[:size]


def repeat(run: Run, count: object, value: object) -> str:
    """The text `count` times."""
    times, subject = whole(run, count), text(run, value)
    if times < 0:
        raise run.failure("cannot repeat a text a negative number of times")
    run.check_size(len(subject) * times)
    return subject * times


def indent(run: Run, count: object, value: object) -> str:
    """Every line moved right by `count` spaces."""
    subject, spaces = text(run, value), whole(run, count)
    if spaces < 0:
        raise run.failure("cannot indent by a negative number of spaces")
    run.check_size(len(subject) + spaces * (subject.count("\n") + 1))
    return " " * spaces + subject.replace("\n", "\n" + " " * spaces)


def indent_after_line_break(run: Run, count: object, value: object) -> str:
    """A line break, then the text indented."""
    return "\n" + indent(run, count, value)


def without_blanks(run: Run, value: object) -> str:
    """Without any blank, line breaks included."""
    return "".join(text(run, value).split())


def substring(run: Run, start: object, end: object, value: object) -> str:
    """Bytes from start up to end; a negative start means the beginning, an end out of range the end."""
    octets, first, last = utf8(text(run, value)), whole(run, start), whole(run, end)
    if first < 0:
        return octets[: max(last, 0)].decode("utf-8", "replace")
    if last < 0 or last > len(octets):
        last = len(octets)
    if first > last:
        raise run.failure(f"the start {first} is behind the end {last}")
    return octets[first:last].decode("utf-8", "replace")
