"""The README's two commands in a fresh clone of the last commit. Run by `make proof`, see tests/docs/conftest.py."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
KEPT = ("PATH", "LANG", "PIP_INDEX_URL", "PIP_CONFIG_FILE", "PIP_CERT", "SSL_CERT_FILE", "HTTPS_PROXY", "HTTP_PROXY")
"""What a fresh machine has too: where programs and the package index are. Not COMPASS_PROOF, see conftest.py."""


def make(target: str, clone: Path, home: Path) -> None:
    environment = {name: os.environ[name] for name in KEPT if name in os.environ}
    # pip's own configuration lies in the home; everything else of it is empty.
    environment |= {"HOME": str(home), "TMPDIR": str(home)}
    with (clone.parent / f"{target}.log").open("w+", encoding="utf-8") as log:
        ended = subprocess.run(
            ["make", target], cwd=clone, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False
        )
        log.seek(0)
        assert ended.returncode == 0, log.read()[-8000:]


@pytest.mark.timeout(3600)
def test_the_two_commands_of_the_readme_do_everything(tmp_path: Path) -> None:
    clone, home = tmp_path / "compass", tmp_path / "home"
    home.mkdir()
    for configuration in (".config/pip", ".pip"):
        if (Path.home() / configuration).is_dir():
            shutil.copytree(Path.home() / configuration, home / configuration)
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)

    make("demo", clone, home)
    make("test", clone, home)

    left = subprocess.run(["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True, check=True)
    assert left.stdout == ""
