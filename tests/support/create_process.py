"""A process of its own that makes one create, and may be killed at a step of it.

Reads one JSON object from standard input: url, key, state, arguments, and kill, the step after which it ends by SIGKILL.
Says `ready`, waits for a line, and prints what came of the create.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio

from batches_mcp.store.kept import KeptRequests
from batches_mcp.store.ledger import Ledger
from batches_mcp.work import deliver, reconcile
from tests.support.creates import agent, create

# Where a process can be killed, by the function after which, or before which, it is.
STEPS: dict[str, tuple[Any, str, bool]] = {
    "draft written": (KeptRequests, "write", True),
    "claimed": (Ledger, "claim", True),
    "kept": (KeptRequests, "keep", True),
    "about to be sent whole": (Ledger, "sent", False),
    "may be sent whole": (Ledger, "sent", True),
    "first byte": (deliver, "file_pieces", False),
    "whole body": (deliver, "file_pieces", True),
    "answered": (Ledger, "accepted", False),
    "written down": (Ledger, "accepted", True),
    "looking": (reconcile, "_look_once", False),
    "found": (Ledger, "candidate", False),
    "noted": (Ledger, "candidate", True),
}
# These come only after an answer that was lost.
AMBIGUOUS = ("looking", "found", "noted")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def deadly(function: Callable[..., Any], *, after: bool) -> Callable[..., Any]:
    """The function, in or after which the process dies."""

    def generator(*arguments: Any, **more: Any) -> Iterator[Any]:
        for piece in function(*arguments, **more):
            yield piece
            if not after:
                die()
        die()

    def plain(*arguments: Any, **more: Any) -> Any:
        if after:
            function(*arguments, **more)
        die()

    return generator if function.__name__ == "file_pieces" else plain


async def main() -> None:
    asked = json.loads(sys.stdin.readline())
    if asked.get("kill"):
        owner, name, after = STEPS[asked["kill"]]
        setattr(owner, name, deadly(getattr(owner, name), after=after))
    async with agent(asked["url"], asked["key"], state=Path(asked["state"])) as client:
        print("ready", flush=True)
        sys.stdin.readline()
        print(json.dumps(await create(client, asked["arguments"])), flush=True)


if __name__ == "__main__":
    anyio.run(main)
