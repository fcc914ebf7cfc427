"""HTTP in front of an endpoint: paths, methods, bodies, statuses. Over real sockets and TLS: tests/test_app.py."""

import asyncio
import ssl
import types
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import orjson
import pytest

from compass.access.authenticate import NoBearer
from compass.access.caller import Caller, Consumer, Flow
from compass.access.tenancy import Reach
from compass.api.http import App, Request, Response, Sent, events, graphql, lookup, patch
from compass.api.request import Endpoint
from compass.api.schema import surface
from compass.api.tls import TokenDoor, serve
from compass.commands import command
from compass.errors import (
    CompassError,
    InvalidData,
    NotFound,
    TenantNotFound,
    TooManyRequests,
    Unauthorized,
    Unavailable,
)
from compass.postgres.pool import Database, Tx
from compass.reads.plan import Filling, Hole, Query
from tests.api.test_tls import ROOT, SERVER

SDL = """
type Query { who(echo: String): String }
type Mutation { poke: Boolean! }
"""
CALLER = Caller(Consumer.STATIC_USER, "me", Flow.JWT, frozenset(), None)
MOST = 1000


def who(filling: Filling, _payload: str) -> str:
    return str(filling.arguments.get("echo") or filling.caller.consumer_id)


@command("poke", scope="", reach=Reach.PLANE)
async def poke(tx: Tx, _caller: Caller) -> bool:
    await tx.run("INSERT INTO account (name, secret_digest) VALUES ('poked', decode(repeat('00', 32), 'hex'))")
    return True


@dataclass(frozen=True)
class Answered:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def message(self) -> str:
        return str(self.json["errors"][0]["message"])


class Site:
    """An App with a GraphQL path, asked without a network."""

    def __init__(self, database: Database) -> None:
        noun = types.ModuleType("noun")
        noun.QUERIES = (Query("who", scope="", tenant=False, read=Hole("''", who)),)  # type: ignore[attr-defined]  # a module made here
        noun.poke = poke  # type: ignore[attr-defined]  # as above
        poke.__module__ = "noun"
        self.app = App()
        self.refusal: Exception | None = None
        self.identified: list[Request] = []
        self.ended: list[str] = []
        self.received = 0
        endpoint = Endpoint(surface(SDL, [noun], {}), database)
        self.changed: list[tuple[str, Mapping[str, str], bytes]] = []
        self.app.open(
            {
                "/graphql": graphql(endpoint, self.identify, max_body_bytes=MOST),
                "/broken": self.broken,
                "/v1/{group}/things/{thing}": patch(self.change, self.identify, max_body_bytes=MOST),
                "/found/{thing}": lookup(self.find, self.identify),
            }
        )

    async def identify(self, request: Request) -> Caller:
        self.identified.append(request)
        request.at_end.append(lambda: self.ended.append(request.path))
        if self.refusal is not None:
            raise self.refusal
        return CALLER

    async def change(self, caller: Caller, parts: Mapping[str, str], body: bytes) -> None:
        if body == b"bad":
            raise InvalidData(reason="no")
        if body == b"absent":
            raise NotFound(object="thing")
        if body == b"defect":
            raise ValueError("the password is geheim")
        self.changed.append((caller.consumer_id, parts, body))

    async def find(self, caller: Caller, parts: Mapping[str, str]) -> Mapping[str, Any]:
        match parts["thing"]:
            case "absent":
                raise NotFound(object="thing")
            case "bad":
                raise InvalidData(reason="no")
            case "hidden":
                caller.require("thing:read")
        return {"thing": parts["thing"], "who": caller.consumer_id}

    async def broken(self, _request: Request) -> Response:
        raise ValueError("the password is geheim")

    async def __call__(
        self,
        method: str = "POST",
        path: str = "/graphql",
        *,
        query: str = "",
        headers: list[tuple[str, str]] | None = None,
        content_type: str | None = "application/json",
        chunks: list[bytes] | None = None,
        gone: bool = False,
    ) -> Answered:
        waiting = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks or []]
        waiting.append(
            {"type": "http.disconnect"} if gone else {"type": "http.request", "body": b"", "more_body": False}
        )
        shown = [*(headers or []), *([("content-type", content_type)] if chunks and content_type is not None else [])]
        sent: list[dict[str, Any]] = []

        async def receive() -> Any:
            self.received += 1
            return waiting.pop(0)

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in shown],
            "state": {"peer_der": b"der"},
        }
        await self.app(scope, receive, send)
        start, body = sent
        return Answered(start["status"], {k.decode(): v.decode() for k, v in start["headers"]}, body["body"])

    async def post(self, body: Any, **more: Any) -> Answered:
        return await self(chunks=[body if isinstance(body, bytes) else orjson.dumps(body)], **more)


