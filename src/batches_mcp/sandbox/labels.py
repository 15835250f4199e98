"""The headers that say which answer a response is, and how well it is known to be the API's."""

from typing import TypeVar

from starlette.responses import Response

from batches_mcp.sandbox.answers import ANSWER_HEADER, EVIDENCE_HEADER, Answer

__all__ = ["labelled"]

_AnyResponse = TypeVar("_AnyResponse", bound=Response)


def labelled(response: _AnyResponse, answer: Answer) -> _AnyResponse:
    """The response itself, with both headers."""
    response.headers[EVIDENCE_HEADER] = answer.evidence.value
    response.headers[ANSWER_HEADER] = answer.label
    return response
