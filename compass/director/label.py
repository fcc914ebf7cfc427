"""Labels: facts that people and programs hang onto applications and runtimes, any JSON under a key.

`scenarios` belongs to the groups and is only ever written by them; some of a runtime's labels are the plane's own.
Source: contract/director.md §5.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from compass.access import itself
from compass.access.caller import Caller
from compass.access.tenancy import NotOwner, application_refusal, runtime_refusal
from compass.commands import command
from compass.errors import Code, CompassError, InvalidData, NotFound, Refused
from compass.ids import ApplicationId, RuntimeId
from compass.inputs import LONGEST_LABEL_KEY
from compass.outbox.append import append
from compass.outbox.events import Event
from compass.postgres.pool import Tx

SCENARIOS: Final = "scenarios"
PROTECTED_OF_RUNTIMES: Final = re.compile(r".*_defaultEventing$")
"""The plane's own notes on a runtime: hidden and not to be changed from outside."""
IMMUTABLE_OF_RUNTIMES: Final = re.compile(r"^xsappnameCMPClone$|^runtimeType$|^CMPSaaSAppName$")
_KEY: Final = re.compile("[a-zA-Z0-9_]+")

# Errors


class InvalidLabel(CompassError):
    """A label's key has characters that keys may not have, or its value says nothing."""

    code = Code.INVALID_DATA
    message = "Invalid data LabelInput"


# Events


@dataclass(frozen=True)
class ApplicationLabelled(Event):
    """One label of an application was set or removed."""

    application: ApplicationId
    key: str


@dataclass(frozen=True)
class RuntimeLabelled(Event):
    """One label of a runtime was set to another value, or removed."""

    runtime: RuntimeId
    key: str


# Commands

SET_APPLICATION_LABEL = """
-- label.set_application_label
INSERT INTO application_label (application_id, key, value)
SELECT application_id, %(key)s, %(value)s FROM application_tenant
WHERE application_id = %(application)s AND tenant_id = %(tenant)s AND owner
ON CONFLICT (application_id, key) DO UPDATE SET value = excluded.value
"""
DELETE_APPLICATION_LABEL = """
-- label.delete_application_label
DELETE FROM application_label USING application_tenant access
WHERE application_label.application_id = %(application)s AND key = %(key)s
    AND access.application_id = application_label.application_id AND access.tenant_id = %(tenant)s AND access.owner
RETURNING value
"""
SET_RUNTIME_LABEL = """
-- label.set_runtime_label
WITH before AS (
    SELECT value FROM runtime_label WHERE runtime_id = %(runtime)s AND key = %(key)s
), written AS (
    INSERT INTO runtime_label (runtime_id, key, value)
    SELECT runtime_id, %(key)s, %(value)s FROM runtime_tenant
    WHERE runtime_id = %(runtime)s AND tenant_id = %(tenant)s AND owner
    ON CONFLICT (runtime_id, key) DO UPDATE SET value = excluded.value
    RETURNING value
)
SELECT written.value IS DISTINCT FROM (SELECT value FROM before) AS changed FROM written
"""
DELETE_RUNTIME_LABEL = """
-- label.delete_runtime_label
DELETE FROM runtime_label USING runtime_tenant access
WHERE runtime_label.runtime_id = %(runtime)s AND key = %(key)s
    AND access.runtime_id = runtime_label.runtime_id AND access.tenant_id = %(tenant)s AND access.owner
RETURNING value
"""
OWNS_APPLICATION = """
-- label.owns_application
SELECT owner FROM application_tenant WHERE tenant_id = %(tenant)s AND application_id = %(application)s
"""
OWNS_RUNTIME = """
-- label.owns_runtime
SELECT owner FROM runtime_tenant WHERE tenant_id = %(tenant)s AND runtime_id = %(runtime)s
"""


def refuse_reserved(labels: Mapping[str, Any]) -> None:
    """Raises Refused when the labels include the one that belongs to the groups."""
    if SCENARIOS in labels:
        raise Refused(f"label with key {SCENARIOS} cannot be set explicitly")


def check(key: str, value: Any) -> None:
    """Raises Refused for the reserved key, InvalidLabel for a key or value that no label may have."""
    refuse_reserved({key: value})
    problems = {}
    if not key:
        problems["key"] = "cannot be blank"
    elif len(key) > LONGEST_LABEL_KEY:
        problems["key"] = f"the length must be no more than {LONGEST_LABEL_KEY}"
    elif not _KEY.fullmatch(key):
        problems["key"] = "must be in a valid format"
    if value in ("", [], {}, None, False, 0):  # in Python, 0.0 and -0.0 are 0 too
        problems["value"] = "cannot be blank"
    if problems:
        raise InvalidLabel(**problems)


