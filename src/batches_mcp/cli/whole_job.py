"""The life of a whole job: FILE is cut, what it may cost is agreed, its batches are carried out, OUT is written."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Any

import anyio
import anyio.to_thread
import click

from batches_mcp.api.body import frame
from batches_mcp.cli import run_words
from batches_mcp.cli.display import console, outcome, show_table, usd
from batches_mcp.cli.failure_words import out_of_credit
from batches_mcp.cli.job_input import job_source
from batches_mcp.cli.job_list import data_of
from batches_mcp.cli.job_progress import watching
from batches_mcp.cli.out import Out, replace_text, sandbox_notes
from batches_mcp.cli.outputs import Written, needs_input, write_outputs
from batches_mcp.cli.startup import Ready
from batches_mcp.core.errors import CallError, UsageError
from batches_mcp.core.plan import ToolPlan
from batches_mcp.core.signals import watch_signals
from batches_mcp.core.text import count
from batches_mcp.job.asking import Asking
from batches_mcp.job.drive import Drive
from batches_mcp.job.elapsed import begin, finish
from batches_mcp.job.input_rows import InputRows
from batches_mcp.job.intake import JobFolder, cut, job_id, tidy
from batches_mcp.job.known import known_rows
from batches_mcp.job.made import Start
from batches_mcp.job.state import Bounds
from batches_mcp.job.steps import Job
from batches_mcp.job.written import asked_of_rows
from batches_mcp.requests.cost import together
from batches_mcp.requests.files import identity
from batches_mcp.requests.scan import Scan
from batches_mcp.store.records import Records
from batches_mcp.work.account import Account
from batches_mcp.work.reconcile import identify
from batches_mcp.work.refusals import unpriced
from batches_mcp.work.runtime import Runtime, running

# Creates under way get this long to be answered when the run is stopped.
_GRACE_S = 2.0


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What was asked for on the command line."""

    file: str
    out: str
    template: Mapping[str, Any] | None
    template_flag: str
    limit: int | None
    label: str | None
    sandbox: bool
    bounds: Bounds
    confirm_over_usd: float | None
    skip_invalid: bool
    overwrite: bool
    fresh: bool
    quiet: bool
    report: Path | None
    failures: Path | None


