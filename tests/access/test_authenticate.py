# ruff: noqa: E501
# Documents and statements stand on one line, as they are sent.
"""Who is asking, and in which tenant."""

import base64
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from compass.access import account
from compass.access.authenticate import Authenticator, NoBearer
from compass.access.caller import Caller, Consumer, Flow
from compass.access.scopes import BY_CONSUMER
from compass.access.tokens import AccessTokens, Bearer, digest
from compass.director import tenant
from compass.errors import CompassError, TenantNotFound, Unauthorized
from compass.ids import TenantId
from compass.postgres.pool import Database, Tx
from compass.vault import Vault

APPLICATION, RUNTIME, SYSTEM = (f"00000000-0000-4000-9000-00000000000{n}" for n in (1, 2, 3))
AUTH_OF_APPLICATION, AUTH_OF_RUNTIME, AUTH_OF_SYSTEM = (f"00000000-0000-4000-a000-00000000000{n}" for n in (1, 2, 3))
SECRET = "a secret of a client"


@dataclass
class Certificates:
    """What is revoked."""

    revoked: set[str] = field(default_factory=set)

    async def is_revoked(self, fingerprint: str) -> bool:
        return fingerprint in self.revoked


@dataclass
class Door:
    """An authenticator and what it was made of."""

    authenticator: Authenticator
    tokens: AccessTokens
    certificates: Certificates
    database: Database
    mine: TenantId
    other: TenantId
    admin_secret: str

    async def change(self, sql: str) -> None:
        async with self.database.transaction() as tx:
            await tx.run(f"-- test\n{sql}")

    def bearer(self, client: str, *scopes: str, is_account: bool = False, **headers: str) -> dict[str, str]:
        token = self.tokens.issue(Bearer(client, is_account, frozenset(scopes)))
        return {"authorization": f"Bearer {token}"} | headers


async def _rows(tx: Tx, mine: TenantId) -> None:
    await tx.run(
        "-- test\nINSERT INTO application (id, tenant_id, name) VALUES (%(id)s, %(t)s, 'a')", id=APPLICATION, t=mine
    )
    await tx.run("-- test\nINSERT INTO runtime (id, tenant_id, name) VALUES (%(id)s, %(t)s, 'r')", id=RUNTIME, t=mine)
    await tx.run("-- test\nINSERT INTO integration_system (id, name) VALUES (%(id)s, 's')", id=SYSTEM)
    await tx.run(
        "-- test\nINSERT INTO system_auth (id, tenant_id, application_id, runtime_id, integration_system_id, client_secret_digest) "
        "VALUES (%(a)s, %(t)s, %(app)s, NULL, NULL, %(d)s), (%(r)s, %(t)s, NULL, %(run)s, NULL, %(d)s), "
        "(%(s)s, NULL, NULL, NULL, %(sys)s, %(d)s)",
        a=AUTH_OF_APPLICATION, r=AUTH_OF_RUNTIME, s=AUTH_OF_SYSTEM, t=mine, app=APPLICATION, run=RUNTIME, sys=SYSTEM,
        d=digest(SECRET),
    )  # fmt: skip


@pytest.fixture
async def door(database: Database, tmp_path: Path) -> Door:
    async with database.transaction() as tx:
        tokens = await AccessTokens.open(tx, Vault.at(tmp_path / "vault.keys"))
        mine = await tenant.write(tx, tenant.NewTenant("m", "mine", "account", "test"))
        other = await tenant.write(tx, tenant.NewTenant("o", "other", "account", "test"))
        await _rows(tx, mine)
        secret = await account.first(tx)
    assert secret is not None
    certificates = Certificates()
    return Door(Authenticator(database, tokens, certificates), tokens, certificates, database, mine, other, secret)


async def test_a_certificate_names_its_client_and_the_clients_tenant(door: Door) -> None:
    found = await door.authenticator.by_certificate(
        AUTH_OF_RUNTIME, "f1", {"client_user": "ann", "x-other": "no"}, "request-1"
    )

    caller = found.caller
    assert (caller.consumer, caller.consumer_id, caller.flow) == (Consumer.RUNTIME, RUNTIME, Flow.CERTIFICATE)
    assert (caller.tenant, caller.external_tenant, caller.system_auth) == (door.mine, "mine", AUTH_OF_RUNTIME)
    assert caller.scopes == BY_CONSUMER[Consumer.RUNTIME]
    assert (caller.certificate, caller.headers, caller.request_id) == ("f1", (("client_user", "ann"),), "request-1")
    assert not found.noted


async def test_a_client_is_noted_once_its_object_is_connected_and_its_name_known(door: Door) -> None:
    await door.change("UPDATE runtime SET status_condition = 'CONNECTED'")
    assert not (await door.authenticator.by_certificate(AUTH_OF_RUNTIME, "f", {}, "")).noted
    await door.change("UPDATE system_auth SET cert_common_name = id::text")
    assert (await door.authenticator.by_certificate(AUTH_OF_RUNTIME, "f", {}, "")).noted


