"""The composition root: the only file that wires the parts together.

One process is the whole plane; any number of them may run on one database, and share nothing else.
"""

import asyncio
import hashlib
import logging
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from importlib import metadata, resources
from pathlib import Path
from typing import Any, Final

import orjson
from cryptography import x509

from compass.access import account
from compass.access.authenticate import Authenticator, Identified
from compass.access.caller import Caller, Consumer, Flow
from compass.access.code_flow import CodeFlow
from compass.access.external import External, Origin, authorities
from compass.access.foreign_revocation import ForeignRevocations
from compass.access.scopes import BY_CONSUMER
from compass.access.sign_on import SignOn
from compass.access.tokens import AccessTokens, Bearer
from compass.api.http import App, Handler, Request, Response, Sent, events, graphql, lookup, metered, patch, post
from compass.api.oauth import Shown, token_endpoint
from compass.api.quota import Kind, Quotas
from compass.api.reception import Patience
from compass.api.request import Endpoint
from compass.api.schema import Surface, require_agreement, surface
from compass.api.tls import Identity, Listener, MutualDoor, TokenDoor
from compass.api.tls import serve as serve_at
from compass.audit.keys import Keys
from compass.audit.record import Done, Log
from compass.audit.seal import Sealer, forget
from compass.connector import anchors, certificate, inventory, one_time_token, pairing
from compass.connector.authority import Authority, Replica
from compass.connector.revocation import Revocations
from compass.connector.revocation_list import RevocationList
from compass.connector.urls import PublicUrls
from compass.connector.use import Uses
from compass.console.app import Console
from compass.console.page import PREFIX as CONSOLE
from compass.console.visit import Facts
from compass.delivery.attempt import RetryRules
from compass.delivery.enqueue import purge as purge_deliveries
from compass.delivery.worker import DeliveryWork
from compass.delivery.worker import Worker as DeliveryWorker
from compass.director import (
    api_definition,
    application,
    application_merge,
    application_operation,
    application_template,
    applied_field,
    assignment_status,
    audit_record,
    automatic_scenario_assignment,
    bundle,
    bundle_instance_auth,
    certificate_subject_mapping,
    change,
    connection_status,
    credential_request,
    document,
    event_definition,
    eventing,
    fetch_request,
    formation,
    formation_assignment,
    formation_constraint,
    formation_status,
    formation_template,
    heartbeat,
    integration_dependency,
    integration_system,
    label,
    label_definition,
    not_offered,
    offered_operation,
    pair_resynchronization,
    pairing_state,
    runtime,
    runtime_context,
    spec,
    spec_revision,
    system_auth,
    system_status,
    tenant,
    tenant_access,
    viewer,
    webhook,
    webhook_delivery,
    webhook_pause,
    webhook_trial,
)
from compass.director import pairing as director_pairing
from compass.director.formation_lifecycle import FormationLifecycle
from compass.director.notifications import Notifications
from compass.errors import Unauthorized
from compass.gauges import Gauges, Requests, Share, counted_errors
from compass.ids import ApplicationId, RuntimeId, SystemAuthId
from compass.operations.worker import OperationWork, Worker
from compass.outbound.door import Door, DoorSettings
from compass.outbox.feed import Feed, Reset, Told
from compass.outbox.relay import Relay, reactions
from compass.postgres import row_security
from compass.postgres.embedded import FolderNotWritable, running
from compass.postgres.migrate import migrate, needed
from compass.postgres.pool import AWAY, Database, Tx
from compass.postgres.queue import WorkSettings
from compass.provisioner import deprovision, hibernate, provision, reconnect, retry, status, supervision, upgrade
from compass.provisioner.drivers.local import Local
from compass.provisioner.infrastructure import Drivers
from compass.provisioner.refusals import wire_extensions
from compass.reads.plan import Lent
from compass.settings import ApplicationSettings, LandscapeSettings, SettingRefused, Settings, TokenSettings
from compass.starting import prepare_process, refuse_unsafe
from compass.vault import Vault

_log = logging.getLogger(__name__)

