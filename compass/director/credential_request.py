"""Credential requests: the bundle instance auths of a tenant's applications, for whoever answers them.

The contract lists them bundle by bundle; here they are one list, each with what it takes to decide: for which bundle of
which application, who asked, and how the input fits what the bundle asks for. All of this is ours.
"""

from typing import Any, Final

import orjson

from compass.director import auth
from compass.director.bundle_instance_auth import of_runtime
from compass.director.input_schema import misfits
from compass.reads.plan import Filling, Hole, One, Page, Query, Read


def _input_problems(_filling: Filling, digits: str) -> list[dict[str, Any]]:
    schema, given = orjson.loads(bytes.fromhex(digits))
    return [{"path": path, "message": message} for path, message in misfits(schema, given)]


CREDENTIAL_REQUEST = Read(
    "CredentialRequest",
    table="bundle_instance_auth",
    fields={
        "id": "id",
        "applicationID": "(SELECT bundle.application_id FROM bundle WHERE bundle.id = {t}.bundle_id)",
        "applicationName": (
            "(SELECT application.name FROM bundle JOIN application ON application.id = bundle.application_id "
            "WHERE bundle.id = {t}.bundle_id)"
        ),
        "bundleID": "bundle_id",
        "bundleName": "(SELECT bundle.name FROM bundle WHERE bundle.id = {t}.bundle_id)",
        "inputSchema": "(SELECT bundle.instance_auth_request_input_schema FROM bundle WHERE bundle.id = {t}.bundle_id)",
        # As hexadecimal digits: a hole takes no quotes.
        "inputProblems": Hole(
            "(SELECT encode(convert_to(json_build_array(bundle.instance_auth_request_input_schema, "
            "{t}.input_params)::text, 'UTF8'), 'hex') FROM bundle WHERE bundle.id = {t}.bundle_id)",
            _input_problems,
        ),
        "runtimeName": "(SELECT runtime.name FROM runtime WHERE runtime.id = {t}.runtime_id)",
        "instanceAuth": One("BundleInstanceAuth", on="{c}.id = {t}.id"),
    },
)
READS = (CREDENTIAL_REQUEST,)

_VISIBLE: Final = (
    "access.tenant_id = {tenant} AND "
    "({arg:applicationID}::uuid IS NULL OR access.application_id = {arg:applicationID}::uuid) "
    "AND ({arg:condition}::text IS NULL OR {c}.status_condition = {arg:condition}::text) "
    f"AND {of_runtime('{c}')} AND {auth.kept_from_neighbours('access.application_id')}"
)
QUERIES = (
    Query(
        "credentialRequests",
        scope="bundle.instance_auths:read",
        read=Page(
            "CredentialRequest",
            source=(
                "application_tenant access JOIN bundle ON bundle.application_id = access.application_id "
                "JOIN bundle_instance_auth {c} ON {c}.bundle_id = bundle.id"
            ),
            on=_VISIBLE,
            order="{c}.created_at DESC, {c}.id",
        ),
    ),
)
