"""Nothing is paid twice, at a scale: a sample of the soak, and all of it, whose scale `SOAK_CREATES` changes."""

from __future__ import annotations

import os
import sys

import pytest

from tests.soak.episode import play
from tests.soak.scale import soak

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL and fork")

SEED = os.environ.get("SOAK_SEED", "sample")
CREATES = int(os.environ.get("SOAK_CREATES", "10000"))


def test_a_sample() -> None:
    result = play(SEED, 60)
    print(result.words())
    assert not result.broken, result.words()
    # The gateway did lose, delay and garble.
    assert sum(count for fate, count in result.met.items() if "passed" not in fate) > 30


@pytest.mark.soak
@pytest.mark.timeout(6 * 3_600)
def test_all_of_it() -> None:
    failed = soak(SEED, CREATES, at_once=2)
    assert not failed, "\n".join(failed)
