"""Sandboxes that the tests of a module share; those that need one for each test make it themselves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from batches_mcp.sandbox import ManualClock, Sandbox, running_sandbox


@pytest.fixture(scope="module")
def quick() -> Iterator[Sandbox]:
    """A sandbox whose batches end in a moment."""
    with running_sandbox(process_seconds=0.2, retry_after_seconds=0) as running:
        yield running


@pytest.fixture(scope="module")
def held() -> Iterator[Sandbox]:
    """A sandbox whose batches end when a test says so."""
    with running_sandbox(clock=ManualClock(), retry_after_seconds=0) as running:
        yield running
