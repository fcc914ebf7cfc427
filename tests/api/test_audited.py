"""What the audit log is told of a call: nothing that is or may hold a secret, by the schema."""

import re
from collections.abc import Iterator
from importlib import resources
from typing import Any

import graphql
import pytest

from compass.api.audited import SECRET_FIELDS, SECRET_TYPES, TAKEN_OUT, image_of, without_secrets
from compass.app import CONNECTOR_NOUNS, DIRECTOR_NOUNS, PROVISIONER_NOUNS
from compass.commands import commands_in
from compass.reads.document import Schema
from compass.reads.plan import Read

SURFACES = {
    domain: (Schema(resources.files(f"compass.{domain}").joinpath("schema.graphql").read_text()), nouns)
    for domain, nouns in (
        ("director", DIRECTOR_NOUNS),
        ("connector", CONNECTOR_NOUNS),
        ("provisioner", PROVISIONER_NOUNS),
    )
}
DIRECTOR = SURFACES["director"][0]

TELLING = {
    "secret",
    "password",
    "token",
    "credential",
    "key",
    "certificate",
    "auth",
    "payload",
    "header",
    "template",
    "configuration",
    "value",
    "raw",
}
"""What names of secrets are made of."""
HARMLESS = {
    "BundleCreateInput.instanceAuthRequestInputSchema": "the form of a request",
    "BundleUpdateInput.instanceAuthRequestInputSchema": "the form of a request",
    "AuthInput.accessStrategy": "the name of a way to sign in",
    "AuthInput.certCommonName": "public",
    "DNSProviderInput.secretName": "the name of a secret, not its value",
    "GardenerConfigInput.targetSecret": "the name of a secret, not its value",
    "LabelDefinitionInput.key": "the key of a label",
    "LabelInput.key": "the key of a label",
    "LabelInput.value": "a label, which everybody reads who sees the object",
    "RuntimeContextInput.key": "as a label",
    "RuntimeContextInput.value": "as a label",
    "VersionInput.value": "a version",
    "WebhookInput.correlationIdKey": "the name of a field",
    "WebhookInput.urlTemplate": "without its query",
    "WebhookInput.outputTemplate": "reads an answer, sends nothing",
    "WebhookInput.statusTemplate": "reads an answer, sends nothing",
    "FormationConstraintInput.inputTemplate": "settings of an operator",
    "FormationConstraintUpdateInput.inputTemplate": "settings of an operator",
    "ApplicationFromTemplateInput.templateName": "a name",
    "FormationInput.templateName": "a name",
    "TemplateValueInput.placeholder": "a name",
    "ConfigEntryInput.key": "a name",
    "OneTimeTokenInput.connectorURL": "without its query",
    "CSRFTokenCredentialRequestAuthInput.tokenEndpointURL": "without its query",
    "Mutation.deleteFormationTemplateLabel.key": "the key of a label",
    "Mutation.setApplicationLabel.key": "the key of a label",
    "Mutation.setApplicationLabel.value": "a label",
    "Mutation.deleteApplicationLabel.key": "the key of a label",
    "Mutation.setRuntimeLabel.key": "the key of a label",
    "Mutation.setRuntimeLabel.value": "a label",
    "Mutation.deleteRuntimeLabel.key": "the key of a label",
    "Mutation.setTenantLabel.key": "the key of a label",
    "Mutation.setTenantLabel.value": "a label",
}
"""Places that sound like a secret, are kept, and why."""
FREE = {"String", "Any", "CLOB", "JSONSchema", "Labels", "Timestamp"}
"""Types of free texts and values. An id is none."""


def places(schema: Schema, nouns: Any) -> Iterator[tuple[str, str]]:
    """Every place where a caller of a command may write a free text, with its type."""
    seen: set[str] = set()

    def inside(type_name: str) -> Iterator[tuple[str, str]]:
        if type_name in seen:
            return
        seen.add(type_name)
        for field, kind in schema.input_fields(type_name).items():
            if schema.is_input(kind):
                yield from inside(kind)
            else:
                yield f"{type_name}.{field}", kind

    for function in commands_in(*nouns):
        mutation = function.compass_command.mutation  # type: ignore[attr-defined]  # set by the decorator
        root = "Mutation" if mutation in schema.fields("Mutation") else "Query"
        for argument, kind in schema.argument_types(root, mutation).items():
            if schema.is_input(kind):
                yield from inside(kind)
            else:
                yield f"{root}.{mutation}.{argument}", kind


@pytest.mark.parametrize("domain", SURFACES)
def test_a_place_that_sounds_like_a_secret_is_taken_out_or_listed_as_harmless(domain: str) -> None:
    schema, nouns = SURFACES[domain]
    kept = {place for place, kind in places(schema, nouns) if kind in FREE and place not in SECRET_FIELDS}
    sounding = {place for place in kept if any(word in place.rpartition(".")[2].lower() for word in TELLING)}

    assert sounding - HARMLESS.keys() == set()


