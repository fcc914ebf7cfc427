"""Every setting of the plane: its unit, its default and the reason for it, and the one way they are read.

A value comes from the first of: a flag, the environment (`COMPASS_LISTEN__TOKEN_PORT`), the file `compass.toml`
(`[listen]` `token_port = 8443`), the default. Any value may instead be read from a file of its own, as secrets
mounts have it: `COMPASS_DATABASE__DSN_FILE=/run/secrets/dsn`, or `dsn_file = …` in the TOML.

Nothing is guessed: an unknown name, a wrong type and an insecure value are refused with the name of the key.
"""

import difflib
import json
import os
import re
import tomllib
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields, replace
from datetime import timedelta
from enum import StrEnum
from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any, Final, NamedTuple, Union, cast, get_args, get_origin, get_type_hints
from urllib.parse import parse_qs, unquote, urlsplit

from compass.errors import Code, CompassError

SECRET: Final = {"secret": True}
"""Metadata of a setting whose value is never shown."""

Network = IPv4Network | IPv6Network


class SettingRefused(CompassError):
    """A setting is unknown, unreadable, of the wrong type, or insecure. Nothing was started."""

    code = Code.INVALID_DATA
    message = "setting {setting} ({source}): {reason}"


class LogFormat(StrEnum):
    """How a log line is written."""

    AUTO = "auto"
    JSON = "json"
    TEXT = "text"


def _default_data_folder() -> Path:
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "compass"


@dataclass(frozen=True)
class DatabaseSettings:
    """Where the plane keeps everything it must not forget."""

    dsn: str | None = field(default=None, metadata=SECRET, repr=False)
    """Any PostgreSQL 15 or newer, as `postgresql://…`. None starts the embedded one inside the data folder."""
    connections: int = 8
    """Size of each of the two pools (writes, reads). A connection caches its own plans, 0.2 to 0.5 MB each."""
    allow_plaintext: bool = False
    """Speak to a database on another machine without demanding TLS. Only for a network that encrypts by itself."""


@dataclass(frozen=True)
class ListenSettings:
    """Where the plane listens, and the addresses it tells others to use."""

    host: str = "127.0.0.1"
    """Address to bind. Loopback until somebody decides otherwise."""
    token_port: int = 8443
    """For tokens and people: no client certificate is asked for. 0 lets the system choose."""
    mtls_port: int = 8444
    """For paired clients: a client certificate of the plane's own authority is required. 0 lets the system choose."""
    public_names: tuple[str, ...] = ("localhost", "127.0.0.1", "::1")
    """Names and addresses in the server certificate. A client that reaches the plane by another name refuses it."""
    public_token_url: str | None = None
    """`https://…` under which others reach the token port. None: the first public name and the bound port."""
    public_mtls_url: str | None = None
    """`https://…` under which others reach the mTLS port. None: the first public name and the bound port."""
    public_legacy_url: str | None = None
    """`https://…` of a connector for the legacy REST interface, which the plane itself does not have: told to
    Applications as `legacyConnectorURL`, with `?token=…`. None: where the original had it, at the token port."""


@dataclass(frozen=True)
class AuthoritySettings:
    """What the plane's certificate authority writes into every client certificate.

    The subject parts are the ones that clients in the field compare with; only the common name differs per client.
    """

    country: str = "DE"
    """C of the subject, two letters."""
    organization: str = "Org"
    """O of the subject."""
    organizational_unit: str = "OrgUnit"
    """OU of the subject."""
    locality: str = "locality"
    """L of the subject."""
    province: str = "province"
    """ST of the subject."""
    client_validity: timedelta = timedelta(hours=2160)
    """90 days: the lifetime existing clients plan their renewal around."""
    signer_command: tuple[str, ...] = ()
    """A program, with its arguments, that holds the key of the next authority to be made and signs digests with it. The
    plane then never has that key; the program is needed as long as that authority is trusted. Empty: the plane has keys
    of its own, sealed in its database."""
    signer_key: str = "issuing"
    """By which name the program is asked for the key of the next authority to be made: another for each rotation."""
    signer_timeout: timedelta = timedelta(seconds=5)
    """For one answer of the program, after which it is killed. A connection to the database is held meanwhile."""


@dataclass(frozen=True)
class TokenSettings:
    """How long a one-time token may be spent. It is a password until then, so: no longer than a hand-over takes."""

    application_validity: timedelta = timedelta(minutes=5)
    """A person carries it to the Application, by copy and paste."""
    runtime_validity: timedelta = timedelta(minutes=60)
    """It waits for a cluster to come up before the agent in it can read it."""
    csr_validity: timedelta = timedelta(minutes=5)
    """Between a client's `configuration` call and its signing request."""
    pairing_adapters: tuple[str, ...] = ()
    """`<id of an integration system>=<URL>` each: who makes the one-time tokens for the Applications of that system.
    A URL in a private network must be allowed by `outbound.allowed_networks`."""

    def adapter_urls(self) -> Mapping[str, str]:
        """The URL of the pairing adapter by the id of its integration system."""
        entries = (entry.partition("=") for entry in self.pairing_adapters)
        return {system.strip().lower(): url.strip() for system, _, url in entries}


