"""The inventory of certificates and their revocation by an administrator, through the Connector's API."""

import hashlib
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import orjson
import pytest

from compass.access.caller import Caller, Consumer, Flow
from compass.access.scopes import BY_CONSUMER
from compass.api.request import Endpoint
from compass.app import connector_surface
from compass.connector import certificate, inventory
from compass.connector.authority import Authority
from compass.connector.certificate import Issued
from compass.connector.urls import PublicUrls
from compass.ids import SystemAuthId, TenantId
from compass.postgres.pool import Database
from compass.settings import LandscapeSettings, TokenSettings
from tests.director.catalogue import counted

LIST = """
query ($first: Int, $after: PageCursor, $state: [CertificateState!], $client: ID, $object: ID) {
  result: certificates(first: $first, after: $after, state: $state, clientID: $client, objectID: $object) {
    data { serial state } pageInfo { endCursor hasNextPage } totalCount } }
"""
EVERYTHING = """
{ result: certificates { data { serial fingerprint subject state clientID objectType objectID tenant lineage issuedAt
  expiresAt lastUsedAt revokedAt revokedBy revocationReason chain } } }
"""
REVOKE = """
mutation ($client: ID, $object: ID, $fingerprint: String, $serial: String, $reason: String) {
  result: revokeCertificates(
    clientID: $client, objectID: $object, fingerprint: $fingerprint, serial: $serial, reason: $reason) }
"""
STATES = ("VALID", "EXPIRING", "REVOKED", "EXPIRED")
LEFT = {"VALID": timedelta(days=60), "EXPIRING": timedelta(days=10), "EXPIRED": timedelta(seconds=-1)}
CONTENT = """
SELECT coalesce(md5(string_agg(one::text, '|' ORDER BY one::text)), '')
FROM (SELECT certificate::text FROM certificate UNION ALL SELECT outbox_event::text FROM outbox_event) one
"""


class Inventory:
    """One tenant's administrator, the application of that tenant and a certificate in each state."""

    def __init__(self, database: Database, endpoint: Endpoint, authority: Authority, request_for: Any) -> None:
        self.database = database
        self.endpoint = endpoint
        self.authority = authority
        self.request_for = request_for
        self.admin = Caller(Consumer.STATIC_USER, "ada", Flow.JWT, BY_CONSUMER[Consumer.STATIC_USER], None)
        self.client = SystemAuthId("")
        self.object = ""
        self.held: dict[str, Issued] = {}

    async def __call__(self, text: str, caller: Caller | None = None, **variables: Any) -> Any:
        answer: Any = orjson.loads((await self.endpoint.answer(caller or self.admin, text, variables)).body)
        return answer

    async def result(self, text: str, caller: Caller | None = None, **variables: Any) -> Any:
        answer = await self(text, caller, **variables)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]["result"]

    async def refusal(self, text: str, caller: Caller | None = None, **variables: Any) -> Any:
        """The error; fails the test when a certificate changed or something was announced."""
        before = await self.value(CONTENT)
        answer = await self(text, caller, **variables)
        assert await self.value(CONTENT) == before
        [error] = answer["errors"]
        return error

    async def value(self, sql: str, **parameters: Any) -> Any:
        async with self.database.transaction() as tx:
            return await tx.value(sql, **parameters)

    async def issue(self, client: SystemAuthId, renewal_of: str | None = None) -> Issued:
        async with self.database.transaction() as tx:
            return await certificate.issue(tx, self.authority, client, self.request_for(client), renewal_of=renewal_of)

    async def ends(self, issued: Issued, left: timedelta) -> None:
        """Shift the life of the certificate so that so much of it is left."""
        async with self.database.transaction() as tx:
            await tx.run(
                "UPDATE certificate SET not_after = now() + %(left)s, "
                "not_before = now() + %(left)s - interval '90 days' WHERE serial = %(serial)s",
                left=left,
                serial=issued.serial,
            )

    async def listed(self, **variables: Any) -> list[str]:
        return [entry["serial"] for entry in (await self.result(LIST, **variables))["data"]]

    async def revoked(self) -> dict[str, tuple[str, str]]:
        async with self.database.transaction() as tx:
            rows = await tx.rows(
                "SELECT serial, revoked_by, revocation_reason FROM certificate WHERE revoked_at IS NOT NULL"
            )
        return {row["serial"]: (row["revoked_by"], row["revocation_reason"]) for row in rows}

    async def announced(self) -> list[tuple[Any, ...]]:
        async with self.database.transaction() as tx:
            return [tuple(row) for row in await tx.rows("SELECT tenant_id, name, facts FROM outbox_event ORDER BY id")]


