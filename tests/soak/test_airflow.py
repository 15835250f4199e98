"""The operator for Airflow in docs/examples, in Airflow itself: deferrable, and retried without paying twice.

Run by `make soak`, which installs Airflow into a folder of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from batches_mcp.sandbox import Sandbox, running_sandbox
from tests.soak.test_libraries import LIBRARIES, SCRIPTS
from tests.support.job_cluster import TEMPLATE, Cluster
from tests.support.postgres import url_of
from tests.support.servers import ROOT

pytestmark = pytest.mark.soak


@pytest.fixture
def quick_sandbox() -> Iterator[Sandbox]:
    with running_sandbox(process_seconds=0, retry_after_seconds=0) as running:
        yield running


def test_the_operator_defers_and_is_safe_to_retry(
    quick_sandbox: Sandbox, key: str, postgres: str, job_schema: str, tmp_path: Path
) -> None:
    cluster = Cluster(tmp_path, quick_sandbox, key, url_of(postgres, job_schema))
    cluster.table("a", 7, "'a ' || i")
    arguments = tmp_path / "arguments.json"
    url, out = str(tmp_path / "in/*.parquet"), str(tmp_path / "out")
    arguments.write_text(json.dumps({"url": url, "out": out, "template": TEMPLATE}))
    variables = {**cluster.environment("airflow"), "AIRFLOW_HOME": str(tmp_path / "airflow")}
    command = [str(LIBRARIES / "airflow/bin/python"), str(SCRIPTS / "airflow_job.py")]
    with subprocess.Popen(
        [*command, str(ROOT / "docs/examples/airflow_job.py"), str(arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=variables | {"HOME": os.environ.get("HOME", str(tmp_path))},
    ) as airflow:
        assert airflow.stdout is not None
        said = []
        for line in airflow.stdout:
            said.append(line.strip())
            if line == "deferred\n":
                break
        with cluster.worker("one"):
            rest, wrong = airflow.communicate(timeout=120)
    assert airflow.returncode == 0, wrong
    first, second = [json.loads(line) for line in rest.splitlines() if line.startswith("{")]
    assert first == second
    assert (first["rows"], first["succeeded"]) == (7, 7)
    assert [Path(each).name for each in first["files"]] == ["part-00000.parquet"]
    assert cluster.creates == 1
