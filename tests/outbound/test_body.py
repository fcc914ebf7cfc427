import gzip
import tracemalloc
import zlib

import pytest

from compass.outbound.body import Body
from compass.outbound.errors import ResponseMalformed, ResponseTooLarge

PLAIN = b'{"answer": 42}' * 999


def raw_deflate(data: bytes) -> bytes:
    deflating = zlib.compressobj(wbits=-15)
    return deflating.compress(data) + deflating.flush()


def read(encoding: str, sent: bytes, *, piece: int = 1000, max_bytes: int = 1 << 20, max_ratio: int = 100) -> bytes:
    body = Body(encoding, max_bytes=max_bytes, max_ratio=max_ratio)
    for start in range(0, len(sent), piece):
        body.feed(sent[start : start + piece])
    return body.finish()


@pytest.mark.parametrize("piece", [1, 7, 100000])
@pytest.mark.parametrize(
    ("encoding", "sent"),
    [
        ("", PLAIN),
        ("identity", PLAIN),
        ("gzip", gzip.compress(PLAIN, mtime=0)),
        (" GZip ", gzip.compress(PLAIN, mtime=0)),
        (
            "x-gzip",
            gzip.compress(PLAIN[:50], mtime=0) + gzip.compress(b"", mtime=0) + gzip.compress(PLAIN[50:], mtime=0),
        ),
        ("deflate", zlib.compress(PLAIN)),
        ("deflate", raw_deflate(PLAIN)),
    ],
)
def test_every_encoding_that_is_asked_for_is_read(encoding: str, sent: bytes, piece: int) -> None:
    assert read(encoding, sent, piece=piece) == PLAIN


def test_output_that_ends_exactly_with_a_slice_is_complete() -> None:
    for size in (65535, 65536, 65537, 131072):
        for compressed, encoding in ((raw_deflate, "deflate"), (gzip.compress, "gzip")):
            plain = b"a" * size
            assert read(encoding, compressed(plain), piece=1 << 20) == plain


def test_no_body_under_an_encoding_is_an_empty_body() -> None:
    assert read("gzip", b"") == b""


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, gzip", "gzip, identity", "nonsense", "\x00"])
def test_an_encoding_that_was_not_asked_for_is_refused(encoding: str) -> None:
    with pytest.raises(ResponseMalformed):
        read(encoding, PLAIN)


@pytest.mark.parametrize(
    ("encoding", "sent"),
    [
        ("gzip", PLAIN),
        ("gzip", gzip.compress(PLAIN, mtime=0)[:-1]),
        ("gzip", gzip.compress(PLAIN, mtime=0)[:40]),
        ("gzip", gzip.compress(PLAIN, mtime=0) + b"garbage"),
        ("gzip", gzip.compress(PLAIN, mtime=0)[:-8] + b"00000000"),
        ("deflate", zlib.compress(PLAIN)[:-1]),
        ("deflate", zlib.compress(PLAIN) + b"x"),
        ("deflate", raw_deflate(PLAIN)[:-1]),
    ],
)
def test_broken_compression_is_refused(encoding: str, sent: bytes) -> None:
    with pytest.raises(ResponseMalformed):
        read(encoding, sent)


def test_the_cap_holds_for_the_bytes_as_sent() -> None:
    assert read("", b"x" * 1000, max_bytes=1000) == b"x" * 1000
    with pytest.raises(ResponseTooLarge):
        read("", b"x" * 1001, max_bytes=1000)


def test_the_cap_holds_for_the_bytes_as_decompressed() -> None:
    assert read("gzip", gzip.compress(b"x" * 1000, mtime=0), max_bytes=1000) == b"x" * 1000
    with pytest.raises(ResponseTooLarge):
        read("gzip", gzip.compress(b"x" * 1001, mtime=0), max_bytes=1000)


def test_a_bomb_is_stopped_by_its_ratio_long_before_the_cap() -> None:
    bomb = Body("gzip", max_bytes=1 << 40, max_ratio=100)
    sent = gzip.compress(bytes(64 << 20), mtime=0)
    tracemalloc.start()
    with pytest.raises(ResponseTooLarge):
        bomb.feed(sent)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20
    assert bomb._body == b""  # an error that is kept does not keep the bomb
    assert read("gzip", gzip.compress(bytes(200_000), mtime=0)) == bytes(200_000)  # small: harms nobody
