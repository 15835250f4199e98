"""`submit`: a create whose requests are checked here first, all of them, before any is sent or paid.

The requests are read twice: once to check, count and split them, once to send the part that was chosen. Nothing of them
is kept in between but their ids.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from batches_mcp import request, result
from batches_mcp.batch import OUR_KEY
from batches_mcp.batch.call import Call
from batches_mcp.batch.cost import estimate
from batches_mcp.batch.files import identity, opened
from batches_mcp.batch.problems import Severity
from batches_mcp.batch.reading import Row, Template, request_rows, template_rows
from batches_mcp.batch.requests import EMPTY_BODY, MOST_SHOWN, SEPARATOR, Part, Rules, Scan, chosen, scan
from batches_mcp.errors import CallError, ErrorReport
from batches_mcp.request import Upload, invalid

# The upstream suggests 10 s; most batches take minutes, and every look costs an agent a turn.
_POLL_AFTER_S = 60
_PIECE_BYTES = 1 << 18
_PROGRESS_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class _Source:
    """Where requests come from.

    `rows` reads them anew each time, `place` says where the one with a number stands, and `unchanged` tells whether
    they are still the same.
    """

    file: str | None
    place: Callable[[int], str]
    rows: Callable[[], Iterator[Row]]
    unchanged: Callable[[], bool]


async def create(call: Call, roots: Sequence[Path]) -> dict[str, Any]:
    """The new batch, and beside it what was left out or is doubtful; for a dry run a report only.

    Raises:
        CallError: whatever went wrong. Requests with errors, and more than a batch holds, are refused unsent.
    """
    with _source(call.arguments, roots) as source:
        found = await anyio.to_thread.run_sync(partial(_scan, source, _rules(call)))
        if call.arguments.get("dry_run"):
            return {OUR_KEY: {"dry_run": report(found)}}
        if found.count(Severity.ERROR) and not call.arguments.get("skip_invalid"):
            raise _refusal(found)
        part = _part(found, call.arguments.get("part"))
        answer = await _send(call, source, found, part)
    batch = result.shape(call.tool.result, answer)
    call.forward.recent.note(call.tool.request, call.arguments, batch, call.forward.upstream.clock.now_s())
    return {**batch, OUR_KEY: _remarks(source, found, part, batch)}


def report(found: Scan) -> dict[str, Any]:
    """What a dry run answers."""
    return {
        "requests": found.requests,
        "bytes": found.body_bytes,
        "parts": len(found.parts),
        "models": dict(found.models.most_common()),
        "errors": found.count(Severity.ERROR),
        "warnings": found.count(Severity.WARNING),
        "problems": [problem.data() for problem in found.problems],
        **({"problems_by_kind": _by_kind(found)} if _hidden(found) else {}),
        "estimate": estimate(found.demand),
    }


@contextmanager
def _source(arguments: Mapping[str, Any], roots: Sequence[Path]) -> Iterator[_Source]:
    """The one source that the arguments name."""
    names = [name for name in ("requests", "requests_file", "rows_file") if name in arguments]
    if len(names) != 1:
        given = f"{', '.join(names)} are given" if names else "none is given"
        raise invalid(f"exactly one of requests, requests_file and rows_file is needed; {given}.")
    if ("template" in arguments) != (names == ["rows_file"]):
        raise invalid("template: goes with rows_file, and rows_file needs it.")
    if names == ["requests"]:
        yield _Source(None, "requests[{}]".format, partial(_inline, arguments["requests"]), lambda: True)
        return
    name = arguments[names[0]]
    with opened(names[0], name, roots) as file:
        before = identity(file)

        def rows() -> Iterator[Row]:
            file.seek(0)
            try:
                if names == ["requests_file"]:
                    yield from request_rows(file)
                else:
                    yield from template_rows(names[0], file, name, Template(arguments["template"]))
            except (OSError, EOFError, zlib.error) as error:
                raise invalid(f"{names[0]}: the file cannot be read to its end: {error}.") from error

        yield _Source(name, "line {}".format, rows, lambda: identity(file) == before)


def _inline(requests: Sequence[Any]) -> Iterator[Row]:
    for index, each in enumerate(requests):
        yield index, result.encode(each).encode()


def _scan(source: _Source, rules: Rules) -> Scan:
    found = scan(source.rows(), rules, source.place)
    if not found.requests:
        raise invalid(f"{source.file or 'requests'}: holds no requests.")
    return found


def _rules(call: Call) -> Rules:
    """The version and betas that the create will be sent with; no key is needed to know them."""
    keyless = replace(call.tool.request, credential=None)
    built = request.build(keyless, {**call.arguments, "requests": []}, call.forward.variables)
    headers = {name.lower(): value for name, value in built.headers}
    betas = frozenset(beta.strip() for beta in headers.get("anthropic-beta", "").split(","))
    return Rules(headers.get("anthropic-version", ""), betas)


def _part(found: Scan, wanted: int | None) -> Part:
    parts = len(found.parts)
    if not parts:
        raise invalid("no request is left to send.")
    if wanted is None and parts > 1:
        raise invalid(
            f"{found.sendable:,} requests, {found.body_bytes:,} bytes, make {parts} batches. "
            f"Call once for each, with part 1 to {parts}."
        )
    if wanted is not None and wanted > parts:
        raise invalid(f"part: {wanted} is more than the {parts} there {'is' if parts == 1 else 'are'}.")
    return found.parts[(wanted or 1) - 1]


async def _send(call: Call, source: _Source, found: Scan, part: Part) -> result.Answer:
    """Send a part, telling how far it is; errors leave as they are, not in a group."""
    sent_bytes = 0

    def upload(empty_body: bytes) -> Upload:
        head, _, tail = empty_body.partition(EMPTY_BODY[1:-1])
        opening, closing = head + EMPTY_BODY[1:-2], EMPTY_BODY[-2:-1] + tail

        def pieces() -> Iterator[bytes]:
            nonlocal sent_bytes
            sent_bytes = 0
            for piece in _pieces(source, found, part, opening, closing):
                yield piece
                sent_bytes += len(piece)

        return Upload(part.body_bytes - len(EMPTY_BODY) + len(empty_body), pieces)

    async def tell() -> None:
        while True:
            await anyio.sleep(_PROGRESS_EVERY_S)
            words = f"{sent_bytes:,} of {part.body_bytes:,} bytes sent"
            await call.progress(
                sent_bytes, part.body_bytes, words if sent_bytes < part.body_bytes else "waiting for the answer"
            )

    answer: result.Answer | None = None
    failure: CallError | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tell)
        try:
            answer = await call.forward.answer(call.tool, {**call.arguments, "requests": []}, upload)
        except CallError as error:
            failure = error
        tasks.cancel_scope.cancel()
    if answer is None:
        raise failure or RuntimeError("the create ended without an answer and without an error")
    return answer


def _pieces(source: _Source, found: Scan, part: Part, opening: bytes, closing: bytes) -> Iterator[bytes]:
    """The body of a part; its last piece is withheld when the source has changed since it was checked."""
    piece = bytearray(opening)
    for number, (_, row) in enumerate(chosen(source.rows(), found, part)):
        if number:
            piece += SEPARATOR
        piece += row
        if len(piece) >= _PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    if not source.unchanged():
        raise invalid(f"{source.file}: the file changed while it was being sent, so the batch was not completed.")
    yield bytes(piece + closing)


def _refusal(found: Scan) -> CallError:
    errors = [problem for problem in found.problems if problem.severity is Severity.ERROR]
    lines = [f"- {problem.text()}" for problem in errors]
    if _hidden(found):
        lines.append("in all: " + ", ".join(f"{number:,} x {kind}" for kind, number in _by_kind(found).items()))
    message = f"{len(found.invalid):,} of {found.requests:,} requests have errors, so nothing was sent:"
    next_step = "Correct them, or leave them out with skip_invalid."
    return CallError(ErrorReport("invalid_requests", "\n".join([message, *lines]), next_step))


def _remarks(source: _Source, found: Scan, part: Part, batch: Mapping[str, Any]) -> dict[str, Any]:
    left_out = [problem for problem in found.problems if problem.severity is Severity.ERROR]
    warnings = [problem for problem in found.problems if problem.severity is Severity.WARNING]
    remarks: dict[str, Any] = {
        "estimate": estimate(part.demand),
        "poll_after_s": _POLL_AFTER_S,
        "next_step": f"Tell the user the id {batch.get('id')}, and look at its state in a minute at the earliest.",
    }
    if source.file is not None:
        remarks["source"] = {"file": source.file, "rows": part.count, "bytes": part.body_bytes}
    if found.invalid:
        remarks["left_out"] = {"requests": len(found.invalid), "problems": [each.data() for each in left_out]}
    if warnings:
        remarks["warnings"] = [each.data() for each in warnings]
    return remarks


def _hidden(found: Scan) -> bool:
    return sum(found.kinds.values()) > MOST_SHOWN


def _by_kind(found: Scan) -> dict[str, int]:
    return {f"{severity}: {kind}": number for (severity, kind), number in found.kinds.most_common()}
