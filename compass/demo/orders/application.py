"""The order service as one process: what it serves, what it does by itself, how it starts and stops."""

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from aiohttp import web

from compass.agent.pair import NotPaired
from compass.demo.orders import runtime_access
from compass.demo.orders.api import OrderApi
from compass.demo.orders.company_ca import server_context
from compass.demo.orders.connection import PlaneConnection
from compass.demo.orders.control import Control
from compass.demo.orders.eventing import Eventing
from compass.demo.orders.notification import WebhookEndpoint
from compass.demo.orders.registration import WEBHOOK_PATH
from compass.demo.orders.store import Store
from compass.errors import Code, CompassError

MAX_BODY_BYTES = 1024 * 1024
STOP_TIMEOUT = timedelta(seconds=2)
"""How long requests in progress may still take when the service stops."""

log = logging.getLogger("orders")


class PortTaken(CompassError):
    """Somebody else listens where this service is registered; another port would make the registration wrong."""

    code = Code.INVALID_OPERATION
    message = "port {port} on 127.0.0.1 is taken by another process; stop it and start again"


@dataclass(frozen=True)
class Settings:
    """How one order service runs."""

    folder: Path
    port: int = 0
    """0: any free port at the first start, the same one ever after."""
    poll_every: timedelta = timedelta(seconds=5)
    """How often the Director is asked for changes that no notification announced."""
    ends_with_stdin: bool = False
    """Stop when standard input ends, that is, when the process that started us is gone."""


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises PortTaken."""
    stop = _stop_signals(ends_with_stdin=settings.ends_with_stdin)  # before anybody can know that we are here
    settings.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    async with Store.open(settings.folder / "orders.sqlite") as store, contextlib.AsyncExitStack() as stack:
        listener = await _listener(store, settings.port)
        base_url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        plane = PlaneConnection(store, settings.folder)
        stack.push_async_callback(plane.close)
        eventing = Eventing(store, plane)
        wake = asyncio.Event()
        webhook = WebhookEndpoint(store, wake.set)

        app = web.Application(client_max_size=MAX_BODY_BYTES)
        OrderApi(store, base_url, wake.set).add_to(app)
        app.router.add_post(WEBHOOK_PATH, webhook.receive)
        public = web.SockSite(await _runner(app, stack), listener, ssl_context=server_context(settings.folder))
        await public.start()

        control = Control(store, plane, eventing, webhook, base_url)
        runner = await _runner(control.app(), stack)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        stack.callback(control.withdraw, settings.folder)
        work = asyncio.create_task(_work(store, plane, eventing, wake, settings.poll_every))
        stack.push_async_callback(_ended, work)
        control.publish_at(settings.folder, port=runner.addresses[0][1])
        log.info("serving at %s", base_url)
        stopping = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait({stopping, work}, return_when=asyncio.FIRST_COMPLETED)
        if work in done:
            work.result()  # the work never ends by itself: this raises what broke it, and the process ends visibly


async def _work(
    store: Store, plane: PlaneConnection, eventing: Eventing, wake: asyncio.Event, poll_every: timedelta
) -> None:
    """What the service does by itself: at once when it heard something, and every so often in any case."""
    steps = (partial(runtime_access.settle, store, plane), plane.renew_in_time, eventing.refresh, eventing.flush)
    while True:
        wake.clear()
        for step in steps:
            try:
                await step()
            except NotPaired:
                continue  # until somebody pairs us there is nothing to do
            except CompassError as problem:
                log.warning("%s", problem)
            except Exception:
                log.exception("a step failed; it is tried again")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(poll_every.total_seconds()):
                await wake.wait()


async def _listener(store: Store, wanted: int) -> socket.socket:
    port = int(await store.setting("port") or wanted)
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as problem:
        listener.close()
        raise PortTaken(port=str(port)) from problem
    await store.remember(port=str(listener.getsockname()[1]))
    return listener


async def _runner(app: web.Application, stack: contextlib.AsyncExitStack) -> web.AppRunner:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=STOP_TIMEOUT.total_seconds())
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    return runner


def _stop_signals(*, ends_with_stdin: bool) -> asyncio.Event:
    """What is set when somebody asks us to stop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if ends_with_stdin:

        def ended() -> None:
            # a byte or the end: nobody ever writes to us
            loop.remove_reader(sys.stdin.fileno())
            stop.set()

        loop.add_reader(sys.stdin.fileno(), ended)
    return stop


async def _ended(work: asyncio.Task[None]) -> None:
    work.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await work
