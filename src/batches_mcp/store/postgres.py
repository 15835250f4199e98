"""The door to PostgreSQL: connections that are kept for a while, transactions on them, and what its errors mean.

Nothing lives longer on a connection than a transaction, and no statement is prepared, so that a pooler such as
PgBouncer may stand in between, in its transaction mode.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict

from batches_mcp.core.errors import ErrorReport, Retry, StateUnusable, UsageError

log = logging.getLogger(__name__)

SCHEMES = ("postgresql", "postgres")
_EXPECTED = "expected postgresql://USER:PASSWORD@HOST/DATABASE"
# libpq's own settings; a URL that names them wins. The last is in milliseconds.
_CONNECT = {"connect_timeout": "5", "application_name": "batches-mcp", "tcp_user_timeout": "10000"}
_BUSY_S = 10
# Calls that only read have one each.
_MOST_KEPT = 16
# The account is for the view `creates`. Whoever stops in the middle of a transaction must not keep all others waiting.
_LOCALS = (
    "SELECT set_config('batches_mcp.account', %s, true), set_config('lock_timeout', %s, true), "
    "set_config('statement_timeout', %s, true), set_config('idle_in_transaction_session_timeout', %s, true)"
)
_TIMES = (f"{_BUSY_S}s", "30s", "30s")


class Transaction:
    """A transaction that is under way, used as one of SQLite's is."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def execute(self, statement: str, values: Sequence[Any] = ()) -> psycopg.Cursor[Any]:
        """Run a statement whose values are marked by `?`."""
        texts = [_storable(value) for value in values]
        return self._connection.execute(statement.replace("?", "%s").encode(), texts)

    def run(self, script: str) -> None:
        """Run several statements, without values."""
        self._connection.execute(script.encode())


class Postgres:
    """A database, by its `url`; `name` is how messages call it, without user and password.

    Raises:
        UsageError: that is no URL of a database.
    """

    def __init__(self, url: str) -> None:
        self.name = shown(url)
        self.url = url
        self._idle: list[psycopg.Connection[Any]] = []
        self._closed = False
        self._under_way = threading.local()
        self._lock = threading.Lock()

    @contextmanager
    def transaction(self, account: str = "", *, alone: bool = True) -> Iterator[Transaction]:
        """A transaction, wholly done or not at all; with an `account` it is the only one of that account, if `alone`.

        One that begins within another of the same thread is a part of that: who holds a connection must not wait for a
        second one, which those may have who wait for the first.

        Raises:
            StateUnusable: the database cannot be used; what was done may have been kept if it broke at the very end.
        """
        outer: Transaction | None = getattr(self._under_way, "transaction", None)
        if outer is not None:
            yield outer
            return
        try:
            connection = self._begun(account, alone)
            try:
                self._under_way.transaction = Transaction(connection)
                yield self._under_way.transaction
                connection.commit()
            except BaseException:
                with suppress(psycopg.Error):
                    connection.close()
                raise
            finally:
                self._under_way.transaction = None
        except psycopg.Error as error:
            raise _unusable(self.name, error) from error
        self._keep(connection)

    def close(self) -> None:
        """Keep no connection any longer; a transaction that comes later has one of its own."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _begun(self, account: str, alone: bool) -> psycopg.Connection[Any]:
        """A connection with a transaction begun; one that was kept may have been closed by the other side meanwhile."""
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                break
            try:
                _begin(connection, account, alone)
            except psycopg.OperationalError as error:
                connection.close()
                if isinstance(error, errors.LockNotAvailable):
                    raise
                log.debug("a kept connection to %s is gone", self.name)
            else:
                return connection
        connection = psycopg.connect(self.url, prepare_threshold=None, **_settings(self.url))
        try:
            _begin(connection, account, alone)
        except BaseException:
            connection.close()
            raise
        return connection

    def _keep(self, connection: psycopg.Connection[Any]) -> None:
        with self._lock:
            if not self._closed and len(self._idle) < _MOST_KEPT:
                self._idle.append(connection)
                return
        connection.close()


def shown(url: str) -> str:
    """A database's URL without what is secret in it.

    Raises:
        UsageError: it is no URL of a database. Nothing of it is repeated, because any part may be the password.
    """
    try:
        parts = urlsplit(url)
        if parts.scheme not in SCHEMES:
            raise UsageError(f"--database-url is not the URL of a PostgreSQL database; {_EXPECTED}")
        known = conninfo_to_dict(url)
        if url.count("@") > 1 or not all(each.isdecimal() for each in str(known.get("port") or "0").split(",")):
            raise ValueError("a password that is not written as it must be")
    except (ValueError, psycopg.Error):
        advice = "in a password, write characters other than letters, digits and -._~ as %XX"
        raise UsageError(f"--database-url cannot be read; {_EXPECTED}, and {advice}") from None
    host, port = known.get("host") or known.get("hostaddr") or "localhost", known.get("port")
    return f"postgresql://{host}{f':{port}' if port else ''}/{known.get('dbname') or ''}"


def secrets_of(url: str) -> list[str]:
    """What must not be shown of a database's URL: itself, and its password.

    Raises:
        UsageError: see `shown`.
    """
    shown(url)
    return [url, *filter(None, [str(conninfo_to_dict(url).get("password") or "")])]


def _settings(url: str) -> dict[str, Any]:
    given = conninfo_to_dict(url)
    return {name: value for name, value in _CONNECT.items() if name not in given}


def _begin(connection: psycopg.Connection[Any], account: str, alone: bool) -> None:
    connection.execute(_LOCALS, (account, *_TIMES))
    if account and alone:
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"batches-mcp {account}",))


def _storable(value: Any) -> Any:
    """PostgreSQL's text holds neither NUL nor halves of surrogate pairs."""
    if not isinstance(value, str):
        return value
    return str(value).replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _unusable(name: str, error: psycopg.Error) -> StateUnusable:
    """The error for one of the database's."""
    message = f"the ledger in {name} cannot be used"
    found = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
    match error:
        case errors.LockNotAvailable():
            return _passing(f"{message}: another process has been writing to it for {_BUSY_S} s.")
        case errors.ReadOnlySqlTransaction():
            message = f"{message}: it is read-only."
            advice = "name the database's primary in --database-url"
        case errors.UndefinedTable() | errors.UndefinedColumn():
            message = f"{message}: it has not the tables of this version."
            advice = "run `batches-mcp migrate`"
        case errors.InsufficientPrivilege():
            message = f"{message}: {found}."
            advice = "give the user of --database-url the right to read and write the tables of batches-mcp"
        case errors.DiskFull():
            message = f"{message}: there is no room left."
            advice = "make room for the database"
        case _:
            return _passing(f"{message}: {found}.")
    return StateUnusable(
        ErrorReport(
            "state_unusable", message, f"Tell the user to {advice}.", at_shell=f"{advice[0].upper()}{advice[1:]}."
        )
    )


def _passing(message: str) -> StateUnusable:
    """The error for trouble that may be over in a moment."""
    return StateUnusable(
        ErrorReport(
            "state_unusable",
            message,
            "Wait a little, then call again; if it stays so, tell the user to look at that database.",
            Retry.HELPS,
            at_shell="Wait a little, then give the same command again; if it stays so, look at that database.",
        )
    )
