"""Which folders file arguments may read in, as a host starts the server: its project, its list of folders, a plugin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests.support.servers import CREATE, REQUEST, command, environment, text_of

pytestmark = pytest.mark.anyio

URL = ("--base-url", "http://127.0.0.1:9")


@pytest.fixture
def requests_file(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    file = folder / "requests.jsonl"
    file.write_text(json.dumps(REQUEST))
    return file


async def dry_run(file: Path, cwd: Path, *arguments: str, **env: str) -> str:
    program, *words = command("serve", *URL, *arguments)
    parameters = StdioServerParameters(command=program, args=words, cwd=cwd, env=environment("test-key", **env))
    async with Client(stdio_client(parameters)) as client:
        result = await client.call_tool(CREATE, {"requests_file": str(file), "dry_run": True})
    return text_of(result)


def readable(text: str) -> bool:
    try:
        answer: Any = json.loads(text)
    except ValueError:
        return False
    return bool(answer["batches_mcp"]["dry_run"]["requests"] == 1)


async def test_a_list_of_folders_expands_to_bare_arguments(requests_file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    assert readable(await dry_run(requests_file, other, str(other), str(requests_file.parent)))
    assert not readable(await dry_run(requests_file, requests_file.parent, str(other)))


async def test_a_folder_that_this_machine_lacks_opens_no_other(requests_file: Path, tmp_path: Path) -> None:
    assert not readable(await dry_run(requests_file, requests_file.parent, str(tmp_path / "Documents")))


async def test_a_list_of_folders_that_was_not_filled_in_is_none(requests_file: Path) -> None:
    assert readable(await dry_run(requests_file, requests_file.parent, "${user_config.folder}"))
    assert readable(await dry_run(requests_file, requests_file.parent, "--root", "${user_config.folder}"))


async def test_the_hosts_project_goes_before_the_working_directory(requests_file: Path, tmp_path: Path) -> None:
    folder = str(requests_file.parent)
    assert readable(await dry_run(requests_file, tmp_path, PLUGIN_ROOT=str(tmp_path / "p"), CLAUDE_PROJECT_DIR=folder))


async def test_a_plugins_own_folder_is_no_root(requests_file: Path) -> None:
    folder = requests_file.parent
    assert not readable(await dry_run(requests_file, folder, PLUGIN_ROOT=str(folder)))


async def test_a_tilde_is_the_home(requests_file: Path, tmp_path: Path) -> None:
    assert readable(await dry_run(requests_file, tmp_path.parent, "~/data", HOME=str(tmp_path)))
