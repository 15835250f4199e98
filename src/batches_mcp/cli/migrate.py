"""`migrate`: makes the tables of a shared database, or brings them to this version."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from pydantic import SecretStr

from batches_mcp.cli.flags import database_url_flag
from batches_mcp.cli.startup import installed, say
from batches_mcp.core.errors import UsageError
from batches_mcp.core.settings import DATABASE_URL, Environment

if TYPE_CHECKING:
    from batches_mcp.store.postgres import Postgres


@click.command
@database_url_flag
def migrate(*, database_url: SecretStr | None) -> None:
    """Make the tables of --database-url, or bring them to this version. What is up to date is left alone.

    Run it once before the first server of a new version starts; servers of the version before can go on meanwhile.
    """
    url = database_url or Environment(warn=say).secret(DATABASE_URL)
    if url is None:
        raise UsageError(f"migrate: which database? Give --database-url, or set {DATABASE_URL}")
    with installed("--database-url", "team"):
        from batches_mcp.store import migrations
        from batches_mcp.store.postgres import Postgres
    database = Postgres(url.get_secret_value())
    try:
        before, after = migrations.migrate(database)
        for_jobs = _migrate_jobs(database)
    finally:
        database.close()
    if before == after:
        say(f"the tables in {database.name} are up to date, at version {after}")
    else:
        say(f"the tables in {database.name} are now of version {after}{f', before of {before}' if before else ''}")
    if for_jobs is not None:
        say(f"the tables of jobs' tasks in {database.name} are now those of Procrastinate {for_jobs}")


def _migrate_jobs(database: Postgres) -> str | None:
    """Make the tables of jobs' tasks, where jobs can be run at all; the version they are now of, if they were not."""
    try:
        from batches_mcp.cluster import engine
    except ImportError:
        return None
    return engine.migrate(database)
