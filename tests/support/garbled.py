"""Answers of the batches API as a bad gateway hands them on. Pure."""

from __future__ import annotations

import json
import random
from datetime import datetime
from typing import Any

# A list may lack what was made in so short a time.
_LISTED_AFTER_S = 60.0


def garbled_batches(body: bytes, how: str, now_s: float) -> bytes:
    """A batch or a list of them: without its id, with a further count, or without the newest; errors as they are."""
    content: dict[str, Any] = json.loads(body)
    match how:
        case "no id":
            content.pop("id", None)
        case "odd counts":
            for batch in [content, *content.get("data", ())]:
                if "request_counts" in batch:
                    batch["request_counts"]["retrying"] = 1
        case "stale" if "data" in content:
            content["data"] = [
                batch
                for batch in content["data"]
                if now_s - datetime.fromisoformat(batch["created_at"]).timestamp() >= _LISTED_AFTER_S
            ]
        case _:
            pass
    return json.dumps(content).encode()


def garbled_rows(body: bytes, how: str, chance: random.Random) -> bytes:
    """Results of which one row is repeated, another's, cut, no JSON, or missing."""
    rows = body.splitlines()
    if not rows or not rows[0].startswith(b'{"custom_id"'):
        return body
    at = chance.randrange(len(rows))
    match how:
        case "repeated":
            rows.insert(at, rows[chance.randrange(len(rows))])
        case "foreign":
            rows.insert(at, json.dumps(json.loads(rows[at]) | {"custom_id": f"alien-{at}"}).encode())
        case "cut row":
            rows[at] = rows[at][: len(rows[at]) // 2]
        case "garbled row":
            rows[at] = b"\xff\x00" + rows[at][::-1]
        case _:
            del rows[at]
    return b"\n".join(rows) + (b"\n" if rows else b"")
