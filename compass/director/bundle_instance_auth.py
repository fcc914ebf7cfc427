"""Bundle instance auths: credentials of one runtime for one bundle, from the request for them to their end.

PENDING until the application sets them, SUCCEEDED or FAILED from then on, UNUSED once the runtime wants them no more.
A bundle with default credentials answers a request at once, with a copy. Source: contract/director.md §9.
"""

import uuid
from dataclasses import dataclass
from typing import Annotated, Any, Final

from compass.access.caller import Caller
from compass.access.tenancy import NotOwner
from compass.commands import command
from compass.director import auth
from compass.director.auth import NewAuth
from compass.director.catalogue import Row, bundle_to_extend, canonical, may_change
from compass.director.input_schema import require, small_json
from compass.errors import InvalidOperation, NotFound, NotUnique
from compass.ids import ApplicationId, BundleId, BundleInstanceAuthId, RuntimeContextId, RuntimeId, new_id
from compass.inputs import Length
from compass.outbox.append import append
from compass.outbox.events import Event
from compass.postgres.pool import Tx
from compass.reads.plan import Object, One, Query, Read, timestamp
from compass.vault import Vault

_PROVIDED: Final = ("SUCCEEDED", "CredentialsProvided", "Credentials were provided.")
_NOT_PROVIDED: Final = ("PENDING", "CredentialsNotProvided", "Credentials were not yet provided.")
_UNUSED: Final = (
    "UNUSED",
    "PendingDeletion",
    "Credentials for given Bundle Instance Auth are ready for being deleted by Application or Integration System.",
)
"""Condition, reason and message. Source: contract/director.md §9."""

# Errors


def _absent() -> NotFound:
    return NotFound(object="bundleInstanceAuth")


def _ungrouped() -> InvalidOperation:
    return InvalidOperation(
        reason="requesting runtime should be in same scenario as the requested application resource"
    )


# Inputs


def _is_uuid(value: str, /) -> str | None:
    try:
        uuid.UUID(value)
    except ValueError:
        return "must be a valid UUID"
    return None


@dataclass(frozen=True)
class CredentialsRequest:
    """What a runtime says when it wants credentials."""

    id: Annotated[str | None, _is_uuid] = None
    context: Annotated[str | None, small_json] = None
    input_params: Annotated[str | None, small_json] = None


@dataclass(frozen=True)
class NewBundleInstanceAuth:
    """Credentials that an application gives unasked."""

    auth: NewAuth
    context: Annotated[str | None, small_json] = None
    input_params: Annotated[str | None, small_json] = None
    runtime_id: str | None = None
    runtime_context_id: str | None = None

    def problems(self) -> dict[str, str]:
        """They are somebody's."""
        if (self.runtime_id is None) == (self.runtime_context_id is None):
            return {"runtimeID": "exactly one of runtimeID and runtimeContextID must be given"}
        return {}


@dataclass(frozen=True)
class BundleInstanceAuthChanges:
    """What of given credentials may be changed."""

    context: Annotated[str | None, small_json] = None
    input_params: Annotated[str | None, small_json] = None
    auth: NewAuth | None = None


@dataclass(frozen=True)
class GivenStatus:
    """What an application says about a request for credentials."""

    message: Annotated[str, Length(1, 2000)]
    reason: Annotated[str, Length(1, 256)]
    condition: str = "SUCCEEDED"


@dataclass(frozen=True)
class CredentialsAnswer:
    """An application's answer to a request: credentials, or why there are none."""

    auth: NewAuth | None = None
    status: GivenStatus | None = None

    def problems(self) -> dict[str, str]:
        """A success has credentials and a failure has none."""
        failed = self.status is not None and self.status.condition == "FAILED"
        if failed and self.auth is not None:
            return {"auth": "cannot be given together with the status condition FAILED"}
        if not failed and self.auth is None:
            return {"auth": "must be given unless the status condition is FAILED"}
        return {}


# Events


@dataclass(frozen=True)
class BundleInstanceAuthChanged(Event):
    """Credentials of one runtime for one bundle were asked for, given, changed, released or deleted."""

    application: ApplicationId
    bundle: BundleId
    bundle_instance_auth: BundleInstanceAuthId
    runtime: RuntimeId | None
    condition: str
    """The status condition they are in now, or `DELETED`."""


