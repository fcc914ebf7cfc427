"""`pg_dump` and `pg_restore`: the ones that fit, told of the database, with no secret where others can read it."""

import sys
from pathlib import Path

import pytest

from compass.postgres import programs
from compass.postgres.embedded import bundled
from compass.postgres.programs import NoPrograms, ProgramFailed, Programs, dump, find, restore, told

CASES = {
    "postgresql://compass:s3cret@db.test:5433/plane?sslmode=verify-full": (
        "postgresql://compass@db.test:5433/plane?sslmode=verify-full",
        "s3cret",
    ),
    "postgresql://compass:a%40b%2Fc@/plane?host=%2Frun%2Fpg": ("postgresql://compass@/plane?host=%2Frun%2Fpg", "a@b/c"),
    "postgres://a:x@one,two:5433/p?target_session_attrs=read-write": (
        "postgres://a@one,two:5433/p?target_session_attrs=read-write",
        "x",
    ),
    "postgresql://compass@/plane?host=/run/pg&password=in%20there&sslpassword=k": (
        "postgresql://compass@/plane?host=%2Frun%2Fpg",
        "in there",
    ),
    "postgresql:///plane": ("postgresql:///plane", None),
}


def program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!{sys.executable}\nimport os, sys\n{script}\n")
    (folder / name).chmod(0o755)


def version(folder: Path, major: int) -> Path:
    program(folder, "pg_dump", f'sys.stdout.write("pg_dump (PostgreSQL) {major}.1\\n")')
    program(folder, "pg_restore", "")
    return folder


def is_alive(pid: Path) -> bool:
    return Path(f"/proc/{pid.read_text()}").exists()


@pytest.mark.parametrize("dsn", CASES)
def test_a_password_is_in_the_environment_and_not_among_the_arguments(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGPASSWORD", raising=False)
    monkeypatch.setenv("COMPASS_DATABASE__DSN", dsn)
    monkeypatch.setenv("PGOPTIONS", "-c search_path=elsewhere")

    address, environment = told(dsn)

    assert (address, environment.get("PGPASSWORD")) == CASES[dsn]
    assert {"COMPASS_DATABASE__DSN", "PGOPTIONS"} & environment.keys() == set()


async def test_what_others_see_of_a_running_dump_has_no_secret(tmp_path: Path) -> None:
    program(
        tmp_path,
        "pg_dump",
        'sys.stdout.write(open(f"/proc/{os.getpid()}/cmdline").read() + "|" + os.environ["PGPASSWORD"])',
    )
    seen: list[bytes] = []

    await dump(Programs(tmp_path, 15), "postgresql://c:s3cret@db.test/p", snapshot="1-1", write=seen.append)

    arguments, password = b"".join(seen).decode().split("|")
    assert "s3cret" not in arguments
    assert "postgresql://c@db.test/p" in arguments
    assert password == "s3cret"


def test_the_ones_of_the_databases_version_come_first_then_the_next_newer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [version(tmp_path / str(major), major) for major in (14, 18, 16, 15)]
    (tmp_path / "half").mkdir()
    monkeypatch.setattr(programs, "_folders", lambda: iter([tmp_path / "none", tmp_path / "half", *folders]))

    assert [find(server).major for server in (15, 16, 17, 18)] == [15, 16, 18, 18]
    with pytest.raises(NoPrograms, match=r"no pg_dump for PostgreSQL 19 here \(found: 14, 15, 16, 18\)"):
        find(19)


def test_pgbin_is_a_decision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGBIN", str(version(tmp_path / "16", 16)))

    assert find(15) == Programs(tmp_path / "16", 16)
    with pytest.raises(NoPrograms, match="found: 16"):
        find(17)


def test_those_of_the_package_and_of_the_system_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGBIN", raising=False)
    package = bundled()
    assert package is not None

    assert package / "pginstall" / "bin" in list(programs._folders())


async def test_a_failure_says_what_the_program_said(tmp_path: Path) -> None:
    script = 'sys.stderr.write("warning: x\\npg_restore: error: no such role\\n"); sys.exit(1)'
    program(tmp_path, "pg_restore", script)
    with pytest.raises(ProgramFailed, match="pg_restore failed: pg_restore: error: no such role"):
        await restore(Programs(tmp_path, 15), "postgresql:///p", [b"x" * 1_000_000] * 3)  # it reads none of it
    program(tmp_path, "pg_restore", "sys.exit(3)")
    with pytest.raises(ProgramFailed, match="it ended with 3"):
        await restore(Programs(tmp_path, 15), "postgresql:///p", [])
    with pytest.raises(ProgramFailed, match="No such file"):
        await restore(Programs(tmp_path / "gone", 15), "postgresql:///p", [])


async def test_whoever_is_broken_off_leaves_no_program_behind(tmp_path: Path) -> None:
    script = f'open({str(tmp_path / "pid")!r}, "w").write(str(os.getpid())); sys.stdout.write("x"); sys.stdout.flush()'
    program(tmp_path, "pg_dump", f"{script}\nimport time\ntime.sleep(600)")

    def enough(_: bytes) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await dump(Programs(tmp_path, 15), "postgresql:///p", snapshot="1-1", write=enough)
    assert not is_alive(tmp_path / "pid")
