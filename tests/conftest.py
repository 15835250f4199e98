"""Fixtures for every folder: a sandbox on a real socket, and a key of each test's own."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from batches_mcp.core.settings import DATABASE_URL
from batches_mcp.sandbox import ManualClock, Sandbox, running_sandbox
from tests.support.postgres import fresh_job_tables, fresh_url, postgres_server
from tests.support.servers import CONFIG_HOME, STATE_DIR
from tests.support.states import OBJECT_STORE

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


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The folder of the socket of a PostgreSQL server, which all processes of the test run share."""
    root = tmp_path_factory.getbasetemp()
    with postgres_server((root.parent if "PYTEST_XDIST_WORKER" in os.environ else root).name) as host:
        yield host


@pytest.fixture
def job_schema(postgres: str) -> str:
    """A schema of the test's own, with the tables of jobs."""
    return fresh_job_tables(postgres)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests marked `both_states` run on a folder, and on a database with an object store.

    The second takes minutes where whole servers are tested, which is for `make shared`.
    """
    if metafunc.definition.get_closest_marker("both_states"):
        only_folder = metafunc.definition.get_closest_marker("folder_only")
        whole_servers = () if "unit" in metafunc.definition.path.parts else pytest.mark.shared
        kinds = ["folder"] if only_folder else ["folder", pytest.param("shared", marks=whole_servers)]
        metafunc.parametrize("kind_of_state", kinds, indirect=True)


@pytest.fixture(autouse=True)
def kind_of_state(request: pytest.FixtureRequest, state: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the test's state is: in its folder, or shared, which the folder is then a cache of."""
    kind: str = getattr(request, "param", "folder")
    if kind == "shared":
        monkeypatch.setenv(DATABASE_URL, fresh_url(request.getfixturevalue("postgres")))
        monkeypatch.setenv(OBJECT_STORE, f"file://{state}-objects")
    return kind


@pytest.fixture
def key() -> str:
    """A tenant of the sandbox that no other test sees."""
    return f"sk-ant-test-{uuid.uuid4().hex}"
