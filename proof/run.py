"""Running one selection of tests in a process of its own, and reading from its report what was done."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

_STILL_SECONDS: Final = 60
"""Between two lines that say that a run is still going on."""
_SEED: Final = re.compile(r"\b([A-Z]+(?:_[A-Z]+)*_SEED)=(\S+)")
_LAST_LINES: Final = 30
TESTS_FAILED: Final = 1
"""The exit code of pytest that says so; the others are about itself."""
BROKEN_OFF: Final = -1
MINUTES: Final = 20.0


@dataclass
class Ran:
    """What a run came to."""

    exit_code: int
    seconds: float
    tests: int = 0
    failures: int = 0
    cases: int = 0
    """As many as the tests say they tried, a test that says nothing counting as one."""
    seeds: list[str] = field(default_factory=list)
    counted: dict[str, int] = field(default_factory=dict)
    """Cases by the name of the test, of those that say how many they tried."""

    @property
    def is_good(self) -> bool:
        """Whether tests were run, and none failed."""
        return self.exit_code == 0 and self.tests > 0 and self.failures == 0


def say(text: str) -> None:
    """A line about how far it is."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')}  {text}\n")
    sys.stderr.flush()


def run(
    root: Path,
    tests: Sequence[str],
    report: Path,
    *,
    long: bool,
    minutes: float = MINUTES,
    first_failure: bool = False,
    quiet: bool = False,
) -> Ran:
    """Run these tests of the tree at `root`. What they say goes to the file `report`.txt.

    A run that takes longer than `minutes` is broken off; its exit code is `BROKEN_OFF`.
    """
    # The tree at `root` is what is tested, also by the processes that tests start, whatever is installed.
    environment = {key: value for key, value in os.environ.items() if key != "COMPASS_PROOF"}
    environment |= {"PYTHONPATH": str(root)} | ({"COMPASS_PROOF": "1"} if long else {})
    command = [
        *(sys.executable, "-m", "pytest", *tests, "-q", "-p", "no:cacheprovider", "-n0"),
        *(f"--junitxml={report}.xml", "-o", "junit_logging=system-out", "-o", "junit_family=xunit1"),
        *(("-x",) if first_failure else ()),
    ]
    report.with_name(f"{report.name}.xml").unlink(missing_ok=True)
    began = time.monotonic()
    with Path(f"{report}.txt").open("wb") as said:
        process = subprocess.Popen(
            command, cwd=root, env=environment, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            exit_code = _waited(process, tests, began + minutes * 60)
        finally:
            # Also whatever the tests started and left.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    ran = _read(report.with_name(f"{report.name}.xml"), exit_code, time.monotonic() - began)
    if not quiet:
        say(f"    {ran.cases:,} cases in {ran.tests} tests, {ran.failures} failed, {ran.seconds:.0f} s")
        if not ran.is_good:
            _show(Path(f"{report}.txt"))
    return ran


def _waited(process: "subprocess.Popen[bytes]", tests: Sequence[str], end: float) -> int:
    while (left := end - time.monotonic()) > 0:
        try:
            return process.wait(min(_STILL_SECONDS, left))
        except subprocess.TimeoutExpired:
            say(f"    … {tests[0]}, for {left:.0f} s at most")
    return BROKEN_OFF


def _read(report: Path, exit_code: int, seconds: float) -> Ran:
    ran = Ran(exit_code, seconds)
    if not report.exists():
        return ran
    for case in ET.parse(report).iter("testcase"):  # noqa: S314  # written by the pytest that was just run
        properties = {one.get("name", ""): one.get("value", "") for one in case.iter("property")}
        ran.tests += 1
        ran.failures += any(case.find(kind) is not None for kind in ("failure", "error"))
        ran.cases += int(properties.get("cases", "1"))
        if "cases" in properties:
            name = case.get("name", "").partition("[")[0]
            ran.counted[name] = ran.counted.get(name, 0) + int(properties["cases"])
        text = "".join(one.text or "" for one in case.iter("system-out"))
        found = [f"{name}={value}" for name, value in _SEED.findall(text)]
        if "seed" in properties:
            found.append(properties["seed"])
        ran.seeds += [one for one in found if one not in ran.seeds]
    return ran


def _show(report: Path) -> None:
    for line in report.read_text(errors="replace").splitlines()[-_LAST_LINES:]:
        sys.stderr.write(f"      {line}\n")
