"""`compass pair`: run on the other side, it turns a one-time token into a client certificate."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from compass.cli.failures import CommandFailed, Exit
from compass.cli.output import done, emit, printable, say
from compass.cli.secret_input import over_tls, secret, whole_pin

if TYPE_CHECKING:
    from compass.agent.pair import Connection
    from compass.client.protocol import Trust

ANCHOR: Final = "plane_ca.pem"
"""In the folder of an identity, the authority that it was paired with."""


def pair(
    *,
    ca_pin: str,
    server: str | None = None,
    connector_url: str | None = None,
    token: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    token_file: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    folder: Path = Path("compass"),
) -> int:
    """Spend a one-time token: check the plane's identity, make a key, get its certificate, and call with it.

    For example:

        compass pair --server https://localhost:8443 --ca-pin sha256:0d7d… --token-file token
        compass pair --server https://localhost:8443 --ca-pin sha256:0d7d… --token - <<< "$TOKEN"

    The key never leaves this machine. An interrupted run may be repeated with the same token. Prints the folder.

    Exit codes: 0 paired, 3 paired, and the first call with the certificate failed, 8 plane not reached, 9 it is not the
    plane with that pin (nothing was sent), 10 the token is unknown, expired or used.

    Parameters
    ----------
    ca_pin
        The fingerprint of the plane's authority, sha256:…, as you were given it with the token.
    server
        The token port, such as https://localhost:8443.
    connector_url
        The Connector's own address, when you were given that instead of a server.
    token
        Only `-`: read the token from standard input.
    token_file
        Read the token from this file.
    folder
        Where key and certificate are kept.
    """
    address = connector_of(server, connector_url)
    value = secret("one-time token", flag="--token", typed=token, file=token_file, variable="COMPASS_TOKEN")
    return asyncio.run(_paired(address, ca_pin, value, folder))


async def _paired(connector_url: str, pin: str, token: str, folder: Path) -> Exit:
    from compass.errors import CompassError

    trust, connection = await redeemed(connector_url, pin, token, folder)
    emit(str(folder))
    try:
        viewer = await seen(connection, trust)
    except CompassError as problem:
        say(f"! connection   {connection.director_url}: {problem}")
        say("hint: the certificate is good; check the way to that address, then compass doctor")
        return Exit.DEGRADED
    done(f"connection   {connection.director_url}  you are {called(viewer)}")
    return Exit.OK


async def seen(connection: "Connection", trust: "Trust") -> dict[str, str]:
    """The first call with the certificate: as whom the plane sees it, `id` and `type`.

    Also `name` and `tenant`, where the plane tells them to its clients.
    """
    from compass.client.protocol import PlaneRefused

    async with connection.plane(trust) as plane:
        viewer: dict[str, str] = (await plane.send("Viewer"))["viewer"]
        document = {"APPLICATION": "MyApplication", "RUNTIME": "MyRuntime"}.get(viewer["type"])
        if document is None:
            return viewer
        try:
            mine = await plane.send(document, {"id": viewer["id"]})
        except PlaneRefused:
            return viewer  # the original has no such field
    return {**viewer, "name": mine["found"]["name"], "tenant": mine["signedIn"]["tenantID"] or ""}


def called(viewer: Mapping[str, str]) -> str:
    """Whom the plane sees, as people call it: by name as far as it is known."""
    kind = viewer["type"].lower().replace("_", " ")
    if "name" not in viewer:
        return f"{kind} {viewer['id']}"
    tenant = f", tenant {viewer['tenant']}" if viewer["tenant"] else ""
    return f"{kind} {printable(viewer['name'])}{tenant} (id {viewer['id']})"


async def redeemed(connector_url: str, pin: str, token: str, folder: Path) -> "tuple[Trust, Connection]":
    """Spend a token for an identity in the folder, and say so. Nothing is sent before the pin matched.

    Raises PlaneNotTrusted, TokenRefused, CommandFailed, and what `agent.pair.pair` raises.
    """
    from compass.agent import pair as pairing

    trust = await pinned(connector_url, pin)
    try:
        connection = await pairing.pair(folder, connector_url=connector_url, token=token, trust=trust)
        keep_trust(folder, trust)
    except OSError as problem:
        raise CommandFailed(f"key and certificate cannot be kept in {folder}: {problem}") from None
    done("server identity matches the pin")
    done(f"key created  {folder / 'client.key'} (0600, it never leaves this machine)")
    done(f"certificate  {folder / 'client.crt'}, valid until {connection.not_after:%Y-%m-%d %H:%M} UTC")
    return trust, connection


def keep_trust(folder: Path, trust: "Trust") -> None:
    """Keep the authority beside the identity, for whoever uses it next: `plane_ca.pem`. Raises OSError."""
    from compass.files import write_private

    write_private(folder / ANCHOR, (trust.anchors or "").encode())


async def pinned(connector_url: str, pin: str) -> "Trust":
    """The plane's own authority, if it is the one with that pin. Raises PlaneNotTrusted, PlaneUnreachable."""
    from urllib.parse import urlsplit

    from compass.client.graphql import fetch_anchor

    base, pin = urlsplit(connector_url), whole_pin(pin)
    return await fetch_anchor(f"{base.scheme}://{base.netloc}", pin)


def connector_of(server: str | None, connector_url: str | None) -> str:
    """The Connector's address, of the two ways to say it. Raises CommandFailed."""
    if (server is None) == (connector_url is None):
        raise CommandFailed("give --server or --connector-url, one of them", exit_code=Exit.USAGE)
    return over_tls(connector_url or f"{(server or '').rstrip('/')}/connector/graphql")
