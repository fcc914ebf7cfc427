"""`compass man`: the manual, made of the same words as the help."""

import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import App, Parameter

from compass.cli.failures import CommandFailed, Exit
from compass.cli.find import meant
from compass.cli.output import done, emit
from compass.cli.version import VERSION

if TYPE_CHECKING:
    from cyclopts import ArgumentCollection

_OF_ALL: Final = {
    "COMPASS_CONTEXT": "The context to use, instead of the current one.",
    "COMPASS_TOKEN": "An access token, or for pair and agent a one-time token, instead of what is stored or typed.",
    "COMPASS_SECRET": "A client secret, for login.",
    "NO_COLOR": "When set, nothing is coloured. Nothing is anyway where stdout is no terminal.",
}
_FILES: Final = {
    "$XDG_CONFIG_HOME/compass/config.toml": "The planes that you work with; beside it their authorities, your secrets.",
    "compass.toml, $XDG_CONFIG_HOME/compass/compass.toml, /etc/compass/compass.toml": (
        "The settings of a plane that runs here: the first that exists."
    ),
}


def man(
    *words: str,
    folder: Annotated[Path | None, Parameter(help="Write the pages of all commands here, as man1/compass-….1.")] = None,
) -> None:
    """Print the manual page of a command, or write all of them into a folder of manual pages.

    For example:

        compass man app create | man -l -
        compass man --folder ~/.local/share/man
        man compass-app-create

    Exit codes: 0 printed, 2 a command and --folder, 4 there is no such command.

    Parameters
    ----------
    words
        The command, such as app create; none for the whole program.
    """
    from compass.cli.main import app

    if folder is None:
        emit(page(words, _found(app, words)).rstrip())
        return
    if words:
        raise CommandFailed(
            "--folder is for the pages of all commands", exit_code=Exit.USAGE, hint="compass man --help"
        )
    count = 0
    try:
        (folder / "man1").mkdir(parents=True, exist_ok=True)
        for path, command in every(app):
            (folder / "man1" / f"{_title(path)}.1").write_text(page(path, command), encoding="utf-8")
            count += 1
    except OSError as problem:
        raise CommandFailed(f"{folder} cannot be written: {problem}") from None
    done(f"{count} pages in {folder / 'man1'}")


def every(command: App, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], App]]:
    """A command and those below it, by the words that name them. Aliases are left out."""
    yield words, command
    for name in _names(command):
        yield from every(command[name], (*words, name))


def _names(command: App) -> list[str]:
    first: dict[int, str] = {}
    for name in command:
        if not name.startswith("-"):
            first.setdefault(id(command[name]), name)  # an alias comes after the name
    return sorted(first.values())


def _found(app: App, words: Sequence[str]) -> App:
    found = app
    for number, word in enumerate(words):
        if word.startswith("-") or word not in found:
            names = _names(found)
            path = " ".join(("compass", *words[:number]))
            hint = meant(word, names) or (f"there are: {', '.join(names)}" if names else f"{path} is one command")
            message = f"there is no command {' '.join(('compass', *words[: number + 1]))!r}"
            raise CommandFailed(message, exit_code=Exit.NOT_FOUND, hint=hint)
        found = found[word]
    return found


