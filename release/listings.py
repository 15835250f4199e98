"""The files by which hosts, registries and directories know the project, made of pyproject.toml and capability.yaml.

The repository's root is a plugin of every host: each reads the file of its own and no other. `make golden` writes
them; a test holds that they are current.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

from batches_mcp import __version__, language
from batches_mcp.core.plan import ToolPlan
from batches_mcp.core.settings import BatchSettings
from batches_mcp.core.variables import API_KEY
from batches_mcp.language.compile import compile_server
from batches_mcp.tools.behaviors import behaviors, contributions

ROOT = Path(__file__).parents[1]
CAPABILITY = ROOT / "capability.yaml"
BUNDLE = "release/bundle"

# Names of tools carry both in some hosts, and may have 64 characters: the longest tool leaves 9 for the two together.
PLUGIN, SERVER = "batches", "mb"

_SHORT = "Bulk Claude requests at half price: submit, follow and read Anthropic message batches."
_CONFIRM_OVER = "BATCHES_MCP_CONFIRM_OVER"
_ASK_TITLE = "Ask above so many US dollars"
_ASK = "Ask before a batch that may cost more than this many US dollars is sent."
_PLUGIN_SCHEMAS = "https://agent-plugins.org/schemas/1.0.0"

_WRITES = re.compile(r"(readOnly: false\n\s+destructive: )false")


def project() -> dict[str, Any]:
    """The project's own description, from pyproject.toml."""
    described: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return described


def tools(path: Path = CAPABILITY) -> tuple[ToolPlan, ...]:
    """The tools that a capability file serves."""
    table = behaviors(BatchSettings((ROOT,)))
    return compile_server(language.read(path), contributions=contributions(table)).tools


def listings() -> dict[str, str]:
    """Every generated file: its path from the repository's root, and its text."""
    urls = project()["urls"]
    files: dict[str, Any] = {
        "plugin.json": {"$schema": f"{_PLUGIN_SCHEMAS}/plugin.schema.json", **_plugin()},
        "mcp.json": {
            "$schema": f"{_PLUGIN_SCHEMAS}/mcp.schema.json",
            "mcpServers": {SERVER: {"type": "stdio", **_command()}},
        },
        ".claude-plugin/plugin.json": _claude_plugin(),
        ".claude-plugin/marketplace.json": _claude_marketplace(),
        "gemini-extension.json": _gemini(),
        "server.json": registry(),
        "glama.json": {
            "$schema": "https://glama.ai/mcp/schemas/server.json",
            "maintainers": [urls["Repository"].split("/")[-2]],
        },
        f"{BUNDLE}/manifest.json": _manifest(),
    }
    texts = {path: json.dumps(value, indent=2, ensure_ascii=False) + "\n" for path, value in files.items()}
    return {**texts, f"{BUNDLE}/capability.yaml": bundle_capability()}


def _plugin() -> dict[str, Any]:
    described = project()
    return {
        "name": PLUGIN,
        "version": __version__,
        "description": _SHORT,
        "author": {"name": "The batches-mcp authors", "url": described["urls"]["Homepage"]},
        "homepage": described["urls"]["Homepage"],
        "repository": described["urls"]["Repository"],
        "license": described["license"],
        "keywords": described["keywords"],
    }


def _command() -> dict[str, Any]:
    return {"command": "uvx", "args": [f"batches-mcp@{__version__}"]}


def _claude_plugin() -> dict[str, Any]:
    return {
        **_plugin(),
        "mcpServers": {
            SERVER: {
                **_command(),
                "env": {API_KEY: "${user_config.api_key}", _CONFIRM_OVER: "${user_config.confirm_over}"},
            }
        },
        "userConfig": {
            "api_key": {
                "type": "string",
                "title": "Anthropic API key",
                "description": "Leave it empty to use the key that `batches-mcp key set` stored.",
                "sensitive": True,
                "required": False,
            },
            "confirm_over": {
                "type": "number",
                "title": _ASK_TITLE,
                "description": f"{_ASK} Leave it empty not to be asked.",
                "required": False,
            },
        },
    }


def _claude_marketplace() -> dict[str, Any]:
    return {
        "name": "batches-mcp",
        "owner": {"name": "The batches-mcp authors"},
        "metadata": {"description": _SHORT},
        "plugins": [{"name": PLUGIN, "source": "./", "description": _SHORT}],
    }


def _gemini() -> dict[str, Any]:
    return {
        "name": PLUGIN,
        "version": __version__,
        "description": _SHORT,
        "mcpServers": {SERVER: _command()},
        "settings": [
            {
                "name": "Anthropic API key",
                "description": "Not needed when `batches-mcp key set` stored one.",
                "envVar": API_KEY,
                "sensitive": True,
            },
            {
                "name": _ASK_TITLE,
                "description": f"{_ASK} Not asked when empty.",
                "envVar": _CONFIRM_OVER,
                "sensitive": False,
            },
        ],
    }


def registry_name() -> str:
    """The server's name in the MCP registry, which the README repeats to prove who publishes the package."""
    owner, name = project()["urls"]["Repository"].split("/")[-2:]
    return f"io.github.{owner}/{name}"


