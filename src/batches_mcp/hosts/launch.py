"""How a host starts the server: the command, and the forms and links in which hosts take it. Pure."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from batches_mcp.core.variables import API_KEY, is_placeholder

_OURS = re.compile(r"(?:.*[/\\])?batches[-_]mcp(?:\.exe)?(?:(?:@|==).*)?", re.IGNORECASE)
_ENVIRONMENTS = ("env", "environment", "envs")


@dataclass(frozen=True, slots=True)
class Launch:
    """A command with its arguments, and the variables that the host sets for it."""

    command: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def ours(self) -> bool:
        """Whether it starts batches-mcp: by its script, by uvx, or by `python -m batches_mcp`."""
        return any(_OURS.fullmatch(word) for word in (self.command, *self.args))


Shape = Callable[[Launch], dict[str, Any]]


def plain(launch: Launch) -> dict[str, Any]:
    return {"command": launch.command, "args": list(launch.args)}


def stdio(launch: Launch) -> dict[str, Any]:
    return {"type": "stdio", **plain(launch)}


def copilot(launch: Launch) -> dict[str, Any]:
    return {"type": "local", **plain(launch), "tools": ["*"]}


def nested(launch: Launch) -> dict[str, Any]:
    return {"transport": stdio(launch)}


def opencode(launch: Launch) -> dict[str, Any]:
    return {"type": "local", "command": [launch.command, *launch.args], "enabled": True}


def goose(launch: Launch) -> dict[str, Any]:
    return {
        "type": "stdio",
        "name": "batches",
        "cmd": launch.command,
        "args": list(launch.args),
        "enabled": True,
        "timeout": 300,
    }


Link = Callable[[str, Launch], str]
"""Makes the link by which a host adds a server of a name, once a person has opened it."""


def _base64(launch: Launch) -> str:
    return quote(base64.b64encode(json.dumps(plain(launch)).encode()).decode(), safe="")


def cursor_link(name: str, launch: Launch) -> str:
    return f"cursor://anysphere.cursor-deeplink/mcp/install?name={name}&config={_base64(launch)}"


def lm_studio_link(name: str, launch: Launch) -> str:
    return f"lmstudio://add_mcp?name={name}&config={_base64(launch)}"


def vs_code_link(name: str, launch: Launch) -> str:
    return "vscode:mcp/install?" + quote(json.dumps({"name": name, **stdio(launch)}), safe="")


def kiro_link(name: str, launch: Launch) -> str:
    return f"https://kiro.dev/launch/mcp/add?name={name}&config=" + quote(json.dumps(plain(launch)), safe="")


def goose_link(name: str, launch: Launch) -> str:
    args = "".join(f"&arg={quote(word, safe='')}" for word in launch.args)
    return f"goose://extension?cmd={quote(launch.command, safe='')}{args}&id={name}&name={name}&description=batches"


def launch_of(entry: Any) -> Launch | None:
    """What an entry starts, in whichever of the forms; None when it starts nothing, as one with a URL."""
    if not isinstance(entry, Mapping):
        return None
    if isinstance(entry.get("transport"), Mapping):
        return launch_of(entry["transport"])
    command = entry.get("command", entry.get("cmd"))
    words = command if isinstance(command, list) else [command, *_list(entry.get("args"))]
    if not words or not all(isinstance(word, str) for word in words):
        return None
    env: dict[str, str] = {}
    for name in _ENVIRONMENTS:
        if isinstance(entry.get(name), Mapping):
            env |= {str(key): str(value) for key, value in entry[name].items()}
    return Launch(str(words[0]), tuple(map(str, words[1:])), env)


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else []


def merged(old: Any, new: Mapping[str, Any]) -> dict[str, Any]:
    """Our entry as it is to be: what a person added to the old one stays, but a key in clear text."""
    kept = without_key(old)
    both = {name: merged(kept[name], new[name]) for name in kept.keys() & new.keys() if isinstance(new[name], Mapping)}
    return {**kept, **new, **both}


def without_key(entry: Any) -> dict[str, Any]:
    """An entry without an API key in clear text; a reference that the host fills in is none."""
    if not isinstance(entry, Mapping):
        return {}
    result: dict[str, Any] = {}
    for name, value in entry.items():
        if name in _ENVIRONMENTS and isinstance(value, Mapping):
            rest = {key: each for key, each in value.items() if key != API_KEY or is_placeholder(str(each))}
            if rest or not value:
                result[name] = rest
        elif name == "transport":
            result[name] = without_key(value)
        else:
            result[name] = value
    return result


def clear_key(entry: Any) -> str | None:
    """The API key that an entry holds in clear text, if it does."""
    launch = launch_of(entry)
    value = launch.env.get(API_KEY, "").strip() if launch else ""
    return value if value and not is_placeholder(value) else None
