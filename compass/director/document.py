"""Documents: prose about a bundle, for the people who use it. Source: contract/director.md §8."""

from dataclasses import dataclass
from typing import Annotated

from compass.access import itself
from compass.access.caller import Caller
from compass.commands import command
from compass.director.catalogue import (
    ApplicationCatalogueChanged,
    Draft,
    bundle_to_extend,
    canonical,
    may_change,
    not_too_large,
)
from compass.director.fetch_request import NewFetchRequest
from compass.errors import InvalidData, NotFound
from compass.ids import BundleId, DocumentId
from compass.inputs import Length
from compass.outbound.door import Door
from compass.outbox.append import append
from compass.postgres.pool import Database, Tx
from compass.reads.plan import One, Read, timestamp
from compass.vault import Vault

# Errors


def _no_bundle() -> InvalidData:
    return InvalidData(reason="cannot add Document to not existing Bundle")


# Inputs


@dataclass(frozen=True)
class NewDocument:
    """A document, inline or to be fetched."""

    title: Annotated[str, Length(1, 128)]
    display_name: Annotated[str, Length(1, 128)]
    description: Annotated[str, Length(1, 2000)]
    format: str
    kind: Annotated[str | None, Length(0, 256)] = None
    data: Annotated[str | None, not_too_large] = None
    fetch_request: NewFetchRequest | None = None

    def problems(self) -> dict[str, str]:
        """There is one way to the data at most."""
        if self.data is not None and self.fetch_request is not None:
            return {"Rule.DataOrFetchRequest": "Only one of Data or Fetch Request must be passed"}
        return {}


def drafted(draft: Draft, new: NewDocument, bundle: str) -> DocumentId:
    """Add a document to a draft."""
    row = draft.add(
        draft.documents,
        bundle_id=bundle,
        title=new.title,
        display_name=new.display_name,
        description=new.description,
        format=new.format,
        kind=new.kind,
        data=new.data,
    )
    draft.fetch_later(new.fetch_request, row, "document_id")
    return DocumentId(row["id"])


# How it is read

DOCUMENT = Read(
    "Document",
    table="document",
    fields={
        "id": "id",
        "title": "title",
        "displayName": "display_name",
        "description": "description",
        "format": "format",
        "kind": "kind",
        "data": "data",
        "fetchRequest": One(
            "FetchRequest", on=f"{{c}}.document_id = {{t}}.id AND {itself.alone('{t}.application_id')}"
        ),
        "createdAt": timestamp("created_at"),
        "updatedAt": timestamp("updated_at"),
        "deletedAt": timestamp("deleted_at"),
        "error": "error",
    },
    sanitized={"fetchRequest": "document.fetch_request:read"},
)
READS = (DOCUMENT,)

# Commands

LOCK = """
-- document.lock
SELECT document.id, document.application_id, access.owner
FROM document JOIN application_tenant access ON access.application_id = document.application_id
WHERE document.id = %(id)s AND access.tenant_id = %(tenant)s
FOR UPDATE OF document
"""
DELETE = """
-- document.delete
DELETE FROM document WHERE id = %(document)s
"""


async def _drafted(
    caller: Caller, bundle: BundleId, new: NewDocument, *, vault: Vault, door: Door, database: Database
) -> Draft:
    draft = Draft(vault, caller.request_id)
    drafted(draft, new, canonical(bundle))
    await draft.fetch(door, database, lambda tx: bundle_to_extend(tx, caller, bundle, "document", absent=_no_bundle()))
    return draft


@command("addDocumentToBundle", scope="application:write", prepare=_drafted)
async def add(tx: Tx, caller: Caller, bundle: BundleId, new: NewDocument, *, prepared: Draft) -> DocumentId:  # noqa: ARG001  # `prepared` is made of it
    """Add a document to a bundle. Four statements with the reply.

    Raises InvalidData (no such bundle), Unauthorized. Emits ApplicationCatalogueChanged.
    """
    parent = await bundle_to_extend(tx, caller, bundle, "document", absent=_no_bundle())
    await prepared.insert(tx, parent["application_id"])
    document = DocumentId(prepared.documents[0]["id"])
    await append(
        tx, ApplicationCatalogueChanged(caller.in_tenant(), parent["application_id"], "document", document, "added")
    )
    return document


@command("deleteDocument", scope="application:write", reply_before=True)
async def delete(tx: Tx, caller: Caller, document: DocumentId) -> None:
    """Remove a document and answer what it was. Raises NotFound, Unauthorized. Emits ApplicationCatalogueChanged."""
    found = await tx.row(LOCK, tenant=caller.in_tenant(), id=document)
    row = may_change(caller, found, absent=NotFound(object="document"))
    await tx.run(DELETE, document=document)
    await append(
        tx, ApplicationCatalogueChanged(caller.in_tenant(), row["application_id"], "document", row["id"], "deleted")
    )