_TIDY_EVERY_SECONDS: Final = 3600
_READY_KNOWN_SECONDS: Final = 0.2
_KEPT_CONNECTIONS: Final = 2
"""For the Connector's callers with a certificate, in each pool. A renewal takes milliseconds."""
CONNECTOR_NOUNS: Final = (pairing, inventory)
DIRECTOR_NOUNS: Final = (
    tenant,
    tenant_access,
    certificate_subject_mapping,
    integration_dependency,
    not_offered,
    application,
    connection_status,
    application_merge,
    application_template,
    bundle,
    api_definition,
    event_definition,
    spec,
    spec_revision,
    offered_operation,
    fetch_request,
    document,
    bundle_instance_auth,
    runtime,
    runtime_context,
    label,
    applied_field,
    label_definition,
    integration_system,
    system_auth,
    director_pairing,
    pairing_state,
    viewer,
    system_status,
    formation_template,
    formation_constraint,
    formation,
    formation_assignment,
    pair_resynchronization,
    automatic_scenario_assignment,
    eventing,
    webhook,
    webhook_delivery,
    webhook_pause,
    webhook_trial,
    credential_request,
    audit_record,
)
PROVISIONER_NOUNS: Final = (provision, deprovision, reconnect, status, upgrade, hibernate, retry)
PROVISIONER_OPERATIONS: Final = (
    provision.PROVISION,
    deprovision.DEPROVISION,
    reconnect.RECONNECT,
    upgrade.UPGRADE,
    hibernate.HIBERNATE,
    hibernate.WAKE,
    supervision.RENEWAL,
)
OPERATIONS: Final = (*PROVISIONER_OPERATIONS, *application.OPERATIONS)


@dataclass(frozen=True)
class Started:
    """What there is to know about a plane that is up."""

    token_url: str
    mtls_url: str
    ca_fingerprint: str
    """`sha256:…` of the root certificate, of that which signs now when there are two."""
    ca_pem: str
    """The root certificates, which clients trust: one, or two while the authority is being replaced."""
    tenant: str
    """The external id of the tenant that every plane has."""
    admin_client_id: str
    admin_secret: str | None = field(repr=False)
    """Only on the very first start; never to be had again."""
    database: str
    elapsed_seconds: float
    console_link: Callable[[], str] = field(default=lambda: "", repr=False)
    """A URL that signs whoever opens it in at the console, once, as the administrator."""


def connector_surface(parts: Mapping[type, Any]) -> Surface:
    """What `/connector/graphql` offers."""
    return surface(_sdl("connector"), CONNECTOR_NOUNS, parts)


def director_surface(parts: Mapping[type, Any]) -> Surface:
    """What `/director/graphql` offers."""
    return surface(_sdl("director"), DIRECTOR_NOUNS, parts)


def provisioner_surface(parts: Mapping[type, Any]) -> Surface:
    """What `/provisioner/graphql` offers."""
    return surface(_sdl("provisioner"), PROVISIONER_NOUNS, parts)


def _sdl(domain: str) -> str:
    return resources.files(f"compass.{domain}").joinpath("schema.graphql").read_text()


async def serve(settings: Settings, *, ready: Callable[[Started], None]) -> None:
    """Run the plane until cancelled; `ready` is called once it answers.

    Raises CompassError subclasses for what an operator can put right: a taken port, a folder that cannot be written,
    a database that is away or newer, or one of its own that ended.
    """
    began = time.monotonic()
    prepare_process()
    async with plane(settings) as started:
        ready(Started(**{**vars(started), "elapsed_seconds": time.monotonic() - began}))
        await asyncio.get_running_loop().create_future()


@asynccontextmanager
async def outside(settings: Settings) -> AsyncIterator[tuple[Door, SignOn, ForeignRevocations]]:
    """What the settings say of the world: the door to it, who may sign on, others' authorities and what they revoke.

    Nothing is written and nobody is called. Raises SettingRefused, for files that are named there too.
    """
    _refuse_unusable_adapter(settings)
    async with Door(DoorSettings(**vars(settings.outbound))) as door:
        sign_on = SignOn(settings.oidc, door, sources=settings.sources)
        others_pem = authorities(settings.external_certificates, sources=settings.sources)
        yield (
            door,
            sign_on,
            ForeignRevocations(settings.external_certificates, others_pem, door, sources=settings.sources),
        )