@pytest.fixture
async def inventoried(
    database: Database, committed_authority: Authority, new_system_auth: Any, request_for: Any
) -> Inventory:
    parts: dict[type, Any] = {
        Authority: committed_authority,
        PublicUrls: PublicUrls("https://plane.test:8443", "https://plane.test:8444"),
        TokenSettings: TokenSettings(),
        LandscapeSettings: LandscapeSettings(),
    }
    seen = Inventory(database, Endpoint(connector_surface(parts), database), committed_authority, request_for)
    async with database.transaction() as tx:
        seen.client = await new_system_auth(tx)
        row = await tx.row("SELECT tenant_id, application_id FROM system_auth WHERE id = %(id)s", id=seen.client)
        assert row is not None
        seen.object = row["application_id"]
        external = await tx.value("SELECT external_id FROM tenant WHERE id = %(id)s", id=row["tenant_id"])
    seen.admin = replace(seen.admin, tenant=TenantId(row["tenant_id"]), external_tenant=external)
    for state in STATES:
        seen.held[state] = await seen.issue(seen.client)
        if state in LEFT:
            await seen.ends(seen.held[state], LEFT[state])
    await seen.result(REVOKE, serial=seen.held["REVOKED"].serial)
    async with database.transaction() as tx:
        await tx.run("DELETE FROM outbox_event")
    return seen


@pytest.fixture
async def foreign(inventoried: Inventory, new_system_auth: Any) -> Issued:
    """A certificate of another tenant."""
    async with inventoried.database.transaction() as tx:
        client = await new_system_auth(tx)
    return await inventoried.issue(client)


# --- seeing ---


async def test_a_certificate_is_shown_with_all_that_is_known_of_it(inventoried: Inventory) -> None:
    held = inventoried.held["REVOKED"]
    async with inventoried.database.transaction() as tx:
        await tx.run("UPDATE certificate SET last_used_at = '2026-01-02 03:04:05.6+00' WHERE revoked_at IS NOT NULL")
        row = await tx.row("SELECT * FROM certificate WHERE revoked_at IS NOT NULL")
    assert row is not None

    shown = (await inventoried.result(EVERYTHING))["data"]

    def second(moment: datetime) -> str:
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

    [one] = [entry for entry in shown if entry["serial"] == held.serial]
    assert one == {
        "serial": held.serial,
        "fingerprint": held.fingerprint,
        "subject": f"CN={inventoried.client},ST=province,L=locality,OU=OrgUnit,O=Org,C=DE",
        "state": "REVOKED",
        "clientID": inventoried.client,
        "objectType": "APPLICATION",
        "objectID": inventoried.object,
        "tenant": inventoried.admin.external_tenant,
        "lineage": held.serial,
        "issuedAt": second(row["intended_at"]),
        "expiresAt": second(held.not_after),
        "lastUsedAt": "2026-01-02T03:04:05Z",
        "revokedAt": second(row["revoked_at"]),
        "revokedBy": "ada",
        "revocationReason": "revoked by an administrator",
        "chain": held.chain_pem,
    }
    [valid] = [entry for entry in shown if entry["state"] == "VALID"]
    unknown = ("lastUsedAt", "revokedAt", "revokedBy", "revocationReason")
    assert [valid[name] for name in unknown] == [None] * 4


async def test_every_state_is_filtered_for_alone_and_together(inventoried: Inventory, foreign: Issued) -> None:
    serials = {state: issued.serial for state, issued in inventoried.held.items()}
    in_order = [serials[state] for state in ("REVOKED", "VALID", "EXPIRING", "EXPIRED")]  # what ends last comes first

    assert await inventoried.listed() == in_order
    assert await inventoried.listed(state=list(STATES)) == in_order
    assert await inventoried.listed(state=[]) == []
    for state in STATES:
        page = await inventoried.result(LIST, state=[state])
        assert page["data"] == [{"serial": serials[state], "state": state}]
        assert page["totalCount"] == 1
    assert await inventoried.listed(state=["EXPIRED", "VALID"]) == [serials["VALID"], serials["EXPIRED"]]
    assert foreign.serial not in in_order


