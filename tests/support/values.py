"""Looking into JSON values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def keys_of(value: Any) -> Iterator[str]:
    """Every key of every object in a value, at any depth."""
    match value:
        case dict():
            for key, each in value.items():
                yield key
                yield from keys_of(each)
        case list():
            for each in value:
                yield from keys_of(each)
        case _:
            pass


def values_of(value: Any) -> Iterator[str]:
    """Every text in a value, at any depth, that is no key."""
    match value:
        case str():
            yield value
        case dict():
            for each in value.values():
                yield from values_of(each)
        case list() | tuple():
            for each in value:
                yield from values_of(each)
        case _:
            pass
