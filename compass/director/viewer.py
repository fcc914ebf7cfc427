"""The viewer: what the plane takes the caller for. Also the health checks, of which the original never had any."""

from compass.access.caller import Consumer
from compass.connector.one_time_token import SHORTEST_LIFE, Purpose
from compass.errors import Refused
from compass.reads.plan import Filling, Hole, Query
from compass.settings import TokenSettings

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


def _signed_in(filling: Filling, _payload: str) -> dict[str, object]:
    caller, settings = filling.caller, filling.parts[TokenSettings]
    return {
        "id": caller.consumer_id,
        "consumer": caller.consumer.value,
        "flow": caller.flow.value,
        "tenantID": caller.external_tenant,
        "issuer": caller.issuer or None,
        "scopes": sorted(caller.scopes),
        "oneTimeTokenLives": {
            "shortestSeconds": int(SHORTEST_LIFE.total_seconds()),
            "applicationSeconds": int(Purpose.APPLICATION.life(settings).total_seconds()),
            "runtimeSeconds": int(Purpose.RUNTIME.life(settings).total_seconds()),
        },
    }


def _no_health_checks(_filling: Filling, _payload: str) -> dict[str, object]:
    return {"data": [], "pageInfo": {"startCursor": "", "endCursor": "", "hasNextPage": False}, "totalCount": 0}


QUERIES = (
    Query("viewer", scope="", tenant=False, read=Hole("''", _viewer)),
    Query("signedIn", scope="", tenant=False, read=Hole("''", _signed_in)),
    Query("healthChecks", scope="health_checks:read", tenant=False, read=Hole("''", _no_health_checks)),
)
