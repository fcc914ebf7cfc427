"""Applied fields: which fields of an application or a runtime a file says, who applied that file, and with what value.

Whoever keeps the landscape in files records here what it has set, under a name of its own, so that the next time it can
tell what somebody else changed from what it wrote itself. Values are kept as digests that the client makes; the plane
compares them and does not understand them, nor the names. They change nothing of the object, so nothing is announced.
They go with their object. The original has nothing of this. See docs/adr/0024-files-know-what-they-own.md.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Final

from compass.access import itself
from compass.access.caller import Caller
from compass.access.tenancy import application_refusal, runtime_refusal
from compass.commands import command
from compass.errors import Code, CompassError
from compass.ids import ApplicationId, RuntimeId
from compass.inputs import Length, Matches
from compass.postgres.pool import Tx
from compass.reads.plan import Many, Read, timestamp

MOST_FIELDS: Final = 5_000
"""Of one object, that one manager may say: an application with a thousand APIs."""
MOST_MANAGERS: Final = 20
"""Of one object. Files have a handful of owners; a name that is made up for each run is a mistake."""
_LINE: Final = Matches(r"[^\x00-\x1f]+", "must be one line of text")
_DIGEST: Final = Matches("sha256:[0-9a-f]{64}", "must be sha256: and 64 hexadecimal digits in lower case")

# Errors


class TooManyManagers(CompassError):
    """An object has fields of as many managers as it may have."""

    code = Code.INVALID_OPERATION
    message = (
        f"the object has fields of {MOST_MANAGERS} managers already: apply with a name that is one of theirs, or give "
        "up the fields of one by setting none for it"
    )


# Inputs


@dataclass(frozen=True)
class NewAppliedField:
    """One field, and what is said of it."""

    name: Annotated[str, Length(1, 1024), _LINE]
    digest: Annotated[str, Length(1, 71), _DIGEST]
    replaces: Annotated[str, Length(1, 71), _DIGEST] | None = None


@dataclass(frozen=True)
class NewAppliedFields:
    """All the fields that a manager says."""

    manager: Annotated[str, Length(1, 128), _LINE]
    fields: tuple[NewAppliedField, ...] = ()

    def problems(self) -> dict[str, str]:
        """A field is said once, and there are not too many."""
        if len(self.fields) > MOST_FIELDS:
            return {"fields": f"there must be no more than {MOST_FIELDS}"}
        names = {field.name for field in self.fields}
        return {} if len(names) == len(self.fields) else {"fields": "a name is there twice"}

    def rows(self) -> list[dict[str, str | None]]:
        """The fields as the statement takes them: digests in hexadecimal."""
        return [
            {
                "name": field.name,
                "digest": field.digest.removeprefix("sha256:"),
                "replaces": field.replaces and field.replaces.removeprefix("sha256:"),
            }
            for field in self.fields
        ]


# How it is read

APPLIED_FIELD = Read(
    "AppliedField",
    table="applied_field",
    fields={
        "name": "name",
        "manager": "manager",
        "digest": "'sha256:' || encode({t}.digest, 'hex')",
        "replaces": "'sha256:' || encode({t}.replaces, 'hex')",
        "appliedAt": timestamp("applied_at"),
    },
)
READS = (APPLIED_FIELD,)


def all_of(owner: str) -> Many:
    """The fields of an object, whoever applied them; `owner` is the column that names it."""
    return Many(
        "AppliedField", on=f"{{c}}.{owner} = {{t}}.id", order="{c}.name, {c}.manager", exists=itself.alone("{t}.id")
    )


# Commands


def _set(kind: str) -> str:
    # The object's row is held, so that of two managers at the same time the second takes over what it changed.
    # Whoever says another value of a field has written over it; one that is still under way has not, yet.
    return f"""
WITH owned AS (
    SELECT {kind}.id, (
        SELECT count(DISTINCT manager) FROM applied_field WHERE {kind}_id = {kind}.id AND manager <> %(manager)s
    ) AS others
    FROM {kind} JOIN {kind}_tenant access ON access.{kind}_id = {kind}.id
    WHERE {kind}.id = %(object)s AND access.tenant_id = %(tenant)s AND access.owner
    FOR NO KEY UPDATE OF {kind}
), given AS (
    SELECT name, decode(digest, 'hex') AS digest, decode(replaces, 'hex') AS replaces
    FROM jsonb_to_recordset(%(fields)s) AS field (name text, digest text, replaces text)
), given_up AS (
    DELETE FROM applied_field USING owned
    WHERE applied_field.{kind}_id = owned.id AND CASE WHEN manager = %(manager)s
        THEN name NOT IN (SELECT given.name FROM given)
        ELSE EXISTS (
            SELECT FROM given
            WHERE given.name = applied_field.name AND given.replaces IS NULL AND given.digest <> applied_field.digest
        )
    END
), said AS (
    INSERT INTO applied_field ({kind}_id, manager, name, digest, replaces)
    SELECT owned.id, %(manager)s, given.name, given.digest, given.replaces FROM owned CROSS JOIN given
    ON CONFLICT ({kind}_id, manager, name) WHERE {kind}_id IS NOT NULL DO UPDATE
    SET digest = excluded.digest, replaces = excluded.replaces,
        applied_at = CASE
            WHEN applied_field.digest = excluded.digest THEN applied_field.applied_at ELSE excluded.applied_at
        END
    WHERE (applied_field.digest, applied_field.replaces) IS DISTINCT FROM (excluded.digest, excluded.replaces)
)
SELECT others FROM owned
"""


SET_ON_APPLICATION = f"""
-- applied_field.set_on_application
{_set("application")}"""
SET_ON_RUNTIME = f"""
-- applied_field.set_on_runtime
{_set("runtime")}"""


@command("setApplicationAppliedFields", scope="application:write")
async def set_on_application(
    tx: Tx, caller: Caller, application: ApplicationId, applied: NewAppliedFields
) -> ApplicationId:
    """Record which fields of an application a manager says: these, and no others any more.

    One statement, whatever the number of fields; twice is as once. Other managers lose the fields of which a value is
    said that is not theirs. Raises NotFound, Unauthorized, TooManyManagers. Emits nothing.
    """
    tenant = caller.in_tenant()
    itself.require(caller, application)
    row = await tx.row(SET_ON_APPLICATION, **_arguments(tenant, application, applied))
    if row is None:
        raise await application_refusal(tx, tenant, application)
    _require_few(row["others"], applied)
    return application


@command("setRuntimeAppliedFields", scope="runtime:write")
async def set_on_runtime(tx: Tx, caller: Caller, runtime: RuntimeId, applied: NewAppliedFields) -> RuntimeId:
    """Record which fields of a runtime a manager says, as `set_on_application` does.

    One statement. Raises NotFound, Unauthorized, TooManyManagers. Emits nothing.
    """
    tenant = caller.in_tenant()
    itself.require(caller, runtime)
    row = await tx.row(SET_ON_RUNTIME, **_arguments(tenant, runtime, applied))
    if row is None:
        raise await runtime_refusal(tx, tenant, runtime)
    _require_few(row["others"], applied)
    return runtime


def _arguments(tenant: str, owner: str, applied: NewAppliedFields) -> dict[str, Any]:
    return {"tenant": tenant, "object": owner, "manager": applied.manager, "fields": applied.rows()}


def _require_few(others: int, applied: NewAppliedFields) -> None:
    if applied.fields and others >= MOST_MANAGERS:
        raise TooManyManagers()
