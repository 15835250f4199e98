"""What an episode writes down: who was told what, and what the sandbox then holds."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batches_mcp.sandbox import Sandbox
from tests.soak.schedule import Ask, Content, Job
from tests.support.fates import Post


@dataclass(frozen=True, slots=True)
class Told:
    """What a caller was told of a create.

    `batch_id` is named as its batch for `certain`, or as a candidate; `error` is the type of an error. Over REST,
    `status` is that of the answer, and `may_retry` whether the official SDK would send it again. Times are monotonic
    but for `at_s`, the sandbox's time.
    """

    ask: Ask
    began_s: float
    ended_s: float
    at_s: float
    batch_id: str | None = None
    certain: bool = False
    error: str | None = None
    message: str = ""
    status: int | None = None
    may_retry: bool = False

    @property
    def final(self) -> bool:
        """Whether there is nothing more to ask for."""
        return self.certain or self.error == "cost_cap"


@dataclass(frozen=True, slots=True)
class Made:
    """A batch as the sandbox has it: `content` is whose requests it holds, `rows` its results by custom_id."""

    id: str
    content: str
    size: int
    rows: Mapping[str, Any]


@dataclass(slots=True)
class Record:
    """All that happened in an episode.

    `known` are the batches of the ledgers by their labels, `wrong` what a command should not have said. `cap_usd` is
    the cap, `row_usd` what one row may cost at most.
    """

    contents: Mapping[str, Content]
    strangers: Mapping[str, Content]
    told: list[Told] = field(default_factory=list)
    posts: list[Post] = field(default_factory=list)
    made: list[Made] = field(default_factory=list)
    outs: list[tuple[Job, list[bytes]]] = field(default_factory=list)
    unfinished: list[tuple[Job, str]] = field(default_factory=list)
    known: Mapping[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    cap_usd: float | None = None
    row_usd: float = 0.0


def now_s() -> float:
    return time.monotonic()


_TEXT = re.compile(rb"soak:(\w+)")


def batches_of(sandbox: Sandbox) -> list[Made]:
    """Every batch there is, oldest first. Its results are made as the sandbox would answer them."""
    store = sandbox._steering._store
    found = []
    for batch in reversed(store.newest(1_000_000)):
        requests = [request for _, request in store.requests(batch, range(batch.total))]
        marks = {match[1].decode() for request in requests if (match := _TEXT.search(request))}
        assert len(marks) == 1, (batch.id, marks)
        found.append(Made(batch.id, marks.pop(), batch.total, {}))
    return found


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines()


def custom_id(line: bytes) -> str:
    return str(json.loads(line)["custom_id"])
