"""Jobs of `batches-mcp run`, each a process that may be killed, and is then started again with the same command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.soak.actors import Place
from tests.soak.process import PID, ROWS
from tests.soak.schedule import Job

_MOST_LIVES = 15


@dataclass(slots=True)
class Run:
    """One job until it has ended; `code` is the exit code then."""

    job: Job
    place: Place
    skew_s: float
    code: int | None = None
    gave_up: int = 0
    lives: int = 0
    _process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def out(self) -> Path:
        return self.place.folder / f"{self.job.name}.out.jsonl"

    @property
    def pid(self) -> Path:
        return self.place.folder / f"{self.job.name}.{self.lives}.pid"

    @property
    def errors(self) -> Path:
        return self.place.folder / f"{self.job.name}.err"

    def start(self) -> None:
        """Start it, or start it again; the lines of its input are written as a person might, with spaces."""
        file = self.place.folder / f"{self.job.name}.jsonl"
        if not file.exists():
            rows = [request for content in self.job.contents for request in content.requests]
            file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        cap = [] if self.place.cap_usd is None else ["--max-cost-usd", repr(self.place.cap_usd)]
        flags = ["--base-url", self.place.url, "--state-dir", str(self.place.folder / "a"), "--yes", *cap]
        self.lives += 1
        with self.errors.open("ab") as errors:
            self._process = subprocess.Popen(
                self.place.command("run", str(file), "-o", str(self.out), *flags),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env=self.place.environment(self.skew_s, **{ROWS: str(self.job.contents[0].rows), PID: str(self.pid)}),
                cwd=self.place.folder,
            )

    @property
    def ended(self) -> bool:
        """Whether it has ended by itself, and need not be started again as the person at the shell is told."""
        if self.exited and self.code != 0 and not self.capped and self.lives < _MOST_LIVES:
            self.gave_up += 1
            self.code = None
            self.start()
        return self.code is not None

    @property
    def capped(self) -> bool:
        """Whether it ended because it would have cost too much."""
        return "max-cost-usd" in self.said[-1_000:]

    @property
    def exited(self) -> bool:
        """Whether its process has ended by itself."""
        if self.code is None and self._process is not None and (code := self._process.poll()) is not None:
            self.code = code
        return self.code is not None

    def kill(self) -> bool:
        """End it at once, unless it has ended; whether that was so."""
        if self.exited or self._process is None:
            return False
        with suppress(OSError, ValueError):  # not begun yet, or just ended
            os.kill(int(self.pid.read_text()), signal.SIGKILL)
        self._process.kill()
        self._process.wait(10)
        self._process = None
        return True

    @property
    def said(self) -> str:
        return self.errors.read_text("utf-8", "replace") if self.errors.exists() else ""
