"""The texts of the answers: derived from the prompt, and marked so that nobody takes them for Claude's. Pure."""

import json
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["compose", "estimate_tokens"]

_MARK = "[sandbox] "
_ECHO_CHARS = 120
_SUMMARY_CHARS = 160
# The part of a prompt where its instruction is looked for: either end of it.
_INSTRUCTION_CHARS = 500
# Rule of thumb of Anthropic's glossary: about 3.5 English characters a token; 4 is the customary round figure.
_CHARS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class _Style:
    """A kind of prompt, known by parts of words in it, and how it is answered."""

    words: tuple[str, ...]
    write: Callable[[str, str, int], str]


def compose(instruction: str, text: str, *, max_tokens: int, seed: int) -> str:
    """An answer to `text` under the whole prompt `instruction`.

    JSON is marked by its key `sandbox`, everything else by the prefix `[sandbox] `. It is written to fit `max_tokens`
    where the mark alone does, so that only the trigger phrase truncates.
    """
    ends = instruction[:_INSTRUCTION_CHARS] + "\n" + instruction[-_INSTRUCTION_CHARS:]
    lowered = ends.lower()
    style = next(style for style in _STYLES if any(word in lowered for word in style.words))
    reply = style.write(ends, " ".join(text[: 4 * _SUMMARY_CHARS].split()), seed)
    if reply.startswith(_MARK):
        return reply[: max(max_tokens * _CHARS_PER_TOKEN, len(_MARK))]
    return reply


def estimate_tokens(chars: int) -> int:
    """A token count from a length in characters; at least 1."""
    return max(1, -(-chars // _CHARS_PER_TOKEN))


def _cut(text: str, chars: int) -> str:
    return text if len(text) <= chars else text[: chars - 1] + "…"


def _json(_instruction: str, text: str, _seed: int) -> str:
    answer = {"sandbox": True, "echo": _cut(text, _ECHO_CHARS), "words": len(text.split())}
    return json.dumps(answer, ensure_ascii=False)


_LABELS = re.compile(r"(?<![\w-])((?:[\w-]+,\s*)+(?:and\s+|or\s+)?[\w-]+|[\w-]+\s+or\s+[\w-]+)")
_LABEL_BREAK = re.compile(r",\s*(?:and\s+|or\s+)?|\s+(?:and|or)\s+")


def _label(instruction: str, text: str, seed: int) -> str:
    """One of the labels the prompt offers (`billing, technical or account`), else a number."""
    choice = zlib.crc32(f"{seed} {text}".encode())
    offered = max(_LABELS.findall(instruction), key=len, default="")
    if not offered:
        return f"{_MARK}category {choice % 3 + 1}"
    labels = _LABEL_BREAK.split(offered)
    return _MARK + labels[choice % len(labels)]


def _summary(_instruction: str, text: str, _seed: int) -> str:
    return f"{_MARK}Summary: {_cut(text, _SUMMARY_CHARS)}"


def _echo(_instruction: str, text: str, _seed: int) -> str:
    return f"{_MARK}You wrote: {_cut(text, _ECHO_CHARS)}"


# The first that fits; the last fits everything.
_STYLES = (
    _Style(("json", "extract"), _json),
    _Style(("classif", "categor", "sentiment", "label"), _label),
    _Style(("summar", "tl;dr", "tldr", "in one sentence"), _summary),
    _Style(("",), _echo),
)
