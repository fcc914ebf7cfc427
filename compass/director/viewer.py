"""The viewer: what the plane takes the caller for. Also the health checks, of which the original never had any."""

from compass.access.caller import Consumer
from compass.errors import Refused
from compass.reads.plan import Filling, Hole, Query

_TYPES = {
    Consumer.APPLICATION: "APPLICATION",
    Consumer.RUNTIME: "RUNTIME",
    Consumer.INTEGRATION_SYSTEM: "INTEGRATION_SYSTEM",
    Consumer.STATIC_USER: "USER",
}


def _viewer(filling: Filling, _payload: str) -> dict[str, str]:
    caller = filling.caller
    if caller.consumer not in _TYPES:
        raise Refused(f"viewer does not exist: {caller.consumer}")
    return {"id": caller.consumer_id, "type": _TYPES[caller.consumer]}


def _no_health_checks(_filling: Filling, _payload: str) -> dict[str, object]:
    return {"data": [], "pageInfo": {"startCursor": "", "endCursor": "", "hasNextPage": False}, "totalCount": 0}


QUERIES = (
    Query("viewer", scope="", tenant=False, read=Hole("''", _viewer)),
    Query("healthChecks", scope="health_checks:read", tenant=False, read=Hole("''", _no_health_checks)),
)
