"""A response body read within a budget: bytes as sent, bytes as decompressed, and the ratio between them."""

import zlib
from typing import Final, Protocol

from compass.outbound.errors import ResponseMalformed, ResponseTooLarge

ACCEPTED: Final = "gzip, deflate"
_SLICE_BYTES: Final = 64 * 1024
"""Decompressed at a time, so the ratio is looked at before much of a bomb exists."""
_RATIO_COUNTS_FROM_BYTES: Final = 256 * 1024
"""A small answer may compress extremely well (a page of zeros); below this size it harms nobody."""


_DEFLATE_NIBBLE: Final = 8
"""How a zlib stream begins. Source: RFC 1950 §2.2, CM."""


class _Inflating(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    @property
    def unconsumed_tail(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class Body:
    """Bytes as they come in, decompressed by the `Content-Encoding` the receiver named."""

    def __init__(self, encoding: str, *, max_bytes: int, max_ratio: int) -> None:
        self._encoding = encoding.strip().lower()
        if self._encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
            raise ResponseMalformed
        self._max_bytes = max_bytes
        self._max_ratio = max_ratio
        self._received = 0
        self._inflating: _Inflating | None = None
        self._body = bytearray()

    def feed(self, chunk: bytes) -> None:
        """Add what came from the socket. Raises ResponseTooLarge, ResponseMalformed."""
        self._received += len(chunk)
        if self._received > self._max_bytes:
            self._body.clear()
            raise ResponseTooLarge
        if self._encoding in ("", "identity"):
            self._body += chunk
            return
        self._inflate(chunk)

    def finish(self) -> bytes:
        """The whole body. Raises ResponseMalformed when compressed data ends early, and ResponseTooLarge."""
        if self._inflating is not None and not self._inflating.eof:
            # The last slice was full: zlib may have read all the input and still hold some of the output.
            self._grow(self._inflating, b"")
            if not self._inflating.eof:
                raise ResponseMalformed
        return bytes(self._body)

    def _inflate(self, data: bytes) -> None:
        while data:
            if self._inflating is None:
                self._inflating = self._start(data)
            elif self._inflating.eof:
                if self._encoding == "deflate":
                    raise ResponseMalformed
                self._inflating = self._start(data)  # gzip allows several members, one after the other
            self._grow(self._inflating, data)
            data = self._inflating.unconsumed_tail or self._inflating.unused_data

    def _grow(self, inflating: _Inflating, data: bytes) -> None:
        try:
            self._body += inflating.decompress(data, _SLICE_BYTES)
        except zlib.error:
            raise ResponseMalformed from None
        consumed = self._received - len(inflating.unconsumed_tail) - len(inflating.unused_data)
        if len(self._body) > min(self._max_bytes, max(_RATIO_COUNTS_FROM_BYTES, self._max_ratio * consumed)):
            self._body.clear()  # whoever keeps the error keeps this frame, and with it the bomb
            raise ResponseTooLarge

    def _start(self, data: bytes) -> _Inflating:
        if self._encoding == "deflate":
            # Half of the servers send the zlib form the standard means, half a raw stream: the first nibble tells.
            return zlib.decompressobj(zlib.MAX_WBITS if data[0] & 0x0F == _DEFLATE_NIBBLE else -zlib.MAX_WBITS)
        return zlib.decompressobj(16 + zlib.MAX_WBITS)