@dataclass(frozen=True)
class OidcSettings:
    """Single sign-on: people come with tokens of an OpenID provider, and its groups say what they may do here."""

    issuers: tuple[str, ...] = ()
    """`https://…` of each provider, exactly as its tokens have it in `iss`. Each is trusted alike. Empty: no single
    sign-on. A provider in a private network must be allowed by `outbound.allowed_networks`."""
    audience: str | None = None
    """What tokens for this plane have in `aud`: its client id at the provider. Others would be tokens for others."""
    user_claim: str = "sub"
    """The claim that names the person, in records and as `viewer`. `sub` is never given to somebody else."""
    groups_claim: str = "groups"
    """The claim with the person's groups, a text or a list of them."""
    scopes: tuple[str, ...] = ()
    """`<group>=<scope> <scope> …` each; `admin` and `operator` stand for the contract's lists. A person has those of
    all groups together, and nothing without one."""
    tenants: tuple[str, ...] = ()
    """`<group>=<external id of a tenant> …` each: where its people may work; `*` means everywhere. Other tenants are
    answered for as if they did not exist, and scopes that lead beyond a tenant are not granted."""
    tenants_claim: str | None = None
    """A claim with external ids of tenants, a text or a list of them, that are added to those of `oidc.tenants`."""
    client_id: str | None = None
    """Who the console is to the first of `oidc.issuers`, where people then sign in; their redirect URI there is
    `<URL of the token port>/console/sign-in/callback`. None: people sign in at the console with links only."""
    client_secret: str | None = field(default=None, metadata=SECRET, repr=False)
    """Of that client, best read from a file, with `client_secret_file`. None: the provider has it as a public client,
    and PKCE alone shows that whoever brings a code is who asked for it."""
    request_scopes: tuple[str, ...] = ("openid", "profile")
    """What the console asks the provider for. Some tell groups only when asked for their scope of that, and give tokens
    to renew with, so that people stay signed in for up to twelve hours, only for `offline_access`."""
    end_session: bool = True
    """Whether who signs out at the console is sent to the provider to be signed out there, too, which may end what else
    the person does with it; otherwise only the console's tokens are revoked. A provider that offers neither is left
    alone."""
    leeway: timedelta = timedelta(seconds=30)
    """How far the provider's clock and ours may be apart. At most 5m."""
    keys_refresh: timedelta = timedelta(minutes=5)
    """How often the provider's keys are fetched, so how long one that it withdrew is believed. A token with a key that
    is not known yet has them fetched at once."""
    keys_kept: timedelta = timedelta(days=1)
    """How long the keys are believed while the provider cannot be reached; then its people are answered with 503."""

    def group_scopes(self) -> Mapping[str, Sequence[str]]:
        """The scopes that are granted, by group."""
        return _by_name(self.scopes)

    def group_tenants(self) -> Mapping[str, Sequence[str]]:
        """The external ids of tenants, by group."""
        return _by_name(self.tenants)


@dataclass(frozen=True)
class ExternalCertificateSettings:
    """Clients with certificates of other authorities. For whom such a certificate speaks, its mapping says."""

    ca_file: Path | None = None
    """PEM of these authorities, 16 at most: each of them can issue for every subject that is mapped, so never a bundle
    of public ones. Read at the start. None: only certificates of the plane's own authority are let in."""
    scopes: tuple[str, ...] = ()
    """`<consumer type>=<scope> <scope> …` each, such as `Formation Viewer=formation:read`: what is granted instead of
    the contract's list, which not all types have."""
    revocation_lists: tuple[str, ...] = ()
    """`<SHA-256 fingerprint of one of these authorities>=<file or URL>` each: where its list of revoked certificates
    is, DER or PEM, 8 MB at most. Without a list that is good its clients are refused. A file is looked at every second;
    a URL in a private network must be allowed by `outbound.allowed_networks`. Empty: mappings alone end clients."""
    revocation_lists_refresh: timedelta = timedelta(minutes=5)
    """How often a list is fetched from its URL, so how long one that was revoked may go on. At most 1d."""

    def list_sources(self) -> Mapping[str, str]:
        """Where the list of revoked certificates is, by fingerprint of the authority: 64 hexadecimal digits."""
        entries = (entry.partition("=") for entry in self.revocation_lists)
        return {_fingerprint(pin): source.strip() for pin, _, source in entries}

    def consumer_scopes(self) -> Mapping[str, Sequence[str]]:
        """The scopes that are granted, by type of consumer."""
        return _by_name(self.scopes)


def _fingerprint(text: str) -> str:
    """As `openssl x509 -fingerprint -sha256` writes it, or the plane itself."""
    return text.strip().lower().removeprefix("sha256:").replace(":", "")


