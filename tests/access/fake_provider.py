"""An OpenID provider that can misbehave: a real HTTPS server on loopback, and the tokens it signs."""

import asyncio
import base64
import contextlib
import hashlib
import os
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import orjson
from joserfc import jws
from joserfc.jwk import ECKey, RSAKey

from tests.outbound.hostile import Authority, server_context

AUDIENCE = "compass"
SECRET = "s3cret/with+signs"
TOKEN = "/token"
REVOKE = "/revoke"
LEAVE = "/leave"
DISCOVERY = "/realm/.well-known/openid-configuration"
KEYS = "/keys"
RSA, EC = RSAKey.generate_key(2048), ECKey.generate_key("P-256")
OTHER_RSA, OTHER_EC = RSAKey.generate_key(2048), ECKey.generate_key("P-256")


def published(key: RSAKey | ECKey, kid: str | None, **more: Any) -> dict[str, Any]:
    """The key as a provider lists it."""
    return {**key.as_dict(private=False), **({} if kid is None else {"kid": kid}), **more}


@dataclass
class FakeProvider:
    """What it answers, which a test may change at any time, and what it was asked."""

    ca_file: Path
    port: int = 0
    keys: list[dict[str, Any]] = field(default_factory=lambda: [published(RSA, "rsa"), published(EC, "ec")])
    answers: dict[str, bytes] = field(default_factory=dict)
    """By path, whole responses as they go over the wire, instead of the usual ones."""
    hangs: bool = False
    asked: list[str] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    """Beside the usual, in its discovery document."""
    bends: dict[str, Any] = field(default_factory=dict)
    """Claims of the tokens for codes that are not as they should be."""
    access: dict[str, Any] | None = None
    """Claims of an access token that the plane can read; without, it is one that only the provider can."""
    forms: list[dict[str, str]] = field(default_factory=list)
    """With which its token endpoint was asked."""
    gives_refresh_tokens: bool = False
    """With every token, each good once: with the next one it is over."""
    renews: dict[str, Any] = field(default_factory=dict)
    """Claims of renewed tokens that are not as they should be."""
    answers_without: frozenset[str] = frozenset()
    """What is left out of its answers to refresh tokens, such as `id_token`."""
    revoked: list[dict[str, str]] = field(default_factory=list)
    """With which its revocation endpoint was asked."""
    left: list[dict[str, str]] = field(default_factory=list)
    """With which browsers came to be signed out."""
    slow_seconds: float = 0.0
    """Before its token endpoint answers."""
    _people: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Who may come with which refresh token: claims of the first ID token."""
    _codes: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def issuer(self) -> str:
        return f"https://127.0.0.1:{self.port}/realm"

    def may_be_left(self) -> None:
        """From now on it says that it revokes tokens, and where browsers are signed out."""
        here = f"https://127.0.0.1:{self.port}"
        self.metadata |= {"revocation_endpoint": f"{here}{REVOKE}", "end_session_endpoint": f"{here}{LEAVE}?realm=r"}

    def response(self, path: str, body: bytes = b"") -> bytes:
        if path in self.answers:
            return self.answers[path]
        if path == DISCOVERY:
            here = f"https://127.0.0.1:{self.port}"
            usual = {
                "issuer": self.issuer,
                "jwks_uri": f"{here}{KEYS}",
                "authorization_endpoint": f"{here}/authorize",
                "token_endpoint": f"{here}{TOKEN}",
            }
            return answer({**usual, **self.metadata})
        if path.startswith("/authorize?"):
            # Whoever comes is known here, and goes back at once.
            url = f"https://127.0.0.1:{self.port}{path}"
            back = dict(parse_qsl(urlsplit(url).query))["redirect_uri"]
            return answer({}, "302 Found", f"Location: {back}?{urlencode(self.consent(url))}")
        if path == TOKEN:
            return self._exchange(dict(parse_qsl(body.decode())))
        if path == REVOKE:
            self.revoked.append(dict(parse_qsl(body.decode())))
            return answer({})
        if path.startswith(f"{LEAVE}?"):
            self.left.append(dict(parse_qsl(urlsplit(path).query)))
            back = self.left[-1]["post_logout_redirect_uri"]
            return answer({}, "302 Found", f"Location: {back}")
        return answer({"keys": self.keys}) if path == KEYS else answer({}, "404 Not Found")

    def consent(self, url: str) -> dict[str, str]:
        """What the browser of somebody who signs in there comes back with."""
        asked = dict(parse_qsl(urlsplit(url).query))
        assert url.startswith(f"https://127.0.0.1:{self.port}/authorize?")
        assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
        code = f"code-{len(self._codes)}-{len(self.forms)}"
        self._codes[code] = asked
        return {"code": code, "state": asked["state"], "iss": self.issuer}

    def _exchange(self, form: dict[str, str]) -> bytes:
        self.forms.append(form)
        if form.get("grant_type") == "refresh_token":
            return self._renewed(form)
        asked = self._codes.pop(form.get("code", ""), None)
        verifier = form.get("code_verifier", "").encode()
        if asked is None or part(hashlib.sha256(verifier).digest()) != asked["code_challenge"]:
            return answer({"error": "invalid_grant"}, "400 Bad Request")
        if (form["redirect_uri"], form["client_id"]) != (asked["redirect_uri"], asked["client_id"]):
            return answer({"error": "invalid_grant"}, "400 Bad Request")
        tokens = {"token_type": "Bearer", "access_token": "only-the-provider-can-read-this"}
        if self.access is not None:
            tokens["access_token"] = self.token(**self.access)
        bent = {"aud": asked["client_id"], "nonce": asked["nonce"], **self.bends}
        return answer({**tokens, **self._refresh_token(bent), "id_token": self.token(**bent)})

    def _refresh_token(self, claims: dict[str, Any]) -> dict[str, str]:
        if not self.gives_refresh_tokens:
            return {}
        text = f"refresh-token-{len(self.forms)}-{base64.b64encode(os.urandom(12)).decode()}"
        self._people[text] = claims
        return {"refresh_token": text}

    def _renewed(self, form: dict[str, str]) -> bytes:
        claims = self._people.pop(form.get("refresh_token", ""), None)
        if claims is None or form["client_id"] != claims["aud"]:
            return answer({"error": "invalid_grant"}, "400 Bad Request")
        tokens = {"token_type": "Bearer", "access_token": "only-the-provider-can-read-this"}
        if self.access is not None:
            tokens["access_token"] = self.token(**self.access)
        # It does not say the nonce again. Source: OpenID Connect Core 1.0 §12.2.
        said = {**claims, "nonce": None, **self.renews}
        told = {**tokens, **self._refresh_token(claims), "id_token": self.token(**said)}
        return answer({name: text for name, text in told.items() if name not in self.answers_without})

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Claims of a good token; None takes one away."""
        now = int(time.time())
        usual = {
            "iss": self.issuer, "sub": "ann", "aud": AUDIENCE, "iat": now, "exp": now + 300, "groups": ["people"],
        }  # fmt: skip
        return {name: value for name, value in {**usual, **changes}.items() if value is not None}

    def token(self, *, header: dict[str, Any] | None = None, key: RSAKey | ECKey = RSA, **changes: Any) -> str:
        """A token that the provider signed, and that is good but for the changes."""
        return signed({"alg": "RS256", "kid": "rsa", **(header or {})}, orjson.dumps(self.claims(**changes)), key)