@pytest.fixture
def site(database: Database) -> Site:
    return Site(database)


async def poked(database: Database) -> bool:
    async with database.transaction() as tx:
        return bool(await tx.value("SELECT count(*) FROM account"))


async def test_a_posted_document_is_answered(site: Site) -> None:
    answer = await site.post({"query": "query A { who } query B { b: who }", "operationName": "B", "variables": None})

    assert (answer.status, answer.json) == (200, {"data": {"b": "me"}})
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-length"] == str(len(answer.body))
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("refusal", "status", "seconds"),
    [(TooManyRequests("this caller", after_seconds=2.5), 429, "3"), (Unavailable(), 503, "1")],
)
async def test_who_is_to_come_back_is_told_when_on_every_path(
    site: Site, refusal: CompassError, status: int, seconds: str
) -> None:
    site.refusal = refusal
    answer = await site.post({"query": "{ who }"})
    assert (answer.status, answer.headers["retry-after"], answer.message) == (status, seconds, refusal.wire_text())
    for method, path, chunks in (("GET", "/found/x", None), ("PATCH", "/v1/a/things/b", [b"{}"])):
        answer = await site(method, path, chunks=chunks)
        assert (answer.status, answer.headers["retry-after"]) == (status, seconds)
        assert answer.json["error"].startswith(refusal.wire_text())
    assert site.changed == []


async def test_what_a_request_holds_is_given_back_however_it_ends(site: Site) -> None:
    await site.post({"query": "{ who }"})
    await site.post({"query": "{ nothing }"})
    await site("GET", "/found/absent")
    await site("GET", "/found/x")
    site.refusal = ValueError("the password is geheim")
    await site.post({"query": "{ who }"})

    assert site.ended == [request.path for request in site.identified]
    assert len(site.ended) == 5


async def test_a_body_in_pieces_is_put_together(site: Site) -> None:
    answer = await site(chunks=[b'{"query": ', b'"{ w', b'ho }"}'])

    assert answer.json == {"data": {"who": "me"}}


async def test_a_query_may_come_in_the_address(site: Site) -> None:
    answer = await site(
        "GET", query="query=query+A($e:+String)+{+who(echo:+$e)+}&variables=%7B%22e%22:%22%C3%A4%22%7D&operationName=A"
    )

    assert (answer.status, answer.json) == (200, {"data": {"who": "ä"}})


async def test_a_mutation_in_the_address_changes_nothing(site: Site, database: Database) -> None:
    answer = await site("GET", query="query=mutation+{+poke+}")

    assert answer.status == 422
    assert "what changes something must be sent with POST" in answer.message
    assert not await poked(database)
    assert (await site.post({"query": "mutation { poke }"})).json == {"data": {"poke": True}}
    assert await poked(database)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "post"])
