"""Refusals say no more than the caller may know."""

from compass.access.tenancy import application_refusal, runtime_refusal
from compass.director import tenant
from compass.ids import TenantId
from compass.postgres.pool import Tx

ID = "00000000-0000-4000-9000-000000000001"


async def landscape(tx: Tx) -> tuple[TenantId, TenantId]:
    """An owner of an application and a runtime, and somebody who only sees them."""
    owner = await tenant.write(tx, tenant.NewTenant("o", "owner", "account", "test"))
    reader = await tenant.write(tx, tenant.NewTenant("r", "reader", "account", "test"))
    for kind in ("application", "runtime"):
        await tx.run(
            f"-- test\nINSERT INTO {kind} (id, tenant_id, name) VALUES (%(id)s, %(tenant)s, 'x')", id=ID, tenant=owner
        )
        await tx.run(
            f"-- test\nINSERT INTO {kind}_tenant VALUES (%(owner)s, %(id)s, true), (%(reader)s, %(id)s, false)",
            id=ID, owner=owner, reader=reader,
        )  # fmt: skip
    return owner, reader


async def test_who_sees_an_object_is_told_that_it_is_not_its_own(tx: Tx) -> None:
    _, reader = await landscape(tx)

    for refusal in (await application_refusal(tx, reader, ID), await runtime_refusal(tx, reader, ID)):
        assert refusal.wire_text() == "Unauthorized [reason=Owner access is needed for resource modification]"


async def test_who_does_not_see_it_is_told_that_there_is_none(tx: Tx) -> None:
    await landscape(tx)
    stranger = await tenant.write(tx, tenant.NewTenant("s", "stranger", "account", "test"))

    assert (await application_refusal(tx, stranger, ID)).wire_text() == "Object not found [object=application]"
    assert (await runtime_refusal(tx, stranger, ID)).wire_text() == "Object not found [object=runtime]"


async def test_an_id_that_is_none_is_not_found(tx: Tx) -> None:
    owner, _ = await landscape(tx)

    assert (await application_refusal(tx, owner, "not a uuid")).wire_text() == "Object not found [object=application]"
