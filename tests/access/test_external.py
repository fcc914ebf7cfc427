# ruff: noqa: E501
# Statements and texts stand on one line, as they are sent.
"""Certificates of other authorities: who is meant by them, and that none is taken for one of the plane's own."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from compass.access.authenticate import Authenticator, Identified
from compass.access.caller import Caller, Consumer, Flow
from compass.access.external import External, Origin, authorities
from compass.access.scopes import BY_CONSUMER
from compass.access.tokens import AccessTokens
from compass.director import tenant
from compass.errors import TenantNotFound, TenantRequired, Unauthorized
from compass.ids import TenantId
from compass.postgres.pool import Database
from compass.settings import ExternalCertificateSettings, SettingRefused
from compass.vault import Vault

from .foreign import BROKER, BROKER_TEXT, ForeignAuthority, Leaf

APPLICATION, RUNTIME, SYSTEM = (f"00000000-0000-4000-9000-00000000000{n}" for n in (1, 2, 3))
EVERYWHERE = ("customer", "account", "subaccount", "organization", "folder", "resource-group", "cost-object", "global")
AUTHORITY = ForeignAuthority()
LEAF = AUTHORITY.issue()
FINGERPRINT = hashlib.sha256(LEAF.der).hexdigest()
MAP = """
-- test
INSERT INTO certificate_subject_mapping (subject, consumer_type, internal_consumer_id, tenant_access_levels)
VALUES (%(subject)s, %(kind)s, %(consumer)s, %(levels)s)
ON CONFLICT (subject) DO UPDATE SET consumer_type = %(kind)s, internal_consumer_id = %(consumer)s,
    tenant_access_levels = %(levels)s, updated_at = clock_timestamp()
