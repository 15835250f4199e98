"""Everything that is wrong with a request of the wrong shape, as far as the API is known to refuse it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from batches_mcp.core.diagnostics import did_you_mean
from batches_mcp.core.redact import excerpt
from batches_mcp.requests.problems import Fault

# More than any model generates, and few enough for whatever counts them.
MOST_MAX_TOKENS = 10**9

CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")

# The body of a Messages request, as the official Python SDK 2.11.0 types it for batches, stable and beta; and the
# sampling keys, which API version 2023-06-01 still takes.
PARAMS_KEYS = (
    "model", "max_tokens", "messages", "system", "temperature", "top_p", "top_k", "stop_sequences", "tools",
    "tool_choice", "thinking", "output_config", "metadata", "cache_control", "container", "diagnostics",
    "inference_geo", "service_tier", "speed", "stream", "user_profile_id", "billing_policy", "compaction",
    "context_management", "fallback_credit_token", "fallbacks", "mcp_servers", "output_format", "thread",
)  # fmt: skip

# A message of the system may stand between others; the SDK has it as SystemMessageParam.
ROLES = ("user", "assistant", "system")

NOT_UTF_8 = "is not UTF-8 but perhaps Latin-1 or Windows-1252; save the file as UTF-8"

OPENAI = (
    "is in the format of OpenAI's batches ({custom_id, method, url, body}); a request here is {custom_id, params}, and "
    "params the body of a Messages request: a Claude model, max_tokens, messages of role user and assistant, and what "
    "the system says under system"
)
_OPENAI_KEYS = frozenset({"method", "url", "body"})

_COMPLETIONS = "belongs to the old Text Completions API; write messages: [{{role: user, content: ...}}]{and_more}"
_MEANT: dict[str, str] = {
    "prompt": _COMPLETIONS.format(and_more=""),
    "max_tokens_to_sample": _COMPLETIONS.format(and_more=" and max_tokens"),
    "betas": "is an argument of the create, not a key of a request",
    "custom_id": "stands beside params, not in it: {custom_id, params: {...}}",
    "stop": "is stop_sequences here, a list of texts",
    "max_completion_tokens": "is max_tokens here",
    "response_format": "is output_config here, with the schema in its format",
}


def is_openai(value: object) -> bool:
    """Whether a value is a request as OpenAI's Batch API has it."""
    return isinstance(value, dict) and "params" not in value and len(_OPENAI_KEYS & value.keys()) > 1


def request_faults(value: object, *, betas: bool) -> Iterator[Fault]:
    """Everything that is wrong with what should be a request; with `betas`, unknown keys may be right."""
    if not isinstance(value, dict):
        yield Fault("", "not an object", "expected an object with custom_id and params")
        return
    if is_openai(value):
        yield Fault("", "OpenAI's format", OPENAI)
        return
    yield from _custom_id(value)
    params = value.get("params")
    misplaced = [name for name in value if name in PARAMS_KEYS]
    if params is None and misplaced:
        message = f"missing; {', '.join(misplaced[:5])} must be in it: {{custom_id, params: {{...}}}}"
        yield Fault("params", "params", message)
        return
    for name in value.keys() - {"custom_id", "params"}:
        shown = excerpt(name, 60)
        yield Fault(shown, "unknown key", "a request has custom_id and params only", shown)
    if isinstance(params, dict):
        for fault in params_faults(params, betas=betas):
            yield Fault(f"params.{fault.path}", fault.kind, fault.message, fault.cause, fault.severity)
    else:
        found = "missing" if "params" not in value else "expected an object: the body of a Messages request"
        yield Fault("params", "params", found)


def _custom_id(request: dict[str, Any]) -> Iterator[Fault]:
    custom_id = request.get("custom_id")
    if "custom_id" not in request:
        yield Fault("custom_id", "custom_id", "missing", "missing")
    elif not isinstance(custom_id, str):
        yield Fault("custom_id", "custom_id", "expected text", "type")
    elif not 1 <= len(custom_id) <= 64:
        yield Fault("custom_id", "custom_id", f"has {len(custom_id):,} characters; expected 1 to 64", "length")
    elif not CUSTOM_ID.fullmatch(custom_id):
        wrong = sorted(set(re.sub(r"[a-zA-Z0-9_-]", "", custom_id)))
        named = " ".join(map(repr, wrong[:5]))
        message = f"{excerpt(custom_id, 70)!r} has {named}; allowed are letters, digits, - and _"
        yield Fault("custom_id", "custom_id", message, "characters")


# What these keys hold, when they hold anything.
_TYPES: Sequence[tuple[str, type | tuple[type, ...], str]] = (
    ("temperature", (int, float), "a number"),
    ("top_p", (int, float), "a number"),
    ("top_k", int, "a whole number"),
    ("service_tier", str, "text"),
    ("system", (str, list), "text or a list of blocks"),
    ("stop_sequences", list, "a list of texts"),
    ("tools", list, "a list of objects"),
    ("metadata", dict, "an object"),
    ("output_config", dict, "an object"),
    ("thinking", dict, "an object"),
    ("tool_choice", dict, "an object"),
)
_MEMBERS: dict[str, type] = {"stop_sequences": str, "tools": dict}


