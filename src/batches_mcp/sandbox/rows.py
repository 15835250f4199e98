"""Result rows: one line of JSON for each request of an ended batch, in an order of their own. Pure."""

import json
import random
from array import array
from collections.abc import Iterable, Iterator

from batches_mcp.sandbox.catalogue import MODELS
from batches_mcp.sandbox.lifecycle import Batch, Fate, is_done
from batches_mcp.sandbox.outcomes import RowError, Verdict, judge
from batches_mcp.sandbox.outputs import called_tool, forced_tool, output_schema
from batches_mcp.sandbox.prompt import Params, input_chars, last_user_text, prompt_texts
from batches_mcp.sandbox.replies import compose, estimate_tokens
from batches_mcp.sandbox.samples import sample
from batches_mcp.sandbox.wire import Json, opaque_id

__all__ = ["result_blocks", "shuffled_indexes"]

_BLOCK_BYTES = 64 * 1024


def shuffled_indexes(batch: Batch, seed: int) -> "array[int]":
    """The order of the result rows. Captured: it is not the order of the requests."""
    indexes = array("L", range(batch.total))
    random.Random(f"{seed}/{batch.number}").shuffle(indexes)  # noqa: S311 - an order, not a secret
    return indexes


def result_blocks(batch: Batch, requests: Iterable[tuple[int, bytes]], seed: int) -> Iterator[bytes]:
    """The results as `application/x-jsonl`, in blocks of about 64 KiB that end with a line.

    requests: (index, the request as it was sent) in the order of the rows.
    Lines end with LF alone: the official Python SDK fails on CRLF and on blank lines.
    """
    lines: list[bytes] = []
    held_bytes = 0
    for index, request in requests:
        line = json.dumps(_row(batch, index, json.loads(request), seed), ensure_ascii=False, separators=(",", ":"))
        lines.append(line.encode() + b"\n")
        held_bytes += len(lines[-1])
        if held_bytes >= _BLOCK_BYTES:
            yield b"".join(lines)
            lines, held_bytes = [], 0
    if lines:
        yield b"".join(lines)


def _row(batch: Batch, index: int, request: Json, seed: int) -> Json:
    return {"custom_id": request["custom_id"], "result": _result(batch, index, request["params"], seed)}


def _result(batch: Batch, index: int, params: Params, seed: int) -> Json:
    verdict = judge(params, batch.terms)
    if not is_done(batch, index, verdict.slow_us):
        return {"type": batch.ending.rest.name.lower()}
    if verdict.error is not None:
        request_id = opaque_id("workerreq_", seed, batch.number, index) if verdict.error.at_run_time else None
        return {"type": "errored", "error": _error(verdict.error, request_id)}
    if verdict.fate is Fate.SUCCEEDED:
        return {"type": "succeeded", "message": _message(params, verdict, (seed, batch.number, index))}
    return {"type": verdict.fate.name.lower()}


def _error(error: RowError, request_id: str | None) -> Json:
    """Captured: the error is nested twice, the outer `type` is always `error`, and `details` may be null."""
    details = None if error.at_run_time else {"error_visibility": "user_facing"}
    return {
        "type": "error",
        "error": {"details": details, "type": error.type, "message": error.message},
        "request_id": request_id,
    }


def _message(params: Params, verdict: Verdict, origin: tuple[int, int, int]) -> Json:
    """The answer to a request; `origin` (seed, batch, index) makes its ids."""
    texts = prompt_texts(params)
    max_tokens: int = params["max_tokens"]
    reply = _reply(params, texts, origin[0])
    content: list[Json] = [{"type": "text", "text": reply}]
    stopped: Json = {"stop_reason": verdict.stop_reason, "stop_sequence": None}
    match verdict.stop_reason:
        case "max_tokens":
            content[0]["text"] = reply[: max(len(reply) // 2, 1)]
        case "refusal":
            content = []
            explanation = "[sandbox] Refused as the prompt ordered."
            stopped["stop_details"] = {"type": "refusal", "category": None, "explanation": explanation}
        case "tool_use" if tool := called_tool(params):
            given = sample(tool.get("input_schema", {"type": "object"}), f"{origin[0]} {last_user_text(params)}")
            call = {"type": "tool_use", "id": opaque_id("toolu_", *origin), "name": tool["name"], "input": given}
            content = [call] if forced_tool(params) else [*content, call]
    if verdict.thinking:
        thought = f"[sandbox] The prompt has {len(texts[-1].split())} words. I answer with a text made from it."
        signature = opaque_id("", "signature", *origin)
        content.insert(0, {"type": "thinking", "thinking": thought, "signature": signature})
    written = sum(len(str(block.get(part, ""))) for block in content for part in ("text", "thinking", "input"))
    truncated = verdict.stop_reason == "max_tokens"
    return {
        "id": opaque_id("msg_", *origin),
        "type": "message",
        "role": "assistant",
        "model": MODELS[params["model"]].resolved,
        "content": content,
        **stopped,
        "usage": {
            "input_tokens": estimate_tokens(input_chars(params)),
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
            "output_tokens": max_tokens if truncated else min(estimate_tokens(written), max_tokens),
            "service_tier": "batch",
            "inference_geo": "not_available",
        },
    }


def _reply(params: Params, texts: list[str], seed: int) -> str:
    """The text of the answer: JSON if a schema is demanded."""
    asked = last_user_text(params)
    if (schema := output_schema(params)) is not None:
        return json.dumps(sample(schema, f"{seed} {asked}"), ensure_ascii=False)
    return compose(" ".join(texts), asked, max_tokens=params["max_tokens"], seed=seed)
