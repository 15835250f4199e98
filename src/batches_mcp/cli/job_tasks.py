"""What `job` and `worker` stand on: the shared state, the engine on it, and the account of the key that is set."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from batches_mcp.cli import service
from batches_mcp.cli.account import missing_key
from batches_mcp.cli.startup import Ready, installed
from batches_mcp.core.errors import BatchesMcpError, CallError, MissingVariable, UsageError
from batches_mcp.core.plan import BehaviorName
from batches_mcp.core.settings import Environment, UpstreamSettings
from batches_mcp.work.runtime import running

if TYPE_CHECKING:
    from batches_mcp.access.teams import Teams
    from batches_mcp.cluster.tasks import Tasks
    from batches_mcp.store.shared import SharedState

# Below the state folder: shards as long as they are read.
_SHARDS = "shards"


def check_upstream(upstream: UpstreamSettings) -> None:
    """See that all workers can reach the same upstream.

    Raises:
        UsageError: they cannot.
    """
    if upstream.sandbox:
        raise UsageError(
            "--sandbox is one of this process alone, and workers need the same one: start `batches-mcp sandbox --port "
            "8080`, and give --base-url http://127.0.0.1:8080"
        )


@contextmanager
def errors_at_shell(prepared: Ready) -> Iterator[None]:
    """Around what runs an event loop: the error that counts, in words for the person who gave the command."""
    try:
        yield
    except (CallError, BaseExceptionGroup) as found:
        error: BaseException = found
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if isinstance(error, MissingVariable):
            raise missing_key(error) from found
        raise BatchesMcpError(prepared.redactor.text(str(error))) if isinstance(error, CallError) else error from found


def shared_state(prepared: Ready) -> SharedState:
    """The state that jobs are in.

    Raises:
        UsageError: the state is not shared.
    """
    with installed("a job", "cluster"):
        from batches_mcp.store.shared import SharedState
    if not isinstance(prepared.state, SharedState):
        raise UsageError("jobs are in a database that workers share: give --database-url and --object-store")
    return prepared.state


def teams_in(path: Path | None, environment: Environment) -> Teams | None:
    """The teams of a file, if there is one.

    Raises:
        UnreadableFile, TeamsError: the file cannot be read, or has errors.
    """
    from batches_mcp.access.file import load

    return None if path is None else load(path, environment)


@asynccontextmanager
async def tasks_of(prepared: Ready, teams: Teams | None, drain_s: Callable[[], float]) -> AsyncIterator[Tasks]:
    """What carries tasks out, until the end of the block; creates under way then get `drain_s` to end.

    Raises:
        UsageError: the state is not shared, or the capability does not create batches.
        StateUnusable: the database cannot be used.
    """
    state = shared_state(prepared)
    with installed("a job", "cluster"):
        from batches_mcp.cluster.engine import engine
        from batches_mcp.cluster.local import ShardFiles
        from batches_mcp.cluster.tasks import Tasks
    tools = {tool.behavior: tool for tool in prepared.plan.tools}
    if BehaviorName.SUBMIT not in tools:
        raise UsageError("there is no tool that creates batches among those served (--read-only, --capability)")
    life = running(
        prepared.variables,
        state,
        prepared.upstream(),
        account=prepared.batch.account,
        key_variable=None if teams is None else service.key_variable(teams, prepared),
        drain_s=drain_s,
    )
    async with engine(state.database.url, state.database.name, prepared.limits) as found, life as runtime:
        yield Tasks(
            runtime=runtime,
            state=state,
            engine=found,
            create=tools[BehaviorName.SUBMIT],
            cancel=tools.get(BehaviorName.CANCEL),
            files=ShardFiles(state.local.folder(_SHARDS)),
            redactor=prepared.redactor,
            teams={} if teams is None else teams.teams,
            cap_usd=prepared.batch.max_cost_usd,
        )