def signed(header: dict[str, Any], payload: bytes, key: Any) -> str:
    """A compact token; members of the header that are None are left out. The library would refuse to write most."""
    chosen = {name: value for name, value in header.items() if value is not None}
    return sealed(orjson.dumps(chosen), payload, key, str(chosen["alg"]))


def sealed(header: bytes, payload: bytes, key: Any, algorithm: str) -> str:
    """The same over a header that is written already."""
    text = f"{part(header)}.{part(payload)}"
    return f"{text}.{part(jws.JWSRegistry.algorithms[algorithm].sign(text.encode(), key))}"


def part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def answer(body: Any, status: str = "200 OK", *headers: str) -> bytes:
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(data)}", "Content-Type: application/json", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


@asynccontextmanager
async def fake_provider(folder: Path) -> AsyncIterator[FakeProvider]:
    """A provider under way, and the file with the authority that its certificate is of."""
    folder.mkdir(exist_ok=True)  # noqa: ASYNC240  # a folder of a test
    authority = Authority("of the provider")
    ca_file = folder / "ca.pem"
    ca_file.write_bytes(authority.pem)
    provider = FakeProvider(ca_file)
    busy: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        busy.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    path = head.split(b" ")[1].decode()
                    provider.asked.append(path)
                    if provider.hangs:
                        await asyncio.sleep(3600)
                    length = re.search(rb"(?i)content-length: (\d+)", head)
                    body = await reader.readexactly(int(length[1])) if length else b""
                    if path == TOKEN:
                        await asyncio.sleep(provider.slow_seconds)
                    writer.write(provider.response(path, body))
                    await writer.drain()
        finally:
            busy.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context(authority.issue("127.0.0.1"), folder))
    provider.port = server.sockets[0].getsockname()[1]
    try:
        yield provider
    finally:
        server.close()
        for task in list(busy):
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)
