"""Receiving a request's body into a file, decoded, within the limits."""

import zlib
from typing import IO

from anyio import to_thread
from starlette.requests import ClientDisconnect, Request

from batches_mcp.sandbox import errors
from batches_mcp.sandbox.answers import Answer
from batches_mcp.sandbox.ingest import MAX_BODY_BYTES

__all__ = ["receive"]

_WRITE_BYTES = 256 * 1024


async def receive(request: Request, body: IO[bytes], max_bytes: int = MAX_BODY_BYTES) -> None:
    """Write the request's body to a file and rewind it; ApiError 413 beyond the limit, 400 if it cannot be decoded."""
    if int(request.headers.get("content-length", "0")) > max_bytes:
        raise errors.request_too_large(Answer.TOO_LARGE)
    writer = _writer(request.headers.get("content-encoding", ""), body, max_bytes)
    held = bytearray()
    received_bytes = 0
    try:
        async for part in request.stream():
            received_bytes += len(part)
            if received_bytes > max_bytes:
                raise errors.request_too_large(Answer.TOO_LARGE)
            held += part
            if len(held) >= _WRITE_BYTES:
                await to_thread.run_sync(writer.write, bytes(held))
                held.clear()
    except ClientDisconnect:
        raise errors.invalid_json("the body ended early") from None
    await to_thread.run_sync(writer.write, bytes(held))
    writer.finish()
    body.seek(0)


def _writer(encoding: str, body: IO[bytes], max_bytes: int) -> "_Plain | _Gzip":
    match encoding.strip().lower():
        case "" | "identity":
            return _Plain(body)
        case "gzip":
            return _Gzip(body, max_bytes)
        case other:
            raise errors.bad_encoding(f"{other[:40]!r} is not supported; send gzip or none")


class _Plain:
    def __init__(self, body: IO[bytes]) -> None:
        self._body = body

    def write(self, data: bytes) -> None:
        self._body.write(data)

    def finish(self) -> None:
        pass


class _Gzip:
    def __init__(self, body: IO[bytes], max_bytes: int) -> None:
        self._body = body
        self._max_bytes = max_bytes
        self._decoder = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        self._decoded_bytes = 0

    def write(self, data: bytes) -> None:
        while data:
            try:
                decoded = self._decoder.decompress(data, _WRITE_BYTES)
            except zlib.error as error:
                raise errors.bad_encoding(f"broken gzip: {error}") from None
            self._decoded_bytes += len(decoded)
            if self._decoded_bytes > self._max_bytes:
                raise errors.too_large_decoded()
            self._body.write(decoded)
            data = self._decoder.unconsumed_tail

    def finish(self) -> None:
        if not self._decoder.eof or self._decoder.unused_data:
            raise errors.bad_encoding("broken gzip: it does not end where the body ends")
