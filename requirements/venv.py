"""Make or complete the folder `.venv`: the locked packages, checked by hash, and Compass itself, editable.

Run by the Makefile with whatever Python it found, so it must also parse on old ones, to say that they are too old.
Two runs at the same time wait for each other; a run that was interrupted is repaired by the next.
"""

import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
PYTHON = os.path.join(VENV, "bin", "python")
STAMP = os.path.join(VENV, "ready")
INPUTS = ["requirements/dev.txt", "requirements/venv.py", "pyproject.toml"]


def main():
    """Bring `.venv` up to date."""
    if sys.version_info < (3, 11):
        stop(
            "Compass needs Python 3.11 or newer, and {0} is {1}.{2}.".format(sys.executable, *sys.version_info[:2]),
            "Install a newer one, or name it: make PYTHON=/path/to/python3.11",
        )
    import fcntl

    with open(os.path.join(ROOT, "requirements", "venv.py")) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_ready():
            install()


def is_ready():
    """Whether a run before this one, perhaps one we waited for, has done the work already."""
    try:
        ready = os.path.getmtime(STAMP)
    except OSError:
        return False
    return all(os.path.getmtime(os.path.join(ROOT, name)) <= ready for name in INPUTS) and works()


def works():
    """Whether the Python in `.venv` is there, new enough, and can install."""
    probe = "import sys, pip; sys.exit(sys.version_info < (3, 11))"
    try:
        return subprocess.call([PYTHON, "-c", probe], stderr=subprocess.DEVNULL) == 0
    except OSError:
        return False


def install():
    """Everything, in the order that leaves the stamp for last."""
    if not works():
        print("Making .venv with Python {0}.{1}.{2}".format(*sys.version_info[:3]), file=sys.stderr, flush=True)
        try:
            import ensurepip  # noqa: F401
        except ImportError:
            stop(
                "This Python came without ensurepip, so it cannot make a virtual environment.",
                "On Debian and Ubuntu: apt-get install python3-venv. Or name another: make PYTHON=/path/to/python3.11",
            )
        run([sys.executable, "-m", "venv", "--clear", VENV])
    print("Installing the locked packages (once; needs the package index)", file=sys.stderr, flush=True)
    pip = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run([*pip, "--require-hashes", "--only-binary", ":all:", "-r", os.path.join(ROOT, "requirements", "dev.txt")])
    # `compat` is a plain path entry: the default one costs every start of `compass` 8 ms for a finder of its own.
    mode = ["--config-settings", "editable_mode=compat"]
    run([*pip, "--no-deps", "--no-index", "--no-build-isolation", *mode, "--editable", ROOT])
    with open(STAMP, "w"):
        pass


def run(command):
    """Run one step; its own output says what went wrong."""
    # An environment variable of the caller must not redirect what goes into .venv.
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONHOME", "PYTHONPATH", "PIP_USER")}
    code = subprocess.call(command, env=environment)
    if code != 0:
        stop("This step failed: {0}".format(" ".join(command)), "Run make again when the cause above is gone.")


def stop(problem, remedy):
    """End with a message for a person."""
    sys.exit("error: {0}\nhint: {1}".format(problem, remedy))


main()
