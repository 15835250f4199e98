"""`--metrics-address`: what Prometheus finds there, and that nothing of it is there without the flag."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from batches_mcp.sandbox import ManualClock, Sandbox, running_sandbox
from batches_mcp.store.job import JobState, PartState
from tests.e2e.test_stdio import Raw
from tests.support.creates import requests
from tests.support.job_cluster import Cluster
from tests.support.parquet import made
from tests.support.postgres import url_of
from tests.support.rest import BATCHES, Served
from tests.support.scripted import failure, scripted_upstream
from tests.support.servers import CREATE, LIST, RESULTS, RETRIEVE, environment, running
from tests.support.teams import Caller, service

ON = ("--metrics-address", "127.0.0.1:0")
# All there may be: none for who calls, or for what.
LABELS = {
    "mcp_server_operation_duration_seconds": {
        "mcp_method_name",
        "gen_ai_tool_name",
        "error_type",
        "network_transport",
        "mcp_protocol_version",
        "le",
    },
    "batches_mcp_requests_submitted": {"team"},
    "batches_mcp_batches_submitted": {"team"},
    "batches_mcp_cost_usd": {"team", "kind"},
    "batches_mcp_upstream_requests": {"status"},
    "batches_mcp_queue_requests": set(),
    "batches_mcp_unsettled_creates": set(),
    "batches_mcp_waiting_calls": set(),
    "batches_mcp_lease_lost": set(),
    "batches_mcp_jobs": {"state"},
    "batches_mcp_job_parts": {"state"},
    "batches_mcp_job_parts_ended": {"team", "state"},
    "batches_mcp_job_rows_collected": {"team", "outcome"},
}

Values = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def scraped(text: str) -> Values:
    """The samples that are ours, by their names and labels."""
    families = list(text_string_to_metric_families(text))
    ours = [each for each in families if each.name.startswith(("batches_mcp", "mcp_"))]
    for family in ours:
        for sample in family.samples:
            assert set(sample.labels) <= LABELS[family.name], sample
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value for family in ours for sample in family.samples
    }


def metrics_of(served: Served) -> str:
    """Where a server says that its metrics are; it has been asked for no other line before."""
    line = next(each for each in served.process.lines if "serving metrics at" in each)
    return line.rpartition(" ")[2]


def value(values: Values, name: str, **labels: str) -> float | None:
    return values.get((name, frozenset(labels.items())))


@pytest.mark.both_states
def test_a_service_counts_what_it_does(sandbox: Sandbox, key: str, tmp_path: Path) -> None:
    with service(sandbox.url, tmp_path, *ON, key=key) as served:
        url = metrics_of(served)
        search = Caller(served, "search-key")
        batch_id = search.call(CREATE, requests=requests(3, "metrics-"))[0]["id"]
        created = httpx2.post(
            served.url + BATCHES, json={"requests": requests(2, "rest-")}, headers={"x-api-key": "ads-key"}, timeout=30
        )
        assert created.status_code == 200, created.text
        before = scraped(httpx2.get(url).text)
        sandbox.end(batch_id)
        search.call(RETRIEVE, message_batch_id=batch_id)
        for _ in range(2):
            assert not search.call(RESULTS, message_batch_id=batch_id)[1]
        search.call(RETRIEVE, message_batch_id="msgbatch_of_nobody")
        search.method("tools/call", name="made-up-by-its-client", arguments={})
        search.method("made/up")
        values = scraped(httpx2.get(url).text)
    assert value(before, "batches_mcp_queue_requests") == 5
    assert value(values, "batches_mcp_queue_requests") == 2
    assert value(values, "batches_mcp_unsettled_creates") == 0
    assert value(values, "batches_mcp_waiting_calls") == 0
    assert value(values, "batches_mcp_lease_lost_total") == 0
    for team, rows in (("search", 3), ("ads", 2)):
        assert value(values, "batches_mcp_batches_submitted_total", team=team) == 1
        assert value(values, "batches_mcp_requests_submitted_total", team=team) == rows
    reserved = value(values, "batches_mcp_cost_usd_total", team="search", kind="reserved")
    actual = value(values, "batches_mcp_cost_usd_total", team="search", kind="actual")
    assert reserved
    assert actual
    assert value(values, "batches_mcp_cost_usd_total", team="ads", kind="actual") is None
    assert (value(values, "batches_mcp_upstream_requests_total", status="200") or 0) >= 5
    calls = {
        (labels["gen_ai_tool_name"], labels["mcp_method_name"], labels["error_type"])
        for name, pairs in values
        if name == "mcp_server_operation_duration_seconds_count" and (labels := dict(pairs))
    }
    assert {
        (CREATE, "tools/call", ""),
        (RETRIEVE, "tools/call", "tool_error"),
        ("_OTHER", "tools/call", "-32602"),
        ("", "_OTHER", "-32601"),
    } <= calls
    assert not [each for each in calls if "made" in "".join(each)]
    assert not [line for line in lines_of(values) if batch_id in line or "search-key" in line]


@pytest.mark.shared
def test_jobs_are_counted_by_servers_and_what_is_done_for_them_by_workers(
    key: str, postgres: str, job_schema: str, tmp_path: Path
) -> None:
    with running_sandbox(process_seconds=0, retry_after_seconds=0, clock=ManualClock()) as sandbox:
        cluster = Cluster(tmp_path, sandbox, key, url_of(postgres, job_schema))
        table = cluster.table("a", 12)
        good, lost = cluster.submit(), cluster.submit("--limit", "6", out="lost")
        with cluster.jobs() as jobs:
            assert jobs.move(lost, [JobState.RUNNING], JobState.PAUSED)
        with cluster.worker("one", *ON):
            cluster.until(good, "done")
            # What was planned of a table that is another one now cannot be done.
            made(table, "SELECT i AS id, 'another' AS body FROM range(9) t(i)")
            with cluster.jobs() as jobs:
                assert jobs.move(lost, [JobState.PAUSED], JobState.RUNNING)
            cluster.until(lost, "failed")
            match = re.search(r"http://\S+/metrics", cluster.logs())
            assert match is not None
            worker = scraped(httpx2.get(match[0], trust_env=False).text)
        waiting = cluster.submit(out="waiting")
        with running(["serve", *ON], **cluster.environment("server")) as process:
            url = process.say_until(r"serving metrics at (http://\S+)")[1]
            server = scraped(httpx2.get(url, trust_env=False).text)
    assert waiting not in (good, lost)
    assert value(worker, "batches_mcp_job_parts_ended_total", team="", state="done") == 3
    assert value(worker, "batches_mcp_job_parts_ended_total", team="", state="failed") == 2
    assert value(worker, "batches_mcp_job_rows_collected_total", team="", outcome="succeeded") == 12
    assert value(worker, "batches_mcp_job_rows_collected_total", team="", outcome="failed") == 0
    assert value(worker, "batches_mcp_jobs", state="done") == value(worker, "batches_mcp_jobs", state="failed") == 1
    states = {state: value(server, "batches_mcp_jobs", state=state) for state in JobState}
    assert {state: number for state, number in states.items() if number != 0} == {"done": 1, "failed": 1, "running": 1}
    parts = {state: value(server, "batches_mcp_job_parts", state=state) for state in PartState}
    assert {state: number for state, number in parts.items() if number != 0} == {"done": 3, "failed": 2, "waiting": 2}
    assert not [line for line in lines_of(server) + lines_of(worker) if good in line]


def lines_of(values: Values) -> list[str]:
    return [f"{name} {sorted(pairs)}" for name, pairs in values]


def test_answers_of_the_api_are_counted_by_status_and_over_stdio_the_transport_is_a_pipe() -> None:
    overloaded = failure(529, "overloaded_error", "busy", x_should_retry="false")
    with scripted_upstream(overloaded) as upstream, running(["--base-url", upstream.url, *ON]) as process:
        url = process.say_until(r"serving metrics at (http://\S+)")[1]
        client = Raw(process)
        client.start()
        client.ask({"method": "tools/call", "params": {"name": LIST, "arguments": {}}})
        values = scraped(httpx2.get(url).text)
    assert value(values, "batches_mcp_upstream_requests_total", status="529") == 1
    labels = {
        "mcp_method_name": "tools/call",
        "gen_ai_tool_name": LIST,
        "error_type": "tool_error",
        "network_transport": "pipe",
        "mcp_protocol_version": "2025-11-25",
    }
    assert value(values, "mcp_server_operation_duration_seconds_count", **labels) == 1


@pytest.mark.parametrize("address", ["9464", "localhost:", ":9464", "localhost:70000", "localhost:x"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with running(["--metrics-address", address]) as process:
        assert process.popen.wait(30) == 2
    assert f"--metrics-address: found '{address}', expected HOST:PORT" in process.lines[-1]


def test_an_address_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with running(["--metrics-address", f"127.0.0.1:{port}"]) as process:
            assert process.popen.wait(30) == 1
    assert f"cannot listen on 127.0.0.1 port {port}" in process.lines[-1]


@pytest.mark.parametrize(
    ("module", "arguments", "env", "code", "said"),
    [
        ("prometheus_client", ["serve", *ON], {}, 2, "--metrics-address needs packages that are not installed"),
        (
            "opentelemetry.sdk",
            ["serve"],
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"},
            0,
            "no traces and metrics are sent: OTEL_EXPORTER_OTLP_ENDPOINT needs packages that are not installed",
        ),
    ],
)
def test_without_the_extra_it_is_said_what_to_install(
    module: str, arguments: list[str], env: dict[str, str], code: int, said: str
) -> None:
    program = (
        f"import sys; sys.modules[{module!r}] = None; from batches_mcp.cli import run; sys.exit(run(sys.argv[1:]))"
    )
    found = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=environment("k", **env),
        capture_output=True,
        text=True,
        input="",
        timeout=60,
    )
    assert (found.returncode, said in found.stderr) == (code, True), found.stderr
    assert 'install "batches-mcp[' in found.stderr


def test_without_the_flag_nothing_of_it_is_imported() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "batches_mcp", "serve"]
    done = subprocess.run(command, input="", capture_output=True, text=True, env=environment("test-key"), timeout=60)
    assert done.returncode == 0
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "batches_mcp.serve.mcp" in imported
    extras = ("prometheus_client", "opentelemetry.sdk", "opentelemetry.exporter", "google.protobuf")
    assert not [name for name in imported if name.startswith(extras)]
