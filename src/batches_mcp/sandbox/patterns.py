"""Texts that a regular expression matches. Pure.

The standard library's parser reads the expression; what has no simple text (look-around, back references to groups not
written yet) is left out, and whoever asked checks the text.
"""

import importlib
import random
import re
import string
from collections.abc import Iterable
from typing import Any

__all__ = ["matching"]

# Of what may be repeated without end, at most this many more than must be.
_MORE = 3
_WORD = string.ascii_letters + string.digits + "_"
_CATEGORIES = {
    "CATEGORY_DIGIT": string.digits,
    "CATEGORY_NOT_DIGIT": string.ascii_letters,
    "CATEGORY_SPACE": " ",
    "CATEGORY_NOT_SPACE": string.ascii_letters,
    "CATEGORY_WORD": _WORD,
    "CATEGORY_NOT_WORD": "-. ",
}
_PRINTABLE = string.ascii_letters + string.digits + string.punctuation + " "

# Not public, and the only parser of its expressions that Python has.
_parser: Any = importlib.import_module("re._parser")


def matching(pattern: str, rng: random.Random, length: int = 0) -> str | None:
    """A text that `re.search(pattern, …)` finds itself in, about `length` characters long; None if none was found."""
    try:
        tree = _parser.parse(pattern)
        text = _Writer(rng, length).write(tree)
        return text if re.search(pattern, text) else None
    except (re.error, RecursionError, OverflowError):
        return None


class _Writer:
    def __init__(self, rng: random.Random, length: int) -> None:
        self._rng = rng
        self._length = length
        self._groups: dict[int, str] = {}

    def write(self, tree: Iterable[tuple[Any, Any]]) -> str:
        return "".join(self._part(str(operator), argument) for operator, argument in tree)

    def _part(self, operator: str, argument: Any) -> str:
        match operator:
            case "LITERAL":
                return chr(argument)
            case "NOT_LITERAL":
                return self._one_of(set(_PRINTABLE) - {chr(argument)})
            case "ANY":
                return self._rng.choice(string.ascii_lowercase)
            case "IN":
                return self._one_of(_characters(argument))
            case "BRANCH":
                return self.write(self._rng.choice(argument[1]))
            case "SUBPATTERN":
                text = self.write(argument[3])
                self._groups[argument[0]] = text
                return text
            case "ATOMIC_GROUP":
                return self.write(argument)
            case "GROUPREF":
                return self._groups.get(argument, "")
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                least, most, repeated = argument
                times = self._rng.randint(least, min(most, max(least + _MORE, min(self._length, 1_000))))
                return "".join(self.write(repeated) for _ in range(min(times, 1_000)))
            case _:
                return ""

    def _one_of(self, characters: set[str]) -> str:
        return self._rng.choice(sorted(characters)) if characters else ""


def _characters(members: Iterable[tuple[Any, Any]]) -> set[str]:
    """The printable characters of a class, or its first others if none is printable."""
    found: set[str] = set()
    negated = False
    for operator, argument in members:
        match str(operator):
            case "NEGATE":
                negated = True
            case "LITERAL":
                found.add(chr(argument))
            case "RANGE":
                low, high = argument
                found.update(map(chr, range(low, min(high, low + 1_000) + 1)))
            case "CATEGORY":
                found.update(_CATEGORIES.get(str(argument), ""))
    if negated:
        return set(_PRINTABLE) - found
    return found & set(_PRINTABLE) or found
