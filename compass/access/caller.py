"""Who is asking: the one value that every read and command is decided by."""

from dataclasses import dataclass
from enum import StrEnum

from compass.errors import InsufficientScopes, TenantNotFound, TenantRequired
from compass.ids import RuntimeId, SystemAuthId, TenantId


class Consumer(StrEnum):
    """The kinds of caller, in the spelling of the wire. Source: contract/director.md §2."""

    APPLICATION = "Application"
    RUNTIME = "Runtime"
    INTEGRATION_SYSTEM = "Integration System"
    STATIC_USER = "Static User"


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
    """The fingerprint of the client certificate, when there is one."""
    headers: tuple[tuple[str, str], ...] = ()
    """The request headers that the contract lets change an answer, by name in lower case."""
    request_id: str = ""

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
