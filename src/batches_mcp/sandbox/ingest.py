"""A create's body, from a file of any size to stored requests, in constant memory.

Documented and captured: the whole body is refused for its shape (`custom_id`, presence of `params`, number of
requests); what is inside `params` is looked at later, request by request.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import IO

from batches_mcp.sandbox.errors import invalid_body, invalid_json, request_too_large
from batches_mcp.sandbox.evidence import Evidence
from batches_mcp.sandbox.jsontext import InvalidJson, JsonText, ValueTooLarge
from batches_mcp.sandbox.lifecycle import Terms
from batches_mcp.sandbox.outcomes import judge

__all__ = ["MAX_BODY_BYTES", "MAX_REQUESTS", "KeepRequests", "elements", "ingest"]

# Documented: 256 MB. Whether it means MB or MiB is not stated; this is the reading that is safe for clients.
MAX_BODY_BYTES = 256_000_000
# Documented.
MAX_REQUESTS = 100_000
# Inferred: one request may be as long as the Messages API takes, 32 MB.
_MAX_REQUEST_CHARS = 32_000_000

_READ_BYTES = 256 * 1024
_KEEP_BYTES = 1024 * 1024

# Captured, in the message of the API.
_CUSTOM_ID_PATTERN = "^[a-zA-Z0-9_-]{1,64}$"
_CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_CUSTOM_ID_MAX_CHARS = 64

KeepRequests = Callable[[int, list[bytes]], None]
"""Takes (index of the first, the requests as they were sent, UTF-8)."""


@dataclass(frozen=True, slots=True)
class _Problem:
    message: str
    evidence: Evidence


def ingest(body: IO[bytes], terms: Terms, keep: KeepRequests) -> bytes:
    """Read a create's body to its end, hand its requests to `keep` in order, and return one `Fate` for each.

    Raises ApiError when the body is refused; some requests may have been kept by then. Inferred: of several problems,
    broken JSON is reported before a wrong shape, that before a wrong number, and that before a duplicate.
    """
    text = JsonText(iter(partial(body.read, _READ_BYTES), b""), max_value_chars=_MAX_REQUEST_CHARS)
    intake = _Intake(terms, keep)
    try:
        for value, written in elements(text, intake.refuse):
            intake.add(value, written)
    except InvalidJson as error:
        raise invalid_json(str(error)) from None
    except ValueTooLarge:
        raise request_too_large() from None
    return intake.finish()


def elements(text: JsonText, refuse: Callable[[str, Evidence], None]) -> Iterator[tuple[object, str]]:
    """Each element of the body's `requests`, decoded and as written; `refuse` is told what is wrong around them."""
    if not text.take("{"):
        text.value()
        text.finish()
        refuse("Input should be a valid dictionary", Evidence.INFERRED)
        return
    found = False
    more = not text.take("}")
    while more:
        key = text.key()
        text.expect(":")
        if key != "requests" or found:
            text.value()
            refuse(f"{key[:100]}: Extra inputs are not permitted", Evidence.INFERRED)
        else:
            found = True
            yield from _array(text, refuse)
        more = not text.take("}")
        if more:
            text.expect(",")
    text.finish()
    if not found:
        refuse("requests: Field required", Evidence.INFERRED)


def _array(text: JsonText, refuse: Callable[[str, Evidence], None]) -> Iterator[tuple[object, str]]:
    if not text.take("["):
        text.value()
        refuse("requests: Input should be a valid list", Evidence.INFERRED)
        return
    more = not text.take("]")
    if not more:
        refuse("requests: List should have at least 1 item after validation, not 0", Evidence.CAPTURED)
    while more:
        yield text.value()
        more = not text.take("]")
        if more:
            text.expect(",")


class _Intake:
    """What is known about a body while it is read: problems, ids seen, fates, requests not handed over yet."""

    def __init__(self, terms: Terms, keep: KeepRequests) -> None:
        self._terms = terms
        self._keep = keep
        self._problem: _Problem | None = None
        self._duplicate: str | None = None
        self._total = 0
        self._custom_ids: set[str] = set()
        self._fates = bytearray()
        self._held: list[bytes] = []
        self._held_bytes = 0

    def refuse(self, message: str, evidence: Evidence) -> None:
        """The first problem is the one that is reported."""
        self._problem = self._problem or _Problem(message, evidence)

    def add(self, value: object, written: str) -> None:
        index = self._total
        self._total += 1
        if self._problem or self._total > MAX_REQUESTS:
            return
        request = self._checked(index, value)
        if request is None:
            return
        custom_id, params = request
        if custom_id in self._custom_ids:
            self._duplicate = self._duplicate or custom_id
        self._custom_ids.add(custom_id)
        self._fates.append(judge(params, self._terms).fate)
        self._hold(written.encode())

    def finish(self) -> bytes:
        if self._problem:
            raise invalid_body(self._problem.message, self._problem.evidence)
        if self._total > MAX_REQUESTS:
            # Documented limit, inferred answer.
            raise invalid_body(
                f"requests: List should have at most {MAX_REQUESTS} items after validation, not {self._total}",
                Evidence.INFERRED,
            )
        if self._duplicate is not None:
            raise invalid_body(
                f"requests: custom_id's must be unique within a batch. Duplicate custom_id found: {self._duplicate}",
                Evidence.CAPTURED,
            )
        self._hand_over()
        return bytes(self._fates)

    def _hold(self, request: bytes) -> None:
        self._held.append(request)
        self._held_bytes += len(request)
        if self._held_bytes >= _KEEP_BYTES:
            self._hand_over()

    def _hand_over(self) -> None:
        if self._held:
            self._keep(len(self._fates) - len(self._held), self._held)
            self._held, self._held_bytes = [], 0

    def _checked(self, index: int, value: object) -> tuple[str, dict[str, object]] | None:
        """The request's two parts, or None once its problem is noted."""
        where = f"requests.{index}"
        if not isinstance(value, dict):
            self.refuse(f"{where}: Input should be a valid dictionary", Evidence.INFERRED)
        elif "custom_id" not in value:
            self.refuse(f"{where}.custom_id: Field required", Evidence.CAPTURED)
        elif problem := _custom_id_problem(value["custom_id"]):
            self.refuse(f"{where}.custom_id: {problem.message}", problem.evidence)
        elif "params" not in value:
            self.refuse(f"{where}.params: Field required", Evidence.CAPTURED)
        elif not isinstance(value["params"], dict):
            self.refuse(f"{where}.params: Input should be a valid dictionary", Evidence.INFERRED)
        elif (extra := next((key for key in value if key not in ("custom_id", "params")), None)) is not None:
            self.refuse(f"{where}.{extra[:100]}: Extra inputs are not permitted", Evidence.INFERRED)
        else:
            return value["custom_id"], value["params"]
        return None


def _custom_id_problem(custom_id: object) -> _Problem | None:
    if not isinstance(custom_id, str):
        return _Problem("Input should be a valid string", Evidence.INFERRED)
    if not custom_id:
        return _Problem("String should have at least 1 character", Evidence.INFERRED)
    if len(custom_id) > _CUSTOM_ID_MAX_CHARS:
        return _Problem(f"String should have at most {_CUSTOM_ID_MAX_CHARS} characters", Evidence.CAPTURED)
    if not _CUSTOM_ID.fullmatch(custom_id):
        return _Problem(f"String should match pattern '{_CUSTOM_ID_PATTERN}'", Evidence.CAPTURED)
    return None
