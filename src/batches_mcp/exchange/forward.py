"""The plain forward: one call of a tool as one exchange with the upstream."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import SecretStr

from batches_mcp.core.plan import RequestPlan, ToolPlan
from batches_mcp.exchange import request, result
from batches_mcp.exchange.failure import failure
from batches_mcp.exchange.recent import RecentIds
from batches_mcp.exchange.request import Upload
from batches_mcp.exchange.result import Answer
from batches_mcp.exchange.upstream import Upstream


@dataclass(frozen=True, slots=True)
class Forward:
    """Sends what a tool's plan and its arguments say.

    `variables` holds the bound variables that are set; `learn` is given the headers of every successful answer.
    """

    variables: Mapping[str, SecretStr]
    upstream: Upstream
    recent: RecentIds = field(default_factory=RecentIds)
    learn: Callable[[RequestPlan, Mapping[str, str]], None] = lambda _plan, _headers: None

    async def content(self, tool: ToolPlan, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The structured content of a plain forward.

        Raises:
            CallError: whatever went wrong.
        """
        content = result.shape(tool.result, await self.answer(tool, arguments))
        self.recent.note(tool.request, arguments, content, self.upstream.clock.now_s())
        return content

    async def answer(
        self,
        tool: ToolPlan,
        arguments: Mapping[str, Any],
        upload: Callable[[bytes], Upload] | None = None,
        *,
        once: bool = False,
    ) -> Answer:
        """The upstream's answer, which is a success. `upload` makes the body to send out of the one that was built.

        What is sent `once` is not tried again.

        Raises:
            CallError: whatever went wrong; an error status is `UpstreamError`.
        """
        outgoing = request.build(tool.request, arguments, self.variables)
        if upload and isinstance(outgoing.body, bytes):
            outgoing = replace(outgoing, body=upload(outgoing.body))
        answer = await self.upstream.send(
            outgoing,
            repeatable=tool.repeatable,
            declared_jsonl=tool.result.declared_jsonl,
            settling=self.recent.settling(tool.request, arguments, self.upstream.clock.now_s()),
            once=once,
        )
        return self._success(tool, answer)

    async def download(
        self, tool: ToolPlan, arguments: Mapping[str, Any], take: Callable[[bytes], bool], *, settling: bool
    ) -> Answer:
        """The head of a successful JSONL answer, which `take` was handed as it came; see `Upstream.download`.

        Raises:
            CallError: whatever went wrong; an error status is `UpstreamError`.
        """
        outgoing = request.build(tool.request, arguments, self.variables)
        return self._success(tool, await self.upstream.download(outgoing, take, settling=settling))

    def _success(self, tool: ToolPlan, answer: Answer) -> Answer:
        if not answer.succeeded:
            names = [name for template in tool.request.credential_templates() for name in template.variables]
            raise failure(answer, repeatable=tool.repeatable, variables=names)
        self.learn(tool.request, answer.headers)
        return answer
