"""Contrast of colors as WCAG 2.2 reckons it: https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio."""

from __future__ import annotations

import re

# Level AA: success criteria 1.4.3 and 1.4.11.
TEXT, GRAPHICS = 4.5, 3.0


def contrast(one: str, other: str) -> float:
    """The ratio, from 1 to 21, of two opaque colors in the forms `#rrggbb` and `rgb(r, g, b)`."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(color: str) -> float:
    if match := re.fullmatch(r"#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})", color):
        channels = [int(each, 16) for each in match.groups()]
    elif match := re.fullmatch(r"rgb\((\d+), (\d+), (\d+)\)", color):
        channels = [int(each) for each in match.groups()]
    else:
        raise ValueError(f"expected an opaque color, found {color}")
    red, green, blue = (
        each / 255 / 12.92 if each / 255 <= 0.04045 else ((each / 255 + 0.055) / 1.055) ** 2.4 for each in channels
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
