"""The command `compass`: finds the command, runs it, and turns how it ended into an exit code.

Commands are named here and imported when they are used: `compass version` must not pay for the server.
"""

import io
import sys
from collections.abc import Sequence
from datetime import timedelta

from cyclopts import App, CycloptsError, Group, MissingArgumentError, Parameter

from compass.cli.failures import CommandFailed, Exit, Rehearsed, exit_of, hint_of, number_of
from compass.cli.output import Colour, choose_colour, coloured, printable, say
from compass.errors import CompassError


def _default(value: object) -> str | None:
    """How a default is shown in the help: not at all when it is that nothing was said."""
    if isinstance(value, timedelta):
        seconds = round(value.total_seconds())
        return f"{seconds // 60}m" if seconds % 60 == 0 else f"{seconds}s"
    return str(value) if value not in ((), False, "", None) else None


app = App(
    name="compass",
    help="Connect applications to runtimes: the plane, its agent and its command line.\n\n"
    "Every command takes --color=auto, always or never. By itself, nothing is coloured where there is no terminal, nor"
    " with NO_COLOR.",
    version_flags=[],
    suppress_keyboard_interrupt=False,
    default_parameter=Parameter(negative="", show_default=_default),
)

_LANDSCAPE = Group("The landscape", sort_key=1)
app.command("compass.cli.status:status", name="status", group=_LANDSCAPE)
app.command("compass.cli.tour:tour", name="tour", group=_LANDSCAPE)
app.command("compass.cli.topology:topology", name="topology", group=_LANDSCAPE)
app.command("compass.cli.events:events", name="events", group=_LANDSCAPE)
app.command("compass.cli.application:app", name="app", alias="application", group=_LANDSCAPE)
app.command("compass.cli.api:app", name="api", group=_LANDSCAPE)
app.command("compass.cli.event:app", name="event", group=_LANDSCAPE)
app.command("compass.cli.bundle:app", name="bundle", group=_LANDSCAPE)
app.command("compass.cli.access:app", name="access", group=_LANDSCAPE)
app.command("compass.cli.runtime:app", name="runtime", alias="rt", group=_LANDSCAPE)
app.command("compass.cli.group:app", name="group", alias="grp", group=_LANDSCAPE)
app.command("compass.cli.webhook:app", name="webhook", group=_LANDSCAPE)
app.command("compass.cli.template:app", name="template", group=_LANDSCAPE)
app.command("compass.cli.label_definition:app", name="label-def", group=_LANDSCAPE)
app.command("compass.cli.integration:app", name="integration", group=_LANDSCAPE)
app.command("compass.cli.tenant:app", name="tenant", group=_LANDSCAPE)
app.command("compass.cli.certificate:app", name="cert", group=_LANDSCAPE)
app.command("compass.cli.token:app", name="token", group=_LANDSCAPE)
app.command("compass.cli.key:app", name="key", group=_LANDSCAPE)

_FILES = Group("The landscape as files", sort_key=2)
app.command("compass.cli.apply:apply", name="apply", group=_FILES)
app.command("compass.cli.apply:diff", name="diff", group=_FILES)
app.command("compass.cli.apply:export", name="export", group=_FILES)

_HERE = Group("Who you are, and where", sort_key=3)
app.command("compass.cli.login:login", name="login", group=_HERE)
app.command("compass.cli.whoami:logout", name="logout", group=_HERE)
app.command("compass.cli.whoami:whoami", name="whoami", group=_HERE)
app.command("compass.cli.context:app", name="context", group=_HERE)
app.command("compass.cli.graphql:graphql", name="graphql", group=_HERE)

_PLANE = Group("The plane", sort_key=4)
app.command("compass.cli.demo:demo", name="demo", group=_PLANE)
app.command("compass.cli.console:console", name="console", group=_PLANE)
app.command("compass.cli.up:up", name="up", group=_PLANE)
app.command("compass.cli.server:app", name="server", group=_PLANE)
app.command("compass.cli.account:app", name="account", group=_PLANE)
app.command("compass.cli.ca:app", name="ca", group=_PLANE)
app.command("compass.cli.vault:app", name="vault", group=_PLANE)
app.command("compass.cli.audit:app", name="audit", group=_PLANE)
app.command("compass.cli.config:app", name="config", group=_PLANE)

