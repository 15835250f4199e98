"""State that any number of machines share: a database for the ledger and the leases, an object store for the rest."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from batches_mcp.api.batch import RESULTS_KEPT_S
from batches_mcp.core.limits import LIMITS
from batches_mcp.core.state import StateFolder, check_writable
from batches_mcp.store import migrations
from batches_mcp.store.answers import Answers
from batches_mcp.store.files import KEPT_S as FILES_KEPT_S
from batches_mcp.store.folders import AccountFolder, FolderState
from batches_mcp.store.jobs import Jobs
from batches_mcp.store.lease import Lease
from batches_mcp.store.looks import Found
from batches_mcp.store.objects import Objects
from batches_mcp.store.postgres import Postgres, Transaction
from batches_mcp.store.shared_files import PREPARED, RESULTS, SPOOLS, SharedFiles, SharedRequests, SharedSpools

_EXPIRE_EVERY_S = 3_600.0
# What was begun, or waits to be.
_CREATES = ("account_creates", "account_approvals")
_TABLES = (*_CREATES, "account_audit")


def open_shared(local: StateFolder, database_url: str, object_store: str) -> SharedState:
    """The state in a database and a store, both of which are there and can be written to.

    Raises:
        UsageError: a URL is none of theirs.
        StateUnusable: the database or the store cannot be used, or another version made the tables.
    """
    objects = Objects(object_store)
    with closing(Postgres(database_url)) as once:
        migrations.check(once)
    objects.check()
    database = Postgres(database_url)
    return SharedState(local, database, objects, Lease(database))


@dataclass(frozen=True, slots=True)
class AccountDatabase:
    """The rows of one account. Threads of this process wait for each other here, and hold no connection meanwhile."""

    shared: Postgres
    account: str
    _turn: threading.Lock = field(default_factory=threading.Lock)

    @property
    def name(self) -> str:
        return self.shared.name

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        with self._turn, self.shared.transaction(self.account) as db:
            yield db

    def reading(self) -> AbstractContextManager[Transaction]:
        return self.shared.transaction(self.account, alone=False)

    def look(self, read: Callable[[Transaction], Found]) -> Found | None:  # noqa: ARG002 - as of `LedgerDatabase`
        """Another machine is always waited for."""
        return None

    def close(self) -> None:
        """Nothing is its own."""


def accounts_of(database: Postgres, tables: Sequence[str] = _TABLES) -> list[str]:
    """The accounts of which anything is kept in these tables, and the empty name of what is no account's.

    Raises:
        StateUnusable: the database cannot be used.
    """
    statement = " UNION ".join(f"SELECT account FROM {table}" for table in tables)  # noqa: S608 - our own names
    with database.transaction() as db:
        return sorted(str(account) for (account,) in db.execute(statement))


@dataclass(frozen=True, slots=True)
class DatabaseNames:
    """Which account a credential or workspace belongs to, in the database."""

    database: Postgres
    remote: bool = True

    def read(self, name: str) -> str | None:
        with self.database.transaction() as db:
            found = db.execute("SELECT account FROM account_names WHERE name = ?", (name,)).fetchone()
        return None if found is None else str(found[0])

    def remember(self, name: str, account: str) -> str:
        with self.database.transaction() as db:
            db.execute("INSERT INTO account_names VALUES (?, ?) ON CONFLICT DO NOTHING", (name, account))
        return self.read(name) or account


@dataclass(frozen=True, slots=True)
class SharedAccount:
    """What is kept of one account."""

    state: SharedState
    account: str

    @property
    def has_ledger(self) -> bool:
        return True

    @property
    def has_creates(self) -> bool:
        with self.state.database.transaction() as db:
            return any(
                db.execute(f"SELECT 1 FROM {table} WHERE account = ? LIMIT 1", (self.account,)).fetchall()  # noqa: S608
                for table in _CREATES
            )

    def database(self, _busy_s: float = LIMITS.busy_s) -> AccountDatabase:
        return AccountDatabase(self.state.database, self.account)

    def kept_requests(self) -> SharedRequests:
        return SharedRequests(self._cache.folder("kept"), self.state.objects, self.account)

    def prepared_requests(self) -> SharedRequests:
        """The bodies of parts of jobs that are still to be sent."""
        return SharedRequests(self._cache.folder("prepared"), self.state.objects, self.account, PREPARED)

    def presence(self) -> Lease:
        return self.state.lease

    def spools(self) -> SharedSpools:
        return SharedSpools(self._cache.spools().folder, self.state.objects, self.account)

    def result_files(self) -> SharedFiles:
        return SharedFiles(self._cache.result_files().folder, self.state.objects)

    def answers(self) -> Answers:
        return self._cache.answers()

    def jobs(self) -> Path:
        return self._cache.jobs()

    @property
    def _cache(self) -> AccountFolder:
        return AccountFolder(self.state.local, self.account)


@dataclass(slots=True, eq=False)
class SharedState:
    """The state of all accounts; `local` is a cache of it, and has what is this machine's only."""

    local: StateFolder
    database: Postgres
    objects: Objects
    lease: Lease
    look_every_s: float = 60.0
    _expired_s: float = 0.0

    @property
    def names(self) -> DatabaseNames:
        return DatabaseNames(self.database)

    @property
    def shared_jobs(self) -> Jobs:
        return Jobs(self.database)

    def account(self, name: str) -> SharedAccount:
        return SharedAccount(self, name)

    def with_ledger(self) -> Iterator[SharedAccount]:
        for name in accounts_of(self.database, _CREATES):
            yield SharedAccount(self, name)

    def audit(self) -> AccountDatabase:
        return AccountDatabase(self.database, "")

    def remove_expired(self, now_s: float) -> None:
        FolderState(self.local).remove_expired(now_s)
        if now_s - self._expired_s < _EXPIRE_EVERY_S:
            return
        self._expired_s = now_s
        for below, kept_s in ((SPOOLS, RESULTS_KEPT_S), (RESULTS, FILES_KEPT_S), (PREPARED, RESULTS_KEPT_S)):
            for key, written_s in list(self.objects.keys(below)):
                if now_s - written_s > kept_s:
                    self.objects.forget(key)

    @property
    def leases_lost(self) -> int:
        return self.lease.lost

    def checks(self) -> Mapping[str, Callable[[], None]]:
        return {
            "state": partial(check_writable, self.local),
            "database": self._check_database,
            "object_store": self.objects.look,
            "lease": self.lease.check,
        }

    def _check_database(self) -> None:
        with self.database.transaction() as db:
            db.execute("SELECT 1")

    def close(self) -> None:
        self.database.close()
