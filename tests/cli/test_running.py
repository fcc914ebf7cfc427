"""A plane that runs until it is told to stop."""

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, sys
from compass.cli.running import until_stopped

async def work():
    try:
        print("ready", flush=True)
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0.05)
        print("tidied up", flush=True)

sys.exit(until_stopped(work()))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_on_request_tidies_up_and_is_a_success(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"

        process.send_signal(number)

        assert process.stdout.read() == "tidied up\n"
        assert process.wait(timeout=20) == 0


def test_a_failure_is_not_hidden() -> None:
    program = PROGRAM.replace("await asyncio.sleep(60)", "raise ZeroDivisionError")
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False)

    assert ended.returncode == 1
    assert ended.stdout == "ready\ntidied up\n"
    assert ended.stderr.endswith("ZeroDivisionError\n")
