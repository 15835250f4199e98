"""What the params of one request say: its text, the outcome it orders, the files it points at. Pure.

Params come from outside and may have any shape; nothing here fails on one.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

__all__ = [
    "TRIGGERS",
    "Params",
    "Trigger",
    "input_chars",
    "last_user_text",
    "prompt_texts",
    "slow_in",
    "trigger_in",
    "unreachable_url",
]

Params = Mapping[str, Any]

TRIGGERS: Mapping[str, str] = {
    "expired": "expired, although the batch ends in time",
    "errored TYPE": "errored with this `error.type`, `api_error` without one",
    "credit": "errored because the credit is used up, as captured",
    "refusal": "succeeded with `stop_reason` `refusal` and `stop_details`",
    "max_tokens": "succeeded, cut off: `stop_reason` `max_tokens`",
    "tool_use": "succeeded with a call of the first tool that has an `input_schema`, with an input that fits it",
    "thinking": "succeeded with a block of thinking before the text",
    "slow N": "takes N seconds at least: the batch ends later, or ends without it; goes with any of the others",
}
"""The phrases `[[sandbox:…]]` in a message, and what becomes of its request."""

_ORDERS = "|".join(phrase.split()[0] for phrase in TRIGGERS if phrase != "slow N")
_TRIGGER = re.compile(rf"\[\[sandbox:({_ORDERS})(?:[ \t]+([a-z_]+))?\]\]")
_SLOW = re.compile(r"\[\[sandbox:slow[ \t]+([0-9]{1,6}(?:\.[0-9]{1,6})?)\]\]")


@dataclass(frozen=True, slots=True)
class Trigger:
    """An outcome ordered by a phrase such as `[[sandbox:errored overloaded_error]]`."""

    name: str
    argument: str | None


def prompt_texts(params: Params) -> list[str]:
    """All texts of a request in order: the system prompt, then each message's."""
    return [*_texts(params.get("system")), *(text for _, text in _message_texts(params))]


def input_chars(params: Params) -> int:
    """How long what a model reads is: the texts, and the tools and the other blocks as JSON, in characters."""
    blocks = [block for block in _blocks(params) if "text" not in block]
    read = [*blocks, *_list(params.get("tools"))]
    return sum(map(len, prompt_texts(params))) + sum(len(json.dumps(each, ensure_ascii=False)) for each in read)


def last_user_text(params: Params) -> str:
    """The text the answer is an answer to; empty when there is none."""
    return next((text for role, text in reversed(list(_message_texts(params))) if role == "user"), "")


def trigger_in(params: Params) -> Trigger | None:
    """The first phrase in the messages that orders an outcome, if any. The system prompt is not searched."""
    found = _search(_TRIGGER, params)
    return found and Trigger(found[1], found[2])


def slow_in(params: Params) -> float:
    """How many seconds the request takes at least, by the first phrase in the messages that says so."""
    found = _search(_SLOW, params)
    return float(found[1]) if found else 0


def unreachable_url(params: Params) -> str | None:
    """The first image or document URL under `.invalid`, the domain that never resolves (RFC 6761).

    The sandbox fetches nothing: every other URL counts as reachable.
    """
    for block in _blocks(params):
        source = block.get("source")
        url = source.get("url") if isinstance(source, dict) else None
        if isinstance(url, str) and _host(url).endswith(".invalid"):
            return url
    return None


def _search(pattern: re.Pattern[str], params: Params) -> re.Match[str] | None:
    for _, text in _message_texts(params):
        if "[[sandbox:" in text and (found := pattern.search(text)):
            return found
    return None


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _messages(params: Params) -> Iterator[Mapping[str, Any]]:
    messages = params.get("messages")
    if isinstance(messages, list):
        yield from (message for message in messages if isinstance(message, dict))


def _message_texts(params: Params) -> Iterator[tuple[object, str]]:
    for message in _messages(params):
        for text in _texts(message.get("content")):
            yield message.get("role"), text


def _texts(content: object) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for block in content:
            if isinstance(block, dict) and isinstance(text := block.get("text"), str):
                yield text


def _blocks(params: Params) -> Iterator[Mapping[str, Any]]:
    for message in _messages(params):
        content = message.get("content")
        if isinstance(content, list):
            yield from (block for block in content if isinstance(block, dict))
