"""How far clients are with pairing, as administrators see it."""

from dataclasses import replace
from typing import Any

from compass.access.caller import Consumer

PAIRINGS = """query ($object: ID, $client: ID) { pairings(objectID: $object, clientID: $client) {
    totalCount data { clientID objectType objectID tokenIssuedAt tokenExpiresAt tokenUsedAt signedAt serial connected }
} }"""


def administrator(director: Any) -> Any:
    return replace(director.caller, scopes=director.caller.scopes | {"certificate:read"})


async def begun(director: Any, kind: str) -> str:
    """A new object for which a token was made."""
    made = await director.data(f'mutation {{ r: register{kind}(in: {{name: "one"}}) {{ id }} }}')
    identity = str(made["r"]["id"])
    text = f"mutation ($id: ID!) {{ r: requestOneTimeTokenFor{kind}(id: $id) {{ expiresAt }} }}"
    await director.data(text, id=identity)
    return identity


async def test_a_token_that_was_made_is_the_first_step(director: Any) -> None:
    application, runtime = await begun(director, "Application"), await begun(director, "Runtime")

    data = await director.data(PAIRINGS, caller=administrator(director))

    found = {one["objectID"]: one for one in data["pairings"]["data"]}
    assert data["pairings"]["totalCount"] == 2
    assert (found[application]["objectType"], found[runtime]["objectType"]) == ("APPLICATION", "RUNTIME")
    for one in found.values():
        assert one["tokenIssuedAt"] < one["tokenExpiresAt"]
        assert (one["tokenUsedAt"], one["signedAt"], one["serial"], one["connected"]) == (None, None, None, False)


async def test_one_object_or_one_client_can_be_asked_for(director: Any) -> None:
    application, other = await begun(director, "Application"), await begun(director, "Runtime")
    caller = administrator(director)

    by_object = (await director.data(PAIRINGS, caller=caller, object=application))["pairings"]["data"]
    client = by_object[0]["clientID"]

    assert [one["objectID"] for one in by_object] == [application]
    assert (await director.data(PAIRINGS, caller=caller, client=client))["pairings"]["data"] == by_object
    assert (await director.data(PAIRINGS, caller=caller, client=client, object=other))["pairings"]["totalCount"] == 0


async def test_ways_in_without_a_token_are_no_pairings(director: Any) -> None:
    made = await director.data('mutation { r: registerApplication(in: {name: "one"}) { id } }')
    text = "mutation ($id: ID!) { requestClientCredentialsForApplication(id: $id) { id } }"
    await director.data(text, id=made["r"]["id"])

    assert (await director.data(PAIRINGS, caller=administrator(director)))["pairings"]["totalCount"] == 0


async def test_only_administrators_see_them_and_only_their_tenants(director: Any) -> None:
    await begun(director, "Application")

    refused = await director.refusal(PAIRINGS)
    elsewhere = replace(administrator(director), tenant=director.other.tenant)
    program = replace(administrator(director), consumer=Consumer.INTEGRATION_SYSTEM)

    assert "insufficient scopes" in refused["message"]
    assert (await director.data(PAIRINGS, caller=elsewhere))["pairings"]["totalCount"] == 0
    assert (await director.data(PAIRINGS, caller=program))["pairings"]["totalCount"] == 1
