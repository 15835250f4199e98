"""A create's body, from a file of any size to stored requests, in constant memory.

Documented and captured: the whole body is refused for its shape (`custom_id`, presence of `params`, number of
requests); what is inside `params` is looked at later, request by request.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import IO

from batches_mcp.sandbox.answers import Answer
from batches_mcp.sandbox.errors import invalid_body, invalid_json, request_too_large
from batches_mcp.sandbox.inferred import Inferred
from batches_mcp.sandbox.jsontext import InvalidJson, JsonText, ValueTooLarge
from batches_mcp.sandbox.lifecycle import Terms, Work
from batches_mcp.sandbox.outcomes import judge, sampling_removed

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


Refuse = Callable[[str, Answer], None]
"""Is given what is wrong, and which answer that gets."""


@dataclass(frozen=True, slots=True)
class _Problem:
    message: str
    answer: Answer


def ingest(body: IO[bytes], terms: Terms, keep: KeepRequests, choices: Inferred) -> Work:
    """Read a create's body to its end, hand its requests to `keep` in order, and return what they come to.

    Raises ApiError when the body is refused; some requests may have been kept by then. Inferred: of several problems,
    broken JSON is reported before a wrong shape, that before a wrong number, and that before a duplicate.
    """
    text = JsonText(iter(partial(body.read, _READ_BYTES), b""), max_value_chars=_MAX_REQUEST_CHARS)
    intake = _Intake(terms, keep, choices)
    try:
        for value, written in elements(text, intake.refuse):
            intake.add(value, written)
    except InvalidJson as error:
        raise invalid_json(str(error)) from None
    except ValueTooLarge:
        raise request_too_large(Answer.REQUEST_TOO_LARGE) from None
    return intake.finish()


def elements(text: JsonText, refuse: Refuse) -> Iterator[tuple[object, str]]:
    """Each element of the body's `requests`, decoded and as written; `refuse` is given what is wrong around them."""
    if not text.take("{"):
        text.value()
        text.finish()
        refuse("Input should be a valid dictionary", Answer.WRONG_SHAPE)
        return
    found = False
    more = not text.take("}")
    while more:
        key = text.key()
        text.expect(":")
        if key != "requests" or found:
            text.value()
            refuse(f"{key[:100]}: Extra inputs are not permitted", Answer.EXTRA_KEY)
        else:
            found = True
            yield from _array(text, refuse)
        more = not text.take("}")
        if more:
            text.expect(",")
    text.finish()
    if not found:
        refuse("requests: Field required", Answer.MISSING_REQUESTS)


def _array(text: JsonText, refuse: Refuse) -> Iterator[tuple[object, str]]:
    if not text.take("["):
        text.value()
        refuse("requests: Input should be a valid list", Answer.WRONG_SHAPE)
        return
    more = not text.take("]")
    if not more:
        refuse("requests: List should have at least 1 item after validation, not 0", Answer.NO_REQUESTS)
    while more:
        yield text.value()
        more = not text.take("]")
        if more:
            text.expect(",")


class _Intake:
    """What is known about a body while it is read: problems, ids seen, fates, requests not handed over yet."""

    def __init__(self, terms: Terms, keep: KeepRequests, choices: Inferred) -> None:
        self._terms = terms
        self._keep = keep
        self._choices = choices
        self._problem: _Problem | None = None
        self._duplicate: str | None = None
        self._total = 0
        self._custom_ids: set[str] = set()
        self._fates = bytearray()
        self._slow_us: dict[int, int] = {}
        self._held: list[bytes] = []
        self._held_bytes = 0

    def refuse(self, message: str, answer: Answer) -> None:
        """The first problem is the one that is reported."""
        if answer is Answer.EXTRA_KEY and self._choices.extra_key == "ignore":
            return
        self._problem = self._problem or _Problem(message, answer)

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
        verdict = judge(params, self._terms)
        self._fates.append(verdict.fate)
        if verdict.slow_us:
            self._slow_us[index] = verdict.slow_us
        self._hold(written.encode())

    def finish(self) -> Work:
        if self._problem:
            raise invalid_body(self._problem.answer, self._problem.message)
        if self._total > MAX_REQUESTS:
            raise invalid_body(
                Answer.TOO_MANY_REQUESTS,
                f"requests: List should have at most {MAX_REQUESTS} items after validation, not {self._total}",
                int(self._choices.too_many_requests),
            )
        if self._duplicate is not None:
            raise invalid_body(
                Answer.DUPLICATE_CUSTOM_ID,
                f"requests: custom_id's must be unique within a batch. Duplicate custom_id found: {self._duplicate}",
            )
        self._hand_over()
        return Work(bytes(self._fates), self._slow_us)

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
            self.refuse(f"{where}: Input should be a valid dictionary", Answer.WRONG_SHAPE)
        elif "custom_id" not in value:
            self.refuse(f"{where}.custom_id: Field required", Answer.MISSING_CUSTOM_ID)
        elif problem := _custom_id_problem(value["custom_id"]):
            self.refuse(f"{where}.custom_id: {problem.message}", problem.answer)
        elif "params" not in value:
            self.refuse(f"{where}.params: Field required", Answer.MISSING_PARAMS)
        elif not isinstance(params := value["params"], dict):
            self.refuse(f"{where}.params: Input should be a valid dictionary", Answer.PARAMS_TYPE)
        else:
            for key in value:
                if key not in ("custom_id", "params"):
                    self.refuse(f"{where}.{key[:100]}: Extra inputs are not permitted", Answer.EXTRA_KEY)
            if self._choices.sampling_keys == "create" and (error := sampling_removed(params, self._terms)):
                self.refuse(f"{where}.params.{error.message}", Answer.SAMPLING_KEYS)
            return value["custom_id"], params
        return None


def _custom_id_problem(custom_id: object) -> _Problem | None:
    if not isinstance(custom_id, str):
        return _Problem("Input should be a valid string", Answer.CUSTOM_ID_TYPE)
    if not custom_id:
        return _Problem("String should have at least 1 character", Answer.EMPTY_CUSTOM_ID)
    if len(custom_id) > _CUSTOM_ID_MAX_CHARS:
        return _Problem(f"String should have at most {_CUSTOM_ID_MAX_CHARS} characters", Answer.LONG_CUSTOM_ID)
    if not _CUSTOM_ID.fullmatch(custom_id):
        return _Problem(f"String should match pattern '{_CUSTOM_ID_PATTERN}'", Answer.CUSTOM_ID_CHARSET)
    return None
