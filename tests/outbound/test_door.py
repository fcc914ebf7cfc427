import asyncio
import gzip
import logging
import os
import socket
import ssl
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from datetime import timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from compass.outbound.addresses import permitted
from compass.outbound.door import Door, Request, Response
from compass.outbound.errors import (
    CertificateRefused,
    NoClientCertificate,
    OutboundError,
    OutboundFailed,
    OutboundTimedOut,
    RequestRefused,
    ResponseMalformed,
    ResponseTooLarge,
    UrlRefused,
)
from compass.settings import SettingRefused

from .conftest import Opens
from .hostile import (
    CONNECTS,
    Authority,
    HangingNames,
    Names,
    answers,
    drips,
    floods,
    hangs,
    ok,
    receiver,
    server_context,
    shown,
)
from .test_url import REFUSED

RACES = 200 if os.environ.get("COMPASS_PROOF") else 50
QUICK = timedelta(seconds=0.4)
MARGIN = timedelta(seconds=1)


async def get(door: Door, url: str, **headers: str) -> Response:
    return await door.send(Request("GET", url, headers))


@contextmanager
def ends_within(limit: timedelta) -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started <= limit.total_seconds()


# What is sent and what comes back


async def test_a_request_goes_out_exactly_as_described(opens: Opens) -> None:
    door = await opens()
    async with receiver(answers(ok(b"hello", "X-A: 1", "x-a: 2"))) as seen:
        url = f"http://127.0.0.1:{seen.port}/a/../b%2Fc?q=%20&r=ü"
        response = await door.send(Request("POST", url, {"Authorization": "Bearer x", "user-agent": "us"}, b"body"))

    assert (response.status, response.body) == (200, b"hello")
    assert response.headers == {"content-length": "5", "x-a": "1, 2"}
    assert timedelta(0) < response.elapsed < MARGIN
    lines = seen.requests[0].split(b"\r\n")
    assert lines[0] == b"POST /a/../b%2Fc?q=%20&r=%C3%BC HTTP/1.1"
    assert sorted(lines[1:-2]) == [
        b"Accept-Encoding: gzip, deflate",
        b"Accept: */*",
        b"Authorization: Bearer x",
        b"Content-Length: 4",
        b"Host: 127.0.0.1:%d" % seen.port,
        b"user-agent: us",
    ]
    assert lines[-2:] == [b"", b"body"]


async def test_a_name_is_resolved_once_and_sent_as_host(opens: Opens) -> None:
    names = Names(hook_example=[["127.0.0.1"]])
    door = await opens(names)
    async with receiver(answers(ok(b""))) as seen:
        await get(door, f"http://HOOK.example:{seen.port}/")
    assert names.asked == ["hook.example"]
    assert b"\r\nHost: hook.example:%d\r\n" % seen.port in seen.requests[0]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_answer_and_is_not_followed(opens: Opens, status: int) -> None:
    door = await opens()
    async with receiver(answers(ok(b""))) as target:
        location = f"http://127.0.0.1:{target.port}/"
        redirect = f"HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()
        async with receiver(answers(redirect)) as seen:
            response = await get(door, f"http://127.0.0.1:{seen.port}/")
    assert (response.status, response.headers["location"]) == (status, location)
    assert (len(seen.requests), target.connections) == (1, 0)


async def test_neither_cookies_nor_proxies_of_the_environment_are_used(
    opens: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receiver(answers(ok(b"proxy"))) as proxy, receiver(answers(ok(b"", "Set-Cookie: a=b; Path=/"))) as seen:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        door = await opens(Names(hook_example=[["127.0.0.1"]]))
        for _ in range(2):
            await get(door, f"http://hook.example:{seen.port}/")
    assert proxy.connections == 0
    assert len(seen.requests) == 2
    assert b"cookie" not in seen.requests[1].lower()


@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "get", "", "G ET", "GET / HTTP/1.1\r\nX: y\r\n\r\nGET"])
async def test_a_method_the_door_does_not_know_is_refused(opens: Opens, method: str) -> None:
    door = await opens()
    CONNECTS.clear()
    with pytest.raises(RequestRefused, match="its method is not supported"):
        await door.send(Request(method, "http://127.0.0.1:9999/"))
    assert CONNECTS == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("X-A", f"a{end}X-B: b") for end in ("\r\n", "\n", "\r", "\x00", "\x0b", "\x85", "\u2028", "\x1b", "\ud800")],
        *[(name, "x") for name in ("", "X A", "X:A", "X\r\nB", "X-A\n", "Ä", "X\x00")],
        *[
            (name, "x")
            for name in ("Host", "HOST", "content-length", "Transfer-Encoding", "Connection", "Upgrade", "TE", "Expect")
        ],
    ],
)
async def test_a_header_cannot_change_the_message_around_it(opens: Opens, name: str, value: str) -> None:
    door = await opens()
    CONNECTS.clear()
    with pytest.raises(RequestRefused):
        await door.send(Request("POST", "http://127.0.0.1:9999/", {name: value}, b"body"))
    assert CONNECTS == []


