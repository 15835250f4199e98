"""The ledger of an account: every create that was begun, and what became of it. In one table, shared by processes.

The row of a create is its lock as well: whoever wrote it, or took it over from a process that died, is its `owner`, and
alone may send it or look for its batch. All writing is in short transactions, each done wholly or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from batches_mcp.api.batch import RESULTS_KEPT_S, Batch
from batches_mcp.exchange import result
from batches_mcp.store import approvals, audit, claims
from batches_mcp.store.approvals import Approvals
from batches_mcp.store.claim_rules import Baseline, Cap, Claim, ClaimRules
from batches_mcp.store.claims import MADE, OF_TEAM, RECENT_S, UNSETTLED, WANTED
from batches_mcp.store.database import select, update
from batches_mcp.store.entry import Draft, Entry, State
from batches_mcp.store.state import LedgerDatabase

__all__ = ("RECENT_S", "Ledger")


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of batches, by their ids: the entries that are certainly theirs; for each of these the creates that
    sent rows of it again, or may have; and the unsettled entries that have one of them as a candidate.
    """

    known: Mapping[str, Entry]
    retries: Mapping[str, Sequence[Entry]]
    doubted: Mapping[str, Entry]


@dataclass(frozen=True, slots=True)
class Ledger:
    """One ledger. Every method is one transaction, and raises StateUnusable when its database cannot be used."""

    database: LedgerDatabase

    @property
    def approvals(self) -> Approvals:
        """The creates that wait for an approval."""
        return Approvals(self.database)

    def claim(
        self, draft: Draft, owner: str, upstream: Baseline, at_work: Callable[[Entry], bool], rules: ClaimRules
    ) -> Claim:
        """Begin a create, unless something stands against it; its times are those of `upstream`.

        `at_work` tells whether the owner of an unsettled entry still is.
        A retry is not the same as its parent, nor as what came before that, even if it is of all the parent's requests.
        """
        with self.database.transaction() as db:
            return claims.claim(db, draft, owner, upstream, at_work, rules)

    def sent(self, key: int, sent_s: float, owner: str | None = None) -> bool:
        """The last byte of a create is about to be sent; from here on a batch of it may exist.

        False when the entry is no longer this owner's, who must then not send that byte.
        """
        with self.database.transaction() as db:
            if owner is not None and not select(db, f"key = ? AND owner = ? AND {UNSETTLED}", key, owner):
                return False
            update(db, key, sent_s=sent_s)
            _audit(db, key, "sent")
            return True

    def accepted(self, key: int, batch: Batch) -> None:
        """The upstream answered with a batch, which is no other entry's."""
        with self.database.transaction() as db:
            others = select(db, f"batch_id = ? AND key != ? AND state != '{State.ACCEPTED}'", batch.id, key)
            for other in others:
                update(db, other.key, state=State.AMBIGUOUS, **_NO_BATCH)
            update(db, key, state=State.ACCEPTED, owner=None, **_batch(batch))
            _audit(db, key, "accepted", batch.id)

    def adopted(self, key: int, batch: Batch) -> bool:
        """A batch was proven to be an entry's; false when it has become known as another's."""
        with self.database.transaction() as db:
            if select(db, f"batch_id = ? AND key != ? AND NOT {UNSETTLED}", batch.id, key):
                return False
            update(db, key, state=State.ADOPTED, owner=None, **_batch(batch))
            _audit(db, key, "adopted", batch.id)
            return True

    def candidate(self, key: int, batch: Batch | None) -> None:
        """Note the one batch that may be an unsettled entry's; None: there is none, or there are several.

        An entry that was settled meanwhile stays as it is.
        """
        with self.database.transaction() as db:
            if select(db, f"key = ? AND {UNSETTLED}", key):
                update(db, key, **(_batch(batch) if batch else _NO_BATCH))

    def settled(self, key: int, state: State) -> None:
        """No batch of an entry is known, for a reason that `state` tells; one that is settled stays as it is."""
        with self.database.transaction() as db:
            for entry in select(db, f"key = ? AND {UNSETTLED}", key):
                update(db, key, **_NO_BATCH)
                claims.refused(db, entry, state, "not_accepted" if state is State.REFUSED else None)

    def told(self, key: int) -> None:
        with self.database.transaction() as db:
            update(db, key, told=True)

    def saw(self, batches: Iterable[Batch]) -> Seen:
        """Learn how batches are now; what is known of them is returned."""
        shown = _shown(batches)
        # Most looks show nothing new, and need not wait for whoever writes.
        with self.database.reading() as db:
            seen, news = _seen(db, shown)
        if news:
            with self.database.transaction() as db:
                for each in news:
                    db.execute(f"UPDATE creates SET batch = ? WHERE {_IS_NEWS}", (shown[each], each, shown[each]))  # noqa: S608
                seen, _ = _seen(db, shown)
        return seen

    def looked(self, batches: Iterable[Batch]) -> Seen | None:
        """As `saw`, at once and in the event loop; None when there is something to learn, or to wait for."""
        found = self.database.look(partial(_seen, shown=_shown(batches)))
        return None if found is None or found[1] else found[0]

    def cost(self, batch_id: str, cost_usd: float) -> None:
        """Learn what a batch really cost."""
        with self.database.transaction() as db:
            db.execute(f"UPDATE creates SET cost_usd = ? WHERE batch_id = ? AND {MADE}", (cost_usd, batch_id))  # noqa: S608

    def deleted(self, batch_id: str) -> str | None:
        """Learn that a batch is gone; the name of the copy of its body is returned."""
        with self.database.transaction() as db:
            entry = next(iter(select(db, f"batch_id = ? AND {MADE}", batch_id)), None)
            if entry is None:
                return None
            update(db, entry.key, deleted=True)
            return entry.body

    def wanted(self, body: str) -> bool:
        """Whether there is, or may be, a batch of a body."""
        with self.database.transaction() as db:
            return bool(select(db, f"body = ? AND {WANTED}", body)) or body in approvals.bodies(db)

    def find(self, batch_id: str) -> Entry | None:
        """The entry of a batch that is certainly ours."""
        with self.database.reading() as db:
            return next(iter(select(db, f"batch_id = ? AND {MADE}", batch_id)), None)

    def get(self, key: int) -> Entry | None:
        """The entry with a key."""
        with self.database.reading() as db:
            return next(iter(select(db, "key = ?", key)), None)

    def doubted(self, batch_id: str) -> Entry | None:
        """An unsettled entry that a batch may be the batch of."""
        with self.database.reading() as db:
            return next(iter(select(db, f"batch_id = ? AND {UNSETTLED}", batch_id)), None)

    def unsettled(self, content: str, team: str | None = None) -> Entry | None:
        """A team's latest create of a content of which it is not known whether it made, or will make, a batch."""
        with self.database.reading() as db:
            condition = f"content = ? AND {OF_TEAM} AND {UNSETTLED} ORDER BY key DESC"
            return next(iter(select(db, condition, content, team or "")), None)

    def standing(self, content: str, after: int = 0, team: str | None = None) -> Entry | None:
        """A team's latest batch of a content that is no retry, was not deleted, and whose key is above `after`."""
        with self.database.reading() as db:
            return next(iter(claims.standing(db, (content, content, team or ""), None, after)), None)

    def spent_usd(self, cap: Cap, now_s: float) -> float:
        """What creates have cost that a cap is for, at a time (Unix), or may cost as long as that is not known."""
        with self.database.reading() as db:
            return claims.spent_usd(db, cap, cap.window.since_s(now_s))

    def batch_ids(self, team: str | None) -> list[str]:
        """The ids of the batches that are certainly a team's and were not deleted, newest first."""
        with self.database.reading() as db:
            condition = f"{OF_TEAM} AND {MADE} AND NOT deleted ORDER BY started_s DESC, key DESC"
            return [str(entry.batch_id) for entry in select(db, condition, team or "")]

    def last_key(self) -> int:
        """The key of the latest entry; 0 when there is none."""
        with self.database.reading() as db:
            return max((entry.key for entry in select(db, "1 = 1 ORDER BY key DESC LIMIT 1")), default=0)

    def retries(self, batch_id: str) -> list[Entry]:
        """The creates that sent rows of a batch again, or may have."""
        with self.database.reading() as db:
            return select(db, f"parent = ? AND {WANTED} ORDER BY key", batch_id)

    def entries(self) -> list[Entry]:
        """All of them, newest first."""
        with self.database.reading() as db:
            return select(db, "1 = 1 ORDER BY key DESC")

    def known(self, batch_ids: Iterable[str]) -> dict[str, Entry]:
        """The entries of those of the batches that are certainly an entry's, by the ids of the batches."""
        with self.database.reading() as db:
            found = {each: select(db, f"batch_id = ? AND {MADE}", each) for each in batch_ids}
            return {batch_id: entries[0] for batch_id, entries in found.items() if entries}

    def rivals(self, entry: Entry) -> list[Entry]:
        """The other unsettled creates of the same size and of other content: a batch of that size may be theirs."""
        with self.database.transaction() as db:
            condition = f"rows = ? AND content != ? AND {UNSETTLED}"
            return select(db, condition, entry.rows, entry.content)

    def alike(self, entry: Entry) -> int:
        """How many unsettled creates there are of an entry's content, itself among them."""
        with self.database.transaction() as db:
            return len(select(db, f"content = ? AND {UNSETTLED}", entry.content))

    def left_behind(self, owner: str, at_work: Callable[[Entry], bool]) -> list[Entry]:
        """Take over what processes that died left unsettled; what they had not sent whole is settled by that."""
        with self.database.transaction() as db:
            owned = select(db, f"owner IS NOT NULL AND {UNSETTLED} ORDER BY key")
            found = [entry for entry in owned if not at_work(entry)]
            for entry in found:
                if entry.state is State.SENDING and entry.sent_s is None:
                    claims.refused(db, entry, reason="interrupted")
                else:
                    update(db, entry.key, owner=owner)
            return [entry for entry in found if entry.state is not State.SENDING or entry.sent_s is not None]

    def released(self, key: int) -> None:
        """Give an entry that is still unsettled to whoever wants to look next."""
        with self.database.transaction() as db:
            db.execute(
                f"UPDATE creates SET state = ?, owner = NULL WHERE key = ? AND {UNSETTLED}",  # noqa: S608
                (State.AMBIGUOUS, key),
            )

    def expired(self, now_s: float) -> list[Entry]:
        """The entries whose batch's results the API no longer keeps; of an unsettled one it can no longer be known."""
        with self.database.transaction() as db:
            return select(db, "started_s < ? AND owner IS NULL", now_s - RESULTS_KEPT_S)

    def drop(self, keys: Iterable[int]) -> set[str]:
        """Drop entries; the names of the copies that are still wanted are returned."""
        with self.database.transaction() as db:
            for key in keys:
                db.execute("DELETE FROM creates WHERE key = ?", (key,))
            approvals.forget(db)
            return {entry.body for entry in select(db, WANTED)} | approvals.bodies(db)

    def used(self) -> bool:
        """Whether the ledger holds anything at all."""
        with self.database.transaction() as db:
            return bool(select(db, "1 = 1 LIMIT 1")) or approvals.any_asked(db)


