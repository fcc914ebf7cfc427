"""Contexts: the planes this person works with, and as whom. `compass context` lists and chooses.

One file, `$XDG_CONFIG_HOME/compass/config.toml`; beside it, mode 0600, the secret and the trust anchor of each context.
"""

import json
import os
import re
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from cyclopts import App

from compass.cli.completion import ContextName
from compass.cli.failures import CommandFailed, Exit
from compass.cli.output import Format, Output, say, show

app = App(name="context", help="List the planes you work with, and choose one.")

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_FIELDS: Final = ("url", "ca_pin", "tenant", "client_id")


@dataclass(frozen=True)
class Context:
    """A plane, and who we are there."""

    name: str
    url: str
    """The token port's base URL."""
    ca_pin: str
    """`sha256:…`, the fingerprint of the plane's authority."""
    client_id: str
    tenant: str = ""
    """The tenant's external id; empty for none."""

    @property
    def secret_file(self) -> Path:
        """Where the client secret is kept."""
        return folder() / f"{self.name}.secret"

    @property
    def login(self) -> str:
        """The command that signs in again."""
        tenant = f" --tenant {self.tenant}" if self.tenant else ""
        return (
            f"compass login {self.url} --ca-pin {self.ca_pin} --client-id {self.client_id}{tenant} --name {self.name}"
        )

    @property
    def anchor_file(self) -> Path:
        """Where the authority's certificate is kept, as checked against the pin."""
        return folder() / f"{self.name}.ca.pem"


def folder() -> Path:
    """Where contexts are kept."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "compass"


def keep(context: Context, *, secret: str, anchor: str) -> None:
    """Store a context, replacing one of the same name, and make it the current one. Raises CommandFailed."""
    from compass.files import write_private

    if not _NAME.fullmatch(context.name):
        message = f"{context.name!r} is no name for a context: small letters, digits and hyphens, at most 40"
        raise CommandFailed(message, exit_code=Exit.USAGE)
    try:
        folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(context.secret_file, secret.encode() + b"\n")
        write_private(context.anchor_file, anchor.encode())
        _, others = _read()
        _write(context.name, {**others, context.name: context})
    except OSError as problem:
        raise CommandFailed(f"the context cannot be stored: {problem}", hint=f"check {folder()}") from None


def chosen(name: str | None = None) -> Context:
    """The context of that name, or `COMPASS_CONTEXT`, or the current one. Raises CommandFailed."""
    current, contexts = _read()
    wanted = name or os.environ.get("COMPASS_CONTEXT") or current
    if not contexts:
        raise CommandFailed("there is no plane to speak to yet", hint="compass up starts one, compass login adds one")
    if wanted not in contexts:
        known = ", ".join(sorted(contexts))
        raise CommandFailed(f"there is no context {wanted!r}", exit_code=Exit.NOT_FOUND, hint=f"there are: {known}")
    return contexts[wanted]


def known() -> list[str]:
    """The names of all contexts. Raises CommandFailed."""
    return list(_read()[1])


def find(name: str) -> Context | None:
    """The context of that name, if it is stored."""
    return _read()[1].get(name)


def move(context: Context, url: str) -> None:
    """The same plane at another address. Raises CommandFailed."""
    current, contexts = _read()
    try:
        _write(current, contexts | {context.name: replace(context, url=url)})
    except OSError as problem:
        raise CommandFailed(f"the context cannot be stored: {problem}", hint=f"check {folder()}") from None


@app.command(name="list")
def list_contexts(*, output: Output = Format.TABLE) -> None:
    """List the contexts; the current one is marked.

    For example:

        compass context list
    """
    current, contexts = _read()
    rows = [
        {"name": each.name, "url": each.url, "tenant": each.tenant, "client": each.client_id, "current": mark}
        for each in contexts.values()
        for mark in ("*" if each.name == current else "",)
    ]
    show(rows, output)


@app.command
def use(name: ContextName) -> None:
    """Make a context the current one.

    For example:

        compass context use production

    Exit codes: 0 chosen, 4 there is no such context.
    """
    context = chosen(name)
    _write(context.name, _read()[1])
    say(f"now speaking to {context.name}, {context.url}")


@app.command
def remove(name: ContextName) -> None:
    """Forget a context with its credentials. The plane is not told.

    For example:

        compass context remove test

    Exit codes: 0 forgotten, 4 there is no such context.
    """
    context = chosen(name)
    current, contexts = _read()
    del contexts[context.name]
    _write("" if current == context.name else current, contexts)
    context.secret_file.unlink(missing_ok=True)
    context.anchor_file.unlink(missing_ok=True)
    say(f"forgot {name}")


def _read() -> tuple[str, dict[str, Context]]:
    path = folder() / "config.toml"
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        contexts = {name: Context(name=name, **entry) for name, entry in document.get("contexts", {}).items()}
    except FileNotFoundError:
        return "", {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, TypeError) as problem:
        raise CommandFailed(f"{path} cannot be read: {problem}", hint="repair or remove the file") from None
    return str(document.get("current", "")), contexts


def _write(current: str, contexts: dict[str, Context]) -> None:
    from compass.files import write_private

    lines = [f"current = {json.dumps(current)}"]
    for name, context in contexts.items():
        lines.append(f"\n[contexts.{name}]")
        # A JSON string without control characters is a TOML string too.
        lines += [f"{each} = {json.dumps(getattr(context, each))}" for each in _FIELDS]
    write_private(folder() / "config.toml", ("\n".join(lines) + "\n").encode())
