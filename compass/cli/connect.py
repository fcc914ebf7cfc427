"""Handing out a one-time token, and watching it become a connection: what `app connect` and `runtime connect` share."""

import sys
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Final

from cyclopts import Parameter

from compass.cli.failures import CommandFailed, Exit
from compass.cli.jsonpath import JsonPath
from compass.cli.output import Column, Format, detail, done, emit, say
from compass.cli.speaking import Json, Speaking
from compass.cli.waiting import Progress, until

DEFAULT_TIMEOUT: Final = timedelta(minutes=5)
"""As long as an application's token is good for, unless the plane is configured otherwise."""


class Show(StrEnum):
    """What the other side runs."""

    COMPASS = "compass"
    CURL = "curl"


HowShown = Annotated[
    Show,
    Parameter(
        name="--show",
        help="What the other side runs: compass, or curl with openssl where our command line is not at hand.",
    ),
]
"""The flag of the commands that hand out a token."""


@dataclass(frozen=True)
class Side:
    """One of the two kinds of clients that pair."""

    word: str
    request: str
    """The document that makes a token."""
    look: str
    """The document that shows the object."""
    command: str


APPLICATION_SIDE: Final = Side("application", "RequestTokenForApplication", "Application", "compass app")
RUNTIME_SIDE: Final = Side("runtime", "RequestTokenForRuntime", "Runtime", "compass runtime")

_COLUMNS: Final = (
    Column("command", "command"),
    Column("token", "token"),
    Column("connector", "connectorURL"),
    Column("expires", "expiresAt"),
)


def connect(
    plane: Speaking,
    side: Side,
    found: Json,
    *,
    how: Show,
    wait: bool,
    timeout: timedelta,
    output: Format | JsonPath,
) -> None:
    """Make a token, print what the other side runs, and with `wait` watch until it has called with its certificate.

    Raises CommandFailed when that takes too long.
    """
    identity, name = found["id"], found["name"]
    before = {auth["id"] for auth in _object(plane, side, identity)["auths"] or []}
    token = plane.ask(side.request, {"id": identity})
    command = _command(plane, token, how)
    if output is Format.TABLE:
        say(f"Run this where {name} lives. The token is good for one use, until {token['expiresAt']}:")
        say()
        emit(command)
        say()
    else:
        detail({**token, "command": command, "pin": plane.context.ca_pin}, output, _COLUMNS)
    if wait:
        sys.stdout.flush()  # whoever reads the command from a pipe runs it while we wait
        _watch(plane, side, identity, name, before=before, timeout=timeout)
    elif output is Format.TABLE:
        say(f"→ {side.command} connect {name} --wait makes one and watches; {side.command} get {name} looks")


def _command(plane: Speaking, token: Json, how: Show) -> str:
    """What the other side runs. The token is fed to it on standard input, where no process list shows it."""
    if how is Show.COMPASS:
        server = token["connectorURL"].removesuffix("/connector/graphql")
        where = f"--server {server}" if server != token["connectorURL"] else f"--connector-url {server}"
        return f"compass pair {where} --ca-pin {plane.context.ca_pin} --token - <<< '{token['token']}'"
    anchor = plane.context.anchor_file.read_text(encoding="utf-8").strip()
    return (
        _CURL.replace("@ANCHOR@", anchor)
        .replace("@CONNECTOR@", token["connectorURL"])
        .replace("@TOKEN@", token["token"])
    )


_CURL: Final = r"""
cat > plane_ca.pem <<'END'
@ANCHOR@
END
ask() {
  curl -sS --fail-with-body --cacert plane_ca.pem -H 'Content-Type: application/json' -H @token.txt -d @question.json \
    @CONNECTOR@
}
field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }
umask 077
echo 'Connector-Token: @TOKEN@' > token.txt
echo '{"query":"{ configuration { token { token } certificateSigningRequestInfo { subject } } }"}' > question.json
ask > answer.json
echo "Connector-Token: $(field token < answer.json)" > token.txt
openssl ecparam -name prime256v1 -genkey -noout -out client.key
openssl req -new -key client.key -subj "/$(field subject < answer.json | tr , /)" -out client.csr
CSR=$(base64 < client.csr | tr -d '\n')
cat > question.json <<END
{"query":"mutation { signCertificateSigningRequest(csr: \"$CSR\") { certificateChain } }"}
END
ask | field certificateChain | base64 -d > client.crt
rm -f token.txt question.json answer.json client.csr
""".strip()
"""The calls of docs/guide/pairing-by-hand.md. `echo` is a builtin, so no process list shows the token."""


def _watch(plane: Speaking, side: Side, identity: str, name: str, *, before: set[str], timeout: timedelta) -> None:
    def look(shown: Progress) -> bool:
        now = _object(plane, side, identity)
        ours = next((auth for auth in now["auths"] or [] if auth["id"] not in before), None)
        if ours is None:
            message = f"the token for {name} was withdrawn"
            raise CommandFailed(message, exit_code=Exit.TOKEN_REFUSED, hint=f"{side.command} connect {name}")
        auth = ours["auth"] or {}
        token, called = auth.get("oneTimeToken") or {}, bool(auth.get("certCommonName"))
        # Of a runtime's token the plane shows nothing, but what became of it.
        signed = plane.all("Certificates", {"client": ours["id"]})
        if token.get("used") or signed:
            shown.step("token used")
        if signed:
            shown.step(f"certificate signed (serial {signed[0]['serial']}), valid until {signed[0]['expiresAt']}")
        if called:
            shown.step("first call with the certificate")
        return called

    again = f"the token stays good until it expires; {side.command} get {name} says how far it is"
    until(f"{name} to connect", look, timeout=timeout, hint=again)
    done(f"{name} is connected")


def _object(plane: Speaking, side: Side, identity: str) -> Json:
    found: Json | None = plane.ask(side.look, {"id": identity})
    if found is None:
        raise CommandFailed(f"the {side.word} is gone", exit_code=Exit.NOT_FOUND)
    return found
