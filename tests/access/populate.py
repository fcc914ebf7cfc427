"""Fills the landscape of `landscape.py` through the API, one side after the other."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import asyncpg
import orjson
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from compass.access.caller import Caller, Consumer, Flow
from compass.access.foreign_revocation import ForeignRevocations
from compass.audit.keys import Keys
from compass.audit.record import Log
from compass.connector.authority import Authority
from compass.connector.pairing import TOKEN_HEADER
from compass.director import tenant
from compass.director.formation_lifecycle import FormationLifecycle
from compass.director.notifications import Notifications
from compass.director.offered_operation import Index
from compass.outbound.door import Door, DoorSettings
from compass.outbox.relay import Relay, reactions
from compass.postgres.pool import Database
from compass.provisioner.drivers.local import Local
from compass.provisioner.infrastructure import Drivers
from compass.settings import AuthoritySettings, DefinitionSettings, ExternalCertificateSettings, Settings
from compass.vault import Vault
from tests.access.landscape import Json, Landscape, Side, user
from tests.director.conftest import PARTS
from tests.provisioner.conftest import asked

CLOSED: Final = "https://127.0.0.1:1/"
"""Nothing there, and not to be reached anyway: the outbound door refuses the address."""


def _credential(marker: str) -> Json:
    return {"credential": {"basic": {"username": f"{marker}User", "password": f"{marker}Password"}}}


def _hook(marker: str, kind: str = "CONFIGURATION_CHANGED") -> Json:
    return {"type": kind, "url": f"{CLOSED}{marker}", "auth": _credential(marker)}


def _spec(marker: str, kind: str, *, fetched: bool) -> Json:
    source = {"fetchRequest": {"url": f"{CLOSED}{marker}", "auth": _credential(marker)}}
    # One operation each, to be found.
    inline = {"openapi": "3.0.0", "info": {"title": marker}, "paths": {f"/{marker}": {"get": {}}}}
    return {"type": kind, "format": "JSON", **(source if fetched else {"data": orjson.dumps(inline).decode()})}


def _api(marker: str, *, fetched: bool = False) -> Json:
    return {
        "name": f"{marker}Api",
        "description": marker,
        "targetURL": f"https://{marker}.test",
        "group": marker,
        "spec": _spec(marker, "OPEN_API", fetched=fetched),
    }


def _event(marker: str, *, fetched: bool = False) -> Json:
    return {"name": f"{marker}Event", "description": marker, "spec": _spec(marker, "ASYNC_API", fetched=fetched)}


def _bundle(marker: str) -> Json:
    return {
        "name": f"{marker}Bundle",
        "description": marker,
        "defaultInstanceAuth": _credential(marker),
        "correlationIDs": [marker],
        "apiDefinitions": [_api(marker, fetched=True)],
        "eventDefinitions": [_event(marker, fetched=True)],
        "documents": [
            {"title": marker, "displayName": marker, "description": marker, "format": "MARKDOWN", "data": marker}
        ],
    }


@asynccontextmanager
async def landscape(dsn: str, folder: Path) -> AsyncIterator[Landscape]:
    """The whole landscape on an empty migrated database, kept, ready to be asked."""
    async with (
        Database.open(dsn) as database,
        # What is refused is refused at once here.
        Door(DoorSettings(failure_step=timedelta(0))) as door,
    ):
        # As the superuser: putting rows back must fire no trigger, and nothing may be hidden from the comparison.
        raw = await asyncpg.connect(dsn.replace("compass@", "postgres@", 1))
        try:
            made = Landscape(database, raw, await _parts(database, door, folder))
            await _tenants(made)
            await _shared(made)
            for side in (made.mine, made.also_mine, made.other):
                await _fill(made, side)
            await made.must(
                made.mine.administrator(),
                "assignFormation",
                objectID=made.subaccount,
                objectType="TENANT",
                formation={"name": made.mine.known["formation_name"]},
            )
            await _relay(made)
            index = Index(database, DefinitionSettings())
            while await index.take_one():
                pass
            for side in (made.mine, made.also_mine, made.other):
                await _beside(raw, side)
            await made.keep()
            yield made
        finally:
            await raw.close()


async def _parts(database: Database, door: Door, folder: Path) -> dict[type, Any]:
    vault = Vault.at(folder / "vault.keys")
    async with database.transaction() as tx:
        await tenant.seed(tx)
        authority = await Authority.open(tx, vault, AuthoritySettings())
        log = Log(await Keys.open(tx, vault))
    return PARTS | {
        Vault: vault,
        Door: door,
        Database: database,
        Authority: authority,
        Log: log,
        Drivers: Drivers({"local": Local(folder / "runtimes", plane="matrix")}),
        Settings: Settings(data_folder=folder),
        ForeignRevocations: ForeignRevocations(ExternalCertificateSettings(), "", door),
    }


async def _tenants(made: Landscape) -> None:
    async with made.database.transaction() as tx:
        ids = {
            name: await tenant.write(tx, tenant.NewTenant(name, name, "account", "test"))
            for name in ("canaryAlice", "boris")
        }
        below = tenant.NewTenant("below", "canaryBelow", "subaccount", "test", parents=["canaryAlice"])
        ids["below"] = await tenant.write(tx, below)
        grouped = tenant.NewTenant("grouped", "canaryGrouped", "subaccount", "test", parents=["canaryAlice"])
        ids["grouped"] = await tenant.write(tx, grouped)
        beside = tenant.NewTenant("beside", "canaryBeside", "subaccount", "test", parents=["canaryAlice"])
        ids["beside"] = await tenant.write(tx, beside)
        own = tenant.NewTenant("ours", "ours", "subaccount", "test", parents=["boris"])
        ids["ours"] = await tenant.write(tx, own)
    made.mine = Side("canaryOne", ids["canaryAlice"], "canaryAlice")
    made.also_mine = Side("canaryTwo", ids["canaryAlice"], "canaryAlice")
    made.other = Side("foreign", ids["boris"], "boris")
    made.below = user(ids["below"], "canaryBelow")
    made.subaccount = "canaryGrouped"
    for side, subaccount in ((made.mine, "grouped"), (made.also_mine, "beside"), (made.other, "ours")):
        side.known |= {"tenant": side.tenant, "external_tenant": side.external, "subtenant": ids[subaccount]}
    made.mine.known["subaccount"] = "canaryGrouped"
    made.also_mine.known["subaccount"] = "canaryBeside"
    made.other.known["subaccount"] = "ours"


async def _shared(made: Landscape) -> None:
    """What belongs to no tenant."""
    admin = made.other.administrator()
    nobody = replace(admin, tenant=None, external_tenant=None)
    known = made.shared
    known["system"] = made.system = (await made.must(admin, "registerIntegrationSystem", **{"in": {"name": "broker"}}))[
        "id"
    ]
    known["system_auth"] = (await made.must(admin, "requestClientCredentialsForIntegrationSystem", id=made.system))[
        "id"
    ]
    known["free_system"] = (await made.must(admin, "registerIntegrationSystem", **{"in": {"name": "free"}}))["id"]
    form = {
        "name": "Shop",
        "accessLevel": "GLOBAL",
        "applicationInput": {"name": "{{name}}", "baseUrl": "https://shop.test", "localTenantID": "{{name}}"},
        "placeholders": [{"name": "name"}],
        "webhooks": [_hook("shared")],
    }
    found = await made.must(nobody, "createApplicationTemplate", "{ id webhooks { id } }", **{"in": form})
    known["application_template"], known["application_template_webhook"] = found["id"], found["webhooks"][0]["id"]
    form = {"name": "everybody", "applicationTypes": ["ANY"]}
    known["formation_template"] = (await made.must(nobody, "createFormationTemplate", **{"in": form}))["id"]
    rule = {
        "constraintType": "PRE",
        "targetOperation": "ASSIGN_FORMATION",
        "operator": "IsNotAssignedToAnyFormationOfType",
        "resourceType": "APPLICATION",
        "resourceSubtype": "ANY",
        "inputTemplate": '{"formation_template_id": "{{.FormationTemplateID}}"}',
        "constraintScope": "FORMATION_TYPE",
    }
    for name in ("attached", "free"):
        given = {"formationConstraint": {**rule, "name": name}}
        known[f"{name}_constraint"] = (await made.must(admin, "createFormationConstraint", **given))["id"]
    mapping = {
        "subject": "CN=broker, OU=a, O=Example, L=Walldorf, C=DE",
        "consumerType": "Integration System",
        "tenantAccessLevels": ["account"],
    }
    known["mapping"] = (await made.must(admin, "createCertificateSubjectMapping", **{"in": mapping}))["id"]


async def _fill(made: Landscape, side: Side) -> None:
    marker, admin, known = side.marker, side.administrator(), side.known
    known |= {"marker": marker, "label_key": f"{marker}Key", "label_query": f'"{marker}"'}
    known |= made.shared
    await _application(made, side)
    registered = await made.must(
        admin,
        "registerRuntime",
        "{ id webhooks { id } }",
        **{
            "in": {
                "name": f"{marker}Runtime",
                "description": marker,
                "labels": {known["label_key"]: marker, "runtimeType": "kyma", "runtime_eventServiceUrl": CLOSED},
                "webhooks": [_hook(marker)],
            }
        },
    )
    known["runtime"], known["runtime_webhook"] = registered["id"], registered["webhooks"][0]["id"]
    known["runtime_name"] = f"{marker}Runtime"
    context = {"key": f"{marker}Key", "value": marker}
    known["context"] = (
        await made.must(admin, "registerRuntimeContext", runtimeID=known["runtime"], **{"in": context})
    )["id"]
    await _groups(made, side)
    await made.must(
        admin,
        "setDefaultEventingForApplication",
        "{ defaultURL }",
        appID=known["application"],
        runtimeID=known["runtime"],
    )
    await _credentials(made, side)
    await _paired(made, side, "Application", "application")
    await _paired(made, side, "Runtime", "runtime")
    config = asked(f"{marker}Cluster")
    begun = await made.must(admin, "provisionRuntime", "{ id runtimeID }", config=config)
    known |= {"cluster": begun["runtimeID"], "operation": begun["id"], "cluster_name": f"{marker}Cluster"}


async def _application(made: Landscape, side: Side) -> None:
    marker, admin, known = side.marker, side.administrator(), side.known
    registered = await made.must(
        admin,
        "registerApplication",
        "{ id webhooks { id } bundles { data { id "
        "apiDefinitions { data { id } } eventDefinitions { data { id } } documents { data { id } } } } }",
        **{
            "in": {
                "name": f"{marker}Application",
                "providerName": marker,
                "description": marker,
                "labels": {known["label_key"]: marker, "applicationType": "shop"},
                "webhooks": [_hook(marker, "APPLICATION_TENANT_MAPPING")],
                "baseUrl": f"https://{marker}.test",
                "healthCheckURL": f"https://{marker}.test/health",
                "applicationNamespace": marker,
                "localTenantID": f"{marker}Local",
                "bundles": [_bundle(marker)],
            }
        },
    )
    bundle = registered["bundles"]["data"][0]
    known |= {
        "application": registered["id"],
        "application_name": f"{marker}Application",
        "webhook": registered["webhooks"][0]["id"],
        "bundle": bundle["id"],
        "api": bundle["apiDefinitions"]["data"][0]["id"],
        "event": bundle["eventDefinitions"]["data"][0]["id"],
        "document": bundle["documents"]["data"][0]["id"],
        "local_tenant": f"{marker}Local",
    }
    for word, name, given in (
        ("free_api", "addAPIDefinitionToApplication", _api(marker)),
        ("free_event", "addEventDefinitionToApplication", _event(marker)),
        ("dependency", "addIntegrationDependencyToApplication", {"name": marker, "ordID": marker}),
    ):
        known[word] = (await made.must(admin, name, appID=known["application"], **{"in": given}))["id"]
    for word in ("spare_application", "spare_source"):
        values = [{"placeholder": "name", "value": f"{marker} {word}"}]
        given = {"templateName": "Shop", "values": values, "labels": {known["label_key"]: marker}}
        known[word] = (await made.must(admin, "registerApplicationFromTemplate", **{"in": given}))["id"]
    known["template_local_tenant"] = f"{marker} spare_application"


async def _groups(made: Landscape, side: Side) -> None:
    marker, admin, known = side.marker, side.administrator(), side.known
    template: Json = {
        "name": f"{marker}Template",
        "applicationTypes": ["ANY"],
        "leadingProductIDs": [marker],
        "labels": {known["label_key"]: marker},
        "webhooks": [_hook(marker, "FORMATION_LIFECYCLE")],
    }
    found = await made.must(admin, "createFormationTemplate", "{ id webhooks { id } }", **{"in": template})
    known |= {
        "own_template": found["id"],
        "own_template_name": template["name"],
        "own_template_webhook": found["webhooks"][0]["id"],
    }
    await made.must(
        admin,
        "attachConstraintToFormationTemplate",
        "{ constraintID }",
        constraintID=known["attached_constraint"],
        formationTemplateID=known["own_template"],
    )
    for word, more in (("formation", {}), ("free_formation", {}), ("draft", {"state": "DRAFT"})):
        name = f"{marker} {word}"
        known[f"{word}_name"] = name
        known[word] = (await made.must(admin, "createFormation", formation={"name": name, **more}))["id"]
    for kind in ("application", "runtime"):
        await made.must(
            admin,
            "assignFormation",
            objectID=known[kind],
            objectType=kind.upper(),
            formation={"name": known["formation_name"]},
        )
    shown = "{ formationAssignments { data { id source target } } }"
    pairs = (await made.must(admin, "formation", shown, id=known["formation"]))["formationAssignments"]["data"]
    known["assignment"] = next(one["id"] for one in pairs if one["source"] == one["target"] == known["runtime"])


async def _credentials(made: Landscape, side: Side) -> None:
    admin, known = side.administrator(), side.known
    for kind in ("Application", "Runtime"):
        subject = known[kind.lower()]
        known[f"{kind.lower()}_auth"] = (await made.must(admin, f"requestClientCredentialsFor{kind}", id=subject))["id"]
        token = await made.must(admin, f"requestOneTimeTokenFor{kind}", "{ token }", id=subject)
        known[f"{kind.lower()}_token"] = token["token"]
    # The token's own system auth is the one that is not the client's.
    found = await made.must(admin, "application", "{ auths { id } }", id=known["application"])
    known["token_auth"] = next(one["id"] for one in found["auths"] if one["id"] != known["application_auth"])
    given = {"context": orjson.dumps(side.marker).decode(), "inputParams": orjson.dumps(side.marker).decode()}
    runtime = replace(admin, consumer=Consumer.RUNTIME, consumer_id=known["runtime"], flow=Flow.CERTIFICATE)
    for word in ("credentials", "asked_credentials"):
        if word == "asked_credentials":
            without = {"name": f"{side.marker}Plain"}
            known["plain_bundle"] = (
                await made.must(admin, "addBundle", applicationID=known["application"], **{"in": without})
            )["id"]
        bundle = known["bundle" if word == "credentials" else "plain_bundle"]
        known[word] = (await made.must(runtime, "requestBundleInstanceAuthCreation", bundleID=bundle, **{"in": given}))[
            "id"
        ]


async def _paired(made: Landscape, side: Side, kind: str, word: str) -> None:
    """A certificate, got with a token as clients get theirs."""
    admin, known = side.administrator(), side.known
    asked_for = await made.must(admin, f"requestTokenFor{kind}", "{ token }", **{f"{word}ID": known[word]})
    caller = Caller(Consumer.APPLICATION, "", Flow.ONE_TIME_TOKEN, frozenset(), None)
    first = replace(caller, headers=((TOKEN_HEADER, asked_for["token"]),))
    chosen = "{ token { token } certificateSigningRequestInfo { subject } }"
    configuration = await made.must(first, "configuration", chosen)
    subject = configuration["certificateSigningRequestInfo"]["subject"]
    second = replace(caller, headers=((TOKEN_HEADER, configuration["token"]["token"]),))
    signed = await made.must(second, "signCertificateSigningRequest", "{ clientCertificate }", csr=request_for(subject))
    certificate = x509.load_pem_x509_certificate(base64.b64decode(signed["clientCertificate"]))
    known[f"{word}_fingerprint"] = certificate.fingerprint(hashes.SHA256()).hex()
    known[f"{word}_serial"] = f"{certificate.serial_number:x}"
    known[f"{word}_paired"] = dict(part.split("=", 1) for part in subject.split(","))["CN"]
    if word == "application":
        known["csr"] = request_for(subject)


def request_for(subject: str) -> str:
    """A signing request for a new key, as the Connector takes it."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name.from_rfc4514_string(subject))
    return base64.b64encode(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)).decode()


async def _relay(made: Landscape) -> None:
    """Have the notifications that are owed written down; nobody sends them."""
    told = (Notifications("https://plane.test:8443"), FormationLifecycle("https://plane.test:8443"))
    relay = Relay(made.database, reactions(*(pair for who in told for pair in who.reactions())))
    while await relay.relay_one():
        pass


async def _beside(raw: "asyncpg.Connection[asyncpg.Record]", side: Side) -> None:
    """What no mutation makes: a number of a system, and a delivery to the side's runtime that was given up."""
    side.known["system_number"] = f"{side.marker}Number"
    numbered = "UPDATE application SET system_number = $1 WHERE id::text = $2"
    await raw.execute(numbered, side.known["system_number"], side.known["application"])
    given_up = """
        UPDATE delivery SET state = 'DEAD', finished_at = now() WHERE id = (
            SELECT id FROM delivery WHERE receiver = $1::uuid ORDER BY sequence DESC LIMIT 1
        ) RETURNING id::text"""
    side.known["delivery"] = await raw.fetchval(given_up, side.known["runtime_webhook"])
    assert side.known["delivery"] is not None
