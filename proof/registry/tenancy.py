"""The proof `tenancy`."""

from typing import Final

from proof.promise import Bug, Proof

_PROBE = ("tests/access/test_probe.py",)
_DOORS = ("tests/access/test_doors.py",)

PROOF: Final = Proof(
    "tenancy",
    ("I4", "A12", "A13", "G9"),
    "no tenant finds a trace of another: every operation, every argument, six kinds of foreigners",
    (*_PROBE, *_DOORS, "tests/access/test_tenancy.py", "tests/postgres/test_row_security.py"),
    (
        Bug(
            "a search for operations finds those of other tenants",
            "compass/director/offered_operation.py",
            "access.tenant_id = {tenant} AND ({runtime} IS NULL OR",
            "({runtime} IS NULL OR",
            ("tests/director/test_offered_operation.py",),
        ),
        Bug(
            "a runtime is offered what no group of its has",
            "compass/director/offered_operation.py",
            "        AND shared.target = {runtime} AND shared.state",
            "        AND shared.state",
            ("tests/director/test_offered_operation.py",),
        ),
        Bug(
            "requests for credentials are shown to every tenant",
            "compass/director/credential_request.py",
            '    "access.tenant_id = {tenant} AND "\n',
            '    "true AND "\n',
            ("tests/director/test_credential_request.py",),
        ),
        Bug(
            "an application reads the requests for credentials of its neighbours",
            "compass/director/credential_request.py",
            " AND {auth.kept_from_neighbours('access.application_id')}",
            "",
            ("tests/director/test_credential_request.py",),
        ),
        Bug(
            "a runtime reads the requests of other runtimes",
            "compass/director/credential_request.py",
            "AND {of_runtime('{c}')} AND {auth",
            "AND {auth",
            ("tests/director/test_credential_request.py",),
        ),
        Bug(
            "who may not report about an assignment is told that there is one",
            "compass/director/assignment_status.py",
            "    if is_near:\n",
            "    if is_near or pair:\n",
            _DOORS,
        ),
        Bug(
            "how far an application is can be looked up by its id alone",
            "compass/director/application_operation.py",
            "WHERE access.application_id = %(application)s AND access.tenant_id = %(tenant)s\n",
            "WHERE access.application_id = %(application)s\n",
            _DOORS,
        ),
        Bug(
            "everybody who follows changes hears of all of them",
            "compass/director/change.py",
            "            + ([] if tenants else [_EVERYBODY])\n",
            "            + [_EVERYBODY]\n",
            _DOORS,
        ),
        Bug(
            "an application is found by its id alone",
            "compass/director/application.py",
            '            on="access.tenant_id = {tenant} AND access.application_id = {arg:id}::uuid",\n        ),\n'
            "        for_runtime=Query(",
            '            on="access.application_id = {arg:id}::uuid",\n        ),\n        for_runtime=Query(',
            _PROBE,
        ),
        Bug(
            "a formation is found by its id alone",
            "compass/director/formation.py",
            'on="{c}.id = {arg:id}::uuid AND {c}.tenant_id = {tenant}"',
            'on="{c}.id = {arg:id}::uuid"',
            _PROBE,
        ),
        Bug(
            "who may not change something is told that it exists",
            "compass/access/tenancy.py",
            "    if await tx.value(SEES_RUNTIME, tenant=tenant, id=runtime):",
            '    if await tx.value("SELECT EXISTS (SELECT FROM runtime WHERE id = %(id)s)", id=runtime):',
            _PROBE,
        ),
        Bug(
            "the list of formations is that of all tenants",
            "compass/director/formation.py",
            'read=Page("Formation", on="{c}.tenant_id = {tenant}", order="{c}.id", orders=BY_NAME_OR_AGE),',
            'read=Page("Formation", on="true", order="{c}.id"),',
            _PROBE,
        ),
    ),
    {
        "test_a_foreigner_finds_no_trace_of_what_a_tenant_has": 3_000,
        "test_no_path_of_a_plane_tells_a_foreigner_of_what_a_tenant_has": 2_000,
        "test_no_page_of_the_console_tells_a_foreigner_of_what_a_tenant_has": 1_000,
    },
    minutes=40,
)
