"""How log records are written: lines for people, or one JSON object a line for programs."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from batches_mcp.core.context import current
from batches_mcp.core.redact import RedactingFilter, Redactor, printable

LogFormat = Literal["text", "json"]

# What a record's `extra` may hold beside its message: names and values for programs.
FIELDS = "fields"
_OF_CALL = ("request_id", "upstream_request_id", "trace_id", "team", "principal")


class JsonFormatter(logging.Formatter):
    """Writes a record as a JSON object: `time` (RFC 3339, UTC), `level`, `logger`, `message`, and what is known of the
    call that it belongs to; a traceback is one member, `exception`. Secrets are masked in all of it.
    """

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        members: dict[str, Any] = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (call := current()) is not None:
            members |= {name: value for name in _OF_CALL if (value := getattr(call, name)) is not None}
        fields: Mapping[str, Any] = getattr(record, FIELDS, {})
        members |= fields
        if record.exc_info:
            members["exception"] = self.formatException(record.exc_info)
        elif record.exc_text:
            members["exception"] = record.exc_text
        return json.dumps({name: self._safe(value) for name, value in members.items()})

    def _safe(self, value: Any) -> Any:
        return printable(self._redactor.text(value)) if isinstance(value, str) else value


def configure(level: str, redactor: Redactor, log_format: LogFormat) -> None:
    """Log to standard error, with secrets masked in every record; as JSON also what Python itself warns of."""
    handler = logging.StreamHandler()
    if log_format == "json":
        handler.setFormatter(JsonFormatter(redactor))
        logging.captureWarnings(True)
        threading.excepthook = _thread_failed
    else:
        handler.setFormatter(logging.Formatter("batches-mcp: %(levelname)s: %(name)s: %(message)s"))
    handler.addFilter(RedactingFilter(redactor))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def written_as_json(text: str, level: int = logging.INFO) -> bool:
    """Write what is said to a person as a log record, whatever the level of the log; false where logs are not JSON."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, JsonFormatter):
            handler.handle(logging.LogRecord("batches_mcp", level, "", 0, text, None, None))
            return True
    return False


def _thread_failed(found: threading.ExceptHookArgs) -> None:
    if found.exc_value is not None:
        failure = (found.exc_type, found.exc_value, found.exc_traceback)
        logging.getLogger(__name__).error("a thread ended with an error", exc_info=failure)