async def test_other_methods_are_refused_with_those_that_fit(site: Site, method: str) -> None:
    answer = await site(method, chunks=[b'{"query": "mutation { poke }"}'])

    assert (answer.status, answer.headers["allow"]) == (405, "GET, POST")
    assert answer.json["errors"][0]["extensions"] == {"error": "InvalidData", "error_code": 22}
    assert site.identified == []


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the body is not JSON"),
        (b"{", "the body is not JSON"),
        (b"\xff\xfe", "the body is not JSON"),
        (b'{"query": NaN}', "the body is not JSON"),
        (b"[" * 900, "the body is not JSON"),
        (b"[]", 'the body must be a JSON object with the document as the text "query"'),
        (b"null", 'the body must be a JSON object with the document as the text "query"'),
        (b"{}", 'the body must be a JSON object with the document as the text "query"'),
        (b'{"query": 1}', 'the body must be a JSON object with the document as the text "query"'),
        (b'{"query": "{ who }", "variables": [1]}', '"variables" must be a JSON object and "operationName" a text'),
        (b'{"query": "{ who }", "variables": []}', '"variables" must be a JSON object and "operationName" a text'),
        (b'{"query": "{ who }", "variables": 0}', '"variables" must be a JSON object and "operationName" a text'),
        (b'{"query": "{ who }", "variables": "x"}', '"variables" must be a JSON object and "operationName" a text'),
        (
            b'{"query": "{ who }", "operationName": false}',
            '"variables" must be a JSON object and "operationName" a text',
        ),
        (b'{"query": "{ who }", "operationName": 1}', '"variables" must be a JSON object and "operationName" a text'),
    ],
)
async def test_a_body_that_is_no_request_is_refused_before_anybody_is_identified(
    site: Site, body: bytes, reason: str
) -> None:
    answer = await site.post(body)

    assert (answer.status, answer.message) == (400, f"Invalid data [reason={reason}]")
    assert answer.json["data"] is None
    assert "path" not in answer.json["errors"][0]
    assert site.identified == []


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "text/plain; application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonx",
        "application/graphql",
        "application/json, text/plain",
    ],
)
async def test_a_body_that_does_not_say_that_it_is_json_is_refused(
    site: Site, database: Database, content_type: str | None
) -> None:
    answer = await site.post({"query": "mutation { poke }"}, content_type=content_type)

    assert (answer.status, answer.json) == (
        415,
        {
            "errors": [
                {
                    "message": "Invalid data [reason=the Content-Type must be application/json]",
                    "extensions": {"error": "InvalidData", "error_code": 22},
                }
            ],
            "data": None,
        },
    )
    assert site.identified == []
    assert not await poked(database)


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "Application/JSON", " application/json ;x"]
)
async def test_a_media_type_is_read_as_http_means_it(site: Site, content_type: str) -> None:
    assert (await site.post({"query": "{ who }"}, content_type=content_type)).status == 200


async def test_a_body_announced_as_too_large_is_not_read(site: Site) -> None:
    answer = await site(headers=[("content-length", "1001")], chunks=[b"x" * 1001])

    assert (answer.status, answer.headers["connection"]) == (413, "close")
    assert answer.message == "Invalid data [reason=the body has 1001 bytes, at most 1000 are read]"
    assert site.received == 0


async def test_a_body_that_grows_too_large_is_read_no_further(site: Site) -> None:
    answer = await site(chunks=[b"x" * 600] * 10)

    assert (answer.status, answer.headers["connection"]) == (413, "close")
    assert answer.message == "Invalid data [reason=the body has more than the 1000 bytes that are read]"
    assert site.received == 2


async def test_a_body_of_exactly_the_limit_is_read(site: Site) -> None:
    document = orjson.dumps({"query": "{ who }"})

    answer = await site.post(document + b" " * (MOST - len(document)))

    assert answer.status == 200


async def test_a_client_that_goes_away_while_sending_is_not_acted_for(site: Site, database: Database) -> None:
    answer = await site(chunks=[b'{"query": "mutation { poke }"}'], gone=True)

    assert answer.status == 400
    assert site.identified == []
    assert not await poked(database)


async def test_who_is_asking_is_decided_after_the_body_was_read(site: Site) -> None:
    await site.post({"query": "{ who }"})

    assert site.received == 2
    [request] = site.identified
    assert request.peer_der == b"der"


