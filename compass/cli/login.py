"""`compass login`: remember a plane and who we are there."""

import asyncio
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from compass.cli.context import Context, keep
from compass.cli.output import say
from compass.cli.secret_input import over_tls, whole_pin
from compass.cli.secret_input import secret as read_secret


def login(
    url: str,
    *,
    ca_pin: str,
    client_id: str,
    secret: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    secret_file: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    tenant: str = "",
    name: str = "default",
) -> None:
    """Remember a plane, after checking that it is the right one and accepts the credentials.

    For example:

        compass login https://localhost:8443 --ca-pin sha256:0d7d… --client-id admin --secret -

    Exit codes: 0 stored, 7 credentials refused, 8 plane not reached, 9 it is not the plane with that pin.

    Parameters
    ----------
    url
        The token port, such as https://localhost:8443.
    ca_pin
        The fingerprint of the plane's authority, sha256:…, as `compass up` prints it.
    client_id
        The client to sign in as.
    secret
        Only `-`: read the client secret from standard input.
    secret_file
        Read the client secret from this file.
    tenant
        The external id of the tenant to work in.
    name
        What to call the context.
    """
    value = read_secret("client secret", flag="--secret", typed=secret, file=secret_file, variable="COMPASS_SECRET")
    asyncio.run(_login(Context(name=name, url=over_tls(url), ca_pin=ca_pin, client_id=client_id, tenant=tenant), value))
    say(f"signed in to {url} as {client_id}; context {name}")


async def _login(context: Context, secret: str) -> None:
    from compass.cli.sign_in import bearer
    from compass.client.graphql import fetch_anchor

    trust = await fetch_anchor(context.url, whole_pin(context.ca_pin))
    bearer(context.url, trust, client_id=context.client_id, secret=secret)
    keep(context, secret=secret, anchor=trust.anchors or "")
