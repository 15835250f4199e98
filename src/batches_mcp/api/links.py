"""Where a batch's results are: at our own host, for those who read it there.

An official client follows a batch's `results_url` as it stands, with its caller's credential. It must not lead past
this server, to the upstream, where that credential is none or somebody else's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pydantic_core import from_json

from batches_mcp.exchange import result

_LINK = "results_url"
_RESULTS = "/results"


def leads_to_results(upstream_path_end: object) -> bool:
    """Whether an operation whose upstream path ends so retrieves a batch's results."""
    return upstream_path_end == _RESULTS


def relinked(body: bytes, own_url: Callable[[str], str | None]) -> bytes:
    """A JSON answer whose batches lead to `own_url` of their ids; as it was when it has none with results."""
    if _LINK.encode() not in body:
        return body
    try:
        content = from_json(body, allow_inf_nan=False)
    except ValueError:
        return body
    changed = False
    for batch in _batches(content):
        if batch[_LINK] is not None:
            batch[_LINK] = own_url(str(batch.get("id")))
            changed = True
    return result.encode(content).encode() if changed else body


def _batches(content: Any) -> Iterator[dict[str, Any]]:
    """The batch that an answer is, or the batches of the page that it is."""
    if not isinstance(content, dict):
        return
    page = content.get("data")
    for each in [content, *(page if isinstance(page, list) else [])]:
        if isinstance(each, dict) and _LINK in each:
            yield each
