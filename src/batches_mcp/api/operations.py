"""The operations on batches beside a tool's own, so that what works on batches need not know where they are.

Results need the batch's state, a create may have to look at the list: the capability file says where these are, and
the tool's own base URL, headers and credential serve them all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from batches_mcp.core.errors import CallError, ErrorReport
from batches_mcp.core.plan import Argument, BehaviorName, Feed, Place, ResultPlan, Template, ToolPlan

# The argument that names a batch.
BATCH_ID = "message_batch_id"


@dataclass(frozen=True, slots=True)
class Operations:
    """Plain forwards; those on one batch take its id as `message_batch_id`.

    One that the capability file does not declare is a CallError.
    """

    tool: ToolPlan

    @property
    def list(self) -> ToolPlan:
        """Takes limit, after_id and before_id."""
        query = tuple(
            Feed(Place.QUERY, name, Template((Argument(name),))) for name in ("limit", "after_id", "before_id")
        )
        return self._get(BehaviorName.LIST, query)

    @property
    def retrieve(self) -> ToolPlan:
        return self._get(BehaviorName.STATUS)

    @property
    def results(self) -> ToolPlan:
        return replace(self._get(BehaviorName.RESULTS), result=ResultPlan((), declared_jsonl=True))

    def _get(self, name: BehaviorName, query: tuple[Feed, ...] = ()) -> ToolPlan:
        if name not in self.tool.beside:
            message = f"the capability file declares no operation with x-behavior: {name} beside {self.tool.name}."
            raise CallError(ErrorReport("not_declared", message, "Tell the user: the file has to be completed."))
        own = self.tool.request
        path = tuple(_of_batch(part) for part in self.tool.beside[name])
        headers = tuple(feed for feed in own.feeds if feed.place is Place.HEADER and not feed.value.arguments)
        request = replace(own, operation=name, method="GET", path=path, feeds=(*headers, *query), body=None)
        return replace(self.tool, request=request, result=ResultPlan((), declared_jsonl=False), behavior=None)


def _of_batch(part: str | Feed) -> str | Feed:
    """A part of a path, in which whatever argument names the batch is `message_batch_id`."""
    if isinstance(part, Feed) and part.value.arguments:
        return replace(part, name=BATCH_ID, value=Template((Argument(BATCH_ID),)))
    return part