RETURNING id
"""


class NothingRevoked:
    async def is_revoked(self, fingerprint: str) -> bool:  # noqa: ARG002  # no certificate is
        return False


@dataclass
class World:
    authenticator: Authenticator
    database: Database
    mine: TenantId
    below: TenantId

    async def change(self, sql: str) -> None:
        async with self.database.transaction() as tx:
            await tx.run(f"-- test\n{sql}")

    async def mapped(
        self,
        kind: str = "External Certificate",
        consumer: str | None = None,
        levels: Sequence[str] = EVERYWHERE,
        subject: str = BROKER_TEXT,
    ) -> str:
        async with self.database.transaction() as tx:
            return str(await tx.value(MAP, subject=subject, kind=kind, consumer=consumer, levels=list(levels)))

    async def found(self, leaf: Leaf = LEAF, /, **headers: str) -> Identified:
        return await self.authenticator.by_mapping(leaf.der, FINGERPRINT, headers, "r")

    async def caller(self, **headers: str) -> Caller:
        return (await self.found(LEAF, **headers)).caller


def settings(**changes: Any) -> ExternalCertificateSettings:
    return ExternalCertificateSettings(**changes)


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> World:
    async with database.transaction() as tx:
        tokens = await AccessTokens.open(tx, Vault.at(tmp_path / "vault.keys"))
        mine = await tenant.write(tx, tenant.NewTenant("m", "mine", "account", "test"))
        below = await tenant.write(tx, tenant.NewTenant("b", "below", "subaccount", "test"))
        await tx.run(
            "-- test\nINSERT INTO application (id, tenant_id, name) VALUES (%(id)s, %(t)s, 'a')", id=APPLICATION, t=mine
        )
        await tx.run(
            "-- test\nINSERT INTO runtime (id, tenant_id, name) VALUES (%(id)s, %(t)s, 'r')", id=RUNTIME, t=mine
        )
        await tx.run("-- test\nINSERT INTO integration_system (id, name) VALUES (%(id)s, 's')", id=SYSTEM)
    external = External(database, settings(scopes=("Formation Viewer=formation:read formation_template:read",)))
    return World(
        Authenticator(database, tokens, NothingRevoked(), external=external), database, TenantId(mine), TenantId(below)
    )


# --- for whom it speaks ---


async def test_a_mapping_says_what_the_caller_is_and_which_tenants_it_may_name(world: World) -> None:
    mapping = await world.mapped("External Certificate", "the broker", ["account"])

    caller = await world.caller(tenant="mine", client_user="ann")

    assert (caller.consumer, caller.consumer_id) == (Consumer.EXTERNAL_CERTIFICATE, "the broker")
    assert (caller.flow, caller.tenant, caller.external_tenant) == (Flow.CERTIFICATE, world.mine, "mine")
    assert caller.scopes == BY_CONSUMER[Consumer.EXTERNAL_CERTIFICATE]
    assert (caller.certificate, caller.shown_certificate) == ("", FINGERPRINT)
    assert (caller.system_auth, caller.headers) == (None, (("client_user", "ann"),))
    assert caller.mapping.split(" ")[0] == mapping


async def test_a_caller_without_a_name_of_its_own_is_known_by_its_mapping(world: World) -> None:
    mapping = await world.mapped()

    assert (await world.caller()).consumer_id == mapping


@pytest.mark.parametrize(
    "kind",
    [
        Consumer.APPLICATION_PROVIDER, Consumer.LANDSCAPE_RESOURCE_OPERATOR, Consumer.TENANT_DISCOVERY_OPERATOR,
        Consumer.INSTANCE_CREATOR, Consumer.BUSINESS_INTEGRATION, Consumer.MANAGED_APPLICATION_CONSUMER,
        Consumer.MANAGED_APPLICATION_PROVIDER_OPERATOR,
    ],
)  # fmt: skip
async def test_a_kind_of_consumer_without_a_list_of_scopes_may_do_nothing(world: World, kind: Consumer) -> None:
    await world.mapped(kind)

    assert (await world.caller()).scopes == frozenset()


async def test_the_scopes_of_a_kind_of_consumer_are_a_setting(world: World) -> None:
    await world.mapped("Formation Viewer")
    assert (await world.caller()).scopes == {"formation:read", "formation_template:read"}

    await world.mapped("Technical Client")
    assert (await world.caller()).scopes == {"tenant:read", "tenant:write"}
    await world.mapped("Super Admin")
    assert "certificate_subject_mapping:write" in (await world.caller()).scopes
    assert "operation:read" not in (await world.caller()).scopes


@pytest.mark.parametrize(
    ("scopes", "reason"),
    [
        ("Viewer=formation:read", "'Viewer' is no type of consumer"),
        ("Formation Viewer=formation:see", "'formation:see' is no scope"),
        ("Formation Viewer=ory_internal", "'ory_internal' is no scope"),
    ],
)
def test_a_setting_with_a_kind_or_a_scope_that_does_not_exist_is_refused(
    database: Database, scopes: str, reason: str
) -> None:
    with pytest.raises(SettingRefused) as refused:
        External(database, settings(scopes=(scopes,)))
    assert refused.value.facts["reason"] == reason


# --- tenants ---


async def test_a_tenant_of_another_type_is_answered_for_as_one_that_does_not_exist(world: World) -> None:
    await world.mapped(levels=["subaccount", "global"])

    assert (await world.caller(tenant="below")).tenant == world.below
    assert (await world.caller()).tenant is None
    for wanted in ("mine", "nowhere"):
        with pytest.raises(TenantNotFound) as refused:
            await world.found(tenant=wanted)
        assert refused.value.facts == {"externalTenant": wanted}


async def test_only_the_level_global_lets_a_caller_name_no_tenant(world: World) -> None:
    await world.mapped(levels=["account"])
    with pytest.raises(TenantRequired):
        await world.found()

    await world.mapped(levels=["global"])
    assert (await world.caller()).tenant is None
    with pytest.raises(TenantNotFound):
        await world.found(tenant="mine")


# --- objects ---


@pytest.mark.parametrize(("kind", "id_"), [(Consumer.APPLICATION, APPLICATION), (Consumer.RUNTIME, RUNTIME)])
async def test_who_is_mapped_to_an_object_is_that_object_in_its_own_tenant(
    world: World, kind: Consumer, id_: str
) -> None:
    await world.mapped(kind, id_.upper(), ["account"])

    found = await world.found()
    assert (found.caller.consumer, found.caller.consumer_id, found.caller.tenant) == (kind, id_, world.mine)
    assert (found.caller.external_tenant, found.noted) == ("mine", False)
    assert (await world.caller(tenant="mine")).tenant == world.mine
    await world.change(f"UPDATE {kind.lower()} SET status_condition = 'CONNECTED'")
    assert (await world.found()).noted
    for wanted in ("below", "nowhere"):
        with pytest.raises(TenantNotFound):
            await world.found(tenant=wanted)


async def test_an_object_of_a_tenant_of_another_type_is_not_spoken_for(world: World) -> None:
    await world.mapped("Application", APPLICATION, ["subaccount", "global"])

    with pytest.raises(TenantNotFound):
        await world.found()


@pytest.mark.parametrize("kind", ["Application", "Runtime", "Integration System"])
@pytest.mark.parametrize(
    "consumer", [None, "", "x", "00000000-0000-0000-0000-000000000000", "' OR true --", "the other"]
)
async def test_who_is_mapped_to_no_object_that_exists_is_nobody(world: World, kind: str, consumer: str | None) -> None:
    other = {"Application": RUNTIME, "Runtime": SYSTEM, "Integration System": APPLICATION}[kind]
    await world.mapped(kind, other if consumer == "the other" else consumer)

    with pytest.raises(Unauthorized, match="belongs to nobody"):
        await world.found()


async def test_an_integration_system_works_in_tenants_of_its_levels_and_ends_with_its_row(world: World) -> None:
    await world.mapped("Integration System", SYSTEM, ["account", "global"])
    caller = await world.caller(tenant="mine")
    assert (caller.consumer, caller.consumer_id, caller.tenant) == (Consumer.INTEGRATION_SYSTEM, SYSTEM, world.mine)

    await world.change("DELETE FROM integration_system")
    with pytest.raises(Unauthorized):
        await world.found()


# --- nobody ---


async def test_without_a_mapping_of_exactly_its_subject_a_certificate_speaks_for_nobody(world: World) -> None:
    for subject in (
        BROKER_TEXT.replace("broker", "Broker"), BROKER_TEXT.replace("OU=zone, ", ""), r"CN=broker\, OU=area, OU=zone, O=x, L=y, C=DE",
    ):  # fmt: skip
        await world.mapped(subject=subject)
    with pytest.raises(Unauthorized, match="belongs to nobody"):
        await world.found()
    with pytest.raises(Unauthorized, match="belongs to nobody"):
        await world.found(AUTHORITY.issue((*BROKER, ("ST", "x"))))


async def test_deleting_a_mapping_ends_its_caller_at_once(world: World) -> None:
    await world.mapped()
    caller = await world.caller()
    assert await world.authenticator.ended([caller]) == []

    await world.change("DELETE FROM certificate_subject_mapping")

    assert await world.authenticator.ended([caller]) == [caller]
    with pytest.raises(Unauthorized):
        await world.found()


async def test_changing_a_mapping_ends_what_was_decided_by_the_one_before(world: World) -> None:
    await world.mapped()
    before = await world.caller(tenant="mine")
    await world.mapped(levels=["subaccount"])

    assert await world.authenticator.ended([before]) == [before]
    with pytest.raises(TenantNotFound):
        await world.found(tenant="mine")


# --- whose certificate it is ---


def test_who_signed_a_certificate_says_whose_it_is_and_no_name_does() -> None:
    own, namesake = ForeignAuthority((("O", "Org"), ("CN", "Ours"))), ForeignAuthority((("O", "Org"), ("CN", "Ours")))
    newer = ForeignAuthority((("O", "Org"), ("CN", "Ours")))
    trusted = [own]
    origin = Origin(lambda: "".join(one.pem.decode() for one in trusted))

    assert origin.is_ours(own.issue().der)
    assert not origin.is_ours(b"no certificate")
    assert not origin.is_ours(namesake.issue().der)
    assert not origin.is_ours(newer.issue().der)
    trusted.append(newer)
    late, early = newer.issue().der, own.issue().der
    assert (origin.is_ours(late), origin.is_ours(early)) == (True, True)
    trusted.remove(own)
    assert (origin.is_ours(late), origin.is_ours(early)) == (True, False)


def test_a_certificate_that_ended_while_its_connection_was_open_is_refused() -> None:
    origin = Origin(AUTHORITY.pem.decode)

    assert origin.is_ours(AUTHORITY.issue(ends=timedelta(minutes=5)).der)
    for authority in (AUTHORITY, ForeignAuthority()):
        with pytest.raises(Unauthorized, match="the certificate is over"):
            origin.is_ours(authority.issue(ends=timedelta(seconds=-1)).der)


# --- the setting ---


def test_the_authorities_are_read_from_their_file(tmp_path: Path) -> None:
    second = ForeignAuthority()
    file = tmp_path / "others.pem"
    file.write_bytes(AUTHORITY.pem + b"a comment\n" + second.pem)

    assert authorities(settings(ca_file=file)) == (AUTHORITY.pem + second.pem).decode()
    assert authorities(settings()) == ""


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it holds no certificates in PEM"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "it holds no certificates in PEM"),
        (LEAF.pem.encode(), "it holds a certificate that may not sign others; name the authority that signed it"),
        (AUTHORITY.pem + LEAF.pem.encode(), "it holds a certificate that may not sign others; name the authority that signed it"),
        (AUTHORITY.pem * 17, "it holds 17 authorities, each of which could speak for every subject; name those meant"),
        (None, "it cannot be read: No such file or directory"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_what_is_meant_is_refused(tmp_path: Path, content: bytes | None, reason: str) -> None:
    file = tmp_path / "others.pem"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(SettingRefused) as refused:
        authorities(settings(ca_file=file), sources={"external_certificates.ca_file": "compass.toml:3"})
    assert refused.value.facts == {
        "setting": "external_certificates.ca_file", "source": "compass.toml:3", "reason": reason,
    }  # fmt: skip
