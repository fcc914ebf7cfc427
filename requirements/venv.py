"""Make or complete the folder `.venv`: the locked packages, checked by hash, and Compass itself, editable.

Run by the Makefile with whatever Python it found, so it must also parse on old ones, to say that they are too old.
Two runs at the same time wait for each other; a run that was interrupted is repaired by the next.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).absolute().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin/python"
STAMP = VENV / "ready"
LOCK = ROOT / "requirements/dev.txt"
INPUTS = (LOCK, ROOT / "requirements/venv.py", ROOT / "pyproject.toml")
NOT_INHERITED = ("PYTHONHOME", "PYTHONPATH", "PIP_USER", "PIP_TARGET", "PIP_PREFIX")
"""Variables of the caller that would redirect what belongs into `.venv`."""


def main() -> None:
    """Bring `.venv` up to date."""
    if sys.version_info < (3, 11):
        stop(
            f"Compass needs Python 3.11 or newer, and {sys.executable} is {sys.version.split()[0]}.",
            "Install a newer one, or name it: make PYTHON=/path/to/python3.11",
        )
    import fcntl

    with Path(__file__).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_ready():
            install()


def is_ready() -> bool:
    """Whether a run before this one, perhaps one we waited for, has done the work already."""
    return STAMP.exists() and all(each.stat().st_mtime <= STAMP.stat().st_mtime for each in INPUTS) and works()


def works() -> bool:
    """Whether the Python in `.venv` is there, new enough, and can install."""
    probe = "import sys, pip; sys.exit(sys.version_info < (3, 11))"
    try:
        return subprocess.call([str(PYTHON), "-c", probe], stderr=subprocess.DEVNULL) == 0
    except OSError:
        return False


def install() -> None:
    """Everything, in the order that leaves the stamp for last."""
    if not works():
        say(f"Making .venv with Python {sys.version.split()[0]}")
        try:
            import ensurepip  # noqa: F401  # Debian leaves it out
        except ImportError:
            stop(
                "This Python came without ensurepip, so it cannot make a virtual environment.",
                "On Debian and Ubuntu: apt-get install python3-venv. Or name another: make PYTHON=/path/to/python3.11",
            )
        run(sys.executable, "-m", "venv", "--clear", str(VENV))
    say("Installing the locked packages (once; needs the package index)")
    pip = (str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*pip, "--require-hashes", "--only-binary", ":all:", "-r", str(LOCK))
    # `compat` is a plain path entry: the default one costs every start of `compass` 8 ms for a finder of its own.
    mode = ("--config-settings", "editable_mode=compat")
    run(*pip, "--no-deps", "--no-index", "--no-build-isolation", *mode, "--editable", str(ROOT))
    STAMP.touch()


def run(*command: str) -> None:
    """Run one step; its own output says what went wrong."""
    environment = {key: value for key, value in os.environ.items() if key not in NOT_INHERITED}
    if subprocess.call(command, env=environment) != 0:
        stop(f"This step failed: {' '.join(command)}", "Run make again when the cause above is gone.")


def say(line: str) -> None:
    """One line for the person who waits."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def stop(problem: str, remedy: str) -> None:
    """End with a message for a person."""
    sys.exit(f"error: {problem}\nhint: {remedy}")


main()