@pytest.mark.parametrize(
    ("refusal", "status", "code", "message"),
    [
        (NoBearer(), 400, 26, "Unauthorized [reason=invalid bearer token]"),
        (Unauthorized(reason="invalid bearer token"), 401, 26, "Unauthorized [reason=invalid bearer token]"),
        (TenantNotFound(externalTenant="x"), 400, 25, "Tenant not found [externalTenant=x]"),
        (Unavailable(), 503, 28, "the plane cannot reach its database; nothing was changed, try again in a moment"),
        (
            ConnectionRefusedError(),
            503,
            28,
            "the plane cannot reach its database; nothing was changed, try again in a moment",
        ),
    ],
)
async def test_a_caller_that_is_refused_gets_the_contracts_status(
    site: Site, database: Database, refusal: Exception, status: int, code: int, message: str
) -> None:
    site.refusal = refusal

    answer = await site.post({"query": "mutation { poke }"})

    assert (answer.status, answer.message) == (status, message)
    assert answer.json["errors"][0]["extensions"]["error_code"] == code
    assert answer.json["data"] is None
    assert not await poked(database)


async def test_a_defect_of_ours_is_a_number_and_nothing_more(site: Site) -> None:
    answer = await site("GET", "/broken")

    assert answer.status == 500
    assert answer.message.startswith("Internal Server Error [errorID=")
    assert b"geheim" not in answer.body


@pytest.mark.parametrize("path", ["/", "/graphql/", "//graphql", "/graphql?x", "/GRAPHQL", "/..", ""])
async def test_other_paths_do_not_exist(site: Site, path: str) -> None:
    answer = await site("POST", path)

    assert answer.status == 404
    assert answer.json == {"error": f"there is nothing at {path}"}


async def test_until_it_is_opened_no_path_exists() -> None:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("nothing is read")

    scope = {"type": "http", "method": "GET", "path": "/graphql", "query_string": b"", "headers": []}
    await App()(scope, receive, send)

    assert sent[0]["status"] == 404


async def test_what_is_not_http_is_not_answered(site: Site) -> None:
    async def never(*_: Any) -> Any:
        raise AssertionError("nothing is read or sent")

    await site.app({"type": "lifespan"}, never, never)


async def test_a_request_id_is_given_back_or_made(site: Site) -> None:
    given = await site.post({"query": "{ who }"}, headers=[("x-request-id", "abc-1")])
    long = await site.post({"query": "{ who }"}, headers=[("x-request-id", "x" * 300)])
    made = [await site.post({"query": "{ who }"}) for _ in range(2)]

    assert given.headers["x-request-id"] == "abc-1"
    assert long.headers["x-request-id"] == "x" * 200
    assert len({answer.headers["x-request-id"] for answer in made}) == 2
    assert [request.request_id for request in site.identified[:1]] == ["abc-1"]


async def test_repeated_headers_are_joined_so_that_neither_alone_is_believed(site: Site) -> None:
    await site.post({"query": "{ who }"}, headers=[("tenant", "a"), ("tenant", "b")])

    assert site.identified[0].headers["tenant"] == "a,b"


# Paths with parts, and PATCH


PATCHED = [("x-request-id", "r-1")]


async def test_the_parts_of_a_path_and_the_body_reach_the_handler(site: Site) -> None:
    answer = await site.post(b"{}", method="PATCH", path="/v1/a b/things/{thing}", headers=PATCHED)

    assert (answer.status, answer.body) == (200, b"")
    assert site.changed == [("me", {"group": "a b", "thing": "{thing}"}, b"{}")]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/a/things",
        "/v1/a/things/b/",
        "/v1/a/things/b/c",
        "/v2/a/things/b",
        "//v1/a/things/b",
        "/v1" + "/a" * 100_000,
    ],
)
async def test_a_path_that_only_resembles_one_with_parts_is_not_there(site: Site, path: str) -> None:
    answer = await site.post(b"{}", method="PATCH", path=path, headers=PATCHED)

    assert answer.status == 404
    assert site.changed == []


