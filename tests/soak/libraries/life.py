"""The life of a batch with the official SDK for Python, of whichever version runs this."""

import json
import sys
from typing import Any

import anthropic


def advance() -> None:
    """Have the test's clock go on until batches have ended."""
    print("advance", flush=True)
    sys.stdin.readline()


def ask(name: str, text: str = "hi") -> dict[str, Any]:
    message = {"role": "user", "content": text}
    return {"custom_id": name, "params": {"model": "claude-haiku-5-5", "max_tokens": 64, "messages": [message]}}


client = anthropic.Anthropic()
batches: Any = client.messages.batches
counted = client.messages.count_tokens(model="claude-haiku-5-5", messages=[{"role": "user", "content": "hi"}])
batch = batches.create(requests=[ask("late", "[[sandbox:expired]]"), *(ask(f"r{number}") for number in range(300))])
listed = [each.id for each in batches.list(limit=1)]
advance()
stream = iter(batches.results(batch.id))
first = next(stream)
outcomes = [each.result.type for each in (first, *stream)]
other = batches.create(requests=[ask("other")])
canceled = batches.cancel(other.id).processing_status
advance()
ended = batches.retrieve(other.id).processing_status
deleted = batches.delete(batch.id).type
error: list[Any] = []
try:
    batches.retrieve(batch.id)
except anthropic.NotFoundError as found:
    error = [type(found).__name__, found.status_code, found.response.headers.get("x-should-retry")]
story = {
    "counted": counted.input_tokens > 0,
    "listed": listed == [batch.id],
    "outcomes": {each: outcomes.count(each) for each in sorted(set(outcomes))},
    "canceled": canceled,
    "ended": ended,
    "deleted": deleted,
    "error": error,
    "id": batch.id,
}
print(json.dumps(story), flush=True)