_IS_NEWS = "batch_id = ? AND (batch IS NULL OR batch <> ?) AND NOT deleted"
_NO_BATCH: Mapping[str, Any] = {"batch_id": None, "batch": None, "cost_usd": None, "told": False, "deleted": False}


def _batch(batch: Batch) -> Mapping[str, Any]:
    return {"batch_id": batch.id, "batch": result.encode(batch.raw)}


def _shown(batches: Iterable[Batch]) -> dict[str, str]:
    return {batch.id: result.encode(batch.raw) for batch in batches}


def _seen(db: Any, shown: Mapping[str, str]) -> tuple[Seen, list[str]]:
    """What is known of batches, and of which of them there is something to learn."""
    found = {each: select(db, "batch_id = ?", each) for each in shown}
    known = {each: entry for each, entries in found.items() for entry in entries[::-1] if entry.made}
    doubted = {each: entry for each, entries in found.items() for entry in entries if not entry.settled}
    retries = {each: select(db, f"parent = ? AND {WANTED} ORDER BY key", each) for each in known}
    news = [each for each, entries in found.items() if any(_is_news(entry, shown[each]) for entry in entries)]
    return Seen(known, retries, doubted), news


# What has not changed is not written, which would cost each look some milliseconds.
def _is_news(entry: Entry, batch: str) -> bool:
    return entry.batch != batch and not entry.deleted


def _audit(db: Any, key: int, outcome: str, batch_id: str | None = None) -> None:
    """Write into the audit what became of an entry."""
    for entry in select(db, "key = ? AND principal IS NOT NULL", key):
        audit.followed(db, entry, outcome, batch_id=batch_id)
