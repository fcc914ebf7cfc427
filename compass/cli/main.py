"""The command `compass`: finds the command, runs it, and turns how it ended into an exit code.

Commands are named here and imported when they are used: `compass version` must not pay for the server.
"""

import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from compass.cli.failures import CommandFailed, Exit, exit_of, number_of
from compass.cli.output import coloured, say
from compass.errors import CompassError

app = App(
    name="compass",
    help="Connect applications to runtimes: the plane, its agent and its command line.",
    version_flags=[],
    suppress_keyboard_interrupt=False,
)
app.command("compass.cli.demo:demo", name="demo")
app.command("compass.cli.up:up", name="up")
app.command("compass.cli.serve:serve", name="serve")
app.command("compass.cli.migrate:migrate", name="migrate")
app.command("compass.cli.login:login", name="login")
app.command("compass.cli.context:app", name="context")
app.command("compass.cli.graphql:graphql", name="graphql")
app.command("compass.cli.pair:pair", name="pair")
app.command("compass.cli.agent:app", name="agent")
app.command("compass.cli.account:app", name="account")
app.command("compass.cli.config:app", name="config")
app.command("compass.cli.doctor:doctor", name="doctor")
app.command("compass.cli.explain:explain", name="explain")
app.command("compass.cli.version:version", name="version")


def main() -> None:
    """Run the command that the process was started with, and end the process."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command. Returns its exit code; prints errors and hints on stderr."""
    try:
        result = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except CycloptsError as wrong:
        return _report("error", _first_paragraph(str(wrong)), "compass --help lists the commands", Exit.USAGE)
    except CommandFailed as failed:
        return _report("error", str(failed), failed.hint, failed.exit_code)
    except CompassError as refused:
        number = number_of(refused)
        return _report(f"error[COMPASS-{number}]", str(refused), f"compass explain {number}", exit_of(refused))
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        return Exit.OK  # whoever read our output has seen enough: `compass config show | head -1`
    return result if isinstance(result, int) else Exit.OK


def _report(label: str, message: str, hint: str | None, exit_code: Exit) -> int:
    say(f"{coloured(label, 'red', sys.stderr)}: {message}")
    if hint is not None:
        say(f"hint: {hint}")
    return exit_code


def _first_paragraph(text: str) -> str:
    return " ".join(text.strip().split("\n\n")[0].split())
