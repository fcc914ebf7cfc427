"""What the audit log holds of pairing: who got what, and none of the tokens."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from compass.access.caller import Caller, Consumer, Flow
from compass.api.request import Endpoint
from compass.app import connector_surface
from compass.audit.keys import Keys
from compass.audit.record import Log
from compass.connector import one_time_token
from compass.connector.authority import Authority
from compass.connector.one_time_token import Purpose
from compass.connector.urls import PublicUrls
from compass.ids import SystemAuthId
from compass.postgres.pool import Database
from compass.settings import LandscapeSettings, TokenSettings
from compass.vault import Vault
from tests.connector.conftest import RequestFor

CONFIGURATION = "{ result: configuration { token { token } } }"
LOOK = "{ configuration { certificateSigningRequestInfo { subject } } }"
SIGN = "mutation ($csr: String!) { result: signCertificateSigningRequest(csr: $csr) { clientCertificate } }"
RECORDS = "SELECT tenant_id, body FROM audit_record ORDER BY happened_at, id"


class Recorded:
    """The Connector with an audit log."""

    def __init__(self, database: Database, endpoint: Endpoint, system_auth: SystemAuthId, tenant: str) -> None:
        self.database, self.endpoint, self.system_auth, self.tenant = database, endpoint, system_auth, tenant

    async def __call__(self, caller: Caller, text: str, **variables: Any) -> Any:
        return orjson.loads((await self.endpoint.answer(caller, text, variables)).body)

    def holding(self, token: str, key: str = "") -> Caller:
        shown = (("connector-token", token), ("connector-key-digest", key))
        return Caller(Consumer.APPLICATION, "", Flow.ONE_TIME_TOKEN, frozenset(), None, headers=shown)

    async def token(self, purpose: Purpose = Purpose.APPLICATION) -> str:
        async with self.database.transaction() as tx:
            return await one_time_token.issue(tx, self.system_auth, purpose=purpose, life=timedelta(minutes=5))

    async def records(self) -> list[dict[str, Any]]:
        async with self.database.transaction() as tx:
            rows = await tx.rows(RECORDS)
            assert all(row["tenant_id"] == self.tenant or b"refused" in row["body"] for row in rows)
            return [orjson.loads(row["body"]) for row in rows]


@pytest.fixture
async def recorded(
    database: Database, tmp_path: Path, committed_authority: Authority, committed_system_auth: SystemAuthId
) -> Recorded:
    async with database.transaction() as tx:
        tenant = await tx.value("SELECT tenant_id FROM system_auth")
        log = Log(await Keys.open(tx, Vault.at(tmp_path / "log.keys")))
    parts: dict[type, Any] = {
        Authority: committed_authority,
        PublicUrls: PublicUrls("https://plane.test:8443", "https://plane.test:8444"),
        TokenSettings: TokenSettings(),
        LandscapeSettings: LandscapeSettings(),
        Log: log,
    }
    return Recorded(database, Endpoint(connector_surface(parts), database), committed_system_auth, tenant)


async def test_both_calls_of_pairing_are_recorded_in_the_tenant_of_who_pairs_and_no_token_is(
    recorded: Recorded, request_for: RequestFor
) -> None:
    first = await recorded.token()
    answer = await recorded(recorded.holding(first), CONFIGURATION)
    second = answer["data"]["result"]["token"]["token"]
    csr = request_for(recorded.system_auth)
    signed = await recorded(recorded.holding(second), SIGN, csr=csr)
    assert "errors" not in signed

    asked, made = await recorded.records()

    assert (asked["operation"], made["operation"]) == ("configuration", "signCertificateSigningRequest")
    assert asked["systemAuth"] == made["systemAuth"] == recorded.system_auth
    assert asked["who"]["flow"] == "OneTimeToken"
    async with recorded.database.transaction() as tx:
        kept = await tx.row("SELECT serial, fingerprint FROM certificate WHERE kind = 'client'")
    assert kept is not None
    assert made["result"] == dict(kept)
    assert [token for token in (first, second) if token in str([asked, made])] == []


async def test_a_look_that_changes_nothing_is_not_recorded(recorded: Recorded) -> None:
    caller = Caller(
        Consumer.APPLICATION,
        "",
        Flow.CERTIFICATE,
        frozenset(),
        None,
        system_auth=recorded.system_auth,
        certificate="ab" * 32,
    )

    assert "errors" not in await recorded(caller, LOOK)
    assert await recorded.records() == []


async def test_a_refused_token_is_not_recorded(recorded: Recorded) -> None:
    assert "errors" in await recorded(recorded.holding("unknown"), CONFIGURATION)
    assert await recorded.records() == []


async def test_a_token_that_is_misused_is_recorded_once_however_often_it_is_shown(recorded: Recorded) -> None:
    token = await recorded.token()
    answer = await recorded(recorded.holding(token, "a" * 64), CONFIGURATION)
    assert "errors" not in answer
    for _ in range(3):
        assert "errors" in await recorded(recorded.holding(token, "b" * 64), CONFIGURATION)

    _, misused = await recorded.records()

    assert (misused["operation"], misused["refused"]) == ("configuration", "TokenMisused")
    assert token not in str(misused)
