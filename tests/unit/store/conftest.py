"""What is remembered of an account, on either kind of state."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from batches_mcp.store.records import AllRecords, Records
from tests.support.states import state_in


@pytest.fixture
def records(kind_of_state: str) -> Iterator[Records]:
    everything = AllRecords(state_in())
    yield everything.of("account")
    everything.close()
