"""What a claim costs, which begins each create: in PostgreSQL, and in the SQLite ledger of a folder."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from itertools import chain, count
from pathlib import Path

from batches_mcp.store.claim_rules import Baseline, Begun, Cap, ClaimRules, Window
from batches_mcp.store.database import Database, insert
from batches_mcp.store.entry import Draft, State
from batches_mcp.store.ledger import Ledger
from batches_mcp.store.postgres import Postgres
from batches_mcp.store.shared import AccountDatabase
from benchmarks.measure import Series, in_turns, ratios
from benchmarks.report import Report, Target
from benchmarks.timings import HEADER, timed_row, timed_rows
from tests.support.postgres import fresh_url

_AT_ONCE = 16
_EARLIER_CREATES = 1_000
_MOST_CLAIM_MS = 10.0


def claims(host: str, folder: Path, *, quick: bool) -> Report:
    """Creates begun in a ledger of a thousand earlier ones, under the caps of a team for the day and the month."""
    singles, rounds, each_claims = (25, 2, 3) if quick else (300, 5, 12)
    url, numbers = fresh_url(host), count()
    with closing(Postgres(url)) as one, closing(Postgres(url)) as two:
        ledgers = {
            "folder (SQLite)": [Ledger(Database(folder / "ledger.sqlite"))],
            "PostgreSQL": [Ledger(AccountDatabase(each, "benchmark")) for each in (one, two)],
        }
        for first, *_ in ledgers.values():
            _fill(first)
        alone = in_turns({name: partial(_claim, its[0], numbers) for name, its in ledgers.items()}, singles)
        at_once = in_turns(
            {name: partial(_claims_at_once, its, numbers, each_claims) for name, its in ledgers.items()}, rounds
        )
    rows = timed_rows("claim, alone", alone, lambda ms: f"{1000 / ms:,.0f} claims")
    rates = {name: Series.of([per_s for _, per_s in found]) for name, found in at_once.items()}
    base, *_ = rates.values()
    for name, found in at_once.items():
        taken_ms = [ms for each_ms, _ in found for ms in each_ms]
        per_s, speed = rates[name], ratios(rates[name].values, base.values)
        rows.append(timed_row(f"claim, {_AT_ONCE} at once", name, taken_ms, f"{per_s.text(0)} claims", speed))
    _, ours = (Series.of(each) for each in alone.values())
    text = f"claim on PostgreSQL, alone: median at most {_MOST_CLAIM_MS:g} ms"
    target = Target(text, f"{ours.median:.2f} ms", ours.median <= _MOST_CLAIM_MS)
    threads = f"{_AT_ONCE} threads, in one server for the folder, in two replicas for PostgreSQL"
    notes = [f"Claims: {_EARLIER_CREATES:,} creates stand in each ledger before; those at once are of {threads}."]
    return Report(HEADER, rows, [target], notes)


def _fill(ledger: Ledger) -> None:
    with ledger.database.transaction() as db:
        for number in range(_EARLIER_CREATES):
            about = {"content": f"earlier-{number}", "body": f"earlier-{number}", "rows": 100, "body_bytes": 1}
            costs = {"estimate_usd": 0.01, "cost_usd": 0.01, "team": "search", "betas": ""}
            begun = {"state": State.ACCEPTED, "started_s": time.time(), "since_s": 0.0, "batch_id": f"earlier-{number}"}
            insert(db, **about, **costs, **begun)


def _claim(ledger: Ledger, numbers: Iterator[int]) -> float:
    """Milliseconds of a claim of content that nobody has sent before."""
    content = f"content-{next(numbers)}"
    draft = Draft(content, 100, 1, body=content, estimate_usd=0.01, principal="agent", team="search")
    rules = ClaimRules(caps=(Cap(200.0, Window.DAY, "search"), Cap(2_000.0, Window.MONTH, "search")))
    started_s = time.perf_counter()
    claimed = ledger.claim(draft, "benchmark", Baseline(time.time()), lambda _: True, rules)
    taken_s = time.perf_counter() - started_s
    if not isinstance(claimed, Begun):
        raise TypeError(f"expected a create that is begun, found {claimed}")
    return 1000 * taken_s


def _claims_at_once(ledgers: Sequence[Ledger], numbers: Iterator[int], each_claims: int) -> tuple[list[float], float]:
    """The milliseconds of claims of threads, which are spread over the ledgers, and the claims per second."""

    def some(thread: int) -> list[float]:
        return [_claim(ledgers[thread % len(ledgers)], numbers) for _ in range(each_claims)]

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        started_s = time.perf_counter()
        taken_ms = list(chain.from_iterable(threads.map(some, range(_AT_ONCE))))
        return taken_ms, len(taken_ms) / (time.perf_counter() - started_s)
