"""What a service has kept, for commands that need neither a capability nor an API key nor the objects beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

from batches_mcp.cli.flags import database_url_flag, gathered, state_dir_flag
from batches_mcp.cli.startup import installed, say
from batches_mcp.core.settings import DATABASE_URL, BatchSettings, Environment, user_state_folder
from batches_mcp.core.state import StateFolder
from batches_mcp.store.state import LedgerDatabase


def state_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the flags that say where the state is; the command gets them as `batch`."""
    flags = {"state_dir": state_dir_flag, "database_url": database_url_flag}
    return gathered("batch", BatchSettings, flags)(command)


@contextmanager
def databases(batch: BatchSettings) -> Iterator[dict[str, LedgerDatabase]]:
    """The databases of the accounts, by their names, and of what is no account's, whose name is empty.

    Raises:
        UsageError: a URL that is none, or packages that are not installed.
        StateUnusable: a database cannot be used, or another version made its tables.
    """
    url = batch.database_url or Environment(warn=say).secret(DATABASE_URL)
    with ExitStack() as stack:
        if url is None:
            from batches_mcp.store.folders import FolderState

            folder = StateFolder(batch.state_dir or user_state_folder())
            state = FolderState(folder)
            opened = {each.account: each.database() for each in state.with_ledger()}
            if state.has_audit:
                opened[""] = state.audit()
            yield {name: stack.enter_context(closing(database)) for name, database in opened.items()}
            return
        with installed("--database-url", "team"):
            from batches_mcp.store import migrations
            from batches_mcp.store.postgres import Postgres
            from batches_mcp.store.shared import AccountDatabase, accounts_of
        shared = stack.enter_context(closing(Postgres(url.get_secret_value())))
        migrations.check(shared)
        yield {name: AccountDatabase(shared, name) for name in accounts_of(shared)}