async def test_what_is_revoked_stays_so_past_its_end_and_short_lives_are_expiring_in_their_last_fifth(
    inventoried: Inventory,
) -> None:
    await inventoried.ends(inventoried.held["REVOKED"], timedelta(seconds=-1))
    assert await inventoried.listed(state=["REVOKED"]) == [inventoried.held["REVOKED"].serial]
    short = inventoried.held["VALID"]
    for left, state in ((0.21, "VALID"), (0.19, "EXPIRING")):
        async with inventoried.database.transaction() as tx:
            await tx.run(
                "UPDATE certificate SET not_after = now() + %(left)s, not_before = now() + %(left)s - interval '1 day' "
                "WHERE serial = %(serial)s",
                left=timedelta(days=left),
                serial=short.serial,
            )
        assert short.serial in await inventoried.listed(state=[state])


async def test_the_certificates_of_a_client_or_an_object_are_found(
    inventoried: Inventory, foreign: Issued, new_system_auth: Any
) -> None:
    every = await inventoried.listed()
    async with inventoried.database.transaction() as tx:
        second = await tx.value(
            "INSERT INTO system_auth (tenant_id, application_id) SELECT tenant_id, application_id FROM system_auth "
            "WHERE id = %(id)s RETURNING id",
            id=inventoried.client,
        )
    others = await inventoried.issue(second)

    assert await inventoried.listed(client=inventoried.client) == every
    assert await inventoried.listed(client=second) == [others.serial]
    assert set(await inventoried.listed(object=inventoried.object)) == {*every, others.serial}
    assert await inventoried.listed(object=inventoried.object, client=second, state=["VALID"]) == [others.serial]
    assert await inventoried.listed(object=inventoried.client) == []
    assert await inventoried.listed(object=foreign.serial, client=second) == []
    assert await inventoried.listed(client="no uuid") == []
    owner = await inventoried.value("SELECT owner_id FROM certificate WHERE serial = %(s)s", s=foreign.serial)
    assert await inventoried.listed(object=owner) == []


async def test_the_list_has_pages(inventoried: Inventory) -> None:
    every = await inventoried.listed()
    page = await inventoried.result(LIST, first=3)
    last = await inventoried.result(LIST, first=3, after=page["pageInfo"]["endCursor"])
    assert [entry["serial"] for entry in [*page["data"], *last["data"]]] == every
    assert (page["totalCount"], last["totalCount"]) == (4, 4)
    assert (page["pageInfo"]["hasNextPage"], last["pageInfo"]["hasNextPage"]) == (True, False)
    assert "page size" in (await inventoried.refusal(LIST, first=201))["message"]


async def test_the_list_is_one_statement(inventoried: Inventory, monkeypatch: pytest.MonkeyPatch) -> None:
    with counted(monkeypatch) as statements:
        await inventoried.result(EVERYTHING)
    assert len(statements) <= 1


async def test_a_certificate_stays_in_the_inventory_after_its_holder(inventoried: Inventory) -> None:
    every = await inventoried.listed()
    async with inventoried.database.transaction() as tx:
        await tx.run("DELETE FROM application")

    shown = (await inventoried.result(EVERYTHING))["data"]

    assert [entry["serial"] for entry in shown] == every
    assert {entry["objectID"] for entry in shown} == {inventoried.object}
    assert {entry["revocationReason"] for entry in shown} == {"system auth deleted", "revoked by an administrator"}


async def test_who_may_not_see_or_end_certificates_is_refused(inventoried: Inventory) -> None:
    holder = replace(
        inventoried.admin,
        consumer=Consumer.APPLICATION,
        consumer_id=inventoried.object,
        flow=Flow.CERTIFICATE,
        scopes=BY_CONSUMER[Consumer.APPLICATION],
    )
    system = replace(holder, consumer=Consumer.INTEGRATION_SYSTEM, scopes=BY_CONSUMER[Consumer.INTEGRATION_SYSTEM])
    for caller in (holder, system, replace(inventoried.admin, scopes=frozenset())):
        for text, variables in ((LIST, {}), (REVOKE, {"client": inventoried.client})):
            error = await inventoried.refusal(text, caller, **variables)
            assert error["extensions"]["error_code"] == 23
    nowhere = replace(inventoried.admin, tenant=None, external_tenant=None)
    for text, variables in ((LIST, {}), (REVOKE, {"client": inventoried.client})):
        assert (await inventoried.refusal(text, nowhere, **variables))["message"] == "Tenant is required"


# --- ending ---


