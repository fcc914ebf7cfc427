"""From what the plane says to what this runtime keeps: a pure function, and the model of what is kept.

Every application the plane names is kept, however many pages it came on: the original agent stopped after the first
page and deleted the rest. An application that cannot be understood does not hold up the others, and what was kept
of it before stays as it was.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha1
from typing import Any, Final, Self
from urllib.parse import urlsplit

_NOT_IN_PATHS: Final = re.compile(r"[^a-z0-9]+")
_SEGMENT_LENGTH: Final = 57
"""Of a name in a gateway path. Source: contract/connector-agent-provisioner.md §C.5."""


@dataclass(frozen=True)
class Basic:
    """User name and password."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class OAuth:
    """Client credentials for a token endpoint."""

    client_id: str
    client_secret: str = field(repr=False)
    url: str


@dataclass(frozen=True)
class CertificateOAuth:
    """A token endpoint that knows its client by certificate (RFC 8705). The PEM text holds the key too."""

    client_id: str
    certificate: str = field(repr=False)
    url: str


Credentials = Basic | OAuth | CertificateOAuth | None

_KINDS: Final[dict[str, type[Basic | OAuth | CertificateOAuth]]] = {
    "basic": Basic,
    "oauth": OAuth,
    "certificate_oauth": CertificateOAuth,
}

Pairs = tuple[tuple[str, str], ...]
"""Names with values, in order; a name may come twice."""


@dataclass(frozen=True)
class Csrf:
    """Where a token against cross-site request forgery is fetched, and with what."""

    url: str
    credentials: Credentials
    """None: those of the service."""
    headers: Pairs = field(repr=False)
    query: Pairs = field(repr=False)


@dataclass(frozen=True)
class Api:
    """One API of an application, reached through the gateway at `path`."""

    id: str
    name: str
    description: str | None
    target_url: str
    path: str
    """`/<application>/<bundle>/<api>`, unique in the runtime and stable while the API exists."""


@dataclass(frozen=True)
class Event:
    """One event definition of an application."""

    id: str
    name: str
    description: str | None


@dataclass(frozen=True)
class Service:
    """One bundle: APIs and events that share credentials."""

    id: str
    name: str
    display_name: str
    description: str | None
    input_schema: str | None
    credentials: Credentials
    headers: Pairs = field(repr=False)
    query: Pairs = field(repr=False)
    csrf: Csrf | None
    apis: tuple[Api, ...]
    events: tuple[Event, ...]


@dataclass(frozen=True)
class Application:
    """What the runtime keeps of one application."""

    id: str
    name: str
    """As received: the plane has normalized it already when this runtime asks for that."""
    description: str | None
    provider: str | None
    client_ids: tuple[str, ...]
    """Common names whose certificates may send events as this application."""
    services: tuple[Service, ...]


@dataclass(frozen=True)
class Configuration:
    """Everything applied, as one value."""

    revision: int
    """Counts the changes since this runtime first synchronized."""
    applications: tuple[Application, ...]

    def stored(self) -> dict[str, Any]:
        """JSON that `restored` reads. It holds secrets."""
        content = asdict(self)
        for application, kept in zip(content["applications"], self.applications, strict=True):
            for stored, service in zip(application["services"], kept.services, strict=True):
                stored["credentials"] = _stored(service.credentials)
                if service.csrf is not None:
                    stored["csrf"]["credentials"] = _stored(service.csrf.credentials)
        return content

    @classmethod
    def restored(cls, content: Mapping[str, Any]) -> Self:
        """The configuration that `stored` wrote. Raises KeyError, TypeError, ValueError when it is another text."""
        return cls(
            revision=int(content["revision"]),
            applications=tuple(_restored_application(application) for application in content["applications"]),
        )


NOTHING: Final = Configuration(revision=0, applications=())
"""What a runtime keeps before its first synchronization."""


@dataclass(frozen=True)
class Reconciled:
    """What is to be applied now, and how it differs from before. All lists hold application names."""

    configuration: Configuration
    applied: tuple[str, ...]
    """New in this runtime."""
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    failed: Mapping[str, str]
    """Why an application could not be taken over. What was kept of it before is kept."""

    @property
    def differs(self) -> bool:
        """Whether anything is to be done."""
        return bool(self.applied or self.changed or self.removed)

    def told(self) -> str:
        """How it differs, for people: `+ billing (2 APIs, 1 event), ~ crm (1 API), - orders`."""
        kept = {application.name: application for application in self.configuration.applications}
        signs = (("+", self.applied), ("~", self.changed))
        lines = [f"{sign} {name}{_offer(kept[name])}" for sign, names in signs for name in names]
        return ", ".join([*lines, *(f"- {name}" for name in self.removed)])