_OTHER_SIDE = Group("The other side", sort_key=5)
app.command("compass.cli.pair:pair", name="pair", group=_OTHER_SIDE)
app.command("compass.cli.agent:app", name="agent", group=_OTHER_SIDE)

_HELP = Group("Help", sort_key=6)
app.command("compass.cli.doctor:doctor", name="doctor", group=_HELP)
app.command("compass.cli.explain:explain", name="explain", group=_HELP)
app.command("compass.cli.completion:completion", name="completion", group=_HELP)
app.command("compass.cli.man:man", name="man", group=_HELP)
app.command("compass.cli.version:version", name="version", group=_HELP)


def main() -> None:
    """Run the command that the process was started with, and end the process."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without a letter for ✓ is no failure
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command. Returns its exit code; prints errors and hints on stderr."""
    try:
        arguments = list(map(_spelt, _coloured(arguments)))
        _import_below(app, arguments)
        result = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except CycloptsError as wrong:
        return _report("error", _wrong(wrong), _help_of(wrong), Exit.USAGE)
    except CommandFailed as failed:
        return _report("error", str(failed), failed.hint, failed.exit_code)
    except CompassError as refused:
        number = number_of(refused)
        _report(f"error[COMPASS-{number}]", str(refused), hint_of(refused), exit_of(refused))
        if request := getattr(refused, "request_id", ""):
            say(f"request: {printable(request)}")
        return exit_of(refused)
    except Rehearsed:
        return Exit.OK
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        return Exit.OK  # whoever read our output has seen enough: `compass config show | head -1`
    return result if isinstance(result, int) else Exit.OK


def _import_below(command: App, words: Sequence[str]) -> None:
    """Import the commands that will be listed: only then the list can say what each is for."""
    for word in words:
        if word in {"--help", "-h"}:
            break
        if word.startswith("-") or word not in command:
            return
        command = command[word]
    for name in command:
        command[name]


def _coloured(arguments: Sequence[str]) -> list[str]:
    """Take `--color=…` out, which every command has. Raises CommandFailed."""
    said = [each.partition("=")[2] for each in arguments if each.startswith("--color=")]
    colour = said[-1] if said else Colour.AUTO
    if colour not in list(Colour):
        message = f"--color={colour} is none of {', '.join(Colour)}"
        raise CommandFailed(message, exit_code=Exit.USAGE)
    choose_colour(Colour(colour))
    return [each for each in arguments if not each.startswith("--color=")]


def _spelt(argument: str) -> str:
    """Flags that may have a value, as the parser has them: without one. Raises CommandFailed."""
    if argument == "--dry-run=server":
        message = "a rehearsal is made here, and the plane has none: what it would refuse is not known before"
        raise CommandFailed(message, exit_code=Exit.USAGE, hint="--dry-run says what would be sent")
    if argument.startswith("--wait="):
        return argument.replace("--wait=", "--wait-for=", 1)
    return "--dry-run" if argument == "--dry-run=client" else argument


def _report(label: str, message: str, hint: str | None, exit_code: Exit) -> int:
    say(f"{coloured(label, 'red', sys.stderr)}: {printable(message)}")
    if hint is not None:
        say(f"hint: {printable(hint)}")
    return exit_code


def _wrong(error: CycloptsError) -> str:
    """What is wrong with how a command was typed."""
    missing = error.argument if isinstance(error, MissingArgumentError) else None
    if missing is not None and not missing.tokens and not set(missing.names) & set(error.root_input_tokens or ()):
        name = missing.name if missing.index is None else missing.name.lstrip("-").upper()
        return f"{' '.join(['compass', *(error.command_chain or ())])} needs {name}"
    return _first_paragraph(str(error))


def _help_of(error: CycloptsError) -> str:
    """The help that says how it is typed: of the command, as far as there is one of that name."""
    words = " ".join(["compass", *(error.command_chain or ())])
    return f"{words} --help says how" if error.command_chain else "compass --help lists the commands"


def _first_paragraph(text: str) -> str:
    return " ".join(text.strip().split("\n\n")[0].split())