@pytest.mark.parametrize(
    "spelling",
    [
        lambda held: {"fingerprint": held.fingerprint},
        lambda held: {"fingerprint": "sha256:" + held.fingerprint},
        lambda held: {"fingerprint": ":".join(held.fingerprint[i : i + 2] for i in range(0, 64, 2)).upper()},
        lambda held: {"serial": held.serial},
        lambda held: {"serial": "0x" + held.serial.upper()},
        lambda held: {"serial": "00:" + held.serial},
    ],
)
async def test_a_certificate_is_revoked_by_fingerprint_or_serial_as_tools_spell_them_with_its_line(
    inventoried: Inventory, spelling: Any
) -> None:
    held = inventoried.held["VALID"]
    renewed = await inventoried.issue(inventoried.client, held.fingerprint)

    assert await inventoried.result(REVOKE, **spelling(held), reason="laptop stolen") == 2
    assert await inventoried.result(REVOKE, **spelling(held), reason="again") == 0

    revoked = await inventoried.revoked()
    del revoked[inventoried.held["REVOKED"].serial]
    assert revoked == dict.fromkeys([held.serial, renewed.serial], ("ada", "laptop stolen"))
    assert await inventoried.announced() == [
        (
            inventoried.admin.tenant,
            "CertificatesRevoked",
            {"system_auths": [inventoried.client], "count": 2, "by": "ada"},
        )
    ]


@pytest.mark.parametrize("by", ["client", "object"])
async def test_all_certificates_of_a_client_or_an_object_are_revoked(
    inventoried: Inventory, foreign: Issued, by: str
) -> None:
    assert await inventoried.result(REVOKE, **{by: getattr(inventoried, by)}) == 3

    assert (await inventoried.revoked()).keys() == {issued.serial for issued in inventoried.held.values()}
    assert len(await inventoried.announced()) == 1


async def test_what_belongs_to_another_tenant_and_what_is_not_there_are_refused_alike(
    inventoried: Inventory, foreign: Issued
) -> None:
    async with inventoried.database.transaction() as tx:
        row = await tx.row(
            "SELECT system_auth_id, owner_id FROM certificate WHERE serial = %(serial)s", serial=foreign.serial
        )
        server = await tx.row("SELECT 1 FROM certificate WHERE kind = 'server'")
        shown = await certificate.issue_server(tx, inventoried.authority, names=["localhost"])
    assert row is not None
    assert server is None
    nobody = "8fd7f7f4-3d6c-4a9a-8f3c-000000000000"
    asked: list[dict[str, Any]] = [
        {"fingerprint": foreign.fingerprint},
        {"serial": foreign.serial},
        {"client": row["system_auth_id"]},
        {"object": row["owner_id"]},
        {"fingerprint": shown.issued.fingerprint},
        {"serial": shown.issued.serial},
        {"fingerprint": hashlib.sha256(b"").hexdigest()},
        {"serial": "0"},
        {"serial": ""},
        {"fingerprint": ""},
        {"client": nobody},
        {"object": nobody},
        {"client": "no uuid"},
        {"client": inventoried.object},
    ]
    for variables in asked:
        error = await inventoried.refusal(REVOKE, **variables)
        assert error["message"] == "Object not found [object=certificate]", variables


async def test_exactly_one_way_of_naming_certificates_has_to_be_given(inventoried: Inventory) -> None:
    serial, fingerprint = inventoried.held["VALID"].serial, inventoried.held["VALID"].fingerprint
    asked: list[dict[str, Any]] = [
        {},
        {"serial": serial, "fingerprint": fingerprint},
        {"client": inventoried.client, "serial": ""},
    ]
    for variables in asked:
        error = await inventoried.refusal(REVOKE, **variables)
        assert error["message"] == (
            "Invalid data [reason=exactly one of clientID, objectID, fingerprint, serial has to be given]"
        )
    error = await inventoried.refusal(REVOKE, serial=serial, reason="x" * (inventory.MOST_REASON + 1))
    assert error["message"] == "Invalid data [reason=the reason may have 256 characters]"


async def test_revoking_takes_four_statements_however_many_certificates_there_are(
    inventoried: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(20):
        await inventoried.issue(inventoried.client)
    with counted(monkeypatch) as statements:
        assert await inventoried.result(REVOKE, client=inventoried.client) == 23
    assert [statement.strip().splitlines()[0].removeprefix("-- ") for statement in statements] == [
        "inventory.lines",
        "revocation.hold_lines",
        "revocation.revoke",
        "outbox.append",
    ]
