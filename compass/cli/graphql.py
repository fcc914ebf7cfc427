"""`compass graphql`: one raw call."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from compass.cli.context import Context, chosen
from compass.cli.failures import CommandFailed, Exit
from compass.cli.output import emit
from compass.cli.secret_input import read_text


class Api(StrEnum):
    """Which API of the plane."""

    DIRECTOR = "director"
    CONNECTOR = "connector"
    PROVISIONER = "provisioner"


def graphql(
    file: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    *,
    query: Annotated[str | None, Parameter(alias="-q")] = None,
    query_file: Annotated[Path | None, Parameter(alias="-f", allow_leading_hyphen=True)] = None,
    var: tuple[str, ...] = (),
    api: Api = Api.DIRECTOR,
    tenant: str | None = None,
    context: str | None = None,
) -> None:
    """Send a GraphQL document and print `data` of the answer as JSON.

    For example:

        compass graphql -q '{ viewer { id type } }'
        compass graphql -f query.graphql --var name=crm

    Exit codes: 0 answered, 4 not found, 6 conflict, 7 not allowed, 8 plane not reached, 9 not the pinned plane,
    1 refused otherwise.

    Parameters
    ----------
    file
        A file with the document; `-` reads standard input.
    query
        The document itself.
    query_file
        The same as FILE.
    var
        A variable as name=value. The value is JSON when it reads as JSON, otherwise text; name='"5"' is the text 5.
    api
        director, connector or provisioner.
    tenant
        The external id of a tenant, instead of the context's.
    context
        The context to use, instead of the current one.
    """
    given = [one for one in (query, file, query_file) if one is not None]
    if len(given) != 1:
        message = "give the document once: as -q TEXT, as a file, or - for standard input"
        raise CommandFailed(message, exit_code=Exit.USAGE, hint="compass graphql -q '{ viewer { id } }'")
    text = given[0] if isinstance(given[0], str) else read_text(given[0])
    answer = _ask(chosen(context), api, text, _variables(var), tenant)
    emit(json.dumps(answer, indent=2, ensure_ascii=False))


def _variables(pairs: tuple[str, ...]) -> dict[str, Any]:
    variables: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise CommandFailed(f"--var {pair!r} is not name=value", exit_code=Exit.USAGE)
        try:
            variables[name] = json.loads(value)
        except ValueError:
            variables[name] = value
    return variables


def _ask(context: Context, api: Api, text: str, variables: dict[str, Any], tenant: str | None) -> dict[str, Any]:
    from compass.cli.sign_in import plane_of
    from compass.client.protocol import Endpoint

    with plane_of(context, tenant=tenant) as plane:
        return plane.ask(Endpoint(api.value), text, variables)