@asynccontextmanager
async def plane(settings: Settings) -> AsyncIterator[Started]:
    """The plane, up while the block runs.

    A database of its own is migrated; that of `database.dsn` has to be, by whoever decides when its tables change.
    """
    refuse_unsafe(settings)
    async with AsyncExitStack() as stack:
        errors = stack.enter_context(counted_errors())
        # First: a certificate may be refused, and then nothing was started.
        door, sign_on, foreign = await stack.enter_async_context(outside(settings))
        await foreign.look()  # before anybody can ask
        _make(settings.data_folder)
        vault = Vault.at(settings.data_folder / "vault.keys")
        dsn = settings.database.dsn
        failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if dsn is None:
            dsn = await stack.enter_async_context(running(settings.data_folder / "postgres", failed=failed))
            await migrate(dsn)
        database = await stack.enter_async_context(Database.open(dsn, connections=settings.database.connections))
        async with database.transaction() as tx:
            await row_security.require(tx)
            await tenant.seed(tx)
            authority = await Authority.open(tx, vault, settings.authority)
            tokens = await AccessTokens.open(tx, vault)
            log = Log(await Keys.open(tx, vault))
            shown = await certificate.issue_server(tx, authority, names=settings.listen.public_names)
        # Connections of their own: whoever renews or revokes a certificate waits for nobody's queries, nor does the
        # count of what is revoked.
        kept = await stack.enter_async_context(Database.open(dsn, connections=_KEPT_CONNECTIONS))
        revocations = await stack.enter_async_context(Revocations.watching(database, counted_by=kept))
        listeners = Listeners(database, authority, settings, shown, foreign.authorities_pem)
        doors = listeners.doors
        answered = Requests()
        token_app, mtls_app = App(answered), App(answered)
        listen = settings.listen
        token_url, token_port = await _open(
            stack, settings, token_app, doors[0], listen.token_port, listen.public_token_url
        )
        mtls_url, mtls_port = await _open(stack, settings, mtls_app, doors[1], listen.mtls_port, listen.public_mtls_url)
        urls = PublicUrls(token_port=token_url, mtls_port=mtls_url, legacy=listen.public_legacy_url)
        parts: dict[type, Any] = {
            Database: database,
            Vault: vault,
            Authority: authority,
            PublicUrls: urls,
            TokenSettings: settings.tokens,
            ApplicationSettings: settings.applications,
            LandscapeSettings: settings.landscape,
            Lent: Lent(hidden_applications=settings.landscape.hidden_labels() or None),
            Door: door,
            Settings: settings,
            ForeignRevocations: foreign,
            Log: log,
        }
        director, connector = director_surface(parts), connector_surface(parts)
        async with database.transaction() as tx:
            plane_name = await supervision.identity(tx)
        drivers = Drivers({"local": Local(settings.data_folder / "runtimes", plane=plane_name)})
        receivers = application_operation.Receivers(vault, door, source=urls.token_port, settings=settings.applications)
        steps: dict[type, Any] = {**parts, Drivers: drivers, application_operation.Receivers: receivers}
        provisioner = provisioner_surface(steps)
        for offered in (director, connector, provisioner):
            require_agreement(offered)
        external = External(database, settings.external_certificates, sources=settings.sources)
        authenticator = Authenticator(
            database, tokens, revocations, external=external, foreign=foreign, sign_on=sign_on
        )
        uses = Uses()
        origin = Origin(lambda: authority.issuing_pem, foreign)
        callers = Callers(database, authenticator, uses, origin, log)
        quotas = Quotas(settings.limits, connections=settings.database.connections)
        knowing = Authenticator(kept, tokens, revocations, external=external, sign_on=sign_on)
        renewing = Callers(kept, knowing, uses, origin, log)
        person, paired = metered(quotas, callers.person), metered(quotas, callers.paired)
        following = [metered(quotas, who, Kind.STREAM) for who in (callers.person, callers.paired)]
        revoked = RevocationList(database, authority, revocations)
        handed_out = anchors.Anchors(database, authority)
        beats = heartbeat.Heartbeats(settings.heartbeat)
        feed = Feed(database, address=change.Changes(database).address, ended=authenticator.ended)
        limit = settings.limits.max_request_bytes
        facts = Facts(
            urls.token_port,
            lambda: _fingerprint(authority.root_pem),
            anchor=lambda: authority.root_pem,
            tenant=tenant.DEFAULT_EXTERNAL_ID,
            provider=_provider(settings, door, sign_on, urls.token_port),
        )
        console = Console(token_app, facts)
        token_app.mount(CONSOLE, console)
        token_app.open(
            {
                "/director/graphql": graphql(Endpoint(director, database, quotas=quotas), person, max_body_bytes=limit),
                "/connector/graphql": graphql(
                    Endpoint(connector, database, quotas=quotas),
                    metered(quotas, callers.pairing),
                    max_body_bytes=limit,
                ),
                "/provisioner/graphql": graphql(
                    Endpoint(provisioner, database, extend=wire_extensions, quotas=quotas),
                    person,
                    max_body_bytes=limit,
                ),
                "/oauth2/token": token_endpoint(authenticator, quotas),
                "/ca.pem": _now(lambda: authority.roots_pem, "application/x-pem-file"),
                "/issuing.pem": _now(lambda: authority.issuing_pem, "application/x-pem-file"),
                anchors.PATH: _trust(handed_out),
                "/crl.der": _made(revoked.der, "application/pkix-crl"),
                "/crl.pem": _made(revoked.pem, "application/x-pem-file"),
                "/healthz": _fixed(b"ok", "text/plain"),
                "/livez": _fixed(b"ok", "text/plain"),
                "/readyz": _readiness(database),
                **dict.fromkeys(
                    ("/v1/info", "/director/v1/info"),
                    _now(lambda: orjson.dumps(_info(authority)).decode(), "application/json"),
                ),
                **_status(database, log, person),
                **_last_operation(database, person),
                change.PATH: events(_followed(feed), following[0]),
            }
        )
        mtls_app.open(
            {
                "/director/graphql": graphql(Endpoint(director, database, quotas=quotas), paired, max_body_bytes=limit),
                "/connector/graphql": graphql(
                    Endpoint(connector, kept, quotas=quotas, kind=Kind.RENEWAL),
                    metered(quotas, renewing.renewing, Kind.RENEWAL),
                    max_body_bytes=limit,
                ),
                "/oauth2/token": token_endpoint(authenticator, quotas, callers.shown),
                "/healthz": _fixed(b"ok", "text/plain"),
                anchors.PATH: _trust(handed_out),
                heartbeat.PATH: post(_beating(beats, callers), max_body_bytes=heartbeat.MOST_BYTES),
                **_status(database, log, paired),
                **_last_operation(database, paired),
                change.PATH: events(_followed(feed), following[1]),
            }
        )
        told = (Notifications(urls.token_port), FormationLifecycle(urls.token_port))
        relay = Relay(database, reactions(*(pair for who in told for pair in who.reactions())))
        deliveries, operations = _deliveries(database, vault, door, settings), _operations(database, steps, settings)
        gauges = Gauges(
            release=metadata.version("compass-plane"),
            requests=answered,
            errors=errors,
            followers=lambda: feed.followers,
            feed_behind=lambda: feed.behind_seconds,
            shares=lambda: {
                # Each port has its own limit.
                "connections": Share(
                    token_port.connections() + mtls_port.connections(), 2 * settings.limits.connections
                ),
                "deliveries": deliveries.seats,
                "operations": operations.seats,
                **database.in_use(),
            },
        )
        work: Sequence[Callable[[], Coroutine[Any, Any, None]]] = (
            relay.run,
            feed.run,
            lambda: deliveries.run(asyncio.Event()),
            listeners.run,
            Replica(database, authority, taken_over=listeners.take_over, gauges=gauges.read).run,
            sign_on.run,
            foreign.run,
            lambda: _tidy(database, relay, log, settings),
            Sealer(database, log.keys, settings.data_folder).run,
            lambda: uses.run(database),
            lambda: beats.run(database),
            lambda: operations.run(asyncio.Event()),
            offered_operation.Index(database, settings.definitions).run,
            supervision.Supervision(database, drivers).run,
            lambda: _wait(failed),
        )
        async with _working(work):
            # Last: the secret is shown once, so it must not be made by a start that then fails.
            async with database.transaction() as tx:
                secret = await account.first(tx)
                if secret is not None:
                    await log.record(tx, account.made())
            yield Started(
                token_url=urls.token_port,
                mtls_url=urls.mtls_port,
                ca_fingerprint=_fingerprint(authority.root_pem),
                ca_pem=authority.roots_pem,
                tenant=tenant.DEFAULT_EXTERNAL_ID,
                admin_client_id=account.ADMINISTRATOR,
                admin_secret=secret,
                database="PostgreSQL of its own" if settings.database.dsn is None else "PostgreSQL",
                elapsed_seconds=0.0,
                console_link=lambda: urls.token_port + console.link(_administrator(tokens), tenant.DEFAULT_EXTERNAL_ID),
            )


