"""`sandbox`: the stand-in for the API as a server of its own, until it is asked to stop."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batches_mcp.cli.flags import flag
from batches_mcp.core.errors import ServeError, UsageError

if TYPE_CHECKING:
    from batches_mcp.sandbox import Tier


@click.command
@flag("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@flag(
    "--port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    help="Port to listen on; 0 takes a free one.",
)
@flag(
    "--process-seconds",
    type=click.FloatRange(0),
    default=5.0,
    show_default=True,
    help="How long a batch is in progress.",
)
@flag(
    "--retry-after",
    type=click.IntRange(0),
    default=10,
    show_default=True,
    help="The `retry-after` that a batch in progress answers with, in seconds.",
)
@flag("--seed", type=int, default=0, show_default=True, help="Same seed, same results.")
@flag("--state", type=click.Path(path_type=Path, dir_okay=False), help="Keep batches in this file across restarts.")
@flag(
    "--tier",
    type=click.Choice(["start", "build", "scale"]),
    help="Keep the batch limits of this usage tier.  [default: no limits]",
)
@flag(
    "--inferred",
    multiple=True,
    metavar="NAME=CHOICE",
    help="How to answer where the API's answer is not known, such as cancel-ended=200; `help` lists what there is.",
)
def sandbox(
    *,
    host: str,
    port: int,
    process_seconds: float,
    retry_after: int,
    seed: int,
    state: Path | None,
    tier: Tier | None,
    inferred: tuple[str, ...],
) -> int:
    """Run a local stand-in for the Message Batches API: nothing is billed and any API key is accepted."""
    from batches_mcp.sandbox import Inferred, SandboxConfig, StateFileError, run_sandbox

    if "help" in inferred:
        for switch in Inferred.switches():
            click.echo(f"{switch.name}={'|'.join(switch.choices)}\t{switch.about}")
        return 0
    gc.enable()
    try:
        config = SandboxConfig(
            process_seconds=process_seconds,
            retry_after_seconds=retry_after,
            seed=seed,
            state=state,
            tier=tier,
            inferred={name: choice for name, _, choice in (text.partition("=") for text in inferred)},
        )
    except ValueError as error:
        raise UsageError(f"--inferred: {error}") from error
    try:
        return 128 + run_sandbox(host, port, config)
    except StateFileError as error:
        raise ServeError(f"the sandbox cannot keep its state: {error}") from error
    except OSError as error:
        raise ServeError(
            f"the sandbox cannot listen on {host} port {port}: {error.strerror or error}; choose another --port"
        ) from error
