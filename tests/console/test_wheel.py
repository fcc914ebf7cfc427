"""The wheel carries every file of the console, and is checked where it is installed."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SENT = {".html", ".css", ".js", ".svg", ".toml", ".graphql", ".LICENSE"}


def test_the_wheel_has_every_file_of_the_console(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(ROOT / "compass", tree / "compass", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, tmp_path], cwd=tree, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")

    with zipfile.ZipFile(wheel) as built:
        inside = {name for name in built.namelist() if name.startswith("compass/console/")}
        built.extractall(tmp_path / "installed")  # it was built here

    console = ROOT / "compass/console"
    ours = {path for path in console.rglob("*") if path.is_file() and path.suffix in SENT}
    assert {path.relative_to(ROOT).as_posix() for path in ours} <= inside
    check = """import sys
sys.path.insert(0, sys.argv[1])
from compass.console.assets import Assets
from compass.console.plane import document
assert Assets.__module__ and sys.modules["compass.console.assets"].__file__.startswith(sys.argv[1])
Assets.load(), document("Viewer")
"""
    subprocess.run([sys.executable, "-I", "-c", check, tmp_path / "installed"], check=True, cwd=tmp_path)
