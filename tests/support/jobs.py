"""`batches-mcp run` as a person starts it, with batches of a few rows, and what its sandbox saw of it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from batches_mcp.sandbox import RecordedRequest, Sandbox, fingerprint
from tests.support.servers import ROOT, environment

_PATH = "/v1/messages/batches"


@dataclass(frozen=True)
class Done:
    """What a run came to."""

    code: int
    out: bytes
    err: str


@dataclass(frozen=True)
class Shell:
    """A shell in a folder, with a key and a sandbox; batches hold `rows_per_batch` requests.

    No process can make a file larger than `most_file_bytes`, as if the disk were full then.
    """

    folder: Path
    sandbox: Sandbox
    key: str
    rows_per_batch: int = 5
    most_file_bytes: int | None = None

    def write(self, name: str, texts: Mapping[str, str] | Sequence[str]) -> Path:
        """A file of requests, of which each says a text; custom_ids are those of the mapping, or row-0 and on."""
        named = texts if isinstance(texts, Mapping) else {f"row-{number}": text for number, text in enumerate(texts)}
        path = self.folder / name
        path.write_text("".join(json.dumps(request(custom_id, text)) + "\n" for custom_id, text in named.items()))
        return path

    def command(self, *arguments: str) -> list[str]:
        command = [sys.executable, "-m", "tests.support.small_batches", str(self.rows_per_batch), *arguments]
        if self.most_file_bytes is None:
            return command
        return ["sh", "-c", f'ulimit -f {self.most_file_bytes // 512}; exec "$@"', "sh", *command]

    @property
    def environment(self) -> dict[str, str]:
        return environment(self.key, BATCHES_MCP_BASE_URL=self.sandbox.url, PYTHONPATH=str(ROOT))

    def run(self, *arguments: str, stdin: bytes = b"") -> Done:
        """Run a command to its end, which never shows a traceback."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment,
            input=stdin,
            capture_output=True,
            timeout=100,
            check=False,
        )
        err = done.stderr.decode()
        assert "Traceback" not in err, err
        return Done(done.returncode, done.stdout, err)

    @contextmanager
    def running(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a command beside the test, and end it."""
        process = subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate(timeout=30)

    def stopped(self, process: subprocess.Popen[bytes], number: signal.Signals) -> Done:
        """What a run says that is sent a signal."""
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
        return Done(process.returncode, out, err.decode())

    def requests(self, answer: str | None = None) -> list[RecordedRequest]:
        """What the sandbox was asked with our key, or of that what it answered so."""
        mine = fingerprint(self.key)
        return [
            each
            for each in self.sandbox.requests
            if mine in (each.header("x-api-key"), each.header("authorization"))
            and (answer is None or each.answer == answer)
        ]

    @property
    def creates(self) -> int:
        return len(self.requests("created"))

    def until(self, count: int, answer: str | None = None) -> None:
        """Wait until the sandbox has answered so many requests, or so many so."""
        deadline_s = time.monotonic() + 30
        while len(self.requests(answer)) < count:
            assert time.monotonic() < deadline_s, [each.answer for each in self.requests()]
            time.sleep(0.005)

    def until_met(self) -> None:
        """Wait until requests have met every fault."""
        deadline_s = time.monotonic() + 60
        while self.sandbox.faults.pending():
            assert time.monotonic() < deadline_s, self.sandbox.faults.pending()
            time.sleep(0.005)

    def until_lists(self, count: int) -> None:
        """Wait until the list of batches was asked for so many times."""
        deadline_s = time.monotonic() + 60
        while len([each for each in self.requests() if each.method == "GET" and each.path == _PATH]) < count:
            assert time.monotonic() < deadline_s, [each.answer for each in self.requests()]
            time.sleep(0.01)

    def batches(self) -> list[dict[str, Any]]:
        """The batches there are upstream, oldest first; not in the log of requests of our key."""
        page = httpx2.get(
            f"{self.sandbox.url}{_PATH}?limit=1000",
            headers={"x-api-key": self.key, "anthropic-version": "2023-06-01"},
        ).json()
        return list(reversed(page["data"]))

    def rows_upstream(self) -> dict[str, bytes]:
        """Each row as the upstream has it, the latest batch's where several have one."""
        rows: dict[str, bytes] = {}
        for batch in self.batches():
            answer = httpx2.get(
                f"{self.sandbox.url}{_PATH}/{batch['id']}/results",
                headers={"x-api-key": self.key, "anthropic-version": "2023-06-01"},
            )
            rows |= {json.loads(line)["custom_id"]: line for line in answer.content.splitlines()}
        return rows


def request(custom_id: str, text: str) -> dict[str, Any]:
    message = {"role": "user", "content": text}
    return {"custom_id": custom_id, "params": {"model": "claude-haiku-5-5", "max_tokens": 50, "messages": [message]}}


def ids(path: Path) -> list[str]:
    """The custom_ids of a file of rows, in its order."""
    return [json.loads(line)["custom_id"] for line in path.read_bytes().splitlines()]


def left_behind(folder: Path) -> list[str]:
    """What a run that was killed may leave beside OUT."""
    return [path.name for path in folder.iterdir() if path.name.endswith(".part")]
