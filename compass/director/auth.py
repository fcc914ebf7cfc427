"""Auth: how to sign in somewhere, as it is stored with bundles, credentials, webhooks and fetch requests.

Always sealed: the value is opened only to be shown to whom the contract shows it, or to be used for a call.
Exactly one kind of credential at most. Source: contract/director.md §1.5, §10.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import orjson

from compass.reads.plan import Filling, Hole
from compass.secret import Secret
from compass.vault import Vault

# Inputs


@dataclass(frozen=True)
class BasicCredential:
    """A user name and a password."""

    username: str
    password: Secret


@dataclass(frozen=True)
class OAuthCredential:
    """An OAuth 2.0 client with a secret, and its token endpoint."""

    client_id: str
    client_secret: Secret
    url: str


@dataclass(frozen=True)
class CertificateOAuthCredential:
    """An OAuth 2.0 client with a certificate, and its token endpoint."""

    client_id: str
    certificate: Secret
    url: str


@dataclass(frozen=True)
class Credential:
    """One of three kinds."""

    basic: BasicCredential | None = None
    oauth: OAuthCredential | None = None
    certificate_oauth: CertificateOAuthCredential | None = None

    def problems(self) -> dict[str, str]:
        """Exactly one must be given."""
        given = [kind for kind in (self.basic, self.oauth, self.certificate_oauth) if kind is not None]
        return {} if len(given) == 1 else {"credential": "exactly one credential input has to be specified"}

    def stored(self) -> dict[str, Any]:
        """In the form of the schema's union CredentialData."""
        if self.basic is not None:
            return {
                "__typename": "BasicCredentialData",
                "username": self.basic.username,
                "password": self.basic.password.reveal(),
            }
        if self.oauth is not None:
            return {
                "__typename": "OAuthCredentialData",
                "clientId": self.oauth.client_id,
                "clientSecret": self.oauth.client_secret.reveal(),
                "url": self.oauth.url,
            }
        if self.certificate_oauth is not None:
            return {
                "__typename": "CertificateOAuthCredentialData",
                "clientId": self.certificate_oauth.client_id,
                "certificate": self.certificate_oauth.certificate.reveal(),
                "url": self.certificate_oauth.url,
            }
        raise AssertionError("problems() has seen to it that one kind is given")


@dataclass(frozen=True)
class CsrfRequestAuth:
    """Where to fetch a CSRF token before a call, and how to sign in there."""

    token_endpoint_url: str
    credential: Credential | None = None
    additional_headers: dict[str, list[str]] | None = field(default=None, repr=False)
    additional_headers_serialized: str | None = field(default=None, repr=False)
    additional_query_params: dict[str, list[str]] | None = field(default=None, repr=False)
    additional_query_params_serialized: str | None = field(default=None, repr=False)

    def problems(self) -> dict[str, str]:
        """As of the Auth around it."""
        return _serialized_problems(self)


@dataclass(frozen=True)
class RequestAuth:
    """What has to be done before a call."""

    csrf: CsrfRequestAuth | None = None


@dataclass(frozen=True)
class OneTimeTokenValue:
    """Accepted for the wire's sake; tokens are only ever made by the Connector."""

    token: Secret
    used: bool
    expires_at: str
    created_at: str
    used_at: str
    connector_url: str | None = None
    raw: Secret | None = None
    raw_encoded: Secret | None = None
    type: str | None = None