# Where it may go

METADATA = "169.254.169.254"
FORBIDDEN_LITERALS = [
    *("127.0.0.1", "127.1.2.3", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", METADATA, "100.100.100.200"),  # noqa: S104  # called, not bound
    *("168.63.129.16", "192.0.0.192", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.1"),
    *("[::]", "[::1]", "[::127.0.0.1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:a9fe:a9fe]"),
    *(
        "[64:ff9b::127.0.0.1]",
        "[64:ff9b::a9fe:a9fe]",
        "[64:ff9b:1::127.0.0.1]",
        "[2002:7f00:1::]",
        "[2002:a9fe:a9fe::]",
    ),
    *(
        "[2001:0:a9fe:a9fe::1]",
        "[2001::f5ff:fffe]",
        "[fe80::1]",
        "[fc00::1]",
        "[fd00:ec2::254]",
        "[fec0::1]",
        "[ff02::1]",
    ),
    *("[2001:db8::1]", "[100::1]", "[4000::1]", "[::2]", "[5f00::1]", "[3fff::1]"),
]
FORBIDDEN_NAMES = [
    *("localhost", "localhost.localdomain", "metadata.google.internal", "127.0.0.1.nip.example", "mixed.example"),
    *(
        "kubernetes.default.svc",
        "a1.0xg",
        "internal",
        "mapped.example",
        "nat64.example",
        "zone.example",
        "second.example",
    ),
]
HOSTILE = [
    *REFUSED,
    *[f"{scheme}://{host}{port}/" for host in FORBIDDEN_LITERALS + FORBIDDEN_NAMES for scheme in ("http", "https")
      for port in ("", ":8080")],
]  # fmt: skip


async def test_no_hostile_url_makes_this_process_connect_anywhere(opens: Opens) -> None:
    names = Names()
    names.scripts = {name: [["127.0.0.1"]] for name in FORBIDDEN_NAMES}
    names.scripts |= {
        "mixed.example": [["8.8.8.8", METADATA]],
        "second.example": [["2606:4700::1111", "8.8.8.8", "8.8.4.4", "1.1.1.1", "1.0.0.1", "9.9.9.9", "::1"]],
        "mapped.example": [["::ffff:10.0.0.1"]],
        "nat64.example": [["64:ff9b::10.0.0.1"]],
        "zone.example": [["2606:4700::1111%1"]],
    }
    door = await opens(names, allowed_networks=())
    assert len(HOSTILE) >= 300
    CONNECTS.clear()
    told = set()
    for url in HOSTILE:
        with pytest.raises((UrlRefused, OutboundFailed)) as refused:
            await get(door, url)
        if isinstance(refused.value, OutboundFailed):
            told.add((type(refused.value), refused.value.wire_text(), refused.value.code, refused.value.retryable))
    assert CONNECTS == []
    assert len(told) == 1


async def test_the_witness_of_connects_is_awake(opens: Opens) -> None:
    door = await opens()
    CONNECTS.clear()
    async with receiver(answers(ok(b""))) as seen:
        await get(door, f"http://127.0.0.1:{seen.port}/")
    assert CONNECTS == ["127.0.0.1"]


async def test_a_name_that_changes_its_mind_after_the_check_gains_nothing(
    opens: Opens, record_property: Callable[[str, object], None]
) -> None:
    async with receiver(answers(ok(b"good", "Connection: close"))) as good:  # noqa: SIM117  # the decoy takes its port
        async with receiver(answers(ok(b"decoy")), address="127.0.0.2", port=good.port) as decoy:
            CONNECTS.clear()
            for turn in range(RACES):
                names = Names(rebind_example=[["127.0.0.1"], ["127.0.0.2"]])
                door = await opens(names)
                response = await get(door, f"http://rebind.example:{good.port}/{turn}")
                assert (response.body, names.asked) == (b"good", ["rebind.example"])
                with pytest.raises(OutboundFailed):
                    await get(door, f"http://rebind.example:{good.port}/{turn}")
    assert decoy.connections == 0
    assert CONNECTS == ["127.0.0.1"] * RACES
    record_property("cases", RACES)


async def test_a_kept_connection_does_not_spare_the_check(opens: Opens) -> None:
    names = Names(rebind_example=[["127.0.0.1"], ["127.0.0.1", "10.0.0.1"], ["127.0.0.1"]])
    door = await opens(names)
    async with receiver(answers(ok(b""))) as seen:
        await get(door, f"http://rebind.example:{seen.port}/")
        with pytest.raises(OutboundFailed):
            await get(door, f"http://rebind.example:{seen.port}/")
        assert len(seen.requests) == 1
        await get(door, f"http://rebind.example:{seen.port}/")
    assert (len(seen.requests), seen.connections) == (2, 1)


async def test_the_socket_itself_refuses_a_forbidden_address(opens: Opens) -> None:
    door = await opens()
    CONNECTS.clear()
    with pytest.raises(PermissionError):
        door._socket((socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.2", 80)))
    assert CONNECTS == []


async def test_an_address_that_does_not_answer_leaves_time_for_the_next(opens: Opens) -> None:
    names = Names(hook_example=[["127.0.0.3", "127.0.0.1"]])
    door = await opens(names, allowed_networks=(ip_network("127.0.0.0/8"),))
    async with receiver(answers(ok(b"second"))) as seen:
        with filtered("127.0.0.3", seen.port):
            response = await door.send(Request("POST", f"http://hook.example:{seen.port}/", body=b"once"))
        assert response.body == b"second"
        assert timedelta(seconds=0.5) <= response.elapsed < timedelta(seconds=0.9)  # half of the second there is
    assert [request[-4:] for request in seen.requests] == [b"once"]


@contextmanager
def filtered(address: str, port: int) -> Iterator[None]:
    """A port that swallows packets: a listener whose queue is full."""
    with ExitStack() as sockets:
        listening = sockets.enter_context(socket.socket())
        listening.bind((address, port))
        listening.listen(0)
        for _ in range(4):
            filling = sockets.enter_context(socket.socket())
            filling.setblocking(False)
            filling.connect_ex((address, port))
        time.sleep(0.05)
        yield


# What a failure tells


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def failure(door: Door, url: str) -> tuple[OutboundError, float]:
    started = time.monotonic()
    with pytest.raises(OutboundError) as failed:
        await get(door, url)
    return failed.value, time.monotonic() - started


async def test_closed_filtered_refused_and_unknown_cannot_be_told_apart(
    opens: Opens, caplog: pytest.LogCaptureFixture
) -> None:
    names = Names(refused_example=[["10.0.0.1"]], empty_example=[[]])
    door = await opens(names)
    port = closed_port()
    async with receiver(answers(ok(b"secret")), address="127.0.0.2") as internal:
        with filtered("127.0.0.1", port):
            failures = [(await failure(door, f"http://127.0.0.1:{port}/"))[0]]
        urls = (
            f"http://127.0.0.1:{closed_port()}/",
            f"http://127.0.0.2:{internal.port}/",
            f"https://127.0.0.2:{internal.port}/",
            "http://refused.example/",
            "http://empty.example/",
            "http://unknown.example/",
        )
        failures.extend([(await failure(door, url))[0] for url in urls])
        hanging = await opens(HangingNames())
        failures.append((await failure(hanging, "http://hanging.example/"))[0])

    assert internal.connections == 0
    assert {type(each) for each in failures} == {OutboundFailed}
    assert {each.reason for each in failures} == {"The address could not be reached"}
    assert {(each.code, each.retryable, str(each.facts)) for each in failures} == {(27, True, "{}")}
    assert [each.__cause__ for each in failures] == [None] * len(failures)
    assert len({record.getMessage() for record in caplog.records}) == len(failures)  # the log does tell


async def test_quick_failures_take_the_same_time(opens: Opens) -> None:
    step = 0.3
    door = await opens(Names(refused_example=[["10.0.0.1"]]), failure_step=timedelta(seconds=step))
    for url in ("http://refused.example/", "http://unknown.example/", f"http://127.0.0.1:{closed_port()}/"):
        failed, took = await failure(door, url)
        assert type(failed) is OutboundFailed
        assert step - 0.01 <= took < 2 * step  # uvloop's clock counts milliseconds


async def test_the_log_names_the_origin_and_no_more_of_the_url(opens: Opens, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    door = await opens()
    port = closed_port()
    with pytest.raises(OutboundFailed) as failed:
        await get(door, f"http://127.0.0.1:{port}/pa-secret?q=secret#secret", Authorization="secret")
    with pytest.raises(UrlRefused):
        await get(door, f"http://user:secret@127.0.0.1:{port}/")
    echo = answers(b"HTTP/1.1 secret\r\n" + ok(b"secret"))
    async with receiver(echo) as seen:
        with pytest.raises(ResponseMalformed):
            await get(door, f"http://127.0.0.1:{seen.port}/secret?secret")
    async with receiver(hangs) as seen:
        with pytest.raises(OutboundTimedOut):
            await door.send(Request("GET", f"http://127.0.0.1:{seen.port}/secret"), total_timeout=QUICK)
    mine = [record.getMessage() for record in caplog.records if record.name == "compass.outbound.door"]
    assert len(mine) == 3
    assert mine[0].startswith(f"GET http://127.0.0.1:{port} failed: ClientConnectorError ")
    assert "secret" not in caplog.text + str(failed.value)
    assert "secret" not in repr(Request("GET", "http://secret/", {"a": "secret"}, b"secret"))


async def test_what_a_receiver_sent_cannot_forge_a_line_of_the_log(
    opens: Opens, caplog: pytest.LogCaptureFixture
) -> None:
    door = await opens()
    async with receiver(answers(b"HTTP/1.1 \r\n2026 forged line\r\n\r\n")) as seen:
        with pytest.raises(ResponseMalformed) as failed:
            await get(door, f"http://127.0.0.1:{seen.port}/")
    assert "\n" not in caplog.records[0].getMessage()
    assert "forged" not in failed.value.reason


# Time


@pytest.mark.parametrize(
    "behaviour",
    [
        hangs,
        drips(b"HTTP/1.1 200 ", b"O"),
        drips(b"HTTP/1.1 200 OK\r\nX: ", b"a"),
        drips(b"HTTP/1.1 200 OK\r\n", b"X: a\r\n"),
        drips(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"a"),
        drips(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
        drips(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: a\r\n", timedelta(milliseconds=50)),
        drips(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n", gzip.compress(b"")),
        floods(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["silence", "status", "header", "headers", "body", "chunks", "trailers", "members", "continue"],
)
async def test_an_answer_without_end_ends_with_the_deadline(opens: Opens, behaviour: "object") -> None:
    door = await opens()
    async with receiver(behaviour) as seen:  # type: ignore[arg-type]  # the parameters are behaviours
        with ends_within(QUICK + MARGIN), pytest.raises(OutboundTimedOut):
            await door.send(Request("GET", f"http://127.0.0.1:{seen.port}/"), total_timeout=QUICK)
    assert seen.connections == 1


async def test_a_handshake_that_hangs_counts_as_not_reached(opens: Opens) -> None:
    door = await opens(connect_timeout=QUICK)
    async with receiver(hangs) as seen:  # speaks no TLS and waits for more
        with ends_within(QUICK + MARGIN), pytest.raises(OutboundFailed):
            await get(door, f"https://127.0.0.1:{seen.port}/")


async def test_a_receiver_that_reads_nothing_does_not_hold_the_sender(opens: Opens) -> None:
    door = await opens()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        with ends_within(QUICK + MARGIN), pytest.raises(OutboundTimedOut):
            await door.send(Request("POST", url, body=bytes(32 << 20)), total_timeout=QUICK)


async def test_a_receiver_that_hangs_takes_its_own_seats_only(opens: Opens) -> None:
    door = await opens(max_per_host=2)
    async with receiver(hangs) as hung, receiver(answers(ok(b"well"))) as healthy:
        stuck = [
            asyncio.create_task(door.send(Request("GET", f"http://127.0.0.1:{hung.port}/"), total_timeout=patience))
            for patience in [QUICK] * 2 + [QUICK / 2] * 4
        ]
        await asyncio.sleep(0.1)
        with ends_within(MARGIN):
            for _ in range(20):
                assert (await get(door, f"http://127.0.0.1:{healthy.port}/")).body == b"well"
        ended = await asyncio.gather(*stuck, return_exceptions=True)
    assert hung.open_most == 2
    assert sorted(type(each).__name__ for each in ended) == ["OutboundFailed"] * 4 + ["OutboundTimedOut"] * 2
    assert door._host_seats._hosts == {}


# Size and form


@pytest.mark.parametrize(
    "behaviour",
    [
        answers(ok(b"x" * 10_001)),
        answers(ok(b"", length=10_001)),
        answers(ok(b"", length=10**18)),
        answers(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 10_001, then_closes=True),
        floods(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"3e8\r\n" + b"x" * 1000 + b"\r\n"),
        floods(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 1000),
        answers(ok(gzip.compress(b"x" * 10_001), "Content-Encoding: gzip")),
    ],
    ids=["plain", "said", "huge", "unsaid", "chunked", "endless", "compressed"],
)
async def test_more_than_the_cap_is_not_read(opens: Opens, behaviour: "object") -> None:
    door = await opens()
    async with receiver(behaviour) as seen:  # type: ignore[arg-type]  # the parameters are behaviours
        with ends_within(MARGIN), pytest.raises(ResponseTooLarge):
            await door.send(Request("GET", f"http://127.0.0.1:{seen.port}/"), max_body_bytes=10_000)


async def test_a_connection_with_an_unread_answer_is_closed(opens: Opens) -> None:
    door = await opens()
    async with receiver(floods(ok(b"", length=10**9), b"x" * 1000)) as seen:
        with pytest.raises(ResponseTooLarge):
            await get(door, f"http://127.0.0.1:{seen.port}/")
        await asyncio.sleep(0.3)
        assert seen.open_now == 0
    assert seen.connections == 1


async def test_exactly_the_cap_is_read(opens: Opens) -> None:
    door = await opens(max_response_bytes=10_000)
    for response in (ok(b"x" * 10_000), ok(gzip.compress(b"x" * 10_000), "Content-Encoding: gzip")):
        async with receiver(answers(response)) as seen:
            assert (await get(door, f"http://127.0.0.1:{seen.port}/")).body == b"x" * 10_000


async def test_forty_bombs_at_once_cost_little_memory_and_end_in_time(opens: Opens) -> None:
    door = await opens(max_per_host=40)
    bomb = gzip.compress(bytes(256 << 20))
    tracemalloc.start()
    async with AsyncExitStack() as stack:
        response = ok(bomb, "Content-Encoding: gzip")
        seen = [await stack.enter_async_context(receiver(answers(response))) for _ in range(40)]
        with ends_within(timedelta(seconds=5) + MARGIN):
            ended = await asyncio.gather(
                *[get(door, f"http://127.0.0.1:{each.port}/") for each in seen], return_exceptions=True
            )
    assert {type(each) for each in ended} == {ResponseTooLarge}
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak <= 100 << 20


@pytest.mark.parametrize(
    "response",
    [
        b"SSH-2.0-OpenSSH_9.0\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 two OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX\x00: y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 10_000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 4\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: a\r\n" * 10_000 + b"\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        ok(b"short", length=50),
        ok(b"longer than said", length=6),
        ok(b"x", "Content-Encoding: br"),
        ok(b"x", "Content-Encoding: gzip"),
        ok(gzip.compress(b"hello")[:-1], "Content-Encoding: gzip"),
    ],
    ids=lambda response: repr(response[:60]),
)
async def test_an_answer_that_lies_about_its_form_or_length_is_refused(opens: Opens, response: bytes) -> None:
    door = await opens()
    async with receiver(answers(response, then_closes=True)) as seen:
        with ends_within(MARGIN), pytest.raises(ResponseMalformed):
            await get(door, f"http://127.0.0.1:{seen.port}/")


async def test_an_answer_that_turns_out_longer_than_said_is_refused(opens: Opens) -> None:
    async def behave(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(ok(b"", length=6))
        await writer.drain()
        await asyncio.sleep(0.1)  # the head is read by then, and believed
        writer.write(b"longer than said")

    door = await opens()
    async with receiver(behave) as seen:
        with pytest.raises(ResponseMalformed):
            await get(door, f"http://127.0.0.1:{seen.port}/")


async def test_bytes_after_the_answer_are_not_taken_for_the_next_answer(opens: Opens) -> None:
    door = await opens()
    async with receiver(answers(ok(b"first") + ok(b"planted"))) as seen:
        url = f"http://127.0.0.1:{seen.port}/"
        assert [(await get(door, url)).body for _ in range(3)] == [b"first"] * 3
    assert seen.connections == 3


async def test_a_receiver_that_breaks_off_before_it_answers_was_not_reached(opens: Opens) -> None:
    door = await opens()
    async with receiver(answers(b"", then_closes=True)) as seen:
        with pytest.raises(OutboundFailed):
            await door.send(Request("POST", f"http://127.0.0.1:{seen.port}/", body=b"x"))
    assert len(seen.requests) == 1  # a POST is never sent twice


@pytest.mark.parametrize(("method", "sent"), [("GET", 2), ("PUT", 2), ("POST", 1)])
async def test_a_kept_connection_that_breaks_repeats_only_what_may_be_repeated(
    opens: Opens, method: str, sent: int
) -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if seen.connections == 1 and len(seen.requests) == 2:
            writer.close()
        else:
            writer.write(ok(b"fine"))

    door = await opens()
    async with receiver(behave) as seen:
        url = f"http://127.0.0.1:{seen.port}/"
        await get(door, url)
        request = Request(method, url, body=None if method == "GET" else b"body")
        if sent == 2:
            assert (await door.send(request)).body == b"fine"
        else:
            with pytest.raises(OutboundFailed):
                await door.send(request)
    assert len(seen.requests) == 1 + sent
    assert len({bytes(each) for each in seen.requests[1:]}) == 1


async def test_header_bytes_that_are_no_text_arrive_as_replacement_characters(opens: Opens) -> None:
    door = await opens()
    async with receiver(answers(ok(b"").replace(b"\r\n", b"\r\nX: a\xffb\xc3\xbc\r\n", 1))) as seen:
        assert (await get(door, f"http://127.0.0.1:{seen.port}/")).headers["x"] == "a\ufffdbü"


async def test_an_answer_without_body_has_none(opens: Opens) -> None:
    door = await opens()
    async with receiver(answers(ok(b"", "Content-Encoding: gzip", length=10**9))) as seen:
        assert (await door.send(Request("HEAD", f"http://127.0.0.1:{seen.port}/"))).body == b""
    async with receiver(answers(b"HTTP/1.1 204 No Content\r\n\r\n")) as seen:
        assert (await door.send(Request("DELETE", f"http://127.0.0.1:{seen.port}/"))).status == 204


# Connections that are kept


async def test_a_connection_is_used_again_for_the_same_host_only(opens: Opens) -> None:
    door = await opens(Names(a_example=[["127.0.0.1"]], b_example=[["127.0.0.1"]]))
    async with receiver(answers(ok(b""))) as seen:
        for method in ("GET", "POST", "PUT"):
            await door.send(Request(method, f"http://a.example:{seen.port}/", body=b"x" if method != "GET" else None))
        assert seen.connections == 1
        await get(door, f"http://b.example:{seen.port}/")
    assert (seen.connections, len(seen.requests)) == (2, 4)


# TLS


async def test_a_receiver_with_a_valid_certificate_is_called_by_name_and_by_address(
    opens: Opens, authority: Authority, tmp_path: Path
) -> None:
    door = await opens(Names(good_example=[["127.0.0.1"]]))
    for host in ("good.example", "127.0.0.1"):
        async with receiver(answers(ok(b"safe")), tls=server_context(authority.issue(host), tmp_path)) as seen:
            assert (await get(door, f"https://{host}:{seen.port}/")).body == b"safe"


async def test_no_byte_of_a_request_goes_to_a_receiver_without_a_valid_certificate(
    opens: Opens, authority: Authority, tmp_path: Path
) -> None:
    door = await opens(Names(good_example=[["127.0.0.1"]]))
    day = timedelta(days=1)
    bad = {
        "wrong host": authority.issue("other.example"),
        "its address, not its name": authority.issue("127.0.0.1"),
        "a longer name": authority.issue("good.example.evil.example"),
        "a wildcard for all": authority.issue("*.example.com"),
        "expired": authority.issue("good.example", valid_from=-2 * day, valid_to=-day),
        "not yet valid": authority.issue("good.example", valid_from=day, valid_to=2 * day),
        "self-signed": authority.issue("good.example", self_signed=True),
        "unknown authority": Authority("somebody else").issue("good.example"),
        "same name, other authority": Authority("the authority the door trusts").issue("good.example"),
        "for clients only": authority.issue("good.example", client=True),
    }
    for case, leaf in bad.items():
        async with receiver(answers(ok(b"")), tls=server_context(leaf, tmp_path)) as seen:
            with pytest.raises(CertificateRefused):
                await door.send(Request("POST", f"https://good.example:{seen.port}/", body=b"secret"))
        assert seen.requests == [], case


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
async def test_old_tls_and_weak_ciphers_are_not_spoken(opens: Opens, authority: Authority, tmp_path: Path) -> None:
    door = await opens()
    old = server_context(authority.issue("127.0.0.1"), tmp_path)
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    weak = server_context(authority.issue("127.0.0.1"), tmp_path)
    weak.maximum_version = ssl.TLSVersion.TLSv1_2
    weak.set_ciphers("ECDHE-ECDSA-AES128-SHA256")
    for context in (old, weak):
        async with receiver(answers(ok(b"")), tls=context) as seen:
            with pytest.raises(OutboundFailed):
                await get(door, f"https://127.0.0.1:{seen.port}/")
        assert seen.requests == []


def certified(url: str, method: str = "GET") -> Request:
    return Request(method, url, shows_certificate=True)


async def test_a_client_certificate_is_shown_where_it_was_asked_for_and_on_no_other_connection(
    opens: Opens, authority: Authority, tmp_path: Path
) -> None:
    clients = Authority("clients")
    door = await opens(**shown(clients.issue("plane.example", client=True), tmp_path))
    context = server_context(authority.issue("127.0.0.1"), tmp_path, clients_of=clients)
    context.verify_mode = ssl.CERT_OPTIONAL
    async with receiver(answers(ok(b"")), tls=context) as seen:
        url = f"https://127.0.0.1:{seen.port}/"
        for request in (certified(url), Request("GET", url), certified(url, "POST"), Request("POST", url)):
            await door.send(request)
    assert seen.peers == ["plane.example", None] * 2
    assert seen.connections == 2  # each was used twice, and for its own kind only


async def test_a_receiver_that_demands_a_client_certificate_gets_one_only_when_it_was_asked_for(
    opens: Opens, authority: Authority, tmp_path: Path
) -> None:
    clients = Authority("clients")
    door = await opens(**shown(clients.issue("plane.example", client=True), tmp_path))
    context = server_context(authority.issue("127.0.0.1"), tmp_path, clients_of=clients)
    async with receiver(answers(ok(b"in")), tls=context) as seen:
        url = f"https://127.0.0.1:{seen.port}/"
        with pytest.raises(OutboundFailed):
            await get(door, url)
        assert (await door.send(certified(url))).body == b"in"
        with pytest.raises(OutboundFailed):
            await get(door, url)
    assert seen.peers == ["plane.example"]


async def test_a_receiver_that_trusts_another_authority_refuses_the_client_certificate(
    opens: Opens, authority: Authority, tmp_path: Path
) -> None:
    door = await opens(**shown(Authority("clients").issue("plane.example", client=True), tmp_path))
    context = server_context(authority.issue("127.0.0.1"), tmp_path, clients_of=Authority("others"))
    async with receiver(answers(ok(b"")), tls=context) as seen:
        with pytest.raises(OutboundFailed):
            await door.send(certified(f"https://127.0.0.1:{seen.port}/"))
    assert seen.requests == []


async def test_a_redirect_leads_the_client_certificate_nowhere(
    opens: Opens, authority: Authority, tmp_path: Path
) -> None:
    clients = Authority("clients")
    door = await opens(**shown(clients.issue("plane.example", client=True), tmp_path))
    context = server_context(authority.issue("127.0.0.1"), tmp_path, clients_of=clients)
    async with receiver(answers(ok(b"")), tls=context) as elsewhere:
        moved = f"HTTP/1.1 307 T\r\nLocation: https://127.0.0.1:{elsewhere.port}/\r\nContent-Length: 0\r\n\r\n".encode()
        async with receiver(answers(moved), tls=context) as seen:
            assert (await door.send(certified(f"https://127.0.0.1:{seen.port}/"))).status == 307
    assert (seen.peers, elsewhere.connections) == (["plane.example"], 0)


@pytest.mark.parametrize(
    ("hosts", "host"),
    [
        (("Good.example",), "good.example"),
        (("other.example", "*.example"), "good.example"),
        (("*",), "good.example"),
    ],
)
async def test_hosts_that_were_named_may_see_the_client_certificate(
    opens: Opens, authority: Authority, tmp_path: Path, hosts: tuple[str, ...], host: str
) -> None:
    clients = Authority("clients")
    settings = shown(clients.issue("plane.example", client=True), tmp_path, *hosts)
    door = await opens(Names(good_example=[["127.0.0.1"]]), **settings)
    context = server_context(authority.issue(host), tmp_path, clients_of=clients)
    async with receiver(answers(ok(b"")), tls=context) as seen:
        await door.send(certified(f"https://{host}:{seen.port}/"))
    assert seen.peers == ["plane.example"]


@pytest.mark.parametrize(
    "host", ["evil.example", "sub.good.example", "below.example", "notbelow.example", "good.example.evil", "127.0.0.1"]
)
async def test_no_other_host_sees_the_client_certificate(opens: Opens, tmp_path: Path, host: str) -> None:
    leaf = Authority("clients").issue("plane.example", client=True)
    names = Names(**{host.replace(".", "_"): [["127.0.0.1"]]})
    door = await opens(names, **shown(leaf, tmp_path, "good.example", "*.below.example", "*.0.0.1"))
    CONNECTS.clear()
    with pytest.raises(RequestRefused, match=r"none of the setting outbound\.client_certificate_hosts"):
        await door.send(certified(f"https://{host}:9999/"))
    assert (CONNECTS, names.asked) == ([], [])


async def test_a_client_certificate_is_not_silently_left_out(opens: Opens, tmp_path: Path) -> None:
    without = await opens()
    having = await opens(**shown(Authority("clients").issue("plane.example", client=True), tmp_path))
    CONNECTS.clear()
    with pytest.raises(NoClientCertificate):
        await without.send(certified("https://127.0.0.1:9999/"))
    with pytest.raises(RequestRefused, match="needs an https URL"):
        await having.send(certified("http://127.0.0.1:9999/"))
    assert CONNECTS == []


async def test_a_client_certificate_that_cannot_be_used_keeps_the_door_shut(opens: Opens, tmp_path: Path) -> None:
    clients = Authority("clients")
    settings = shown(clients.issue("one.example", client=True), tmp_path)
    settings["client_key_file"].write_bytes(clients.issue("two.example", client=True).key)
    with pytest.raises(SettingRefused, match=r"outbound\.client_certificate_file"):
        await opens(**settings)


async def test_a_renewed_client_certificate_is_shown_without_a_restart(
    opens: Opens, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clients = Authority("clients")
    old, new = (clients.issue(name, client=True) for name in ("old.example", "new.example"))
    settings = shown(old, tmp_path)
    door = await opens(**settings)
    context = server_context(authority.issue("127.0.0.1"), tmp_path, clients_of=clients)
    async with receiver(answers(ok(b"")), tls=context) as seen:
        url = f"https://127.0.0.1:{seen.port}/"
        await door.send(certified(url))
        settings["client_certificate_file"].write_bytes(new.certificate)
        await door.send(certified(url))  # its key is still to come
        settings["client_key_file"].write_bytes(new.key)
        await door.send(certified(url))
        settings["client_key_file"].unlink()
        await door.send(certified(url))
    assert seen.peers == ["old.example", "old.example", "new.example", "new.example"]
    assert caplog.text.count("the client certificate was not read again") == 2


def test_the_addresses_of_these_tests_are_forbidden_without_leave() -> None:
    assert not any(permitted(ip_address(literal.strip("[]"))) for literal in FORBIDDEN_LITERALS)
