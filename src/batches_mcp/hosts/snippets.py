"""What a person pastes where a file is not edited for them. Pure."""

from __future__ import annotations

import json
from typing import Any

from batches_mcp.hosts.documents import Format
from batches_mcp.hosts.launch import Launch
from batches_mcp.hosts.table import Host


def snippet(host: Host, name: str, launch: Launch) -> str:
    """The entry as it stands in the host's file, with the objects it stands in."""
    value: dict[str, Any] = host.shape(launch)
    if host.form is Format.TOML:
        lines = [f"{key} = {json.dumps(each, ensure_ascii=False)}" for key, each in value.items()]
        return "\n".join([f"[{'.'.join(host.path(name))}]", *lines])
    if host.form is Format.YAML:
        lines = [f"    {key}: {json.dumps(each, ensure_ascii=False)}" for key, each in value.items()]
        return "\n".join([f"{host.under[0]}:", f"  - name: {name}" if host.listed else f"  {name}:", *lines])
    for key in reversed(host.path(name)):
        value = {key: value}
    return json.dumps(value, indent=2, ensure_ascii=False)


def language(form: Format) -> str:
    """What a code block of the format is called in Markdown."""
    return {Format.TOML: "toml", Format.YAML: "yaml"}.get(form, "json")