async def test_a_revoked_certificate_is_refused_before_anything_is_looked_up(door: Door) -> None:
    door.certificates.revoked.add("f1")

    with pytest.raises(Unauthorized, match="revoked"):
        await door.authenticator.by_certificate(AUTH_OF_RUNTIME, "f1", {}, "")
    assert (await door.authenticator.by_certificate(AUTH_OF_RUNTIME, "f2", {}, "")).caller.consumer_id == RUNTIME


@pytest.mark.parametrize("name", ["", "not a uuid", "00000000-0000-0000-0000-000000000000", APPLICATION, "admin"])
async def test_a_certificate_that_belongs_to_nobody_is_refused(door: Door, name: str) -> None:
    with pytest.raises(Unauthorized, match="belongs to nobody"):
        await door.authenticator.by_certificate(name, "f", {}, "")


async def test_a_client_whose_system_auth_is_deleted_ends_at_once(door: Door) -> None:
    headers = door.bearer(AUTH_OF_APPLICATION, "application:read")
    assert (await door.authenticator.by_token(headers, "")).caller.consumer_id == APPLICATION

    await door.change(f"DELETE FROM system_auth WHERE id = '{AUTH_OF_APPLICATION}'")

    with pytest.raises(Unauthorized):
        await door.authenticator.by_token(headers, "")
    with pytest.raises(Unauthorized):
        await door.authenticator.by_certificate(AUTH_OF_APPLICATION, "f", {}, "")


async def test_a_paired_client_may_name_its_own_tenant_and_no_other(door: Door) -> None:
    for own in ("mine", ""):
        named = await door.authenticator.by_certificate(AUTH_OF_RUNTIME, "f", {"tenant": own}, "")
        assert (named.caller.tenant, named.caller.external_tenant) == (door.mine, "mine")

    for wanted in ("other", "nowhere"):
        with pytest.raises(TenantNotFound) as refused:
            await door.authenticator.by_certificate(AUTH_OF_RUNTIME, "f", {"tenant": wanted}, "")
        assert refused.value.facts == {"externalTenant": wanted}


async def test_a_client_of_an_inactive_tenant_is_refused(door: Door) -> None:
    await door.change("UPDATE tenant SET status = 'Inactive'")

    with pytest.raises(TenantNotFound):
        await door.authenticator.by_certificate(AUTH_OF_RUNTIME, "f", {}, "")


async def test_an_integration_system_works_in_the_tenant_it_names(door: Door) -> None:
    found = (await door.authenticator.by_certificate(AUTH_OF_SYSTEM, "f", {"tenant": "other"}, "")).caller
    assert (found.consumer, found.consumer_id, found.tenant, found.external_tenant) == (
        Consumer.INTEGRATION_SYSTEM, SYSTEM, door.other, "other",
    )  # fmt: skip

    assert (await door.authenticator.by_certificate(AUTH_OF_SYSTEM, "f", {}, "")).caller.tenant is None
    with pytest.raises(TenantNotFound):
        await door.authenticator.by_certificate(AUTH_OF_SYSTEM, "f", {"tenant": "nowhere"}, "")


async def test_a_token_has_at_most_the_scopes_of_its_clients_kind(door: Door) -> None:
    headers = door.bearer(AUTH_OF_APPLICATION, "application:read", "tenant:write")

    found = (await door.authenticator.by_token(headers, "r")).caller

    assert (found.scopes, found.flow) == (frozenset({"application:read"}), Flow.OAUTH2)


async def test_a_client_without_a_secret_cannot_use_an_old_token(door: Door) -> None:
    headers = door.bearer(AUTH_OF_APPLICATION, "application:read")
    await door.change("UPDATE system_auth SET client_secret_digest = NULL")

    with pytest.raises(Unauthorized):
        await door.authenticator.by_token(headers, "")


async def test_an_administrator_works_in_the_tenant_it_names(door: Door) -> None:
    headers = door.bearer("admin", "tenant:read", is_account=True, tenant="other")

    found = await door.authenticator.by_token(headers, "r")

    assert found.noted
    assert (found.caller.consumer, found.caller.consumer_id, found.caller.flow) == (
        Consumer.STATIC_USER,
        "admin",
        Flow.JWT,
    )
    assert (found.caller.tenant, found.caller.scopes) == (door.other, frozenset({"tenant:read"}))
    assert (await door.authenticator.by_token(door.bearer("admin", is_account=True), "")).caller.tenant is None
    with pytest.raises(TenantNotFound):
        await door.authenticator.by_token(door.bearer("admin", is_account=True, tenant="nowhere"), "")


