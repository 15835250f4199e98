"""What is said of an episode."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tests.soak.records import Told
from tests.soak.rules import Broken

_MOST_LINES = 40


@dataclass(slots=True)
class Result:
    """What an episode came to."""

    seed: str
    creates: int
    broken: Sequence[Broken]
    unsettled: Sequence[str]
    seconds: float
    counts: Counter[str]
    met: Counter[str]
    log: Sequence[str]
    told: Sequence[str]

    @property
    def replay(self) -> str:
        return f".venv/bin/python -m tests.soak --seed {self.seed} --creates {self.creates}"

    def words(self) -> str:
        """What a person needs to know of it: when a rule was broken, with what happened to that content."""
        head = f"seed {self.seed}: {self.creates} creates in {self.seconds:.1f} s: " + ", ".join(
            f"{count} {name}" for name, count in sorted(self.counts.items())
        )
        if not self.broken:
            return head
        parts = [head, *(f"BROKEN {each}" for each in self.broken)]
        for name in sorted({each.name for each in self.broken})[:5]:
            parts.append(f"-- {name}")
            parts += [f"   {line}" for line in self._about(name)[:_MOST_LINES]]
        return "\n".join([*parts, f"Replay: {self.replay}"])

    def _about(self, name: str) -> list[str]:
        """What was logged of a content, and what the gateway did to answers about its batches."""
        named = re.compile(rf" {re.escape(name)}[: ]")
        lines = [line for line in (*self.log, *self.told) if named.search(line)]
        ids = {found[1] for line in lines if (found := re.search(r"(?:batch|late: .*:) (msgbatch_\w+)$", line))}
        garbled = [line for line in self.log if "/msgbatch_" in line and not line.endswith(": passed")]
        return sorted([*lines, *(line for line in garbled if any(each in line for each in ids))])


def line_of(told: Told) -> str:
    what = f"{'certain' if told.certain else 'candidate'} {told.batch_id}" if told.batch_id else f"{told.error}"
    again = " again" if told.ask.again else ""
    return (
        f"{told.ended_s:.3f} world {told.at_s:.1f} told of {told.ask.content.name}: {told.ask.way}{again}: {what} "
        f"{told.message[:300]}"
    )
