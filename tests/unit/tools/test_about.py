"""Which batch an answer is about."""

from __future__ import annotations

from typing import Any

import pytest

from batches_mcp.tools import about

STATE: dict[str, Any] = {"id": "b1", "type": "message_batch", "results_url": None}
ENDED = STATE | {"results_url": "https://api.example.com/results"}
RESULTS: dict[str, Any] = {"message_batch_id": "b1", "rows": []}


@pytest.mark.parametrize(
    ("content", "batch", "results"),
    [
        (STATE, True, False),
        (ENDED, True, True),
        (RESULTS, False, False),
        ({"id": "b1", "type": "message_batch_deleted"}, False, False),
        ({"data": [ENDED], "has_more": False}, False, False),
        ({"batches_mcp": {"dry_run": {}}}, False, False),
        ({"type": "message_batch"}, False, False),
        ({"type": "message_batch", "id": 5}, False, False),
        ({}, False, False),
    ],
)
def test_an_answer_is_about_one_batch_or_none(content: dict[str, Any], batch: bool, results: bool) -> None:
    named = {"message_batch_id": "b1"}
    assert about.batch(content) == (named if batch else None)
    assert about.results(content) == (named if results else None)