@pytest.mark.parametrize(
    ("body", "more", "refusal", "status", "text"),
    [
        (b"bad", {}, None, 400, "Invalid data [reason=no]"),
        (b"absent", {}, None, 404, "Object not found [object=thing]"),
        (
            b"x" * (MOST + 1),
            {},
            None,
            413,
            f"Invalid data [reason=the body has more than the {MOST} bytes that are read]",
        ),
        (b"{}", {"method": "POST"}, None, 405, "Invalid data [reason=POST is not understood here; send a PATCH]"),
        (
            b"{}",
            {"content_type": "text/plain"},
            None,
            415,
            "Invalid data [reason=the Content-Type must be application/json]",
        ),
        (
            b"{}",
            {"content_type": None},
            None,
            415,
            "Invalid data [reason=the Content-Type must be application/json]",
        ),
        (b"{}", {}, Unauthorized(reason="no"), 401, "Unauthorized [reason=no]"),
        (b"{}", {}, NoBearer(), 401, "Unauthorized [reason=invalid bearer token]"),
        (b"{}", {}, Unavailable(), 503, Unavailable().wire_text()),
    ],
)
async def test_a_patch_that_is_refused_says_why_and_which_request_it_was(
    site: Site, body: bytes, more: Any, refusal: CompassError | None, status: int, text: str
) -> None:
    site.refusal = refusal

    answer = await site.post(body, **({"method": "PATCH", "path": "/v1/a/things/b", "headers": PATCHED} | more))

    assert (answer.status, answer.json) == (status, {"error": f"{text}. X-Request-Id: r-1"})
    assert site.changed == []


async def test_what_is_looked_up_is_answered_in_json(site: Site) -> None:
    answer = await site(method="GET", path="/found/x")

    assert (answer.status, answer.json) == (200, {"thing": "x", "who": "me"})


@pytest.mark.parametrize(
    ("method", "thing", "refusal", "status", "text"),
    [
        ("GET", "absent", None, 404, "Object not found [object=thing]"),
        ("GET", "bad", None, 400, "Invalid data [reason=no]"),
        ("GET", "hidden", None, 403, "insufficient scopes provided [actual=; required=thing:read]"),
        ("POST", "x", None, 405, "Invalid data [reason=POST is not understood here; send a GET]"),
        ("GET", "x", Unauthorized(reason="no"), 401, "Unauthorized [reason=no]"),
        ("GET", "x", Unavailable(), 503, Unavailable().wire_text()),
    ],
)
async def test_a_look_up_that_is_refused_says_why(
    site: Site, method: str, thing: str, refusal: CompassError | None, status: int, text: str
) -> None:
    site.refusal = refusal

    answer = await site(method=method, path=f"/found/{thing}", headers=PATCHED)

    assert (answer.status, answer.json) == (status, {"error": f"{text}. X-Request-Id: r-1"})


async def test_a_defect_in_a_patch_tells_nothing_internal(site: Site) -> None:
    answer = await site.post(b"defect", method="PATCH", path="/v1/a/things/b", headers=PATCHED)

    assert answer.status == 500
    assert b"geheim" not in answer.body


# --- streams of events ---


class Source:
    """What a stream follows: it has what is put into it, and knows when it is let go."""

    def __init__(self) -> None:
        self.coming: asyncio.Queue[Sent | Exception | None] = asyncio.Queue()
        self.asked: list[tuple[str, str | None]] = []
        self.let_go = asyncio.Event()

    async def follow(self, caller: Caller, after: str | None) -> AsyncGenerator[Sent | None, None]:
        self.asked.append((caller.consumer_id, after))
        try:
            while True:
                match await self.coming.get():
                    case Exception() as error:
                        raise error
                    case Sent(id="end"):
                        return
                    case sent:
                        yield sent
        finally:
            self.let_go.set()

    def put(self, *sent: Sent | Exception | None) -> None:
        for one in sent:
            self.coming.put_nowait(one)


END = Sent("end", "", b"")


@dataclass
class Served:
    """An App with a stream at /events, over real TLS."""

    port: int
    sources: list[Source]

    @asynccontextmanager
    async def asked(
        self, head: str = "", *, target: str = "/events", method: str = "GET"
    ) -> AsyncIterator[tuple[bytes, asyncio.StreamReader]]:
        """The head of the answer, and its body to read."""
        context = ssl.create_default_context(cadata=ROOT.pem)
        reader, writer = await asyncio.open_connection("localhost", self.port, ssl=context, limit=2**16)
        try:
            writer.write(f"{method} {target} HTTP/1.1\r\nhost: localhost\r\n{head}\r\n".encode())
            yield await reader.readuntil(b"\r\n\r\n"), reader
        finally:
            writer.transport.abort()


