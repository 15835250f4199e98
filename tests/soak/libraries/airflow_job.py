"""Airflow's own classes around our operator: it defers, its trigger ends with the job, and it may be carried out again.

Says `deferred` once the job is submitted, and prints what the task returned.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

from airflow.sdk.exceptions import TaskDeferred
from airflow.triggers.base import TriggerEvent

NAME = "airflow_job"


def operator(arguments: dict[str, Any]) -> Any:
    spec = importlib.util.spec_from_file_location(NAME, sys.argv[1])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = module
    spec.loader.exec_module(module)
    return module.BatchJobOperator(task_id="answers", retries=3, poll_s=0.1, **arguments)


async def event_of(deferred: TaskDeferred) -> TriggerEvent:
    """What the trigger of a triggerer's, made of what is written down of it, ends with."""
    path, values = deferred.trigger.serialize()
    kind = getattr(sys.modules[NAME], path.rpartition(".")[2])
    async for event in kind(**values).run():
        return event
    raise AssertionError("the trigger ended without an event")


def main() -> None:
    task = operator(json.loads(Path(sys.argv[2]).read_text()))
    deferred = []
    for _ in range(2):  # the second time is a retry of a task that died
        try:
            task.execute({})
        except TaskDeferred as found:
            deferred.append(found)
    assert [each.method_name for each in deferred] == ["execute_complete"] * 2
    assert deferred[0].trigger.serialize() == deferred[1].trigger.serialize()
    print("deferred", flush=True)
    event = asyncio.run(event_of(deferred[0]))
    print(json.dumps(task.execute_complete({}, event.payload)), flush=True)
    # Done already: nothing is deferred any more.
    print(json.dumps(task.execute({})), flush=True)


if __name__ == "__main__":
    main()
