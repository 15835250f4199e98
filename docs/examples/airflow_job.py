"""An Airflow operator for jobs of batches-mcp: deferrable, and safe to retry, since the same job is never sent twice.

Copy it into a project whose workers and triggerer have `batches-mcp[cluster]` installed and BATCHES_MCP_DATABASE_URL,
BATCHES_MCP_OBJECT_STORE and ANTHROPIC_API_KEY set. Workers of batches-mcp carry the job out, wherever they are.

    BatchJobOperator(
        task_id="summaries", retries=3, url="s3://in/{{ ds }}/*.parquet", out="s3://out/{{ ds }}",
        template={"model": "claude-haiku-5-5", "max_tokens": 200,
                  "messages": [{"role": "user", "content": "Summarise: {% raw %}{{body}}{% endraw %}"}]},
    )
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from airflow.sdk import BaseOperator
from airflow.triggers.base import BaseTrigger, TriggerEvent

from batches_mcp.cluster import api


class BatchJobTrigger(BaseTrigger):
    """Waits for a job without holding a slot; any triggerer may go on with it."""

    def __init__(self, job_id: str, poll_s: float) -> None:
        super().__init__()
        self.job_id, self.poll_s = job_id, poll_s

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{type(self).__module__}.{type(self).__qualname__}", {"job_id": self.job_id, "poll_s": self.poll_s}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        while True:
            found = await asyncio.to_thread(api.status, self.job_id)
            if found.state.final:
                break
            await asyncio.sleep(self.poll_s)
        yield TriggerEvent({"job_id": self.job_id})


class BatchJobOperator(BaseOperator):
    """Submits a job and waits for its end; returns what `api.collect` does, as a mapping.

    `arguments` are those of `api.submit`. With `fail_on_errors`, rows that failed fail the task once all are written.
    """

    template_fields: Sequence[str] = ("url", "out", "template", "arguments")

    def __init__(
        self,
        *,
        url: str,
        out: str,
        template: Mapping[str, Any],
        arguments: Mapping[str, Any] | None = None,
        fail_on_errors: bool = False,
        poll_s: float = 60.0,
        **more: Any,
    ) -> None:
        super().__init__(**more)
        self.url, self.out, self.template = url, out, template
        self.arguments = dict(arguments or {})
        self.fail_on_errors, self.poll_s = fail_on_errors, poll_s

    def execute(self, context: Any) -> dict[str, Any]:
        job_id = api.submit(self.url, template=self.template, out=self.out, **self.arguments)
        if not api.status(job_id).state.final:
            self.defer(trigger=BatchJobTrigger(job_id, self.poll_s), method_name="execute_complete")
        return self.execute_complete(context, {"job_id": job_id})

    def execute_complete(self, context: Any, event: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002 - as it is called
        results = api.collect(event["job_id"])
        if self.fail_on_errors and results.failed:
            raise api.JobError(f"{results.failed:,} of {results.rows:,} rows failed; they are in {self.out}")
        return asdict(results)
