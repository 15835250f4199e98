"""A shard -> what is made of it: its parts, and everything that is wrong with it, before anything is sent.

One pass with the checks and the cutting of every create. The same shard, template and frame make the same plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import msgspec

from batches_mcp.api.body import Frame
from batches_mcp.cluster.database import VERSION
from batches_mcp.cluster.local import ShardFiles
from batches_mcp.cluster.requests import OWN_IDS, requests
from batches_mcp.cluster.shards import Shard
from batches_mcp.cluster.tables import Column, Table
from batches_mcp.core.diagnostics import Severity
from batches_mcp.core.errors import InvalidArguments, UnreadableFile
from batches_mcp.requests.cost import estimate
from batches_mcp.requests.problems import MOST_SHOWN, Problem
from batches_mcp.requests.scan import Scan
from batches_mcp.requests.template import Template

_MOST_PLACES = 3
_MOST_COLUMNS = 5


class PartPlan(msgspec.Struct, frozen=True):
    """A run of `rows` of a shard from `first_row` on, of which `requests` make the body of one batch.

    The others have errors. `content` identifies the body (`requests.scan.content_of`); without requests there is none.
    `estimate` is of `requests.cost.estimate`.
    """

    first_row: int
    rows: int
    requests: int
    body_bytes: int
    content: str
    estimate: dict[str, Any]


class ShardPlan(msgspec.Struct, frozen=True):
    """What is made of a shard: its first `rows`, each in exactly one of `parts`, in their order.

    `left_out` of them have errors. `problems` are errors and warnings, by cause; with an error that is not of a row,
    there are no parts. `duckdb` is the version that read the shard, and `models` are those of the requests, which an
    approval of the job names.
    """

    number: int
    url: str
    duckdb: str = VERSION
    rows: int = 0
    columns: tuple[Column, ...] = ()
    parts: tuple[PartPlan, ...] = ()
    left_out: int = 0
    problems: tuple[Problem, ...] = ()
    models: tuple[str, ...] = ()

    @property
    def requests(self) -> int:
        return self.rows - self.left_out

    @property
    def unusable(self) -> bool:
        """Whether nothing can be made of the shard, whatever rows are left out."""
        return any(each.severity is Severity.ERROR for each in self.problems) and not self.parts


def plan(
    files: ShardFiles, shard: Shard, template: Mapping[str, Any], around: Frame, limit: int | None = None
) -> ShardPlan:
    """Plan the parts of a shard, or of its first `limit` rows. What is wrong with it is among the problems.

    Raises:
        InvalidArguments: it is no longer what it was when it was found.
        StateUnusable: its store, or the folder for shards, cannot be used.
    """
    try:
        with files.opened(shard) as table:
            return _planned(table, shard, Template(template), around, limit)
    except UnreadableFile as error:
        message = str(error).removeprefix(f"{shard.url}: ")
        return ShardPlan(shard.number, shard.url, problems=(_of_shard(shard.url, message),))


def problems_of(plans: Sequence[ShardPlan]) -> list[Problem]:
    """What is wrong with an input: the problems of all its shards by cause, errors first, and columns that differ.

    At most `MOST_SHOWN`, each with the first places that have it; the last stands for all that are not shown.
    """
    found: dict[tuple[Severity, str], Problem] = {}
    for each in [problem for plan in plans for problem in plan.problems] + list(_columns_that_differ(plans)):
        known = found.setdefault((each.severity, each.message), replace(each, count=0, where=[]))
        known.count += each.count
        known.where += [place for place in each.where if place not in known.where][: _MOST_PLACES - len(known.where)]
    problems = sorted(found.values(), key=lambda problem: problem.severity is Severity.WARNING)
    if len(problems) <= MOST_SHOWN:
        return problems
    rest = problems[MOST_SHOWN - 1 :]
    count = sum(problem.count for problem in rest)
    message = f"{rest[0].message} (and {count - rest[0].count:,} other problems)"
    return [*problems[: MOST_SHOWN - 1], replace(rest[0], count=count, message=message)]


def _planned(table: Table, shard: Shard, template: Template, around: Frame, limit: int | None) -> ShardPlan:
    rows = table.rows if limit is None else min(limit, table.rows)
    whole = ShardPlan(shard.number, shard.url, rows=rows, columns=table.columns)
    faults = list(_faults(template, table))
    if faults:
        return msgspec.structs.replace(whole, problems=tuple(_of_shard(shard.url, each) for each in faults))
    # A column that no request needs is written beside the answers, which will have been paid by then.
    table.check(rows)
    found = Scan(around.rules, f"{shard.url} row {{}}".format, template, unique_ids=True)
    # Rows with errors belong to the part before them, the first of all to the first part.
    starts: list[int] = []
    for number, row in requests(table, template, 0, rows):
        part = found.add(number, row)
        if part is not None and part == len(starts):
            starts.append(number)
    return msgspec.structs.replace(
        whole,
        parts=tuple(_parts(found, starts, rows, around.beta)),
        left_out=len(found.invalid),
        problems=tuple(found.problems),
        models=tuple(sorted(found.models)),
    )


def _parts(found: Scan, starts: Sequence[int], rows: int, betas: str) -> Iterable[PartPlan]:
    if not rows:
        return
    for (first, end), part in zip(pairwise([0, *starts[1:], rows]), found.parts, strict=False):
        yield PartPlan(first, end - first, part.count, part.body_bytes, part.content(betas), estimate(part.demand))
    if not found.parts:
        yield PartPlan(0, rows, 0, 0, "", estimate({}))


def _faults(template: Template, table: Table) -> Iterable[str]:
    """What is wrong with a template for a table."""
    try:
        template.check(list(table.fields))
    except InvalidArguments as error:
        yield from error.report.message.split("\n")
    if template.whole and "custom_id" in template.given:
        yield OWN_IDS


def _of_shard(url: str, message: str) -> Problem:
    return Problem(Severity.ERROR, message, 1, [url])


def _columns_that_differ(plans: Sequence[ShardPlan]) -> Iterable[Problem]:
    """Warnings of shards that have other columns than the first; the parts of the output differ likewise."""
    first = next((each for each in plans if each.columns), None)
    for each in plans:
        if first is None or not each.columns or each.columns == first.columns:
            continue
        here, there = dict(each.columns), dict(first.columns)
        differing = [
            *(f"without {name}" for name in there if name not in here),
            *(f"with {name} ({kind})" for name, kind in here.items() if name not in there),
            *(
                f"{name} is {here[name]} in place of {kind}"
                for name, kind in there.items()
                if here.get(name, kind) != kind
            ),
        ] or ["in another order"]
        more = f" and {len(differing) - _MOST_COLUMNS} more" if len(differing) > _MOST_COLUMNS else ""
        named = ", ".join(differing[:_MOST_COLUMNS]) + more
        message = f"its columns are not those of {first.url}: {named}; its output will differ in the same way"
        yield Problem(Severity.WARNING, message, 1, [each.url])
