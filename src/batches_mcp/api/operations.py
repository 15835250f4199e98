"""The other operations on batches, worked out of the one that a tool was declared with.

A behaviour often needs more than its own operation: results need the batch's state, a create may have to look at the
list. Where these are follows from the declared path, so that the same base URL, headers and credential serve them all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from batches_mcp.core.plan import Argument, Feed, Place, RequestPlan, ResultPlan, Template, ToolPlan

# The argument of a sibling that names its batch.
BATCH_ID = "message_batch_id"

_AS_IT_IS = ResultPlan((), declared_jsonl=False)


@dataclass(frozen=True, slots=True)
class Operations:
    """Plain forwards for the operations beside a tool's own; those on one batch take its id as `message_batch_id`."""

    tool: ToolPlan

    @property
    def list(self) -> ToolPlan:
        """Takes limit, after_id and before_id."""
        query = tuple(Feed(Place.QUERY, name, _argument(name)) for name in ("limit", "after_id", "before_id"))
        return self._forward("list", "GET", self._collection, query)

    @property
    def retrieve(self) -> ToolPlan:
        return self._forward("retrieve", "GET", self._one)

    @property
    def results(self) -> ToolPlan:
        return replace(self._forward("results", "GET", (*self._one, "/results")), result=ResultPlan((), True))

    @property
    def _collection(self) -> tuple[str | Feed, ...]:
        """The path of all batches: without the part that names one, and what follows it."""
        path = self.tool.request.path
        ids = [number for number, part in enumerate(path) if isinstance(part, Feed) and part.value.arguments]
        if not ids:
            return path
        *before, last = path[: ids[-1]]
        return (*before, last.rstrip("/") if isinstance(last, str) else last)

    @property
    def _one(self) -> tuple[str | Feed, ...]:
        return (*self._collection, "/", Feed(Place.PATH, BATCH_ID, _argument(BATCH_ID)))

    def _forward(
        self, operation: str, method: str, path: tuple[str | Feed, ...], feeds: tuple[Feed, ...] = ()
    ) -> ToolPlan:
        own: RequestPlan = self.tool.request
        kept = tuple(feed for feed in own.feeds if feed.place is Place.HEADER and not feed.value.arguments)
        request = replace(own, operation=operation, method=method, path=path, feeds=(*kept, *feeds), body=None)
        return replace(self.tool, request=request, result=_AS_IT_IS, behavior=None)


def _argument(name: str) -> Template:
    return Template((Argument(name),))
