"""The error tree.

BatchesMcpError                  anything this program raises on purpose
├── UsageError                   flags or environment are wrong: exit 2
├── UnreadableFile               a file named by the user cannot be read: exit 2
├── CapabilityError              a capability file does not load: exit 1, carries every diagnostic
│   └── TeamsError               the same of a teams file
├── ServeError                   the server cannot start (port in use and the like): exit 1
└── CallError                    one tool call cannot be answered; becomes an `isError` result
    ├── InvalidArguments         the arguments do not fit the tool's input schema
    ├── MissingVariable          a bound environment variable is not set
    ├── UpstreamError            the upstream answered with an error status
    ├── UpstreamUnreachable      no answer: connection failed, broke, or took too long
    ├── UnusableAnswer           a success status, but not an answer we can hand on
    └── StateUnusable            the state folder cannot be made, read or written
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batches_mcp.core.diagnostics import Diagnostic


class BatchesMcpError(Exception):
    """Root of every error raised on purpose; its text is written for the person who reads it."""


class UsageError(BatchesMcpError):
    """Flags, environment variables or their combination are wrong."""


class UnreadableFile(BatchesMcpError):
    """A file the user named cannot be opened or read."""


class ServeError(BatchesMcpError):
    """The server cannot start or keep serving."""


class CapabilityError(BatchesMcpError):
    """A capability file has errors; `diagnostics` holds every problem found, warnings included."""

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__("\n".join(diagnostic.text() for diagnostic in self.diagnostics))


class TeamsError(CapabilityError):
    """A teams file has errors, which are shown in the same way."""


class Retry(StrEnum):
    """Whether the same call again may help. UNSAFE: the first may have been carried out."""

    USELESS = "Retrying the same call will not help."
    HELPS = "A retry may help"
    UNSAFE = "Do not repeat the call before that: it might be carried out, and paid, twice."


@dataclass(frozen=True, slots=True)
class ErrorReport:
    """What a failed call tells its caller, as data.

    `next_step` is for the model that made the call; `at_shell` is for the person who gave a command, empty where the
    message says it all. `status` is the upstream's HTTP status and `request_id` its id for the exchange, where there
    was an answer. `retry_after_s` is how long to wait before a retry that may help. `in_doubt`: the call may have been
    carried out.
    """

    type: str
    message: str
    next_step: str
    retry: Retry = Retry.USELESS
    retry_after_s: float | None = None
    status: int | None = None
    request_id: str | None = None
    error_code: str | None = None
    in_doubt: bool = False
    at_shell: str = ""

    def what(self) -> str:
        """`type (HTTP status, request id): message`."""
        exchange = [f"HTTP {self.status}"] if self.status is not None else []
        exchange += [f"request {self.request_id}"] if self.request_id else []
        where = f" ({', '.join(exchange)})" if exchange else ""
        return f"{self.type}{where}: {self.message}"

    def text(self) -> str:
        """What happened, then what a model does next and whether a retry helps."""
        retry = str(self.retry)
        if self.retry is Retry.HELPS:
            retry += "." if self.retry_after_s is None else f", after {round(self.retry_after_s, 3):.10g} s."
        return f"{self.what()}\nNext: {self.next_step} {retry}"

    def text_at_shell(self) -> str:
        """What happened, then what a person does next."""
        return f"{self.what()}\nNext: {self.at_shell}" if self.at_shell else self.what()

    def data(self) -> dict[str, str | int | float | bool]:
        """The same for a program; keys without a value are left out."""
        values: dict[str, str | int | float | bool | None] = {
            "type": self.type,
            "status": self.status,
            "request_id": self.request_id,
            "error_code": self.error_code,
            "message": self.message,
            "next_step": self.next_step,
            "retryable": self.retry is Retry.HELPS,
            "retry_after_s": self.retry_after_s,
            "in_doubt": self.in_doubt or None,
        }
        return {name: value for name, value in values.items() if value is not None}


class CallError(BatchesMcpError):
    """One call failed; `report` says how and what to do. Its own text is that for a shell."""

    def __init__(self, report: ErrorReport) -> None:
        self.report = report
        super().__init__(report.text_at_shell())


class InvalidArguments(CallError):
    """The arguments do not fit the tool's input schema."""


class MissingVariable(CallError):
    """A variable the capability file binds has no value in the environment."""


class UpstreamError(CallError):
    """The upstream answered with an error status; `headers` and `body` are its answer, for who hands it on."""

    def __init__(self, report: ErrorReport, headers: Mapping[str, str] | None = None, body: bytes = b"") -> None:
        self.headers = headers or {}
        self.body = body
        super().__init__(report)


class UpstreamUnreachable(CallError):
    """The upstream gave no answer; `maybe_accepted` tells whether it may have acted on the request."""

    def __init__(self, report: ErrorReport, *, maybe_accepted: bool) -> None:
        self.maybe_accepted = maybe_accepted
        super().__init__(report)


class UnusableAnswer(CallError):
    """The upstream answered with success, but with something that cannot be handed on."""


class StateUnusable(CallError):
    """The folder for what outlives a call cannot be made, read or written."""
