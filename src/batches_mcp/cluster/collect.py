"""The results of a part -> Parquet: each row of the input once, in its order, with its answer or why there is none."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from batches_mcp.api.body import Frame
from batches_mcp.cluster import tables
from batches_mcp.cluster.local import ShardFiles
from batches_mcp.cluster.plan import PartPlan
from batches_mcp.cluster.requests import custom_id, requests, row_of
from batches_mcp.cluster.shards import Shard
from batches_mcp.cluster.tables import Column, Table
from batches_mcp.core.state import create
from batches_mcp.requests.cost import actual_usd
from batches_mcp.requests.scan import Scan
from batches_mcp.requests.template import Template
from batches_mcp.requests.tokens import Tariff, Tokens
from batches_mcp.store.causes import FAILED, Cause, Causes
from batches_mcp.store.rows import InnerError, OuterError, Result, Row, read_row
from batches_mcp.store.spool import Spool
from batches_mcp.tools.export import RESULT_COLUMNS, free_names, values
from batches_mcp.tools.view import ATTENTION

# Outcomes that no batch has.
LEFT_OUT, MISSING = "left_out", "missing"
_NUMBERS = ("input_tokens", "output_tokens")
_FAILURE_COLUMNS = {"error_type": ("error_type", "outcome"), "error_message": ("error_message",)}
_MOST_CAUSES = 50
_NO_RESULT = "the batch has no result for this row"


class BatchUse(msgspec.Struct, frozen=True):
    """What a batch used; `cost_usd` is None when that is not known."""

    batch_id: str
    rows: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None


class PartResult(msgspec.Struct, frozen=True):
    """What became of the rows of a part.

    `outcomes` counts them by the outcomes of the API, `left_out` and `missing`; `needs_attention` those that succeeded
    and whose answers are not finished, as `run` does. `causes` are why rows failed, that of most rows first. Batches of
    other parts may be among `batches`, which are to be counted once: the same requests are sent once. `failures` tells
    that the rows that failed were written on their own as well.
    """

    rows: int
    outcomes: dict[str, int]
    needs_attention: dict[str, int] = {}
    causes: tuple[Cause, ...] = ()
    batches: tuple[BatchUse, ...] = ()
    failures: bool = False

    @property
    def succeeded(self) -> int:
        return self.outcomes.get("succeeded", 0)

    @property
    def failed(self) -> int:
        """All rows that did not succeed, those that were left out and those without a result among them."""
        return self.rows - self.succeeded


def collect(
    files: ShardFiles,
    shard: Shard,
    part: PartPlan,
    template: Mapping[str, Any],
    around: Frame,
    spools: Sequence[Spool],
    path: Path,
    failures: Path | None = None,
    missing: str = _NO_RESULT,
) -> PartResult:
    """Write the rows of a part to the new file `path`, with the columns of the shard and `RESULT_COLUMNS`.

    Of a row with several results the one in the last of `spools` counts. The rows that failed are written to `failures`
    as well, if there are any, with `error_type` and `error_message` in place of `RESULT_COLUMNS`. `missing` is what is
    said of rows that were sent and have no result.

    Raises:
        InvalidArguments: the shard changed since it was planned.
        UnreadableFile: it cannot be read any more.
        StateUnusable: its store cannot be used.
        OSError: a file cannot be read or written.
    """
    lines = path.with_name(f"{path.name}.lines")
    try:
        with files.opened(shard) as table:
            places = _Places(part, spools)
            left_out = _left_out(table, part, Template(template), around, places)
            tally = _Tally()
            with create(lines) as file:
                for number, cells in enumerate(_cells(part, places, left_out, missing, tally), part.first_row):
                    file.write(msgspec.json.encode({"row": number, "cells": cells}) + b"\n")
            added = _added(table.columns)
            table.write(path, part.first_row, part.rows, lines, added)
    finally:
        lines.unlink(missing_ok=True)
    result = tally.result(part.rows, spools)
    if failures is not None and result.failed:
        _write_failures(path, failures, table.columns, added)
        return msgspec.structs.replace(result, failures=True)
    return result


class _Places:
    """Where the result is of each row of a part, counted from 0: the number of its spool and its number there.

    `mark` is what the ids of the shard's requests end with.
    """

    def __init__(self, part: PartPlan, spools: Sequence[Spool]) -> None:
        self.spools, self.mark = spools, ""
        self._spools = array("i", [-1]) * part.rows
        self._numbers = array("I", [0]) * part.rows
        for at, spool in enumerate(spools):
            for number, line in enumerate(spool.lines(range(len(spool)))):
                found = read_row(line)
                row = None if found is None else row_of(found.custom_id)
                if found is not None and row is not None and 0 <= row - part.first_row < part.rows:
                    self.mark = found.custom_id.removeprefix(custom_id(row))
                    self._spools[row - part.first_row] = at
                    self._numbers[row - part.first_row] = number

    def has(self, index: int) -> bool:
        return self._spools[index] >= 0

    def results(self) -> Iterator[tuple[Spool, int, bytes] | None]:
        """The result of each row, in their order: its spool, its number there, and its line."""
        with ExitStack() as stack:
            files = [stack.enter_context(spool.path.open("rb")) for spool in self.spools]
            for at, number in zip(self._spools, self._numbers, strict=True):
                if at < 0:
                    yield None
                    continue
                spool, file = self.spools[at], files[at]
                file.seek(spool.offsets[number])
                yield spool, number, file.read(spool.lengths[number]).removesuffix(b"\r")


def _left_out(table: Table, part: PartPlan, template: Template, around: Frame, places: _Places) -> dict[int, str]:
    """What is wrong with the rows that were not sent, by their index in the part."""
    found: dict[int, str] = {}
    if part.requests == part.rows:
        return found
    unsent: list[int] = []
    scan = Scan(
        around.rules,
        "row {}".format,
        template,
        refused=lambda at, message: found.update({unsent[at]: message}),
        unique_ids=True,
    )
    for number, row in requests(table, template, part.first_row, part.rows):
        if not places.has(number - part.first_row):
            unsent.append(number - part.first_row)
            scan.add(number, row)
    return found


def _cells(
    part: PartPlan, places: _Places, left_out: Mapping[int, str], missing: str, tally: _Tally
) -> Iterator[list[str | None]]:
    """The values of `RESULT_COLUMNS` for each row, as text."""
    for index, result in enumerate(places.results()):
        if result is not None:
            spool, number, line = result
            row = read_row(line)
            if row is not None:
                tally.add(spool.kind(number), row)
                yield [None if value is None else str(value) for value in values(row, line)]
                continue
        name = custom_id(part.first_row + index) + places.mark
        outcome, message = (LEFT_OUT, left_out[index]) if index in left_out else (MISSING, missing)
        tally.add_without(name, outcome, message)
        yield [name, outcome, None, None, message, None, None, None]


class _Tally:
    """The outcomes of rows, added up."""

    def __init__(self) -> None:
        self._outcomes: Counter[str] = Counter()
        self._attention: Counter[str] = Counter()
        self._causes = Causes()

    def add(self, kind: tuple[str, str | None], row: Row) -> None:
        outcome, detail = kind
        self._outcomes[outcome] += 1
        if outcome in FAILED:
            self._causes.add(row)
        elif outcome == "succeeded" and detail in ATTENTION:
            self._attention[ATTENTION[detail]] += 1

    def add_without(self, name: str, outcome: str, message: str) -> None:
        self._outcomes[outcome] += 1
        self._causes.add(Row(name, Result("errored", error=OuterError(InnerError(outcome, message)))))

    def result(self, rows: int, spools: Iterable[Spool]) -> PartResult:
        return PartResult(
            rows,
            dict(self._outcomes.most_common()),
            dict(self._attention.most_common()),
            tuple(self._causes.all()[:_MOST_CAUSES]),
            tuple(_use(spool.head.batch_id, len(spool), spool.tokens) for spool in spools),
        )


def _use(batch_id: str, rows: int, tokens: Mapping[Tariff, Tokens]) -> BatchUse:
    total = sum(tokens.values(), Tokens())
    read = total.input_tokens + total.cache_creation_input_tokens + total.cache_read_input_tokens
    return BatchUse(batch_id, rows, read, total.output_tokens, actual_usd(tokens))


def _added(columns: Sequence[Column]) -> list[Column]:
    """`RESULT_COLUMNS` beside others; DuckDB tells no names apart that differ in case only."""
    names = free_names(RESULT_COLUMNS, {column.name.lower() for column in columns})
    types = ["BIGINT" if name in _NUMBERS else "VARCHAR" for name in RESULT_COLUMNS]
    return list(map(Column, names, types))


def _write_failures(source: Path, path: Path, columns: Sequence[Column], added: Sequence[Column]) -> None:
    name_of = dict(zip(RESULT_COLUMNS, (column.name for column in added), strict=True))
    own = {column.name: [column.name] for column in columns if column.name.lower() not in _FAILURE_COLUMNS}
    wanted = {name: [name_of[each] for each in found] for name, found in _FAILURE_COLUMNS.items()}
    tables.write_selected(source, path, own | wanted, unless=(name_of["outcome"], "succeeded"))
