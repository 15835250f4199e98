"""Many episodes, one after the other or a few at a time, each with a seed of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from tests.support.servers import ROOT

PER_EPISODE = 120
_EPISODE_S = 600


def episodes(seed: str, creates: int) -> Iterator[tuple[str, int]]:
    """The seeds of episodes and how many creates each has."""
    for number, first in enumerate(range(0, creates, PER_EPISODE)):
        yield f"{seed}.{number}", min(PER_EPISODE, creates - first)


def soak(seed: str, creates: int, at_once: int = 1) -> list[str]:
    """Play them, each in a process of its own; what was said of those that failed."""
    began_s = time.monotonic()
    failed: list[str] = []
    with ThreadPoolExecutor(at_once) as pool:
        for code, said in pool.map(lambda each: _play(*each), episodes(seed, creates)):
            print(said, flush=True)
            if code:
                failed.append(said)
    print(f"{creates:,} creates in {time.monotonic() - began_s:,.0f} s: {len(failed)} episodes failed", flush=True)
    return failed


def _play(seed: str, creates: int) -> tuple[int, str]:
    command = [sys.executable, "-m", "tests.soak", "--seed", seed, "--creates", str(creates)]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_EPISODE_S, check=False)
    except subprocess.TimeoutExpired:
        return 1, f"seed {seed}: not done within {_EPISODE_S} s. Replay: {' '.join(command[1:])}"
    return done.returncode, (done.stdout + (done.stderr if done.returncode else "")).strip()