# How it is read

BUNDLE_INSTANCE_AUTH = Read(
    "BundleInstanceAuth",
    table="bundle_instance_auth",
    fields={
        "id": "id",
        "context": "context",
        "inputParams": "input_params",
        "auth": auth.shown("bundle_instance_auth", "auth_sealed"),
        "status": Object(
            {
                "condition": "status_condition",
                "timestamp": timestamp("status_timestamp"),
                "message": "status_message",
                "reason": "status_reason",
            }
        ),
        "runtimeID": "runtime_id",
        "runtimeContextID": "runtime_context_id",
    },
)
READS = (BUNDLE_INSTANCE_AUTH,)


def of_runtime(row: str) -> str:
    """SQL for a read plan: true unless a runtime asks and the row's credentials are for neither it nor its contexts."""
    return (
        f"({{runtime}} IS NULL OR {row}.runtime_id = {{runtime}} OR EXISTS (SELECT FROM runtime_context inside "
        f"WHERE inside.id = {row}.runtime_context_id AND inside.runtime_id = {{runtime}}))"
    )


_NO_NEIGHBOURS = auth.kept_from_neighbours("(SELECT application_id FROM bundle WHERE bundle.id = {c}.bundle_id)")
QUERIES = (
    Query(
        "bundleInstanceAuth",
        scope="application:read",
        read=One(
            "BundleInstanceAuth",
            on=(
                "{c}.id = {arg:id}::uuid "
                f"AND {of_runtime('{c}')} AND {_NO_NEIGHBOURS} "
                "AND ({c}.owner_tenant_id = {tenant} OR EXISTS (SELECT 1 FROM bundle "
                "JOIN application_tenant access ON access.application_id = bundle.application_id "
                "WHERE bundle.id = {c}.bundle_id AND access.tenant_id = {tenant}))"
            ),
        ),
    ),
)

# Commands

