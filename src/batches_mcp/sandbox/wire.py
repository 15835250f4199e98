"""The JSON shapes of the API, and its ids and timestamps. Key order is the captured one."""

import hashlib
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from typing import Any

from batches_mcp.sandbox.lifecycle import Batch, Counts, Status, archived_us

__all__ = [
    "BATCHES_PATH",
    "COUNT_PATH",
    "MESSAGES_PATH",
    "MOCK_PATH",
    "Json",
    "batch_json",
    "deleted_json",
    "error_json",
    "opaque_id",
    "page_json",
    "timestamp",
]

MESSAGES_PATH = "/v1/messages"
BATCHES_PATH = f"{MESSAGES_PATH}/batches"
COUNT_PATH = f"{MESSAGES_PATH}/count_tokens"
MOCK_PATH = "/rest/anthropic-message-batches-api/1.0.0/messages/batches"
"""Where a published mock server of this API has it."""

Json = dict[str, Any]

_NONE = Counts(0, 0, 0, 0)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def timestamp(instant_us: int | None) -> str | None:
    """Captured form: microseconds and `+00:00`, as in `2025-01-29T14:24:59.570697+00:00`."""
    if instant_us is None:
        return None
    return (_EPOCH + timedelta(microseconds=instant_us)).isoformat(timespec="microseconds")


def opaque_id(prefix: str, *parts: object) -> str:
    """An id like the API's (`prefix` + `01` + 22 characters), the same for the same `parts`."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return f"{prefix}01{b64encode(digest, altchars=b'aZ')[:22].decode()}"


def batch_json(batch: Batch, status: Status, now_us: int, url: str, live: Counts = _NONE) -> Json:
    """A MessageBatch: ten keys, always all of them.

    url: of the batches, on the sandbox's own origin: SDKs send the credential wherever `results_url` points.
    live: what a batch that has not ended counts. Documented: nothing but `processing` until the whole batch has ended.
    """
    ended = status is Status.ENDED
    counts = batch.ending.counts if ended else live
    done = counts.succeeded + counts.errored + counts.canceled + counts.expired
    return {
        "id": batch.id,
        "type": "message_batch",
        "processing_status": status.value,
        "request_counts": {
            "processing": batch.total - done,
            "succeeded": counts.succeeded,
            "errored": counts.errored,
            "canceled": counts.canceled,
            "expired": counts.expired,
        },
        "ended_at": timestamp(batch.ending.at_us) if ended else None,
        "created_at": timestamp(batch.created_us),
        "expires_at": timestamp(batch.expires_us),
        "archived_at": timestamp(archived_us(batch, now_us)),
        "cancel_initiated_at": timestamp(batch.cancel_initiated_us),
        "results_url": f"{url}/{batch.id}/results" if ended else None,
    }


def page_json(batches: list[Json], *, has_more: bool) -> Json:
    """A page of a list. Inferred: an empty page has null ids."""
    return {
        "data": batches,
        "has_more": has_more,
        "first_id": batches[0]["id"] if batches else None,
        "last_id": batches[-1]["id"] if batches else None,
    }


def deleted_json(batch_id: str) -> Json:
    return {"id": batch_id, "type": "message_batch_deleted"}


def error_json(error_type: str, message: str, request_id: str, error_code: str | None = None) -> Json:
    """The error envelope; the same `request_id` stands in the `request-id` header."""
    error: Json = {"type": error_type, "message": message}
    if error_code is not None:
        error["details"] = {"error_code": error_code}
    return {"type": "error", "error": error, "request_id": request_id}
