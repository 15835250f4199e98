"""Files for hosts, registries and directories: current, and by the rules of those who read them."""

from __future__ import annotations

import json
import re
import struct
import tomllib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from batches_mcp import __version__
from release.icon import PNG, SIZE, SVG, pixels, svg
from release.listings import BUNDLE, PLUGIN, ROOT, SERVER, bundle_capability, listings, registry, registry_name, tools
from tests.support.golden import assert_golden

# Prefixes of tool names by the hosts that have the longest, and how long the whole may be.
PLUGIN_NAMES = (f"mcp__plugin_{PLUGIN}_{SERVER}__", 64), (f"mcp_{SERVER}_", 63), (f"{SERVER}-", 60)


def loaded(path: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((ROOT / path).read_text("utf-8"))
    return value


@pytest.mark.parametrize(("path", "text"), listings().items(), ids=list(listings()))
def test_generated_files_are_current(path: str, text: str) -> None:
    assert_golden(ROOT / path, text)


@pytest.mark.parametrize(("prefix", "limit"), PLUGIN_NAMES)
def test_names_of_tools_fit_with_every_hosts_prefix(prefix: str, limit: int) -> None:
    for tool in tools():
        assert len(prefix + tool.name) <= limit


def test_the_agent_plugin_has_only_what_the_format_knows() -> None:
    plugin = loaded("plugin.json")
    known = {"$schema", "name", "version", "description", "author", "homepage", "repository", "license", "keywords", "extensions"}  # fmt: skip
    assert plugin.keys() <= known
    assert plugin["$schema"] == "https://agent-plugins.org/schemas/1.0.0/plugin.schema.json"
    assert re.fullmatch(r"(?!.*(?:--|\.\.))[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?", plugin["name"])
    assert plugin["author"].keys() <= {"name", "email", "url"}
    assert all(isinstance(word, str) for word in plugin["keywords"])
    assert plugin["version"] == __version__


def test_the_agent_plugins_server_is_a_bare_command_without_secrets() -> None:
    config = loaded("mcp.json")
    assert config.keys() == {"$schema", "mcpServers"}
    assert config["$schema"] == "https://agent-plugins.org/schemas/1.0.0/mcp.schema.json"
    assert config["mcpServers"] == {SERVER: {"type": "stdio", "command": "uvx", "args": [f"batches-mcp@{__version__}"]}}


def test_the_skill_stands_where_plugins_have_it() -> None:
    skill = (ROOT / "skills" / "message-batches" / "SKILL.md").read_text("utf-8")
    assert skill.startswith("---\nname: message-batches\n")


def test_claudes_plugin_asks_for_the_key_and_passes_it_on() -> None:
    plugin, marketplace = loaded(".claude-plugin/plugin.json"), loaded(".claude-plugin/marketplace.json")
    used = re.findall(r"\$\{user_config\.(\w+)\}", json.dumps(plugin["mcpServers"]))
    assert set(used) == plugin["userConfig"].keys() == {"api_key", "confirm_over"}
    assert plugin["mcpServers"][SERVER]["env"]["BATCHES_MCP_CONFIRM_OVER"] == "${user_config.confirm_over}"
    assert plugin["userConfig"]["confirm_over"]["required"] is False
    assert plugin["userConfig"]["api_key"]["sensitive"] is True
    assert plugin["userConfig"]["api_key"]["required"] is False
    assert [(each["name"], each["source"]) for each in marketplace["plugins"]] == [(plugin["name"], "./")]
    assert marketplace["owner"]["name"]
    assert {"name", "owner", "metadata", "plugins"} == marketplace.keys()


def test_geminis_extension_has_the_key_as_a_setting() -> None:
    extension = loaded("gemini-extension.json")
    assert re.fullmatch(r"[a-z0-9-]+", extension["name"])
    assert list(extension["mcpServers"]) == [SERVER]
    assert [(setting["envVar"], setting["sensitive"]) for setting in extension["settings"]] == [
        ("ANTHROPIC_API_KEY", True),
        ("BATCHES_MCP_CONFIRM_OVER", False),
    ]


# https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json, as far as it concerns what we say


def registry_problems(entry: dict[str, Any]) -> Iterator[str]:
    if not re.fullmatch(r"[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+", entry["name"]) or not 3 <= len(entry["name"]) <= 200:
        yield "name"
    if not 1 <= len(entry["description"]) <= 100:
        yield "description"
    if not 1 <= len(entry["title"]) <= 100:
        yield "title"
    if entry.keys() - {
        "$schema",
        "name",
        "title",
        "description",
        "version",
        "websiteUrl",
        "repository",
        "icons",
        "packages",
    }:
        yield "unknown key"
    for url in (entry["websiteUrl"], entry["repository"]["url"], *(icon["src"] for icon in entry["icons"])):
        if urlsplit(url).scheme != "https" or len(url) > 255:
            yield url
    for icon in entry["icons"]:
        if icon["mimeType"] not in {"image/png", "image/jpeg", "image/svg+xml", "image/webp"}:
            yield "mimeType"
    for package in entry["packages"]:
        if package["registryType"] not in {"pypi", "mcpb"} or package["transport"] != {"type": "stdio"}:
            yield "package"
        if package["registryType"] == "pypi" and not re.fullmatch(r"\d+\.\d+\.\d+\S*", package["version"]):
            yield "version"
        if package["registryType"] == "mcpb" and not (
            "mcp" in package["identifier"] and re.fullmatch(r"[a-f0-9]{64}", package["fileSha256"])
        ):
            yield "bundle"
        for given in (*package.get("packageArguments", ()), *package.get("environmentVariables", ())):
            if given.get("format", "string") not in {"string", "number", "boolean", "filepath"}:
                yield "format"


@pytest.mark.parametrize("entry", [registry(), registry("0" * 64)], ids=["package", "package and bundle"])
def test_the_registrys_entry_keeps_its_rules(entry: dict[str, Any]) -> None:
    assert list(registry_problems(entry)) == []
    assert entry["version"] == __version__


@pytest.mark.parametrize(
    ("key", "value"), [("name", "batches"), ("description", "x" * 101), ("title", ""), ("websiteUrl", "http://x")]
)
def test_the_rules_of_the_registry_notice(key: str, value: str) -> None:
    assert list(registry_problems({**registry(), key: value}))


def test_the_readme_proves_who_publishes_the_package() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert re.search(rf"^<!-- mcp-name: {re.escape(registry_name())} -->$", text, re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["readme"] == "README.md"


def test_glama_knows_who_maintains_it() -> None:
    entry = loaded("glama.json")
    assert entry["$schema"] == "https://glama.ai/mcp/schemas/server.json"
    assert all(re.fullmatch(r"[A-Za-z0-9-]+", name) for name in entry["maintainers"])


def test_privacy_support_and_examples_are_where_directories_look_for_them() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    privacy = (ROOT / "docs" / "privacy.md").read_text("utf-8")
    assert "docs/privacy.md" in readme
    for subject in ("api.anthropic.com", "29 days", "telemetry", "issues"):
        assert subject in privacy
    assert len(re.findall(r"^### Example: ", readme, re.MULTILINE)) == 3
    assert "/issues" in readme


# The bundle's manifest, https://github.com/modelcontextprotocol/mcpb/blob/main/MANIFEST.md


def test_every_value_that_the_bundle_asks_for_is_used_and_defined() -> None:
    manifest = loaded(f"{BUNDLE}/manifest.json")
    used = re.findall(r"\$\{user_config\.(\w+)\}", json.dumps(manifest["server"]))
    asked = manifest["user_config"]
    assert set(used) == asked.keys()
    for entry in asked.values():
        assert entry["type"] in {"string", "number", "boolean", "directory", "file"}
        assert entry["title"]
        assert entry["description"]
        assert entry["required"] or "default" in entry, "an optional value without a default stays a placeholder"
    assert asked["api_key"]["sensitive"] is True
    lists = [name for name, entry in asked.items() if entry.get("multiple")]
    for name in lists:
        assert f"${{user_config.{name}}}" in manifest["server"]["mcp_config"]["args"], "lists expand in args only"


def test_the_bundles_manifest_has_what_the_directory_demands() -> None:
    manifest = loaded(f"{BUNDLE}/manifest.json")
    known = {
        "$schema", "manifest_version", "name", "display_name", "version", "description", "long_description", "author",
        "repository", "homepage", "documentation", "support", "icon", "license", "keywords", "privacy_policies", "server",
        "tools", "user_config", "compatibility",
    }  # fmt: skip
    assert manifest.keys() <= known
    assert manifest["manifest_version"] == "0.4"
    assert manifest["server"].keys() == {"type", "entry_point", "mcp_config"}
    assert manifest["server"]["type"] == "uv"
    assert manifest["server"]["mcp_config"].keys() <= {"command", "args", "env", "platform_overrides"}
    assert manifest["version"] == __version__
    assert all(urlsplit(url).scheme == "https" for url in [manifest["support"], *manifest["privacy_policies"]])
    assert set(manifest["compatibility"]["platforms"]) <= {"darwin", "win32", "linux"}
    assert [tool["name"] for tool in manifest["tools"]] == [tool.name for tool in tools()]


def test_the_bundles_tools_are_the_same_but_for_hints_of_writes(tmp_path: Path) -> None:
    file = tmp_path / "capability.yaml"
    file.write_text(bundle_capability(), "utf-8")
    for ours, bundled in zip(tools(), tools(file), strict=True):
        assert bundled.hints.read_only or bundled.hints.destructive
        assert bundled.hints.read_only is ours.hints.read_only
        assert (bundled.name, bundled.description, bundled.input_schema) == (
            ours.name,
            ours.description,
            ours.input_schema,
        )


# The icon


def decoded(data: bytes) -> list[bytes]:
    """The rows of an RGBA PNG whose rows are not filtered."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    place, packed, header = 8, b"", b""
    while place < len(data):
        [length] = struct.unpack(">I", data[place : place + 4])
        kind, content = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        assert struct.unpack(">I", data[place + 8 + length : place + 12 + length]) == (zlib.crc32(kind + content),)
        header, packed = (content if kind == b"IHDR" else header), packed + (content if kind == b"IDAT" else b"")
        place += 12 + length
    width, height, *form = struct.unpack(">IIBBBBB", header)
    assert (width, height, form) == (SIZE, SIZE, [8, 6, 0, 0, 0])
    rows, step = zlib.decompress(packed), 1 + 4 * width
    assert {rows[start] for start in range(0, len(rows), step)} == {0}
    return [rows[start + 1 : start + step] for start in range(0, len(rows), step)]


def test_the_icon_is_as_its_script_draws_it() -> None:
    assert SVG.read_text("utf-8") == svg()
    assert decoded(PNG.read_bytes()) == pixels()
    assert 512 <= SIZE <= 2048