def _provider(settings: Settings, door: Door, sign_on: SignOn, token_url: str) -> CodeFlow | None:
    """Where people sign in at the console who have no link."""
    if settings.oidc.client_id is None:
        return None
    return CodeFlow(settings.oidc, door, sign_on, redirect_uri=f"{token_url}{CONSOLE}/sign-in/callback")


def _fingerprint(pem: str) -> str:
    return f"sha256:{hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()}"


def _administrator(tokens: AccessTokens) -> str:
    """An access token of the administrator, for whoever started the plane and so has its keys anyway."""
    return tokens.issue(Bearer(account.ADMINISTRATOR, is_account=True, scopes=BY_CONSUMER[Consumer.STATIC_USER]))


def _operations(database: Database, steps: Mapping[type, Any], settings: Settings) -> Worker:
    """The one worker of this process for all kinds of operations: it claims whatever is due."""
    chosen = settings.provisioner
    # Short, for a plane that was killed: its operations go on this long after it is back. A lease lost without need
    # costs nothing, every step may be repeated.
    seats = chosen.concurrent_operations + settings.applications.concurrent_operations
    taken = WorkSettings(concurrency=seats, lease=timedelta(seconds=5))
    work = OperationWork(first_retry_after=chosen.step_retry_after, work=taken)
    return Worker(database, kinds=OPERATIONS, parts=steps, settings=work)


