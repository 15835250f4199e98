"""The batches that a credential reaches, as the API gives them: listed, retrieved, and their results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from batches_mcp.api.batch import Batch, Page
from batches_mcp.api.ended import Ended, ended, none_there
from batches_mcp.api.operations import BATCH_ID, Operations
from batches_mcp.core.errors import UpstreamError
from batches_mcp.exchange import result
from batches_mcp.exchange.forward import Forward
from batches_mcp.exchange.result import Answer
from batches_mcp.exchange.upstream import Upstream


@dataclass(frozen=True, slots=True)
class Batches:
    """Reads what there is; each method raises CallError where the upstream does not give it."""

    forward: Forward
    operations: Operations

    @property
    def upstream(self) -> Upstream:
        return self.forward.upstream

    async def page(
        self, limit: int, after_id: str | None = None, *, before_id: str | None = None, once: bool = False
    ) -> Page:
        """A page of the list; what is asked `once` is not tried again."""
        listing = self.operations.list
        given = {"limit": limit, "after_id": after_id, "before_id": before_id}
        arguments = {name: value for name, value in given.items() if value is not None}
        answer = await self.forward.answer(listing, arguments, once=once)
        return Page.of(result.whole(listing.result, answer), answer)

    async def get(self, batch_id: str) -> tuple[Batch, Answer]:
        """A batch, and the answer that it came in."""
        retrieve = self.operations.retrieve
        answer = await self.forward.answer(retrieve, {BATCH_ID: batch_id})
        return Batch.of(result.whole(retrieve.result, answer)), answer

    async def ended(self, batch_id: str) -> Ended:
        """A batch whose results there are; an error if it has not ended, or if they are gone."""
        clock = self.upstream.clock
        fresh = self.forward.recent.settling(self.operations.retrieve.request, {BATCH_ID: batch_id}, clock.now_s())
        batch, answer = await self.get(batch_id)
        return ended(batch_id, batch, answer, fresh=fresh, wall_s=clock.wall_s())

    async def first_ids(self, batch_id: str) -> set[str]:
        """The custom_ids of the first results, as many as one answer holds; results come in any order."""
        page = await self.forward.content(self.operations.results, {BATCH_ID: batch_id})
        return {str(row["custom_id"]) for row in page.get("rows", ()) if isinstance(row, dict) and "custom_id" in row}

    async def results(self, batch: Ended, take: Callable[[bytes], bool]) -> Answer:
        """The results from their beginning, until `take` has enough; see `Upstream.download`."""
        arguments = {BATCH_ID: batch.id}
        try:
            return await self.forward.download(self.operations.results, arguments, take, settling=batch.settling)
        except UpstreamError as error:
            if error.report.status != HTTPStatus.NOT_FOUND:
                raise
            raise none_there(batch) from error
