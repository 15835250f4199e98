"""Texts and numbers that fit the plain keywords of a JSON Schema. Pure."""

import math
import random
from collections.abc import Mapping
from typing import Any

__all__ = ["number", "text"]

_MAX_CHARS = 100_000
_BY_FORMAT = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "duration": "P1D",
    "email": "someone@example.com",
    "hostname": "example.com",
    "idn-email": "someone@example.com",
    "idn-hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "iri": "https://example.com/",
    "iri-reference": "/sandbox",
    "json-pointer": "/sandbox",
    "regex": "^sandbox$",
    "relative-json-pointer": "0/sandbox",
    "time": "12:00:00Z",
    "uri": "https://example.com/",
    "uri-reference": "/sandbox",
    "uri-template": "https://example.com/{id}",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def text(schema: Mapping[str, Any], name: str, place: int) -> str:
    """A text for the property `name`, marked as the sandbox's unless it has a format; another for each `place`."""
    formatted = _BY_FORMAT.get(str(schema.get("format")))
    longest = _number(schema.get("maxLength"))
    if formatted is not None:
        written = _another(formatted, place)
    else:
        written = f"[sandbox] {name}".strip() + (f" {place + 1}" if place else "")
        if longest is not None and len(written) > longest:  # what tells it apart, and its own name, come first
            written = (f"{place + 1}" if place else "") + (name or "sandbox")
    shortest = min(int(_number(schema.get("minLength")) or 0), _MAX_CHARS)
    if formatted is None:
        written = written.ljust(shortest, ".")
        written = written if longest is None else written[: max(int(longest), 0)]
    return written


def _another(formatted: str, place: int) -> str:
    """One more of a format, for the few formats that lists of different ones are asked of."""
    if not place:
        return formatted
    if formatted.startswith("2026-01-31"):
        return f"{2026 + place % 1_000}{formatted[4:]}"
    if formatted.startswith("https://"):
        return f"{formatted}{place + 1}"
    if formatted.startswith("0000"):
        return f"{place:08x}{formatted[8:]}"
    return f"s{place + 1}.{formatted}" if formatted.startswith(("someone", "example")) else formatted


def number(schema: Mapping[str, Any], rng: random.Random, place: int, *, whole: bool) -> int | float:
    """A number within the bounds, one of the multiples asked for; one of `rng`'s choice if there are two bounds."""
    low, high = _number(schema.get("minimum")), _number(schema.get("maximum"))
    above, below = _number(schema.get("exclusiveMinimum")), _number(schema.get("exclusiveMaximum"))
    low, low_open = (above, True) if above is not None and (low is None or above >= low) else (low, False)
    high, high_open = (below, True) if below is not None and (high is None or below <= high) else (high, False)
    step = _number(schema.get("multipleOf")) or 0
    if whole and not float(step).is_integer():
        step = 1 if float(1 / step).is_integer() else step
    if whole or step:
        return _multiple(low, high, low_open, high_open, step or 1, rng, place, whole=whole)
    if low is not None and high is not None:
        middle = low + (high - low) * rng.random()
        rounded = round(middle, 2)
        middle = rounded if low < rounded < high else middle
        return middle if low < middle < high else low + (high - low) / 2
    if low is not None:
        return low + 1 + place if low_open else max(low, 1) + place
    if high is not None:
        return high - 1 - place if high_open else min(high, 1) - place
    return 1 + place


def _multiple(
    low: float | None,
    high: float | None,
    low_open: bool,
    high_open: bool,
    step: float,
    rng: random.Random,
    place: int,
    *,
    whole: bool,
) -> int | float:
    least = None if low is None else math.ceil(low / step)
    most = None if high is None else math.floor(high / step)
    if least is not None and low_open and least * step <= (low or 0):
        least += 1
    if most is not None and high_open and most * step >= (high or 0):
        most -= 1
    if least is not None and most is not None:
        times = rng.randint(least, max(least, most))
    elif least is not None:
        times = max(least, 1) + place
    elif most is not None:
        times = min(most, 1) - place
    else:
        times = 1 + place
    return int(times * step) if whole else times * step


def _number(value: object) -> int | float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value