def _deliveries(database: Database, vault: Vault, door: Door, settings: Settings) -> DeliveryWorker:
    """What calls the webhooks that are owed a notification."""
    chosen, calls = settings.delivery, webhook_delivery.Calls(vault, door)
    work = DeliveryWork(
        attempt_timeout=chosen.attempt_timeout,
        retry=RetryRules(
            base=chosen.first_retry_after,
            cap=chosen.retry_at_most_every,
            give_up_after=chosen.give_up_after,
        ),
        # Short, as for operations: what a killed plane was sending waits this long, and all that follows it in order.
        work=WorkSettings(concurrency=chosen.concurrent_attempts, lease=timedelta(seconds=5)),
    )
    return DeliveryWorker(
        database, door, prepare=calls.prepare, judge=calls.judge, finished=calls.finished, settings=work
    )


def _refuse_unusable_adapter(settings: Settings) -> None:
    adapter = runtime.adapter_webhook(settings.landscape)
    problem = adapter and adapter.problems().get("reason")
    if problem:
        source = settings.sources.get("landscape.kyma_adapter_url_template", "default")
        raise SettingRefused(setting="landscape.kyma_adapter_url_template", source=source, reason=problem)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise FolderNotWritable(folder=str(folder), why=error.strerror or "unknown") from error


async def _open(
    stack: AsyncExitStack, settings: Settings, app: App, context: ssl.SSLContext, port: int, public_url: str | None
) -> tuple[str, Listener]:
    """Listen, and say under which URL others reach it."""
    limits = settings.limits
    patience = Patience(connections=limits.connections, address_connections=limits.address_connections)
    listener = await stack.enter_async_context(
        serve_at(app, host=settings.listen.host, port=port, context=context, patience=patience)
    )
    if public_url is not None:
        return public_url.rstrip("/"), listener
    name = settings.listen.public_names[0]
    return f"https://{f'[{name}]' if ':' in name else name}:{listener.port}", listener


