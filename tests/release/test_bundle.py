"""The bundle: built without network, the same bytes every time, and a server that starts as Claude Desktop starts it."""

from __future__ import annotations

import hashlib
import json
import sys
import zipfile
from pathlib import Path

import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from batches_mcp import __version__
from batches_mcp.sandbox import Sandbox
from release.bundle import build
from tests.support.servers import CREATE, LIST, Era, environment, text_of


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("dist"))


def test_the_same_sources_give_the_same_bytes(bundle: Path, tmp_path: Path) -> None:
    assert build(tmp_path).read_bytes() == bundle.read_bytes()
    checksum = bundle.with_suffix(".mcpb.sha256").read_text("utf-8")
    assert checksum == f"{hashlib.sha256(bundle.read_bytes()).hexdigest()}  {bundle.name}\n"
    packages = json.loads((bundle.parent / "server.json").read_text("utf-8"))["packages"]
    assert [package["registryType"] for package in packages] == ["pypi", "mcpb"]
    assert packages[1]["fileSha256"] == checksum.split()[0]


def test_it_holds_what_it_needs_and_nothing_else(bundle: Path) -> None:
    with zipfile.ZipFile(bundle) as opened:
        names = set(opened.namelist())
        manifest = json.loads(opened.read("manifest.json"))
    assert {"manifest.json", "icon.png", "pyproject.toml", "capability.yaml", "src/main.py"} <= names
    assert {manifest["icon"], manifest["server"]["entry_point"]} <= names
    assert "src/batches_mcp/language/defaults.yaml" in names
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]
    assert bundle.stat().st_size < 1_000_000


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("era", "confirm_over", "asks"), [("auto", "1", True), ("legacy", "${user_config.confirm_over}", False)]
)
async def test_its_server_starts_as_the_manifest_says(
    bundle: Path, sandbox: Sandbox, tmp_path: Path, era: Era, confirm_over: str, asks: bool
) -> None:
    with zipfile.ZipFile(bundle) as opened:
        opened.extractall(tmp_path)
    config = json.loads((tmp_path / "manifest.json").read_text("utf-8"))["server"]["mcp_config"]
    filled = {"${__dirname}": str(tmp_path), "${user_config.api_key}": "a-key", "${user_config.max_cost_usd}": "20",
              "${user_config.read_only}": "false", "${user_config.confirm_over}": confirm_over}  # fmt: skip
    env = {name: filled[value] for name, value in config["env"].items()}
    # uv runs the script with the interpreter of an environment that it makes of pyproject.toml; here it is this one.
    assert config["args"][:3] == ["run", "--directory", "${__dirname}"]
    script, serve, folders = config["args"][3:]
    parameters = StdioServerParameters(
        command=sys.executable,
        args=["-P", script, serve, str(tmp_path / "no such folder"), "--base-url", sandbox.url],
        cwd=tmp_path,
        env=environment(None, PYTHONPATH=str(tmp_path / "src"), **env),
    )
    assert folders == "${user_config.folders}"
    async with Client(stdio_client(parameters), mode=era) as client:
        listed = (await client.list_tools()).tools
        assert [tool.name for tool in listed if not (tool.annotations and tool.annotations.read_only_hint)]
        [create] = [tool for tool in listed if tool.name == CREATE]
        assert ("confirmed_cost_usd" in create.input_schema["properties"]) is asks
        for tool in listed:
            assert tool.annotations is not None
            assert tool.title
            assert tool.annotations.read_only_hint or tool.annotations.destructive_hint
        assert '"data": []' in text_of(await client.call_tool(LIST, {})).replace('"data":[]', '"data": []')
        assert client.server_info is None or client.server_info.version == __version__
