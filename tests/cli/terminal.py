"""A command in a terminal: a process on a pseudo terminal, what it shows, and keys that are typed."""

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_SECONDS: Final = 60.0


class Session:
    """One process on a terminal of 100 columns."""

    def __init__(self, process: subprocess.Popen[bytes], keyboard: int) -> None:
        self.process = process
        self.shown = ""
        """All that came, as it came."""
        self._keyboard = keyboard

    def until(self, text: str) -> str:
        """Wait until that is shown, and return everything so far."""
        deadline = time.monotonic() + _SECONDS
        while text not in self.shown:
            assert self._read(deadline), f"{text!r} is not in {self.shown!r}"
        return self.shown

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._keyboard, text.encode())

    def end(self) -> int:
        """Read on to the end, and return the exit code."""
        deadline = time.monotonic() + _SECONDS
        while self._read(deadline):
            pass
        return self.process.wait(timeout=_SECONDS)

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._keyboard], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return False
        try:
            came = os.read(self._keyboard, 65536)
        except OSError:  # the process has closed its side
            return False
        self.shown += came.decode("utf-8", "replace")
        return bool(came)


@contextmanager
def terminal(home: Path, *arguments: str, **variables: str) -> Iterator[Session]:
    """`compass` with these arguments and variables on a terminal; killed afterwards, if it still runs."""
    keyboard, screen = pty.openpty()
    # A terminal's processes heed Ctrl-C, also when whoever started these tests ignored it.
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    program = f"{heed}; from compass.cli.main import main; main()"
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(Path(__file__).parent.parent.parent),
        "HOME": str(home),
        "TERM": "xterm",
        "COLUMNS": "100",
        "LANG": "C.UTF-8",
        **variables,
    }
    with subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdin=screen,
        stdout=screen,
        stderr=screen,
        env=environment,
        cwd=home,
        start_new_session=True,
    ) as process:
        os.close(screen)
        try:
            yield Session(process, keyboard)
        finally:
            process.kill()
            os.close(keyboard)
