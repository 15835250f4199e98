"""Presence across machines: a lease in the database, by whose clock alone it runs out.

A lock that ends with its connection would be free while its holder lives and sends, and held for hours by a machine
that is gone. A lease is neither: others take over only after it has run out, and a holder that could not renew it stops
well before that, by a clock that nobody sets.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable

from batches_mcp.core.errors import ErrorReport, Retry, StateUnusable
from batches_mcp.store.postgres import Postgres

log = logging.getLogger(__name__)

TERM_S = 30.0
RENEW_EVERY_S = 5.0
# Counted from the beginning of the last renewal that succeeded.
ACT_FOR_S = 20.0
_UNTIL = f"clock_timestamp() + interval '{TERM_S:g} seconds'"


class Lease:
    """One process's lease, for all its accounts; `now_s` is a clock that only goes forward.

    `lost` is how often it had run out when it was to be renewed.
    """

    def __init__(self, database: Postgres, now_s: Callable[[], float] = time.monotonic) -> None:
        self.name = uuid.uuid4().hex
        self._database = database
        self._now_s = now_s
        self.lost = 0
        self._renewed_s: float | None = None
        self._turn = threading.Lock()
        self._left = threading.Event()

    @property
    def left_s(self) -> float:
        renewed_s = self._renewed_s
        return 0.0 if renewed_s is None else max(0.0, renewed_s + ACT_FOR_S - self._now_s())

    def enter(self) -> None:
        """Take a lease, and renew it from now on in a thread.

        Raises:
            StateUnusable: the database cannot be used.
        """
        with self._turn:
            if self._renewed_s is None:
                self._take()
                self._left = threading.Event()
                threading.Thread(target=self._keep, args=(self._left,), name="lease", daemon=True).start()
            elif self.left_s <= 0:
                self._renew()

    def leave(self) -> None:
        with self._turn:
            if self._renewed_s is None:
                return
            self._renewed_s = None
            self._left.set()
            try:
                with self._database.transaction() as db:
                    db.execute("DELETE FROM owners WHERE name = ?", (self.name,))
            except StateUnusable as error:
                log.warning("others wait until the lease of this server has run out: %s", error.report.message)

    def renew(self) -> None:
        """Renew the lease; one that had run out is not renewed, but a new one is taken, under another name.

        Raises:
            StateUnusable: the database cannot be used.
        """
        with self._turn:
            if self._renewed_s is not None:
                self._renew()

    def check(self) -> None:
        """Raise StateUnusable when a lease was taken that this process may no longer act by."""
        if self._renewed_s is not None and self.left_s <= 0:
            message = f"the lease of this server could not be renewed for {ACT_FOR_S:g} s, so that it starts no create."
            next_step = "Look at the database, and at the way to it."
            raise StateUnusable(ErrorReport("state_unusable", message, next_step, Retry.HELPS, at_shell=next_step))

    def alive(self, name: str) -> bool:
        with self._database.transaction() as db:
            return bool(
                db.execute("SELECT 1 FROM owners WHERE name = ? AND until > clock_timestamp()", (name,)).fetchall()
            )

    def tidy(self) -> None:
        with self._database.transaction() as db:
            db.execute("DELETE FROM owners WHERE until < clock_timestamp() - interval '1 day'")

    def _take(self) -> None:
        name, began_s = uuid.uuid4().hex, self._now_s()
        with self._database.transaction() as db:
            values = (name, socket.gethostname(), os.getpid())
            db.execute(f"INSERT INTO owners (name, until, host, process) VALUES (?, {_UNTIL}, ?, ?)", values)  # noqa: S608
        self.name, self._renewed_s = name, began_s

    def _renew(self) -> None:
        began_s = self._now_s()
        with self._database.transaction() as db:
            update = f"UPDATE owners SET until = {_UNTIL} WHERE name = ? AND until > clock_timestamp()"  # noqa: S608
            renewed = db.execute(update, (self.name,)).rowcount
        if renewed:
            self._renewed_s = began_s
        else:
            self.lost += 1
            log.warning("the lease of this server had run out; what it had under way may be another's by now")
            self._take()

    def _keep(self, left: threading.Event) -> None:
        while not left.wait(RENEW_EVERY_S):
            try:
                self.renew()
            except StateUnusable as error:
                log.warning(
                    "the lease could not be renewed, and this server may act for %.0f s: %s", self.left_s, error
                )
