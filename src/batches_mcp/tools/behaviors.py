"""The one table: a behaviour's name in the capability file -> the code around the plain forward, and what it adds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from batches_mcp.api.operations import BATCH_ID
from batches_mcp.api.outcomes import RESULT_TYPES
from batches_mcp.core.plan import Contribution, JsonSchema
from batches_mcp.core.settings import BatchSettings
from batches_mcp.store.entry import MOST_LABEL_CHARS
from batches_mcp.tools import about
from batches_mcp.tools.call import Call
from batches_mcp.work.account import Account
from batches_mcp.work.ownership import own_ids, sees_all
from batches_mcp.work.retryable import ON_REQUEST, PASSING

Answerer = Callable[[Call], Awaitable[dict[str, Any]]]
"""Answers one call; raises CallError."""

Beginner = Callable[[Account], Coroutine[Any, Any, None]]
"""What is done once for the account of a tool, beside the calls, when a server starts; raises nothing."""

Completer = Callable[[Account], Awaitable[Sequence[str]]]
"""The values of an argument that a tool of the behaviour knows, the likeliest first; raises CallError."""

_DEFAULTS = BatchSettings()


@dataclass(frozen=True, slots=True)
class Behavior:
    """A behaviour: how a call is answered, what it does to the tool's arguments, and what a server begins with.

    `completes` are arguments of prompts and resources whose values it knows. `about` says of an answer, whichever
    tool's, with which arguments a call of this behaviour would tell more of the same; None: with none.
    """

    answer: Answerer
    contribution: Contribution = Contribution()
    begin: Beginner | None = None
    completes: Mapping[str, Completer] = field(default_factory=dict)
    about: Callable[[Mapping[str, Any]], Mapping[str, str] | None] = about.nothing


def behaviors(settings: BatchSettings = _DEFAULTS) -> Mapping[str, Behavior]:
    """The behaviours of a server with these settings.

    What answers is imported with the first call, so that a server that only lists its tools starts without it.
    """

    async def submit(call: Call) -> dict[str, Any]:
        from batches_mcp.tools import submit

        return await submit.create(call, settings)

    async def recover(account: Account) -> None:
        from batches_mcp.work import reconcile

        await reconcile.recover(account)

    async def status(call: Call) -> dict[str, Any]:
        from batches_mcp.tools import status

        return await status.state(call, settings.wait_cap_s)

    async def results(call: Call) -> dict[str, Any]:
        from batches_mcp.tools import results

        return await results.answer(call)

    async def page(call: Call) -> dict[str, Any]:
        from batches_mcp.tools import listing

        return await listing.page(call)

    async def cancel(call: Call) -> dict[str, Any]:
        from batches_mcp.tools import ending

        return await ending.cancel(call)

    async def delete(call: Call) -> dict[str, Any]:
        from batches_mcp.tools import ending

        return await ending.delete(call)

    async def newest(account: Account) -> Sequence[str]:
        if not sees_all(account.runtime.caller):
            return await own_ids(account)
        return await account.runtime.newest.ids(account.batches)

    return {
        "cancel": Behavior(cancel),
        "delete": Behavior(delete),
        "list": Behavior(page, completes={BATCH_ID: newest}),
        "results": Behavior(results, Contribution(_RESULTS_ARGUMENTS), about=about.results),
        "status": Behavior(status, _status_contribution(settings.wait_cap_s), about=about.batch),
        "submit": Behavior(submit, _submit_contribution(settings), recover),
    }


def load() -> None:
    """Import what the first call is likely to need."""
    from batches_mcp.tools import ending, listing, status  # noqa: F401


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
        "description": "Which part to send, from 1, when one batch cannot hold them all; dry_run counts them.",
    },
    "dry_run": {
        "type": "boolean",
        "default": False,
        "description": "Only check the requests and estimate their price; nothing is sent.",
    },
    "skip_invalid": {
        "type": "boolean",
        "default": False,
        "description": "Send the requests without errors; the answer names the others.",
    },
}

_FILE_NAME: JsonSchema = {"type": "string", "minLength": 1, "maxLength": 4096}

_FILE_ARGUMENTS: Mapping[str, JsonSchema] = {
    "requests_file": {
        **_FILE_NAME,
        "description": "In place of requests: a file on the server, JSONL with {custom_id, params} in each line, or a "
        "JSON array of those; may be gzipped.",
    },
    "rows_file": {
        **_FILE_NAME,
        "description": "In place of requests: a CSV, TSV or JSONL file on the server, of whose rows `template` makes "
        "requests. Ids are of a column custom_id or of the template, else made up.",
    },
    "template": {
        "type": "object",
        "description": "With rows_file: the params of each request, or {custom_id, params}; {{column}} in a text "
        "stands for the row's value.",
    },
}

_LEDGER_ARGUMENTS: Mapping[str, JsonSchema] = {
    "label": {
        "type": "string",
        "minLength": 1,
        "maxLength": MOST_LABEL_CHARS,
        "description": "Words to find the batch by; kept here, not sent.",
    },
    "allow_duplicate": {
        "type": "boolean",
        "default": False,
        "description": "Send, and bill, the requests of an earlier batch of the last 24 hours once more. Only when the "
        "user wants that.",
    },
    "retry_of": {
        "type": "string",
        "minLength": 1,
        "maxLength": 200,
        "description": "In place of requests: the id of an ended batch of this server, whose requests that failed for "
        "a passing reason are sent again.",
    },
    "retry_types": {
        "type": "array",
        "minItems": 1,
        "maxItems": 10,
        "uniqueItems": True,
        "items": {"type": "string", "enum": [*PASSING, *ON_REQUEST]},
        "description": f"With retry_of: which rows, in place of the first {len(PASSING)}.",
    },
    "retry_max_tokens": {
        "type": "integer",
        "minimum": 1,
        "maximum": 1_000_000,
        "description": "With retry_types [truncated]: the higher max_tokens of these rows.",
    },
}

_CONFIRMED_ARGUMENTS: Mapping[str, JsonSchema] = {
    "confirmed_cost_usd": {
        "type": "number",
        "exclusiveMinimum": 0,
        "description": "The cost that the user has said yes to; only after an error that asks for it.",
    },
}

_NOT_CONFIRMED = "this server asks for no confirmation of costs; it is started with --confirm-over USD to do so"
_NO_FILES = "this server reads no files; it is started with --root DIR to let it"
_NO_LEDGER = "this server was started with --no-ledger, and so remembers no creates"


def _status_contribution(cap_s: float) -> Contribution:
    wait: JsonSchema = {
        "type": "integer",
        "minimum": 0,
        "maximum": 86_400,
        "default": 0,
        "description": f"Wait so long for its end, at most {cap_s:g} s in one call.",
    }
    return Contribution({"wait_seconds": wait})


def _submit_contribution(settings: BatchSettings) -> Contribution:
    files, ledger = bool(settings.roots), settings.ledger
    arguments: dict[str, JsonSchema] = {}
    unavailable: dict[str, str] = {}
    for group, available, why in (
        (_FILE_ARGUMENTS, files, _NO_FILES),
        (_REQUEST_ARGUMENTS, True, ""),
        (_LEDGER_ARGUMENTS, ledger, _NO_LEDGER),
        (_CONFIRMED_ARGUMENTS, settings.confirm_over_usd is not None, _NOT_CONFIRMED),
    ):
        if available:
            arguments |= group
        else:
            unavailable |= dict.fromkeys(group, why)
    optional = frozenset({"requests"}) if files or ledger else frozenset()
    return Contribution(arguments, optional, frozenset({"requests"}), unavailable)


_RESULTS_ARGUMENTS: Mapping[str, JsonSchema] = {
    "limit": {
        "type": "integer",
        "minimum": 1,
        "maximum": 1000,
        "default": 20,
        "description": "How many rows to return at most; fewer when they do not fit.",
    },
    "cursor": {
        "type": "string",
        "minLength": 1,
        "maxLength": 20_000,
        "description": "next_cursor of the page before. It carries the filters.",
    },
    "result_types": {
        "type": "array",
        "minItems": 1,
        "maxItems": len(RESULT_TYPES),
        "items": {"type": "string", "enum": [*RESULT_TYPES]},
        "description": "Only rows of these types. Truncated, refused and paused ones succeeded, but need attention.",
    },
    "custom_ids": {
        "type": "array",
        "minItems": 1,
        "maxItems": 1000,
        "items": {"type": "string", "pattern": "^[a-zA-Z0-9_-]{1,64}$"},
        "description": "Only the rows of these requests.",
    },
    "view": {
        "type": "string",
        "enum": ["text", "full"],
        "default": "text",
        "description": "text: the text of each answer, or its error. full: rows as the API gives them, several times "
        "as long.",
    },
    "max_chars_per_row": {
        "type": "integer",
        "minimum": 20,
        "maximum": 35_000,
        "default": 4000,
        "description": "Cut the text of each row (view full: the row, only when given).",
    },
    "as_file": {
        "type": "string",
        "enum": ["jsonl", "csv"],
        "description": "Write all rows, or those the filters let through, to a file on the server, and return where it "
        "is: jsonl as the API gives them, or csv with text, error and tokens; in the API's order.",
    },
}
