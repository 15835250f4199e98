"""What the ledger knows of batches that this server created, as it is said wherever they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from batches_mcp.requests.cost import at_most
from batches_mcp.store.entry import Draft, Entry
from batches_mcp.store.ledger import Seen


def facts(draft: Draft) -> dict[str, Any]:
    """`{label?, source?, part?, retry_of?, estimate{cost_usd{high}}, cost_usd?}`; the estimate is null when unknown."""
    found = {
        "label": draft.label,
        "source": draft.source,
        "part": draft.part,
        "retry_of": draft.parent,
        "estimate": {"cost_usd": {"high": at_most(draft.estimate_usd)}},
        "cost_usd": at_most(draft.cost_usd) if isinstance(draft, Entry) else None,
    }
    return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one batch: its entry, when it is ours, and the batches that sent rows of it again."""

    entry: Entry | None
    retries: Sequence[str]

    @classmethod
    def of(cls, seen: Seen, batch_id: str) -> Self:
        again = seen.retries.get(batch_id, ())
        return cls(seen.known.get(batch_id), [retry.batch_id for retry in again if retry.batch_id])

    @property
    def facts(self) -> dict[str, Any]:
        return facts(self.entry) if self.entry is not None else {}

    @property
    def retriable(self) -> bool:
        """Whether a copy of its requests was kept."""
        return self.entry is not None and not self.entry.deleted
