"""What the answer to a request that is too large says, and the other ways of making a large batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

# MCP's messages are read into memory as a whole.
MAX_BODY_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class WaysOn:
    """Which other ways of making a batch this server offers. `create_path` is REST's, None when REST has no create."""

    creates: bool
    files: bool
    create_path: str | None = None


def too_large(found_bytes: int | None, ways: WaysOn) -> str:
    """The answer to a message over the limit; its length is not known (None) when it did not say."""
    found = "more than that" if found_bytes is None else f"{found_bytes:,} bytes"
    lines = [f"The request is too large: found {found}, expected at most {MAX_BODY_BYTES:,} bytes (32 MiB)."]
    if ways.creates:
        lines += ["Other ways to make a large batch:", *_ways_on(ways)]
    return "\n".join(lines)


def _ways_on(ways: WaysOn) -> Iterator[str]:
    yield "- Available: several calls, each with some of the requests."
    files = "requests_file or rows_file names a file on the server, of any size, in place of requests"
    yield f"- Available: {files}." if ways.files else f"- Not switched on: {files}. Start the server with --root DIR."
    if ways.create_path is not None:
        yield f"- Available: a create over REST takes up to 256 MB: POST {ways.create_path}."
    else:
        yield "- Not switched on: a create over REST takes up to 256 MB. Start the server with --rest."
    yield "- At a shell: `batches-mcp run FILE -o OUT` takes a file of any size, and splits it."