LOCK_REQUESTED = """
-- bundle_instance_auth.lock_requested
SELECT bundle.id, bundle.application_id, bundle.instance_auth_request_input_schema AS schema,
    bundle.default_instance_auth_sealed AS default_sealed,
    EXISTS (
        SELECT 1 FROM formation_assignment shared
        WHERE shared.source = bundle.application_id AND shared.target = %(runtime)s
            AND shared.state NOT IN ('DELETING', 'DELETE_ERROR')
    ) AS grouped
FROM bundle JOIN application_tenant access ON access.application_id = bundle.application_id
WHERE bundle.id = %(bundle)s AND access.tenant_id = %(tenant)s
FOR KEY SHARE OF bundle
"""
LOCK_ASKED_FOR = """
-- bundle_instance_auth.lock_asked_for
SELECT held.id, held.bundle_id, held.runtime_id, bundle.application_id,
    held.owner_tenant_id = %(tenant)s OR coalesce(access.owner, false) AS owner,
    bundle.default_instance_auth_sealed IS NOT NULL AS has_default,
    EXISTS (
        SELECT 1 FROM formation_assignment shared
        WHERE shared.source = bundle.application_id AND shared.target = %(runtime)s
            AND shared.state NOT IN ('DELETING', 'DELETE_ERROR')
    ) AS grouped
FROM bundle_instance_auth held JOIN bundle ON bundle.id = held.bundle_id
LEFT JOIN application_tenant access
    ON access.application_id = bundle.application_id AND access.tenant_id = %(tenant)s
WHERE held.id = %(id)s AND (held.owner_tenant_id = %(tenant)s OR access.tenant_id IS NOT NULL)
    AND (%(runtime)s::uuid IS NULL OR held.runtime_id = %(runtime)s OR EXISTS (
        SELECT FROM runtime_context inside
        WHERE inside.id = held.runtime_context_id AND inside.runtime_id = %(runtime)s
    ))
FOR UPDATE OF held
"""
LOCK = """
-- bundle_instance_auth.lock
SELECT held.id, held.bundle_id, held.runtime_id, held.status_condition, bundle.application_id, access.owner,
    bundle.instance_auth_request_input_schema AS schema
FROM bundle_instance_auth held JOIN bundle ON bundle.id = held.bundle_id
JOIN application_tenant access ON access.application_id = bundle.application_id
WHERE held.id = %(id)s AND access.tenant_id = %(tenant)s
FOR UPDATE OF held
"""
SCHEMA = """
-- bundle_instance_auth.schema
SELECT instance_auth_request_input_schema FROM bundle WHERE id = %(bundle)s
"""
LOCK_RUNTIME = """
-- bundle_instance_auth.lock_runtime
SELECT runtime.id FROM runtime JOIN runtime_tenant access ON access.runtime_id = runtime.id
WHERE runtime.id = %(runtime)s AND access.tenant_id = %(tenant)s
FOR KEY SHARE OF runtime
"""
LOCK_CONTEXT = """
-- bundle_instance_auth.lock_context
SELECT context.id
FROM runtime_context context JOIN runtime ON runtime.id = context.runtime_id
JOIN runtime_tenant access ON access.runtime_id = runtime.id
WHERE context.id = %(context)s AND access.tenant_id = %(tenant)s
FOR KEY SHARE OF runtime, context
"""
INSERT = """
-- bundle_instance_auth.insert
INSERT INTO bundle_instance_auth (
    id, bundle_id, owner_tenant_id, runtime_id, runtime_context_id, context, input_params, auth_sealed,
    status_condition, status_reason, status_message
)
VALUES (
    %(id)s, %(bundle)s, %(tenant)s,
    -- A runtime that is unregistered just now leaves its request behind without it.
    (SELECT id FROM runtime WHERE id = %(runtime)s FOR KEY SHARE), %(runtime_context)s,
    %(context)s, %(input_params)s, %(auth_sealed)s, %(condition)s, %(reason)s, %(message)s
)
ON CONFLICT (id) DO NOTHING
"""
CHANGE = """
-- bundle_instance_auth.change
UPDATE bundle_instance_auth SET
    context = coalesce(%(context)s, context), input_params = coalesce(%(input_params)s, input_params),
    auth_sealed = coalesce(%(auth_sealed)s, auth_sealed)
WHERE id = %(id)s
"""
SET_STATUS = """
-- bundle_instance_auth.set_status
UPDATE bundle_instance_auth SET
    auth_sealed = coalesce(%(auth_sealed)s, auth_sealed), status_condition = %(condition)s,
    status_reason = %(reason)s, status_message = %(message)s, status_timestamp = now()
WHERE id = %(id)s
"""
_RELEASE: Final = """
UPDATE bundle_instance_auth SET
    runtime_id = NULL, runtime_context_id = NULL, status_condition = %(condition)s, status_reason = %(reason)s,
    status_message = %(message)s, status_timestamp = now()
"""
RELEASE = f"""
-- bundle_instance_auth.release{_RELEASE}WHERE runtime_id = %(runtime)s
    OR runtime_context_id IN (SELECT id FROM runtime_context WHERE runtime_id = %(runtime)s)
"""
RELEASE_OF_CONTEXT = f"""
-- bundle_instance_auth.release_of_context{_RELEASE}WHERE runtime_context_id = %(context)s
"""
DELETE = """
-- bundle_instance_auth.delete
DELETE FROM bundle_instance_auth WHERE id = %(id)s
RETURNING id, context, input_params, auth_sealed, runtime_id, runtime_context_id, status_condition, status_message,
    status_reason, to_char(status_timestamp AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS status_timestamp
"""


@command("requestBundleInstanceAuthCreation", scope="runtime:write")
async def request_creation(
    tx: Tx, caller: Caller, bundle: BundleId, request: CredentialsRequest, *, vault: Vault
) -> BundleInstanceAuthId:
    """Ask for credentials for a bundle; they are there at once when the bundle has default ones. Four statements.

    Raises NotFound, InvalidOperation (a runtime that shares no group with the application), InvalidData and Refused
    (parameters that are missing or do not fit), NotUnique (the id). Emits BundleInstanceAuthChanged.
    """
    tenant = caller.in_tenant()
    row = await tx.row(LOCK_REQUESTED, tenant=tenant, bundle=bundle, runtime=caller.runtime)
    if row is None:
        raise NotFound(object="bundle")
    if caller.runtime is not None and not row["grouped"]:
        raise _ungrouped()
    require(row["schema"], request.input_params)
    requested = canonical(request.id) if request.id else new_id()
    sealed = row["default_sealed"]
    if sealed is not None:
        opened = vault.open(f"bundle/{row['id']}", sealed)
        sealed = vault.seal(f"bundle_instance_auth/{requested}", opened)
    return await _insert(
        tx,
        caller,
        row["application_id"],
        id=requested,
        bundle=row["id"],
        runtime=caller.runtime,
        runtime_context=None,
        context=request.context,
        input_params=request.input_params,
        auth_sealed=sealed,
    )


