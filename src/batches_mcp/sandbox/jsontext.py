"""A cursor over JSON text that arrives in pieces and is never held as a whole.

The text kept in memory is what has been read and not yet consumed: one value and about one piece, however long the
body is. A value that is still incomplete makes the kept text at least double before it is tried again, so the work is
linear in the length of the body, for broken bodies too.
"""

import codecs
import json
import re
from collections.abc import Iterable

__all__ = ["InvalidJson", "JsonText", "ValueTooLarge"]

# A verdict reached this close to the end of the known text may change with the next characters: a number may go on,
# a literal or an escape may be cut. The longest such token is `-Infinity`.
_LOOKAHEAD = 16
# Nesting the sandbox accepts, well inside what Python's own parser and serialiser can follow.
_MAX_DEPTH = 500

_SPACE = re.compile(r"[ \t\n\r]*")


class InvalidJson(ValueError):
    """The text is not JSON; the message says what is wrong and where, as `line 1 column 2 (char 1)`."""


class ValueTooLarge(ValueError):
    """One value is longer than the limit."""


def _refuse_constant(name: str) -> object:
    raise ValueError(f"unexpected constant {name}")  # Python would take NaN and Infinity; JSON has neither.


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


class JsonText:
    """A forward-only reader of JSON tokens and values.

    Every method raises InvalidJson where the text stops being JSON, with the position in the whole text.
    """

    def __init__(self, pieces: Iterable[bytes], *, max_value_chars: int) -> None:
        """`pieces` are UTF-8 in any cut; no value may be longer than `max_value_chars`."""
        self._pieces = iter(pieces)
        self._decode = codecs.getincrementaldecoder("utf-8")("strict").decode
        self._max_value_chars = max_value_chars
        self._text = ""
        self._at = 0
        self._complete = False
        # Position of the kept text in the whole one.
        self._chars_before = 0
        self._lines_before = 0
        self._column_before = 0

    def take(self, token: str) -> bool:
        """Consume `token`, one punctuation character, if it comes next."""
        if self._next() != token:
            return False
        self._at += 1
        return True

    def expect(self, token: str) -> None:
        """Consume `token`, or raise."""
        if not self.take(token):
            raise self._invalid(f"Expecting '{token}'", self._at)

    def finish(self) -> None:
        """Raise unless nothing but space is left."""
        if self._next():
            raise self._invalid("Extra data", self._at)

    def key(self) -> str:
        """Consume an object's key."""
        if self._next() != '"':
            raise self._invalid("Expecting property name enclosed in double quotes", self._at)
        return str(self.value()[0])

    def value(self) -> tuple[object, str]:
        """Consume a value; return it decoded and as written. ValueTooLarge if it is longer than the limit."""
        self._next()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated string") or error.pos + _LOOKAHEAD > len(self._text)
                if self._complete or not cut:
                    raise self._invalid(error.msg, error.pos) from None
            except RecursionError:
                raise self._invalid("nested too deeply", self._at) from None
            except ValueError as error:  # a constant, or an integer of thousands of digits
                raise self._invalid(str(error), self._at) from None
            else:
                if self._complete or end + _LOOKAHEAD <= len(self._text):
                    return value, self._consume(value, end)
            known = len(self._text) - self._at
            enough = self._max_value_chars + _LOOKAHEAD
            if known > enough:
                raise ValueTooLarge
            self._read(min(known, enough - known + 1))

    def _consume(self, value: object, end: int) -> str:
        if end - self._at > self._max_value_chars:
            raise ValueTooLarge
        written = self._text[self._at : end]
        if written.count("[") + written.count("{") > _MAX_DEPTH and _deeper_than(value, _MAX_DEPTH):
            raise self._invalid("nested too deeply", self._at)
        if "\\u" in written and not _encodable(value):
            # Seen live: a lone half of a surrogate pair is refused as invalid JSON.
            raise self._invalid("no low surrogate in string", self._at)
        self._at = end
        return written

    def _next(self) -> str:
        """The next character that is not space, not consumed; empty at the end."""
        while True:
            space = _SPACE.match(self._text, self._at)
            self._at = space.end() if space else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if self._complete:
                return ""
            self._read(1)

    def _read(self, chars: int) -> None:
        """Forget what is consumed and read at least `chars` more characters, or all that is left."""
        self._forget()
        parts = [self._text]
        while chars > 0 and not self._complete:
            piece = next(self._pieces, None)
            try:
                part = self._decode(piece or b"", final=piece is None)
            except UnicodeDecodeError as error:
                raise self._invalid(f"invalid UTF-8: {error.reason}", len("".join(parts))) from None
            self._complete = piece is None
            parts.append(part)
            chars -= len(part)
        self._text = "".join(parts)

    def _forget(self) -> None:
        gone = self._text[: self._at]
        newline = gone.rfind("\n")
        self._chars_before += len(gone)
        self._lines_before += gone.count("\n")
        self._column_before = len(gone) - newline - 1 + (self._column_before if newline < 0 else 0)
        self._text = self._text[self._at :]
        self._at = 0

    def _invalid(self, reason: str, at: int) -> InvalidJson:
        before = self._text[:at]
        newline = before.rfind("\n")
        line = self._lines_before + before.count("\n") + 1
        column = at - newline + (self._column_before if newline < 0 else 0)
        return InvalidJson(f"{reason}: line {line} column {column} (char {self._chars_before + at})")


def _deeper_than(value: object, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [child for node in level for child in _children(node)]
        if not level:
            return False
    return True


def _children(node: object) -> Iterable[object]:
    if isinstance(node, dict):
        return node.values()
    return node if isinstance(node, list) else ()


def _encodable(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
