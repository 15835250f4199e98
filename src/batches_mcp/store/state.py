"""The seam of what is kept: each account has a place for its ledger, copies, results and owners, wherever that is.

Two things are such a place: a folder of this machine (`folders`), and a database with an object store, which any number
of machines share (`shared`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from batches_mcp.api.identity import AccountNames
from batches_mcp.core.limits import LIMITS
from batches_mcp.core.state import StateFolder
from batches_mcp.store.looks import Found

if TYPE_CHECKING:  # what is kept in bulk is imported when it is asked for
    from batches_mcp.store.answers import Answers
    from batches_mcp.store.files import ResultFiles
    from batches_mcp.store.jobs import Jobs
    from batches_mcp.store.kept import KeptRequests
    from batches_mcp.store.spools import Spools


class LedgerDatabase(Protocol):
    """Where a ledger's table is; `name` is how messages call it."""

    @property
    def name(self) -> str: ...

    def transaction(self) -> AbstractContextManager[Any]:
        """A transaction, which has `execute` as SQLite's connections do; wholly done or not at all.

        Raises:
            StateUnusable: the ledger cannot be used.
        """

    def reading(self) -> AbstractContextManager[Any]:
        """A transaction that only reads, and waits for no other where it need not; raises as `transaction` does."""

    def look(self, read: Callable[[Any], Found]) -> Found | None:
        """What `read` finds, for the event loop: nobody is waited for. None when that cannot be."""

    def close(self) -> None:
        """Let go of it; the next transaction opens it anew."""


class Presence(Protocol):
    """One process's sign of life, from `enter` to `leave`, by which others tell whether it is still at work."""

    @property
    def name(self) -> str:
        """What the process is called as an owner; another one once the sign had run out."""

    @property
    def left_s(self) -> float:
        """How long this process may act without another look; infinite where its end alone ends its sign."""

    def enter(self) -> None:
        """Show that this process lives; more than once is no harm.

        Raises:
            OSError, sqlite3.Error, StateUnusable: that cannot be shown.
        """

    def leave(self) -> None: ...

    def alive(self, name: str) -> bool:
        """Whether the process with this name has entered, and has neither left nor died."""

    def tidy(self) -> None:
        """Remove the signs of those that died."""


class AccountState(Protocol):
    """What is kept of one account.

    Raises:
        StateUnusable: from every method, when that place cannot be used.
    """

    @property
    def account(self) -> str: ...

    @property
    def has_ledger(self) -> bool:
        """Whether its ledger can be opened without making one; takes no time."""

    @property
    def has_creates(self) -> bool:
        """Whether anything was ever written to its ledger; may ask a database."""

    def database(self, busy_s: float = LIMITS.busy_s) -> LedgerDatabase:
        """Its ledger; a file waits `busy_s` for another process."""

    def kept_requests(self) -> KeptRequests: ...

    def presence(self) -> Presence: ...

    def spools(self) -> Spools: ...

    def result_files(self) -> ResultFiles: ...

    def answers(self) -> Answers:
        """Which rows were answered; of this machine only."""

    def jobs(self) -> Path:
        """Where `run` keeps a folder for each job; of this machine only."""


class State(Protocol):
    """What is kept of all accounts. `local` is this machine's folder: all of it, or a cache of what is elsewhere."""

    @property
    def local(self) -> StateFolder: ...

    @property
    def names(self) -> AccountNames: ...

    @property
    def look_every_s(self) -> float | None:
        """How often to look for what others left behind; None: when a server starts is enough."""

    @property
    def shared_jobs(self) -> Jobs | None:
        """The jobs that workers on any machines carry out; None where no others could have any."""

    def account(self, name: str) -> AccountState: ...

    def with_ledger(self) -> Iterator[AccountState]:
        """The accounts that have a ledger, by name."""

    def audit(self) -> LedgerDatabase:
        """Where decisions are written down that are no claim's."""

    def remove_expired(self, now_s: float) -> None:
        """Remove what is past its time at `now_s` of the results of all accounts.

        Raises:
            OSError: the folder cannot be read.
        """

    @property
    def leases_lost(self) -> int:
        """How often this process was late to show that it lives."""

    def checks(self) -> Mapping[str, Callable[[], None]]:
        """Looks at the places that it is in, by their names, each for one caller at a time.

        A look raises StateUnusable when nothing can be kept there now.
        """

    def close(self) -> None:
        """Let go of connections; what comes later has one of its own."""
