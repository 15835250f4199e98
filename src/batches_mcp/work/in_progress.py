"""Creates and downloads that are under way: each runs on by itself, whoever waits for it, or nobody."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio

from batches_mcp.api.batch import Batch
from batches_mcp.store.entry import Entry

if TYPE_CHECKING:  # they are imported with the first download
    from batches_mcp.store.spool import Spool
    from batches_mcp.store.spooling import Writer

Key = tuple[str, str | None, str]
"""An account, the team that a create is for, and a content."""


@dataclass(slots=True, eq=False)
class Delivery:
    """One create, `begun` with its first byte. Once `done` is set there is a `batch` or a `failure`.

    With a failure there may be a `candidate`, a batch that may be the one. `headers` are those of the answer that had
    the batch.

    `entry` is its row of the ledger, if there is one, and `recorded` tells whether its outcome is written down there.
    `sent` is set before the last byte of the body goes out. `warnings` are for whoever is given the batch.
    """

    body_bytes: int
    entry: Entry | None = None
    begun: bool = False
    sent_bytes: int = 0
    sent: bool = False
    done: anyio.Event = field(default_factory=anyio.Event)
    batch: Batch | None = None
    candidate: Batch | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    failure: Exception | None = None
    recorded: bool = True
    warnings: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Deliveries:
    """The deliveries of a server, so that the same content finds the one that is under way already."""

    _all: set[Delivery] = field(default_factory=set)
    _by_content: dict[Key, Delivery] = field(default_factory=dict)

    def find(self, key: Key) -> Delivery | None:
        return self._by_content.get(key)

    def add(self, key: Key | None, delivery: Delivery) -> None:
        self._all.add(delivery)
        if key is not None:
            self._by_content[key] = delivery

    def remove(self, key: Key | None, delivery: Delivery) -> None:
        """It has ended; one that the ledger does not know the end of stays to be found."""
        self._all.discard(delivery)
        if key is not None and delivery.recorded and self._by_content.get(key) is delivery:
            del self._by_content[key]

    async def finish(self, grace_s: float) -> None:
        """Give those that are under way a moment to end; what then goes on without us is in the ledger."""
        with anyio.move_on_after(grace_s, shield=True):
            for delivery in list(self._all):
                await delivery.done.wait()


@dataclass(slots=True)
class Download:
    """One that is under way, or over: then it has a spool, complete or not, or a failure.

    One whose batch was deleted meanwhile is `unwanted`: nothing of it is kept.
    """

    total: int
    writer: Writer | None = None
    spool: Spool | None = None
    failure: Exception | None = None
    unwanted: bool = False
    over: anyio.Event = field(default_factory=anyio.Event)

    @property
    def rows(self) -> int:
        """How many rows have arrived so far."""
        return self.writer.rows if self.writer else 0

    @property
    def received_bytes(self) -> int:
        return self.writer.received_bytes if self.writer else 0
