"""A batch of requests for data of a model, with instructor; submitted twice, as by a program that was started again."""

import json
import sys
from typing import Any

from instructor.batch import BatchProcessor  # type: ignore[import-not-found]
from pydantic import BaseModel


class Person(BaseModel):
    name: str
    age: int


# It always sends a temperature, which current models and versions of the API refuse.
processor: Any = BatchProcessor("anthropic/claude-haiku-4-5", Person)
asked = [[{"role": "user", "content": f"Who is person {number}?"}] for number in range(20)]
ids = [processor.submit_batch(processor.create_batch_from_messages(asked)) for _ in range(2)]
print("advance", flush=True)
sys.stdin.readline()
results = [each for each_id in ids for each in processor.get_results(each_id)]
story = {
    "batches": len(set(ids)),
    "status": processor.get_batch_status(ids[0])["status"],
    "listed": len(processor.list_batches(limit=2)),
    "people": sum(isinstance(getattr(each, "result", None), Person) for each in results),
}
print(json.dumps(story), flush=True)
