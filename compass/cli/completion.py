"""`compass completion`: a script for the shell, and the names of objects while somebody types."""

import json
import os
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import Parameter

from compass.cli.output import emit

_KEPT_SECONDS: Final = 5.0
_PATIENCE: Final = timedelta(milliseconds=300)
"""Nobody waits longer for a suggestion; then there is none."""


class Shell(StrEnum):
    """The shells that are known."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(shell: Shell) -> None:
    """Print the script that makes a shell complete commands, flags and the names of objects.

    For example:

        source <(compass completion bash)
        compass completion zsh > "${fpath[1]}/_compass"
        compass completion fish > ~/.config/fish/completions/compass.fish

    Names are asked of the plane of the current context, and kept for five seconds.

    Exit codes: 0 printed, 2 no such shell.

    Parameters
    ----------
    shell
        bash, zsh or fish.
    """
    from compass.cli.main import app

    emit(app.generate_completion(prog_name="compass", shell=shell.value))


def names(document: str) -> Callable[[Any], Iterable[str]]:
    """What completes an argument that names an object of that list; nothing when the plane does not answer at once."""

    def candidates(context: Any) -> list[str]:
        return [name for name in _known(document) if name.startswith(context.incomplete)]

    return candidates


def _contexts(context: Any) -> list[str]:
    from compass.cli.context import known

    return [each for each in known() if each.startswith(context.incomplete)]


def _codes(context: Any) -> list[str]:
    from compass.errors import Code

    return [str(one.value) for one in Code if str(one.value).startswith(context.incomplete)]


ContextName = Annotated[str, Parameter(completer=_contexts)]
CodeName = Annotated[str, Parameter(completer=_codes)]
Application = Annotated[str, Parameter(completer=names("ApplicationNames"))]
Owner = Annotated[Application, Parameter(name="--app", help="The application's name or id.")]
"""The application of the object that a command is about."""
Applications = Annotated[tuple[str, ...], Parameter(completer=names("ApplicationNames"))]
Runtime = Annotated[str, Parameter(completer=names("RuntimeNames"))]
Runtimes = Annotated[tuple[str, ...], Parameter(completer=names("RuntimeNames"))]
Group = Annotated[str, Parameter(completer=names("Groups"))]
Groups = Annotated[tuple[str, ...], Parameter(name="--group", completer=names("Groups"))]
"""The groups that something joins."""
Template = Annotated[str, Parameter(completer=names("Templates"))]
Integration = Annotated[str, Parameter(completer=names("IntegrationSystems"))]


def _known(document: str) -> list[str]:
    from compass.cli.context import chosen

    context = chosen()
    kept = _folder() / f"{context.name}.{document}.json"
    try:
        if time.time() - kept.stat().st_mtime < _KEPT_SECONDS:
            return list(json.loads(kept.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        pass
    found = _asked(document)
    try:
        from compass.files import private_folder, replace_private

        private_folder(kept.parent)
        replace_private(kept, json.dumps(found).encode())
    except OSError:
        pass  # it is only slower next time
    return found


def _asked(document: str) -> list[str]:
    """The first names of the list. Errors are for whoever completes: they swallow them."""
    from compass.cli.context import chosen
    from compass.cli.sign_in import plane_of

    with plane_of(chosen(), timeout=_PATIENCE) as plane:
        (page,) = plane.send(document, {"first": 200, "after": None}).values()
    return [str(each["name"]) for each in page["data"]]


def _folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "compass"