@dataclass(frozen=True)
class NewAuth:
    """How to sign in, as it is given."""

    credential: Credential | None = None
    access_strategy: str | None = None
    additional_headers: dict[str, list[str]] | None = field(default=None, repr=False)
    additional_headers_serialized: str | None = field(default=None, repr=False)
    additional_query_params: dict[str, list[str]] | None = field(default=None, repr=False)
    additional_query_params_serialized: str | None = field(default=None, repr=False)
    request_auth: RequestAuth | None = None
    cert_common_name: str | None = None
    one_time_token: OneTimeTokenValue | None = None

    def problems(self) -> dict[str, str]:
        """The serialized twins must be JSON objects of string lists."""
        return _serialized_problems(self)

    def stored(self) -> dict[str, Any]:
        """In the form of the schema's type Auth."""
        csrf = self.request_auth.csrf if self.request_auth else None
        return {
            "credential": self.credential.stored() if self.credential else None,
            "accessStrategy": self.access_strategy,
            **_headers_and_parameters(self),
            "requestAuth": csrf
            and {
                "csrf": {
                    "tokenEndpointURL": csrf.token_endpoint_url,
                    "credential": csrf.credential.stored() if csrf.credential else None,
                    **_headers_and_parameters(csrf),
                }
            },
        }

    def sealed(self, vault: Vault, place: str) -> str:
        """The stored form, sealed for its place (`table/id`)."""
        return vault.seal(place, orjson.dumps(self.stored()))


def _serialized_problems(given: NewAuth | CsrfRequestAuth) -> dict[str, str]:
    texts = {
        "additionalHeadersSerialized": given.additional_headers_serialized,
        "additionalQueryParamsSerialized": given.additional_query_params_serialized,
    }
    return {
        name: "must be a JSON object of string lists"
        for name, text in texts.items()
        if text is not None and not _is_lists_by_name(text)
    }


def _is_lists_by_name(text: str) -> bool:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return isinstance(value, dict) and all(
        isinstance(entry, list) and all(isinstance(item, str) for item in entry) for entry in value.values()
    )


def _headers_and_parameters(given: NewAuth | CsrfRequestAuth) -> dict[str, Any]:
    headers = given.additional_headers
    if headers is None and given.additional_headers_serialized is not None:
        headers = orjson.loads(given.additional_headers_serialized)
    parameters = given.additional_query_params
    if parameters is None and given.additional_query_params_serialized is not None:
        parameters = orjson.loads(given.additional_query_params_serialized)
    return {"additionalHeaders": headers, "additionalQueryParams": parameters}


# How it is read


def opened(vault: Vault, place: str, sealed: str) -> dict[str, Any]:
    """A stored Auth in the form of the schema's type, with the serialized twins. Raises SealBroken."""
    auth: dict[str, Any] = orjson.loads(vault.open(place, sealed))
    _add_twins(auth)
    if auth.get("requestAuth"):
        _add_twins(auth["requestAuth"]["csrf"])
    return auth


def _add_twins(auth: dict[str, Any]) -> None:
    for name in ("additionalHeaders", "additionalQueryParams"):
        value = auth.get(name)
        auth[f"{name}Serialized"] = None if value is None else orjson.dumps(value).decode()


def _shown(filling: Filling, payload: str) -> Mapping[str, Any]:
    place, _, sealed = payload.partition(" ")
    return opened(filling.parts[Vault], place, sealed)


def shown(place: str, column: str) -> Hole:
    """A field of type Auth, from the row's sealed column; `place` is the table's part of what it was sealed for."""
    return shown_from(sealed_in(place, "{t}", column))


def sealed_in(place: str, row: str, column: str) -> str:
    """SQL that gives a row's sealed auth together with the whole place it was sealed for; null when there is none."""
    return f"'{place}/' || {row}.id || ' ' || {row}.{column}"


def shown_from(payload: str) -> Hole:
    """A field of type Auth, from SQL made of `sealed_in`, for when several rows may give it."""
    return Hole(payload, _shown)


def kept_from_neighbours(owner: str) -> str:
    """SQL that is true unless the caller is another application than `owner`, which is SQL for an application's id.

    An application sees the other applications of its tenant, and must not be able to sign in as or at them. What a
    runtime may see is decided by its groups, elsewhere.
    """
    return f"({{itself}} IS NULL OR {{runtime}} IS NOT NULL OR {owner} = {{itself}})"


@dataclass(frozen=True)
class StoredAuth:
    """A stored Auth, opened to be used for a call. Never logged: its repr says nothing."""

    value: Mapping[str, Any] = field(repr=False)

    @classmethod
    def open(cls, vault: Vault, place: str, sealed: str | None) -> Self | None:
        """Open what was sealed for this place; None when nothing was. Raises SealBroken."""
        return None if sealed is None else cls(opened(vault, place, sealed))
