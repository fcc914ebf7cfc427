"""Own credentials for every Runtime: brings the plane to what the notifications asked for, as often as it takes."""

from typing import Any

from compass.client.graphql import PlaneRefused
from compass.demo.orders import credential, queries
from compass.demo.orders.connection import PlaneConnection
from compass.demo.orders.registration import NotRegistered
from compass.demo.orders.store import Store
from compass.errors import Code, CompassError


async def settle(store: Store, plane: PlaneConnection) -> None:
    """Give credentials to each Runtime that is wanted, take them from each that is not.

    Every step may be repeated: a crash, a lost reply or a refusal leaves the Runtime unsettled, with the problem
    noted, for the next call.
    """
    for runtime in await store.rows(UNSETTLED):
        try:
            auth = await (_grant if runtime["wanted"] else _take_away)(store, plane, runtime)
        except CompassError as refusal:
            await store.run(PROBLEM, runtime=runtime["id"], problem=str(refusal))
        else:
            # a notification that came meanwhile raised the revision, and this result is already old
            await store.run(SETTLED, runtime=runtime["id"], auth=auth, revision=runtime["revision"])


def credential_name(runtime: str) -> str:
    """The name of the pair that only this Runtime uses."""
    return f"runtime-{runtime}"


async def _grant(store: Store, plane: PlaneConnection, runtime: dict[str, Any]) -> str:
    bundle = await store.setting("bundle_id")
    if bundle is None:
        raise NotRegistered
    name = credential_name(runtime["id"])
    present = [auth for auth in await _instance_auths(plane, bundle) if auth["runtimeID"] == runtime["id"]]
    ours = next((auth for auth in present if _username(auth) == name), None)
    if ours is None or not await credential.live(store, name):
        pair = await credential.issue(store, name, runtime=runtime["id"])
        given = {"credential": {"basic": {"username": pair.name, "password": pair.secret}}}
        kept = await _set(plane, bundle, runtime["id"], present, given)
        present = [auth for auth in await _instance_auths(plane, bundle) if auth["runtimeID"] == runtime["id"]]
    else:
        kept = str(ours["id"])
    for auth in present:
        if auth["id"] != kept:
            # the Director shows the Runtime its first one: a copy of the default pair would hide ours
            await _delete(plane, auth["id"])
    return kept


async def _set(
    plane: PlaneConnection, bundle: str, runtime: str, present: list[dict[str, Any]], auth: dict[str, Any]
) -> str:
    pending = next((one for one in present if one["status"]["condition"] == "PENDING"), None)
    if pending is not None:
        made = await plane.ask(queries.SET_INSTANCE_AUTH, auth=pending["id"], **{"in": {"auth": auth}})
        return str(made["setBundleInstanceAuth"]["id"])
    given = {"auth": auth, "runtimeID": runtime}
    made = await plane.ask(queries.CREATE_INSTANCE_AUTH, bundle=bundle, **{"in": given})
    return str(made["createBundleInstanceAuth"]["id"])


async def _take_away(store: Store, plane: PlaneConnection, runtime: dict[str, Any]) -> None:
    # our own door first: it must be shut even while the plane cannot be reached
    await credential.revoke(store, credential_name(runtime["id"]))
    bundle = await store.setting("bundle_id")
    if bundle is None:
        return
    for auth in await _instance_auths(plane, bundle):
        # an unregistered Runtime's id is gone from its auths, the name of our pair is not
        if auth["runtimeID"] == runtime["id"] or _username(auth) == credential_name(runtime["id"]):
            await _delete(plane, auth["id"])


async def _delete(plane: PlaneConnection, auth: str) -> None:
    try:
        await plane.ask(queries.DELETE_INSTANCE_AUTH, auth=auth)
    except PlaneRefused as refusal:
        if refusal.error_code != Code.NOT_FOUND:
            raise


async def _instance_auths(plane: PlaneConnection, bundle: str) -> list[dict[str, Any]]:
    bundles = (await plane.ask_about_ourselves(queries.INSTANCE_AUTHS))["bundles"]["data"]
    return [auth for one in bundles if one["id"] == bundle for auth in one["instanceAuths"] or []]


def _username(auth: dict[str, Any]) -> str | None:
    return ((auth["auth"] or {}).get("credential") or {}).get("username")


UNSETTLED = """
-- runtime.unsettled
SELECT id, wanted, revision FROM runtime WHERE settled = 0 ORDER BY id
"""
SETTLED = """
-- runtime.settled
UPDATE runtime SET settled = 1, instance_auth_id = :auth, problem = NULL WHERE id = :runtime AND revision = :revision
"""
PROBLEM = """
-- runtime.problem
UPDATE runtime SET problem = :problem WHERE id = :runtime
"""
