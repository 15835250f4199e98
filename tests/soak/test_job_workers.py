"""Workers that are killed all the time, and an API that answers badly: each part is one batch, and each row is there."""

from __future__ import annotations

import random
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

from batches_mcp.sandbox import ManualClock, running_sandbox
from batches_mcp.sandbox.faults import Endpoint
from tests.support.job_cluster import Cluster
from tests.support.postgres import url_of

pytestmark = pytest.mark.soak

ROWS, PER_BATCH, WORKERS = 100, 5, 3
# On the requests of workers, in any order.
FAULTS: tuple[tuple[str, Endpoint, int], ...] = (
    ("reset_after", "create", 4), ("reset", "create", 3), ("bad_gateway", "create", 2), ("overloaded", "create", 3),
    ("rate_limit", "create", 3), ("server_error", "retrieve", 3), ("timeout", "list", 3), ("reset_after", "results", 3),
    ("not_found", "retrieve", 2),
)  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_workers_that_are_killed_all_the_time_lose_and_double_nothing(
    key: str, postgres: str, job_schema: str, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    with (
        running_sandbox(process_seconds=0, retry_after_seconds=0, clock=ManualClock()) as sandbox,
        ExitStack() as stack,
    ):
        cluster = Cluster(tmp_path, sandbox, key, url_of(postgres, job_schema), PER_BATCH)
        for name in ("a", "b"):
            cluster.table(name, ROWS, f"'{name} ' || i")
        job_id = cluster.submit("--queue-requests", "60")
        for kind, on, count in chance.sample(FAULTS, len(FAULTS)):
            sandbox.faults.add(kind, on=on, count=count, key=key)
        running: list[subprocess.Popen[bytes]] = []
        started = killed = doubts = 0

        def churn(found: dict[str, Any]) -> bool:
            """Kill a worker, and start others in its place; time passes when somebody waits for doubt to end."""
            nonlocal started, killed, doubts
            while len(running) < WORKERS:
                running.append(stack.enter_context(cluster.worker(f"{started}")))
                started += 1
            if found["state"] == "done":
                return True
            time.sleep(chance.uniform(1.0, 4.0))
            process = running.pop(chance.randrange(len(running)))
            process.kill()
            process.wait()
            killed += 1
            with psycopg.connect(cluster.database_url) as connection:
                # Its lease runs out, as it does after 30 s; those of the living do not.
                connection.execute("UPDATE owners SET until = clock_timestamp() WHERE process = %s", (process.pid,))
            seen = cluster.logs().count("may still be made")
            if seen > doubts:
                doubts = seen
                sandbox.clock.advance(901)
            return False

        found = cluster.until_it(job_id, churn, deadline_s=600)
        parts = 2 * ROWS // PER_BATCH
        assert (found["succeeded"], found["batches"], len(cluster.batches())) == (2 * ROWS, parts, parts)
        answers = cluster.answers()
        assert [row["id"] for row in answers] == [*range(ROWS)] * 2
        assert all(row["answer"].endswith(f"Say {row['body']}") for row in answers)
        assert killed > 3
