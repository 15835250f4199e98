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
# As much of a text as is looked at.
_SUBJECT_CHARS = 2_000
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
    """An answer to `text` under the whole prompt `instruction`, which contains it.

    JSON is marked by its key `sandbox`, everything else by the prefix `[sandbox] `. It is written to fit `max_tokens`
    where the mark alone does, so that only the trigger phrase truncates.
    """
    subject = _subject(text)
    if subject != text:
        instruction = instruction.replace(subject, " ")
    ends = instruction[:_INSTRUCTION_CHARS] + "\n" + instruction[-_INSTRUCTION_CHARS:]
    style = _style(ends)
    reply = style.write(ends, " ".join(subject[:_SUBJECT_CHARS].split()), seed)
    if reply.startswith(_MARK):
        return reply[: max(max_tokens * _CHARS_PER_TOKEN, len(_MARK))]
    return reply


def _subject(text: str) -> str:
    """What an instruction is about: the text behind the blank line after it, if it looks like an instruction."""
    head, _, tail = text.partition("\n\n")
    asks = head.rstrip().endswith(":") or _style(head[:_INSTRUCTION_CHARS]) is not _STYLES[-1]
    if tail.strip() and asks:
        return tail
    return text


def _style(instruction: str) -> _Style:
    lowered = instruction.lower()
    return next(style for style in _STYLES if any(word in lowered for word in style.words))


def estimate_tokens(chars: int) -> int:
    """A token count from a length in characters; at least 1."""
    return max(1, -(-chars // _CHARS_PER_TOKEN))


def _cut(text: str, chars: int) -> str:
    return text if len(text) <= chars else text[: chars - 1] + "…"


# What looks like data in a text, by the key it gets.
_FIELDS = {
    "emails": re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"),
    "dates": re.compile(
        r"\b(?:\d{4}-\d\d-\d\d|(?:\d{1,2}(?:st|nd|rd|th)? )?"
        r"(?:January|February|March|April|May|June|July|August|September|October|November|December)(?: \d{1,2}\b)?)"
    ),
    "numbers": re.compile(r"(?<![\w.@-])\d{1,3}(?:,\d{3})+(?![\w-])|(?<![\w.,@-])\d+(?:\.\d+)?(?![\w-])"),
    "names": re.compile(r"(?<![.!?:] )(?<!^)\b[A-Z][\w'-]+(?: [A-Z][\w'-]+)*"),
}
_VALUES_PER_FIELD = 8


def _json(_instruction: str, text: str, _seed: int) -> str:
    """What looks like data in the text, else an echo of it. A date's numbers and words are not found twice."""
    answer: dict[str, object] = {"sandbox": True}
    left = text
    for field, pattern in _FIELDS.items():
        found = list(dict.fromkeys(pattern.findall(left)))[:_VALUES_PER_FIELD]
        left = pattern.sub("_", left)
        if found:
            answer[field] = [_number(value) for value in found] if field == "numbers" else found
    if len(answer) == 1:
        answer["text"] = _cut(text, _ECHO_CHARS)
    return json.dumps(answer, ensure_ascii=False)


def _number(digits: str) -> int | float:
    plain = digits.replace(",", "")
    return float(plain) if "." in plain else int(plain)


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


# Long enough to say something.
_SENTENCE = re.compile(r".{30,}?[.!?](?= |$)")


def _summary(_instruction: str, text: str, _seed: int) -> str:
    sentence = _SENTENCE.match(text[:_SUMMARY_CHARS])
    return f"{_MARK}Summary: {sentence[0] if sentence else _cut(text, _SUMMARY_CHARS)}"


def _echo(_instruction: str, text: str, _seed: int) -> str:
    return f"{_MARK}You wrote: {_cut(text, _ECHO_CHARS)}"


# The first that fits; the last fits everything.
_STYLES = (
    _Style(("json", "extract"), _json),
    _Style(("classif", "categor", "sentiment", "label"), _label),
    _Style(("summar", "tl;dr", "tldr", "in one sentence"), _summary),
    _Style(("",), _echo),
)
