"""Questions to the user in the middle of a call (elicitation), in both eras of the protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mcp.types as t
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError

from batches_mcp.tools.confirm import Reply

# The revision in which a question is a result, and the client makes the call again with the answer.
_RESULTS_SINCE = "2026-07-28"
_KEY = "confirm"
# A form without fields: hosts show accept and decline.
_NO_FIELDS: dict[str, Any] = {"type": "object", "properties": {}}
_REPLIES = {"accept": Reply.YES, "decline": Reply.NO}


class AnswerNeeded(MCPError):
    """The call cannot go on before the client has brought the answer to a question."""

    def __init__(self, question: str) -> None:
        super().__init__(t.INVALID_REQUEST, question)
        self.question = question

    def result(self) -> t.InputRequiredResult:
        form = t.ElicitRequestFormParams(message=self.question, requested_schema=_NO_FIELDS)
        # The answer counts for this question only: what is asked for may have become dearer when it comes.
        return t.InputRequiredResult(input_requests={_KEY: t.ElicitRequest(params=form)}, request_state=self.question)


@dataclass(frozen=True, slots=True)
class Questions:
    """The way to the user of one call."""

    context: ServerRequestContext[Any]
    params: t.CallToolRequestParams

    async def ask(self, question: str) -> Reply:
        """The user's answer; a question that was dismissed, or that the host does not show, has none.

        Raises:
            AnswerNeeded: the answer comes with the next call.
        """
        if not self._shows_forms():
            return Reply.NONE
        if self.context.protocol_version >= _RESULTS_SINCE:
            given = (self.params.input_responses or {}).get(_KEY)
            if not isinstance(given, t.ElicitResult) or self.params.request_state != question:
                raise AnswerNeeded(question)
            return _REPLIES.get(given.action, Reply.NONE)
        if not self.context.session.can_send_request:
            return Reply.NONE
        try:
            answer = await self.context.session.elicit_form(
                question, _NO_FIELDS, related_request_id=self.context.request_id
            )
        except MCPError:
            return Reply.NONE
        return _REPLIES.get(answer.action, Reply.NONE)

    def _shows_forms(self) -> bool:
        declared = self.context.session.client_capabilities
        elicitation = declared.elicitation if declared is not None else None
        # Revisions before 2025-11-25 have no kinds of it: an empty object means forms.
        return elicitation is not None and (elicitation.form is not None or elicitation.url is None)
