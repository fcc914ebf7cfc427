"""Requests as commands that a person can run, edit and pass on."""

import shlex
from collections.abc import Iterable


def curl(method: str, url: str, headers: Iterable[tuple[str, str]], body: str) -> str:
    """The command of the program `curl` that makes this request. Every part is quoted, so that no shell runs any."""
    words = ["curl", "--request", method, "--url", url]
    for name, value in headers:
        words += ["--header", f"{name}: {value}"]
    if body:
        # Not `--data`: that takes a first `@` for the name of a file.
        words += ["--data-raw", body]
    return shlex.join(words)
