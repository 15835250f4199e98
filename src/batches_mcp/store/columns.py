"""The index of a spool as it grows: where each row is, and the facts of it that pages and totals need."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import astuple, dataclass, field

from batches_mcp.api.outcomes import OUTCOMES
from batches_mcp.requests.tokens import BATCH_TIER, LONG_PROMPT_TOKENS, PLAIN_GEOS, Tariff, Tokens
from batches_mcp.store.causes import FAILED, Causes
from batches_mcp.store.index import Head, Index, check_of
from batches_mcp.store.rows import Row

# A kind is one byte of the index; what no API ever had so many of is named "other".
_MOST_CLASSES = 200
_MOST_WORD = 100


@dataclass(frozen=True)
class Columns:
    """An index as it grows."""

    offsets: array[int] = field(default_factory=lambda: array("Q"))
    lengths: array[int] = field(default_factory=lambda: array("I"))
    checks: array[int] = field(default_factory=lambda: array("I"))
    kinds: bytearray = field(default_factory=bytearray)
    classes: dict[tuple[str, str | None], int] = field(default_factory=dict)
    # By model, length of the prompt, and what `usage` says of place and tier, as it says it.
    sums: dict[tuple[str, bool, str | None, str | None], list[int]] = field(default_factory=dict)
    causes: Causes = field(default_factory=Causes)

    @classmethod
    def of(cls, index: Index) -> Columns:
        return cls(
            array("Q", index.offsets),
            array("I", index.lengths),
            array("I", index.checks),
            bytearray(index.kinds),
            {kind: code for code, kind in enumerate(index.head.classes, 1)},
            {tariff: list(astuple(tokens)) for tariff, tokens in index.tokens.items()},
            Causes(index.head.causes),
        )

    def index(self, head: Head) -> Index:
        """The index with this head."""
        return Index(head, self.offsets, self.lengths, self.checks, self.kinds)

    @property
    def rows(self) -> int:
        return len(self.kinds)

    def add(self, rows: Iterable[Row]) -> None:
        """The facts of rows whose places are noted. Every row passes here, so that nothing is done twice."""
        checks, kinds, classes = self.checks.append, self.kinds.append, self.classes.get
        for row in rows:
            checks(check_of(row.custom_id))
            result = row.result
            message = result.message
            kind = (result.type, message.stop_reason if message is not None else result.error_type)
            kinds(classes(kind) or self._new_class(*kind))
            if message is not None and message.usage is not None:
                usage = message.usage
                fresh = usage.input_tokens or 0
                created = usage.cache_creation_input_tokens or 0
                read = usage.cache_read_input_tokens or 0
                long_prompt = fresh + created + read > LONG_PROMPT_TOKENS
                tariff = (message.model, long_prompt, usage.inference_geo, usage.service_tier)
                sums = self.sums.get(tariff) or self._new_tariff(*tariff)
                sums[0] += fresh
                sums[1] += created
                if usage.cache_creation is not None:
                    sums[2] += usage.cache_creation.ephemeral_1h_input_tokens or 0
                sums[3] += read
                sums[4] += usage.output_tokens or 0
                if not (
                    usage.server_tool_use is usage.iterations is message.container is None
                    and usage.input_tokens is not None
                    and usage.output_tokens is not None
                ):
                    sums[5] += usage.web_search_requests
                    sums[6] += not message.priced
            elif result.billed:
                model = message.model if message is not None else ""
                self._new_tariff(model, False, None, None)[6] += 1
            elif result.type in FAILED:
                self.causes.add(row)

    @property
    def tokens(self) -> dict[Tariff, Tokens]:
        """The sums by what decides the price."""
        found: dict[Tariff, Tokens] = {}
        for (model, long_prompt, geo, tier), sums in self.sums.items():
            tariff = Tariff(model, long_prompt, "" if geo in PLAIN_GEOS else str(geo), tier or BATCH_TIER)
            found[tariff] = found.get(tariff, Tokens()) + Tokens(*sums)
        return found

    def _new_tariff(self, model: str, long_prompt: bool, geo: str | None, tier: str | None) -> list[int]:
        geo, tier = geo and geo[:_MOST_WORD], tier and tier[:_MOST_WORD]
        return self.sums.setdefault((model[:_MOST_WORD], long_prompt, geo, tier), [0] * 7)

    def _new_class(self, outcome: str, detail: str | None) -> int:
        short = (outcome[:_MOST_WORD], detail[:_MOST_WORD] if detail else detail)
        if short not in self.classes and len(self.classes) >= _MOST_CLASSES:
            short = (outcome if outcome in OUTCOMES else "other", "other")
        return self.classes.setdefault(short, len(self.classes) + 1)
