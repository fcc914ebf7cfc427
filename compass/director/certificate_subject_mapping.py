"""Certificate subject mappings: for whom a certificate of a foreign authority speaks, by its subject.

Global, not a tenant's. A subject is kept in one order whatever order it was given in, so that the same subject is
mapped once. Source: contract/director.md §18.
"""

from dataclasses import dataclass
from typing import Annotated, Final

import asyncpg

from compass.access import subject
from compass.access.caller import Caller, Consumer
from compass.access.tenancy import Reach
from compass.commands import command
from compass.errors import NotFound, NotUnique
from compass.ids import CertificateSubjectMappingId
from compass.inputs import Length
from compass.outbox.append import append
from compass.outbox.events import Event
from compass.postgres.pool import Tx
from compass.reads.plan import One, Page, Query, Read, timestamp

ACCESS_LEVELS: Final = frozenset(
    {"customer", "account", "subaccount", "organization", "folder", "resource-group", "cost-object", "global"}
)

# Errors


def _absent() -> NotFound:
    return NotFound(object="certSubjectMapping")


def _taken() -> NotUnique:
    return NotUnique(object="certSubjectMapping")


# Inputs


def _complete_subject(value: str, /) -> str | None:
    if subject.of_text(value) is None:
        return "must have exactly one CN, O, L and C and at least one OU, each with a value, and nothing else"
    return None


def _known_levels(value: list[str], /) -> str | None:
    if not value:
        return "cannot be blank"
    return None if set(value) <= ACCESS_LEVELS else "must be a valid value"


def _known_consumer(value: str, /) -> str | None:
    return None if value in set(Consumer) else "must be a valid value"


@dataclass(frozen=True)
class NewMapping:
    """A mapping, as it is created and as it is changed to."""

    subject: Annotated[str, Length(1, 2000), _complete_subject]
    consumer_type: Annotated[str, _known_consumer]
    tenant_access_levels: Annotated[tuple[str, ...], _known_levels]
    internal_consumer_id: Annotated[str | None, Length(0, 256)] = None


# Events


@dataclass(frozen=True)
class CertificateSubjectMappingsChanged(Event):
    """A mapping was created, changed or deleted; who a certificate speaks for may have changed."""

    mapping: CertificateSubjectMappingId


# How it is read

MAPPING = Read(
    "CertificateSubjectMapping",
    table="certificate_subject_mapping",
    fields={
        "id": "id",
        "subject": "subject",
        "consumerType": "consumer_type",
        "internalConsumerID": "internal_consumer_id",
        "tenantAccessLevels": "tenant_access_levels",
        "createdAt": timestamp("created_at"),
        "updatedAt": timestamp("updated_at"),
    },
)
READS = (MAPPING,)
QUERIES = (
    Query(
        "certificateSubjectMapping",
        scope="certificate_subject_mapping:read",
        tenant=False,
        read=One("CertificateSubjectMapping", on="{c}.id = {arg:id}::uuid"),
        absent=lambda _: _absent(),
    ),
    Query(
        "certificateSubjectMappings",
        scope="certificate_subject_mapping:read",
        tenant=False,
        read=Page("CertificateSubjectMapping", on="true", order="{c}.id", largest=300),
    ),
)

# Commands

CREATE = """
-- certificate_subject_mapping.create
INSERT INTO certificate_subject_mapping (subject, consumer_type, internal_consumer_id, tenant_access_levels)
VALUES (%(subject)s, %(consumer_type)s, %(internal_consumer_id)s, %(tenant_access_levels)s)
ON CONFLICT (subject) DO NOTHING
RETURNING id
"""
UPDATE = """
-- certificate_subject_mapping.update
UPDATE certificate_subject_mapping SET subject = %(subject)s, consumer_type = %(consumer_type)s,
    internal_consumer_id = %(internal_consumer_id)s, tenant_access_levels = %(tenant_access_levels)s, updated_at = now()
WHERE id = %(id)s
RETURNING id
"""
DELETE = """
-- certificate_subject_mapping.delete
DELETE FROM certificate_subject_mapping WHERE id = %(id)s
"""


@command("createCertificateSubjectMapping", scope="certificate_subject_mapping:write", reach=Reach.PLANE)
async def create(tx: Tx, _caller: Caller, new: NewMapping) -> CertificateSubjectMappingId:
    """Say for whom certificates of a subject speak. Raises NotUnique. Emits CertificateSubjectMappingsChanged."""
    created = await tx.value(
        CREATE,
        subject=subject.of_text(new.subject),
        consumer_type=new.consumer_type,
        internal_consumer_id=new.internal_consumer_id,
        tenant_access_levels=list(new.tenant_access_levels),
    )
    if created is None:
        raise _taken()
    await append(tx, CertificateSubjectMappingsChanged(None, created))
    return CertificateSubjectMappingId(created)


@command("updateCertificateSubjectMapping", scope="certificate_subject_mapping:write", reach=Reach.PLANE)
async def update(
    tx: Tx, _caller: Caller, mapping: CertificateSubjectMappingId, changed: NewMapping
) -> CertificateSubjectMappingId:
    """Replace a mapping.

    Raises NotFound, NotUnique when the subject is another mapping's. Emits CertificateSubjectMappingsChanged.
    """
    try:
        found = await tx.value(
            UPDATE,
            id=mapping,
            subject=subject.of_text(changed.subject),
            consumer_type=changed.consumer_type,
            internal_consumer_id=changed.internal_consumer_id,
            tenant_access_levels=list(changed.tenant_access_levels),
        )
    except asyncpg.UniqueViolationError:
        raise _taken() from None
    if found is None:
        raise _absent()
    await append(tx, CertificateSubjectMappingsChanged(None, found))
    return CertificateSubjectMappingId(found)


@command(
    "deleteCertificateSubjectMapping", scope="certificate_subject_mapping:write", reach=Reach.PLANE, reply_before=True
)
async def delete(tx: Tx, _caller: Caller, mapping: CertificateSubjectMappingId) -> None:
    """Remove a mapping and answer what it was. Raises NotFound. Emits CertificateSubjectMappingsChanged."""
    if not await tx.run(DELETE, id=mapping):
        raise _absent()
    await append(tx, CertificateSubjectMappingsChanged(None, mapping))
