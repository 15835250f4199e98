"""What the params of one request say: its text, the outcome it orders, the files it points at. Pure.

Params come from outside and may have any shape; nothing here fails on one.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

__all__ = ["Params", "Trigger", "last_user_text", "prompt_texts", "trigger_in", "unreachable_url"]

Params = Mapping[str, Any]

_TRIGGER = re.compile(r"\[\[sandbox:(expired|errored|credit|refusal|max_tokens)(?:[ \t]+([a-z_]+))?\]\]")


@dataclass(frozen=True, slots=True)
class Trigger:
    """An outcome ordered by a phrase such as `[[sandbox:errored overloaded_error]]`."""

    name: str
    argument: str | None


def prompt_texts(params: Params) -> list[str]:
    """All texts of a request in order: the system prompt, then each message's."""
    return [*_texts(params.get("system")), *(text for _, text in _message_texts(params))]


def last_user_text(params: Params) -> str:
    """The text the answer is an answer to; empty when there is none."""
    return next((text for role, text in reversed(list(_message_texts(params))) if role == "user"), "")


def trigger_in(params: Params) -> Trigger | None:
    """The first trigger phrase in the messages, if any. The system prompt is not searched."""
    for _, text in _message_texts(params):
        if "[[sandbox:" in text and (found := _TRIGGER.search(text)):
            return Trigger(found[1], found[2])
    return None


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
