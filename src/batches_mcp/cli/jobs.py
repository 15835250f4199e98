"""`jobs`: the batches that this machine submitted, and one of them in full."""

from __future__ import annotations

from collections.abc import Sequence

import click

from batches_mcp.cli.flags import account_flags, flag, log_level
from batches_mcp.cli.startup import ready, say
from batches_mcp.core.diagnostics import did_you_mean
from batches_mcp.core.errors import UsageError
from batches_mcp.core.settings import BatchSettings, Environment, UpstreamSettings


@click.command
@click.argument("what", nargs=-1, metavar="[show ID]")
@flag("--json", "as_json", is_flag=True, help="Print a JSON array, or with `show` an object.")
@flag("--watch", is_flag=True, help="Look again until all batches have ended, or Ctrl-C.")
@account_flags
@log_level
def jobs(
    *,
    what: tuple[str, ...],
    as_json: bool,
    watch: bool,
    upstream: UpstreamSettings,
    batch: BatchSettings,
    log_level: str,
) -> None:
    """Show the batches in the ledger, newest first, of all accounts; or, with `show ID`, one of them in full.

    Those in progress are looked up with the API key that is set, in one call; standard error says whether that was
    done. Nothing is changed at the API.
    """
    if what and (what[0] != "show" or len(what) != 2):
        raise UsageError(_misread(what))
    if watch and (as_json or what):
        raise UsageError(f"--watch shows the list as it changes; leave {'--json' if as_json else '`show`'} out")
    from batches_mcp.cli import job_lookup  # what only shows its help does not pay for it

    with ready(upstream, Environment(warn=say), log_level, batch) as prepared:
        if watch:
            job_lookup.watch(prepared)
        elif what:
            job_lookup.show_one(prepared, what[1], as_json=as_json)
        else:
            job_lookup.show_all(prepared, as_json=as_json)


def _misread(what: Sequence[str]) -> str:
    found = f"jobs: expected nothing or `show ID`, found {' '.join(what)!r}"
    if what == ("show",):
        return "jobs show: which batch? `batches-mcp jobs` lists their ids"
    near = did_you_mean(what[0], ["show"]) if len(what) == 2 else ""
    return f"{found}; {near}" if near.startswith("did") else found
