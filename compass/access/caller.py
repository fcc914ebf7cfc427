"""Who is asking: the one value that every read and command is decided by."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from compass.errors import InsufficientScopes, TenantNotFound, TenantRequired
from compass.ids import RuntimeId, SystemAuthId, TenantId


class Consumer(StrEnum):
    """The kinds of caller, in the spelling of the wire. Source: contract/director.md §2."""

    APPLICATION = "Application"
    RUNTIME = "Runtime"
    INTEGRATION_SYSTEM = "Integration System"
    STATIC_USER = "Static User"
    # Those that only a certificate of another authority can be taken for, by its mapping.
    EXTERNAL_CERTIFICATE = "External Certificate"
    SUPER_ADMIN = "Super Admin"
    TECHNICAL_CLIENT = "Technical Client"
    BUSINESS_INTEGRATION = "Business Integration"
    MANAGED_APPLICATION_PROVIDER_OPERATOR = "Managed Application Provider Operator"
    MANAGED_APPLICATION_CONSUMER = "Managed Application Consumer"
    APPLICATION_PROVIDER = "Application Provider"
    LANDSCAPE_RESOURCE_OPERATOR = "Landscape Resource Operator"
    TENANT_DISCOVERY_OPERATOR = "Tenant Discovery Operator"
    INSTANCE_CREATOR = "Instance Creator"
    FORMATION_VIEWER = "Formation Viewer"


class Flow(StrEnum):
    """How the caller proved who it is. Source: contract/director.md §1.2."""

    CERTIFICATE = "Certificate"
    ONE_TIME_TOKEN = "OneTimeToken"  # the name of a flow, not a secret
    OAUTH2 = "OAuth2"
    JWT = "JWT"


@dataclass(frozen=True)
class Caller:
    """An authenticated caller, in one tenant at most."""

    consumer: Consumer
    consumer_id: str
    """The application, runtime or integration system; the user's name for a person."""
    flow: Flow
    scopes: frozenset[str]
    tenant: TenantId | None
    external_tenant: str | None = None
    """What the caller called the tenant, also when no such tenant exists."""
    system_auth: SystemAuthId | None = None
    """Which of its object's `auths` the caller used; None for people."""
    certificate: str = ""
    """The fingerprint of the client certificate that the plane issued, when it is what the caller signed in with."""
    shown_certificate: str = ""
    """The fingerprint of the certificate that this rests on: that one, one of another authority, or the one that an
    access token is bound to."""
    listed: str = ""
    """By what the list of the other authority that signed that certificate knows it. Empty: it has no list."""
    mapping: str = ""
    """Which certificate subject mapping decided, as it was then: `<id> <when it was last changed>`."""
    issuer: str = ""
    """The provider that vouches for a person."""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """The request headers that the contract lets change an answer, by name in lower case."""
    request_id: str = ""
    address: str = ""
    """The network address the request came from, when nothing else says who is asking."""

    def as_recorded(self) -> Mapping[str, str | None]:
        """Who it is, as an audit record names it."""
        return {
            "consumer": self.consumer,
            "consumerID": self.consumer_id,
            "flow": self.flow,
            "tenant": self.external_tenant,
            "systemAuth": self.system_auth,
            "certificate": self.shown_certificate or self.certificate or None,
            "mapping": self.mapping or None,
            "issuer": self.issuer or None,
        }

    @property
    def runtime(self) -> RuntimeId | None:
        """The runtime that is asking, when a runtime is."""
        return RuntimeId(self.consumer_id) if self.consumer is Consumer.RUNTIME else None

    def header(self, name: str) -> str:
        """A request header that the contract lets change an answer, or an empty string."""
        return dict(self.headers).get(name, "")

    def require(self, scope: str) -> None:
        """Raises InsufficientScopes when the caller does not have the scope. An empty one is had by everybody."""
        if scope and scope not in self.scopes:
            raise InsufficientScopes(self.scopes, scope)

    def in_tenant(self) -> TenantId:
        """The tenant. Raises TenantNotFound when the one named is unknown, TenantRequired when none was named."""
        if self.tenant is not None:
            return self.tenant
        if self.external_tenant:
            raise TenantNotFound(externalTenant=self.external_tenant)
        raise TenantRequired()