@asynccontextmanager
async def streaming(*sources: Source) -> AsyncIterator[Served]:
    waiting = list(sources)

    async def identify(_request: Request) -> Caller:
        return CALLER

    def follow(caller: Caller, after: str | None) -> AsyncGenerator[Sent | None, None]:
        return waiting.pop(0).follow(caller, after)

    app = App()
    app.open({"/events": events(follow, identify)})
    async with serve(app, host="127.0.0.1", port=0, context=TokenDoor(SERVER.identity)) as listener:
        yield Served(listener.port, list(sources))


async def test_events_are_sent_as_they_come_and_the_end_is_an_end() -> None:
    source = Source()
    async with streaming(source) as served:
        source.put(Sent("7-1", "reset", b"{}"))
        async with served.asked("Last-Event-ID: 3-1\r\n", target="/events?after=1-1") as (head, body):
            assert b"HTTP/1.1 200 OK" in head
            assert b"content-type: text/event-stream" in head
            assert b"cache-control: no-store" in head
            assert b"x-accel-buffering: no" in head
            assert (await body.readuntil(b"\n\n\r\n")).endswith(b"\r\nid: 7-1\nevent: reset\ndata: {}\n\n\r\n")
            source.put(None)
            assert await body.readuntil(b"\n\n\r\n") == b"3\r\n:\n\n\r\n"
            source.put(END)
            assert await body.read() == b"0\r\n\r\n"
    assert source.asked == [("me", "3-1")]


async def test_the_place_to_go_on_may_stand_in_the_query() -> None:
    sources = Source(), Source()
    async with streaming(*sources) as served:
        for source, target in zip(sources, ("/events?after=5-5", "/events?after="), strict=True):
            source.put(None)
            async with served.asked(target=target):
                pass
    assert [source.asked for source in sources] == [[("me", "5-5")], [("me", None)]]


async def test_what_is_refused_before_the_first_event_is_an_ordinary_answer(caplog: pytest.LogCaptureFixture) -> None:
    sources = Source(), Source()
    async with streaming(*sources) as served:
        sources[0].put(Unavailable())
        async with served.asked() as (head, _):
            assert b"HTTP/1.1 503 " in head
        async with served.asked(method="POST") as (head, _):
            assert b"HTTP/1.1 405 " in head
            assert b"allow: GET" in head
        sources[1].put(None, ValueError("the password is geheim"))
        async with served.asked() as (head, body):
            assert b"HTTP/1.1 200 " in head
            with suppress(ConnectionError):
                assert b"0\r\n\r\n" not in await body.read()  # cut off: it must not look as if it had ended
    assert caplog.text.count("Traceback") == 1


async def test_a_client_that_goes_away_lets_go_of_what_it_followed() -> None:
    source = Source()
    async with streaming(source) as served:
        source.put(None)
        async with served.asked():
            assert not source.let_go.is_set()
        async with asyncio.timeout(1):
            await source.let_go.wait()


async def test_a_client_that_takes_nothing_is_cut_off_and_the_others_are_served_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("compass.api.http.TAKES_NOTHING_SECONDS", 0.3)
    slow, quick = Source(), Source()
    async with streaming(slow, quick) as served:
        slow.put(None)
        quick.put(None)
        async with served.asked() as (_, stuck), served.asked() as (_, body):
            for number in range(400):
                slow.put(Sent(str(number), "E", b"x" * 50_000))
            began = asyncio.get_running_loop().time()
            for number in range(10):
                quick.put(Sent(str(number), "E", b"x"))
                await body.readuntil(f"id: {number}\n".encode())
            assert asyncio.get_running_loop().time() - began < 0.3
            async with asyncio.timeout(5):
                await slow.let_go.wait()
            assert not quick.let_go.is_set()
            with suppress(ConnectionError):
                assert b"id: 399\n" not in await stuck.read()


async def test_a_stream_does_not_hold_up_the_end_of_the_plane() -> None:
    source = Source()
    async with streaming(source) as served:
        source.put(None)
        async with served.asked() as (_, body):
            source.put(END)
            assert (await body.read()).endswith(b"0\r\n\r\n")
            began = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began < 1