@command("createBundleInstanceAuth", scope="bundle_instance_auth:write")
async def create(
    tx: Tx, caller: Caller, bundle: BundleId, new: NewBundleInstanceAuth, *, vault: Vault
) -> BundleInstanceAuthId:
    """Give a runtime or a runtime context credentials of its own for a bundle, unasked. Six statements with the reply.

    Raises NotFound (the bundle, the runtime, the runtime context), Unauthorized, Refused.
    Emits BundleInstanceAuthChanged.
    """
    absent = NotFound(object="bundle")
    parent = await bundle_to_extend(tx, caller, bundle, "bundleInstanceAuth", absent=absent)
    runtime = context = None
    if new.runtime_id is not None:
        runtime = await tx.value(LOCK_RUNTIME, tenant=caller.in_tenant(), runtime=new.runtime_id)
        if runtime is None:
            raise NotFound(object="runtime")
    else:
        context = await tx.value(LOCK_CONTEXT, tenant=caller.in_tenant(), context=new.runtime_context_id)
        if context is None:
            raise NotFound(object="runtimeContext")
    if new.input_params is not None:
        require(await tx.value(SCHEMA, bundle=bundle), new.input_params)
    created = new_id()
    return await _insert(
        tx,
        caller,
        parent["application_id"],
        id=created,
        bundle=parent["id"],
        runtime=runtime,
        runtime_context=context,
        context=new.context,
        input_params=new.input_params,
        auth_sealed=new.auth.sealed(vault, f"bundle_instance_auth/{created}"),
    )


async def _insert(tx: Tx, caller: Caller, application: ApplicationId, **columns: Any) -> BundleInstanceAuthId:
    condition, reason, message = _NOT_PROVIDED if columns["auth_sealed"] is None else _PROVIDED
    inserted = await tx.run(
        INSERT, tenant=caller.in_tenant(), condition=condition, reason=reason, message=message, **columns
    )
    if not inserted:
        raise NotUnique(object="bundleInstanceAuth")
    row = {"id": columns["id"], "bundle_id": columns["bundle"], "runtime_id": columns["runtime"]}
    await _announce(tx, caller, {**row, "application_id": application}, condition)
    return BundleInstanceAuthId(columns["id"])


@command("updateBundleInstanceAuth", scope="bundle_instance_auth:write")
async def update(
    tx: Tx,
    caller: Caller,
    subject: BundleInstanceAuthId,
    bundle: BundleId,
    changes: BundleInstanceAuthChanges,
    *,
    vault: Vault,
) -> BundleInstanceAuthId:
    """Change what is given of a runtime's credentials. New credentials make them SUCCEEDED unless they are UNUSED.

    Raises NotFound (also when they are another bundle's), Unauthorized, Refused. Emits BundleInstanceAuthChanged.
    """
    row = await _own(tx, caller, subject)
    if row["bundle_id"] != canonical(bundle):
        raise _absent()
    if changes.input_params is not None:
        require(row["schema"], changes.input_params)
    sealed = None if changes.auth is None else changes.auth.sealed(vault, f"bundle_instance_auth/{row['id']}")
    await tx.run(CHANGE, id=subject, context=changes.context, input_params=changes.input_params, auth_sealed=sealed)
    condition = row["status_condition"]
    if sealed is not None and condition != _UNUSED[0]:
        condition = await _set_status(tx, row, _PROVIDED)
    await _announce(tx, caller, row, condition)
    return subject


