"""What is asked for in one episode of the soak, drawn from a seed. Pure."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

# Sizes are few, so that batches of different contents are often of the same one.
SIZES = (2, 3)
_MODEL, _MOST_TOKENS = "claude-haiku-5-5", 200

_LARGE_CHARS = 4_000_000

Way = Literal["stdio", "http", "rest", "other"]
"""How a create is asked for; `other` is a server with a state folder of its own, on the same key."""
OURS: tuple[Way, ...] = ("stdio", "http", "rest")


@dataclass(frozen=True, slots=True)
class Content:
    """Requests whose texts say whose they are. With `common` custom_ids other contents may have the same ones.

    Those are all of one state folder: custom_ids of one's own that another program uses as well prove nothing, which is
    not promised.

    A `large` one does not fit into the buffers between client and server, so that it can be cut while it is sent.
    """

    name: str
    rows: int
    common: bool
    other_folder: bool = False
    large: bool = False

    @property
    def custom_ids(self) -> list[str]:
        prefix = "row" if self.common else self.name
        return [f"{prefix}-{number}" for number in range(self.rows)]

    @property
    def requests(self) -> list[dict[str, Any]]:
        # All texts are equally long, so that batches of one size cost the same.
        padding = "x" * (_LARGE_CHARS if self.large else 20 - len(self.name))
        return [
            {
                "custom_id": custom_id,
                "params": {
                    "model": _MODEL,
                    "max_tokens": _MOST_TOKENS,
                    "messages": [{"role": "user", "content": f"soak:{self.name} {padding}"}],
                },
            }
            for custom_id in self.custom_ids
        ]


@dataclass(frozen=True, slots=True)
class Ask:
    """A create of a content; `again` allows a duplicate."""

    content: Content
    way: Way
    again: bool = False


@dataclass(frozen=True, slots=True)
class Job:
    """A file for `run`, of which each content makes a part."""

    name: str
    contents: tuple[Content, ...]


@dataclass(frozen=True, slots=True)
class Round:
    """What happens at the same time: asks, jobs that start, and batches that another program makes past our server.

    `kills_s` are the processes that are killed, and how long after the beginning. Then `advance_s` pass upstream.
    """

    asks: tuple[Ask, ...]
    jobs: tuple[Job, ...]
    strangers: tuple[Content, ...]
    kills_s: Mapping[str, float]
    advance_s: float


@dataclass(frozen=True, slots=True)
class Schedule:
    """One episode; `cap_share` is how much of what all of it may cost may be spent, if there is a cap."""

    seed: str
    rounds: tuple[Round, ...]
    contents: Mapping[str, Content] = field(default_factory=dict)
    cap_share: float | None = None


def schedule(seed: str, creates: int, per_round: int = 12) -> Schedule:
    """So many creates of distinct contents, and beside them what is asked for more than once."""
    chance = random.Random(f"{seed} schedule")
    cap = chance.uniform(0.5, 0.9) if chance.random() < 0.3 else None
    rounds: list[Round] = []
    contents: dict[str, Content] = {}
    while (made := len(contents)) < creates:
        number = len(rounds)
        asks: list[Ask] = []
        jobs: list[Job] = []
        fresh: list[Content] = []
        while len(fresh) < min(per_round, creates - made):
            left = min(per_round, creates - made) - len(fresh)
            if left >= 2 and not jobs and chance.random() < 0.35:
                job = _job(chance, f"j{number}", made + len(fresh), chance.randint(2, min(3, left)))
                jobs.append(job)
                fresh += job.contents
                if chance.random() < 0.4:
                    asks.append(Ask(chance.choice(job.contents), chance.choice(OURS)))
                continue
            other_folder = chance.random() < 0.12
            content = Content(
                f"c{made + len(fresh)}",
                chance.choice(SIZES),
                common=not other_folder and chance.random() < 0.2,
                other_folder=other_folder,
                large=cap is None and chance.random() < 0.02,
            )
            fresh.append(content)
            ways: list[Way] = (
                ["other"] if content.other_folder else chance.choices(OURS, k=chance.choice((1, 1, 1, 2, 3)))
            )
            asks += [Ask(content, way) for way in ways]
            if chance.random() < 0.04:
                asks.append(Ask(content, ways[0], again=True))
        earlier = [content for content in contents.values() if not content.other_folder]
        asks += [Ask(content, chance.choice(OURS)) for content in earlier if chance.random() < 1.5 / len(earlier)]
        chance.shuffle(asks)
        contents |= {content.name: content for content in fresh}
        strangers = tuple(
            Content(f"s{number}x{each}", chance.choice(SIZES), common=False)
            for each in range(chance.choice((0, 1, 1, 2)))
        )
        kills = {name: chance.uniform(0, 0.4) for name in ("stdio", "http", "run") if chance.random() < 0.2}
        # Some rounds see batches that have not ended, most see them ended, and some come after doubt is over.
        advance_s = chance.choice((1.0, 30.0, 300.0, 1_000.0))
        rounds.append(Round(tuple(asks), tuple(jobs), strangers, kills, advance_s))
    return Schedule(seed, tuple(rounds), contents, cap)


def _job(chance: random.Random, name: str, first: int, parts: int) -> Job:
    rows, common = chance.choice(SIZES), chance.random() < 0.2
    # A file's custom_ids are distinct.
    return Job(name, tuple(Content(f"c{first + part}", rows, common and part == 0) for part in range(parts)))
