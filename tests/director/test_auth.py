"""Auth: how it is given, kept and shown again."""

from typing import Any

import orjson
import pytest

from compass.director.auth import NewAuth, StoredAuth, opened
from compass.errors import InvalidInput
from compass.inputs import input_from
from compass.vault import SealBroken, Vault

BASIC = {"basic": {"username": "u", "password": "p4ss"}}
OAUTH = {"oauth": {"clientId": "c", "clientSecret": "s3cret", "url": "https://idp.test/token"}}
CERTIFICATE = {"certificateOAuth": {"clientId": "c", "certificate": "PEM", "url": "https://idp.test/token"}}


@pytest.fixture
def vault(tmp_path: Any) -> Vault:
    return Vault.at(tmp_path / "vault.keys")


def given(value: dict[str, Any]) -> NewAuth:
    made: NewAuth = input_from(NewAuth, "AuthInput", value)
    return made


@pytest.mark.parametrize(
    ("credential", "shown"),
    [
        (BASIC, {"__typename": "BasicCredentialData", "username": "u", "password": "p4ss"}),
        (
            OAUTH,
            {
                "__typename": "OAuthCredentialData",
                "clientId": "c",
                "clientSecret": "s3cret",
                "url": "https://idp.test/token",
            },
        ),
        (
            CERTIFICATE,
            {
                "__typename": "CertificateOAuthCredentialData",
                "clientId": "c",
                "certificate": "PEM",
                "url": "https://idp.test/token",
            },
        ),
    ],
)
def test_each_kind_of_credential_is_shown_as_it_was_given(vault: Vault, credential: Any, shown: Any) -> None:
    sealed = given({"credential": credential}).sealed(vault, "bundle/1")

    assert opened(vault, "bundle/1", sealed)["credential"] == shown


def test_headers_and_parameters_are_shown_in_both_forms_whichever_was_given(vault: Vault) -> None:
    value = {"accept": ["a", "b"]}
    plain = given({"additionalHeaders": value, "additionalQueryParams": {"q": []}})
    serialized = given(
        {"additionalHeadersSerialized": '{"accept": ["a", "b"]}', "additionalQueryParamsSerialized": '{"q":[]}'}
    )

    for auth in (plain, serialized):
        shown = opened(vault, "webhook/1", auth.sealed(vault, "webhook/1"))
        assert shown["additionalHeaders"] == value
        assert orjson.loads(shown["additionalHeadersSerialized"]) == value
        assert shown["additionalQueryParams"] == {"q": []}
        assert shown["additionalQueryParamsSerialized"] == '{"q":[]}'


def test_what_was_not_given_is_null_in_both_forms(vault: Vault) -> None:
    shown = opened(vault, "webhook/1", given({"accessStrategy": "open"}).sealed(vault, "webhook/1"))

    assert shown == {
        "credential": None,
        "accessStrategy": "open",
        "additionalHeaders": None,
        "additionalHeadersSerialized": None,
        "additionalQueryParams": None,
        "additionalQueryParamsSerialized": None,
        "requestAuth": None,
    }


def test_a_request_auth_is_shown_with_its_own_credential_and_headers(vault: Vault) -> None:
    csrf = {
        "tokenEndpointURL": "https://csrf.test",
        "credential": BASIC,
        "additionalHeadersSerialized": '{"x":["1"]}',
    }

    shown = opened(vault, "webhook/1", given({"requestAuth": {"csrf": csrf}}).sealed(vault, "webhook/1"))

    assert shown["requestAuth"] == {
        "csrf": {
            "tokenEndpointURL": "https://csrf.test",
            "credential": {"__typename": "BasicCredentialData", "username": "u", "password": "p4ss"},
            "additionalHeaders": {"x": ["1"]},
            "additionalHeadersSerialized": '{"x":["1"]}',
            "additionalQueryParams": None,
            "additionalQueryParamsSerialized": None,
        }
    }


@pytest.mark.parametrize(
    "credential", [{}, {**BASIC, **OAUTH}, {**OAUTH, **CERTIFICATE}, {**BASIC, **OAUTH, **CERTIFICATE}]
)
def test_exactly_one_kind_of_credential_must_be_given(credential: Any) -> None:
    with pytest.raises(InvalidInput) as refused:
        given({"credential": credential})

    assert "exactly one credential input has to be specified" in str(refused.value)


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"', '{"a": "b"}', '{"a": [1]}', "null"])
@pytest.mark.parametrize("name", ["additionalHeadersSerialized", "additionalQueryParamsSerialized"])
@pytest.mark.parametrize("inside_csrf", [False, True])
def test_a_serialized_twin_that_is_no_object_of_string_lists_is_refused(
    name: str, text: str, inside_csrf: bool
) -> None:
    value: dict[str, Any] = {name: text}
    if inside_csrf:
        value = {"requestAuth": {"csrf": {"tokenEndpointURL": "https://csrf.test", **value}}}

    with pytest.raises(InvalidInput, match="must be a JSON object of string lists"):
        given(value)


def test_nothing_of_it_is_readable_where_it_is_kept_or_logged(vault: Vault) -> None:
    sealed = given({"credential": OAUTH}).sealed(vault, "webhook/1")

    assert "s3cret" not in sealed
    assert "s3cret" not in repr(StoredAuth.open(vault, "webhook/1", sealed))


def test_it_opens_only_at_the_place_it_was_sealed_for(vault: Vault) -> None:
    sealed = given({"credential": OAUTH}).sealed(vault, "webhook/1")

    with pytest.raises(SealBroken):
        StoredAuth.open(vault, "webhook/2", sealed)


def test_nothing_kept_opens_to_nothing(vault: Vault) -> None:
    assert StoredAuth.open(vault, "webhook/1", None) is None