def _by_name(entries: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """Of entries `<name>=<word> <word>`, of which one name may have several; a name may itself hold a `=`."""
    found: dict[str, list[str]] = {}
    for entry in entries:
        name, _, words = entry.rpartition("=")
        found.setdefault(name.strip(), []).extend(words.split())
    return found


@dataclass(frozen=True)
class OutboundSettings:
    """Limits for calls to addresses that users gave us: spec URLs and webhooks."""

    allowed_networks: tuple[Network, ...] = ()
    """Private networks that such calls may reach, as CIDR, such as the receivers of one's own site: users can then see
    which of their addresses answer. Empty: public addresses only."""
    ca_file: Path | None = None
    """PEM authorities to trust besides the system's, for receivers with a private authority."""
    client_certificate_file: Path | None = None
    """PEM chain, leaf first, that is shown where an `auth` has the access strategy `sap:cmp-mtls:v1`, and nowhere else.
    Read again when it changes. None: such calls fail and say so."""
    client_key_file: Path | None = None
    """The private key of that chain, PEM without a password. It may be the same file."""
    client_certificate_hosts: tuple[str, ...] = ()
    """The hosts that may see that chain, as users choose what is sent to them in the plane's name: names, addresses,
    `*.example.com` for all names below one, `*` for every host. One of them at least, when there is a chain."""
    connect_timeout: timedelta = timedelta(seconds=5)
    """Resolve, connect and TLS handshake together, for all addresses of a host."""
    total_timeout: timedelta = timedelta(seconds=30)
    """A whole call, from waiting for a free seat to the last byte, however slowly the other side sends."""
    max_response_bytes: int = 5 * 1024 * 1024
    """Counted as sent and after decompression. The largest real specification documents are a few megabytes; one that
    is sent along may have as much."""


@dataclass(frozen=True)
class DeliverySettings:
    """How notifications are delivered to webhooks."""

    attempt_timeout: timedelta = timedelta(seconds=10)
    """Connect, send and read together. A worker is held this long by a receiver that never answers."""
    give_up_after: timedelta = timedelta(days=2)
    """From the first attempt. Two days cover a weekend outage; then the delivery is `dead` and visible in the API."""
    first_retry_after: timedelta = timedelta(seconds=2)
    """The longest pause after the first failure; three times as long with each further one, and a random part of it."""
    retry_at_most_every: timedelta = timedelta(hours=1)
    """Where the pauses stop growing, so that a receiver that comes back is noticed within the hour."""
    concurrent_attempts: int = 128
    """Per process; one costs a socket and a few kilobytes. One receiver gets two at once, and what concerns one
    object reaches it in order."""


@dataclass(frozen=True)
class ApplicationSettings:
    """How Applications are registered, unpaired and unregistered in the background, in `mode: ASYNC`."""

    async_mode: bool = True
    """Whether that mode may be asked for. Off, such a mutation is refused with code 27."""
    attempt_timeout: timedelta = timedelta(seconds=10)
    """One call of a webhook of type REGISTER_APPLICATION or UNREGISTER_APPLICATION, whatever its receiver does."""
    retry_after: timedelta = timedelta(seconds=10)
    """Until the next call of a receiver that is not done, where its webhook has no `retryInterval`."""
    give_up_after: timedelta = timedelta(hours=1)
    """From the mutation, where the webhook has no `timeout`; at most a day in either case. Then it has failed."""
    concurrent_operations: int = 32
    """Per process, beside those of the Provisioner. A receiver that hangs holds one for `attempt_timeout`."""


@dataclass(frozen=True)
class ProvisionerSettings:
    """How Runtimes are created."""

    concurrent_operations: int = 8
    """Per process. An operation mostly waits, so more than a machine has cores."""
    step_retry_after: timedelta = timedelta(seconds=2)
    """The pause after a step that failed in a way that may pass."""
    runtime_sync_period: timedelta = timedelta(seconds=10)
    """How often a Runtime created here asks the plane for its configuration."""
    applications_ca_file: Path | None = None
    """PEM authorities that a Runtime created here trusts when it calls Applications, besides the system's."""


@dataclass(frozen=True)
class LandscapeSettings:
    """What is particular to the systems around the plane. Nothing of it applies until it is set."""

    hidden_applications: tuple[str, ...] = ()
    """`<label>=<value>` each: Applications that have such a label are kept from all Runtimes."""
    discovery_webhooks: tuple[str, ...] = ()
    """`<application type>=<suffix>/<path>` each: an Application with that label `applicationType` and a base URL gets
    a webhook `OPEN_RESOURCE_DISCOVERY` when it is updated, at the base URL with the suffix, which may be empty, after
    the first part of its host name, and the path."""
    kyma_adapter_url_template: str | None = None
    """Template of a webhook `CONFIGURATION_CHANGED` that every Runtime gets which an integration system registers."""
    kyma_adapter_input_template: str | None = None
    """The input template of that webhook."""
    kyma_adapter_header_template: str | None = None
    """The header template of that webhook."""
    kyma_adapter_output_template: str | None = None
    """The output template of that webhook."""
    kyma_adapter_mode: str = "SYNC"
    """The mode of that webhook: `SYNC` or `ASYNC_CALLBACK`."""
    tenant_mappings: str | None = None
    """The webhooks that one with a `version` stands for, in an application template, as JSON:
    `{"SYNC": {"1.0": [{"type": "CONFIGURATION_CHANGED", "urlTemplate": …}]}}` has them by mode and version. In a
    `urlTemplate`, `%s` is the URL that was given. Best read from a file, with `tenant_mappings_file`."""

    def hidden_labels(self) -> Mapping[str, Sequence[str]]:
        """The values that keep an Application from Runtimes, by label."""
        found: dict[str, list[str]] = {}
        for entry in self.hidden_applications:
            key, _, value = entry.partition("=")
            found.setdefault(key.strip(), []).append(value.strip())
        return found

    def mapped_webhooks(self, mode: str, version: str) -> Sequence[Mapping[str, Any]] | None:
        """The webhooks, as inputs of the API, that one of this mode and version stands for; None: nobody knows it."""
        by_version = json.loads(self.tenant_mappings or "{}").get(mode, {})
        found: Sequence[Mapping[str, Any]] | None = by_version.get(version)
        return found

    def discovery_urls(self) -> Mapping[str, tuple[str, str]]:
        """Suffix and path of the discovery webhook, by application type."""
        found = {}
        for entry in self.discovery_webhooks:
            kind, _, where = entry.rpartition("=")
            suffix, _, path = where.strip().partition("/")
            found[kind.strip()] = (suffix, f"/{path}")
        return found


@dataclass(frozen=True)
class LimitSettings:
    """How much may be asked for. What is more is refused before it costs anything; each process counts by itself."""

    max_request_bytes: int = 8 * 1024 * 1024
    """The whole body. The largest query known from clients has 23 kB; specifications sent along need the rest."""
    caller_requests_per_second: int = 200
    """One client, person or program, in the long run. Each mutation of a document counts as a request."""
    caller_burst: int = 8_000
    """And at once, after a pause: what the original allowed its callers, so that the same imports run through."""
    tenant_requests_per_second: int = 500
    """All callers of one tenant together. Half of what two cores answer, so that others are served meanwhile."""
    tenant_burst: int = 20_000
    """And at once, after a pause: every client of a large tenant comes back after an outage."""
    caller_requests_at_once: int = 64
    """Under way, waiting ones included. A client that waits for its answers has far fewer."""
    tenant_requests_at_once: int = 256
    """The same of one tenant. Of the database's connections, it has three quarters at most; the others wait in turn."""
    caller_streams: int = 16
    """Change feeds that one caller has open. An agent has one, a console one per window."""
    address_failures_per_minute: int = 60
    """Wrong secrets and one-time tokens from one address (IPv6: one /64) in the long run; then none is looked at."""
    address_failures_burst: int = 300
    """And at once. Enough for many people behind one address who mistype, far too few to guess anything."""
    connections: int = 4_000
    """Open connections per port. One costs about 50 kB; most are idle and end by themselves."""
    address_connections: int = 1_000
    """Those from one address. Raise it where all clients come through one address, such as a proxy's."""


@dataclass(frozen=True)
class HeartbeatSettings:
    """How often agents of runtimes say that they live, and when they are missed."""

    every: timedelta = timedelta(seconds=5)
    """What agents are told. Each costs a call without a statement; they are written together, once a second."""
    missed_after: timedelta = timedelta(seconds=12)
    """From the last one. Two that are due and the time to write one, so that a single one may be lost on its way.
    At least twice `heartbeat.every` and a second."""


@dataclass(frozen=True)
class LogSettings:
    """What the process writes about itself."""

    format: LogFormat = LogFormat.AUTO
    """`json` for machines, `text` for people; `auto` is text on a terminal and JSON elsewhere."""


@dataclass(frozen=True)
class AuditSettings:
    """The record of who changed what."""

    keep_for: timedelta = timedelta(days=400)
    """A year, and the time to look back on it. What is older is removed within the hour, as far as it is sealed; export
    it before (`compass audit export`) when it has to be kept."""


@dataclass(frozen=True)
class DefinitionSettings:
    """Specifications of APIs and events, and what they said before."""

    revisions: int = 20
    """Texts that are kept of each specification, the present one with them: a year of changes by and large."""
    revision_bytes: int = 20 * 1024 * 1024
    """For all texts of one specification together, after which the oldest go before their time. Four of the largest."""


@dataclass(frozen=True)
class Settings:
    """All settings of one process. Read with `load`; in tests, construct it with what differs."""

    data_folder: Path = field(default_factory=_default_data_folder)
    """Embedded database, authority and keys. Owned by the plane, mode 0700."""
    database: DatabaseSettings = DatabaseSettings()
    listen: ListenSettings = ListenSettings()
    authority: AuthoritySettings = AuthoritySettings()
    tokens: TokenSettings = TokenSettings()
    oidc: OidcSettings = OidcSettings()
    external_certificates: ExternalCertificateSettings = ExternalCertificateSettings()
    outbound: OutboundSettings = OutboundSettings()
    delivery: DeliverySettings = DeliverySettings()
    applications: ApplicationSettings = ApplicationSettings()
    provisioner: ProvisionerSettings = ProvisionerSettings()
    landscape: LandscapeSettings = LandscapeSettings()
    limits: LimitSettings = LimitSettings()
    audit: AuditSettings = AuditSettings()
    definitions: DefinitionSettings = DefinitionSettings()
    heartbeat: HeartbeatSettings = HeartbeatSettings()
    log: LogSettings = LogSettings()
    sources: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    """Where each value that is not a default came from. Filled by `load`; not a setting."""


class Described(NamedTuple):
    """One setting as `compass config show` prints it."""

    key: str
    value: str
    source: str


def load(
    flags: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> Settings:
    """Read the settings: flags before environment before file before defaults.

    `flags` are dotted keys (`listen.token_port`) of the flags that were given; text is read as in the environment.
    `file` must exist when named; when it is None the first of `COMPASS_CONFIG`, `./compass.toml`,
    `$XDG_CONFIG_HOME/compass/compass.toml` and `/etc/compass/compass.toml` is read, if any exists.
    Raises SettingRefused.
    """
    environment = os.environ if environment is None else environment
    path = file or _find_file(environment)
    given: dict[str, _Given] = {}
    if path is not None:
        given |= _from_file(path)
    given |= _from_environment(environment)
    given |= {key: _Given(value, "flag", isinstance(value, str)) for key, value in (flags or {}).items()}
    settings = _build(given)
    _refuse_insecure(settings)
    return settings


def secrets_given(settings: Settings) -> Sequence[str]:
    """The names of the secret settings that are not left at their default."""
    return [key for key, spec in _keys().items() if spec.secret and key in settings.sources]


def describe(settings: Settings) -> Iterator[Described]:
    """Every setting with its value and where it came from; a secret shows only whether it is set."""
    for key, spec in _keys().items():
        value = _value(settings, key)
        shown = "(redacted)" if spec.secret and value is not None else _show(value)
        yield Described(key, shown, settings.sources.get(key, "default"))


# --- the names and types of all settings ---------------------------------------------------------------------------


class _Spec(NamedTuple):
    type: Any
    secret: bool


class _Given(NamedTuple):
    value: object
    source: str
    is_text: bool = False
    """Whether the value is text to be read, as the environment has it, and not yet a number or a list."""


@cache
def _keys() -> dict[str, _Spec]:
    keys: dict[str, _Spec] = {}
    for outer, hint in _typed_fields(Settings):
        if outer.name == "sources":
            continue
        if isinstance(hint, type) and hasattr(hint, "__dataclass_fields__"):
            for inner, inner_hint in _typed_fields(hint):
                keys[f"{outer.name}.{inner.name}"] = _Spec(inner_hint, bool(inner.metadata.get("secret")))
        else:
            keys[outer.name] = _Spec(hint, bool(outer.metadata.get("secret")))
    return keys


def _typed_fields(section: type) -> list[tuple[Field[Any], Any]]:
    hints = get_type_hints(section)
    return [(item, hints[item.name]) for item in fields(section)]


def _value(settings: Settings, key: str) -> object:
    value: object = settings
    for name in key.split("."):
        value = getattr(value, name)
    return value


def _build(given: Mapping[str, _Given]) -> Settings:
    top: dict[str, Any] = {}
    nested: dict[str, dict[str, Any]] = {}
    for key, item in given.items():
        spec = _keys().get(key)
        if spec is None:
            raise SettingRefused(setting=key, source=item.source, reason=_unknown(key))
        if spec.secret and item.source == "flag":
            variable = f"COMPASS_{key.upper().replace('.', '__')}"
            reason = f"every process of this machine can read the command line; use {variable} or {variable}_FILE"
            raise SettingRefused(setting=key, source=item.source, reason=reason)
        value = _read(key, spec, item)
        section, _, name = key.rpartition(".")
        (nested.setdefault(section, {}) if section else top)[name] = value
    defaults = Settings()
    for section, values in nested.items():
        top[section] = replace(getattr(defaults, section), **values)
    return replace(defaults, **top, sources={key: item.source for key, item in given.items()})


_NO_SWITCH: Final[Mapping[tuple[str, ...], str]] = {
    ("verify", "insecure", "self_signed"): "certificates are always verified; outbound.ca_file adds authorities",
    ("tls", "ssl", "plain_http"): "TLS is always on, from version 1.2 on",
    ("debug", "trace", "playground"): "there is no mode that says more to callers; the log has it",
    ("cors", "origin"): "pages of other origins may not use the API",
    ("algorithm",): "tokens are signed with ES256, and with nothing weaker",
    ("anonymous", "disable_auth", "skip_auth", "no_auth"): "nobody is let in without credentials",
}
"""What other programs have switches for, and this one does not."""


def _unknown(key: str) -> str:
    for words, reason in _NO_SWITCH.items():
        if any(word in key for word in words):
            return f"there is no such setting: {reason}"
    close = difflib.get_close_matches(key, _keys(), n=1, cutoff=0.6)
    return "there is no such setting" + (
        f", did you mean {close[0]}?" if close else "; `compass config show` lists them"
    )


# --- where values come from ----------------------------------------------------------------------------------------

_NOT_SETTINGS: Final = frozenset(
    {"COMPASS_CONFIG", "COMPASS_CONTEXT", "COMPASS_TOKEN", "COMPASS_SECRET", "COMPASS_PASSWORD", "COMPASS_PROOF"}
)
"""Variables that belong to the command line and to the tests, not to the plane."""


def _find_file(environment: Mapping[str, str]) -> Path | None:
    if named := environment.get("COMPASS_CONFIG"):
        return Path(named)
    home = environment.get("XDG_CONFIG_HOME") or Path(environment.get("HOME", "/")) / ".config"
    places = (Path("compass.toml"), Path(home) / "compass/compass.toml", Path("/etc/compass/compass.toml"))
    return next((place for place in places if place.is_file()), None)


def _from_environment(environment: Mapping[str, str]) -> dict[str, _Given]:
    given: dict[str, _Given] = {}
    for variable, value in environment.items():
        if variable.startswith("COMPASS_") and variable not in _NOT_SETTINGS:
            key = variable.removeprefix("COMPASS_").lower().replace("__", ".")
            given |= _direct_or_from_own_file(key, value, f"environment {variable}", is_text=True)
    return given


def _from_file(path: Path) -> dict[str, _Given]:
    try:
        text = path.read_text(encoding="utf-8")
        document = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as problem:
        raise SettingRefused(
            setting="--config", source=str(path), reason=f"the file cannot be read: {problem}"
        ) from None
    except tomllib.TOMLDecodeError as problem:
        raise SettingRefused(setting="--config", source=str(path), reason=f"the file is not TOML: {problem}") from None
    given: dict[str, _Given] = {}
    for name, value in document.items():
        entries = (
            {f"{name}.{inner}": item for inner, item in value.items()} if isinstance(value, dict) else {name: value}
        )
        for key, item in entries.items():
            given |= _direct_or_from_own_file(key, item, f"{path}:{_line(text, key)}", is_text=False)
    return given


def _line(text: str, key: str) -> int:
    """The line that sets `key`, for a person to jump to; the first line when it is written in an unusual way."""
    wanted_section, _, name = key.rpartition(".")
    section = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[\s*([\w.-]+)\s*\]", line):
            section = header[1]
        elif section == wanted_section and re.match(rf"""\s*["']?{re.escape(name)}["']?\s*=""", line):
            return number
    return 1


def _direct_or_from_own_file(key: str, value: object, source: str, *, is_text: bool) -> dict[str, _Given]:
    plain = key.removesuffix("_file")
    if key in _keys() or plain == key or plain not in _keys():
        return {key: _Given(value, source, is_text)}
    try:
        return {
            plain: _Given(Path(str(value)).read_text(encoding="utf-8").strip(), f"{source} = {value}", is_text=True)
        }
    except (OSError, UnicodeDecodeError) as problem:
        raise SettingRefused(setting=plain, source=source, reason=f"its file cannot be read: {problem}") from None


# --- reading one value ---------------------------------------------------------------------------------------------

_UNITS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_BOOLEANS: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


class _Unreadable(Exception):
    """The value does not have the form that the message describes."""


def _read(key: str, spec: _Spec, given: _Given) -> object:
    try:
        return _convert(spec.type, given.value, is_text=given.is_text)
    except _Unreadable as expected:
        got = "what it has" if spec.secret else repr(given.value)
        raise SettingRefused(setting=key, source=given.source, reason=f"expected {expected}, not {got}") from None


def _convert(kind: Any, value: object, *, is_text: bool) -> object:
    if get_origin(kind) in (Union, types.UnionType) and types.NoneType in get_args(kind):
        # None is the default of such a setting, and is had by not setting it.
        return _convert(next(one for one in get_args(kind) if one is not types.NoneType), value, is_text=is_text)
    if get_origin(kind) is tuple:
        items = _items(value, is_text=is_text)
        return tuple(_convert(get_args(kind)[0], item, is_text=is_text) for item in items)
    return _convert_one(kind, value, is_text=is_text)


def _items(value: object, *, is_text: bool) -> list[object]:
    if is_text and isinstance(value, str):
        return [item.strip() for item in value.split(",") if item.strip()]
    if isinstance(value, list | tuple):
        return list(value)
    raise _Unreadable("a list")


def _convert_one(kind: Any, value: object, *, is_text: bool) -> object:
    if isinstance(kind, type) and isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    if not isinstance(value, str):
        raise _Unreadable(_expected(kind))
    if kind is Path and value:
        return Path(value).expanduser()
    if kind is timedelta and (match := _DURATION.fullmatch(value.strip())):
        return timedelta(seconds=float(match[1]) * _UNITS[match[2]])
    if kind == Network:
        return _network(value)
    if kind is LogFormat and value in set(LogFormat):
        return LogFormat(value)
    if is_text and kind is int and re.fullmatch(r"\d{1,18}", value.strip()):
        return int(value)
    if is_text and kind is bool and value.strip().lower() in _BOOLEANS:
        return _BOOLEANS[value.strip().lower()]
    raise _Unreadable(_expected(kind))


def _network(value: str) -> Network:
    try:
        return ip_network(value)
    except ValueError as problem:
        raise _Unreadable(f"a network in CIDR form such as 10.0.0.0/8 ({problem})") from None


def _expected(kind: Any) -> str:
    if kind is LogFormat:
        return "one of " + ", ".join(LogFormat)
    names = {
        str: "text",
        int: "a whole number",
        bool: "true or false",
        timedelta: 'a duration with its unit, such as "10s", "5m", "36h" or "2d"',
        Path: "a path",
        Network: "a network in CIDR form such as 10.0.0.0/8",
    }
    return names[kind]


def _show(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case timedelta():
            return _show_duration(value)
        case tuple():
            return ",".join(_show(item) for item in value)
        case _:
            return str(value)


def _show_duration(value: timedelta) -> str:
    for unit, seconds in reversed(_UNITS.items()):
        amount = value / timedelta(seconds=seconds)
        if amount >= 1 and amount == int(amount):
            return f"{int(amount)}{unit}"
    return f"{value.total_seconds()}s"


# --- what is refused although it can be read -----------------------------------------------------------------------

_MAX_PORT: Final = 65_535
_LONGEST_TOKEN: Final = timedelta(days=1)
_LONGEST_CERTIFICATE: Final = timedelta(days=397)
_NEVER_ALLOWED: Final = (ip_network("169.254.0.0/16"), ip_network("fe80::/10"), ip_network("fd00:ec2::254/128"))
"""Where clouds hand out the machine's own credentials to whoever asks from it."""
_LARGEST: Final = {
    "limits.max_request_bytes": (256 * 1024 * 1024, "it is held in memory, for every request under way"),
    "outbound.max_response_bytes": (1024 * 1024 * 1024, "it is held in memory, for every call under way"),
    "limits.connections": (100_000, "it is as good as no limit, and the process has fewer descriptors"),
}
"""Larger, and a limit is none."""
_LEAST_BURST: Final = 20
"""As many mutations as one document may have: with less, such a document could never be paid for."""
_LONGEST_CALL: Final = timedelta(minutes=10)
_TLS_DEMANDED: Final = frozenset({"require", "verify-ca", "verify-full"})
_SUBJECT_PARTS: Final = ("country", "organization", "organizational_unit", "locality", "province")


def _refuse_insecure(settings: Settings) -> None:
    for key, reason in _problems(settings):
        raise SettingRefused(setting=key, source=settings.sources.get(key, "default"), reason=reason)


def _problems(settings: Settings) -> Iterator[tuple[str, str]]:
    yield from _impossible_numbers(settings)
    yield from _database_problems(settings.database)
    yield from _listen_problems(settings.listen)
    for name in ("application_validity", "runtime_validity", "csr_validity"):
        if getattr(settings.tokens, name) > _LONGEST_TOKEN:
            yield f"tokens.{name}", "a one-time token that lives longer than a day is a password; at most 1d"
    for entry in settings.tokens.pairing_adapters:
        if not re.fullmatch(
            r"\s*[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\s*=\s*https?://[^\s/?#@]+([/?#]\S*)?", entry
        ):
            yield "tokens.pairing_adapters", f"{entry!r} is not <id of an integration system>=<http or https URL>"
    yield from _landscape_problems(settings.landscape)
    if settings.heartbeat.missed_after < 2 * settings.heartbeat.every + timedelta(seconds=1):
        yield "heartbeat.missed_after", "at least twice heartbeat.every and a second, or one that is late is missed"
    if settings.authority.client_validity > _LONGEST_CERTIFICATE:
        yield "authority.client_validity", "a client certificate lives at most 397d; clients renew theirs by themselves"
    for name in _SUBJECT_PARTS:
        # `/`, `,`, `=` and `+` separate the parts of a subject where clients read it as one text.
        if not re.fullmatch(r"[^/,=+\x00-\x1f]{1,64}", getattr(settings.authority, name)):
            yield f"authority.{name}", "1 to 64 characters without / , = + and control characters"
    if not re.fullmatch(r"[A-Z]{2}", settings.authority.country):
        yield "authority.country", "two capital letters"
    yield from _outbound_problems(settings.outbound)
    yield from _oidc_problems(settings.oidc)
    yield from _external_certificate_problems(settings.external_certificates)


def _impossible_numbers(settings: Settings) -> Iterator[tuple[str, str]]:
    for key in _keys():
        value = _value(settings, key)
        if isinstance(value, timedelta) and value <= timedelta(0):
            yield key, "must be longer than nothing"
        if isinstance(value, int) and not isinstance(value, bool):
            if key.endswith("_port"):
                if not 0 <= value <= _MAX_PORT:
                    yield key, f"a port is 0 to {_MAX_PORT}"
            elif value < 1:
                yield key, "must be at least 1"
    for key, (most, because) in _LARGEST.items():
        if cast("int", _value(settings, key)) > most:
            yield key, f"{because}; at most {most}"
    for key in ("limits.caller_burst", "limits.tenant_burst"):
        if cast("int", _value(settings, key)) < _LEAST_BURST:
            yield key, f"one document may have that many mutations; at least {_LEAST_BURST}"
    for key in ("outbound.total_timeout", "delivery.attempt_timeout", "applications.attempt_timeout"):
        if cast("timedelta", _value(settings, key)) > _LONGEST_CALL:
            yield key, "whoever answers slowly would hold a worker for all that time; at most 10m"


def _database_problems(database: DatabaseSettings) -> Iterator[tuple[str, str]]:
    if database.dsn is None:
        return
    try:
        parts = urlsplit(database.dsn)
        query = parse_qs(parts.query)
        hosts = query.get("host") or [parts.hostname or ""]
    except ValueError:
        parts, query, hosts = urlsplit(""), {}, []
    if parts.scheme not in {"postgresql", "postgres"}:
        yield "database.dsn", "expected postgresql://user:password@host:port/database"
    elif (
        not database.allow_plaintext
        and query.get("sslmode", [""])[-1] not in _TLS_DEMANDED
        and not all(_is_here(unquote(host)) for part in hosts for host in part.split(","))
    ):
        yield (
            "database.dsn",
            (
                "the database is on another machine and the address does not demand TLS; append ?sslmode=verify-full "
                "(or require), or set database.allow_plaintext = true if the network itself encrypts"
            ),
        )


def is_on_this_machine(dsn: str) -> bool:
    """Whether every host of a database's address is this machine."""
    parts = urlsplit(dsn)
    hosts = parse_qs(parts.query).get("host") or [parts.hostname or ""]
    return all(_is_here(unquote(host)) for part in hosts for host in part.split(","))


def _is_here(host: str) -> bool:
    if host in {"", "localhost"} or host.startswith("/"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _landscape_problems(landscape: LandscapeSettings) -> Iterator[tuple[str, str]]:
    for entry in landscape.hidden_applications:
        if not re.fullmatch(r"\s*[a-zA-Z0-9_]{1,256}\s*=.*\S.*", entry):
            yield "landscape.hidden_applications", f"{entry!r} is not <label>=<value>"
    for entry in landscape.discovery_webhooks:
        if not re.fullmatch(r"\s*\S.*=\s*[a-zA-Z0-9-]*/[^\s?#=]*\s*", entry):
            yield "landscape.discovery_webhooks", f"{entry!r} is not <application type>=<suffix>/<path>"
    if landscape.tenant_mappings is not None and not _are_tenant_mappings(landscape.tenant_mappings):
        yield (
            "landscape.tenant_mappings",
            "must be a JSON object of modes, of objects of versions, of lists of webhooks",
        )
    if landscape.kyma_adapter_mode not in ("SYNC", "ASYNC_CALLBACK"):
        yield "landscape.kyma_adapter_mode", "must be SYNC or ASYNC_CALLBACK"
    if landscape.kyma_adapter_url_template is None:
        for name in ("input_template", "header_template", "output_template"):
            if getattr(landscape, f"kyma_adapter_{name}") is not None:
                yield f"landscape.kyma_adapter_{name}", "means nothing without landscape.kyma_adapter_url_template"


def _are_tenant_mappings(text: str) -> bool:
    try:
        by_mode = json.loads(text)
        lists = [webhooks for by_version in by_mode.values() for webhooks in by_version.values()]
    except (ValueError, AttributeError, RecursionError):
        return False
    return all(isinstance(listed, list) and all(map(_is_webhook, listed)) for listed in lists)


def _is_webhook(entry: object) -> bool:
    return isinstance(entry, dict) and "type" in entry and all(isinstance(part, str | int) for part in entry.values())


def _listen_problems(listen: ListenSettings) -> Iterator[tuple[str, str]]:
    if listen.token_port == listen.mtls_port != 0:
        yield "listen.mtls_port", "the two listeners need a port each"
    if not listen.public_names:
        yield "listen.public_names", "the server certificate needs at least one name"
    for name in listen.public_names:
        if not re.fullmatch(r"[A-Za-z0-9.:*-]{1,253}", name):
            yield "listen.public_names", f"{name!r} is neither a host name nor an address"
        if "*" in name and not re.fullmatch(r"\*\.[^.*]+(\.[^.*]+)+", name):
            yield "listen.public_names", f"a certificate for {name!r} would do for names that are not yours"
    for key in ("public_token_url", "public_mtls_url", "public_legacy_url"):
        url = getattr(listen, key)
        if url is not None and not re.fullmatch(r"https://[^\s/?#@]+(/[^\s?#]*)?", url):
            yield f"listen.{key}", "must begin with https:// and have neither user, query nor fragment"


_LARGEST_LEEWAY: Final = timedelta(minutes=5)


def _oidc_problems(oidc: OidcSettings) -> Iterator[tuple[str, str]]:
    if not oidc.issuers:
        for name in ("audience", "scopes", "tenants", "tenants_claim", "client_id", "client_secret"):
            if getattr(oidc, name):
                yield f"oidc.{name}", "means nothing without oidc.issuers"
        return
    for issuer in oidc.issuers:
        if not re.fullmatch(r"https://[^\s/?#@]+(/[^\s?#]*)?", issuer):
            yield "oidc.issuers", f"{issuer!r} must begin with https:// and have neither user, query nor fragment"
    if not oidc.audience:
        yield "oidc.audience", "name what tokens for this plane have in `aud`: others would open it too"
    if not oidc.scopes:
        yield "oidc.scopes", "without it nobody who signs on may do anything; for example admins=admin"
    if not oidc.tenants and not oidc.tenants_claim:
        yield "oidc.tenants", "say where people may work, as in admins=*, or name the claim in oidc.tenants_claim"
    for name in ("scopes", "tenants"):
        for entry in getattr(oidc, name):
            if not re.fullmatch(r"\s*\S.*=\s*[^\s=].*", entry):
                yield f"oidc.{name}", f"{entry!r} is not <group>=<one or more, with spaces in between>"
    for name in ("user_claim", "groups_claim"):
        if not getattr(oidc, name).strip():
            yield f"oidc.{name}", "must name a claim"
    if oidc.client_secret and not oidc.client_id:
        yield "oidc.client_secret", "means nothing without oidc.client_id"
    if "openid" not in oidc.request_scopes:
        yield "oidc.request_scopes", "without openid the provider does not say who somebody is"
    if oidc.leeway > _LARGEST_LEEWAY:
        yield "oidc.leeway", "clocks differ by seconds; a token is over when it is over; at most 5m"


def _external_certificate_problems(external: ExternalCertificateSettings) -> Iterator[tuple[str, str]]:
    if external.scopes and external.ca_file is None:
        yield "external_certificates.scopes", "means nothing without external_certificates.ca_file"
    lists = "external_certificates.revocation_lists"
    if external.revocation_lists and external.ca_file is None:
        yield lists, "means nothing without external_certificates.ca_file"
    for entry in external.revocation_lists:
        pin, _, source = entry.partition("=")
        if not re.fullmatch(r"[0-9a-f]{64}", _fingerprint(pin)) or not source.strip():
            yield lists, f"{entry!r} is not <SHA-256 fingerprint of an authority>=<file or URL>"
        elif "://" in source and not re.fullmatch(r"\s*https?://[^\s/?#@]+(/[^\s#]*)?\s*", source):
            yield lists, f"{source!r} must begin with http:// or https:// and have neither user nor fragment"
    if len(external.list_sources()) < len(external.revocation_lists):
        yield lists, "an authority has one list; one of them is named twice"
    if external.revocation_lists_refresh > timedelta(days=1):
        yield f"{lists}_refresh", "whoever was revoked would go on for all that time; at most 1d"
    for entry in external.scopes:
        if not re.fullmatch(r"\s*\S[^=]*=\s*[^\s=].*", entry):
            yield "external_certificates.scopes", f"{entry!r} is not <consumer type>=<scope> <scope>"


def _outbound_problems(outbound: OutboundSettings) -> Iterator[tuple[str, str]]:
    if outbound.client_certificate_file is None:
        for name in ("client_key_file", "client_certificate_hosts"):
            if getattr(outbound, name):
                yield f"outbound.{name}", "means nothing without outbound.client_certificate_file"
    elif outbound.client_key_file is None:
        yield "outbound.client_certificate_file", "its key is missing; set outbound.client_key_file too"
    elif not outbound.client_certificate_hosts:
        yield "outbound.client_certificate_hosts", "name the hosts that may see outbound.client_certificate_file"
    for host in outbound.client_certificate_hosts:
        if not re.fullmatch(r"\*|(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*|[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*", host):
            yield "outbound.client_certificate_hosts", f"{host!r} is neither a host, nor *.<name>, nor *"
    for network in outbound.allowed_networks:
        if network.prefixlen == 0:
            yield "outbound.allowed_networks", f"{network} is every address; name the networks that are meant"
        if network.prefixlen < network.max_prefixlen and any(
            network.version == never.version and network.overlaps(cast("Any", never)) for never in _NEVER_ALLOWED
        ):
            yield "outbound.allowed_networks", f"{network} holds addresses that hand out this machine's credentials"
