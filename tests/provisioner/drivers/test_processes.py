import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from compass.provisioner.drivers import processes

SLEEPS = (sys.executable, "-c", "import time; time.sleep(600)")
DEAF = (
    sys.executable,
    "-c",
    "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(600)",
)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "place"
    place.mkdir()
    yield place
    processes.end(place, grace=timedelta(0))


def started(folder: Path, program: tuple[str, ...] = SLEEPS) -> int:
    return processes.start(program, folder, output=folder / "output.txt")


def test_a_process_is_found_by_its_folder_and_by_nothing_else(folder: Path) -> None:
    pid = started(folder)

    assert [process.pid for process in processes.working_in(folder)] == [pid]
    assert processes.working_in(folder.parent) == []
    assert processes.working_in(folder / "below") == []


def test_a_process_is_of_its_own_session_and_inherits_no_secret(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPASS_DATABASE__DSN", "postgresql://u:hidden-7@h/d")
    monkeypatch.setenv("ANYTHING", "hidden-8")
    program = "import os, sys, time; print(dict(os.environ), sys.path, flush=True); time.sleep(600)"
    pid = started(folder, (sys.executable, "-c", program))
    while not (folder / "output.txt").read_text():
        time.sleep(0.01)

    printed = (folder / "output.txt").read_text()
    assert os.getsid(pid) == pid != os.getsid(0)
    assert "hidden" not in printed
    assert str(Path(__file__).parents[3]) in printed  # our own code is found from any working folder
    assert (folder / "output.txt").stat().st_mode & 0o777 == 0o600


def test_no_descriptor_is_inherited(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    os.set_inheritable(descriptor, True)  # as one that a shell had open when it started the plane
    try:
        program = "import os, time; print(sorted(os.listdir('/proc/self/fd')), flush=True); time.sleep(600)"
        started(folder, (sys.executable, "-c", program))
        while not (folder / "output.txt").read_text():
            time.sleep(0.01)
    finally:
        os.close(descriptor)

    assert (folder / "output.txt").read_text().strip() == "['0', '1', '2', '3']"  # 3 is the listing itself


def test_ending_leaves_no_process_and_no_zombie(folder: Path) -> None:
    pids = [started(folder) for _ in range(3)]

    processes.end(folder, grace=timedelta(seconds=5))

    assert processes.working_in(folder) == []
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_one_that_does_not_listen_is_killed_after_the_grace(folder: Path) -> None:
    pid = started(folder, DEAF)
    while not (folder / "output.txt").read_text():
        time.sleep(0.01)
    began = time.monotonic()

    processes.end(folder, grace=timedelta(seconds=0.3))

    assert 0.3 <= time.monotonic() - began < 5
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_zombie_works_nowhere(folder: Path) -> None:
    pid = started(folder)
    os.kill(pid, signal.SIGKILL)
    while processes.working_in(folder):
        time.sleep(0.01)

    while not processes.reap(pid):
        time.sleep(0.01)
    assert processes.reap(pid) is True  # it is no longer ours to reap, which is as good


def test_without_proc_the_same_processes_are_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = started(folder)
    monkeypatch.setattr(processes, "_PROC", folder / "there is no proc here")

    assert [process.pid for process in processes.working_in(folder)] == [pid]


def test_a_program_that_does_not_exist_is_an_error(folder: Path) -> None:
    with pytest.raises(FileNotFoundError):
        started(folder, ("/nowhere/python",))


def test_a_process_of_another_parent_is_ended_too(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from compass.provisioner.drivers import processes\n"
        f"print(processes.start({SLEEPS!r}, Path(sys.argv[1]), output=Path(sys.argv[1]) / 'output.txt'))"
    )
    told = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)

    assert [process.pid for process in processes.working_in(folder)] == [int(told.stdout)]
    processes.end(folder, grace=timedelta(seconds=5))
    assert processes.working_in(folder) == []


def test_a_process_is_found_from_the_moment_it_was_started(folder: Path) -> None:
    for _ in range(40):
        pid = started(folder)
        assert [process.pid for process in processes.working_in(folder)] == [pid]
        processes.end(folder, grace=timedelta(0))