@command("setApplicationLabel", scope="application:write")
async def set_on_application(
    tx: Tx, caller: Caller, application: ApplicationId, key: str, value: Any
) -> dict[str, Any]:
    """Set one label of an application.

    Raises NotFound, Unauthorized, InvalidLabel, Refused. Emits ApplicationLabelled.
    """
    tenant = caller.in_tenant()
    itself.require(caller, application)
    check(key, value)
    if not await tx.run(SET_APPLICATION_LABEL, tenant=tenant, application=application, key=key, value=value):
        raise await application_refusal(tx, tenant, application)
    await append(tx, ApplicationLabelled(tenant, application, key))
    return {"key": key, "value": value}


@command("deleteApplicationLabel", scope="application:write")
async def delete_from_application(tx: Tx, caller: Caller, application: ApplicationId, key: str) -> dict[str, Any]:
    """Remove one label of an application and answer what it was.

    Raises Refused (reserved, no such application), NotFound (no such label), Unauthorized. Emits ApplicationLabelled.
    """
    tenant = caller.in_tenant()
    itself.require(caller, application)
    if key == SCENARIOS:
        raise Refused(f"label with key {SCENARIOS} cannot be deleted explicitly")
    removed = await tx.row(DELETE_APPLICATION_LABEL, tenant=tenant, application=application, key=key)
    if removed is None:
        owned = await tx.value(OWNS_APPLICATION, tenant=tenant, application=application)
        raise _not_removed(owned=owned, absent=f"application with ID {application} doesn't exist")
    await append(tx, ApplicationLabelled(tenant, application, key))
    return {"key": key, "value": removed["value"]}


@command("setRuntimeLabel", scope="runtime:write")
async def set_on_runtime(tx: Tx, caller: Caller, runtime: RuntimeId, key: str, value: Any) -> dict[str, Any]:
    """Set one label of a runtime.

    Raises InvalidData for a label that may not be changed, Refused for an unknown runtime, InvalidLabel, Unauthorized.
    Emits RuntimeLabelled when the value is another than before.
    """
    tenant = caller.in_tenant()
    itself.require(caller, runtime)
    check(key, value)
    if PROTECTED_OF_RUNTIMES.match(key) or IMMUTABLE_OF_RUNTIMES.match(key):
        raise InvalidData(reason=f"could not set unmodifiable label with key {key}")
    written = await tx.row(SET_RUNTIME_LABEL, tenant=tenant, runtime=runtime, key=key, value=value)
    if written is None:
        refusal = await runtime_refusal(tx, tenant, runtime)
        raise Refused(f"Runtime with ID {runtime} doesn't exist") if isinstance(refusal, NotFound) else refusal
    if written["changed"]:
        await append(tx, RuntimeLabelled(tenant, runtime, key))
    return {"key": key, "value": value}


@command("deleteRuntimeLabel", scope="runtime:write")
async def delete_from_runtime(tx: Tx, caller: Caller, runtime: RuntimeId, key: str) -> dict[str, Any]:
    """Remove one label of a runtime and answer what it was.

    Raises InvalidData, Refused (reserved, no such runtime), NotFound (no such label), Unauthorized.
    Emits RuntimeLabelled.
    """
    tenant = caller.in_tenant()
    itself.require(caller, runtime)
    if key == SCENARIOS:
        raise Refused(f"label with key {SCENARIOS} cannot be deleted explicitly")
    if PROTECTED_OF_RUNTIMES.match(key) or IMMUTABLE_OF_RUNTIMES.match(key):
        raise InvalidData(reason=f"could not delete unmodifiable label with key {key}")
    removed = await tx.row(DELETE_RUNTIME_LABEL, tenant=tenant, runtime=runtime, key=key)
    if removed is None:
        owned = await tx.value(OWNS_RUNTIME, tenant=tenant, runtime=runtime)
        raise _not_removed(owned=owned, absent=f"Runtime with ID {runtime} doesn't exist")
    await append(tx, RuntimeLabelled(tenant, runtime, key))
    return {"key": key, "value": removed["value"]}


def _not_removed(*, owned: bool | None, absent: str) -> CompassError:
    """Why no label was removed, from whether the tenant owns its object; None when it does not even see it."""
    match owned:
        case None:
            return Refused(absent)
        case True:
            return NotFound(object="label")
        case False:
            return NotOwner()
