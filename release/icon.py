"""The icon, drawn by `python -m release.icon`: sheets of a batch, three of which are done.

The PNG is written without a library, so that anyone can draw it again.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

ROOT = Path(__file__).parents[1]
SVG = ROOT / "docs" / "icon.svg"
PNG = ROOT / ".claude-plugin" / "icon.png"

SIZE = 512
_SAMPLES = 3
_BACKGROUND, _DONE, _OPEN = (31, 41, 55), (52, 211, 153), (148, 163, 184)

# Rounded rectangles from the bottom up: x, y, width, height, radius, color.
Shape = tuple[int, int, int, int, int, tuple[int, int, int]]
SHAPES: tuple[Shape, ...] = (
    (0, 0, 512, 512, 112, _BACKGROUND),
    *((96, 104 + 80 * row, 320, 52, 26, _DONE if row < 3 else _OPEN) for row in range(4)),
)


def svg() -> str:
    """The icon as SVG."""
    lines = [
        f'  <rect x="{x}" y="{y}" width="{width}" height="{height}" rx="{radius}" fill="#{bytes(color).hex()}"/>'
        for x, y, width, height, radius, color in SHAPES
    ]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIZE} {SIZE}" role="img" aria-label="batches-mcp">'
    return "\n".join([head, *lines, "</svg>", ""])


def pixels() -> list[bytes]:
    """The icon's rows, four bytes a pixel: red, green, blue, opacity; edges are smoothed."""
    return [b"".join(_pixel(x, y) for x in range(SIZE)) for y in range(SIZE)]


def _pixel(x: int, y: int) -> bytes:
    color, covered = (0, 0, 0), 0.0
    for shape in SHAPES:
        share = _share(shape, x, y)
        if share and not covered:
            color, covered = shape[5], share
        elif share:
            color = (
                round(color[0] + (shape[5][0] - color[0]) * share),
                round(color[1] + (shape[5][1] - color[1]) * share),
                round(color[2] + (shape[5][2] - color[2]) * share),
            )
    return bytes((*color, round(255 * covered)))


def _share(shape: Shape, x: int, y: int) -> float:
    """How much of a pixel the shape covers."""
    left, top, width, height, radius, _ = shape
    if not (left <= x < left + width and top <= y < top + height):
        return 0.0
    in_corner = not (left + radius <= x < left + width - radius or top + radius <= y < top + height - radius)
    if not in_corner:
        return 1.0
    center_x = left + radius if x < left + radius else left + width - radius
    center_y = top + radius if y < top + radius else top + height - radius
    steps = [(step + 0.5) / _SAMPLES for step in range(_SAMPLES)]
    inside = sum((x + a - center_x) ** 2 + (y + b - center_y) ** 2 <= radius**2 for a in steps for b in steps)
    return inside / _SAMPLES**2


def png() -> bytes:
    """The icon as PNG."""
    rows = b"".join(b"\0" + row for row in pixels())
    head = struct.pack(">IIBBBBB", SIZE, SIZE, 8, 6, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in parts)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def main() -> None:
    SVG.write_text(svg(), "utf-8")
    PNG.write_bytes(png())


if __name__ == "__main__":
    main()
