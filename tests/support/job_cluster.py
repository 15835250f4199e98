"""Jobs as several machines carry them out: commands on a shared database and store, and what the sandbox saw of them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from batches_mcp.core.settings import DATABASE_URL
from batches_mcp.sandbox import Sandbox, fingerprint
from batches_mcp.store.job import JobPart
from batches_mcp.store.jobs import Jobs
from batches_mcp.store.postgres import Postgres
from tests.support.jobs import Done
from tests.support.parquet import made, read
from tests.support.servers import ROOT, environment
from tests.support.states import OBJECT_STORE, STATE_DIR

_PATH = "/v1/messages/batches"
_DEADLINE_S = 90.0
TEMPLATE = {
    "model": "claude-haiku-5-5",
    "max_tokens": 20,
    "messages": [{"role": "user", "content": "Say {{body}}"}],
}


@dataclass(frozen=True)
class Cluster:
    """Machines that share a database and a store, with a sandbox and a key; batches hold `rows_per_batch` requests.

    `more` are further settings of all of them.
    """

    folder: Path
    sandbox: Sandbox
    key: str
    database_url: str
    rows_per_batch: int = 5
    store: str = ""
    more: Mapping[str, str] = field(default_factory=dict)

    def table(self, name: str, rows: int, body: str = "'row ' || i") -> Path:
        """A table of the input, whose rows say a text."""
        return made(self.folder / "in" / f"{name}.parquet", f"SELECT i AS id, {body} AS body FROM range({rows}) t(i)")  # noqa: S608 - a test's own

    def submit(self, *more: str, url: str | None = None, out: str = "out", code: int = 0, die: str = "-") -> str:
        """Submit the tables as a job; its id."""
        (self.folder / "template.json").write_text(json.dumps(TEMPLATE))
        place = out if "://" in out else str(self.folder / out)
        flags = ("--template", "template.json", "--out", place, "--queue-requests", "1000")
        done = self.run("job", "submit", url or str(self.folder / "in/*.parquet"), *flags, *more, die=die)
        assert done.code == code, done.err
        return done.out.decode().strip()

    def run(self, *arguments: str, code: int | None = None, path: Path | None = None, die: str = "-") -> Done:
        """Run a command to its end, which never shows a traceback; modules below `path` hide others."""
        done = subprocess.run(
            self._command(die, *arguments),
            cwd=self.folder,
            env=self.environment("shell") | ({"PYTHONPATH": f"{path}:{ROOT}"} if path else {}),
            capture_output=True,
            timeout=100,
            check=False,
        )
        err = done.stderr.decode()
        assert "Traceback" not in err, err
        assert code is None or done.returncode == code, err
        return Done(done.returncode, done.stdout, err)

    @contextmanager
    def worker(self, machine: str = "a", *more: str, die: str = "-") -> Iterator[subprocess.Popen[bytes]]:
        """A worker beside the test, on a machine of its own; it may `die` at a step."""
        log = (self.folder / f"worker-{machine}.log").open("ab")
        process = subprocess.Popen(
            self._command(die, "worker", *more),
            cwd=self.folder,
            env=self.environment(machine),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(30)
            log.close()
            assert b"Traceback" not in (self.folder / f"worker-{machine}.log").read_bytes(), self.logs()

    def logs(self) -> str:
        return "".join(path.read_text() for path in sorted(self.folder.glob("worker-*.log")))

    def until_logged(self, text: str) -> None:
        """Wait until a worker says a text."""
        deadline_s = time.monotonic() + _DEADLINE_S
        while text not in self.logs():
            assert time.monotonic() < deadline_s, self.logs()
            time.sleep(0.05)

    def status(self, job_id: str) -> dict[str, Any]:
        with self.jobs() as jobs:
            found = jobs.status(job_id)
        assert found is not None
        return asdict(found)

    def parts(self, job_id: str) -> list[JobPart]:
        with self.jobs() as jobs:
            return jobs.parts(job_id)

    @contextmanager
    def jobs(self) -> Iterator[Jobs]:
        database = Postgres(self.database_url)
        try:
            yield Jobs(database)
        finally:
            database.close()

    def until(self, job_id: str, *states: str) -> dict[str, Any]:
        """Wait until a job is in one of these states."""
        return self.until_it(job_id, lambda found: found["state"] in states)

    def until_it(self, job_id: str, condition: Any, deadline_s: float = _DEADLINE_S) -> dict[str, Any]:
        """Wait until a condition of a job's status holds."""
        deadline_s += time.monotonic()
        database = Postgres(self.database_url)
        try:
            while True:
                found = Jobs(database).status(job_id)
                assert found is not None
                if condition(asdict(found)):
                    return asdict(found)
                assert time.monotonic() < deadline_s, f"{found}\n{self.logs()}"
                time.sleep(0.05)
        finally:
            database.close()

    def batches(self) -> list[dict[str, Any]]:
        """The batches there are upstream."""
        headers = {"x-api-key": self.key, "anthropic-version": "2023-06-01"}
        page = httpx2.get(f"{self.sandbox.url}{_PATH}?limit=1000", headers=headers).json()
        return list(page["data"])

    @property
    def creates(self) -> int:
        """How many creates the sandbox has answered."""
        mine = fingerprint(self.key)
        return sum(each.answer == "created" and each.header("x-api-key") == mine for each in self.sandbox.requests)

    def answers(self, out: str = "out") -> list[dict[str, Any]]:
        """The rows of the output, part by part."""
        return [row for path in sorted((self.folder / out).glob("part-*.parquet")) for row in read(path)]

    def _command(self, step: str, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "tests.support.job_process", str(self.rows_per_batch), step, *arguments]

    def environment(self, machine: str) -> dict[str, str]:
        """The settings of a machine."""
        shared = {DATABASE_URL: self.database_url, OBJECT_STORE: self.store or f"file://{self.folder}/store"}
        more = {"BATCHES_MCP_BASE_URL": self.sandbox.url, "PYTHONPATH": str(ROOT), **self.more}
        return environment(self.key, **shared, **more, **{STATE_DIR: str(self.folder / machine)})
