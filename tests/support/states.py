"""Both kinds of state: a folder, and a database with an object store. Tests marked `both_states` run on each."""

from __future__ import annotations

import os
from pathlib import Path

import psycopg

from batches_mcp.core.settings import DATABASE_URL
from batches_mcp.core.state import StateFolder
from batches_mcp.store.folders import FolderState
from batches_mcp.store.state import State

# Set for each test to a folder of its own; the others only for one that runs on a shared state.
STATE_DIR = "BATCHES_MCP_STATE_DIR"
OBJECT_STORE = "BATCHES_MCP_OBJECT_STORE"
SETTINGS = (STATE_DIR, DATABASE_URL, OBJECT_STORE)


def state_in(folder: Path | None = None) -> State:
    """The state that the environment names; another `folder` is another cache, or without a database another state."""
    local = StateFolder(folder or Path(os.environ[STATE_DIR]))
    if DATABASE_URL not in os.environ:
        return FolderState(local)
    from batches_mcp.store.shared import open_shared

    return open_shared(local, os.environ[DATABASE_URL], os.environ[OBJECT_STORE])


def another_machine(folder: Path) -> Path:
    """The folder of a server on another machine, where the state is shared; else there is only the same one."""
    return Path(f"{folder}-another") if DATABASE_URL in os.environ else folder


def leases_run_out() -> None:
    """Let the leases of a shared state run out, as they do 30 s after a process was killed."""
    if DATABASE_URL in os.environ:
        with psycopg.connect(os.environ[DATABASE_URL]) as connection:
            connection.execute("UPDATE owners SET until = clock_timestamp()")
