"""A folder as the Provisioner prepares it, a runtime in this process, and an application that checks who calls."""

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from compass.runtime.gateway import GatewaySettings
from compass.runtime.process import LocalRuntime
from tests.agent.plane import RUNTIME, TENANT, Authority, FakePlane, api, application, bundle


def prepared(folder: Path, plane: FakePlane, *, client_id: str = "runtime-client") -> Path:
    """What the Provisioner's local driver writes."""
    folder.mkdir(mode=0o700)
    told = {
        "connector_url": plane.connector_url,
        "token": plane.new_token(client_id),
        "runtime_id": RUNTIME,
        "tenant": TENANT,
        "sync_period_seconds": 0.1,
        "name": "edge",
    }
    (folder / "configuration.json").write_text(json.dumps(told))
    (folder / "plane_ca.pem").write_text(plane.authority.pem)
    plane.authority.write_server(folder / "server.crt", folder / "server.key")
    return folder


def status(folder: Path) -> dict[str, Any]:
    """`status.json`, or nothing while there is none."""
    try:
        found: dict[str, Any] = json.loads((folder / "status.json").read_bytes())
    except FileNotFoundError:
        return {}
    return found


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait for it."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def offered(plane: FakePlane, url: str, auth: dict[str, Any] | None) -> None:
    """The plane offers one application with one API at that address."""
    plane.applications = [application("a1", "mp-orders", bundle("b1", "Sales", auth, [api("i1", "Orders", url)]))]


def called(folder: Path, rest: str = "") -> str:
    """Where the gateway of this folder serves that API."""
    return f"{status(folder)['gateway_url']}/mp-orders/sales/orders{rest}"


@asynccontextmanager
async def running(
    folder: Path, settings: GatewaySettings | None = None, state: str | None = "Synchronized"
) -> AsyncIterator[LocalRuntime]:
    """A runtime of this folder in this process, once it is in that state."""
    runtime = LocalRuntime(folder, settings or GatewaySettings())
    stop = asyncio.Event()
    serving = asyncio.ensure_future(runtime.serve(stop))
    try:
        await until(lambda: serving.done() or (bool(status(folder)) and state in (None, status(folder)["state"])))
        yield runtime
    finally:
        stop.set()
        await serving


class FakeApplication:
    """An HTTPS service with Basic, OAuth and forgery protection, that records calls and misbehaves on request."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority("Application Authority")
        self.folder = folder
        self.calls: list[dict[str, Any]] = []
        self.tokens_issued = 0
        self.valid_tokens: set[str] = set()
        self.csrf_issued = 0
        self.valid_csrf: set[str] = set()
        self.token_answer: dict[str, Any] | None = None
        self.token_clients: list[str | None] = []
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def start(self) -> None:
        """Listen."""
        served = web.Application(client_max_size=0)
        served.router.add_post("/token", self._token)
        served.router.add_get("/csrf", self._csrf)
        served.router.add_route("*", "/slow", self._slow)
        served.router.add_route("*", "/reset", self._reset)
        served.router.add_route("*", "/half", self._half)
        served.router.add_route("*", "/long", self._long)
        served.router.add_route("*", "/{guard}/{rest:.*}", self._api)
        self._runner = web.AppRunner(served, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        certificate, key = self.folder / "application.crt", self.folder / "application.key"
        self.authority.write_server(certificate, key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        context.load_verify_locations(cadata=self.authority.pem)
        context.verify_mode = ssl.CERT_OPTIONAL
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=context).start()
        self.url = f"https://localhost:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Gone."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _api(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.calls.append(
            {
                "method": request.method,
                "path": request.rel_url.raw_path_qs,
                "headers": request.headers,
                "body": body,
            }
        )
        authorization = request.headers.get("Authorization", "")
        allowed = {
            "open": True,
            "basic": authorization == "Basic " + base64.b64encode(b"shop:s3cret").decode(),
            "oauth": authorization.removeprefix("Bearer ") in self.valid_tokens,
            "csrf": request.headers.get("X-CSRF-Token") in self.valid_csrf
            and request.headers.get("Cookie", "").endswith("session=7"),
        }[request.match_info["guard"]]
        if not allowed and request.match_info["guard"] == "csrf":
            return web.Response(status=403, headers={"X-CSRF-Token": "Required"})
        if not allowed:
            return web.Response(status=401)
        response = web.Response(body=body or b'{"orders": []}', status=201 if body else 200)
        response.headers.update({"X-From": "orders", "Keep-Alive": "timeout=5", "Connection": "X-Private, keep-alive"})
        response.headers["X-Private"] = "1"
        response.headers.add("Set-Cookie", "a=1")
        response.headers.add("Set-Cookie", "b=2")
        return response

    async def _token(self, request: web.Request) -> web.Response:
        form = await request.post()
        certificate = request.get_extra_info("peercert")
        known = {"Basic " + base64.b64encode(b"oauth-id:oauth-secret").decode()}
        by_certificate = certificate is not None and form.get("client_id") == "oauth-id"
        authorized = request.headers.get("Authorization") in known or by_certificate
        if form.get("grant_type") != "client_credentials" or not authorized:
            return web.json_response({"error": "invalid_client"}, status=401)
        self.token_clients.append("certificate" if by_certificate else "secret")
        self.tokens_issued += 1
        token = f"token-{self.tokens_issued}"
        self.valid_tokens.add(token)
        return web.json_response(self.token_answer or {"access_token": token, "expires_in": 3600})

    async def _csrf(self, request: web.Request) -> web.Response:
        if request.headers.get("X-CSRF-Token") != "fetch" or "Authorization" not in request.headers:
            return web.Response(status=400)
        self.csrf_issued += 1
        token = f"csrf-{self.csrf_issued}"
        self.valid_csrf.add(token)
        response = web.Response(headers={"X-CSRF-Token": token})
        response.set_cookie("session", "7")
        return response

    async def _slow(self, _: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    async def _reset(self, request: web.Request) -> web.Response:
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    async def _half(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100000"})
        await response.prepare(request)
        await response.write(b"x" * 1000)
        if request.transport is not None:
            request.transport.abort()
        return response

    async def _long(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(64):
            await response.write(b"x" * 65536)
        return response


@asynccontextmanager
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A plain client, as something that runs in the runtime would be."""
    async with aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(total=20)
    ) as session:
        yield session
