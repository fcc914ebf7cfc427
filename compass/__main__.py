"""The program `compass`, which is also `python -m compass`."""

import sys


def main() -> None:
    """Run the command that the process was started with, and end the process.

    The version is told before the parser is loaded, which takes five times as long as all the rest: scripts ask for it.
    """
    if sys.argv[1:] == ["version"]:
        from compass.cli.version import version  # noqa: PLC0415  # see above

        version()
        return
    from compass.cli.main import main as run_command  # noqa: PLC0415  # see above

    run_command()


if __name__ == "__main__":
    main()