@asynccontextmanager
async def _working(work: Sequence[Callable[[], Coroutine[Any, Any, None]]]) -> AsyncIterator[None]:
    """Background work while the block runs. When one part of it ends by itself, that is an error of the whole plane."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(part()) for part in work]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
    except BaseExceptionGroup as several:
        # What went wrong, as itself: the command line knows what to say of it.
        if len(several.exceptions) == 1:
            raise several.exceptions[0] from None
        raise


async def _wait(failed: asyncio.Future[None]) -> None:
    """Raise what `failed` is told: without a database of its own there is nothing that the plane could come back to."""
    await failed


async def _tidy(database: Database, relay: Relay, log: Log, settings: Settings) -> None:
    """Forget, every hour, what is long over: events, deliveries, replaced one-time tokens and old audit records."""
    while True:
        await asyncio.sleep(_TIDY_EVERY_SECONDS)
        try:
            await relay.purge()
            while await database.run(purge_deliveries):
                pass
            await database.run(one_time_token.forget_replaced)
            while await database.run(lambda tx: forget(tx, log.keys, settings.audit.keep_for)):
                pass
        except AWAY as error:
            _log.warning("what is old was not forgotten, the next hour tries again: %s", type(error).__name__)


class Listeners:
    """What the two ports show of the plane and whose certificates they take; both change while connections are open."""

    def __init__(
        self,
        database: Database,
        authority: Authority,
        settings: Settings,
        shown: certificate.ServerIdentity,
        others_pem: str,
    ) -> None:
        self._database = database
        self._authority = authority
        self._names = settings.listen.public_names
        self._shown = shown
        self._others_pem = others_pem
        identity = Identity(shown.chain_pem, shown.key_pem)
        self.doors = (TokenDoor(identity), MutualDoor(identity, authorities_pem=self._believed()))

    def _believed(self) -> str:
        return self._authority.issuing_pem + self._others_pem

    async def run(self) -> None:
        """Exchange the certificate long before it ends, for ever, without a connection being lost."""
        while True:
            await asyncio.sleep(max(60.0, (self._shown.renew_at - datetime.now(UTC)).total_seconds()))
            try:
                await self._renew()
            except Exception:  # noqa: BLE001  # a third of its life is left, and a database that is away comes back
                _log.exception("the listeners' certificate could not be renewed; tried again in a minute")

    async def take_over(self) -> None:
        """Take clients of the authorities that are trusted now, and show a certificate of the one that signs."""
        self._exchange()
        issuer = self._authority.issuer
        if (self._shown.signed_by, self._shown.cross_pem) != (issuer.serial, issuer.cross_pem):
            await self._renew()

    async def _renew(self) -> None:
        async with self._database.transaction() as tx:
            self._shown = await certificate.issue_server(tx, self._authority, names=self._names)
        self._exchange()

    def _exchange(self) -> None:
        identity = Identity(self._shown.chain_pem, self._shown.key_pem)
        self.doors[0].exchange(identity)
        self.doors[1].exchange(identity, authorities_pem=self._believed())


class Callers:
    """Who is asking, per listener and endpoint."""

    def __init__(self, database: Database, authenticator: Authenticator, uses: Uses, origin: Origin, log: Log) -> None:
        self._database = database
        self._log = log
        self._authenticator = authenticator
        self._uses = uses
        self._origin = origin

    async def person(self, request: Request) -> Caller:
        """On the token port: whoever has an access token."""
        shown = self.shown(request)
        identified = await self._authenticator.by_token(request.headers, request.request_id, shown.fingerprint)
        return await self._noted(identified, listed=shown.listed)

    async def paired(self, request: Request) -> Caller:
        """On the mTLS port: whoever holds the certificate, of whichever authority. The Director notes that it is
        connected. An access token that is bound to a certificate decides instead; any other one is nothing here.
        """
        if self._authenticator.is_bound(request.headers):
            return await self.person(request)
        if request.peer_der is not None and not self._origin.is_ours(request.peer_der):
            shown = self.shown(request)
            identified = await self._authenticator.by_mapping(
                request.peer_der, shown.fingerprint, request.headers, request.request_id
            )
            return await self._noted(identified, listed=shown.listed)
        return await self._noted(await self._certified(request))

    def shown(self, request: Request) -> Shown:
        """The certificate of the request's connection."""
        der = request.peer_der
        if der is None:
            return Shown()
        if self._origin.is_ours(der):
            return Shown(certificate.fingerprint(der), certificate.common_name(der) or "")
        return Shown(certificate.fingerprint(der), listed=self._origin.mark(der))

    async def renewing(self, request: Request) -> Caller:
        """The Connector on the mTLS port: the certificate, unless a one-time token is shown too."""
        if _token_of(request):
            return await self.pairing(request)
        return (await self._certified(request)).caller

    async def pairing(self, request: Request) -> Caller:
        """The Connector on the token port: a one-time token, or an administrator's access token.

        The token is looked at here and spent by what it is used for. Raises NotPaired for anything else.
        """
        token = _token_of(request)
        if not token:
            if "authorization" in request.headers:
                return (await self._authenticator.by_token(request.headers, request.request_id)).caller
            return Caller(
                Consumer.STATIC_USER,
                "",
                Flow.ONE_TIME_TOKEN,
                frozenset(),
                None,
                request_id=request.request_id,
                address=request.address,
            )
        return Caller(
            Consumer.APPLICATION,
            "",
            Flow.ONE_TIME_TOKEN,
            frozenset(),
            None,
            headers=((pairing.TOKEN_HEADER, token), (pairing.KEY_HEADER, request.headers.get(pairing.KEY_HEADER, ""))),
            request_id=request.request_id,
            address=request.address,
        )

    async def _certified(self, request: Request) -> Identified:
        if request.peer_der is None or not self._origin.is_ours(request.peer_der):
            raise Unauthorized(reason="a client certificate of this plane is required")
        name, fingerprint = certificate.common_name(request.peer_der) or "", certificate.fingerprint(request.peer_der)
        identified = await self._authenticator.by_certificate(name, fingerprint, request.headers, request.request_id)
        self._uses.note(fingerprint)
        return identified

    async def _noted(self, identified: Identified, *, listed: str = "") -> Caller:
        """Note the first call a client makes by itself. A failure to note it never stops the call."""
        caller = replace(identified.caller, listed=listed) if listed else identified.caller
        if not identified.noted:

            async def note(tx: Tx) -> None:
                if caller.system_auth is not None and caller.flow is Flow.CERTIFICATE:
                    await system_auth.note_paired(tx, caller.system_auth)
                if caller.consumer is Consumer.APPLICATION:
                    await application.connect(tx, ApplicationId(caller.consumer_id))
                elif caller.consumer is Consumer.RUNTIME:
                    await runtime.connect(tx, RuntimeId(caller.consumer_id))
                await self._log.record(
                    tx, Done("connect", caller.as_recorded(), caller.tenant, caller.request_id, arguments={})
                )

            try:
                await self._database.run(note)
            except Exception:  # noqa: BLE001  # whatever it is: it is logged, and the call itself must go on
                _log.exception("could not note that %s %s is connected", caller.consumer, caller.consumer_id)
        return caller


