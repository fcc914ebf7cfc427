"""Turning a context into a connection: trust from its stored anchor, a bearer from its client credentials."""

import base64
import http.client
import json
import os
import ssl
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

from compass.cli.context import Context
from compass.cli.failures import CommandFailed, Exit
from compass.cli.secret_input import over_tls, read_text
from compass.client.blocking import BlockingPlane
from compass.client.protocol import Bearer, PlaneNotTrusted, PlaneUnreachable, Trust, why_unreachable

_TIMEOUT: Final = timedelta(seconds=30)
_MAX_ANSWER_BYTES: Final = 64 * 1024


def trust_of(context: Context) -> Trust:
    """Believe only the authority that was pinned. Raises CommandFailed, PlaneNotTrusted."""
    return Trust.to(read_text(context.anchor_file), pin=context.ca_pin)


def plane_of(context: Context, *, tenant: str | None = None, timeout: timedelta = _TIMEOUT) -> BlockingPlane:
    """A connection as the context's client, or with the bearer in `COMPASS_TOKEN`.

    `timeout` covers each step of each call.

    Raises CommandFailed when the credentials are refused, PlaneUnreachable, PlaneNotTrusted.
    """
    trust, url = trust_of(context), over_tls(context.url)
    if not (os.environ.get("COMPASS_TOKEN") or context.secret_file.exists()):
        message = f"context {context.name} is signed out"
        raise CommandFailed(message, exit_code=Exit.NOT_ALLOWED, hint=context.login)
    token = os.environ.get("COMPASS_TOKEN") or bearer(
        url, trust, client_id=context.client_id, secret=read_text(context.secret_file).strip(), timeout=timeout
    )
    named = tenant or context.tenant or None
    return BlockingPlane(url, trust=trust, credentials=Bearer(token), tenant=named, timeout=timeout)


def bearer(url: str, trust: Trust, *, client_id: str, secret: str, timeout: timedelta = _TIMEOUT) -> str:
    """An access token for client credentials. Raises CommandFailed, PlaneUnreachable, PlaneNotTrusted."""
    target = urlsplit(url)
    address = f"{url.rstrip('/')}/oauth2/token"
    basic = base64.b64encode(f"{client_id}:{secret}".encode()).decode()
    headers = {"Authorization": f"Basic {basic}", "Content-Type": "application/x-www-form-urlencoded"}
    connection = http.client.HTTPSConnection(
        target.hostname or "", target.port, timeout=timeout.total_seconds(), context=trust.context()
    )
    try:
        connection.request("POST", f"{target.path.rstrip('/')}/oauth2/token", "grant_type=client_credentials", headers)
        answer = connection.getresponse()
        body = answer.read(_MAX_ANSWER_BYTES)
    except ssl.SSLCertVerificationError as problem:
        raise PlaneNotTrusted(url=address, why=problem.verify_message) from None
    except OSError as problem:
        raise PlaneUnreachable(url=address, why=why_unreachable(problem)) from None
    except http.client.HTTPException as problem:
        raise PlaneUnreachable(url=address, why=str(problem) or type(problem).__name__) from None
    finally:
        connection.close()
    if answer.status in {400, 401, 403}:
        message = f"{address} refused the client {client_id}"
        raise CommandFailed(message, exit_code=Exit.NOT_ALLOWED, hint="compass login replaces the credentials")
    try:
        return str(json.loads(body)["access_token"])
    except (ValueError, KeyError, TypeError):
        raise CommandFailed(f"{address} answered {answer.status} without an access token") from None