def registry(bundle_sha256: str | None = None) -> dict[str, Any]:
    """The entry in the MCP registry; with the bundle once its hash is known."""
    urls = project()["urls"]
    pypi: dict[str, Any] = {
        "registryType": "pypi",
        "identifier": "batches-mcp",
        "version": __version__,
        "runtimeHint": "uvx",
        "transport": {"type": "stdio"},
        "packageArguments": [
            {
                "type": "named",
                "name": "--root",
                "description": "Folder in which file arguments may read",
                "format": "filepath",
                "isRepeated": True,
                "isRequired": False,
            }
        ],
        "environmentVariables": [
            {
                "name": API_KEY,
                "description": "An Anthropic API key; not needed when `batches-mcp key set` stored one",
                "isRequired": False,
                "isSecret": True,
            },
            {
                "name": "BATCHES_MCP_MAX_COST_USD",
                "description": "Refuse creates that could bring the cost of the last 24 hours over this",
                "format": "number",
                "isRequired": False,
            },
            {
                "name": _CONFIRM_OVER,
                "description": _ASK.removesuffix("."),
                "format": "number",
                "isRequired": False,
            },
        ],
    }
    bundle = {
        "registryType": "mcpb",
        "identifier": f"{urls['Repository']}/releases/download/v{__version__}/batches-mcp-{__version__}.mcpb",
        "fileSha256": bundle_sha256,
        "transport": {"type": "stdio"},
    }
    return {
        "$schema": "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json",
        "name": registry_name(),
        "title": "Anthropic Message Batches",
        "description": _SHORT,
        "version": __version__,
        "websiteUrl": urls["Homepage"],
        "repository": {"url": urls["Repository"], "source": "github"},
        "icons": [{"src": urls["Icon"], "mimeType": "image/png", "sizes": ["512x512"]}],
        "packages": [pypi, bundle] if bundle_sha256 else [pypi],
    }


def _manifest() -> dict[str, Any]:
    """The bundle's manifest: every optional value has a default, since Claude Desktop passes others on unresolved."""
    described = project()
    urls = described["urls"]
    return {
        "$schema": "https://static.modelcontextprotocol.io/schemas/mcpb-manifest-v0.4.schema.json",
        "manifest_version": "0.4",
        "name": "batches-mcp",
        "display_name": "Message Batches",
        "version": __version__,
        "description": _SHORT,
        "long_description": described["description"],
        "author": {"name": "The batches-mcp authors", "url": urls["Homepage"]},
        "repository": {"type": "git", "url": urls["Repository"]},
        "homepage": urls["Homepage"],
        "documentation": urls["Documentation"],
        "support": urls["Issues"],
        "icon": "icon.png",
        "license": described["license"],
        "keywords": described["keywords"],
        "privacy_policies": [urls["Privacy"], "https://www.anthropic.com/legal/privacy"],
        "server": {
            "type": "uv",
            "entry_point": "src/main.py",
            "mcp_config": {
                "command": "uv",
                "args": ["run", "--directory", "${__dirname}", "src/main.py", "serve", "${user_config.folders}"],
                "env": {
                    API_KEY: "${user_config.api_key}",
                    "BATCHES_MCP_MAX_COST_USD": "${user_config.max_cost_usd}",
                    _CONFIRM_OVER: "${user_config.confirm_over}",
                    "BATCHES_MCP_READ_ONLY": "${user_config.read_only}",
                    "PLUGIN_ROOT": "${__dirname}",
                },
            },
        },
        "tools": [{"name": tool.name, "description": tool.title or tool.name} for tool in tools()],
        "user_config": {
            "api_key": {
                "type": "string",
                "title": "Anthropic API key",
                "description": "A key of the workspace that pays for the batches, from platform.claude.com.",
                "sensitive": True,
                "required": True,
            },
            "folders": {
                "type": "directory",
                "title": "Folders with request files",
                "description": "Files of requests and rows are read only inside these folders.",
                "multiple": True,
                "required": False,
                "default": ["${HOME}/Documents"],
            },
            "max_cost_usd": {
                "type": "number",
                "title": "Most US dollars in 24 hours",
                "description": "Batches that could bring the cost of the last 24 hours over this are refused.",
                "required": False,
                "min": 0,
                "default": 20,
            },
            "confirm_over": {
                "type": "number",
                "title": _ASK_TITLE,
                "description": f"{_ASK} Leave it empty not to be asked.",
                "required": False,
                "min": 0,
                "default": 1,
            },
            "read_only": {
                "type": "boolean",
                "title": "Read only",
                "description": "Offer only the tools that change nothing.",
                "required": False,
                "default": False,
            },
        },
        "compatibility": {
            "platforms": ["darwin", "win32", "linux"],
            "runtimes": {"python": described["requires-python"]},
        },
    }


def bundle_capability() -> str:
    """The capability of the bundle: Claude's directory wants every tool that is not read-only marked as destructive."""
    text, count = _WRITES.subn(r"\g<1>true", CAPABILITY.read_text("utf-8"))
    if not count:
        raise ValueError("capability.yaml has no hints `readOnly: false` with `destructive: false`")
    return "# Generated from capability.yaml by `make golden`: the same tools, writes marked as destructive.\n" + text