def page(words: Sequence[str], command: App) -> str:
    """The page of one command, in the macros of man(7)."""
    first, examples, paragraphs, exits = _parts(inspect.cleandoc(command.help or ""))
    name = " ".join(("compass", *words))
    names = _names(command)
    arguments = () if names else tuple(_arguments(command.assemble_argument_collection(parse_docstring=True)))
    usage = [*(shown for shown, _, is_flag in arguments if not is_flag), "[options]"] if not names else ["command", "…"]
    lines = [
        f'.TH "{_title(words).upper()}" 1 "" "compass {VERSION}" "Compass"',
        ".SH NAME",
        rf"{_text(_title(words))} \- {_text(first.rstrip('.'))}",
        ".SH SYNOPSIS",
        rf"\fB{_text(name)}\fR {_text(' '.join(usage))}",
    ]
    if examples:
        lines += [".SH EXAMPLES", ".nf", *(_text(line) for line in examples), ".fi"]
    if paragraphs:
        lines += [".SH DESCRIPTION", *_body(paragraphs)]
    lines += _entries("OPTIONS", ((shown, text) for shown, text, _ in arguments))
    lines += _entries("COMMANDS", ((each, _first(command[each])) for each in names))
    lines += _entries("EXIT STATUS", exits)
    if not words:
        lines += [*_entries("ENVIRONMENT", _OF_ALL.items()), *_entries("FILES", _FILES.items())]
    near = [_title((*words, each)) for each in names] or [_title(words[:-1])]
    lines += [".SH SEE ALSO", ", ".join(rf"\fB{_text(each)}\fR(1)" for each in near if each != _title(words))]
    return "\n".join(lines) + "\n"


def _title(words: Sequence[str]) -> str:
    return "-".join(("compass", *words))


def _first(command: App) -> str:
    return inspect.cleandoc(command.help or "").split("\n\n")[0]


def _parts(text: str) -> tuple[str, list[str], list[str], list[tuple[str, str]]]:
    """The first sentence, the examples, the paragraphs between, and the exit codes with what they mean."""
    first, *paragraphs = text.partition("\nParameters\n---")[0].rstrip().split("\n\n")
    examples: list[str] = []
    said: list[str] = []
    exits: list[tuple[str, str]] = []
    expects = False
    for paragraph in paragraphs:
        if paragraph.strip() == "For example:":
            expects = True
        elif expects and paragraph.startswith("    "):
            examples = inspect.cleandoc(paragraph).splitlines()
            expects = False
        elif paragraph.startswith("Exit codes: "):
            codes = _line(paragraph.removeprefix("Exit codes: ")).rstrip(".")
            # A comma inside a meaning is none between two codes.
            exits = [(code, meaning) for code, meaning in re.findall(r"(?:^|, )(\d+) (.*?)(?=, \d+ |$)", codes)]
        else:
            said.append(paragraph)
    return _line(first), examples, said, exits


def _arguments(arguments: "ArgumentCollection") -> Iterator[tuple[str, str, bool]]:
    """How each argument is written, what it means, and whether it is a flag."""
    for argument in arguments:
        names = [name for name in argument.names if name.startswith("-") and not name.startswith(("--no-", "--empty-"))]
        if not argument.show or argument.names == ("*",):
            continue
        is_flag = argument.field_info.is_keyword_only or argument.index is None
        text = _line(argument.parameter.help or "")
        if not is_flag:
            yield argument.names[0].lstrip("-").upper(), text, False
        elif argument.hint is bool:
            yield ", ".join(names), text, True
        else:
            yield f"{', '.join(names)} {argument.parameter.metavar or names[0].lstrip('-').upper()}", text, True


def _body(paragraphs: Iterable[str]) -> Iterator[str]:
    for paragraph in paragraphs:
        if paragraph.startswith("    "):
            yield from (".PP", ".nf", *map(_text, inspect.cleandoc(paragraph).splitlines()), ".fi")
        else:
            yield from (".PP", _text(_line(paragraph)))


def _entries(title: str, entries: Iterable[tuple[str, str]]) -> list[str]:
    lines = [line for term, text in entries for line in (".TP", rf"\fB{_text(term)}\fR", _text(text) or r"\&")]
    return [f".SH {title}", *lines] if lines else []


def _line(text: str) -> str:
    return " ".join(text.split())


def _text(text: str) -> str:
    """Text that means nothing to roff: hyphens stay hyphens, so that they can be copied."""
    plain = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq").replace("`", "")
    return rf"\&{plain}" if plain.startswith(".") else plain