def test_every_place_that_is_listed_exists() -> None:
    known = {place for schema, nouns in SURFACES.values() for place, _ in places(schema, nouns)}
    outputs = {place for place in SECRET_FIELDS if place.startswith("Webhook.")}

    assert (SECRET_FIELDS | HARMLESS.keys()) - known - outputs == set()
    assert all(place.partition(".")[2] in DIRECTOR.fields("Webhook") for place in outputs)


def test_secrets_are_taken_out_wherever_they_stand_and_all_else_is_kept() -> None:
    auth = {
        "credential": {
            "oauth": {"clientId": "c", "clientSecret": "hidden", "url": "https://u:hidden@x.test/?k=hidden"}
        },
        "additionalHeaders": {"X-Key": ["hidden"]},
        "additionalQueryParamsSerialized": '{"k": ["hidden"]}',
        "requestAuth": {"csrf": {"tokenEndpointURL": "https://x.test/t?k=hidden", "credential": None}},
        "oneTimeToken": {"token": "hidden", "raw": "hidden", "rawEncoded": "hidden", "used": False},
    }
    given = {
        "in": {
            "name": "shop",
            "labels": {"a": ["b"]},
            "webhooks": [{"url": "https://x.test/?k=hidden", "auth": auth, "headerTemplate": '{"X": "hidden"}'}],
            "bundles": [{"name": "b", "defaultInstanceAuth": auth}],
            "description": None,
        },
        "mode": None,
    }

    kept = without_secrets(DIRECTOR, "Mutation", "registerApplication", given)

    assert "hidden" not in str(kept)
    assert kept == {
        "in": {
            "name": "shop",
            "labels": {"a": ["b"]},
            "webhooks": [
                {
                    "url": "https://x.test/",
                    "auth": {
                        "credential": {"oauth": {"clientId": "c", "clientSecret": TAKEN_OUT, "url": "https://x.test/"}},
                        "additionalHeaders": TAKEN_OUT,
                        "additionalQueryParamsSerialized": TAKEN_OUT,
                        "requestAuth": {"csrf": {"tokenEndpointURL": "https://x.test/t"}},
                        "oneTimeToken": {"token": TAKEN_OUT, "raw": TAKEN_OUT, "rawEncoded": TAKEN_OUT, "used": False},
                    },
                    "headerTemplate": TAKEN_OUT,
                }
            ],
            "bundles": [{"name": "b", "defaultInstanceAuth": kept["in"]["webhooks"][0]["auth"]}],
        }
    }


@pytest.mark.parametrize(
    ("mutation", "given"),
    [
        (
            "registerApplicationFromTemplate",
            {"in": {"templateName": "t", "values": [{"placeholder": "p", "value": "hidden"}]}},
        ),
        ("registerApplicationFromTemplate", {"in": {"templateName": "t", "placeholdersPayload": "hidden"}}),
        ("requestBundleInstanceAuthCreation", {"bundleID": "b", "in": {"context": "hidden", "inputParams": "hidden"}}),
        (
            "assignFormation",
            {"initialConfigurations": [{"sourceID": "s", "targetID": "t", "configuration": "hidden"}]},
        ),
        ("addWebhook", {"in": {"type": "CONFIGURATION_CHANGED", "inputTemplate": "hidden"}}),
    ],
)
def test_what_users_exchange_with_others_is_not_kept(mutation: str, given: dict[str, Any]) -> None:
    assert "hidden" not in str(without_secrets(DIRECTOR, "Mutation", mutation, given))


def test_an_image_shows_no_field_that_only_the_process_can_fill_in_and_none_of_a_secret_type() -> None:
    for schema, nouns in SURFACES.values():
        reads = {read.type: read for noun in nouns for read in getattr(noun, "READS", ())}
        for read in reads.values():
            image = image_of(schema, read) if isinstance(read, Read) else None
            if image is None:
                continue
            for name in schema.fields(read.type):
                kind = schema.type_of(read.type, name)
                secret = kind in {*SECRET_TYPES, "CLOB", "Auth"} or name in {"signingSecret", "applicationInput"}
                assert not (secret and f'AS "{name}"' in image), f"{read.type}.{name}"
            assert re.search(r"_sealed|_digest|\{\w", image) is None


def test_a_schema_knows_what_can_be_selected_below() -> None:
    assert DIRECTOR.is_scalar("String")
    assert not DIRECTOR.is_scalar("Application")
    assert graphql.is_input_type(DIRECTOR.graphql.type_map["AuthInput"])
