"""What a job came to: the account of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from batches_mcp.api.outcomes import OUTCOMES
from batches_mcp.core.redact import excerpt
from batches_mcp.job.steps import Kind, retryable
from batches_mcp.requests.cost import actual_usd_by_category
from batches_mcp.requests.tokens import Tariff, Tokens
from batches_mcp.store.causes import FAILED, Causes
from batches_mcp.store.rows import loads, read_row
from batches_mcp.store.spool import Spool
from batches_mcp.tools.view import ATTENTION, error_of
from batches_mcp.work.retryable import kind_of

_MOST_NAMED = 50
_MOST_MESSAGE_CHARS = 500


@dataclass(slots=True)
class Tally:
    """The last outcomes of rows, added up. `needs_fixing` are the first that fail again however often they are sent.

    `missing` counts the rows that have none, by why (`Part.missing`); `first_missing` names the first of them.
    """

    kinds: Counter[Kind] = field(default_factory=Counter)
    causes: Causes = field(default_factory=Causes)
    tokens: dict[Tariff, Tokens] = field(default_factory=dict)
    billing: int = 0
    unfixed: int = 0
    needs_fixing: list[dict[str, str | None]] = field(default_factory=list)
    missing: Counter[str] = field(default_factory=Counter)
    first_missing: list[dict[str, str]] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return self.kinds.total()

    @property
    def failed(self) -> int:
        return self.rows - self.outcomes["succeeded"]

    @property
    def outcomes(self) -> Counter[str]:
        return self._by(lambda kind: kind[0])

    @property
    def errors(self) -> Counter[str]:
        return self._by(lambda kind: (kind[1] or "unknown") if kind[0] == "errored" else None)

    @property
    def attention(self) -> Counter[str]:
        """Rows that succeeded, but whose answer is not finished."""
        return self._by(lambda kind: ATTENTION.get(kind[1] or "") if kind[0] == "succeeded" else None)

    @property
    def stopped_early(self) -> Counter[str]:
        """The same rows, by stop_reason."""
        return self._by(lambda kind: kind[1] if kind[0] == "succeeded" and kind[1] in ATTENTION else None)

    def add(self, kind: Kind, line: bytes) -> None:
        self.kinds[kind] += 1
        if kind[0] in FAILED and (row := read_row(line)):
            self.causes.add(row)
        if kind[0] != "errored" or retryable(kind):
            return
        found = loads(line)
        error_type, message = error_of(found["result"])
        if kind_of(*kind, message or "") == "billing":
            self.billing += 1
            return
        self.unfixed += 1
        if len(self.needs_fixing) < _MOST_NAMED:
            message = excerpt(message or "", _MOST_MESSAGE_CHARS)
            self.needs_fixing.append(
                {"custom_id": found["custom_id"], "error_type": error_type, "error_message": message}
            )

    def miss(self, custom_id: str, why: str) -> None:
        """Add a row without an outcome."""
        self.missing[why] += 1
        if len(self.first_missing) < _MOST_NAMED:
            self.first_missing.append({"custom_id": custom_id, "reason": why})

    def spent(self, spool: Spool) -> None:
        """Add what a batch used."""
        for tariff, tokens in spool.tokens.items():
            self.tokens[tariff] = self.tokens.get(tariff, Tokens()) + tokens

    def data(self) -> dict[str, Any]:
        """The account, as keys that stay."""
        total = sum(self.tokens.values(), Tokens())
        by_category = actual_usd_by_category(self.tokens)
        return {
            "rows": self.rows,
            "outcomes": {name: self.outcomes[name] for name in OUTCOMES} | dict(self.outcomes),
            "errors": dict(self.errors.most_common()),
            "causes": [
                {"type": each.type, "message": each.message, "rows": each.count, "custom_id": each.custom_id}
                for each in self.causes.all()[:_MOST_NAMED]
            ],
            "needs_attention": dict(self.attention),
            "stopped_early": dict(self.stopped_early),
            "needs_fixing": {"rows": self.unfixed, "first": self.needs_fixing},
            "billing": self.billing,
            "missing": {
                "rows": self.missing.total(),
                "reasons": dict(self.missing.most_common()),
                "first": self.first_missing,
            },
            "usage": {
                **total.used(),
                "cost_usd": None if by_category is None else round(sum(by_category.values()), 6),
            },
            "cost_usd_by_category": by_category,
        }

    def _by(self, name: Callable[[Kind], str | None]) -> Counter[str]:
        counter: Counter[str] = Counter()
        for kind, number in self.kinds.items():
            if named := name(kind):
                counter[named] += number
        return counter