def _optional(params: dict[str, Any], *, betas: bool) -> Iterator[Fault]:
    made = Fault.warning if betas else Fault
    for name, kind, wanted in _TYPES:
        value = params.get(name)
        wrong = value is not None and (not isinstance(value, kind) or isinstance(value, bool))
        if name in _MEMBERS and isinstance(value, list):
            wrong = not all(isinstance(each, _MEMBERS[name]) for each in value)
        if wrong:
            yield made(name, f"params.{name}", f"expected {wanted}", "type")


def params_faults(params: dict[str, Any], *, betas: bool) -> Iterator[Fault]:
    """Everything that is wrong with the params of a request; paths begin within them."""
    kinds: Sequence[tuple[str, type, str]] = (
        ("model", str, "text"),
        ("max_tokens", int, "a whole number"),
        ("messages", list, "a list"),
    )
    for name, kind, wanted in kinds:
        value, problem = params.get(name), ""
        if name not in params:
            problem = "missing"
        elif not isinstance(value, kind) or isinstance(value, bool):
            problem = f"expected {wanted}"
        elif name == "max_tokens" and params[name] < 1:
            yield Fault(name, f"params.{name}", f"{excerpt(str(value), 40)} is less than 1", "small")
        elif name == "max_tokens" and params[name] > MOST_MAX_TOKENS:
            problem = f"is more than {MOST_MAX_TOKENS:,}; no model generates that many tokens"
        elif name == "messages" and not params[name]:
            problem = "is empty; at least one message is needed"
        if problem:
            yield Fault(name, f"params.{name}", problem, problem)
    yield from _optional(params, betas=betas)
    if params.get("stream") not in (None, False):
        yield Fault("stream", "params.stream", "a batch cannot stream; leave it out")
    if params.get("speed") is not None:
        yield Fault("speed", "params.speed", "fast mode is not available in batches; leave it out")
    if params.get("fallbacks") is not None:
        message = "is documented not to work in batches: the request fails"
        yield Fault.warning("fallbacks", "params.fallbacks", message)
    for name in params:
        if name not in PARAMS_KEYS:
            yield _unknown(name, betas=betas)
    if isinstance(params.get("messages"), list):
        yield from _messages(params["messages"])
    if isinstance(params.get("system"), list):
        yield from _blocks("system", params["system"])


def _unknown(name: str, *, betas: bool) -> Fault:
    shown = excerpt(name, 60)
    message = _MEANT.get(name) or "; ".join(
        filter(None, ["is not a key of a Messages request", did_you_mean(name, PARAMS_KEYS)])
    )
    if betas and name not in _MEANT:
        return Fault.warning(shown, "unknown key of params", message, shown)
    return Fault(shown, "unknown key of params", message, shown)


def _messages(messages: list[Any]) -> Iterator[Fault]:
    for index, message in enumerate(messages):
        path = f"messages[{index}]"
        if not isinstance(message, dict):
            yield Fault(path, "message", "expected an object with role and content")
            continue
        role = message.get("role")
        if "role" not in message:
            yield Fault(f"{path}.role", "role", "missing; it is user or assistant", "missing")
        elif role not in ROLES:
            shown = excerpt(str(role), 60)
            yield Fault(f"{path}.role", "role", f"{shown!r} is not a role; it is user or assistant", shown)
        # Documented by the API's own error: all but an optional final assistant message must have content.
        prefill = role == "assistant" and index == len(messages) - 1 and message.get("content") in ("", [])
        if not prefill:
            yield from _content(f"{path}.content", message)


def _content(path: str, message: dict[str, Any]) -> Iterator[Fault]:
    content = message.get("content")
    if "content" not in message:
        yield Fault(path, "content", "missing", "missing")
    elif content is None:
        yield Fault(path, "content", "is null; a message needs content", "null")
    elif isinstance(content, str):
        if not content.strip():
            yield Fault(path, "content", "is empty; a message needs content", "empty")
    elif not isinstance(content, list):
        yield Fault(path, "content", "expected text or a list of content blocks", "type")
    elif content:
        yield from _blocks(path, content)
    else:
        yield Fault(path, "content", "is empty; a message needs content", "empty")


def _blocks(path: str, blocks: list[Any]) -> Iterator[Fault]:
    for index, block in enumerate(blocks):
        place = f"{path}[{index}]"
        if not isinstance(block, dict):
            yield Fault(place, "content block", "expected an object with a type", "object")
        elif not isinstance(block.get("type"), str):
            yield Fault(f"{place}.type", "content block", 'expected text, for example "text"', "type")
        elif block["type"] == "text" and not isinstance(block.get("text"), str):
            found = "expected text" if "text" in block else "missing"
            yield Fault(f"{place}.text", "text block", found, found)
        elif block["type"] == "text" and not block["text"].strip():
            yield Fault(f"{place}.text", "text block", "is empty; the API refuses empty text", "empty")
