"""Fixtures for every folder: a sandbox on a real socket, and a key of each test's own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from batches_mcp.sandbox import ManualClock, Sandbox, running_sandbox
from tests.support.servers import CONFIG_HOME, STATE_DIR

# How long an example takes is no property of the code on a machine that others use as well.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """One sandbox for all; its clock stands still until a test advances it, and keys keep tests apart."""
    with running_sandbox(clock=ManualClock()) as running:
        yield running


@pytest.fixture(autouse=True)
def state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of the test's own, never the developer's; made when something is kept in it."""
    folder = tmp_path_factory.getbasetemp() / f"state-{uuid.uuid4().hex}"
    monkeypatch.setenv(STATE_DIR, str(folder))
    # Where the stored API key would be.
    monkeypatch.setenv(CONFIG_HOME, str(folder / "config"))
    return folder


@pytest.fixture
def key() -> str:
    """A tenant of the sandbox that no other test sees."""
    return f"sk-ant-test-{uuid.uuid4().hex}"