def _status(database: Database, log: Log, identify: Callable[[Request], Awaitable[Caller]]) -> dict[str, Handler]:
    """Where participants of groups and leading products report. Gateways of the original put `/director` before it."""
    group = "/v1/businessIntegrations/{ucl-formation-id}"
    pair = f"{group}/assignments/{{ucl-assignment-id}}"
    reports = assignment_status.Reports(database, log)
    return {
        f"{prefix}{path}": patch(change, identify, max_body_bytes=assignment_status.MOST_BYTES)
        for prefix in ("", "/director")
        for path, change in (
            (f"{pair}/status", reports.report),
            (f"{pair}/status/reset", reports.reset),
            (f"{group}/status", formation_status.Reports(database, log).report),
        )
    }


def _last_operation(database: Database, identify: Callable[[Request], Awaitable[Caller]]) -> dict[str, Handler]:
    """How far operations in the background are. Published at either path, as `_status`."""
    handler = lookup(application_operation.LastOperations(database).look_up, identify)
    return {f"{prefix}{application_operation.PATH}": handler for prefix in ("", "/director")}


def _beating(beats: heartbeat.Heartbeats, callers: Callers) -> Callable[[Request, bytes], Mapping[str, Any]]:
    """Heartbeats of whoever shows a certificate of ours. Whose it is, and whether it is revoked, writing finds out."""

    def beat(request: Request, body: bytes) -> Mapping[str, Any]:
        shown = callers.shown(request)
        if not shown.common_name:
            raise Unauthorized(reason="a client certificate of this plane is required")
        return beats.note(shown.fingerprint, body)

    return beat