def _offer(application: Application) -> str:
    """How much there is of it, of what there is any."""
    amounts = {
        "API": sum(len(service.apis) for service in application.services),
        "event": sum(len(service.events) for service in application.services),
    }
    said = [f"{amount} {what}{'' if amount == 1 else 's'}" for what, amount in amounts.items() if amount]
    return f" ({', '.join(said)})" if said else ""


def reconcile(fetched: Sequence[Mapping[str, Any]], last: Configuration) -> Reconciled:
    """What this runtime should keep, given all the applications the plane names and what it keeps now.

    `fetched` are `Application` objects of `applicationsForRuntime` with every nested page complete.
    """
    before = {application.id: application for application in last.applications}
    segments = _segments(
        [(_text(application, "id"), str(application.get("name") or "")) for application in fetched],
        {id_: held for id_, application in before.items() if (held := _held(application, 1)) is not None},
    )
    kept: dict[str, Application] = {}
    failed: dict[str, str] = {}
    for application in fetched:
        id_ = _text(application, "id")
        try:
            kept[id_] = _application(application, segments[id_], before.get(id_))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            failed[str(application.get("name") or id_)] = str(error) or type(error).__name__
            if id_ in before:
                kept[id_] = before[id_]
    applied = tuple(new.name for id_, new in kept.items() if id_ not in before)
    changed = tuple(new.name for id_, new in kept.items() if id_ in before and before[id_] != new)
    removed = tuple(old.name for id_, old in before.items() if id_ not in kept)
    differs = bool(applied or changed or removed)
    return Reconciled(
        Configuration(last.revision + differs, tuple(kept[id_] for id_ in sorted(kept))),
        applied,
        changed,
        removed,
        failed,
    )


def normalized(name: str) -> str:
    """A name as a part of a gateway path."""
    return _NOT_IN_PATHS.sub("-", name.lower()).strip("-")[:_SEGMENT_LENGTH].rstrip("-")


def _segments(named: Iterable[tuple[str, str]], held: Mapping[str, str]) -> dict[str, str]:
    """One path segment per id, no two alike. Who has one keeps it while its name still leads to it."""
    wanted = dict(named)
    given = {
        id_: held[id_]
        for id_, name in wanted.items()
        if id_ in held and held[id_] in (normalized(name), _told_apart(name, id_))
    }
    taken = set(given.values())
    for id_ in sorted(wanted.keys() - given.keys()):
        plain = normalized(wanted[id_])
        given[id_] = plain if plain and plain not in taken else _told_apart(wanted[id_], id_)
        taken.add(given[id_])
    return given


def _told_apart(name: str, id_: str) -> str:
    """The name with five digits of its id's SHA-1. Source: contract §C.5, service names."""
    mark = sha1(id_.encode(), usedforsecurity=False).hexdigest()[:5]
    return f"{normalized(name)[: _SEGMENT_LENGTH - 6].rstrip('-')}-{mark}".strip("-")


def _held(application: Application, segment: int) -> str | None:
    """The segment the application has in the paths of its APIs now; None while it has no API."""
    return next((api.path.split("/")[segment] for service in application.services for api in service.apis), None)


def _application(fetched: Mapping[str, Any], segment: str, before: Application | None) -> Application:
    bundles = _page(fetched, "bundles")
    services_before = {service.id: service for service in before.services} if before else {}
    segments = _segments(
        [(_text(bundle, "id"), _text(bundle, "name")) for bundle in bundles],
        {id_: service.apis[0].path.split("/")[2] for id_, service in services_before.items() if service.apis},
    )
    return Application(
        id=_text(fetched, "id"),
        name=_text(fetched, "name"),
        description=fetched.get("description"),
        provider=fetched.get("providerName"),
        client_ids=tuple(sorted(_text(auth, "id") for auth in fetched.get("auths") or ())),
        services=tuple(
            _service(bundle, f"/{segment}/{segments[bundle['id']]}", services_before.get(bundle["id"]))
            for bundle in sorted(bundles, key=lambda bundle: str(bundle["id"]))
        ),
    )


