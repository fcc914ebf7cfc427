"""How commands take secrets: from standard input, a file or the environment, never from the command line.

And where they may be sent: over TLS only.
"""

import os
import re
import sys
from getpass import getpass
from pathlib import Path

from compass.cli.failures import CommandFailed, Exit


def secret(what: str, *, flag: str, typed: str | None, file: Path | None, variable: str) -> str:
    """The secret called `what`: `FLAG -` reads standard input, `FLAG-file` a file, else `variable`, else a prompt.

    Raises CommandFailed when there is none, or when it was typed on the command line.
    """
    hint = f"{flag} - reads it from standard input, {flag}-file from a file, {variable} from the environment"
    if typed not in {None, "-"}:
        message = f"the {what} does not belong on the command line, which every process of this machine can read"
        raise CommandFailed(message, exit_code=Exit.USAGE, hint=hint)
    if typed is not None and file is not None:
        raise CommandFailed(f"{flag} and {flag}-file exclude each other", exit_code=Exit.USAGE, hint=hint)
    value = _read(what, from_input=typed is not None or file == Path("-"), file=file, variable=variable)
    if not value:
        raise CommandFailed(f"there is no {what}", exit_code=Exit.USAGE, hint=hint)
    return value


def _read(what: str, *, from_input: bool, file: Path | None, variable: str) -> str:
    if from_input:
        return getpass(f"{what}: ", stream=sys.stderr) if sys.stdin.isatty() else sys.stdin.readline().strip()
    if file is not None:
        return read_text(file).strip()
    if found := os.environ.get(variable):
        return found.strip()
    return getpass(f"{what}: ", stream=sys.stderr) if sys.stdin.isatty() else ""


def read_text(path: Path) -> str:
    """The text of a file the person named, or of standard input for `-`. Raises CommandFailed."""
    if path == Path("-"):
        return sys.stdin.read()
    try:
        return path.read_text(encoding="utf-8")
    except OSError as problem:
        raise CommandFailed(f"{path} cannot be read: {problem.strerror or problem}") from None
    except UnicodeDecodeError:
        raise CommandFailed(f"{path} cannot be read: it is not text in UTF-8") from None


def whole_pin(pin: str) -> str:
    """The fingerprint, if it can be one. Raises CommandFailed: half of a pin was cut off on its way here."""
    if re.fullmatch(r"[0-9a-f]{64}", pin.lower().removeprefix("sha256:").replace(":", "")) is None:
        message = f"--ca-pin {pin!r} is no fingerprint, which is sha256: and 64 digits; nothing was sent"
        raise CommandFailed(message, exit_code=Exit.USAGE, hint="it comes with the token; compass up prints it, too")
    return pin


def over_tls(url: str) -> str:
    """The address, if what is sent there is encrypted. Raises CommandFailed."""
    if not url.startswith("https://"):
        message = f"{url} is not an https:// address; a secret would be readable on its way"
        hint = None if "://" in url else f"https://{url}"
        raise CommandFailed(message, exit_code=Exit.USAGE, hint=hint)
    return url