@command("setBundleInstanceAuth", scope="application:write")
async def set_credentials(
    tx: Tx, caller: Caller, subject: BundleInstanceAuthId, answer: CredentialsAnswer, *, vault: Vault
) -> BundleInstanceAuthId:
    """Answer a request for credentials, once.

    Raises NotFound, Unauthorized, InvalidOperation (answered already). Emits BundleInstanceAuthChanged.
    """
    row = await _own(tx, caller, subject)
    if row["status_condition"] != _NOT_PROVIDED[0]:
        raise InvalidOperation(reason="auth can be set only on BundleInstanceAuths in PENDING state")
    sealed = None if answer.auth is None else answer.auth.sealed(vault, f"bundle_instance_auth/{row['id']}")
    given = answer.status
    status = (given.condition, given.reason, given.message) if given else _PROVIDED
    await _announce(tx, caller, row, await _set_status(tx, row, status, sealed))
    return subject


@command("requestBundleInstanceAuthDeletion", scope="runtime:write")
async def request_deletion(
    tx: Tx, caller: Caller, subject: BundleInstanceAuthId, *, vault: Vault
) -> BundleInstanceAuthId | dict[str, Any]:
    """Give credentials back: a copy of the default ones is deleted, others wait as UNUSED for the application.

    Answers what was there when it is deleted. Raises NotFound, Unauthorized, InvalidOperation (no common group).
    Emits BundleInstanceAuthChanged.
    """
    tenant = caller.in_tenant()
    row = await tx.row(LOCK_ASKED_FOR, tenant=tenant, id=subject, runtime=caller.runtime)
    if row is None:
        raise _absent()
    if caller.runtime is not None and not row["grouped"]:
        raise _ungrouped()
    if not row["owner"]:
        raise NotOwner()
    if not row["has_default"]:
        await _announce(tx, caller, row, await _set_status(tx, row, _UNUSED))
        return subject
    await _announce(tx, caller, row, "DELETED")
    deleted = await tx.rows(DELETE, id=subject)
    return _answer(deleted[0], vault)


@command("deleteBundleInstanceAuth", scope="application:write", reply_before=True)
async def delete(tx: Tx, caller: Caller, subject: BundleInstanceAuthId) -> None:
    """Remove a runtime's credentials and answer what they were.

    Raises NotFound, Unauthorized. Emits BundleInstanceAuthChanged.
    """
    row = await _own(tx, caller, subject)
    await tx.run(DELETE, id=subject)
    await _announce(tx, caller, row, "DELETED")


async def release(tx: Tx, runtime: RuntimeId) -> None:
    """Leave all credentials of a runtime that is about to go, and of its contexts, to their applications, as UNUSED.

    One statement.
    """
    condition, reason, message = _UNUSED
    await tx.run(RELEASE, runtime=runtime, condition=condition, reason=reason, message=message)


async def release_of_context(tx: Tx, context: RuntimeContextId) -> None:
    """The same for a runtime context. One statement."""
    condition, reason, message = _UNUSED
    await tx.run(RELEASE_OF_CONTEXT, context=context, condition=condition, reason=reason, message=message)


async def _own(tx: Tx, caller: Caller, subject: BundleInstanceAuthId) -> Row:
    row = await tx.row(LOCK, tenant=caller.in_tenant(), id=subject)
    return may_change(caller, row, absent=_absent())


async def _set_status(tx: Tx, row: Row, status: tuple[str, str, str], sealed: str | None = None) -> str:
    condition, reason, message = status
    await tx.run(SET_STATUS, id=row["id"], auth_sealed=sealed, condition=condition, reason=reason, message=message)
    return condition


async def _announce(tx: Tx, caller: Caller, row: Row, condition: str) -> None:
    event = BundleInstanceAuthChanged(
        caller.in_tenant(), row["application_id"], row["bundle_id"], row["id"], row["runtime_id"], condition
    )
    await append(tx, event)


def _answer(row: Row, vault: Vault) -> dict[str, Any]:
    """A row that is gone, in the form of the schema's type."""
    sealed = row["auth_sealed"]
    return {
        "id": row["id"],
        "context": row["context"],
        "inputParams": row["input_params"],
        "auth": None if sealed is None else auth.opened(vault, f"bundle_instance_auth/{row['id']}", sealed),
        "status": {
            "condition": row["status_condition"],
            "timestamp": row["status_timestamp"],
            "message": row["status_message"],
            "reason": row["status_reason"],
        },
        "runtimeID": row["runtime_id"],
        "runtimeContextID": row["runtime_context_id"],
    }