def _service(bundle: Mapping[str, Any], path: str, before: Service | None) -> Service:
    id_, name = _text(bundle, "id"), _text(bundle, "name")
    apis = _page(bundle, "apiDefinitions")
    segments = _segments(
        [(_text(api, "id"), _text(api, "name")) for api in apis],
        {api.id: api.path.split("/")[3] for api in before.apis} if before else {},
    )
    auth = bundle.get("defaultInstanceAuth") or {}
    return Service(
        id=id_,
        name=_told_apart(name, id_),
        display_name=name,
        description=bundle.get("description"),
        input_schema=bundle.get("instanceAuthRequestInputSchema"),
        credentials=_credentials(auth.get("credential")),
        headers=_pairs(auth.get("additionalHeaders")),
        query=_pairs(auth.get("additionalQueryParams")),
        csrf=_csrf((auth.get("requestAuth") or {}).get("csrf")),
        apis=tuple(
            Api(
                id=_text(api, "id"),
                name=_text(api, "name"),
                description=api.get("description"),
                target_url=_url(api),
                path=f"{path}/{segments[api['id']]}",
            )
            for api in sorted(apis, key=lambda api: str(api["id"]))
        ),
        events=tuple(
            Event(_text(event, "id"), _text(event, "name"), event.get("description"))
            for event in sorted(_page(bundle, "eventDefinitions"), key=lambda event: str(event["id"]))
        ),
    )


def _page(of: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    return list((of.get(name) or {}).get("data") or ())


def _text(of: Mapping[str, Any], name: str) -> str:
    value = of.get(name)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} is missing")
    return value


def _url(api: Mapping[str, Any]) -> str:
    url = _text(api, "targetURL")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"API {api.get('name')!r} has no usable targetURL")
    return url


def _pairs(values: Mapping[str, Any] | None) -> Pairs:
    return tuple(
        (name, str(value))
        for name, several in sorted((values or {}).items())
        for value in (several if isinstance(several, list) else [several])
    )


def _credentials(credential: Mapping[str, Any] | None) -> Credentials:
    """Told apart by the fields that are present: a plane need not name the type. Source: contract §C.4."""
    match credential:
        case None:
            return None
        case {"username": str(username), "password": str(password)}:
            return Basic(username, password)
        case {"clientId": str(client_id), "clientSecret": str(secret), "url": str(url)}:
            return OAuth(client_id, secret, url)
        case {"clientId": str(client_id), "certificate": str(certificate), "url": str(url)}:
            return CertificateOAuth(client_id, certificate, url)
    raise ValueError("its credentials are of an unknown kind")


def _csrf(csrf: Mapping[str, Any] | None) -> Csrf | None:
    if not csrf:
        return None
    return Csrf(
        url=_text(csrf, "tokenEndpointURL"),
        credentials=_credentials(csrf.get("credential")),
        headers=_pairs(csrf.get("additionalHeaders")),
        query=_pairs(csrf.get("additionalQueryParams")),
    )


def _stored(credentials: Credentials) -> dict[str, Any] | None:
    if credentials is None:
        return None
    kind = next(name for name, cls in _KINDS.items() if isinstance(credentials, cls))
    return {"kind": kind, **asdict(credentials)}


def _restored(stored: Mapping[str, Any] | None) -> Credentials:
    if stored is None:
        return None
    facts = dict(stored)
    return _KINDS[facts.pop("kind")](**facts)


def _restored_pairs(stored: Iterable[Sequence[str]]) -> Pairs:
    return tuple((name, value) for name, value in stored)


def _restored_application(stored: Mapping[str, Any]) -> Application:
    services = tuple(_restored_service(service) for service in stored["services"])
    return Application(**{**stored, "client_ids": tuple(stored["client_ids"]), "services": services})


def _restored_service(stored: Mapping[str, Any]) -> Service:
    csrf = stored["csrf"]
    return Service(
        **{
            **stored,
            "credentials": _restored(stored["credentials"]),
            "headers": _restored_pairs(stored["headers"]),
            "query": _restored_pairs(stored["query"]),
            "csrf": csrf
            and Csrf(
                csrf["url"],
                _restored(csrf["credentials"]),
                _restored_pairs(csrf["headers"]),
                _restored_pairs(csrf["query"]),
            ),
            "apis": tuple(Api(**api) for api in stored["apis"]),
            "events": tuple(Event(**event) for event in stored["events"]),
        }
    )
