"""`results`: the results of one batch, as a file or on standard output."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import anyio
import anyio.to_thread
import click

from batches_mcp.api.batch import Batch
from batches_mcp.cli.account import tool_that, with_account
from batches_mcp.cli.display import Waiting, outcomes, state_of, usd, waiting
from batches_mcp.cli.flags import account_flags, flag, log_level
from batches_mcp.cli.out import Out, Size, check_place, sandbox_notes
from batches_mcp.cli.startup import ready, say
from batches_mcp.core.errors import ServeError, UsageError
from batches_mcp.core.plan import BehaviorName
from batches_mcp.core.settings import BatchSettings, Environment, UpstreamSettings
from batches_mcp.core.signals import leave
from batches_mcp.core.text import count
from batches_mcp.exchange.failure import retry_after_s
from batches_mcp.job.asking import Asking
from batches_mcp.job.intake import JobFolder
from batches_mcp.job.sinks import writer
from batches_mcp.job.steps import Job, PartState
from batches_mcp.requests.cost import actual_usd
from batches_mcp.store.spool import Spool, key
from batches_mcp.work.account import Account
from batches_mcp.work.learn import in_doubt, learn

# For an upstream that does not say when to ask again, as its answers do.
_ASK_AGAIN_S = 10.0


@dataclass(frozen=True, slots=True)
class _Watch:
    """Shows what `Asking` reports."""

    display: Waiting

    def note(self, text: str) -> None:
        self.display.note(text)

    def show(self, _job: Job, _parts: list[PartState], doing: str, _now_s: float) -> None:
        self.display.show(doing)


@click.command
@click.argument("batch_id", metavar="ID")
@flag(
    "--out", "-o", "out", required=True, metavar="OUT", type=click.Path(), help="Where the results go; - prints them."
)
@flag("--wait", is_flag=True, help="Wait for the batch to end.")
@flag("--overwrite", is_flag=True, help="Replace OUT also when this command did not write it.")
@account_flags
@log_level
def results(
    *,
    batch_id: str,
    out: str,
    wait: bool,
    overwrite: bool,
    upstream: UpstreamSettings,
    batch: BatchSettings,
    log_level: str,
) -> int:
    """Write the results of the batch ID to OUT: JSONL, or CSV when its name ends in .csv.

    OUT is there whole or not at all. Results are kept by the API for 29 days after a batch was created.

    Exit code 0: written, whatever came of its requests; 1: the batch has not ended, or it could not be done.
    """
    check_id(batch_id)
    check_place("-o", out, "-")
    with ready(upstream, Environment(warn=say), log_level, batch) as prepared:
        tool = tool_that(prepared, BehaviorName.STATUS, BehaviorName.RESULTS)
        stopped: list[int] = []
        try:
            code = with_account(
                prepared,
                tool,
                partial(_write, batch_id, out, wait, overwrite, sandbox_notes(prepared)),
                batch_id,
                stopped,
            )
        except KeyboardInterrupt:  # before it begins, and on Windows
            code, stopped = None, [signal.SIGINT]
        if code is None:
            say(f"stopped, and nothing was written; the same command gets the results of batch {batch_id} later")
    if code is None:
        leave(128 + stopped[0])
    return code


def check_id(batch_id: str) -> None:
    """That an id of a batch was given.

    Raises:
        UsageError: it is empty.
    """
    if not batch_id.strip():
        raise UsageError("expected the id of a batch, found an empty text; `batches-mcp jobs` lists batches")


async def _write(batch_id: str, out: str, wait: bool, overwrite: bool, sandboxes: JobFolder, account: Account) -> int:
    folder = account.state.jobs() / key(batch_id)
    folder.mkdir(mode=0o700, exist_ok=True)
    place = Out(out, JobFolder(folder), overwrite, sandboxes)
    place.check(0)
    with waiting() as display:
        asking = Asking(account, _Watch(display))
        batch = await _ended(asking, batch_id, wait, display)
        for entry in (await learn(account, [batch])).doubted.values():
            display.note(in_doubt(entry))
        if not batch.ended:
            raise ServeError(
                f"batch {batch_id} has not ended, so nothing was written: it is {state_of(batch)}, with "
                f"{outcomes(batch) or 'no count of its requests'}; --wait waits for its end"
            )
        spool = await asking.spool(batch_id, display.show)
    with place.writing(lambda: Size(len(spool), 0)) as file:
        write = writer(file, place.kind)
        await anyio.to_thread.run_sync(write, _lines(spool), abandon_on_cancel=True)
    written = f"{count(len(spool), 'row')} written to {out}" if out != "-" else count(len(spool), "row")
    say(f"{batch_id}: {outcomes(batch)}; cost {usd(actual_usd(spool.tokens))}; {written}")
    return 0


async def _ended(asking: Asking, batch_id: str, wait: bool, display: Waiting) -> Batch:
    """The batch; at its end, when that is to be waited for. Failures that pass are waited out only then."""
    batches = asking.account.batches
    batch, answer = await batches.get(batch_id)
    while wait and not batch.ended:
        display.show(f"{batch_id} is {state_of(batch)}: {count(batch.total, 'request')}")
        pause_s = retry_after_s(answer.headers)
        await asking.sleep(_ASK_AGAIN_S if pause_s is None else max(pause_s, 1.0))
        batch, answer = await asking.until_answered(lambda: batches.get(batch_id))
    return batch


def _lines(spool: Spool) -> Iterator[bytes]:
    return (line.removesuffix(b"\r") for line in spool.lines(range(len(spool))))
