"""`compass console`: a sign-in link for the plane's console, good once."""

from typing import Annotated, Final

from cyclopts import Parameter

from compass.cli import context
from compass.cli.failures import CommandFailed, Exit
from compass.cli.output import emit, say

_TIMEOUT_SECONDS: Final = 30
_MOST_ANSWER_BYTES: Final = 64 * 1024


def console(
    *,
    context_name: Annotated[str | None, Parameter(name="--context")] = None,
    tenant: str | None = None,
    open_: Annotated[bool, Parameter(name="--open", negative="")] = False,
) -> None:
    """Print a link that signs a browser in at the console, as you: once, within ten minutes.

    For example:

        compass console --open

    Exit codes: 0 printed, 7 credentials refused, 8 plane not reached, 9 it is not the plane that was expected.

    Parameters
    ----------
    context_name
        The plane, as `compass context list` names it; otherwise the current one.
    tenant
        The external id of the tenant to look at; otherwise the context's.
    open_
        Open it in this machine's browser, too.
    """
    link = _link(context.chosen(context_name), tenant)
    emit(link)
    if open_:
        import webbrowser

        if not webbrowser.open(link):
            say("there is no browser to open here; the link works in any that reaches the plane")


def _link(chosen: context.Context, tenant: str | None) -> str:
    import http.client
    import json
    import os
    import ssl
    from urllib.parse import urlsplit

    from compass.cli.secret_input import over_tls, read_text
    from compass.cli.sign_in import bearer, trust_of
    from compass.client.protocol import PlaneNotTrusted, PlaneUnreachable

    trust, url = trust_of(chosen), over_tls(chosen.url).rstrip("/")
    token = os.environ.get("COMPASS_TOKEN") or bearer(
        url, trust, client_id=chosen.client_id, secret=read_text(chosen.secret_file).strip()
    )
    target = urlsplit(url)
    headers = {"Authorization": f"Bearer {token}", "Tenant": tenant or chosen.tenant}
    connection = http.client.HTTPSConnection(
        target.hostname or "", target.port, timeout=_TIMEOUT_SECONDS, context=trust.context()
    )
    try:
        connection.request("POST", f"{target.path}/console/links", headers=headers)
        answer = connection.getresponse()
        body = answer.read(_MOST_ANSWER_BYTES)
    except ssl.SSLCertVerificationError as problem:
        raise PlaneNotTrusted(url=url, why=problem.verify_message) from None
    except (OSError, http.client.HTTPException) as problem:
        raise PlaneUnreachable(url=url, why=str(problem) or type(problem).__name__) from None
    finally:
        connection.close()
    try:
        return url + str(json.loads(body)["path"])
    except (ValueError, KeyError, TypeError):
        code = Exit.NOT_ALLOWED if answer.status in {400, 401, 403} else Exit.FAILURE
        message = f"{url} gave no sign-in link (HTTP status {answer.status})"
        raise CommandFailed(message, exit_code=code, hint="compass login replaces the credentials") from None
