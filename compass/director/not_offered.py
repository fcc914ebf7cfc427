"""What the contract names and this plane does not do: it needs services that nobody outside one vendor has.

Each such mutation is in the schema and refused with one clear error. The plane aggregates nothing by itself, so there
are no scheduled operations to be read either. Source: contract/director.md §17, §19.
"""

from compass.access.caller import Caller
from compass.commands import command
from compass.errors import InvalidOperation, NotFound
from compass.postgres.pool import Tx
from compass.reads.plan import Hole, Query

# Errors


class NotOffered(InvalidOperation):
    """The mutation needs a service of one vendor that this plane has no part of. Nothing was changed."""

    def __init__(self, mutation: str, needs: str) -> None:
        super().__init__(reason=f"{mutation} is not offered by this plane: it needs {needs}")


# How it is read

QUERIES = (
    Query(
        "operation",
        scope="operation:read",
        tenant=False,
        read=Hole("NULL::text", lambda _filling, _payload: None),
        absent=lambda _: NotFound(object="operation"),
    ),
)

# Commands


@command("scheduleOperation", scope="operation:schedule")
async def schedule_operation(_tx: Tx, _caller: Caller, _operation: str, _priority: int | None) -> None:
    """Raises NotOffered."""
    raise NotOffered("scheduleOperation", "an aggregator of Open Resource Discovery")


@command("subscribeTenant", scope="tenant_subscription:write")
async def subscribe_tenant(
    _tx: Tx,
    _caller: Caller,
    _provider: str,
    _subaccount: str,
    _provider_subaccount: str,
    _consumer_tenant: str,
    _region: str,
    _application_name: str,
    _payload: str,
) -> bool:
    """Raises NotOffered."""
    raise NotOffered("subscribeTenant", "a subscription service")


@command("unsubscribeTenant", scope="tenant_subscription:write")
async def unsubscribe_tenant(
    _tx: Tx,
    _caller: Caller,
    _provider: str,
    _subaccount: str,
    _provider_subaccount: str,
    _consumer_tenant: str,
    _region: str,
    _payload: str,
) -> bool:
    """Raises NotOffered."""
    raise NotOffered("unsubscribeTenant", "a subscription service")