@dataclass(slots=True)
class WholeJob:
    """One run of the command, made within its event loop."""

    options: RunOptions
    ready: Ready
    tool: ToolPlan
    started_s: float = field(default_factory=time.monotonic)
    drive: Drive | None = None
    runtime: Runtime | None = None
    inputs: InputRows | None = None
    # All that a signal cancels: creates that are under way are not within it, and have their grace.
    work: anyio.CancelScope = field(default_factory=anyio.CancelScope)

    async def main(self) -> int:
        """Carry the job out, and say what came of it; the exit code. Once it was asked to `stop`, nothing is written.

        Raises:
            UsageError, UnreadableFile: what was asked for cannot be done, and nothing was sent.
            CallError, ServeError: it could not be done to the end; the same command goes on.
        """
        prepared = self.ready
        life = running(
            prepared.variables,
            prepared.state,
            prepared.upstream(),
            account=prepared.batch.account,
            drain_s=lambda: _GRACE_S,
        )
        finished: tuple[Drive, dict[str, Any]] | None = None
        async with life as runtime:
            self.runtime = runtime
            with self.work:
                finished = await self._carry_out(Account(runtime, self.tool))
        if finished is None:
            return 1
        drive, report = finished
        if not self.options.quiet:
            show_table(console(error=True), (), outcome(report))
        if drive.given_up:
            await drive.learn()
        give_up_s = self.options.bounds.give_up_s if drive.given_up else None
        if report["billing"]:
            self._say(out_of_credit(report["billing"]))
        if report["failures"] and report["failures"]["rows"]:
            self._say(run_words.failures_written(report["failures"]))
        for words in run_words.missing(report, drive.parts, give_up_s, sandbox=self.options.sandbox):
            run_words.tell(words)
        if self.options.report is not None:
            text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
            await anyio.to_thread.run_sync(replace_text, "--report", self.options.report, text)
        return 1 if report["rows"] - report["outcomes"]["succeeded"] or report["missing"]["rows"] else 0

    def stop(self) -> None:
        """Let everything end; creates that are under way get a moment to be answered."""
        if self.runtime is not None and self.runtime.all_records is not None:
            self.runtime.all_records.stopping.set()
        self.work.cancel()

    async def _carry_out(self, account: Account) -> tuple[Drive, dict[str, Any]] | None:
        """The job as far as it went, and its report, once OUT is written; None when nothing was sent."""
        await identify(account)
        records = account.records()
        assert records is not None  # noqa: S101 - there are records
        cutting = await self._job(account, records)
        if cutting is None:
            return None
        job, folder, around, start = cutting
        options = self.options
        out = self._out(folder)
        out.check(job.rows + job.known_rows)
        drive = Drive(Asking(account), records, around, folder, job, options.bounds, start, options.label)
        await drive.find()
        if not await self._agreed(drive):
            return None
        if options.fresh:
            drive.start = await anyio.to_thread.run_sync(folder.begin_fresh, start)
        self.drive = drive
        time_of_job = await anyio.to_thread.run_sync(begin, folder, drive.start, account.upstream.time_s())
        with watching(quiet=options.quiet, sandbox=options.sandbox) as drive.asking.watch:
            await drive.run()
            written = await write_outputs(drive, out, options.failures, self.inputs)
        took_s = time_of_job.took_s
        if took_s is None or drive.sent:
            took_s = max(time_of_job.so_far_s(account.upstream.time_s()), time.monotonic() - self.started_s)
        if not drive.given_up:
            await anyio.to_thread.run_sync(folder.end_fresh, job, records)
            await anyio.to_thread.run_sync(finish, folder, time_of_job, took_s)
        entries = [
            await anyio.to_thread.run_sync(records.ledger.find, attempt.batch_id)
            for part in drive.parts
            for attempt in part.attempts
        ]
        return drive, self._report(drive, written) | {
            "out_rows": out.kept.written.rows if out.kept else written.tally.rows,
            "out_kept": out.kept and out.kept.data(),
            "seconds": round(took_s, 3),
            "batches": [data_of(entry) for entry in entries if entry],
        }

    async def _job(self, account: Account, records: Records) -> tuple[Job, JobFolder, Any, Start] | None:
        """The job that FILE makes, as it was cut once; None when there are errors in it, which are shown.

        With it, where it starts.
        """
        around = frame(self.tool.request, {"requests": []}, account.forward.variables, account.limits)
        jobs = account.state.jobs()
        options = self.options

        def read() -> tuple[Scan | None, Job, JobFolder, Start]:
            tidy(jobs, time.time())
            with job_source(options.file, jobs, options.template, options.limit, account.limits) as given:
                file, source = given.file, given.source
                before = identity(file)
                name = job_id(file, options.template, around, skip_invalid=options.skip_invalid, limit=options.limit)
                folder = JobFolder(jobs / name)
                start = Start()
                if options.fresh:
                    start = folder.fresh() or Start(records.ledger.last_key(), token_hex(4))
                found, job = None, folder.load(records, start)
                if job is None:
                    # A job that was begun stays as it was cut: others may have answers to rows it has in progress.
                    wanted = not options.fresh and not folder.path.exists()
                    types = options.bounds.retry_types
                    with known_rows(Asking(account), records, around, types, wanted=wanted) as known:
                        found, job = cut(
                            source, around, records, folder, skip_invalid=options.skip_invalid, start=start, known=known
                        )
                if needs_input(options.out, options.failures, has_rows=options.template is not None):
                    self.inputs = InputRows(file, str(source.file), options.template, jobs)
                    if identity(file) != before:
                        raise UsageError(f"FILE: {options.file} changed while it was being read; nothing was sent")
                return found, job, folder, start

        found, job, folder, start = await anyio.to_thread.run_sync(read, abandon_on_cancel=True)
        usable = bool(job.parts or job.known)
        if found is not None and (found.problems or not usable):
            run_words.show_problems(found, options.template_flag)
            if not usable:
                run_words.tell(f"Nothing was sent. {run_words.CORRECT}")
        return (job, folder, around, start) if usable else None

    async def _agreed(self, drive: Drive) -> bool:
        """Whether what is still to be sent may cost what it may.

        Raises:
            UsageError: it may cost more than may go unasked, and there is nobody to ask.
            CallError: under a cap, nobody can say what it may cost.
        """
        job = drive.job
        if job.trial_of is not None:
            self._say(run_words.trial(job.rows + job.known_rows + job.left_out, job.trial_of))
        if job.known:
            self._say(run_words.answered_before(job))
        if not job.parts:
            return True
        left = [part.estimate for part, known in zip(job.parts, drive.parts, strict=True) if not known.attempts]
        if not left:
            self._say(
                f"{count(job.rows, 'request')} in {count(len(job.parts), 'batch', 'batches')}: all submitted before"
            )
            return True
        cost = together(left)
        high = cost["cost_usd"]["high"]
        if high is None and self.options.bounds.cap_usd is not None:
            raise unpriced(cost)
        for line in run_words.plan(job.rows, len(job.parts), len(job.parts) - len(left), job.models, cost):
            self._say(line)
        self._say(run_words.HOW_LONG_SANDBOX if self.options.sandbox else run_words.HOW_LONG)
        most = run_words.may_cost(cost)
        limit = self.options.confirm_over_usd
        if limit is None or (high is not None and high <= limit):
            return True
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            above = f"more than the {usd(limit)} of --confirm-over" if high is not None else "which always asks"
            more = ", or raise --confirm-over" if high is not None else ""
            raise UsageError(
                f"it may cost {most}, {above}, and nobody can be asked here, so nothing was sent; add --yes{more}"
            )
        question = f"It may cost {most}. Send it?"
        return await anyio.to_thread.run_sync(lambda: click.confirm(question, err=True), abandon_on_cancel=True)

    def _out(self, folder: JobFolder) -> Out:
        options = self.options
        source = os.path.realpath(options.file) if Path(options.file).is_file() else None
        asked = asked_of_rows(options.template)
        return Out(options.out, folder, options.overwrite, sandbox_notes(self.ready), options.sandbox, source, asked)

    def _say(self, text: str) -> None:
        if not self.options.quiet:
            run_words.tell(text)

    def _report(self, drive: Drive, written: Written) -> dict[str, Any]:
        again = [attempt.rows for part in drive.parts for attempt in part.attempts[1:]]
        return {
            "job": drive.job.id,
            "source": drive.job.source,
            "out": self.options.out,
            "left_out": drive.job.left_out,
            "trial_of": drive.job.trial_of,
            "known": drive.job.known_rows,
            **written.tally.data(),
            "failures": self.options.failures and {"file": str(self.options.failures), "rows": written.failed},
            "estimate": together(part.estimate for part in drive.job.parts),
            "submitted": drive.sent,
            "sent_again": sum(again),
        }


async def until_stopped(options: RunOptions, prepared: Ready, tool: ToolPlan, stopped: list[int]) -> int:
    code = 1
    this = WholeJob(options, prepared, tool)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch_signals, stopped, this.stop)
        code = await this.main()
        tasks.cancel_scope.cancel()
    if stopped:
        if this.drive is not None:
            with suppress(CallError):
                await this.drive.learn()
        parts, submitting = (this.drive.parts, this.drive.submitting) if this.drive else ([], False)
        run_words.tell(run_words.how_to_resume(parts, submitting=submitting, sandbox=options.sandbox))
    return code