def _followed(feed: Feed) -> Callable[[Caller, str | None], AsyncGenerator[Sent | None, None]]:
    """The change feed as events of a stream."""

    async def follow(caller: Caller, after: str | None) -> AsyncGenerator[Sent | None, None]:
        async with aclosing(feed.follow(change.follower(caller), after)) as told:
            async for one in told:
                match one:
                    case None:
                        yield None
                    case Reset():
                        yield Sent(str(one.position), "reset", orjson.dumps({"id": str(one.position), "type": "reset"}))
                    case Told():
                        yield Sent(str(one.position), one.name, one.data)

    return follow


def _token_of(request: Request) -> str:
    return request.headers.get(pairing.TOKEN_HEADER) or request.query.get("token", [""])[-1]


def _fixed(body: bytes, content_type: str) -> Handler:
    async def known() -> bytes:
        return body

    return _made(known, content_type)


def _now(text: Callable[[], str], content_type: str) -> Handler:
    async def known() -> bytes:
        return text().encode()

    return _made(known, content_type)


def _trust(handed_out: anchors.Anchors) -> Handler:
    """The authorities to trust; nothing when the client says that it keeps just these."""

    async def answer(request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            return Response(b"", 405, headers={"allow": "GET, HEAD"})
        kept, headers = request.headers.get("if-none-match", ""), {"etag": handed_out.version}
        if request.peer_der is not None:
            await handed_out.kept(request.peer_der, kept)
        if kept == handed_out.version:
            return Response(b"", 304, headers=headers)
        return Response(handed_out.document(), headers=headers)

    return answer


def _made(body: Callable[[], Awaitable[bytes]], content_type: str) -> Handler:
    async def answer(request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            return Response(b"", 405, content_type, {"allow": "GET, HEAD"})
        return Response(await body(), content_type=content_type)

    return answer


READY = """
-- app.ready
SELECT EXISTS (SELECT FROM migration WHERE name = $1)
"""


def _readiness(database: Database) -> Handler:
    """Ready while the database answers and has what this release needs. Source: contract/director.md §1.1."""
    wanted = needed()

    asking = asyncio.Lock()
    known: tuple[float, Response] | None = None

    async def answer(_request: Request) -> Response:
        nonlocal known
        # Anybody may ask, as often as they like: the database is asked a few times a second at most.
        async with asking:
            if known is None or time.monotonic() - known[0] > _READY_KNOWN_SECONDS:
                response = await asked()
                known = time.monotonic(), response
            return known[1]

    async def asked() -> Response:
        try:
            async with asyncio.timeout(2):
                is_migrated = (await database.read(READY, [wanted]))[0]
        except Exception as error:  # noqa: BLE001  # whatever the reason: not ready
            return Response(f"the database does not answer: {type(error).__name__}".encode(), 503, "text/plain")
        if not is_migrated:
            return Response(f"the database misses the migration {wanted}".encode(), 503, "text/plain")
        return Response(b"ok", content_type="text/plain")

    return answer


def _info(authority: Authority) -> dict[str, str]:
    return {
        "certIssuer": x509.load_pem_x509_certificate(authority.ca_pem.encode()).subject.rfc4514_string(),
        "certSubject": authority.subject_for(SystemAuthId("*")),
        "rootCA": authority.roots_pem,
        "ordAggregatorVersion": "",
    }
