"""The one table: a behaviour's name in the capability file -> the code around the plain forward, and what it adds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from batches_mcp.batch import listing, wait
from batches_mcp.batch.call import Call
from batches_mcp.plan import Contribution, JsonSchema
from batches_mcp.settings import BatchSettings

Answerer = Callable[[Call], Awaitable[dict[str, Any]]]
"""Answers one call; raises CallError."""


_DEFAULTS = BatchSettings()


@dataclass(frozen=True, slots=True)
class Behavior:
    """A behaviour: how a call is answered, and what it does to the tool's arguments."""

    answer: Answerer
    contribution: Contribution = Contribution()


def behaviors(settings: BatchSettings = _DEFAULTS) -> Mapping[str, Behavior]:
    """The behaviours of a server with these settings."""

    async def submit(call: Call) -> dict[str, Any]:
        from batches_mcp.batch import submit  # brings msgspec, which only creates need

        return await submit.create(call, settings.roots)

    async def status(call: Call) -> dict[str, Any]:
        return await wait.state(call, settings.wait_cap_s)

    return {
        "list": Behavior(listing.page),
        "submit": Behavior(submit, _submit_contribution(bool(settings.roots))),
        "status": Behavior(status, _status_contribution(settings.wait_cap_s)),
    }


def contributions(table: Mapping[str, Behavior]) -> Mapping[str, Contribution]:
    """What `compile_server` needs of the table."""
    return {name: behavior.contribution for name, behavior in table.items()}


# A source of 256 GB; beyond that a number is a mistake.
_MAX_PARTS = 1_000

_REQUEST_ARGUMENTS: Mapping[str, JsonSchema] = {
    "part": {
        "type": "integer",
        "minimum": 1,
        "maximum": _MAX_PARTS,
        "description": "Which part to send, from 1, when one batch cannot hold them all; dry_run counts the parts.",
    },
    "dry_run": {
        "type": "boolean",
        "default": False,
        "description": "Check the requests and say what they would make, without sending anything.",
    },
    "skip_invalid": {
        "type": "boolean",
        "default": False,
        "description": "Send the requests without errors and leave the others out, which are named in the answer.",
    },
}

_FILE_NAME: JsonSchema = {"type": "string", "minLength": 1, "maxLength": 4096}

_FILE_ARGUMENTS: Mapping[str, JsonSchema] = {
    "requests_file": {
        **_FILE_NAME,
        "description": "In place of requests: a file on the server, read there at no cost of context. JSONL with "
        "{custom_id, params} in each line, or a JSON array of those; may be gzipped.",
    },
    "rows_file": {
        **_FILE_NAME,
        "description": "In place of requests: a CSV, TSV or JSONL file on the server, of whose rows `template` makes "
        "requests. A column custom_id gives the ids; without one they are row-000001 and on.",
    },
    "template": {
        "type": "object",
        "description": "With rows_file: the params of each request; {{column}} in a text stands for the row's value.",
    },
}

_NO_FILES = "this server reads no files; it is started with --root DIR to let it"


def _status_contribution(cap_s: float) -> Contribution:
    wait: JsonSchema = {
        "type": "integer",
        "minimum": 0,
        "maximum": 86_400,
        "default": 0,
        "description": f"Wait up to this long for the batch to end before answering; at most {cap_s:g} s in one call.",
    }
    return Contribution({"wait_seconds": wait})


def _submit_contribution(files: bool) -> Contribution:
    checks = frozenset({"requests"})
    if not files:
        return Contribution(_REQUEST_ARGUMENTS, frozenset(), checks, dict.fromkeys(_FILE_ARGUMENTS, _NO_FILES))
    return Contribution({**_FILE_ARGUMENTS, **_REQUEST_ARGUMENTS}, frozenset({"requests"}), checks)
