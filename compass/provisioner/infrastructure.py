"""Where clusters live: what the Provisioner asks of an infrastructure, and the drivers there are.

A driver knows no operation, no tenant and no database. Everything is keyed by the runtime's id, and every call may be
repeated: making a cluster twice makes one, removing it twice is removing it once. A call that raises may or may not
have had its effect; what is true is asked with `observe`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol, runtime_checkable

from compass.errors import Code, CompassError
from compass.ids import RuntimeId


class ProviderUnknown(CompassError):
    """No driver of this plane serves that provider."""

    code = Code.INVALID_DATA
    message = "unknown provider '{provider}': this plane provisions on {known}"


class ClusterForeign(CompassError):
    """Something else stands where the cluster would, and is left alone."""

    code = Code.NOT_UNIQUE
    message = "{place} is taken by something this plane did not make"


class ClusterAbsent(CompassError):
    """There is no cluster of this runtime to do that with."""

    code = Code.NOT_FOUND
    message = "there is no cluster of runtime {runtime}"


@dataclass(frozen=True)
class AgentView:
    """What the agent in a cluster says of itself. It may lie: only the plane's own records say that it is paired."""

    state: str
    """As in its own status, `Synchronized` when all is well."""
    trouble: str | None
    """The kind of its trouble, such as `token_refused`."""
    error: str | None
    version: str | None = None
    """Of the release it is of."""

    @property
    def is_in_sync(self) -> bool:
        """Whether it has taken over what the plane has for it."""
        return self.state == "Synchronized"


@dataclass(frozen=True)
class Absent:
    """There is no such cluster, and nothing of it."""


@dataclass(frozen=True)
class Creating:
    """It is being made, or being removed."""


@dataclass(frozen=True)
class Broken:
    """It cannot become ready any more."""

    why: str


@dataclass(frozen=True)
class Ready:
    """It can be given its configuration."""

    names: tuple[str, ...]
    """The host names and addresses that its event endpoint is reached by."""
    agent: AgentView | None
    """None while no agent is at work."""
    asleep: bool = False
    """It was put to sleep: nothing is at work in it until it is woken up."""


Observed = Absent | Creating | Broken | Ready


@dataclass(frozen=True)
class AgentConfiguration:
    """What an agent needs to pair and to work."""

    runtime: RuntimeId
    tenant: str
    """What clients call the tenant."""
    name: str
    connector_url: str
    token: str = field(repr=False)
    sync_period: timedelta
    plane_ca_pem: str
    """The root that the plane's own certificates lead to."""
    applications_ca_pem: str | None
    """Authorities of applications, besides the system's."""


@dataclass(frozen=True)
class EndpointIdentity:
    """The key and certificate of a cluster's event endpoint."""

    key_pem: str = field(repr=False)
    chain_pem: str


class Infrastructure(Protocol):
    """One kind of place where clusters live."""

    @property
    def pace(self) -> timedelta:
        """How long to wait between two looks at a cluster that is being made or removed."""

    async def create(self, runtime: RuntimeId, wanted: Mapping[str, object]) -> None:
        """Begin to make the cluster. `wanted` is the request's `gardenerConfig`. Raises ClusterForeign."""

    async def observe(self, runtime: RuntimeId) -> Observed:
        """What is true now."""

    async def identify(self, runtime: RuntimeId, identity: EndpointIdentity) -> None:
        """Give the cluster the identity of its event endpoint, in place of an earlier one. Raises ClusterAbsent."""

    async def connect(self, runtime: RuntimeId, configuration: AgentConfiguration) -> None:
        """Give the agent its configuration, in place of an earlier one, and have it read it: one asleep is woken up.

        Raises ClusterAbsent.
        """

    async def delete(self, runtime: RuntimeId) -> None:
        """Begin to remove the cluster. Also of one that never existed."""

    async def existing(self) -> set[RuntimeId]:
        """All that this plane made here and that is still there, however little is left of it."""

    async def keep(self, runtime: RuntimeId) -> None:
        """Bring back what must always run and died. Does nothing where the infrastructure sees to that itself."""


@runtime_checkable
class Upgrading(Protocol):
    """A driver that can replace what runs in a cluster by the release that is installed now."""

    async def upgrade(self, runtime: RuntimeId, *, once: str) -> None:
        """Begin to replace it: once for each `once`, however often that is asked for. Raises ClusterAbsent."""


@runtime_checkable
class Sleeping(Protocol):
    """A driver whose clusters can be put to sleep: nothing of them runs, and nothing of them is lost."""

    async def sleep(self, runtime: RuntimeId) -> None:
        """Begin to put it to sleep. Raises ClusterAbsent."""

    async def wake(self, runtime: RuntimeId) -> None:
        """Begin to wake it up. Raises ClusterAbsent."""


class Drivers:
    """The drivers of this process, by the provider they serve."""

    def __init__(self, by_provider: Mapping[str, Infrastructure]) -> None:
        self.by_provider = dict(by_provider)

    def of(self, provider: str) -> Infrastructure:
        """Raises ProviderUnknown."""
        driver = self.by_provider.get(provider)
        if driver is None:
            raise ProviderUnknown(provider=provider, known=", ".join(sorted(self.by_provider)))
        return driver
