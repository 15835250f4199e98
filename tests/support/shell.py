"""Commands of ours that end by themselves, as a person gives them."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import Any

from tests.support.servers import command, environment


@dataclass(frozen=True)
class Said:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Its output, one JSON object in each line."""
        return [json.loads(line) for line in self.out.splitlines()]


def shell(*arguments: str, **env: str) -> Said:
    """Give a command with the state of the test, and without an API key."""
    done = subprocess.run(command(*arguments), capture_output=True, text=True, env=environment(None, **env), timeout=60)
    return Said(done.returncode, done.stdout, done.stderr)