async def test_an_account_that_is_gone_and_a_client_that_calls_itself_an_account_are_refused(door: Door) -> None:
    with pytest.raises(Unauthorized):
        await door.authenticator.by_token(door.bearer(AUTH_OF_APPLICATION, is_account=True), "")
    with pytest.raises(Unauthorized):
        await door.authenticator.by_token(door.bearer("admin"), "")
    await door.change("DELETE FROM account")
    with pytest.raises(Unauthorized):
        await door.authenticator.by_token(door.bearer("admin", is_account=True), "")


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic YTpi", "bearer"])
async def test_a_request_without_a_token_is_told_apart(door: Door, header: str | None) -> None:
    with pytest.raises(NoBearer):
        await door.authenticator.by_token({} if header is None else {"authorization": header}, "")


async def test_a_wrong_token_is_refused_and_the_scheme_may_be_in_any_case(door: Door) -> None:
    with pytest.raises(Unauthorized) as refused:
        await door.authenticator.by_token({"authorization": "Bearer nonsense"}, "")
    assert not isinstance(refused.value, NoBearer)
    headers = door.bearer("admin", is_account=True)
    headers["authorization"] = headers["authorization"].replace("Bearer", "bEaReR")
    assert (await door.authenticator.by_token(headers, "")).caller.consumer_id == "admin"


async def test_a_secret_is_exchanged_for_a_token_with_all_scopes_or_those_asked_for(door: Door) -> None:
    token, scopes = await door.authenticator.exchange(AUTH_OF_RUNTIME, SECRET, "")
    assert scopes == BY_CONSUMER[Consumer.RUNTIME]
    assert door.tokens.verify(token) == Bearer(AUTH_OF_RUNTIME, is_account=False, scopes=scopes)

    _, scopes = await door.authenticator.exchange(AUTH_OF_RUNTIME, SECRET, "runtime:read tenant:write")
    assert scopes == {"runtime:read"}

    token, scopes = await door.authenticator.exchange("admin", door.admin_secret, "")
    assert scopes == BY_CONSUMER[Consumer.STATIC_USER]
    assert door.tokens.verify(token).is_account


@pytest.mark.parametrize(
    ("client", "secret"),
    [
        (AUTH_OF_RUNTIME, "wrong"), (AUTH_OF_RUNTIME, ""), ("admin", SECRET), ("admin", ""), ("nobody", SECRET), ("", ""),
        ("00000000-0000-0000-0000-000000000000", SECRET),
    ],
)  # fmt: skip
async def test_an_unknown_client_and_a_wrong_secret_are_the_same_refusal(door: Door, client: str, secret: str) -> None:
    with pytest.raises(CompassError) as refused:
        await door.authenticator.exchange(client, secret, "")
    assert refused.value.wire_text() == "Unauthorized [reason=unknown client or wrong secret]"


async def test_a_client_that_was_never_given_a_secret_cannot_guess_one(door: Door) -> None:
    await door.change("UPDATE system_auth SET client_secret_digest = NULL")

    for guess in ("", "\0" * 32, base64.b64encode(bytes(32)).decode()):
        with pytest.raises(Unauthorized):
            await door.authenticator.exchange(AUTH_OF_RUNTIME, guess, "")


async def test_whoever_would_not_be_let_in_any_more_is_found_among_many(door: Door) -> None:
    async def paired(system_auth: str, fingerprint: str, **headers: str) -> Caller:
        return (await door.authenticator.by_certificate(system_auth, fingerprint, headers, fingerprint)).caller

    async def with_token(client: str, *, is_account: bool = False, **headers: str) -> Caller:
        bearer = door.bearer(client, "application:read", is_account=is_account, **headers)
        return (await door.authenticator.by_token(bearer, "")).caller

    runtime, stolen = await paired(AUTH_OF_RUNTIME, "f1"), await paired(AUTH_OF_RUNTIME, "f2")
    application, with_secret = await paired(AUTH_OF_APPLICATION, "f3"), await with_token(AUTH_OF_APPLICATION)
    here = await with_token(account.ADMINISTRATOR, is_account=True, tenant="mine")
    there = await with_token(account.ADMINISTRATOR, is_account=True, tenant="other")
    system = await paired(AUTH_OF_SYSTEM, "f4")
    everybody = [runtime, stolen, application, with_secret, here, there, system]

    assert await door.authenticator.ended(everybody) == []
    assert await door.authenticator.ended([]) == []
    door.certificates.revoked.add("f2")
    assert await door.authenticator.ended(everybody) == [stolen]
    await door.change(f"UPDATE system_auth SET client_secret_digest = NULL WHERE id = '{AUTH_OF_APPLICATION}'")
    assert await door.authenticator.ended(everybody) == [stolen, with_secret]
    await door.change("UPDATE tenant SET status = 'Inactive' WHERE external_id = 'other'")
    assert await door.authenticator.ended(everybody) == [stolen, with_secret, there]
    await door.change(f"DELETE FROM system_auth WHERE id IN ('{AUTH_OF_RUNTIME}', '{AUTH_OF_SYSTEM}')")
    assert await door.authenticator.ended(everybody) == [stolen, runtime, with_secret, there, system]
    await door.change("DELETE FROM account")
    assert await door.authenticator.ended([here, application]) == [here]
